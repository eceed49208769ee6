//! Texts to values: dates, timestamps, zones, decimals and the patterns of datetimes, which casts,
//! `from_json` and partition values share.

use crate::check_error;
use crate::input::Input;
use millstream_json::pattern::{Moment, Pattern};
use millstream_json::{Zone, datetime, decimal};

/// One execution.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() & 3 {
        0 => datetimes(input),
        1 => decimals(input),
        2 => zones(input),
        _ => patterns(input),
    }
}

fn datetimes(input: Input<'_>) {
    let Some(text) = input.text() else { return };
    let utc = datetime::timestamp(text, &Zone::UTC);
    let local = datetime::timestamp_ntz(text);
    let day = datetime::date(text);
    // A plain day means the same to all three.
    if is_plain_day(text) {
        assert_eq!(day, civil_day(text), "{text}");
        let midnight = day.map(|d| i64::from(d) * 86_400_000_000);
        assert_eq!((utc, local), (midnight, midnight), "{text}");
    }
    if let (Some(day), Some(local)) = (day, local) {
        assert_eq!(local.div_euclid(86_400_000_000), i64::from(day), "{text}");
    }
}

fn is_plain_day(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| {
        text.as_bytes().get(range).is_some_and(|d| d.iter().all(u8::is_ascii_digit))
    };
    text.len() == 10
        && text.as_bytes()[4] == b'-'
        && text.as_bytes()[7] == b'-'
        && digits(0..4)
        && digits(5..7)
        && digits(8..10)
}

/// Days since the epoch by the proleptic Gregorian calendar, written down once more.
fn civil_day(text: &str) -> Option<i32> {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i32>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let february = if leap { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month - 1).ok()?)?;
    if !(1..=length).contains(&day) {
        return None;
    }
    let before = (year - 1).div_euclid(4) - (year - 1).div_euclid(100) + (year - 1).div_euclid(400);
    let in_year: i32 = lengths.iter().take((month - 1) as usize).sum();
    Some((year - 1) * 365 + before + in_year + day - 1 - 719_162)
}

fn decimals(mut input: Input<'_>) {
    let precision = 1 + input.byte() % 38;
    let scale = i8::try_from(input.byte() % (precision + 1)).unwrap();
    let Some(text) = input.text() else { return };
    let Some(value) = decimal(text, precision, scale) else { return };
    assert!(value.unsigned_abs() < 10_u128.pow(u32::from(precision)), "{text}");
    // Its own digits say the same again.
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    let sign = if value < 0 { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    let printed = format!("{sign}{whole}{point}{fraction}");
    assert_eq!(decimal(&printed, precision, scale), Some(value), "{text}");
}

fn zones(mut input: Input<'_>) {
    let at = i64::from(input.byte()) << 44 | i64::from(input.byte()) << 36;
    let Some(name) = input.text() else { return };
    let Some(zone) = Zone::parse(name) else { return };
    let offset = zone.offset_at(at);
    assert!(offset.abs() <= 18 * 3600, "{name}");
    // The wall clock of an instant means an instant with the same wall clock.
    let wall = at + i64::from(offset) * 1_000_000;
    if let Some(instant) = zone.instant(wall) {
        let again = instant + i64::from(zone.offset_at(instant)) * 1_000_000;
        assert_eq!(again, wall, "{name}");
    }
}

fn patterns(mut input: Input<'_>) {
    let micros = i64::from(input.byte()) << 43 | i64::from(input.byte()) << 21;
    let Ok(pattern) = std::str::from_utf8(input.until(b'\n')) else { return };
    let Some(text) = input.text() else { return };
    match Pattern::for_reading("timestampFormat", pattern) {
        Ok(pattern) => {
            if let Some(parsed) = pattern.read(text) {
                let _ = (parsed.date(), parsed.local_us(), parsed.instant(&Zone::UTC));
            }
        }
        Err(error) => check_error(&error),
    }
    match Pattern::for_writing("timestampFormat", pattern) {
        Ok(pattern) => {
            let mut out = String::new();
            let moment = Moment { local_us: micros, offset_seconds: 3600, zone: Zone::UTC };
            pattern.write(&moment, &mut out);
        }
        Err(error) => check_error(&error),
    }
}
