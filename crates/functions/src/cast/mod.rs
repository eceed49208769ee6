//! Spark's `CAST` and `TRY_CAST`.
//!
//! [`cast_array`] is the one place that changes the type of values. A failure is an error when
//! ANSI is on, and NULL otherwise and in `TRY_CAST`.

mod allowed;
mod fallible;
mod nested;
mod number;
mod text;
mod time;

pub(crate) mod parse;
pub(crate) mod print;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};

pub(crate) use allowed::check;
pub use fallible::FallibleCast;
pub(crate) use number::{Number, numbers};

use crate::coercion::{is_numeric, is_timestamp, type_name};
use crate::error::spark_error;
use crate::settings::FunctionSettings;
use crate::zone::Zone;

/// What a cast does with a value that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnFailure {
    /// An error of Spark's class: `CAST` with ANSI on.
    Error,
    /// NULL, or wrap-around where Spark wraps: `CAST` with ANSI off.
    Legacy,
    /// NULL: `TRY_CAST`.
    Null,
}

/// Everything one cast needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CastContext<'a> {
    pub(crate) from: &'a DataType,
    pub(crate) to: &'a DataType,
    pub(crate) on_failure: OnFailure,
    pub(crate) zone: Zone,
}

impl CastContext<'_> {
    /// NULL, or the error when errors are wanted.
    pub(crate) fn failed<T>(&self, error: impl FnOnce() -> DataFusionError) -> Result<Option<T>> {
        match self.on_failure {
            OnFailure::Error => Err(error()),
            OnFailure::Legacy | OnFailure::Null => Ok(None),
        }
    }

    /// `CAST_INVALID_INPUT`.
    pub(crate) fn invalid(&self, value: &str) -> DataFusionError {
        spark_error(
            "CAST_INVALID_INPUT",
            format!(
                "The value {} of the type \"{}\" cannot be cast to \"{}\" because it is malformed. \
                 Correct the value as per the syntax, or change its target type. Use `try_cast` to \
                 tolerate malformed input and return NULL instead.",
                value,
                type_name(self.from),
                type_name(self.to)
            ),
        )
    }

    /// `CAST_OVERFLOW`.
    pub(crate) fn overflow(&self, value: &str) -> DataFusionError {
        spark_error(
            "CAST_OVERFLOW",
            format!(
                "The value {value} of the type \"{}\" cannot be cast to \"{}\" due to an overflow. \
                 Use `try_cast` to tolerate overflow and return NULL instead.",
                type_name(self.from),
                type_name(self.to)
            ),
        )
    }

    /// `NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION`.
    pub(crate) fn out_of_range(&self, value: &str) -> DataFusionError {
        let (precision, scale) = match self.to {
            DataType::Decimal128(p, s) => (*p, *s),
            _ => (38, 0),
        };
        decimal_out_of_range(value, precision, scale)
    }

    /// The same cast between other types, for parts of nested values.
    pub(crate) fn part<'b>(&self, from: &'b DataType, to: &'b DataType) -> CastContext<'b> {
        CastContext { from, to, on_failure: self.on_failure, zone: self.zone }
    }
}

/// `NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION`.
pub(crate) fn decimal_out_of_range(value: &str, precision: u8, scale: i8) -> DataFusionError {
    spark_error(
        "NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION",
        format!(
            "The {value} rounded half up from {value} cannot be represented as \
             Decimal({precision}, {scale}). If necessary set \"spark.sql.ansi.enabled\" to \
             \"false\" to bypass this error, and return NULL instead."
        ),
    )
}

/// Casts an array with the session's settings.
///
/// # Errors
/// Spark's error class for a pair of types it refuses, or for a value that does not fit.
pub fn spark_cast(
    array: &ArrayRef,
    to: &DataType,
    on_failure: OnFailure,
    settings: &FunctionSettings,
) -> Result<ArrayRef> {
    check(array.data_type(), to, on_failure)?;
    let zone = settings.zone()?;
    cast_array(array, &CastContext { from: array.data_type(), to, on_failure, zone })
}

/// Casts without asking whether Spark allows the pair of types.
pub(crate) fn cast_array(array: &ArrayRef, ctx: &CastContext) -> Result<ArrayRef> {
    use DataType::{Binary, Boolean, Date32, List, Map, Null, Struct, Utf8};
    if ctx.from == ctx.to {
        return Ok(std::sync::Arc::clone(array));
    }
    match (ctx.from, ctx.to) {
        (Null, to) => Ok(new_null_array(to, array.len())),
        (Utf8, Binary) => Ok(arrow::compute::cast(array, &Binary)?),
        (_, Utf8) => text::to_text(array, ctx),
        (Utf8, _) => text::from_text(array, ctx),
        (Boolean | Date32, to) if *to == Boolean || is_numeric(to) => {
            if *ctx.from == Boolean {
                number::from_boolean(array, ctx)
            } else {
                Ok(new_null_array(to, array.len()))
            }
        }
        (from, Boolean) if is_numeric(from) || is_timestamp(from) => number::to_boolean(array, ctx),
        (from, Binary) if is_numeric(from) => number::to_binary(array, ctx),
        (from, to) if is_numeric(from) && is_numeric(to) => number::between_numbers(array, ctx),
        (from, to) if is_timestamp(from) && is_numeric(to) => time::to_number(array, ctx),
        (from, to) if is_timestamp(to) && (is_numeric(from) || *from == Boolean) => {
            time::from_number(array, ctx)
        }
        (from, to)
            if (is_timestamp(from) || *from == Date32) && (is_timestamp(to) || *to == Date32) =>
        {
            time::between_times(array, ctx)
        }
        (List(_), List(_)) => nested::list(array, ctx),
        (Map(..), Map(..)) => nested::map(array, ctx),
        (Struct(_), Struct(_)) => nested::structs(array, ctx),
        (from, to) => arrow::compute::cast(array, to)
            .map_err(|_| DataFusionError::Internal(format!("no cast from {from} to {to}"))),
    }
}
