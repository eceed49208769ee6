//! Time zones by the names that Java knows.

use crate::datetime;
use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;

/// A time zone: a fixed offset from UTC in seconds, or a region with rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    /// A region of the time zone database.
    Region(Tz),
}

const OFFSET_SECONDS_MAX: i32 = 18 * 3600;
const MICROS: i64 = 1_000_000;

impl Zone {
    /// UTC.
    pub const UTC: Zone = Zone::Fixed(0);

    /// The zone of a name as Spark takes it for `spark.sql.session.timeZone`: `UTC`, `Z`,
    /// `+01:00`, `GMT-3`, `Europe/Berlin`, or one of Java's short names such as `PST`.
    pub fn parse(name: &str) -> Option<Zone> {
        let name = widened(name);
        if name == "Z" {
            return Some(Zone::UTC);
        }
        if name.starts_with(['+', '-']) {
            return offset(&name).map(Zone::Fixed);
        }
        for prefix in ["UTC", "GMT", "UT"] {
            match name.strip_prefix(prefix) {
                Some("") => return Some(Zone::UTC),
                Some(rest) if rest.starts_with(['+', '-']) => {
                    return offset(rest).map(Zone::Fixed);
                }
                _ => {}
            }
        }
        match short_name(&name) {
            Some(target) if target.starts_with('-') => offset(target).map(Zone::Fixed),
            Some(target) => target.parse().ok().map(Zone::Region),
            None => name.parse().ok().map(Zone::Region),
        }
    }

    /// The instant of a wall-clock time, both in microseconds. A time that the clocks skip moves
    /// forward by what they skip; of a time that occurs twice the first is meant.
    pub fn instant(&self, local_us: i64) -> Option<i64> {
        let offset = match self {
            Zone::Fixed(offset) => *offset,
            Zone::Region(zone) => {
                let local = within_rules(local_us);
                match zone.offset_from_local_datetime(&local) {
                    chrono::LocalResult::Single(o) | chrono::LocalResult::Ambiguous(o, _) => {
                        o.fix().local_minus_utc()
                    }
                    chrono::LocalResult::None => {
                        let before = local.checked_sub_signed(TimeDelta::days(1))?;
                        zone.offset_from_utc_datetime(&before).fix().local_minus_utc()
                    }
                }
            }
        };
        local_us.checked_sub(i64::from(offset) * MICROS)
    }

    /// Seconds east of UTC at an instant.
    pub fn offset_at(&self, instant_us: i64) -> i32 {
        match self {
            Zone::Fixed(offset) => *offset,
            Zone::Region(zone) => {
                let utc = within_rules(instant_us);
                zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()
            }
        }
    }

    /// The name, for patterns that print it.
    pub(crate) fn name(&self) -> String {
        match self {
            Zone::Fixed(0) => "Z".into(),
            Zone::Fixed(offset) => {
                let (sign, seconds) = if *offset < 0 { ('-', -offset) } else { ('+', *offset) };
                format!("{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)
            }
            Zone::Region(zone) => zone.name().into(),
        }
    }
}

/// The same moment in the span that the compiled rules cover. The rules in force at their end
/// hold for ever, so a later year is looked up as an earlier one that starts on the same day of
/// the week and is as long.
fn within_rules(micros: i64) -> NaiveDateTime {
    const LAST_YEAR: i64 = 2087;
    const DAY_US: i64 = 24 * 3600 * MICROS;
    let micros = micros.max(-60_000_000_000 * MICROS);
    let (year, _, _) = datetime::civil(micros.div_euclid(DAY_US));
    let start = |year: i64| datetime::days(year, 1, 1).unwrap_or_default();
    let length = |year: i64| start(year + 1) - start(year);
    let alike =
        |other: &i64| (start(year) - start(*other)) % 7 == 0 && length(year) == length(*other);
    let shift = match (LAST_YEAR - 27..=LAST_YEAR).find(alike) {
        Some(other) if year > LAST_YEAR => start(year) - start(other),
        _ => 0,
    };
    let moved = micros - shift * DAY_US;
    DateTime::from_timestamp_micros(moved).unwrap_or_default().naive_utc()
}

/// Offsets with one digit of hours or minutes (`+1:00`, `+01:0`) in the form with two.
fn widened(name: &str) -> String {
    let mut text = name.to_owned();
    let digit_at = |t: &str, at: usize| t.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let byte_at = |t: &str, at: usize| t.as_bytes().get(at).copied();
    let hour = (0..text.len()).find(|&at| {
        matches!(byte_at(&text, at), Some(b'+' | b'-'))
            && digit_at(&text, at + 1)
            && byte_at(&text, at + 2) == Some(b':')
    });
    if let Some(at) = hour {
        text.insert(at + 1, '0');
    }
    if let Some(at) = text.len().checked_sub(5) {
        let minute = matches!(byte_at(&text, at), Some(b'+' | b'-'))
            && digit_at(&text, at + 1)
            && digit_at(&text, at + 2)
            && byte_at(&text, at + 3) == Some(b':')
            && digit_at(&text, at + 4);
        if minute {
            text.insert(at + 4, '0');
        }
    }
    text
}

/// `+h`, `+hh`, `+hh:mm`, `+hhmm`, `+hh:mm:ss`, `+hhmmss` in seconds, at most eighteen hours.
pub(crate) fn offset(text: &str) -> Option<i32> {
    let negative = match text.as_bytes().first()? {
        b'+' => false,
        b'-' => true,
        _ => return None,
    };
    let rest = text.get(1..)?;
    let two = |at: usize| -> Option<i32> {
        let digits = rest.get(at..at + 2)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let colon = |at: usize| rest.as_bytes().get(at) == Some(&b':');
    let (hours, minutes, seconds) = match rest.len() {
        1 => (i32::from(rest.as_bytes().first()?.checked_sub(b'0')?), 0, 0),
        2 => (two(0)?, 0, 0),
        4 => (two(0)?, two(2)?, 0),
        5 if colon(2) => (two(0)?, two(3)?, 0),
        6 => (two(0)?, two(2)?, two(4)?),
        8 if colon(2) && colon(5) => (two(0)?, two(3)?, two(6)?),
        _ => return None,
    };
    let total = hours * 3600 + minutes * 60 + seconds;
    if hours > 18 || minutes > 59 || seconds > 59 || total > OFFSET_SECONDS_MAX {
        return None;
    }
    Some(if negative { -total } else { total })
}

/// Java's three-letter names (`ZoneId.SHORT_IDS`).
fn short_name(name: &str) -> Option<&'static str> {
    Some(match name {
        "ACT" => "Australia/Darwin",
        "AET" => "Australia/Sydney",
        "AGT" => "America/Argentina/Buenos_Aires",
        "ART" => "Africa/Cairo",
        "AST" => "America/Anchorage",
        "BET" => "America/Sao_Paulo",
        "BST" => "Asia/Dhaka",
        "CAT" => "Africa/Harare",
        "CNT" => "America/St_Johns",
        "CST" => "America/Chicago",
        "CTT" => "Asia/Shanghai",
        "EAT" => "Africa/Addis_Ababa",
        "ECT" => "Europe/Paris",
        "IET" => "America/Indiana/Indianapolis",
        "IST" => "Asia/Kolkata",
        "JST" => "Asia/Tokyo",
        "MIT" => "Pacific/Apia",
        "NET" => "Asia/Yerevan",
        "NST" => "Pacific/Auckland",
        "PLT" => "Asia/Karachi",
        "PNT" => "America/Phoenix",
        "PRT" => "America/Puerto_Rico",
        "PST" => "America/Los_Angeles",
        "SST" => "Pacific/Guadalcanal",
        "VST" => "Asia/Ho_Chi_Minh",
        "EST" => "-05:00",
        "MST" => "-07:00",
        "HST" => "-10:00",
        _ => return None,
    })
}
