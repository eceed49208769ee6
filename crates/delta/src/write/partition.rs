//! Partition values: how they are written in the log, and how they name directories.

use arrow::array::{Array, ArrayRef, AsArray as _, StringArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, TimeDelta};
use millstream_core::{Error, Result};
use millstream_types::DataType;
use std::fmt::Write as _;
use std::sync::Arc;

/// The directory of the null value, and of the empty string, which Hive cannot tell from it.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// One partition column of a table.
#[derive(Debug, Clone)]
pub(crate) struct PartitionColumn {
    /// Position in the table's schema.
    pub index: usize,
    pub name: String,
    pub data_type: DataType,
}

/// The column with empty strings as nulls: both are one partition.
pub(super) fn normalised(array: &ArrayRef) -> ArrayRef {
    match array.as_string_opt::<i32>() {
        Some(strings) if strings.iter().any(|s| s == Some("")) => {
            let nulled: StringArray = strings.iter().map(|s| s.filter(|s| !s.is_empty())).collect();
            Arc::new(nulled)
        }
        _ => Arc::clone(array),
    }
}

/// The value in `row` as the log writes it; `None` for null and for the empty string.
pub(super) fn value(data_type: &DataType, array: &ArrayRef, row: usize) -> Result<Option<String>> {
    if array.is_null(row) {
        return Ok(None);
    }
    let text = match data_type {
        DataType::Boolean => array.as_boolean_opt().map(|a| a.value(row).to_string()),
        DataType::Byte => array.as_primitive_opt::<Int8Type>().map(|a| a.value(row).to_string()),
        DataType::Short => array.as_primitive_opt::<Int16Type>().map(|a| a.value(row).to_string()),
        DataType::Integer => {
            array.as_primitive_opt::<Int32Type>().map(|a| a.value(row).to_string())
        }
        DataType::Long => array.as_primitive_opt::<Int64Type>().map(|a| a.value(row).to_string()),
        DataType::Float => {
            array.as_primitive_opt::<Float32Type>().map(|a| java_float(&a.value(row)))
        }
        DataType::Double => {
            array.as_primitive_opt::<Float64Type>().map(|a| java_float(&a.value(row)))
        }
        DataType::Decimal(..) => {
            array.as_primitive_opt::<Decimal128Type>().map(|a| a.value_as_string(row))
        }
        DataType::String => array.as_string_opt::<i32>().map(|a| a.value(row).to_owned()),
        DataType::Date => {
            array.as_primitive_opt::<Date32Type>().and_then(|a| date_text(a.value(row)))
        }
        DataType::Timestamp => array
            .as_primitive_opt::<TimestampMicrosecondType>()
            .and_then(|a| timestamp_text(a.value(row), true)),
        DataType::TimestampNtz => array
            .as_primitive_opt::<TimestampMicrosecondType>()
            .and_then(|a| timestamp_text(a.value(row), false)),
        _ => None,
    };
    let text = text.ok_or_else(|| {
        Error::invalid(
            "DELTA_INVALID_PARTITION_VALUE",
            format!("A value of type {} cannot be a partition's.", data_type.sql()),
        )
        .cure("Dates and timestamps must lie between the years 1 and 9999.")
    })?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// A float with at least one decimal and Java's names of the special values.
fn java_float<T: std::fmt::Debug>(value: &T) -> String {
    match format!("{value:?}").as_str() {
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        text => text.to_owned(),
    }
}

/// `2024-05-01`; `None` outside the years that four digits can say.
pub(super) fn date_text(days: i32) -> Option<String> {
    let date = NaiveDate::from_ymd_opt(1970, 1, 1)?
        .checked_add_signed(TimeDelta::try_days(i64::from(days))?)?;
    (1..=9999).contains(&date.year()).then(|| date.format("%Y-%m-%d").to_string())
}

/// The instant of a microsecond count; `None` outside the years that four digits can say.
pub(super) fn instant(micros: i64) -> Option<NaiveDateTime> {
    let instant = DateTime::from_timestamp_micros(micros)?.naive_utc();
    (1..=9999).contains(&instant.year()).then_some(instant)
}

/// An instant in the protocol's ISO form, which no session time zone can change; wall-clock
/// values in the form without zone.
fn timestamp_text(micros: i64, is_instant: bool) -> Option<String> {
    let format = if is_instant { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%d %H:%M:%S%.6f" };
    Some(instant(micros)?.format(format).to_string())
}

/// The directory of a partition, relative to the table; empty for a table without partitions.
pub(super) fn directory(columns: &[PartitionColumn], values: &[Option<String>]) -> String {
    let mut path = String::new();
    for (column, value) in columns.iter().zip(values) {
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&hive_escape(&column.name));
        path.push('=');
        match value {
            Some(value) => path.push_str(&hive_escape(value)),
            None => path.push_str(HIVE_NULL),
        }
    }
    path
}

/// Longest name that file systems take for one directory, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Refuses values that no directory can be named after.
///
/// # Errors
/// `DELTA_PARTITION_VALUE_TOO_LONG`, naming the column.
pub(super) fn check_names(columns: &[PartitionColumn], values: &[Option<String>]) -> Result<()> {
    for (column, value) in columns.iter().zip(values) {
        let Some(value) = value else { continue };
        let bytes = hive_escape(&column.name).len() + 1 + hive_escape(value).len();
        if bytes > NAME_BYTES_MAX {
            return Err(Error::invalid(
                "DELTA_PARTITION_VALUE_TOO_LONG",
                format!(
                    "A value of the partition column {} makes a directory name of {bytes} bytes; \
                     file systems take {NAME_BYTES_MAX}.",
                    column.name
                ),
            )
            .cure("Partition by another column, or by a shortened one: left(column, 60)."));
        }
    }
    Ok(())
}

/// Hive's escaping of directory names, with Spark's list of characters.
fn hive_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        let special = c.is_ascii_control()
            || matches!(
                c,
                '"' | '#' | '%' | '\'' | '*' | '/' | ':' | '=' | '?' | '\\' | '{' | '[' | ']' | '^'
            );
        if special {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "%{:02X}", c as u32);
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// A relative path as the log writes it: a URI whose illegal characters are percent-encoded.
pub(super) fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for c in path.chars() {
        let legal = c.is_ascii_alphanumeric()
            || "-_.!~*'(),;:$&+=@/".contains(c)
            || (!c.is_ascii() && !c.is_control() && !c.is_whitespace());
        if legal {
            encoded.push(c);
            continue;
        }
        let mut bytes = [0; 4];
        for byte in c.encode_utf8(&mut bytes).bytes() {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn directories_are_escaped_twice_where_needed() {
        assert_eq!(hive_escape("a b/c=d:%'é{}"), "a b%2Fc%3Dd%3A%25%27é%7B}");
        assert_eq!(encode_path("k=a b%2Fc/part"), "k=a%20b%252Fc/part");
        let columns = [
            PartitionColumn { index: 0, name: "k:1".into(), data_type: DataType::String },
            PartitionColumn { index: 1, name: "d".into(), data_type: DataType::Date },
        ];
        assert_eq!(
            directory(&columns, &[Some("x".into()), None]),
            "k%3A1=x/d=__HIVE_DEFAULT_PARTITION__"
        );
        assert_eq!(directory(&[], &[]), "");
    }

    #[test]
    fn timestamps_have_the_protocols_forms() {
        assert_eq!(
            timestamp_text(1_714_558_830_000_001, true).unwrap(),
            "2024-05-01T10:20:30.000001Z"
        );
        assert_eq!(timestamp_text(-1, false).unwrap(), "1969-12-31 23:59:59.999999");
        assert_eq!(timestamp_text(i64::MAX, true), None);
        assert_eq!(date_text(-1).unwrap(), "1969-12-31");
        assert_eq!(java_float(&1.0f64), "1.0");
        assert_eq!(java_float(&f64::NEG_INFINITY), "-Infinity");
    }

    proptest! {
        #[test]
        fn an_encoded_path_decodes_to_itself(path in "[^\u{0}]{0,40}") {
            let encoded = encode_path(&path);
            let decoded = percent_encoding::percent_decode_str(&encoded).decode_utf8().unwrap();
            prop_assert_eq!(decoded.as_ref(), path.as_str());
            prop_assert!(!encoded.contains([' ', '"', '#', '?']));
        }
    }
}
