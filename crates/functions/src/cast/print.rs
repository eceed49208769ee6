//! Values to text as Spark prints them in casts.

use std::fmt::Write;

use chrono::{DateTime, Datelike, NaiveDate};

/// Java's `Double.toString` in the shortest digits.
pub(crate) fn double(value: f64) -> String {
    floating(value, value.abs(), || format!("{value:e}"))
}

/// Java's `Float.toString` in the shortest digits.
pub(crate) fn float(value: f32) -> String {
    floating(f64::from(value), f64::from(value.abs()), || format!("{value:e}"))
}

fn floating(value: f64, magnitude: f64, scientific: impl Fn() -> String) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value.is_infinite() {
        return format!("{sign}Infinity");
    }
    if value == 0.0 {
        return format!("{sign}0.0");
    }
    let text = scientific();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let (head, tail) = digits.split_at(digits.len().min(1));
    if !(1e-3..1e7).contains(&magnitude) {
        let tail = if tail.is_empty() { "0" } else { tail };
        return format!("{sign}{head}.{tail}E{exponent}");
    }
    if exponent < 0 {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0));
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = usize::try_from(exponent).unwrap_or(0) + 1;
    if digits.len() <= whole {
        return format!("{sign}{digits}{}.0", "0".repeat(whole - digits.len()));
    }
    let (whole, fraction) = digits.split_at(whole);
    format!("{sign}{whole}.{fraction}")
}

/// A decimal with all digits of its scale; `plain` is off when ANSI is, and then Java's
/// `BigDecimal.toString` turns to an exponent for very small numbers.
pub(crate) fn decimal(value: i128, scale: i8, plain: bool) -> String {
    let negative = if value < 0 { "-" } else { "" };
    let digits = value.unsigned_abs().to_string();
    let scale = usize::try_from(scale).unwrap_or(0);
    if scale == 0 {
        return format!("{negative}{digits}");
    }
    let adjusted = i64::try_from(digits.len()).unwrap_or(0) - 1 - i64::try_from(scale).unwrap_or(0);
    if !plain && adjusted < -6 {
        let (head, tail) = digits.split_at(1);
        let point = if tail.is_empty() { "" } else { "." };
        return format!("{negative}{head}{point}{tail}E{adjusted}");
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{negative}{whole}.{fraction}")
}

/// `yyyy-MM-dd`, with a plus sign beyond year 9999.
pub(crate) fn date(days: i32) -> String {
    match NaiveDate::default().checked_add_signed(chrono::Duration::days(i64::from(days))) {
        Some(date) => {
            let mut text = year(date.year());
            let _ = write!(text, "-{:02}-{:02}", date.month(), date.day());
            text
        }
        None => days.to_string(),
    }
}

fn year(year: i32) -> String {
    match year {
        10_000.. => format!("+{year}"),
        0..=9_999 => format!("{year:04}"),
        _ => format!("-{:04}", year.unsigned_abs()),
    }
}

/// `yyyy-MM-dd HH:mm:ss[.ffffff]` of wall-clock microseconds, without trailing zeros.
pub(crate) fn timestamp(local_micros: i64) -> String {
    let Some(at) = DateTime::from_timestamp_micros(local_micros) else {
        return local_micros.to_string();
    };
    let days = local_micros.div_euclid(86_400_000_000);
    let mut text = date(i32::try_from(days).unwrap_or(i32::MAX));
    let _ = write!(text, " {}", at.format("%H:%M:%S"));
    let micros = local_micros.rem_euclid(1_000_000);
    if micros != 0 {
        let fraction = format!("{micros:06}");
        let _ = write!(text, ".{}", fraction.trim_end_matches('0'));
    }
    text
}

/// `INTERVAL '1 02:03:04.5' DAY TO SECOND` of microseconds.
pub(crate) fn day_time_interval(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let total = micros.unsigned_abs();
    let (seconds, fraction) = (total / 1_000_000, total % 1_000_000);
    let mut text = format!(
        "INTERVAL '{sign}{} {:02}:{:02}:{:02}",
        seconds / 86_400,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60
    );
    if fraction != 0 {
        let _ = write!(text, ".{}", format!("{fraction:06}").trim_end_matches('0'));
    }
    text.push_str("' DAY TO SECOND");
    text
}
