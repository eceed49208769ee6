//! Dates and times under Java patterns: `date_format`, `to_timestamp` and their relatives.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable};
use millstream_json::Zone as JsonZone;
use millstream_json::pattern::{Moment, Pattern};
use millstream_types::DataType as SparkType;

use crate::coercion::is_timestamp;
use crate::def::{Call, Def, NTZ, Param, Params, Sig, own, timestamp_type, wrong_count};
use crate::error::spark_error;
use crate::functions::Functions;

use Param::{AnyTimestamp, Long, Str};

const DEFAULT_PATTERN: &str = "yyyy-MM-dd HH:mm:ss";

fn timestamp(_: &Sig) -> Result<DataType> {
    Ok(timestamp_type())
}

fn text(_: &Sig) -> Result<DataType> {
    Ok(DataType::Utf8)
}

pub(crate) const DEFS: &[Def] = &[
    own("date_format", &[], Params::Exact(&[AnyTimestamp, Str]), text, date_format),
    own("from_unixtime", &[], Params::Optional(1, &[Long, Str]), text, from_unixtime),
    own("spark_parse_timestamp", &[], Params::Exact(&[Str, Str]), timestamp, |c| parse(c, false)),
    own("spark_try_parse_timestamp", &[], Params::Exact(&[Str, Str]), timestamp, |c| {
        parse(c, true)
    }),
    own("spark_parse_timestamp_ntz", &[], Params::Exact(&[Str, Str]), |_| Ok(NTZ), parse_ntz),
];

/// Names built by [`call`].
pub(crate) const NAMES: &[&str] = &[
    "to_date",
    "to_timestamp",
    "to_timestamp_ltz",
    "to_timestamp_ntz",
    "to_unix_timestamp",
    "try_to_date",
    "try_to_timestamp",
    "unix_timestamp",
];

/// Compiled patterns of one batch; usually there is one.
#[derive(Default)]
struct Patterns(HashMap<String, Pattern>);

impl Patterns {
    fn get(&mut self, text: &str, reading: bool) -> Result<&Pattern> {
        if !self.0.contains_key(text) {
            let compiled = if reading {
                Pattern::for_reading("fmt", text)
            } else {
                Pattern::for_writing("fmt", text)
            };
            let pattern = compiled.map_err(|error| refused(text, error))?;
            self.0.insert(text.to_owned(), pattern);
        }
        self.0.get(text).ok_or_else(|| DataFusionError::Internal("a pattern got lost".to_owned()))
    }
}

/// Letters that Spark refuses since version 3 have a class of their own.
fn refused(pattern: &str, error: millstream_core::Error) -> DataFusionError {
    let mut quoted = false;
    let old = pattern.chars().any(|c| {
        if c == '\'' {
            quoted = !quoted;
        }
        !quoted && matches!(c, 'Y' | 'W' | 'w' | 'u' | 'e' | 'c')
    });
    if old {
        return spark_error(
            "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION",
            format!(
                "Fail to recognize '{pattern}' pattern in the DateTimeFormatter. A letter of it \
                 has no meaning since Spark 3.0."
            ),
        );
    }
    DataFusionError::External(Box::new(error))
}

fn write(pattern: &Pattern, micros: i64, zone: JsonZone, local: bool) -> String {
    let offset_seconds = if local { 0 } else { zone.offset_at(micros) };
    let local_us = micros.saturating_add(i64::from(offset_seconds) * 1_000_000);
    let mut out = String::new();
    pattern.write(&Moment { local_us, offset_seconds, zone }, &mut out);
    out
}

fn session_zone(call: &Call) -> Result<JsonZone> {
    JsonZone::parse(&call.settings.time_zone).ok_or_else(|| {
        DataFusionError::Internal("the session time zone was checked before".to_owned())
    })
}

fn date_format(call: &Call) -> Result<ArrayRef> {
    let zone = session_zone(call)?;
    let local = matches!(call.array(0)?.data_type(), DataType::Timestamp(_, None));
    let mut patterns = Patterns::default();
    call.texts(|r| {
        let (Some(micros), Some(pattern)) = (call.micros(0, r)?, call.str(1, r)?) else {
            return Ok(None);
        };
        Ok(Some(write(patterns.get(pattern, false)?, micros, zone, local)))
    })
}

fn from_unixtime(call: &Call) -> Result<ArrayRef> {
    let zone = session_zone(call)?;
    let mut patterns = Patterns::default();
    call.texts(|r| {
        let pattern = if call.has(1) { call.str(1, r)? } else { Some(DEFAULT_PATTERN) };
        let (Some(seconds), Some(pattern)) = (call.long(0, r)?, pattern) else {
            return Ok(None);
        };
        let micros = seconds.saturating_mul(1_000_000);
        Ok(Some(write(patterns.get(pattern, false)?, micros, zone, false)))
    })
}

fn cannot_parse(text: &str) -> DataFusionError {
    spark_error(
        "CANNOT_PARSE_TIMESTAMP",
        format!(
            "Text '{text}' could not be parsed. Use `try_to_timestamp` to tolerate invalid input \
             string and return NULL instead."
        ),
    )
}

fn parse(call: &Call, tolerant: bool) -> Result<ArrayRef> {
    let zone = session_zone(call)?;
    let mut patterns = Patterns::default();
    call.timestamp_values(|r| {
        let (Some(text), Some(pattern)) = (call.str(0, r)?, call.str(1, r)?) else {
            return Ok(None);
        };
        let read = patterns.get(pattern, true)?.read(text).and_then(|p| p.instant(&zone));
        match read {
            None if call.settings.ansi && !tolerant => Err(cannot_parse(text)),
            other => Ok(other),
        }
    })
}

fn parse_ntz(call: &Call) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    call.timestamp_values(|r| {
        let (Some(text), Some(pattern)) = (call.str(0, r)?, call.str(1, r)?) else {
            return Ok(None);
        };
        match patterns.get(pattern, true)?.read(text).and_then(|p| p.local_us()) {
            None if call.settings.ansi => Err(cannot_parse(text)),
            other => Ok(other),
        }
    })
}

/// Builds a call of one of [`NAMES`]: a cast without a pattern, a parser with one.
pub(crate) fn call(f: &Functions, name: &str, args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
    let mut args = args.into_iter();
    let (first, pattern) = match (args.next(), args.next(), args.next()) {
        (Some(first), pattern, None) => (first, pattern),
        (None, ..) if name == "unix_timestamp" => {
            (f.plain("current_timestamp", vec![], schema)?, None)
        }
        (_, _, extra) => {
            let given = if extra.is_some() { 3 } else { 0 };
            return Err(wrong_count(name, Params::Optional(1, &[Str, Str]), given));
        }
    };
    let given = first.get_type(schema)?;
    // A pattern is for text only.
    let pattern = pattern.filter(|_| matches!(given, DataType::Utf8 | DataType::Null));
    match (name, pattern) {
        ("to_date", None) => f.cast(first, &SparkType::Date, schema),
        ("to_date", Some(pattern)) => {
            let parsed = f.plain("spark_parse_timestamp", vec![first, pattern], schema)?;
            f.cast(parsed, &SparkType::Date, schema)
        }
        ("try_to_date", None) => f.try_cast(first, &SparkType::Date, schema),
        ("try_to_date", Some(pattern)) => {
            let parsed = f.plain("spark_try_parse_timestamp", vec![first, pattern], schema)?;
            f.cast(parsed, &SparkType::Date, schema)
        }
        ("to_timestamp" | "to_timestamp_ltz", None) => f.cast(first, &SparkType::Timestamp, schema),
        ("to_timestamp" | "to_timestamp_ltz", Some(pattern)) => {
            f.plain("spark_parse_timestamp", vec![first, pattern], schema)
        }
        ("to_timestamp_ntz", None) => f.cast(first, &SparkType::TimestampNtz, schema),
        ("to_timestamp_ntz", Some(pattern)) => {
            f.plain("spark_parse_timestamp_ntz", vec![first, pattern], schema)
        }
        ("try_to_timestamp", None) => f.try_cast(first, &SparkType::Timestamp, schema),
        ("try_to_timestamp", Some(pattern)) => {
            f.plain("spark_try_parse_timestamp", vec![first, pattern], schema)
        }
        (_, pattern) => {
            let micros = if is_timestamp(&given) || given == DataType::Date32 {
                first
            } else {
                let pattern = pattern
                    .unwrap_or_else(|| Expr::Literal(ScalarValue::from(DEFAULT_PATTERN), None));
                f.plain("spark_parse_timestamp", vec![first, pattern], schema)?
            };
            f.plain("unix_seconds", vec![micros], schema)
        }
    }
}
