//! `+ - * / % DIV`, negation, and their tolerant forms.
//!
//! The operands have one type, or are two decimals. With ANSI on a result that does not fit is an
//! error; with ANSI off integers wrap around and decimals become NULL.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Decimal128Array, Int64Array, PrimitiveArray,
};
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use datafusion::common::{DataFusionError, Result};

use crate::cast::decimal_out_of_range;
use crate::cast::print;
use crate::coercion::{adjusted, is_numeric, type_name};
use crate::conditional::first_type;
use crate::def::{Call, DAY_TIME, Def, Param, Params, Sig, own};
use crate::error::{divide_by_zero, overflow, spark_error};
use crate::settings::FunctionSettings;

const TWO: Params = Params::Exact(&[Param::Any, Param::Any]);

pub(crate) const DEFS: &[Def] = &[
    own("spark_add", &[], TWO, |s| result_type(s, Kind::Add), |c| run(c, Kind::Add, false)),
    own("spark_subtract", &[], TWO, |s| result_type(s, Kind::Sub), |c| run(c, Kind::Sub, false)),
    own("spark_multiply", &[], TWO, |s| result_type(s, Kind::Mul), |c| run(c, Kind::Mul, false)),
    own("spark_divide", &[], TWO, |s| result_type(s, Kind::Div), |c| run(c, Kind::Div, false)),
    own("mod", &[], TWO, |s| result_type(s, Kind::Mod), |c| run(c, Kind::Mod, false)),
    own("pmod", &[], TWO, |s| result_type(s, Kind::PMod), |c| run(c, Kind::PMod, false)),
    own("div", &[], TWO, |s| result_type(s, Kind::IntDiv), |c| run(c, Kind::IntDiv, false)),
    own("try_add", &[], TWO, |s| result_type(s, Kind::Add), |c| run(c, Kind::Add, true)),
    own("try_subtract", &[], TWO, |s| result_type(s, Kind::Sub), |c| run(c, Kind::Sub, true)),
    own("try_multiply", &[], TWO, |s| result_type(s, Kind::Mul), |c| run(c, Kind::Mul, true)),
    own("try_divide", &[], TWO, |s| result_type(s, Kind::Div), |c| run(c, Kind::Div, true)),
    own("try_mod", &[], TWO, |s| result_type(s, Kind::Mod), |c| run(c, Kind::Mod, true)),
    own("negative", &[], Params::Custom(negative_params), first_type, negative),
    own("abs", &[], Params::Exact(&[Param::Number]), first_type, abs),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Add,
    Sub,
    Mul,
    Div,
    IntDiv,
    Mod,
    PMod,
}

/// What an operation gives for one pair of operands.
enum Outcome<T> {
    Value(T),
    Overflow,
    ByZero,
}

fn decimal_pair(sig: &Sig) -> Option<((i16, i16), (i16, i16))> {
    match (sig.data_type(0), sig.data_type(1)) {
        (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) => {
            Some(((p1.into(), s1.into()), (p2.into(), s2.into())))
        }
        _ => None,
    }
}

fn result_type(sig: &Sig, kind: Kind) -> Result<DataType> {
    let Some(((p1, s1), (p2, s2))) = decimal_pair(sig) else {
        return Ok(sig.data_type(0));
    };
    Ok(match kind {
        Kind::Add | Kind::Sub => {
            let scale = s1.max(s2);
            adjusted((p1 - s1).max(p2 - s2) + scale + 1, scale)
        }
        Kind::Mul => adjusted(p1 + p2 + 1, s1 + s2),
        Kind::Div => {
            let scale = (s1 + p2 + 1).max(6);
            adjusted(p1 - s1 + s2 + scale, scale)
        }
        Kind::Mod | Kind::PMod => {
            let scale = s1.max(s2);
            adjusted((p1 - s1).min(p2 - s2) + scale, scale)
        }
        Kind::IntDiv => DataType::Int64,
    })
}

fn run(call: &Call, kind: Kind, tolerant: bool) -> Result<ArrayRef> {
    let (left, right) = (call.array(0)?, call.array(1)?);
    match left.data_type() {
        DataType::Int8 => integers::<Int8Type>(call, kind, tolerant, "TINYINT", "tinyint"),
        DataType::Int16 => integers::<Int16Type>(call, kind, tolerant, "SMALLINT", "smallint"),
        DataType::Int32 => integers::<Int32Type>(call, kind, tolerant, "INT", "integer"),
        DataType::Int64 => integers::<Int64Type>(call, kind, tolerant, "BIGINT", "long"),
        DataType::Float64 => floats::<Float64Type>(call, kind, tolerant),
        DataType::Float32 => floats::<Float32Type>(call, kind, tolerant),
        DataType::Decimal128(..) => decimals(call, kind, tolerant),
        _ => Err(DataFusionError::Internal(format!(
            "no arithmetic on {} and {}",
            left.data_type(),
            right.data_type()
        ))),
    }
}

/// By-zero and overflow become errors, NULL, or the wrapped value.
fn settle<T>(
    call: &Call,
    kind: Kind,
    tolerant: bool,
    outcome: Outcome<T>,
    wrapped: impl FnOnce() -> Option<T>,
    error: impl FnOnce() -> DataFusionError,
) -> Result<Option<T>> {
    match outcome {
        Outcome::Value(value) => Ok(Some(value)),
        Outcome::ByZero if tolerant || !call.settings.ansi => Ok(None),
        Outcome::ByZero => Err(by_zero(kind)),
        Outcome::Overflow if tolerant => Ok(None),
        Outcome::Overflow if call.settings.ansi => Err(error()),
        Outcome::Overflow => Ok(wrapped()),
    }
}

fn by_zero(kind: Kind) -> DataFusionError {
    match kind {
        Kind::Mod | Kind::PMod => spark_error(
            "REMAINDER_BY_ZERO",
            "Remainder by zero. Use `try_mod` to tolerate divisor being 0 and return NULL instead. \
             If necessary set \"spark.sql.ansi.enabled\" to \"false\" to bypass this error.",
        ),
        _ => divide_by_zero(),
    }
}

fn integers<T>(
    call: &Call,
    kind: Kind,
    tolerant: bool,
    name: &str,
    printed: &str,
) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64> + TryFrom<i64>,
{
    let left = call.array(0)?.as_primitive::<T>();
    let right = call.array(1)?.as_primitive::<T>();
    let mut values = Vec::with_capacity(call.rows);
    for (a, b) in left.iter().zip(right) {
        let (Some(a), Some(b)) = (a, b) else {
            values.push(None);
            continue;
        };
        let (a, b): (i64, i64) = (a.into(), b.into());
        let wide = integer_outcome(kind, a.into(), b.into());
        let outcome = match wide {
            Outcome::Value(v) => {
                match i64::try_from(v).ok().and_then(|v| T::Native::try_from(v).ok()) {
                    Some(v) => Outcome::Value(v),
                    None => Outcome::Overflow,
                }
            }
            Outcome::ByZero => Outcome::ByZero,
            Outcome::Overflow => Outcome::Overflow,
        };
        let bits = size_of::<T::Native>() * 8;
        let wrapped = || {
            let Outcome::Value(v) = integer_outcome(kind, a.into(), b.into()) else { return None };
            let shift = 128 - u32::try_from(bits).ok()?;
            i64::try_from((v << shift) >> shift).ok().and_then(|v| T::Native::try_from(v).ok())
        };
        let error = || {
            if matches!(name, "TINYINT" | "SMALLINT") && kind != Kind::IntDiv {
                return spark_error(
                    "BINARY_ARITHMETIC_OVERFLOW",
                    format!("{a} and {b} caused overflow."),
                );
            }
            overflow(
                printed,
                " If necessary set \"spark.sql.ansi.enabled\" to \"false\" to bypass this error.",
            )
        };
        values.push(settle(call, kind, tolerant, outcome, wrapped, error)?);
    }
    Ok(Arc::new(values.into_iter().collect::<PrimitiveArray<T>>()))
}

fn integer_outcome(kind: Kind, a: i128, b: i128) -> Outcome<i128> {
    match kind {
        Kind::Add => Outcome::Value(a + b),
        Kind::Sub => Outcome::Value(a - b),
        Kind::Mul => Outcome::Value(a * b),
        _ if b == 0 => Outcome::ByZero,
        Kind::Div | Kind::IntDiv => Outcome::Value(a / b),
        Kind::Mod => Outcome::Value(a % b),
        Kind::PMod => {
            let rest = a % b;
            Outcome::Value(if rest < 0 { (rest + b) % b } else { rest })
        }
    }
}

fn floats<T>(call: &Call, kind: Kind, tolerant: bool) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: std::ops::Add<Output = T::Native>
        + std::ops::Sub<Output = T::Native>
        + std::ops::Mul<Output = T::Native>
        + std::ops::Div<Output = T::Native>
        + std::ops::Rem<Output = T::Native>
        + PartialOrd
        + Default,
{
    let left = call.array(0)?.as_primitive::<T>();
    let right = call.array(1)?.as_primitive::<T>();
    let zero = T::Native::default();
    let mut values = Vec::with_capacity(call.rows);
    for (a, b) in left.iter().zip(right) {
        let (Some(a), Some(b)) = (a, b) else {
            values.push(None);
            continue;
        };
        let outcome = match kind {
            Kind::Add => Outcome::Value(a + b),
            Kind::Sub => Outcome::Value(a - b),
            Kind::Mul => Outcome::Value(a * b),
            _ if b == zero => Outcome::ByZero,
            Kind::Div | Kind::IntDiv => Outcome::Value(a / b),
            Kind::Mod => Outcome::Value(a % b),
            Kind::PMod => {
                let rest = a % b;
                Outcome::Value(if rest < zero { (rest + b) % b } else { rest })
            }
        };
        values.push(settle(call, kind, tolerant, outcome, || None, divide_by_zero)?);
    }
    Ok(Arc::new(values.into_iter().collect::<PrimitiveArray<T>>()))
}

fn decimals(call: &Call, kind: Kind, tolerant: bool) -> Result<ArrayRef> {
    let left = call.array(0)?.as_primitive::<Decimal128Type>();
    let right = call.array(1)?.as_primitive::<Decimal128Type>();
    let (precision, scale) = match call.return_type {
        DataType::Decimal128(p, s) => (*p, *s),
        _ => (38, 0),
    };
    let mut values = Vec::with_capacity(call.rows);
    for (a, b) in left.iter().zip(right) {
        let (Some(a), Some(b)) = (a, b) else {
            values.push(None);
            continue;
        };
        let outcome =
            wide::compute(kind.into(), (a, left.scale()), (b, right.scale()), precision, scale);
        let error =
            || decimal_out_of_range(&print::decimal(a, left.scale(), true), precision, scale);
        let outcome = match outcome {
            wide::Answer::Value(v) => Outcome::Value(v),
            wide::Answer::TooLarge => Outcome::Overflow,
            wide::Answer::ByZero => Outcome::ByZero,
        };
        values.push(settle(call, kind, tolerant, outcome, || None, error)?);
    }
    if kind == Kind::IntDiv {
        let whole: Int64Array =
            values.into_iter().map(|v| v.and_then(|v| i64::try_from(v).ok())).collect();
        return Ok(Arc::new(whole));
    }
    let array: Decimal128Array = values.into_iter().collect();
    Ok(Arc::new(array.with_precision_and_scale(precision, scale)?))
}

impl From<Kind> for wide::Operation {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Add => wide::Operation::Add,
            Kind::Sub => wide::Operation::Subtract,
            Kind::Mul => wide::Operation::Multiply,
            Kind::Div => wide::Operation::Divide,
            Kind::IntDiv => wide::Operation::Whole,
            Kind::Mod => wide::Operation::Remainder,
            Kind::PMod => wide::Operation::PositiveRemainder,
        }
    }
}

/// Decimal arithmetic in 256 bits, rounded half up to the result's scale.
mod wide {
    use arrow::datatypes::i256;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Operation {
        Add,
        Subtract,
        Multiply,
        Divide,
        Whole,
        Remainder,
        PositiveRemainder,
    }

    pub(super) enum Answer {
        Value(i128),
        TooLarge,
        ByZero,
    }

    pub(super) fn compute(
        operation: Operation,
        (a, s1): (i128, i8),
        (b, s2): (i128, i8),
        precision: u8,
        scale: i8,
    ) -> Answer {
        let (wa, wb) = (i256::from_i128(a), i256::from_i128(b));
        let common = s1.max(s2);
        let (Some(la), Some(lb)) = (shift(wa, common - s1), shift(wb, common - s2)) else {
            return Answer::TooLarge;
        };
        let exact = match operation {
            Operation::Add => la.checked_add(lb).map(|v| (v, common)),
            Operation::Subtract => la.checked_sub(lb).map(|v| (v, common)),
            Operation::Multiply => wa.checked_mul(wb).map(|v| (v, s1 + s2)),
            _ if b == 0 => return Answer::ByZero,
            Operation::Divide => {
                let up = i16::from(scale) + i16::from(s2) - i16::from(s1);
                return divide(wa, wb, up, precision);
            }
            Operation::Whole => la.checked_div(lb).map(|v| (v, 0)),
            Operation::Remainder => la.checked_rem(lb).map(|v| (v, common)),
            Operation::PositiveRemainder => la.checked_rem(lb).and_then(|rest| {
                let rest =
                    if rest < i256::ZERO { rest.checked_add(lb)?.checked_rem(lb)? } else { rest };
                Some((rest, common))
            }),
        };
        match exact {
            Some((value, 0)) if operation == Operation::Whole => {
                value.to_i128().map_or(Answer::TooLarge, Answer::Value)
            }
            Some((value, from)) => fit(value, from, precision, scale),
            None => Answer::TooLarge,
        }
    }

    fn divide(a: i256, b: i256, up: i16, precision: u8) -> Answer {
        let (a, b) = if up >= 0 {
            (shift(a, i8::try_from(up).unwrap_or(i8::MAX)), Some(b))
        } else {
            (Some(a), shift(b, i8::try_from(-up).unwrap_or(i8::MAX)))
        };
        let (Some(a), Some(b)) = (a, b) else { return Answer::TooLarge };
        half_up(a, b).map_or(Answer::TooLarge, |v| bounded(v, precision))
    }

    fn fit(value: i256, from: i8, precision: u8, scale: i8) -> Answer {
        let rescaled = if from <= scale {
            shift(value, scale - from)
        } else {
            ten(from - scale).and_then(|divisor| half_up(value, divisor))
        };
        rescaled.map_or(Answer::TooLarge, |v| bounded(v, precision))
    }

    fn bounded(value: i256, precision: u8) -> Answer {
        let limit = 10i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
        match value.to_i128() {
            Some(v) if v.unsigned_abs() < limit.unsigned_abs() => Answer::Value(v),
            _ => Answer::TooLarge,
        }
    }

    fn half_up(value: i256, divisor: i256) -> Option<i256> {
        let quotient = value.checked_div(divisor)?;
        let rest = value.checked_rem(divisor)?;
        let twice = rest.wrapping_abs().checked_mul(i256::from_i128(2))?;
        if twice < divisor.wrapping_abs() {
            return Some(quotient);
        }
        let one =
            i256::from_i128(if (value < i256::ZERO) == (divisor < i256::ZERO) { 1 } else { -1 });
        quotient.checked_add(one)
    }

    fn ten(power: i8) -> Option<i256> {
        i256::from_i128(10).checked_pow(u32::try_from(power).ok()?)
    }

    fn shift(value: i256, power: i8) -> Option<i256> {
        value.checked_mul(ten(power)?)
    }
}

fn negative_params(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [DataType::Utf8 | DataType::Null] => Ok(vec![DataType::Float64]),
        [t] if is_numeric(t) || *t == DAY_TIME || matches!(t, DataType::Interval(_)) => {
            Ok(vec![t.clone()])
        }
        [t] => Err(spark_error(
            "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
            format!(
                "The first parameter requires the (\"NUMERIC\" or \"INTERVAL\") type, however it \
                 has the type \"{}\".",
                type_name(t)
            ),
        )),
        _ => Err(crate::def::wrong_count("negative", Params::Exact(&[Param::Any]), types.len())),
    }
}

fn negative(call: &Call) -> Result<ArrayRef> {
    unary(call, |v| v.checked_neg(), |v| -v)
}

fn abs(call: &Call) -> Result<ArrayRef> {
    unary(call, |v| v.checked_abs(), f64::abs)
}

fn unary(call: &Call, whole: fn(i128) -> Option<i128>, float: fn(f64) -> f64) -> Result<ArrayRef> {
    fn each<T>(call: &Call, whole: fn(i128) -> Option<i128>) -> Result<ArrayRef>
    where
        T: ArrowPrimitiveType,
        T::Native: Into<i64> + TryFrom<i64>,
    {
        let values = call.array(0)?.as_primitive::<T>();
        let array = values
            .iter()
            .map(|v| {
                let Some(v) = v else { return Ok(None) };
                let wide: i64 = v.into();
                let changed = whole(i128::from(wide))
                    .and_then(|v| i64::try_from(v).ok())
                    .and_then(|v| T::Native::try_from(v).ok());
                match changed {
                    Some(value) => Ok(Some(value)),
                    // The smallest integer is its own negation when it wraps.
                    None if !call.settings.ansi => Ok(Some(v)),
                    None => Err(overflow(
                        &type_name(values.data_type()).to_lowercase(),
                        " If necessary set \"spark.sql.ansi.enabled\" to \"false\" to bypass this \
                         error.",
                    )),
                }
            })
            .collect::<Result<PrimitiveArray<T>>>()?;
        Ok(Arc::new(array))
    }
    let array = call.array(0)?;
    match array.data_type() {
        DataType::Int8 => each::<Int8Type>(call, whole),
        DataType::Int16 => each::<Int16Type>(call, whole),
        DataType::Int32 => each::<Int32Type>(call, whole),
        DataType::Int64 => each::<Int64Type>(call, whole),
        DataType::Float64 => {
            Ok(Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(float)))
        }
        DataType::Float32 => Ok(Arc::new(
            array
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|v| float(f64::from(v)) as f32),
        )),
        DataType::Decimal128(p, s) => {
            let changed: Decimal128Array =
                array.as_primitive::<Decimal128Type>().iter().map(|v| v.and_then(whole)).collect();
            Ok(Arc::new(changed.with_precision_and_scale(*p, *s)?))
        }
        DataType::Duration(_) | DataType::Interval(_) => {
            Ok(arrow::compute::kernels::numeric::neg(array.as_ref())?)
        }
        other => Err(DataFusionError::Internal(format!("no negation of {other}"))),
    }
}
