//! Casts between dates, timestamps and numbers of seconds.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Date32Array, Float64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Date32Type, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result};

use super::number::{self, Number};
use super::{CastContext, OnFailure, print};
use crate::coercion::is_integral;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// TIMESTAMP to a number of seconds.
pub(crate) fn to_number(array: &ArrayRef, ctx: &CastContext) -> Result<ArrayRef> {
    let micros = array.as_primitive::<TimestampMicrosecondType>();
    if let DataType::Decimal128(precision, scale) = ctx.to {
        let values: Vec<Option<i128>> = micros
            .iter()
            .map(|v| {
                let Some(v) = v else { return Ok(None) };
                match number::rescale(Number::Decimal(i128::from(v), 6), *precision, *scale) {
                    Some(v) => Ok(Some(v)),
                    None => {
                        ctx.failed(|| ctx.out_of_range(&print::decimal(i128::from(v), 6, true)))
                    }
                }
            })
            .collect::<Result<_>>()?;
        let array = arrow::array::Decimal128Array::from(values);
        return Ok(Arc::new(array.with_precision_and_scale(*precision, *scale)?));
    }
    if !is_integral(ctx.to) {
        let seconds: Float64Array =
            micros.iter().map(|v| v.map(|v| v as f64 / MICROS_PER_SECOND as f64)).collect();
        return Ok(arrow::compute::cast(&seconds, ctx.to)?);
    }
    let seconds: arrow::array::Int64Array =
        micros.iter().map(|v| v.map(|v| v.div_euclid(MICROS_PER_SECOND))).collect();
    // Seconds that do not fit are NULL even with ANSI off.
    let on_failure = match ctx.on_failure {
        OnFailure::Error => OnFailure::Error,
        OnFailure::Legacy | OnFailure::Null => OnFailure::Null,
    };
    let seconds: ArrayRef = Arc::new(seconds);
    if matches!(ctx.to, DataType::Int64) {
        return Ok(seconds);
    }
    let from = DataType::Int64;
    number::between_numbers(&seconds, &CastContext { from: &from, on_failure, ..*ctx })
}

/// A number of seconds (or a boolean, one microsecond) to TIMESTAMP.
pub(crate) fn from_number(array: &ArrayRef, ctx: &CastContext) -> Result<ArrayRef> {
    let micros: TimestampMicrosecondArray = if matches!(ctx.from, DataType::Boolean) {
        array.as_boolean().iter().map(|v| v.map(i64::from)).collect()
    } else {
        number::numbers(array)?
            .into_iter()
            .map(|v| {
                let Some(v) = v else { return Ok(None) };
                match v {
                    Number::Whole(v) => Ok(Some(v.saturating_mul(MICROS_PER_SECOND))),
                    Number::Float(v) if !v.is_finite() => {
                        ctx.failed(|| ctx.invalid(&print::double(v)))
                    }
                    Number::Float(v) => Ok(Some((v * MICROS_PER_SECOND as f64) as i64)),
                    Number::Decimal(v, scale) => {
                        let scaled = v.saturating_mul(i128::from(MICROS_PER_SECOND));
                        let divisor = 10i128.pow(u32::from(scale.max(0).unsigned_abs()));
                        match i64::try_from(scaled / divisor) {
                            Ok(micros) => Ok(Some(micros)),
                            Err(_) => ctx.failed(|| ctx.overflow(&print::decimal(v, scale, true))),
                        }
                    }
                }
            })
            .collect::<Result<_>>()?
    };
    Ok(with_zone(micros, ctx.to))
}

/// Between DATE, TIMESTAMP and TIMESTAMP_NTZ.
pub(crate) fn between_times(array: &ArrayRef, ctx: &CastContext) -> Result<ArrayRef> {
    let zone = ctx.zone;
    match (ctx.from, ctx.to) {
        (DataType::Date32, DataType::Timestamp(_, to)) => {
            let dates = array.as_primitive::<Date32Type>();
            let micros: TimestampMicrosecondArray = dates
                .iter()
                .map(|v| {
                    v.map(|days| {
                        let local = i64::from(days) * MICROS_PER_DAY;
                        if to.is_some() { zone.to_instant(local) } else { local }
                    })
                })
                .collect();
            Ok(with_zone(micros, ctx.to))
        }
        (DataType::Timestamp(_, from), DataType::Date32) => {
            let values = array.as_primitive::<TimestampMicrosecondType>();
            let days: Date32Array = values
                .iter()
                .map(|v| {
                    v.map(|v| {
                        let local = if from.is_some() { zone.to_local(v) } else { v };
                        i32::try_from(local.div_euclid(MICROS_PER_DAY)).unwrap_or(i32::MAX)
                    })
                })
                .collect();
            Ok(Arc::new(days))
        }
        (DataType::Timestamp(_, from), DataType::Timestamp(_, to)) => {
            let values = array.as_primitive::<TimestampMicrosecondType>();
            let changed: TimestampMicrosecondArray = values
                .iter()
                .map(|v| {
                    v.map(|v| match (from.is_some(), to.is_some()) {
                        (true, false) => zone.to_local(v),
                        (false, true) => zone.to_instant(v),
                        _ => v,
                    })
                })
                .collect();
            Ok(with_zone(changed, ctx.to))
        }
        (from, to) => Err(DataFusionError::Internal(format!("no cast from {from} to {to}"))),
    }
}

/// Gives microseconds the time zone of a timestamp type.
pub(crate) fn with_zone(micros: TimestampMicrosecondArray, to: &DataType) -> ArrayRef {
    match to {
        DataType::Timestamp(_, Some(zone)) => Arc::new(micros.with_timezone(Arc::clone(zone))),
        _ => Arc::new(micros),
    }
}
