//! NULL handling and comparison of several values. Those that must not evaluate every argument
//! are expressions and live in `special`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float32Array, Float64Array, UInt32Array};
use arrow::compute::{SortOptions, interleave};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::ColumnarValue;

use crate::cast::{self, CastContext, OnFailure};
use crate::coercion;
use crate::def::{Call, ColumnarCall, Def, Eval, Param, Params, Sig, own};
use crate::error::spark_error;
use crate::settings::FunctionSettings;

pub(crate) const DEFS: &[Def] = &[
    own("greatest", &[], Params::Custom(extreme_params), first_type, |call| extreme(call, true)),
    own("least", &[], Params::Custom(extreme_params), first_type, |call| extreme(call, false)),
    own("nanvl", &[], Params::Exact(&[Param::Double, Param::Double]), first_type, nanvl),
    own("isnan", &[], Params::Exact(&[Param::Double]), |_| Ok(DataType::Boolean), isnan),
    own("raise_error", &[], Params::Exact(&[Param::Str]), |_| Ok(DataType::Null), raise_error),
    cast_def("spark_cast", Eval::Columnar(cast_type, spark_cast)),
    cast_def("spark_try_cast", Eval::Columnar(cast_type, spark_try_cast)),
    own("normalize_zero", &[], Params::Exact(&[Param::Any]), first_type, normalize_zero),
];

/// The type of the first argument.
pub(crate) fn first_type(sig: &Sig) -> Result<DataType> {
    Ok(sig.data_type(0))
}

fn cast_params(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    Ok(types.to_vec())
}

fn cast_type(sig: &Sig) -> Result<DataType> {
    let text = sig
        .text(1)
        .ok_or_else(|| DataFusionError::Internal("a cast without its target type".to_owned()))?;
    let target = millstream_types::DataType::parse_ddl(text)
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
    Ok(target.to_arrow())
}

/// With ANSI off, numbers and text are not brought together here.
fn extreme_params(types: &[DataType], settings: &FunctionSettings) -> Result<Vec<DataType>> {
    if types.len() < 2 {
        return Err(crate::def::wrong_count("greatest", Params::Common(2), types.len()));
    }
    let text = types.iter().any(|t| matches!(t, DataType::Utf8));
    let other = types.iter().any(|t| !matches!(t, DataType::Utf8 | DataType::Null));
    if text && other && !settings.ansi {
        return Err(spark_error(
            "DATATYPE_MISMATCH.DATA_DIFF_TYPES",
            "Cannot resolve the expression due to data type mismatch: Input should all be the \
             same type.",
        ));
    }
    Ok(vec![common(types, settings)?; types.len()])
}

const fn cast_def(name: &'static str, eval: Eval) -> Def {
    Def { name, aliases: &[], params: Params::Custom(cast_params), eval, immutable: true }
}

fn spark_cast(call: &ColumnarCall) -> Result<ColumnarValue> {
    let on_failure = if call.settings.ansi { OnFailure::Error } else { OnFailure::Legacy };
    cast_first(call, on_failure)
}

fn spark_try_cast(call: &ColumnarCall) -> Result<ColumnarValue> {
    cast_first(call, OnFailure::Null)
}

fn cast_first(call: &ColumnarCall, on_failure: OnFailure) -> Result<ColumnarValue> {
    let zone = call.settings.zone()?;
    let cast = |array: &ArrayRef| {
        let from = array.data_type();
        cast::cast_array(array, &CastContext { from, to: call.return_type, on_failure, zone })
    };
    match call.args.first() {
        Some(ColumnarValue::Array(array)) => Ok(ColumnarValue::Array(cast(array)?)),
        Some(ColumnarValue::Scalar(value)) => {
            let array = cast(&value.to_array_of_size(1)?)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
        }
        None => Err(DataFusionError::Internal("a cast without a value".to_owned())),
    }
}

/// The largest or smallest value that is not NULL; NaN is larger than every number.
fn extreme(call: &Call, largest: bool) -> Result<ArrayRef> {
    let options = SortOptions::default();
    let field = SortField::new_with_options(call.return_type.clone(), options);
    let converter = RowConverter::new(vec![field])?;
    let columns = call
        .args
        .iter()
        .map(|array| converter.convert_columns(&[Arc::clone(array)]))
        .collect::<Result<Vec<_>, _>>()?;
    let mut picks = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let mut best: Option<usize> = None;
        for (index, array) in call.args.iter().enumerate() {
            if array.is_null(row) {
                continue;
            }
            let better = match best.and_then(|b| columns.get(b)).zip(columns.get(index)) {
                Some((old, new)) if largest => new.row(row) > old.row(row),
                Some((old, new)) => new.row(row) < old.row(row),
                None => true,
            };
            if better {
                best = Some(index);
            }
        }
        // When all are NULL the first argument's NULL is the answer.
        picks.push((best.unwrap_or(0), row));
    }
    let arrays: Vec<&dyn Array> = call.args.iter().map(AsRef::as_ref).collect();
    Ok(interleave(&arrays, &picks)?)
}

fn nanvl(call: &Call) -> Result<ArrayRef> {
    let (values, others) = (call.doubles(0)?, call.doubles(1)?);
    let array: Float64Array = values
        .iter()
        .zip(others)
        .map(|(value, other)| if value.is_some_and(f64::is_nan) { other } else { value })
        .collect();
    Ok(Arc::new(array))
}

/// FALSE for NULL.
fn isnan(call: &Call) -> Result<ArrayRef> {
    let array: arrow::array::BooleanArray =
        call.doubles(0)?.iter().map(|v| Some(v.is_some_and(f64::is_nan))).collect();
    Ok(Arc::new(array))
}

fn raise_error(call: &Call) -> Result<ArrayRef> {
    let messages = call.strings(0)?;
    if call.rows == 0 {
        return Ok(call.nulls());
    }
    let message = if messages.is_null(0) { "null" } else { messages.value(0) };
    Err(spark_error("USER_RAISED_EXCEPTION", message))
}

fn normalize_zero(call: &Call) -> Result<ArrayRef> {
    let array = call.array(0)?;
    Ok(match array.data_type() {
        DataType::Float64 => {
            let array: Float64Array =
                arrow::array::AsArray::as_primitive::<Float64Type>(array).unary(|v| v + 0.0);
            Arc::new(array)
        }
        DataType::Float32 => {
            let array: Float32Array =
                arrow::array::AsArray::as_primitive::<Float32Type>(array).unary(|v| v + 0.0);
            Arc::new(array)
        }
        _ => Arc::clone(array),
    })
}

/// Gathers rows of one array; NULL where there is no row.
pub(crate) fn take(array: &ArrayRef, rows: &[Option<usize>]) -> Result<ArrayRef> {
    let indices: UInt32Array =
        rows.iter().map(|row| row.and_then(|row| u32::try_from(row).ok())).collect();
    Ok(arrow::compute::take(array.as_ref(), &indices, None)?)
}

/// The common type of all arguments, for `Params::Custom` functions.
pub(crate) fn common(types: &[DataType], settings: &FunctionSettings) -> Result<DataType> {
    coercion::common_type(types, settings)
}
