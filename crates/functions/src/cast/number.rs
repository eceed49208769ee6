//! Casts between numbers, and between numbers and booleans.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, Decimal128Array,
    PrimitiveArray,
};
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use datafusion::common::{DataFusionError, Result};

use super::parse::{self, Parsed};
use super::{CastContext, OnFailure, print};
use crate::coercion::is_integral;

/// A number of any type, as one of three forms.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    /// An integer.
    Whole(i64),
    /// A double, or a float widened.
    Float(f64),
    /// Unscaled value and scale.
    Decimal(i128, i8),
}

/// Reads a numeric array value by value.
pub(crate) fn numbers(array: &ArrayRef) -> Result<Vec<Option<Number>>> {
    fn whole<T: ArrowPrimitiveType<Native: Into<i64>>>(array: &ArrayRef) -> Vec<Option<Number>> {
        array.as_primitive::<T>().iter().map(|v| v.map(|v| Number::Whole(v.into()))).collect()
    }
    Ok(match array.data_type() {
        DataType::Int8 => whole::<Int8Type>(array),
        DataType::Int16 => whole::<Int16Type>(array),
        DataType::Int32 => whole::<Int32Type>(array),
        DataType::Int64 => whole::<Int64Type>(array),
        DataType::Float32 => array
            .as_primitive::<Float32Type>()
            .iter()
            .map(|v| v.map(|v| Number::Float(f64::from(v))))
            .collect(),
        DataType::Float64 => {
            array.as_primitive::<Float64Type>().iter().map(|v| v.map(Number::Float)).collect()
        }
        DataType::Decimal128(_, scale) => array
            .as_primitive::<Decimal128Type>()
            .iter()
            .map(|v| v.map(|v| Number::Decimal(v, *scale)))
            .collect(),
        other => return Err(DataFusionError::Internal(format!("{other} is not a number"))),
    })
}

impl Number {
    /// As a double.
    pub(crate) fn to_f64(self) -> f64 {
        match self {
            Number::Whole(v) => v as f64,
            Number::Float(v) => v,
            // Going through text rounds once, as Java's BigDecimal does.
            Number::Decimal(v, scale) => print::decimal(v, scale, true).parse().unwrap_or(f64::NAN),
        }
    }

    fn text(self) -> String {
        match self {
            Number::Whole(v) => v.to_string(),
            Number::Float(v) => print::double(v),
            Number::Decimal(v, scale) => print::decimal(v, scale, true),
        }
    }
}

/// Any number to any number.
pub(crate) fn between_numbers(array: &ArrayRef, ctx: &CastContext) -> Result<ArrayRef> {
    let widening = is_integral(ctx.from)
        && match ctx.to {
            DataType::Float32 | DataType::Float64 => true,
            to if is_integral(to) => ctx.from.primitive_width() <= to.primitive_width(),
            _ => false,
        };
    if widening || matches!((ctx.from, ctx.to), (DataType::Float32, DataType::Float64)) {
        return Ok(arrow::compute::cast(array, ctx.to)?);
    }
    let values = numbers(array)?;
    match ctx.to {
        DataType::Int8 => integers::<Int8Type>(&values, ctx, |v| v as i8),
        DataType::Int16 => integers::<Int16Type>(&values, ctx, |v| v as i16),
        DataType::Int32 => integers::<Int32Type>(&values, ctx, |v| v as i32),
        DataType::Int64 => integers::<Int64Type>(&values, ctx, |v| v),
        DataType::Float32 => collect::<Float32Type>(&values, |v| match v {
            Number::Decimal(value, scale) => {
                Ok(Some(print::decimal(value, scale, true).parse().unwrap_or(f32::NAN)))
            }
            other => Ok(Some(other.to_f64() as f32)),
        }),
        DataType::Float64 => collect::<Float64Type>(&values, |v| Ok(Some(v.to_f64()))),
        DataType::Decimal128(precision, scale) => decimals(&values, *precision, *scale, ctx),
        other => Err(DataFusionError::Internal(format!("{other} is not a number"))),
    }
}

fn collect<T: ArrowPrimitiveType>(
    values: &[Option<Number>],
    change: impl Fn(Number) -> Result<Option<T::Native>>,
) -> Result<ArrayRef> {
    let array: PrimitiveArray<T> = values
        .iter()
        .map(|v| v.map_or(Ok(None), &change))
        .collect::<Result<PrimitiveArray<T>>>()?;
    Ok(Arc::new(array))
}

fn integers<T>(
    values: &[Option<Number>],
    ctx: &CastContext,
    wrap: fn(i64) -> T::Native,
) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i64>,
{
    collect::<T>(values, |value| {
        let exact = match value {
            Number::Whole(v) => T::Native::try_from(v).ok(),
            Number::Float(v) => exact_float(v).and_then(|v| T::Native::try_from(v).ok()),
            Number::Decimal(v, scale) => {
                i64::try_from(v / 10i128.pow(u32::from(scale.max(0).unsigned_abs())))
                    .ok()
                    .and_then(|v| T::Native::try_from(v).ok())
            }
        };
        if exact.is_some() {
            return Ok(exact);
        }
        match ctx.on_failure {
            OnFailure::Error => Err(ctx.overflow(&value.text())),
            OnFailure::Null => Ok(None),
            OnFailure::Legacy => Ok(Some(wrapped(value, ctx.to, wrap))),
        }
    })
}

/// Java's narrowing with ANSI off.
fn wrapped<N>(value: Number, to: &DataType, wrap: fn(i64) -> N) -> N {
    match value {
        Number::Whole(v) => wrap(v),
        // A double narrows to a long for BIGINT, and to an int first for everything smaller.
        Number::Float(v) if matches!(to, DataType::Int64) => wrap(v as i64),
        Number::Float(v) => wrap(i64::from(v as i32)),
        Number::Decimal(v, scale) => {
            wrap((v / 10i128.pow(u32::from(scale.max(0).unsigned_abs()))) as i64)
        }
    }
}

fn exact_float(value: f64) -> Option<i64> {
    // 2^63 is exactly representable and out of range; the smallest value is in range.
    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0)
        .contains(&value)
        .then_some(value as i64)
}

fn decimals(
    values: &[Option<Number>],
    precision: u8,
    scale: i8,
    ctx: &CastContext,
) -> Result<ArrayRef> {
    let array = values
        .iter()
        .map(|value| {
            let Some(value) = value else { return Ok(None) };
            if matches!(value, Number::Float(v) if !v.is_finite()) {
                return Ok(None);
            }
            match rescale(*value, precision, scale) {
                Some(v) => Ok(Some(v)),
                None => ctx.failed(|| ctx.out_of_range(&value.text())),
            }
        })
        .collect::<Result<Decimal128Array>>()?
        .with_precision_and_scale(precision, scale)?;
    Ok(Arc::new(array))
}

/// A number at another scale, rounded half up; `None` when it has too many digits.
pub(crate) fn rescale(value: Number, precision: u8, scale: i8) -> Option<i128> {
    let limit = 10i128.checked_pow(u32::from(precision))?;
    let scaled = match value {
        Number::Whole(v) => i128::from(v).checked_mul(power(scale)?)?,
        Number::Decimal(v, from) if from <= scale => v.checked_mul(power(scale - from)?)?,
        Number::Decimal(v, from) => divide_half_up(v, power(from - scale)?),
        Number::Float(v) => match parse::decimal(&format!("{v:e}"), precision, scale) {
            Parsed::Value(v) => v,
            Parsed::Malformed | Parsed::TooLarge => return None,
        },
    };
    (scaled.unsigned_abs() < limit.unsigned_abs()).then_some(scaled)
}

fn power(scale: i8) -> Option<i128> {
    10i128.checked_pow(u32::try_from(scale).ok()?)
}

/// Division that rounds halves away from zero.
pub(crate) fn divide_half_up(value: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (value / divisor, value % divisor);
    let twice = rest.unsigned_abs().saturating_mul(2);
    if twice >= divisor.unsigned_abs() {
        quotient + if (value < 0) == (divisor < 0) { 1 } else { -1 }
    } else {
        quotient
    }
}

/// TRUE is one.
pub(crate) fn from_boolean(array: &ArrayRef, ctx: &CastContext) -> Result<ArrayRef> {
    let values: Vec<Option<Number>> =
        array.as_boolean().iter().map(|v| v.map(|v| Number::Whole(i64::from(v)))).collect();
    let from = DataType::Int64;
    let whole: ArrayRef = collect::<Int64Type>(&values, |v| match v {
        Number::Whole(v) => Ok(Some(v)),
        _ => Ok(None),
    })?;
    between_numbers(&whole, &ctx.part(&from, ctx.to)).map_err(|e| e.context("CAST of a boolean"))
}

/// Everything but nought is TRUE.
pub(crate) fn to_boolean(array: &ArrayRef, ctx: &CastContext) -> Result<ArrayRef> {
    if let DataType::Timestamp(..) = ctx.from {
        let values = array.as_primitive::<TimestampMicrosecondType>();
        return Ok(Arc::new(values.iter().map(|v| v.map(|v| v != 0)).collect::<BooleanArray>()));
    }
    let values = numbers(array)?;
    let array: BooleanArray = values
        .into_iter()
        .map(|v| {
            v.map(|v| match v {
                Number::Whole(v) => v != 0,
                Number::Float(v) => v != 0.0,
                Number::Decimal(v, _) => v != 0,
            })
        })
        .collect();
    Ok(Arc::new(array))
}

/// Big-endian bytes of an integer, as wide as its type.
pub(crate) fn to_binary(array: &ArrayRef, ctx: &CastContext) -> Result<ArrayRef> {
    let width = ctx.from.primitive_width().unwrap_or(8);
    let array: BinaryArray = numbers(array)?
        .into_iter()
        .map(|value| match value {
            Some(Number::Whole(v)) => {
                let bytes = v.to_be_bytes();
                Some(bytes.get(bytes.len() - width..).unwrap_or_default().to_vec())
            }
            _ => None,
        })
        .collect();
    Ok(Arc::new(array))
}
