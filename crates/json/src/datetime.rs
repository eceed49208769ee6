//! Dates and timestamps in the forms that Spark takes without a pattern.

use crate::zone::Zone;

const DAY_US: i64 = 86_400_000_000;

/// Microseconds since the epoch of a timestamp such as `2026-01-02 03:04:05.678 Europe/Berlin`.
/// Without a zone the text is in `zone`. Digits of the fraction beyond the sixth are dropped.
///
/// A time without a date means today in Spark. A batch that is made again must see the same
/// values, so here it is no timestamp.
pub fn timestamp(text: &str, zone: &Zone) -> Option<i64> {
    let parts = parts(text)?;
    let zone = match parts.zone {
        Some(name) => Zone::parse(name)?,
        None => *zone,
    };
    zone.instant(parts.local_us()?)
}

/// Wall-clock microseconds of a timestamp without a zone; with one it is refused.
pub fn timestamp_ntz(text: &str) -> Option<i64> {
    let parts = parts(text)?;
    if parts.zone.is_some() { None } else { parts.local_us() }
}

/// Days since the epoch of a date such as `2026-1-2`; after a blank or `T` anything may follow.
pub fn date(text: &str) -> Option<i32> {
    let text = trimmed(text);
    let (sign, mut rest) = sign(text);
    rest.first()?;
    let mut segments = [1_i64; 3];
    for (index, segment) in segments.iter_mut().enumerate() {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let allowed = if index == 0 { 4..=7 } else { 1..=2 };
        if !allowed.contains(&digits) {
            return None;
        }
        let (number, after) = rest.split_at(digits);
        *segment = value(number);
        match (after.first(), index) {
            (None, _) => break,
            (Some(b'-'), 0 | 1) => rest = after.get(1..)?,
            (Some(b' ' | b'T'), 2) => break,
            _ => return None,
        }
    }
    let [year, month, day] = segments;
    i32::try_from(days(sign * year, month, day)?).ok()
}

/// Spark's oldest form of dates in JSON: the number of days since the epoch as text, counted in
/// the calendar of that time (Julian before 1582-10-15).
pub(crate) fn date_of_day_number(text: &str) -> Option<i32> {
    const GREGORIAN_FROM: i32 = -141_427;
    let day: i32 = text.parse().ok()?;
    if day >= GREGORIAN_FROM {
        return Some(day);
    }
    // Days since 0000-03-01 of the Julian calendar, in cycles of four years.
    let shifted = i64::from(day) + 719_470;
    let (cycle, in_cycle) = (shifted.div_euclid(1461), shifted.rem_euclid(1461));
    let in_cycle_year = (in_cycle - in_cycle / 1460) / 365;
    let day_of_year = in_cycle - in_cycle_year * 365;
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = cycle * 4 + in_cycle_year + i64::from(month <= 2);
    // A leap day that only the Julian calendar has becomes the first of March.
    let gregorian = days(year, month, day).or_else(|| days(year, 3, 1))?;
    i32::try_from(gregorian).ok()
}

/// Days since the epoch of a proleptic Gregorian date; `None` if there is no such day.
pub(crate) fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 || day > month_length(year, month) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Year, month and day of a number of days since the epoch.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// A date and a time of day as microseconds of the wall clock.
pub(crate) fn local_micros(date: [i64; 3], time: [i64; 3], fraction_us: i64) -> Option<i64> {
    let [year, month, day] = date;
    let [hour, minute, second] = time;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days(year, month, day)?;
    let in_day = ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction_us;
    // The first microseconds that can be told lie in a day whose start cannot.
    let micros = i128::from(days) * i128::from(DAY_US) + i128::from(in_day);
    i64::try_from(micros).ok()
}

struct Parts<'a> {
    date: [i64; 3],
    time: [i64; 3],
    fraction_us: i64,
    zone: Option<&'a str>,
}

impl Parts<'_> {
    fn local_us(&self) -> Option<i64> {
        local_micros(self.date, self.time, self.fraction_us)
    }
}

/// Takes a timestamp apart: year to day with dashes, a blank or `T`, hours to seconds with
/// colons, a fraction, and whatever follows as the name of a zone. It may end after any segment.
fn parts(text: &str) -> Option<Parts<'_>> {
    let text = trimmed(text);
    let (sign, mut rest) = sign(text);
    let mut parts = Parts { date: [1, 1, 1], time: [0; 3], fraction_us: 0, zone: None };
    for index in 0..6 {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let allowed = if index == 0 { 4..=6 } else { 1..=2 };
        if !allowed.contains(&digits) {
            return None;
        }
        let (number, after) = rest.split_at(digits);
        let slot =
            if index < 3 { parts.date.get_mut(index) } else { parts.time.get_mut(index - 3) };
        *slot? = value(number);
        rest = after;
        match (rest.first(), index) {
            (None, _) => break,
            (Some(b'-'), 0 | 1) | (Some(b' ' | b'T'), 2) | (Some(b':'), 3 | 4) => {
                rest = rest.get(1..)?;
            }
            (Some(_), 5) => {}
            _ => return None,
        }
    }
    if let Some((b'.', after)) = rest.split_first() {
        let digits = after.iter().take_while(|b| b.is_ascii_digit()).count();
        let mut fraction = 0;
        for at in 0..6 {
            let digit = after.get(at).filter(|_| at < digits).map_or(0, |b| b - b'0');
            fraction = fraction * 10 + i64::from(digit);
        }
        parts.fraction_us = fraction;
        rest = after.get(digits..)?;
    }
    if !rest.is_empty() {
        parts.zone = Some(std::str::from_utf8(rest).ok()?.trim());
    }
    if let Some(year) = parts.date.first_mut() {
        *year *= sign;
    }
    Some(parts)
}

fn trimmed(text: &str) -> &[u8] {
    let blank = |b: &u8| *b <= b' ' || *b == 0x7f;
    let bytes = text.as_bytes();
    let start = bytes.iter().position(|b| !blank(b)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|b| !blank(b)).map_or(start, |at| at + 1);
    bytes.get(start..end).unwrap_or_default()
}

fn sign(text: &[u8]) -> (i64, &[u8]) {
    match text.split_first() {
        Some((b'-', rest)) => (-1, rest),
        Some((b'+', rest)) => (1, rest),
        _ => (1, text),
    }
}

fn value(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_inverse() {
        for day in (-1_000_000..1_000_000).step_by(997) {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), Some(day));
        }
        assert_eq!(days(2023, 2, 29), None);
        assert_eq!(days(2000, 2, 29), Some(11_016));
        assert_eq!(days(1900, 2, 29), None);
    }

    #[test]
    fn day_numbers_of_the_julian_calendar() {
        assert_eq!(date_of_day_number("-141427"), Some(-141_427));
        // 1582-10-04 is the day before 1582-10-15 there, and ten days before it here.
        assert_eq!(date_of_day_number("-141428"), Some(-141_438));
        // 0001-01-01, two days earlier in the Julian calendar.
        assert_eq!(date_of_day_number("-719164"), Some(-719_162));
        // 1500-02-29 does not exist here; it was the day that we call the tenth of March.
        let leap = days(1500, 3, 10).unwrap();
        let first_of_march = days(1500, 3, 1).and_then(|d| i32::try_from(d).ok());
        assert_eq!(date_of_day_number(&leap.to_string()), first_of_march);
    }

    #[test]
    fn zones_decide_what_skipped_and_repeated_times_mean() {
        let zone = Zone::parse("America/New_York").unwrap();
        let at = |text: &str| timestamp(text, &zone).unwrap();
        assert_eq!(at("2020-03-08 02:30:00"), at("2020-03-08 03:30:00"));
        assert_eq!(at("2020-11-01 01:30:00"), at("2020-11-01 01:30:00-04:00"));
        assert_eq!(at("2500-07-01 00:00:00"), at("2500-07-01 00:00:00-04:00"));
        assert_eq!(at("2500-01-01 00:00:00"), at("2500-01-01 00:00:00-05:00"));
        for name in ["", "Mars", "+25:00", "+1:60", "GMT+", "utc", "+01:00:0"] {
            assert_eq!(Zone::parse(name), None, "{name}");
        }
        assert_eq!(Zone::parse("+1:0"), Some(Zone::Fixed(3600)));
        assert_eq!(Zone::parse("Z"), Some(Zone::UTC));
    }
}
