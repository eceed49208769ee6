//! Fields of structs, items of arrays and maps.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable, lit};

use crate::coercion::{list_of, type_name};
use crate::error::spark_error;
use crate::functions::Functions;

impl Functions {
    /// `expr.name`: a field of a struct or of every struct of an array, or the value of a map's
    /// key. The case of field names does not matter.
    ///
    /// # Errors
    /// `FIELD_NOT_FOUND`, `AMBIGUOUS_REFERENCE_TO_FIELDS`, `INVALID_EXTRACT_BASE_FIELD_TYPE`.
    pub fn field(&self, expr: Expr, name: &str, schema: &DFSchema) -> Result<Expr> {
        match expr.get_type(schema)? {
            DataType::Struct(fields) => {
                let exact = exact_name(name, fields.iter().map(|f| f.name().as_str()))?;
                self.plain("struct_field", vec![expr, lit(exact)], schema)
            }
            DataType::List(element) => match element.data_type() {
                DataType::Struct(fields) => {
                    let exact = exact_name(name, fields.iter().map(|f| f.name().as_str()))?;
                    self.plain("array_field", vec![expr, lit(exact)], schema)
                }
                other => Err(no_fields(&list_of(other.clone()))),
            },
            DataType::Map(..) => self.plain("map_item", vec![expr, lit(name)], schema),
            other => Err(no_fields(&other)),
        }
    }

    /// `expr[key]`.
    ///
    /// # Errors
    /// As [`Functions::field`], and `DATATYPE_MISMATCH.*` for a key of another type.
    pub fn index(&self, expr: Expr, key: Expr, schema: &DFSchema) -> Result<Expr> {
        match (expr.get_type(schema)?, &key) {
            (DataType::Map(..), _) => self.plain("map_item", vec![expr, key], schema),
            (DataType::Struct(_), Expr::Literal(ScalarValue::Utf8(Some(name)), _)) => {
                let name = name.clone();
                self.field(expr, &name, schema)
            }
            (DataType::List(element), Expr::Literal(ScalarValue::Utf8(Some(name)), _))
                if matches!(element.data_type(), DataType::Struct(_)) =>
            {
                let name = name.clone();
                self.field(expr, &name, schema)
            }
            (DataType::List(_), _) => self.plain("array_item", vec![expr, key], schema),
            (other, _) => Err(no_fields(&other)),
        }
    }
}

/// The one name that equals `wanted` but for case.
fn exact_name<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Result<String> {
    let names: Vec<&str> = names.collect();
    let matching: Vec<&str> =
        names.iter().copied().filter(|name| name.to_lowercase() == wanted.to_lowercase()).collect();
    match matching.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(spark_error(
            "FIELD_NOT_FOUND",
            format!("No such struct field `{wanted}` in `{}`.", names.join("`, `")),
        )),
        several => Err(spark_error(
            "AMBIGUOUS_REFERENCE_TO_FIELDS",
            format!(
                "Ambiguous reference to the field `{wanted}`. It appears {} times in the schema.",
                several.len()
            ),
        )),
    }
}

fn no_fields(data_type: &DataType) -> DataFusionError {
    spark_error(
        "INVALID_EXTRACT_BASE_FIELD_TYPE",
        format!(
            "Can't extract a value from the expression. Need a complex type [STRUCT, ARRAY, MAP] \
             but got \"{}\".",
            type_name(data_type)
        ),
    )
}
