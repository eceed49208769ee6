//! NOT NULL columns. Files are written with nullable columns, as Spark writes them, so the check
//! is made on the arrays.

use arrow::array::{Array, ArrayRef, AsArray as _};
use arrow::buffer::NullBuffer;
use millstream_core::{Error, Result};
use millstream_types::{DataType, StructField, StructType};

/// Refuses a null where the schema has none.
///
/// # Errors
/// `DELTA_NOT_NULL_CONSTRAINT_VIOLATED`, naming the column.
pub(super) fn check(schema: &StructType, columns: &[ArrayRef]) -> Result<()> {
    for (field, column) in schema.fields.iter().zip(columns) {
        check_field(field, column, None, &field.name)?;
    }
    Ok(())
}

fn check_field(
    field: &StructField,
    column: &ArrayRef,
    parent: Option<&NullBuffer>,
    path: &str,
) -> Result<()> {
    let nulls = column.logical_nulls();
    if !field.nullable && has_null_of_its_own(nulls.as_ref(), parent) {
        return Err(Error::invalid(
            "DELTA_NOT_NULL_CONSTRAINT_VIOLATED",
            format!("NOT NULL constraint violated for column: {path}."),
        )
        .cure("Filter such rows out, or give the column a value with coalesce."));
    }
    check_type(&field.data_type, column, nulls.as_ref(), parent, path)
}

fn check_type(
    data_type: &DataType,
    column: &ArrayRef,
    nulls: Option<&NullBuffer>,
    parent: Option<&NullBuffer>,
    path: &str,
) -> Result<()> {
    match data_type {
        DataType::Struct(inner) if needs_check(data_type) => {
            let Some(array) = column.as_struct_opt() else { return Ok(()) };
            let both = NullBuffer::union(nulls, parent);
            for (field, child) in inner.fields.iter().zip(array.columns()) {
                check_field(field, child, both.as_ref(), &format!("{path}.{}", field.name))?;
            }
            Ok(())
        }
        DataType::Array { element, contains_null } if needs_check(data_type) => {
            let Some(array) = column.as_list_opt::<i32>() else { return Ok(()) };
            let (from, to) = ends(array.value_offsets());
            let values = array.values().slice(from, to - from);
            let field = StructField::new("element", (**element).clone(), *contains_null);
            check_field(&field, &values, None, &format!("{path}.element"))
        }
        DataType::Map { value, value_contains_null, .. } if needs_check(data_type) => {
            let Some(array) = column.as_map_opt() else { return Ok(()) };
            let (from, to) = ends(array.value_offsets());
            let values = array.values().slice(from, to - from);
            let field = StructField::new("value", (**value).clone(), *value_contains_null);
            check_field(&field, &values, None, &format!("{path}.value"))
        }
        _ => Ok(()),
    }
}

/// Whether a type forbids a null at any depth.
fn needs_check(data_type: &DataType) -> bool {
    *data_type != data_type.as_nullable()
}

fn ends(offsets: &[i32]) -> (usize, usize) {
    let at = |offset: Option<&i32>| usize::try_from(offset.copied().unwrap_or(0)).unwrap_or(0);
    (at(offsets.first()), at(offsets.last()))
}

/// A null that is not merely its parent's.
fn has_null_of_its_own(nulls: Option<&NullBuffer>, parent: Option<&NullBuffer>) -> bool {
    let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else { return false };
    match parent {
        None => true,
        Some(parent) => (0..nulls.len()).any(|row| nulls.is_null(row) && parent.is_valid(row)),
    }
}
