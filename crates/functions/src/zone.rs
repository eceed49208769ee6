//! Time zones as Java names them, and the change between local time and instants.
//!
//! A local time that a clock change skips moves forward by the length of the gap; one that occurs
//! twice means the earlier instant, as `java.time.ZonedDateTime` decides.

use chrono::{DateTime, Duration, FixedOffset, LocalResult, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;

/// A region or a fixed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// A region of the time zone database.
    Region(Tz),
    /// A fixed offset from UTC.
    Fixed(FixedOffset),
}

const SHORT_IDS: &[(&str, &str)] = &[
    ("ACT", "Australia/Darwin"),
    ("AET", "Australia/Sydney"),
    ("AGT", "America/Argentina/Buenos_Aires"),
    ("ART", "Africa/Cairo"),
    ("AST", "America/Anchorage"),
    ("BET", "America/Sao_Paulo"),
    ("BST", "Asia/Dhaka"),
    ("CAT", "Africa/Harare"),
    ("CNT", "America/St_Johns"),
    ("CST", "America/Chicago"),
    ("CTT", "Asia/Shanghai"),
    ("EAT", "Africa/Addis_Ababa"),
    ("ECT", "Europe/Paris"),
    ("EST", "-05:00"),
    ("HST", "-10:00"),
    ("IET", "America/Indiana/Indianapolis"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("MIT", "Pacific/Apia"),
    ("MST", "-07:00"),
    ("NET", "Asia/Yerevan"),
    ("NST", "Pacific/Auckland"),
    ("PLT", "Asia/Karachi"),
    ("PNT", "America/Phoenix"),
    ("PRT", "America/Puerto_Rico"),
    ("PST", "America/Los_Angeles"),
    ("SST", "Pacific/Guadalcanal"),
    ("VST", "Asia/Ho_Chi_Minh"),
];

impl Zone {
    /// Parses a region id, one of Java's short ids, or an offset (`Z`, `+1`, `+01:30`, `UTC+2`).
    pub fn parse(text: &str) -> Option<Zone> {
        let text = text.trim();
        if let Some((_, long)) = SHORT_IDS.iter().find(|(short, _)| *short == text) {
            return Zone::parse(long);
        }
        if matches!(text, "Z" | "UTC" | "GMT" | "UT") {
            return Some(Zone::Region(Tz::UTC));
        }
        for prefix in ["UTC", "GMT", "UT"] {
            if let Some(rest) = text.strip_prefix(prefix)
                && rest.starts_with(['+', '-'])
            {
                return parse_offset(rest).map(Zone::Fixed);
            }
        }
        if text.starts_with(['+', '-']) {
            return parse_offset(text).map(Zone::Fixed);
        }
        text.parse::<Tz>().ok().map(Zone::Region)
    }

    /// Offset from UTC in seconds at an instant.
    pub fn offset_seconds_at(&self, micros: i64) -> i32 {
        match self {
            Zone::Fixed(offset) => offset.local_minus_utc(),
            Zone::Region(tz) => {
                let Some(at) = DateTime::<Utc>::from_timestamp_micros(micros) else { return 0 };
                tz.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()
            }
        }
    }

    /// Wall-clock microseconds of an instant.
    pub fn to_local(&self, micros: i64) -> i64 {
        if matches!(self, Zone::Region(Tz::UTC)) {
            return micros;
        }
        micros.saturating_add(i64::from(self.offset_seconds_at(micros)) * 1_000_000)
    }

    /// The instant of wall-clock microseconds.
    pub fn to_instant(&self, local: i64) -> i64 {
        match self {
            Zone::Region(Tz::UTC) => local,
            Zone::Fixed(offset) => {
                local.saturating_sub(i64::from(offset.local_minus_utc()) * 1_000_000)
            }
            Zone::Region(tz) => {
                let Some(at) = DateTime::<Utc>::from_timestamp_micros(local) else { return local };
                let shift = i64::from(local_offset(*tz, at.naive_utc())) * 1_000_000;
                local.saturating_sub(shift)
            }
        }
    }

    /// The id that Java prints.
    pub fn id(&self) -> String {
        match self {
            Zone::Region(tz) => tz.name().to_owned(),
            Zone::Fixed(offset) => offset_text(offset.local_minus_utc()),
        }
    }
}

/// `+05:30`, `Z` for nought.
pub(crate) fn offset_text(seconds: i32) -> String {
    if seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let total = seconds.abs();
    let text = format!("{sign}{:02}:{:02}", total / 3600, total / 60 % 60);
    if total % 60 == 0 { text } else { format!("{text}:{:02}", total % 60) }
}

fn local_offset(tz: Tz, local: NaiveDateTime) -> i32 {
    match tz.offset_from_local_datetime(&local) {
        LocalResult::Single(offset) => offset.fix().local_minus_utc(),
        LocalResult::Ambiguous(first, second) => {
            // The earlier instant is the one with the larger offset.
            first.fix().local_minus_utc().max(second.fix().local_minus_utc())
        }
        LocalResult::None => {
            // In a gap the offset before it applies, which moves the time forward.
            let before = local - Duration::hours(24);
            tz.offset_from_utc_datetime(&before).fix().local_minus_utc()
        }
    }
}

fn parse_offset(text: &str) -> Option<FixedOffset> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let parts: Vec<&str> = rest.split(':').collect();
    let (hours, minutes, seconds) = match parts.as_slice() {
        [one] => match one.len() {
            1 | 2 => (one.parse().ok()?, 0, 0),
            4 => (one.get(..2)?.parse().ok()?, one.get(2..)?.parse().ok()?, 0),
            6 => (
                one.get(..2)?.parse().ok()?,
                one.get(2..4)?.parse().ok()?,
                one.get(4..)?.parse().ok()?,
            ),
            _ => return None,
        },
        [hours, minutes] if short(hours) && short(minutes) => {
            (hours.parse().ok()?, minutes.parse().ok()?, 0)
        }
        [hours, minutes, seconds] if short(hours) && short(minutes) && short(seconds) => {
            (hours.parse().ok()?, minutes.parse().ok()?, seconds.parse().ok()?)
        }
        _ => return None,
    };
    let (hours, minutes, seconds): (i32, i32, i32) = (hours, minutes, seconds);
    let total = hours * 3600 + minutes * 60 + seconds;
    if minutes > 59 || seconds > 59 || total > 18 * 3600 {
        return None;
    }
    FixedOffset::east_opt(sign * total)
}

fn short(digits: &str) -> bool {
    matches!(digits.len(), 1 | 2) && digits.bytes().all(|b| b.is_ascii_digit())
}
