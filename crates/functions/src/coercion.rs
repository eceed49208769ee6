//! Which types Spark casts implicitly, and the common type of several.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;

use crate::def::{DAY_TIME, NTZ, Param, timestamp_type};
use crate::error::spark_error;
use crate::settings::FunctionSettings;

/// Spark's printed name of an Arrow type, for messages.
pub(crate) fn type_name(data_type: &DataType) -> String {
    match millstream_types::DataType::from_arrow(data_type) {
        Ok(spark) => spark.sql(),
        Err(_) => match data_type {
            DataType::Duration(_) => "INTERVAL DAY TO SECOND".to_owned(),
            DataType::Interval(_) => "INTERVAL YEAR TO MONTH".to_owned(),
            other => other.to_string(),
        },
    }
}

/// Whether a type is one of the integers.
pub(crate) fn is_integral(t: &DataType) -> bool {
    matches!(t, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64)
}

/// Whether a type is a number.
pub(crate) fn is_numeric(t: &DataType) -> bool {
    is_integral(t) || matches!(t, DataType::Float32 | DataType::Float64 | DataType::Decimal128(..))
}

/// Whether a type is TIMESTAMP or TIMESTAMP_NTZ.
pub(crate) fn is_timestamp(t: &DataType) -> bool {
    matches!(t, DataType::Timestamp(..))
}

/// Types that have a text form for implicit casts.
fn is_atomic(t: &DataType) -> bool {
    is_numeric(t)
        || is_timestamp(t)
        || matches!(
            t,
            DataType::Utf8
                | DataType::Binary
                | DataType::Boolean
                | DataType::Date32
                | DataType::Null
                | DataType::Duration(_)
                | DataType::Interval(_)
        )
}

/// The type that an argument of type `given` is cast to for `param` of function `name`.
pub(crate) fn implicit(name: &str, param: Param, given: &DataType) -> Result<DataType> {
    let null = matches!(given, DataType::Null);
    let string = matches!(given, DataType::Utf8);
    let wanted = match param {
        Param::Any => Some(given.clone()),
        Param::Str => is_atomic(given).then_some(DataType::Utf8),
        Param::StrOrBin if matches!(given, DataType::Binary) => Some(DataType::Binary),
        Param::StrOrBin => is_atomic(given).then_some(DataType::Utf8),
        Param::Bin => {
            (null || string || matches!(given, DataType::Binary)).then_some(DataType::Binary)
        }
        Param::Int => (null || string || is_numeric(given)).then_some(DataType::Int32),
        Param::Long => (null || string || is_numeric(given)).then_some(DataType::Int64),
        Param::Double => (null || string || is_numeric(given)).then_some(DataType::Float64),
        Param::Bool => {
            (null || string || matches!(given, DataType::Boolean)).then_some(DataType::Boolean)
        }
        Param::Date => (null || string || is_timestamp(given) || matches!(given, DataType::Date32))
            .then_some(DataType::Date32),
        Param::Timestamp => {
            (null || string || is_timestamp(given) || matches!(given, DataType::Date32))
                .then_some(timestamp_type())
        }
        Param::AnyTimestamp if is_timestamp(given) => Some(given.clone()),
        Param::AnyTimestamp => {
            (null || string || matches!(given, DataType::Date32)).then_some(timestamp_type())
        }
        Param::Number if is_numeric(given) => Some(given.clone()),
        Param::Number => (null || string).then_some(DataType::Float64),
        Param::Array => match given {
            DataType::List(_) => Some(given.clone()),
            DataType::Null => Some(list_of(DataType::Null)),
            _ => None,
        },
        Param::Map => matches!(given, DataType::Map(..)).then(|| given.clone()),
    };
    wanted.ok_or_else(|| {
        spark_error(
            "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
            format!(
                "Cannot resolve \"{name}\" due to data type mismatch: a parameter requires another \
                 type, however a value has the type \"{}\".",
                type_name(given)
            ),
        )
    })
}

/// A nullable array type.
pub(crate) fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", element, true)))
}

/// A map type in our Arrow form.
pub(crate) fn map_of(key: DataType, value: DataType) -> DataType {
    let entries =
        Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// The common type of several expressions (CASE, IN, coalesce, array, UNION).
///
/// # Errors
/// `DATATYPE_MISMATCH.DATA_DIFF_TYPES` when there is none.
pub(crate) fn common_type(types: &[DataType], settings: &FunctionSettings) -> Result<DataType> {
    let mut common = DataType::Null;
    // Strings last: a string takes the type of the others under ANSI.
    let (strings, others): (Vec<&DataType>, Vec<&DataType>) =
        types.iter().partition(|t| matches!(t, DataType::Utf8));
    for next in others.into_iter().chain(strings) {
        common = wider(&common, next, settings.ansi).ok_or_else(|| {
            spark_error(
                "DATATYPE_MISMATCH.DATA_DIFF_TYPES",
                format!(
                    "Cannot resolve the expression due to data type mismatch: Input should all be \
                     the same type, but it's (\"{}\" or \"{}\").",
                    type_name(&common),
                    type_name(next)
                ),
            )
        })?;
    }
    Ok(common)
}

/// The wider of two types, or `None`.
pub(crate) fn wider(left: &DataType, right: &DataType, ansi: bool) -> Option<DataType> {
    use DataType::{Binary, Boolean, Date32, Decimal128, Float32, Float64, Null, Utf8};
    if left == right {
        return Some(left.clone());
    }
    Some(match (left, right) {
        (Null, other) | (other, Null) => other.clone(),
        (Decimal128(..), Float32 | Float64) | (Float32 | Float64, Decimal128(..)) => Float64,
        (l, r) if is_integral(l) && is_integral(r) => {
            if integral_rank(l) >= integral_rank(r) {
                l.clone()
            } else {
                r.clone()
            }
        }
        (Float64, n) | (n, Float64) if is_numeric(n) => Float64,
        (Float32, n) | (n, Float32) if is_numeric(n) => {
            // Under ANSI an INT or BIGINT beside a FLOAT is a DOUBLE, which loses no digits.
            if ansi && matches!(n, DataType::Int32 | DataType::Int64) { Float64 } else { Float32 }
        }
        (l, r) if is_numeric(l) && is_numeric(r) => {
            let ((p1, s1), (p2, s2)) = (decimal_form(l)?, decimal_form(r)?);
            let scale = s1.max(s2);
            let whole = (i16::from(p1) - i16::from(s1)).max(i16::from(p2) - i16::from(s2));
            bounded(whole + i16::from(scale), scale)
        }
        (Date32, t) | (t, Date32) if is_timestamp(t) => t.clone(),
        (l, r) if is_timestamp(l) && is_timestamp(r) => timestamp_type(),
        (Utf8, other) | (other, Utf8) => string_with(other, ansi)?,
        (DataType::List(l), DataType::List(r)) => {
            list_of(wider(l.data_type(), r.data_type(), ansi)?)
        }
        (DataType::Map(..), DataType::Map(..)) => {
            let ((lk, lv), (rk, rv)) = (map_types(left)?, map_types(right)?);
            map_of(wider(&lk, &rk, ansi)?, wider(&lv, &rv, ansi)?)
        }
        (DataType::Struct(l), DataType::Struct(r)) if l.len() == r.len() => {
            let fields = l
                .iter()
                .zip(r)
                .map(|(a, b)| {
                    (a.name() == b.name()).then_some(())?;
                    let data_type = wider(a.data_type(), b.data_type(), ansi)?;
                    Some(Field::new(a.name(), data_type, true))
                })
                .collect::<Option<Vec<Field>>>()?;
            DataType::Struct(fields.into())
        }
        (Binary | Boolean, _) | (_, Binary | Boolean) => return None,
        _ => return None,
    })
}

/// The type of a string beside another atomic type.
fn string_with(other: &DataType, ansi: bool) -> Option<DataType> {
    if !is_atomic(other) {
        return None;
    }
    if !ansi {
        return (!matches!(other, DataType::Binary | DataType::Boolean)).then_some(DataType::Utf8);
    }
    Some(match other {
        t if is_integral(t) => DataType::Int64,
        t if is_numeric(t) => DataType::Float64,
        DataType::Date32 | DataType::Boolean | DataType::Binary => other.clone(),
        t if is_timestamp(t) => other.clone(),
        t if *t == DAY_TIME => other.clone(),
        _ => return None,
    })
}

fn integral_rank(t: &DataType) -> u8 {
    match t {
        DataType::Int8 => 1,
        DataType::Int16 => 2,
        DataType::Int32 => 3,
        _ => 4,
    }
}

/// Key and value types of a map.
pub(crate) fn map_types(t: &DataType) -> Option<(DataType, DataType)> {
    let DataType::Map(entries, _) = t else { return None };
    let DataType::Struct(fields) = entries.data_type() else { return None };
    match fields.as_ref() {
        [key, value] => Some((key.data_type().clone(), value.data_type().clone())),
        _ => None,
    }
}

/// Precision and scale of a number seen as a decimal.
pub(crate) fn decimal_form(t: &DataType) -> Option<(u8, i8)> {
    Some(match t {
        DataType::Int8 => (3, 0),
        DataType::Int16 => (5, 0),
        DataType::Int32 => (10, 0),
        DataType::Int64 => (20, 0),
        DataType::Decimal128(p, s) => (*p, *s),
        _ => return None,
    })
}

/// A decimal type with both numbers cut at 38.
pub(crate) fn bounded(precision: i16, scale: i8) -> DataType {
    let precision = u8::try_from(precision.clamp(1, 38)).unwrap_or(38);
    DataType::Decimal128(precision, scale.min(38))
}

/// A decimal type whose whole digits win over the scale when 38 digits are not enough.
pub(crate) fn adjusted(precision: i16, scale: i16) -> DataType {
    if precision <= 38 {
        return bounded(precision, i8::try_from(scale).unwrap_or(38));
    }
    let whole = precision - scale;
    let least_scale = scale.min(6);
    let scale = (38 - whole).max(least_scale);
    DataType::Decimal128(38, i8::try_from(scale).unwrap_or(38))
}

/// The types two sides of a comparison are cast to, or `None`.
pub(crate) fn comparison(left: &DataType, right: &DataType, ansi: bool) -> Option<DataType> {
    use DataType::{Boolean, Date32, Utf8};
    if ansi {
        return wider(left, right, true);
    }
    match (left, right) {
        (Utf8, t) | (t, Utf8) if is_numeric(t) => {
            Some(if is_integral(t) { t.clone() } else { DataType::Float64 })
        }
        (Utf8, Boolean) | (Boolean, Utf8) => Some(Boolean),
        (Utf8, Date32) | (Date32, Utf8) => Some(Date32),
        (Utf8, t) | (t, Utf8) if is_timestamp(t) => Some(t.clone()),
        (Utf8, DataType::Binary) | (DataType::Binary, Utf8) => Some(DataType::Binary),
        (Boolean, t) | (t, Boolean) if is_numeric(t) => Some(t.clone()),
        _ => wider(left, right, false),
    }
}

/// Whether a value of this type is an instant or a wall clock.
pub(crate) fn is_ntz(t: &DataType) -> bool {
    *t == NTZ
}
