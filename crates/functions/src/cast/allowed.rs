//! Which pairs of types Spark casts at all.

use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};

use super::OnFailure;
use crate::coercion::{is_integral, is_ntz, is_numeric, is_timestamp, map_types, type_name};
use crate::error::spark_error;

/// Why a pair is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// It would work with ANSI off.
    Conf,
    /// A function does it.
    Func,
    /// Never.
    Never,
}

/// Refuses what Spark's analyser refuses.
///
/// # Errors
/// `DATATYPE_MISMATCH.CAST_*`.
pub(crate) fn check(from: &DataType, to: &DataType, on_failure: OnFailure) -> Result<()> {
    let ansi = on_failure != OnFailure::Legacy;
    refusal(from, to, ansi).map_or(Ok(()), |why| Err(error(from, to, why)))
}

fn error(from: &DataType, to: &DataType, why: Refusal) -> DataFusionError {
    let (class, advice) = match why {
        Refusal::Conf => (
            "DATATYPE_MISMATCH.CAST_WITH_CONF_SUGGESTION",
            " with ANSI mode on. If you have to cast it, set \"spark.sql.ansi.enabled\" to \
             \"false\".",
        ),
        Refusal::Func => (
            "DATATYPE_MISMATCH.CAST_WITH_FUNC_SUGGESTION",
            ". To convert values between these types, use a function such as \
             `DATE_FROM_UNIX_DATE` or `UNIX_DATE` instead.",
        ),
        Refusal::Never => ("DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION", "."),
    };
    spark_error(
        class,
        format!(
            "Cannot resolve the cast due to data type mismatch: cannot cast \"{}\" to \"{}\"{advice}",
            type_name(from),
            type_name(to)
        ),
    )
}

fn refusal(from: &DataType, to: &DataType, ansi: bool) -> Option<Refusal> {
    use DataType::{Binary, Boolean, Date32, List, Map, Null, Struct, Utf8};
    if from == to {
        return None;
    }
    let with_conf = if ansi { Some(Refusal::Conf) } else { None };
    let with_func = if ansi { Some(Refusal::Func) } else { None };
    match (from, to) {
        (Null, _) | (_, Utf8) => None,
        (Utf8, to) if atomic(to) => None,
        (from, Binary) if is_integral(from) => with_conf,
        (_, Binary) | (Binary, _) => Some(Refusal::Never),
        (from, to) if is_ntz(to) && !(is_timestamp(from) || *from == Date32) => {
            Some(Refusal::Never)
        }
        (from, to) if is_ntz(from) && !(is_timestamp(to) || *to == Date32) => Some(Refusal::Never),
        (Boolean, Date32) => Some(Refusal::Never),
        (Boolean, to) if is_timestamp(to) => with_conf,
        (from, Boolean) if is_timestamp(from) || *from == Date32 => with_conf,
        (from, Boolean) if is_numeric(from) => None,
        (Boolean, to) if is_numeric(to) => None,
        (Date32, to) if is_numeric(to) => with_func,
        (from, Date32) if is_numeric(from) => {
            Some(if ansi { Refusal::Func } else { Refusal::Never })
        }
        (from, to) if number_or_time(from) && number_or_time(to) => None,
        (List(a), List(b)) => refusal(a.data_type(), b.data_type(), ansi),
        (Map(..), Map(..)) => match (map_types(from), map_types(to)) {
            (Some((fk, fv)), Some((tk, tv))) => {
                refusal(&fk, &tk, ansi).or_else(|| refusal(&fv, &tv, ansi))
            }
            _ => Some(Refusal::Never),
        },
        (Struct(a), Struct(b)) if a.len() == b.len() => {
            a.iter().zip(b).find_map(|(x, y)| refusal(x.data_type(), y.data_type(), ansi))
        }
        _ => Some(Refusal::Never),
    }
}

fn atomic(t: &DataType) -> bool {
    number_or_time(t) || matches!(t, DataType::Boolean | DataType::Binary)
}

fn number_or_time(t: &DataType) -> bool {
    is_numeric(t) || is_timestamp(t) || matches!(t, DataType::Date32)
}
