//! Statistics of a data file, in Spark's form: `numRecords`, `minValues`, `maxValues`,
//! `nullCount`.
//!
//! Minima and maxima are what the Parquet writer has computed anyway; nulls are counted and NaN is
//! looked for in the arrays, because footers know neither the nulls of lists nor NaN. A minimum or
//! maximum that could make a reader skip a row is left out.

use super::partition::{date_text, instant};
use crate::properties;
use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Float32Type, Float64Type};
use chrono::TimeDelta;
use millstream_types::{DataType, StructType};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use std::collections::BTreeMap;

/// Characters kept of a string's minimum and maximum.
const PREFIX_CHARS: usize = 32;

/// Which columns get statistics, and where they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct StatsPlan {
    nodes: Vec<Node>,
    leaves: usize,
}

#[derive(Debug, Clone)]
struct Node {
    name: String,
    /// Position among its siblings.
    index: usize,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Struct(Vec<Node>),
    Leaf {
        data_type: DataType,
        /// Position in [`Collected`].
        slot: usize,
        /// Position among the file's Parquet columns.
        column: usize,
    },
}

/// Numbers the columns of a schema.
struct Planner<'a> {
    limit: usize,
    named: Option<&'a [String]>,
    slots: usize,
    columns: usize,
}

impl StatsPlan {
    /// The plan for files with `schema` under the table's properties.
    pub(crate) fn new(schema: &StructType, table: &BTreeMap<String, String>) -> Self {
        let named = properties::stats_columns(table);
        let limit = match &named {
            Some(_) => usize::MAX,
            None => properties::indexed_columns(table).unwrap_or(usize::MAX),
        };
        let mut planner = Planner { limit, named: named.as_deref(), slots: 0, columns: 0 };
        let nodes = planner.nodes(schema, "");
        StatsPlan { nodes, leaves: planner.slots }
    }
}

impl Planner<'_> {
    fn nodes(&mut self, schema: &StructType, prefix: &str) -> Vec<Node> {
        let mut nodes = Vec::new();
        for (index, field) in schema.fields.iter().enumerate() {
            let path = format!("{prefix}{}", field.name);
            let kind = match &field.data_type {
                DataType::Struct(inner) => {
                    let children = self.nodes(inner, &format!("{path}."));
                    if children.is_empty() {
                        continue;
                    }
                    Kind::Struct(children)
                }
                leaf => {
                    let column = self.columns;
                    self.columns += parquet_columns(leaf);
                    if self.slots >= self.limit || !self.is_named(&path) {
                        continue;
                    }
                    self.slots += 1;
                    Kind::Leaf { data_type: leaf.clone(), slot: self.slots - 1, column }
                }
            };
            nodes.push(Node { name: field.name.clone(), index, kind });
        }
        nodes
    }

    fn is_named(&self, path: &str) -> bool {
        self.named.is_none_or(|names| {
            names.iter().any(|name| {
                path.eq_ignore_ascii_case(name)
                    || path.to_lowercase().starts_with(&format!("{}.", name.to_lowercase()))
            })
        })
    }
}

/// How many Parquet columns a type takes.
fn parquet_columns(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(inner) => inner.fields.iter().map(|f| parquet_columns(&f.data_type)).sum(),
        DataType::Array { element, .. } => parquet_columns(element),
        DataType::Map { key, value, .. } => parquet_columns(key) + parquet_columns(value),
        _ => 1,
    }
}

/// What is seen of one file's rows.
#[derive(Debug)]
pub(super) struct Collected {
    plan: StatsPlan,
    nulls: Vec<u64>,
    nan: Vec<bool>,
}

impl Collected {
    pub(super) fn new(plan: &StatsPlan) -> Self {
        Collected { nulls: vec![0; plan.leaves], nan: vec![false; plan.leaves], plan: plan.clone() }
    }

    /// Looks at rows that are being written.
    pub(super) fn look(&mut self, rows: &RecordBatch) {
        let Collected { plan, nulls, nan } = self;
        look_at(&plan.nodes, rows.columns(), None, nulls, nan);
    }

    /// The statistics of the file that `metadata` is the footer of.
    pub(super) fn to_json(&self, rows: u64, metadata: &ParquetMetaData) -> String {
        let bound = |end: End| {
            self.object(&self.plan.nodes, &|data_type, slot, column| {
                if self.nan.get(slot).copied().unwrap_or(true) {
                    return None;
                }
                bound_text(data_type, &extreme(metadata, column, end)?, end)
            })
        };
        let nulls = self
            .object(&self.plan.nodes, &|_, slot, _| self.nulls.get(slot).map(ToString::to_string));
        let mut json = format!("{{\"numRecords\":{rows}");
        for (key, value) in
            [("minValues", bound(End::Min)), ("maxValues", bound(End::Max)), ("nullCount", nulls)]
        {
            json.push_str(&format!(",\"{key}\":{}", value.as_deref().unwrap_or("{}")));
        }
        json.push('}');
        json
    }

    fn object(
        &self,
        nodes: &[Node],
        leaf: &dyn Fn(&DataType, usize, usize) -> Option<String>,
    ) -> Option<String> {
        let mut parts = Vec::new();
        for node in nodes {
            let value = match &node.kind {
                Kind::Struct(children) => self.object(children, leaf),
                Kind::Leaf { data_type, slot, column } => leaf(data_type, *slot, *column),
            };
            if let Some(value) = value {
                parts.push(format!("{}:{value}", json_string(&node.name)));
            }
        }
        (!parts.is_empty()).then(|| format!("{{{}}}", parts.join(",")))
    }
}

fn look_at(
    nodes: &[Node],
    columns: &[ArrayRef],
    parent: Option<&NullBuffer>,
    nulls: &mut [u64],
    nan: &mut [bool],
) {
    for node in nodes {
        let Some(array) = columns.get(node.index) else { continue };
        let own = match parent {
            None => array.nulls().cloned(),
            Some(_) => NullBuffer::union(array.nulls(), parent),
        };
        match &node.kind {
            Kind::Struct(children) => {
                if let Some(inner) = array.as_struct_opt() {
                    look_at(children, inner.columns(), own.as_ref(), nulls, nan);
                }
            }
            Kind::Leaf { slot, .. } => {
                if let Some(count) = nulls.get_mut(*slot) {
                    *count += own.map_or(0, |n| n.null_count()) as u64;
                }
                if let Some(seen) = nan.get_mut(*slot) {
                    *seen = *seen || has_nan(array);
                }
            }
        }
    }
}

fn has_nan(array: &ArrayRef) -> bool {
    if let Some(floats) = array.as_primitive_opt::<Float64Type>() {
        return floats.values().iter().any(|v| v.is_nan());
    }
    array
        .as_primitive_opt::<Float32Type>()
        .is_some_and(|floats| floats.values().iter().any(|v| v.is_nan()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

/// A minimum or maximum as the footer has it.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Int(i128),
    Float(f64),
    Single(f32),
    Bytes(Vec<u8>),
}

/// The smallest or largest value of a column over all row groups; `None` if there is none or if
/// a row group does not say.
fn extreme(metadata: &ParquetMetaData, column: usize, end: End) -> Option<Value> {
    let mut best: Option<Value> = None;
    for group in metadata.row_groups() {
        if column >= group.num_columns() {
            return None;
        }
        let chunk = group.column(column);
        let statistics = chunk.statistics()?;
        let Some(value) = value_of(statistics, end) else {
            let all_null = statistics.null_count_opt().and_then(|n| i64::try_from(n).ok())
                == Some(chunk.num_values());
            if all_null {
                continue;
            }
            return None;
        };
        best = Some(match best {
            None => value,
            Some(best) => better(best, value, end)?,
        });
    }
    best
}

fn better(a: Value, b: Value, end: End) -> Option<Value> {
    let a_is_less = match (&a, &b) {
        (Value::Int(a), Value::Int(b)) => a < b,
        (Value::Float(a), Value::Float(b)) => a < b,
        (Value::Single(a), Value::Single(b)) => a < b,
        (Value::Bytes(a), Value::Bytes(b)) => a < b,
        _ => return None,
    };
    Some(if a_is_less == (end == End::Min) { a } else { b })
}

fn value_of(statistics: &Statistics, end: End) -> Option<Value> {
    macro_rules! pick {
        ($typed:expr) => {
            match end {
                End::Min => $typed.min_opt(),
                End::Max => $typed.max_opt(),
            }
        };
    }
    match statistics {
        Statistics::Int32(s) => pick!(s).map(|v| Value::Int(i128::from(*v))),
        Statistics::Int64(s) => pick!(s).map(|v| Value::Int(i128::from(*v))),
        Statistics::Float(s) => pick!(s).map(|v| Value::Single(*v)),
        Statistics::Double(s) => pick!(s).map(|v| Value::Float(*v)),
        Statistics::ByteArray(s) => pick!(s).map(|v| Value::Bytes(v.data().to_vec())),
        Statistics::FixedLenByteArray(s) => {
            pick!(s).and_then(|v| big_endian(v.data())).map(Value::Int)
        }
        Statistics::Boolean(_) | Statistics::Int96(_) => None,
    }
}

/// A signed big-endian number, as decimals are stored.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    if bytes.is_empty() || bytes.len() > 16 {
        return None;
    }
    let sign = if bytes.first().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [sign; 16];
    wide.get_mut(16 - bytes.len()..)?.copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

/// The JSON text of a minimum or maximum; `None` for types without them.
fn bound_text(data_type: &DataType, value: &Value, end: End) -> Option<String> {
    match (data_type, value) {
        (
            DataType::Byte | DataType::Short | DataType::Integer | DataType::Long,
            Value::Int(value),
        ) => Some(value.to_string()),
        (DataType::Decimal(_, scale), Value::Int(value)) => decimal_text(*value, *scale),
        (DataType::Double, Value::Float(value)) => {
            value.is_finite().then(|| serde_json::to_string(value).ok())?
        }
        (DataType::Float, Value::Single(value)) => {
            value.is_finite().then(|| serde_json::to_string(value).ok())?
        }
        (DataType::Date, Value::Int(days)) => {
            Some(json_string(&date_text(i32::try_from(*days).ok()?)?))
        }
        (DataType::Timestamp, Value::Int(micros)) => millis_text(*micros, end, "Z"),
        (DataType::TimestampNtz, Value::Int(micros)) => millis_text(*micros, end, ""),
        (DataType::String, Value::Bytes(bytes)) => {
            let text = std::str::from_utf8(bytes).ok()?;
            match end {
                End::Min => Some(json_string(prefix(text, PREFIX_CHARS))),
                End::Max => truncated_max(text).map(|max| json_string(&max)),
            }
        }
        _ => None,
    }
}

fn decimal_text(value: i128, scale: i8) -> Option<String> {
    let scale = usize::try_from(scale).ok()?;
    let sign = if value < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at_checked(digits.len() - scale)?;
    Some(if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    })
}

/// Milliseconds: a minimum is rounded down, a maximum up, so that no reader skips the value.
fn millis_text(micros: i128, end: End, zone: &str) -> Option<String> {
    let exact = instant(i64::try_from(micros).ok()?)?;
    let rest = i64::try_from(micros.rem_euclid(1000)).ok()?;
    let moved = match end {
        End::Min => exact.checked_sub_signed(TimeDelta::microseconds(rest))?,
        End::Max if rest == 0 => exact,
        End::Max => exact.checked_add_signed(TimeDelta::microseconds(1000 - rest))?,
    };
    Some(json_string(&format!("{}{zone}", moved.format("%Y-%m-%dT%H:%M:%S%.3f"))))
}

fn prefix(text: &str, chars: usize) -> &str {
    match text.char_indices().nth(chars) {
        Some((at, _)) => text.get(..at).unwrap_or(text),
        None => text,
    }
}

/// A short text that is not below `text`: its prefix and a character above the one that follows.
/// Where that one is the greatest there is, the prefix grows, up to twice its length.
fn truncated_max(text: &str) -> Option<String> {
    const ASCII_MAX: char = '\u{7f}';
    for (count, (at, next)) in text.char_indices().enumerate().skip(PREFIX_CHARS) {
        if count > 2 * PREFIX_CHARS {
            return None;
        }
        if next == char::MAX {
            continue;
        }
        let tie_breaker = if next < ASCII_MAX { ASCII_MAX } else { char::MAX };
        return Some(format!("{}{tie_breaker}", text.get(..at)?));
    }
    Some(text.to_owned())
}

fn json_string(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_are_numbers_with_their_scale() {
        assert_eq!(decimal_text(-5, 2).unwrap(), "-0.05");
        assert_eq!(decimal_text(12345, 2).unwrap(), "123.45");
        assert_eq!(decimal_text(7, 0).unwrap(), "7");
        assert_eq!(big_endian(&[0xff, 0xfe]), Some(-2));
        assert_eq!(big_endian(&[0x00, 0x80]), Some(128));
    }

    #[test]
    fn timestamps_are_rounded_outwards() {
        let micros = 1_714_558_830_123_456;
        assert_eq!(millis_text(micros, End::Min, "Z").unwrap(), "\"2024-05-01T10:20:30.123Z\"");
        assert_eq!(millis_text(micros, End::Max, "Z").unwrap(), "\"2024-05-01T10:20:30.124Z\"");
        assert_eq!(millis_text(-1, End::Min, "").unwrap(), "\"1969-12-31T23:59:59.999\"");
        assert_eq!(millis_text(-1, End::Max, "").unwrap(), "\"1970-01-01T00:00:00.000\"");
    }

    #[test]
    fn strings_are_cut_as_spark_cuts_them() {
        let a32 = "a".repeat(32);
        assert_eq!(truncated_max(&a32).unwrap(), a32);
        assert_eq!(truncated_max(&format!("{a32}bcd")).unwrap(), format!("{a32}\u{7f}"));
        assert_eq!(truncated_max(&format!("{a32}éx")).unwrap(), format!("{a32}\u{10ffff}"));
        let odd = format!("{a32}\u{10ffff}x");
        assert_eq!(truncated_max(&odd).unwrap(), format!("{a32}\u{10ffff}\u{7f}"));
        assert_eq!(truncated_max(&"\u{10ffff}".repeat(70)), None);
        assert_eq!(prefix(&format!("{a32}b"), 32), a32);
    }

    proptest! {
        #[test]
        fn a_cut_maximum_is_never_below(text in "\\PC{0,80}") {
            if let Some(max) = truncated_max(&text) {
                prop_assert!(max.as_bytes() >= text.as_bytes());
            }
            prop_assert!(prefix(&text, PREFIX_CHARS).as_bytes() <= text.as_bytes());
        }
    }
}
