//! `INTERVAL` literals: day-time as microseconds, year-month as months.

use datafusion::common::{DataFusionError, Result, ScalarValue};

use crate::error::spark_error;

const SECOND: i64 = 1_000_000;

/// The value of an interval's text: `1 DAY 2 HOURS`, `'1 day 2 hours'`, `'1-2' YEAR TO MONTH`,
/// `'1 02:03:04.5' DAY TO SECOND`.
pub(crate) fn literal(text: &str) -> Result<ScalarValue> {
    let invalid = || invalid(text);
    let plain = text.replace(['\'', '"'], " ").to_ascii_lowercase();
    let words: Vec<&str> = plain.split_whitespace().collect();
    if let Some(at) = words.iter().position(|w| *w == "to") {
        let (Some(from), Some(to)) = (words.get(at.wrapping_sub(1)), words.get(at + 1)) else {
            return Err(invalid());
        };
        let value = words.get(..at - 1).ok_or_else(invalid)?.join(" ");
        return range(&value, from, to).ok_or_else(invalid);
    }
    let (mut months, mut micros) = (0i64, 0i64);
    let (mut has_months, mut has_micros) = (false, false);
    let mut rest = words.as_slice();
    while let [value, unit, tail @ ..] = rest {
        let unit = unit.strip_suffix('s').unwrap_or(unit);
        match unit {
            "year" | "month" => {
                let value: i64 = value.parse().map_err(|_| invalid())?;
                months += value * if unit == "year" { 12 } else { 1 };
                has_months = true;
            }
            _ => {
                let per = unit_micros(unit).ok_or_else(invalid)?;
                let part = scaled(value, per).ok_or_else(invalid)?;
                micros = micros.checked_add(part).ok_or_else(invalid)?;
                has_micros = true;
            }
        }
        rest = tail;
    }
    if !rest.is_empty() || has_months == has_micros {
        return Err(invalid());
    }
    if has_months {
        return Ok(ScalarValue::IntervalYearMonth(Some(
            i32::try_from(months).map_err(|_| invalid())?,
        )));
    }
    Ok(ScalarValue::DurationMicrosecond(Some(micros)))
}

fn unit_micros(unit: &str) -> Option<i64> {
    Some(match unit {
        "week" => 7 * 86_400 * SECOND,
        "day" => 86_400 * SECOND,
        "hour" => 3_600 * SECOND,
        "minute" => 60 * SECOND,
        "second" => SECOND,
        "millisecond" => 1_000,
        "microsecond" => 1,
        _ => return None,
    })
}

/// A decimal count of a unit in microseconds.
fn scaled(value: &str, per: i64) -> Option<i64> {
    let (negative, digits) = match value.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, value.strip_prefix('+').unwrap_or(value)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !fraction.is_empty() && per != SECOND {
        return None;
    }
    let mut micros = whole.parse::<i64>().ok()?.checked_mul(per)?;
    if !fraction.is_empty() {
        let padded: String = fraction.chars().chain("000000".chars()).take(6).collect();
        micros = micros.checked_add(padded.parse().ok()?)?;
    }
    Some(if negative { -micros } else { micros })
}

fn range(value: &str, from: &str, to: &str) -> Option<ScalarValue> {
    let (negative, value) = match value.trim().strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, value.trim()),
    };
    if from == "year" && to == "month" {
        let (years, months) = value.split_once('-')?;
        let total = years.parse::<i32>().ok()?.checked_mul(12)? + months.parse::<i32>().ok()?;
        return Some(ScalarValue::IntervalYearMonth(Some(negative * total)));
    }
    const UNITS: [&str; 4] = ["day", "hour", "minute", "second"];
    let first = UNITS.iter().position(|u| *u == from)?;
    let last = UNITS.iter().position(|u| *u == to)?;
    let parts: Vec<&str> = value.split([' ', ':']).collect();
    if last < first || parts.len() != last - first + 1 {
        return None;
    }
    let mut micros: i64 = 0;
    for (part, unit) in parts.iter().zip(UNITS.get(first..=last)?) {
        micros = micros.checked_add(scaled(part, unit_micros(unit)?)?)?;
    }
    Some(ScalarValue::DurationMicrosecond(Some(i64::from(negative) * micros)))
}

fn invalid(text: &str) -> DataFusionError {
    spark_error(
        "INVALID_INTERVAL_FORMAT",
        format!("Error parsing '{text}' to interval. Please ensure that the value is valid."),
    )
}
