//! Mathematical functions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue};

use crate::cast::{CastContext, OnFailure, cast_array, parse, print};
use crate::coercion::{adjusted, decimal_form, implicit, is_integral, is_numeric};
use crate::conditional::first_type;
use crate::def::{Call, Def, Param, Params, Sig, own, wrong_count};
use crate::error::{overflow, spark_error};
use crate::settings::FunctionSettings;

use Param::{Double, Int, Long, Str};

const D1: Params = Params::Exact(&[Double]);
const D2: Params = Params::Exact(&[Double, Double]);

fn double(_: &Sig) -> Result<DataType> {
    Ok(DataType::Float64)
}

fn int(_: &Sig) -> Result<DataType> {
    Ok(DataType::Int32)
}

fn long(_: &Sig) -> Result<DataType> {
    Ok(DataType::Int64)
}

fn text(_: &Sig) -> Result<DataType> {
    Ok(DataType::Utf8)
}

macro_rules! real {
    ($name:literal, $aliases:expr, $f:expr) => {
        own($name, $aliases, D1, double, |c| c.double_values(|r| Ok(c.double(0, r)?.map($f))))
    };
}

macro_rules! positive_real {
    ($name:literal, $aliases:expr, $above:expr, $f:expr) => {
        own($name, $aliases, D1, double, |c| {
            c.double_values(|r| Ok(c.double(0, r)?.filter(|v| v.is_nan() || *v > $above).map($f)))
        })
    };
}

pub(crate) const DEFS: &[Def] = &[
    real!("sqrt", &[], f64::sqrt),
    real!("cbrt", &[], f64::cbrt),
    real!("exp", &[], f64::exp),
    real!("expm1", &[], f64::exp_m1),
    real!("sin", &[], f64::sin),
    real!("cos", &[], f64::cos),
    real!("tan", &[], f64::tan),
    real!("cot", &[], |v: f64| 1.0 / v.tan()),
    real!("csc", &[], |v: f64| 1.0 / v.sin()),
    real!("sec", &[], |v: f64| 1.0 / v.cos()),
    real!("asin", &[], f64::asin),
    real!("acos", &[], f64::acos),
    real!("atan", &[], f64::atan),
    real!("sinh", &[], f64::sinh),
    real!("cosh", &[], f64::cosh),
    real!("tanh", &[], f64::tanh),
    real!("asinh", &[], f64::asinh),
    real!("acosh", &[], f64::acosh),
    real!("atanh", &[], f64::atanh),
    real!("degrees", &[], f64::to_degrees),
    real!("radians", &[], f64::to_radians),
    real!("rint", &[], f64::round_ties_even),
    real!("signum", &["sign"], |v: f64| if v == 0.0 || v.is_nan() { v } else { v.signum() }),
    positive_real!("ln", &[], 0.0, f64::ln),
    positive_real!("log10", &[], 0.0, f64::log10),
    positive_real!("log2", &[], 0.0, f64::log2),
    positive_real!("log1p", &[], -1.0, f64::ln_1p),
    own("log", &[], Params::Optional(1, &[Double, Double]), double, log),
    own("power", &["pow"], D2, double, |c| two(c, f64::powf)),
    own("atan2", &[], D2, double, |c| two(c, |a, b| (a + 0.0).atan2(b + 0.0))),
    own("hypot", &[], D2, double, |c| two(c, f64::hypot)),
    own("pi", &[], Params::Exact(&[]), double, |c| {
        c.double_values(|_| Ok(Some(std::f64::consts::PI)))
    }),
    own("e", &[], Params::Exact(&[]), double, |c| {
        c.double_values(|_| Ok(Some(std::f64::consts::E)))
    }),
    own("ceil", &["ceiling"], Params::Custom(floor_params), floor_type, |c| floor(c, true)),
    own("floor", &[], Params::Custom(floor_params), floor_type, |c| floor(c, false)),
    own("round", &[], Params::Custom(round_params), round_type, |c| round(c, Half::Up)),
    own("bround", &[], Params::Custom(round_params), round_type, |c| round(c, Half::Even)),
    own("factorial", &[], Params::Exact(&[Int]), long, factorial),
    own("bin", &[], Params::Exact(&[Long]), text, |c| {
        c.texts(|r| Ok(c.long(0, r)?.map(|v| format!("{v:b}"))))
    }),
    own("conv", &[], Params::Exact(&[Str, Int, Int]), text, conv),
    own("shiftleft", &[], Params::Custom(shift_params), first_type, |c| {
        shift(c, |v, n| v.wrapping_shl(n), |v, n| v.wrapping_shl(n))
    }),
    own("shiftright", &[], Params::Custom(shift_params), first_type, |c| {
        shift(c, |v, n| v.wrapping_shr(n), |v, n| v.wrapping_shr(n))
    }),
    own("shiftrightunsigned", &[], Params::Custom(shift_params), first_type, |c| {
        shift(
            c,
            |v, n| v.cast_unsigned().wrapping_shr(n).cast_signed(),
            |v, n| v.cast_unsigned().wrapping_shr(n).cast_signed(),
        )
    }),
    own("bit_not", &[], Params::Custom(one_integer), first_type, bit_not),
    own("bit_count", &[], Params::Custom(bits_params), int, bit_count),
    own("bit_get", &["getbit"], Params::Exact(&[Long, Int]), |_| Ok(DataType::Int8), bit_get),
    own("width_bucket", &[], Params::Exact(&[Double, Double, Double, Long]), long, width_bucket),
];

fn two(call: &Call, f: fn(f64, f64) -> f64) -> Result<ArrayRef> {
    call.double_values(|r| Ok(call.double(0, r)?.zip(call.double(1, r)?).map(|(a, b)| f(a, b))))
}

/// `log(x)` or `log(base, x)`; NULL unless both are positive.
fn log(call: &Call) -> Result<ArrayRef> {
    call.double_values(|r| {
        let first = call.double(0, r)?.filter(|v| v.is_nan() || *v > 0.0);
        if !call.has(1) {
            return Ok(first.map(f64::ln));
        }
        let value = call.double(1, r)?.filter(|v| v.is_nan() || *v > 0.0);
        Ok(first.zip(value).map(|(base, value)| value.ln() / base.ln()))
    })
}

fn floor_params(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    let number = |t: &DataType| match t {
        t if is_integral(t) => Ok(DataType::Int64),
        DataType::Decimal128(..) => Ok(t.clone()),
        other => implicit("floor", Double, other),
    };
    match types {
        [value] => Ok(vec![number(value)?]),
        [value, _] => {
            // With a scale everything is a decimal.
            let value = match decimal_form(value) {
                Some((p, s)) => DataType::Decimal128(p, s),
                None => DataType::Decimal128(30, 15),
            };
            Ok(vec![value, DataType::Int32])
        }
        _ => Err(wrong_count("floor", Params::Optional(1, &[Double, Int]), types.len())),
    }
}

fn literal_int(sig: &Sig, index: usize) -> Option<i32> {
    match sig.literals.get(index).copied().flatten() {
        Some(ScalarValue::Int32(value)) => *value,
        _ => None,
    }
}

fn floor_type(sig: &Sig) -> Result<DataType> {
    match sig.data_type(0) {
        DataType::Decimal128(p, s) if sig.types.len() == 1 => {
            Ok(adjusted(i16::from(p) - i16::from(s) + 1, 0))
        }
        DataType::Decimal128(p, s) => rounded_decimal(sig, p, s),
        _ => Ok(DataType::Int64),
    }
}

fn floor(call: &Call, up: bool) -> Result<ArrayRef> {
    let array = call.array(0)?;
    match (array.data_type(), call.return_type) {
        (DataType::Decimal128(_, from), DataType::Decimal128(p, to)) => {
            let places = call.int(1, 0).unwrap_or(None).unwrap_or(0);
            let digits = i32::from(*from) - places;
            let values = array.as_primitive::<Decimal128Type>();
            let changed: Decimal128Array = values
                .iter()
                .map(|v| v.and_then(|v| floor_decimal(v, digits, i32::from(*to) - places, up)))
                .collect();
            Ok(Arc::new(changed.with_precision_and_scale(*p, *to)?))
        }
        (DataType::Float64, _) => call.long_values(|r| {
            // Java narrows what is out of range to the nearest BIGINT.
            Ok(call.double(0, r)?.map(|v| if up { v.ceil() as i64 } else { v.floor() as i64 }))
        }),
        _ => Ok(Arc::clone(array)),
    }
}

/// Drops `digits` digits towards one side, and appends `zeros` noughts.
fn floor_decimal(value: i128, digits: i32, zeros: i32, up: bool) -> Option<i128> {
    let kept = if digits <= 0 {
        value
    } else {
        let divisor = 10i128.checked_pow(u32::try_from(digits).ok()?)?;
        let floor = value.div_euclid(divisor);
        if up && value.rem_euclid(divisor) != 0 { floor + 1 } else { floor }
    };
    let zeros = if digits <= 0 { zeros + digits } else { zeros };
    kept.checked_mul(10i128.checked_pow(u32::try_from(zeros).ok()?)?)
}

fn round_params(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [value, rest @ ..] if rest.len() <= 1 => {
            let value =
                if is_numeric(value) { value.clone() } else { implicit("round", Double, value)? };
            Ok(std::iter::once(value).chain(rest.iter().map(|_| DataType::Int32)).collect())
        }
        _ => Err(wrong_count("round", Params::Optional(1, &[Double, Int]), types.len())),
    }
}

fn round_type(sig: &Sig) -> Result<DataType> {
    match sig.data_type(0) {
        DataType::Decimal128(p, s) => rounded_decimal(sig, p, s),
        other => Ok(other),
    }
}

/// The type of a decimal rounded to a literal number of places.
fn rounded_decimal(sig: &Sig, precision: u8, scale: i8) -> Result<DataType> {
    let places =
        if sig.types.len() == 1 { 0 } else { literal_int(sig, 1).unwrap_or(i32::from(scale)) };
    let whole = i16::from(precision) - i16::from(scale) + 1;
    if places < 0 {
        let width = whole.max(i16::try_from(1 - places).unwrap_or(38));
        return Ok(adjusted(width, 0));
    }
    let kept = i16::try_from(places).unwrap_or(38).min(i16::from(scale));
    Ok(adjusted(whole + kept, kept))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Up,
    Even,
}

fn round(call: &Call, half: Half) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let places = |r: usize| -> Result<i32> {
        Ok(if call.has(1) { call.int(1, r)?.unwrap_or(0) } else { 0 })
    };
    if call.has(1) && call.array(1)?.null_count() == call.rows && call.rows > 0 {
        return Ok(call.nulls());
    }
    match (array.data_type(), call.return_type) {
        (DataType::Decimal128(_, from), DataType::Decimal128(p, to)) => {
            let values = array.as_primitive::<Decimal128Type>();
            let mut changed = Vec::with_capacity(call.rows);
            for (row, value) in values.iter().enumerate() {
                let Some(value) = value else {
                    changed.push(None);
                    continue;
                };
                let places = places(row)?.min(i32::from(*from));
                let kept = round_digits(value, i32::from(*from) - places, half);
                let zeros = u32::try_from(i32::from(*to) - places).unwrap_or(0);
                let value = kept.and_then(|v| v.checked_mul(10i128.checked_pow(zeros)?));
                changed.push(value);
            }
            let changed: Decimal128Array = changed.into_iter().collect();
            Ok(Arc::new(changed.with_precision_and_scale(*p, *to)?))
        }
        (DataType::Float64, _) => call.double_values(|r| {
            let Some(value) = call.double(0, r)? else { return Ok(None) };
            Ok(Some(round_double(value, places(r)?, half)))
        }),
        (DataType::Float32, _) => {
            let values = array.as_primitive::<Float32Type>();
            let rounded = call.primitives::<Float32Type>(|r| {
                if values.is_null(r) {
                    return Ok(None);
                }
                let text = print::float(values.value(r));
                let exact = text.parse().unwrap_or(f64::NAN);
                Ok(Some(round_double(exact, places(r)?, half) as f32))
            })?;
            Ok(Arc::new(rounded))
        }
        (t, _) if is_integral(t) => {
            let wide = arrow::compute::cast(array, &DataType::Int64)?;
            let wide = wide.as_primitive::<Int64Type>();
            let rounded = call.primitives::<Int64Type>(|r| {
                if wide.is_null(r) {
                    return Ok(None);
                }
                let places = places(r)?;
                if places >= 0 {
                    return Ok(Some(wide.value(r)));
                }
                let digits = -places;
                let zeros = u32::try_from(digits).unwrap_or(u32::MAX);
                let value = round_digits(i128::from(wide.value(r)), digits, half)
                    .and_then(|v| v.checked_mul(10i128.checked_pow(zeros)?))
                    .and_then(|v| i64::try_from(v).ok());
                Ok(Some(value.unwrap_or(0)))
            })?;
            let from = DataType::Int64;
            let on_failure = if call.settings.ansi { OnFailure::Error } else { OnFailure::Legacy };
            let zone = call.zone()?;
            let ctx = CastContext { from: &from, to: call.return_type, on_failure, zone };
            cast_array(&(Arc::new(rounded) as ArrayRef), &ctx).map_err(|_| overflow("integer", ""))
        }
        (other, _) => Err(DataFusionError::Internal(format!("no rounding of {other}"))),
    }
}

/// Drops `digits` digits, rounding to the nearest.
fn round_digits(value: i128, digits: i32, half: Half) -> Option<i128> {
    if digits <= 0 {
        return Some(value);
    }
    let Some(divisor) = 10i128.checked_pow(u32::try_from(digits).ok()?) else { return Some(0) };
    let (quotient, rest) = (value / divisor, (value % divisor).unsigned_abs());
    let twice = rest.saturating_mul(2);
    let limit = divisor.unsigned_abs();
    let up = twice > limit || twice == limit && (half == Half::Up || quotient % 2 != 0);
    Some(if up { quotient + value.signum() } else { quotient })
}

/// Spark rounds the decimal digits that the double prints.
fn round_double(value: f64, places: i32, half: Half) -> f64 {
    if !value.is_finite() {
        return value;
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let fraction = i32::try_from(digits.len()).unwrap_or(0) - 1;
    let scale = fraction - exponent;
    if places >= scale {
        return value;
    }
    let unscaled: i128 = digits.parse().unwrap_or(0);
    let unscaled = if value < 0.0 { -unscaled } else { unscaled };
    let rounded = round_digits(unscaled, scale - places, half).unwrap_or(0);
    format!("{rounded}e{}", -places).parse().unwrap_or(value)
}

fn factorial(call: &Call) -> Result<ArrayRef> {
    call.long_values(|r| {
        Ok(call.int(0, r)?.filter(|v| (0..=20).contains(v)).map(|v| (1..=i64::from(v)).product()))
    })
}

/// Java's `conv`: the longest prefix of valid digits, as an unsigned 64-bit number.
fn conv(call: &Call) -> Result<ArrayRef> {
    call.texts(|r| {
        let (Some(text), Some(from), Some(to)) =
            (call.str(0, r)?, call.int(1, r)?, call.int(2, r)?)
        else {
            return Ok(None);
        };
        let base = u32::try_from(from).ok().filter(|b| (2..=36).contains(b));
        let (Some(base), true) = (base, (2..=36).contains(&to.unsigned_abs())) else {
            return Ok(None);
        };
        let text = parse::trim(text);
        if text.is_empty() {
            return Ok(None);
        }
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut value: u64 = 0;
        for digit in digits.chars().map_while(|c| c.to_digit(base)) {
            let next =
                value.checked_mul(u64::from(base)).and_then(|v| v.checked_add(u64::from(digit)));
            value = match next {
                Some(next) => next,
                None if call.settings.ansi => return Err(overflow("long", "")),
                None => {
                    value = u64::MAX;
                    break;
                }
            };
        }
        if negative {
            value = if to > 0 { value.wrapping_neg() } else { value };
        }
        let signed = value.cast_signed();
        let minus = to < 0 && (negative || signed < 0);
        let shown = if to < 0 && signed < 0 && !negative { signed.unsigned_abs() } else { value };
        let sign = if minus { "-" } else { "" };
        Ok(Some(format!("{sign}{}", in_base(shown, to.unsigned_abs()))))
    })
}

fn in_base(mut value: u64, base: u32) -> String {
    if value == 0 {
        return "0".to_owned();
    }
    let mut digits = Vec::new();
    while value > 0 {
        let digit = u32::try_from(value % u64::from(base)).unwrap_or(0);
        digits.push(char::from_digit(digit, base).unwrap_or('0').to_ascii_uppercase());
        value /= u64::from(base);
    }
    digits.into_iter().rev().collect()
}

fn shift_params(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [DataType::Int64, _] => Ok(vec![DataType::Int64, DataType::Int32]),
        [value, count] => Ok(vec![implicit("shift", Int, value)?, implicit("shift", Int, count)?]),
        _ => Err(wrong_count("shift", Params::Exact(&[Int, Int]), types.len())),
    }
}

fn shift(call: &Call, narrow: fn(i32, u32) -> i32, wide: fn(i64, u32) -> i64) -> Result<ArrayRef> {
    let count = |r: usize| Ok::<_, DataFusionError>(call.int(1, r)?.map(i32::cast_unsigned));
    if matches!(call.return_type, DataType::Int64) {
        return call.long_values(|r| Ok(call.long(0, r)?.zip(count(r)?).map(|(v, n)| wide(v, n))));
    }
    call.int_values(|r| Ok(call.int(0, r)?.zip(count(r)?).map(|(v, n)| narrow(v, n))))
}

fn one_integer(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [t] if is_integral(t) => Ok(types.to_vec()),
        [DataType::Null] => Ok(vec![DataType::Int32]),
        [t] => Err(spark_error(
            "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
            format!(
                "The first parameter requires the \"INTEGRAL\" type, however it has the type \"{}\".",
                crate::coercion::type_name(t)
            ),
        )),
        _ => Err(wrong_count("~", Params::Exact(&[Int]), types.len())),
    }
}

fn bit_not(call: &Call) -> Result<ArrayRef> {
    Ok(match call.array(0)?.data_type() {
        DataType::Int8 => Arc::new(
            call.array(0)?
                .as_primitive::<arrow::datatypes::Int8Type>()
                .unary::<_, arrow::datatypes::Int8Type>(|v| !v),
        ),
        DataType::Int16 => Arc::new(
            call.array(0)?
                .as_primitive::<arrow::datatypes::Int16Type>()
                .unary::<_, arrow::datatypes::Int16Type>(|v| !v),
        ),
        DataType::Int32 => call.int_values(|r| Ok(call.int(0, r)?.map(|v| !v)))?,
        _ => call.long_values(|r| Ok(call.long(0, r)?.map(|v| !v)))?,
    })
}

fn bits_params(types: &[DataType], settings: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [DataType::Boolean] => Ok(types.to_vec()),
        _ => one_integer(types, settings).map(|_| vec![DataType::Int64]),
    }
}

fn bit_count(call: &Call) -> Result<ArrayRef> {
    if matches!(call.array(0)?.data_type(), DataType::Boolean) {
        return call.int_values(|r| Ok(call.bool(0, r)?.map(i32::from)));
    }
    call.int_values(|r| Ok(call.long(0, r)?.and_then(|v| i32::try_from(v.count_ones()).ok())))
}

fn bit_get(call: &Call) -> Result<ArrayRef> {
    let bits = call.primitives::<arrow::datatypes::Int8Type>(|r| {
        let (Some(value), Some(at)) = (call.long(0, r)?, call.int(1, r)?) else { return Ok(None) };
        if !(0..64).contains(&at) {
            return Err(spark_error(
                "INVALID_PARAMETER_VALUE.BIT_POSITION_RANGE",
                format!("The bit position {at} is out of bounds."),
            ));
        }
        Ok(Some(if value >> at & 1 == 1 { 1 } else { 0 }))
    })?;
    Ok(Arc::new(bits))
}

fn width_bucket(call: &Call) -> Result<ArrayRef> {
    call.long_values(|r| {
        let (Some(value), Some(low), Some(high), Some(count)) =
            (call.double(0, r)?, call.double(1, r)?, call.double(2, r)?, call.long(3, r)?)
        else {
            return Ok(None);
        };
        if count <= 0 || count == i64::MAX || low == high || !low.is_finite() || !high.is_finite() {
            return Ok(None);
        }
        let position = (value - low) / (high - low);
        Ok(Some(if position < 0.0 {
            0
        } else if position >= 1.0 {
            count + 1
        } else {
            (position * count as f64) as i64 + 1
        }))
    })
}
