//! Casts of arrays, maps and structs, part by part.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};

use super::{CastContext, cast_array};

/// ARRAY to ARRAY.
pub(crate) fn list(array: &ArrayRef, ctx: &CastContext) -> Result<ArrayRef> {
    let DataType::List(field) = ctx.to else { return Err(shape(ctx)) };
    let list = array.as_list::<i32>();
    let values =
        cast_array(list.values(), &ctx.part(list.values().data_type(), field.data_type()))?;
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(field),
        list.offsets().clone(),
        values,
        list.nulls().cloned(),
    )?))
}

/// MAP to MAP.
pub(crate) fn map(array: &ArrayRef, ctx: &CastContext) -> Result<ArrayRef> {
    let DataType::Map(field, sorted) = ctx.to else { return Err(shape(ctx)) };
    let map = array.as_map();
    let entries: ArrayRef = Arc::new(map.entries().clone());
    let cast = structs(&entries, &ctx.part(entries.data_type(), field.data_type()))?;
    Ok(Arc::new(MapArray::try_new(
        Arc::clone(field),
        map.offsets().clone(),
        cast.as_struct().clone(),
        map.nulls().cloned(),
        *sorted,
    )?))
}

/// STRUCT to STRUCT, by position.
pub(crate) fn structs(array: &ArrayRef, ctx: &CastContext) -> Result<ArrayRef> {
    let DataType::Struct(fields) = ctx.to else { return Err(shape(ctx)) };
    let source = array.as_struct();
    let columns = source
        .columns()
        .iter()
        .zip(fields)
        .map(|(column, field)| cast_array(column, &ctx.part(column.data_type(), field.data_type())))
        .collect::<Result<Vec<ArrayRef>>>()?;
    Ok(Arc::new(StructArray::try_new_with_length(
        fields.clone(),
        columns,
        source.nulls().cloned(),
        source.len(),
    )?))
}

fn shape(ctx: &CastContext) -> DataFusionError {
    DataFusionError::Internal(format!("no cast from {} to {}", ctx.from, ctx.to))
}
