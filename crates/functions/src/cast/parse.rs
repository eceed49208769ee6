//! Text to values as Spark's casts read it. `None` means the text is not of the type.

use chrono::{NaiveDate, NaiveTime};

use crate::zone::Zone;

/// Digits beyond this count cannot fit 38 digits and are refused before any arithmetic.
const EXPONENT_LIMIT: i64 = 6_000;

/// Spark trims ISO control characters and white space on both sides.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c.is_control())
}

/// A whole number; `allow_fraction` (ANSI off) accepts and drops a fraction.
pub(crate) fn integer(text: &str, allow_fraction: bool) -> Option<i64> {
    let text = trim(text);
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let whole = match digits.split_once('.') {
        Some((whole, fraction)) if allow_fraction => {
            if !fraction.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            whole
        }
        Some(_) => return None,
        None if digits.is_empty() => return None,
        None => digits,
    };
    let mut value: i64 = 0;
    for byte in whole.bytes() {
        if !byte.is_ascii_digit() {
            return None;
        }
        // Counted downwards so that the smallest value parses too.
        value = value.checked_mul(10)?.checked_sub(i64::from(byte - b'0'))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// A double, with Java's spellings.
pub(crate) fn double(text: &str) -> Option<f64> {
    let text = trim(text);
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "nan" => return Some(f64::NAN),
        "inf" | "+inf" | "infinity" | "+infinity" => return Some(f64::INFINITY),
        "-inf" | "-infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let number = lower.strip_suffix(['d', 'f']).unwrap_or(&lower);
    if !number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e')) {
        return None;
    }
    number.parse().ok()
}

/// A boolean word.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match trim(text).to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// A decimal that was read, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The unscaled value at the wanted scale.
    Value(i128),
    /// Not a number.
    Malformed,
    /// A number of more digits than the type holds.
    TooLarge,
}

/// Decimal text, rounded half up to `scale`.
pub(crate) fn decimal(text: &str, precision: u8, scale: i8) -> Parsed {
    let Some((negative, digits, exponent)) = decimal_parts(trim(text)) else {
        return Parsed::Malformed;
    };
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Parsed::Value(0);
    }
    // The number is 0.digits * 10^point.
    let wanted = i64::try_from(digits.len()).unwrap_or(i64::MAX) + exponent + i64::from(scale);
    if wanted < 0 {
        return Parsed::Value(0);
    }
    if wanted > i64::from(precision) {
        return Parsed::TooLarge;
    }
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let mut value: i128 = 0;
    for index in 0..wanted {
        let digit = digits.as_bytes().get(index).map_or(0, |b| b - b'0');
        value = value * 10 + i128::from(digit);
    }
    if digits.as_bytes().get(wanted).is_some_and(|b| *b >= b'5') {
        value += 1;
    }
    if value >= 10i128.pow(u32::from(precision)) {
        return Parsed::TooLarge;
    }
    Parsed::Value(if negative { -value } else { value })
}

/// Sign, all digits and the power of ten of the last digit.
fn decimal_parts(text: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => {
            let exponent: i64 = text.get(at + 1..)?.parse().ok()?;
            if exponent.abs() > EXPONENT_LIMIT {
                return None;
            }
            (text.get(..at)?, exponent)
        }
        None => (text, 0),
    };
    let (negative, mantissa) = match mantissa.as_bytes().first()? {
        b'-' => (true, mantissa.get(1..)?),
        b'+' => (false, mantissa.get(1..)?),
        _ => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((negative, digits, exponent - i64::try_from(fraction.len()).ok()?))
}

/// Days since the epoch: `[+-]yyyy[-m[m][-d[d][(T| )anything]]]`.
pub(crate) fn date(text: &str) -> Option<i32> {
    let text = trim(text);
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1, text.get(1..)?),
        b'+' => (1, text.get(1..)?),
        _ => (1, text),
    };
    let mut segments = [1i32, 1, 1];
    let mut index = 0;
    let mut digits = 0;
    let mut value: i32 = 0;
    for byte in rest.bytes() {
        match byte {
            b'0'..=b'9' => {
                value = value.checked_mul(10)?.checked_add(i32::from(byte - b'0'))?;
                digits += 1;
            }
            b'-' if index < 2 => {
                date_segment(index, digits)?;
                *segments.get_mut(index)? = value;
                (value, digits) = (0, 0);
                index += 1;
            }
            b' ' | b'T' if index == 2 => break,
            _ => return None,
        }
    }
    date_segment(index, digits)?;
    *segments.get_mut(index)? = value;
    let [year, month, day] = segments;
    ymd(sign * year, month, day)
}

fn date_segment(index: usize, digits: usize) -> Option<()> {
    let fits = if index == 0 { (4..=7).contains(&digits) } else { (1..=2).contains(&digits) };
    fits.then_some(())
}

/// Days since the epoch of a proleptic Gregorian date.
pub(crate) fn ymd(year: i32, month: i32, day: i32) -> Option<i32> {
    let date = NaiveDate::from_ymd_opt(year, u32::try_from(month).ok()?, u32::try_from(day).ok()?)?;
    Some(days_of(date))
}

/// Days since the epoch of a calendar date.
pub(crate) fn days_of(date: NaiveDate) -> i32 {
    let epoch = NaiveDate::default();
    i32::try_from(date.signed_duration_since(epoch).num_days()).unwrap_or(i32::MAX)
}

/// A timestamp's parts: wall-clock microseconds and the zone that was written, if any.
pub(crate) struct TimestampText {
    pub(crate) local_micros: i64,
    pub(crate) zone: Option<Zone>,
}

/// Segment numbers of [`timestamp`]: year, month, day, hour, minute, second, fraction.
const FRACTION: usize = 6;

/// A timestamp as Spark's cast reads it. A time without a date is refused: its day would depend
/// on the moment of evaluation.
pub(crate) fn timestamp(text: &str) -> Option<TimestampText> {
    let text = trim(text);
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1i64, text.get(1..)?),
        b'+' => (1, text.get(1..)?),
        _ => (1, text),
    };
    let mut segments = [1i64, 1, 1, 0, 0, 0, 0];
    let (mut index, mut digits, mut value) = (0usize, 0usize, 0i64);
    let mut zone = None;
    for (at, byte) in rest.bytes().enumerate() {
        if byte.is_ascii_digit() {
            if index != FRACTION || digits < 6 {
                value = value.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
            }
            digits += 1;
            continue;
        }
        let next = match (index, byte) {
            (0 | 1, b'-') | (2, b' ' | b'T') | (3 | 4, b':') | (5, b'.') => true,
            (5 | FRACTION, _) => false,
            _ => return None,
        };
        segment_fits(index, digits)?;
        if !next {
            zone = Some(Zone::parse(&pad_offset(rest.get(at..)?))?);
            break;
        }
        *segments.get_mut(index)? = value;
        (value, digits) = (0, 0);
        index += 1;
    }
    segment_fits(index, digits)?;
    if index == FRACTION {
        for _ in digits.min(6)..6 {
            value *= 10;
        }
    }
    *segments.get_mut(index)? = value;
    let [year, month, day, hour, minute, second, micros] = segments;
    let days = ymd(
        i32::try_from(sign * year).ok()?,
        i32::try_from(month).ok()?,
        i32::try_from(day).ok()?,
    )?;
    let time = NaiveTime::from_hms_opt(
        u32::try_from(hour).ok()?,
        u32::try_from(minute).ok()?,
        u32::try_from(second).ok()?,
    )?;
    let seconds = i64::from(chrono::Timelike::num_seconds_from_midnight(&time));
    let local_micros = i64::from(days)
        .checked_mul(86_400)?
        .checked_add(seconds)?
        .checked_mul(1_000_000)?
        .checked_add(micros)?;
    Some(TimestampText { local_micros, zone })
}

fn segment_fits(index: usize, digits: usize) -> Option<()> {
    let fits = match index {
        0 => (4..=6).contains(&digits),
        FRACTION => true,
        _ => (1..=2).contains(&digits),
    };
    fits.then_some(())
}

/// `+1:30` and `+01:3` are offsets too.
fn pad_offset(text: &str) -> String {
    let text = text.trim();
    let Some(sign) = text.chars().next().filter(|c| matches!(c, '+' | '-')) else {
        return text.to_owned();
    };
    let parts: Vec<String> = text
        .trim_start_matches(['+', '-'])
        .split(':')
        .map(|part| if part.len() == 1 { format!("0{part}") } else { part.to_owned() })
        .collect();
    format!("{sign}{}", parts.join(":"))
}
