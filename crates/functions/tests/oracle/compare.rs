//! Our value against Spark's recorded one.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, IntervalYearMonthType, TimestampMicrosecondType,
};
use chrono::{Datelike, NaiveDate};
use serde_json::{Value, json};

use crate::evaluate::Outcome;

/// Relative difference that two ways of computing the same double may have.
const DOUBLE_TOLERANCE: f64 = 1e-14;

/// Whether the outcome is Spark's, or how it differs.
pub(crate) fn verdict(case: &Value, outcome: Outcome) -> Result<(), String> {
    match (outcome, case.get("error")) {
        (Err((class, text)), Some(error)) => {
            let wanted = error["class"].as_str().unwrap();
            if class == wanted {
                return Ok(());
            }
            Err(format!("error {class} instead of {wanted}: {}", first_line(&text)))
        }
        (Err((class, text)), None) => {
            Err(format!("error {class} instead of {}: {}", case["answer"], first_line(&text)))
        }
        (Ok((array, _)), Some(error)) => {
            Err(format!("{} instead of error {}", to_json(&array, 0), error["class"]))
        }
        (Ok((array, data_type)), None) => {
            let ours = to_json(&array, 0);
            let single = data_type == DataType::Float32;
            let rounded_alike = single && same_float(&ours, &case["answer"]);
            if !same(&ours, &case["answer"]) && !rounded_alike {
                return Err(format!("{ours} instead of {}", case["answer"]));
            }
            let wanted = case["type"].as_str().unwrap();
            if type_agrees(&data_type, wanted) {
                Ok(())
            } else {
                Err(format!("type {} instead of {wanted}", type_text(&data_type)))
            }
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

fn type_text(data_type: &DataType) -> String {
    match data_type {
        DataType::Duration(_) => "INTERVAL DAY TO SECOND".to_owned(),
        DataType::Interval(_) => "INTERVAL YEAR TO MONTH".to_owned(),
        other => millstream_types::DataType::from_arrow(other)
            .map_or_else(|_| other.to_string(), |spark| spark.sql()),
    }
}

/// Types agree but for nullability, which we do not track, and the fields of an interval.
fn type_agrees(ours: &DataType, wanted: &str) -> bool {
    let plain = |text: &str| text.replace(" NOT NULL", "");
    let (ours, wanted) = (plain(&type_text(ours)), plain(wanted));
    if ours == "INTERVAL DAY TO SECOND" {
        return wanted.starts_with("INTERVAL") && !wanted.contains("MONTH");
    }
    if ours == "INTERVAL YEAR TO MONTH" {
        return wanted.starts_with("INTERVAL") && !wanted.contains("SECOND");
    }
    ours == wanted
}

fn same(ours: &Value, wanted: &Value) -> bool {
    match (ours, wanted) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(x, y)| same(x, y))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            a == b || (a - b).abs() <= DOUBLE_TOLERANCE * a.abs().max(b.abs())
        }
        (a, b) => a == b,
    }
}

/// Two spellings of one single-precision number.
fn same_float(ours: &Value, wanted: &Value) -> bool {
    ours.as_f64().map(|v| v as f32) == wanted.as_f64().map(|v| v as f32)
}

/// The value of a row as the recorded answers write it.
fn to_json(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int8 => json!(array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => json!(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => json!(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            float(value.to_string().parse().unwrap())
        }
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            let value = array.as_primitive::<Decimal128Type>().value(row);
            json!(decimal(value, usize::try_from(*scale).unwrap()))
        }
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::Binary => {
            let bytes = array.as_binary::<i32>().value(row);
            json!(bytes.iter().map(|b| format!("{b:02X}")).collect::<String>())
        }
        DataType::Date32 => json!(date(array.as_primitive::<Date32Type>().value(row))),
        DataType::Timestamp(..) => {
            json!(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Duration(_) => json!(array.as_primitive::<DurationMicrosecondType>().value(row)),
        DataType::Interval(_) => json!(array.as_primitive::<IntervalYearMonthType>().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|i| to_json(&items, i)).collect()
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            (0..entries.len())
                .map(|i| json!([to_json(entries.column(0), i), to_json(entries.column(1), i)]))
                .collect()
        }
        DataType::Struct(_) => {
            array.as_struct().columns().iter().map(|column| to_json(column, row)).collect()
        }
        other => json!(format!("a value of {other}")),
    }
}

fn float(value: f64) -> Value {
    if value.is_nan() {
        return json!("NaN");
    }
    if value.is_infinite() {
        return json!(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    json!(value)
}

fn decimal(value: i128, scale: usize) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", value.unsigned_abs().to_string(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn date(days: i32) -> String {
    let date = NaiveDate::default() + chrono::Duration::days(i64::from(days));
    let year = match date.year() {
        year @ 10_000.. => format!("+{year}"),
        year @ 0..=9_999 => format!("{year:04}"),
        year => format!("-{:04}", -year),
    };
    format!("{year}-{:02}-{:02}", date.month(), date.day())
}
