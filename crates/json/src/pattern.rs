//! Date and time patterns of Java (`DateTimeFormatter`), as far as Spark allows them in JSON.
//!
//! Reading is strict, as Spark's is: widths are exact where the pattern repeats a letter, the
//! whole text must match, and a day must exist. Letters that are not supported are refused by
//! name when the pattern is parsed.

use crate::datetime;
use crate::zone::{Zone, offset};
use millstream_core::{Error, Result};

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq)]
enum Item {
    Literal(String),
    Number { field: Field, width: Width, reserved: usize },
    Fraction { width_max: usize },
    Month { full: bool },
    Weekday { full: bool },
    HalfDay,
    Offset { letter: char, count: usize },
    ZoneName,
    Optional(Vec<Item>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    Month,
    Day,
    DayOfYear,
    Hour,
    HourFromOne,
    HalfDayHour,
    HalfDayHourFromOne,
    Minute,
    Second,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    /// Any number of digits.
    Free,
    /// Exactly this many.
    Exact(usize),
    /// At least this many; more need a plus sign.
    Padded(usize),
    /// The last two digits of a year from 2000 on.
    TwoDigitYear,
}

const DIGITS_MAX: usize = 19;
const OPTIONAL_NESTING_MAX: usize = 8;

/// What a text said.
#[derive(Debug, Default, Clone)]
pub struct Parsed {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: Option<i64>,
    half_day_hour: Option<i64>,
    afternoon: Option<bool>,
    minute: Option<i64>,
    second: Option<i64>,
    fraction_us: i64,
    zone: Option<Zone>,
}

/// What a pattern prints.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Microseconds of the wall clock.
    pub local_us: i64,
    /// Seconds east of UTC.
    pub offset_seconds: i32,
    /// The zone, for its name.
    pub zone: Zone,
}

impl Pattern {
    /// The pattern of an option for reading.
    pub fn for_reading(option: &str, text: &str) -> Result<Self> {
        Self::parse(option, text, true)
    }

    /// The pattern of an option for writing.
    pub fn for_writing(option: &str, text: &str) -> Result<Self> {
        Self::parse(option, text, false)
    }

    fn parse(option: &str, text: &str, reading: bool) -> Result<Self> {
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        let mut items =
            items(&chars, &mut at, reading, 0).map_err(|cause| refusal(option, text, &cause))?;
        if at < chars.len() {
            return Err(refusal(option, text, "`]` without `[`"));
        }
        reserve_adjacent(&mut items);
        Ok(Pattern { items })
    }

    /// Reads a whole text.
    pub fn read(&self, text: &str) -> Option<Parsed> {
        let mut parsed = Parsed::default();
        let rest = read_items(&self.items, text, &mut parsed)?;
        rest.is_empty().then_some(parsed)
    }

    /// Prints a moment.
    pub fn write(&self, moment: &Moment, out: &mut String) {
        write_items(&self.items, moment, out);
    }
}

impl Parsed {
    /// Days since the epoch; what the pattern does not have counts from 1970-01-01.
    pub fn date(&self) -> Option<i64> {
        let year = self.year.unwrap_or(1970);
        match self.day_of_year {
            Some(day) if self.month.is_none() && self.day.is_none() => {
                let days = datetime::days(year, 1, 1)? + day - 1;
                (day >= 1 && datetime::civil(days).0 == year).then_some(days)
            }
            _ => datetime::days(year, self.month.unwrap_or(1), self.day.unwrap_or(1)),
        }
    }

    /// Wall-clock microseconds.
    pub fn local_us(&self) -> Option<i64> {
        let hour = match (self.hour, self.half_day_hour, self.afternoon) {
            (Some(hour), _, _) => hour,
            (None, Some(hour), afternoon) => hour + if afternoon == Some(true) { 12 } else { 0 },
            (None, None, Some(true)) => 12,
            (None, None, _) => 0,
        };
        let (year, month, day) = datetime::civil(self.date()?);
        let time = [hour, self.minute.unwrap_or(0), self.second.unwrap_or(0)];
        datetime::local_micros([year, month, day], time, self.fraction_us)
    }

    /// Microseconds since the epoch; `zone` is for texts without one.
    pub fn instant(&self, zone: &Zone) -> Option<i64> {
        self.zone.as_ref().unwrap_or(zone).instant(self.local_us()?)
    }

    /// Whether the text named a zone or an offset.
    pub fn has_zone(&self) -> bool {
        self.zone.is_some()
    }

    fn set(&mut self, field: Field, value: i64) -> Option<()> {
        let (slot, value, range) = match field {
            Field::Year => (&mut self.year, value, -999_999_999..=999_999_999),
            Field::Month => (&mut self.month, value, 1..=12),
            Field::Day => (&mut self.day, value, 1..=31),
            Field::DayOfYear => (&mut self.day_of_year, value, 1..=366),
            Field::Hour => (&mut self.hour, value, 0..=23),
            Field::HourFromOne => (&mut self.hour, if value == 24 { 0 } else { value }, 0..=23),
            Field::HalfDayHour => (&mut self.half_day_hour, value, 0..=11),
            Field::HalfDayHourFromOne if value < 1 => return None,
            Field::HalfDayHourFromOne => {
                (&mut self.half_day_hour, if value == 12 { 0 } else { value }, 0..=11)
            }
            Field::Minute => (&mut self.minute, value, 0..=59),
            Field::Second => (&mut self.second, value, 0..=59),
        };
        // A field given twice must be the same both times.
        if !range.contains(&value) || slot.is_some_and(|before| before != value) {
            return None;
        }
        *slot = Some(value);
        Some(())
    }
}

fn refusal(option: &str, text: &str, cause: &str) -> Error {
    Error::invalid(
        "DATETIME_PATTERN_UNSUPPORTED",
        format!("The pattern `{text}` of `{option}` is not supported: {cause}."),
    )
    .cure("Supported letters are y M d D H h k K a m s S X x Z V, quoted text and [ ].")
}

fn items(
    chars: &[char],
    at: &mut usize,
    reading: bool,
    depth: usize,
) -> std::result::Result<Vec<Item>, String> {
    let mut items = Vec::new();
    while let Some(&c) = chars.get(*at) {
        match c {
            ']' if depth > 0 => return Ok(items),
            ']' => break,
            '[' => {
                if depth == OPTIONAL_NESTING_MAX {
                    return Err("`[` nests too deep".into());
                }
                *at += 1;
                let inner = self::items(chars, at, reading, depth + 1)?;
                if chars.get(*at) != Some(&']') {
                    return Err("`[` is not closed".into());
                }
                *at += 1;
                items.push(Item::Optional(inner));
            }
            '\'' => items.push(Item::Literal(quoted(chars, at)?)),
            '{' | '}' | '#' => return Err(format!("`{c}` is reserved")),
            c if c.is_ascii_alphabetic() => {
                let count = chars.iter().skip(*at).take_while(|other| **other == c).count();
                *at += count;
                items.push(letter(c, count, reading)?);
            }
            c => {
                *at += 1;
                items.push(Item::Literal(c.into()));
            }
        }
    }
    Ok(items)
}

fn quoted(chars: &[char], at: &mut usize) -> std::result::Result<String, String> {
    let mut text = String::new();
    *at += 1;
    loop {
        match (chars.get(*at), chars.get(*at + 1)) {
            (Some('\''), Some('\'')) => {
                text.push('\'');
                *at += 2;
            }
            (Some('\''), _) => {
                *at += 1;
                return Ok(if text.is_empty() { "'".into() } else { text });
            }
            (Some(c), _) => {
                text.push(*c);
                *at += 1;
            }
            (None, _) => return Err("a quote is not closed".into()),
        }
    }
}

fn letter(c: char, count: usize, reading: bool) -> std::result::Result<Item, String> {
    let number = |field, widest: usize| match count {
        1 => Ok(Item::Number { field, width: Width::Free, reserved: 0 }),
        n if n <= widest => Ok(Item::Number { field, width: Width::Exact(n), reserved: 0 }),
        _ => Err(format!("too many `{c}`")),
    };
    match c {
        'y' => {
            let width = match count {
                1 => Width::Free,
                2 => Width::TwoDigitYear,
                n if n <= 9 => Width::Padded(n),
                _ => return Err(format!("too many `{c}`")),
            };
            Ok(Item::Number { field: Field::Year, width, reserved: 0 })
        }
        'M' | 'L' if count <= 2 => number(Field::Month, 2),
        'M' | 'L' if count <= 4 => Ok(Item::Month { full: count == 4 }),
        'd' => number(Field::Day, 2),
        'D' if count != 2 => number(Field::DayOfYear, 3),
        'H' => number(Field::Hour, 2),
        'k' => number(Field::HourFromOne, 2),
        'K' => number(Field::HalfDayHour, 2),
        'h' => number(Field::HalfDayHourFromOne, 2),
        'm' => number(Field::Minute, 2),
        's' => number(Field::Second, 2),
        'S' if count <= 9 => Ok(Item::Fraction { width_max: count }),
        'a' if count == 1 => Ok(Item::HalfDay),
        'E' if !reading && count <= 4 => Ok(Item::Weekday { full: count == 4 }),
        'X' | 'x' if count <= 5 => Ok(Item::Offset { letter: c, count }),
        'Z' if count <= 3 || count == 5 => Ok(Item::Offset { letter: c, count }),
        'V' if count == 2 => Ok(Item::ZoneName),
        _ => Err(format!("`{}`", c.to_string().repeat(count))),
    }
}

/// A number of any width directly before numbers of exact width leaves them their digits.
fn reserve_adjacent(items: &mut [Item]) {
    let mut following = 0;
    let mut run = true;
    for item in items.iter_mut().rev() {
        match item {
            Item::Number { width: Width::Exact(n), .. } => {
                following = if run { following + *n } else { *n };
                run = true;
            }
            Item::Number { width: Width::TwoDigitYear, .. } => {
                following = if run { following + 2 } else { 2 };
                run = true;
            }
            Item::Number { reserved, .. } => {
                *reserved = if run { following } else { 0 };
                following = 0;
                run = false;
            }
            Item::Optional(inner) => {
                reserve_adjacent(inner);
                following = 0;
                run = false;
            }
            _ => {
                following = 0;
                run = false;
            }
        }
    }
}

fn read_items<'a>(items: &[Item], mut text: &'a str, parsed: &mut Parsed) -> Option<&'a str> {
    for item in items {
        text = match item {
            Item::Literal(literal) => after_ignoring_case(text, literal)?,
            Item::Number { field, width, reserved } => {
                let (value, rest) = read_number(text, *width, *reserved)?;
                parsed.set(*field, value)?;
                rest
            }
            Item::Fraction { width_max } => read_fraction(text, *width_max, parsed)?,
            Item::Month { full } => {
                let (month, rest) = one_of(text, &MONTHS, *full)?;
                parsed.set(Field::Month, month + 1)?;
                rest
            }
            Item::Weekday { .. } => return None,
            Item::HalfDay => {
                let (half, rest) = one_of(text, &["AM", "PM"], true)?;
                parsed.afternoon = Some(half == 1);
                rest
            }
            Item::Offset { letter, count } => {
                let (seconds, rest) = read_offset(text, *letter, *count)?;
                parsed.zone = Some(Zone::Fixed(seconds));
                rest
            }
            Item::ZoneName => {
                let end = text
                    .find(|c: char| !(c.is_ascii_alphanumeric() || "/_+-:~.".contains(c)))
                    .unwrap_or(text.len());
                let (name, rest) = text.split_at_checked(end)?;
                parsed.zone = Some(Zone::parse(name)?);
                rest
            }
            Item::Optional(inner) => {
                let mut attempt = parsed.clone();
                match read_items(inner, text, &mut attempt) {
                    Some(rest) => {
                        *parsed = attempt;
                        rest
                    }
                    None => text,
                }
            }
        };
    }
    Some(text)
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

fn short(name: &str) -> &str {
    name.get(..3).unwrap_or(name)
}

fn one_of<'a>(text: &'a str, names: &[&str], full: bool) -> Option<(i64, &'a str)> {
    names.iter().zip(0..).find_map(|(name, index)| {
        let name = if full { name } else { short(name) };
        after_ignoring_case(text, name).map(|rest| (index, rest))
    })
}

fn after_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn read_number(text: &str, width: Width, reserved: usize) -> Option<(i64, &str)> {
    let (negative, plus, digits) = match text.as_bytes().first()? {
        b'-' => (true, false, text.get(1..)?),
        b'+' => (false, true, text.get(1..)?),
        _ => (false, false, text),
    };
    let signed = negative || plus;
    let available = digits.bytes().take_while(u8::is_ascii_digit).count();
    let (least, most) = match width {
        Width::Free => (1, DIGITS_MAX),
        Width::Exact(n) => (n, n),
        Width::Padded(n) => (n, DIGITS_MAX),
        Width::TwoDigitYear => (2, 2),
    };
    let taken = available.min(most + reserved).saturating_sub(reserved).max(least).min(most);
    if taken > available {
        return None;
    }
    let allowed = match width {
        Width::Free => !plus,
        Width::Exact(_) | Width::TwoDigitYear => !signed,
        Width::Padded(n) => negative || plus == (taken > n),
    };
    let (number, rest) = digits.split_at_checked(taken)?;
    let value: i64 = number.parse().ok()?;
    if !allowed || (negative && value == 0) {
        return None;
    }
    let value = if width == Width::TwoDigitYear { value + 2000 } else { value };
    Some((if negative { -value } else { value }, rest))
}

fn read_fraction<'a>(text: &'a str, width_max: usize, parsed: &mut Parsed) -> Option<&'a str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count().min(width_max);
    let (number, rest) = text.split_at_checked(digits)?;
    if digits == 0 {
        return None;
    }
    let nanos = format!("{number:0<9}");
    parsed.fraction_us = nanos.get(..6)?.parse().ok()?;
    Some(rest)
}

/// Seconds east of UTC in the form that the letters ask for.
fn read_offset(text: &str, letter: char, count: usize) -> Option<(i32, &str)> {
    let zulu = letter == 'X' || (letter == 'Z' && count == 5);
    if zulu && let Some(rest) = after_ignoring_case(text, "Z") {
        return Some((0, rest));
    }
    let colons = matches!(count, 3 | 5) && letter != 'Z' || letter == 'Z' && count == 5;
    let lengths: &[usize] = match (letter, count) {
        ('Z', 5) => &[9, 6],
        ('Z', _) | (_, 2) => &[5],
        (_, 1) => &[5, 3],
        (_, 3) => &[6],
        (_, 4) => &[7, 5],
        _ => &[9, 6],
    };
    lengths.iter().find_map(|length| {
        let (head, rest) = text.split_at_checked(*length)?;
        if colons != head.contains(':') && *length > 3 {
            return None;
        }
        Some((offset(head)?, rest))
    })
}

fn write_items(items: &[Item], moment: &Moment, out: &mut String) {
    const DAY_US: i64 = 86_400_000_000;
    let days = moment.local_us.div_euclid(DAY_US);
    let micros = moment.local_us.rem_euclid(DAY_US);
    let (year, month, day) = datetime::civil(days);
    let hour = micros / 3_600_000_000;
    for item in items {
        match item {
            Item::Literal(literal) => out.push_str(literal),
            Item::Number { field, width, .. } => {
                let value = match field {
                    Field::Year => year,
                    Field::Month => month,
                    Field::Day => day,
                    Field::DayOfYear => days - datetime::days(year, 1, 1).unwrap_or(days) + 1,
                    Field::Hour => hour,
                    Field::HourFromOne => {
                        if hour == 0 {
                            24
                        } else {
                            hour
                        }
                    }
                    Field::HalfDayHour => hour % 12,
                    Field::HalfDayHourFromOne => (hour + 11) % 12 + 1,
                    Field::Minute => micros / 60_000_000 % 60,
                    Field::Second => micros / 1_000_000 % 60,
                };
                write_number(value, *width, out);
            }
            Item::Fraction { width_max } => {
                let digits = format!("{:06}000", micros % 1_000_000);
                out.push_str(digits.get(..*width_max).unwrap_or(&digits));
            }
            Item::Month { full } => push_name(&MONTHS, month - 1, *full, out),
            Item::Weekday { full } => push_name(&WEEKDAYS, days.rem_euclid(7), *full, out),
            Item::HalfDay => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Item::Offset { letter, count } => {
                write_offset(moment.offset_seconds, *letter, *count, out);
            }
            Item::ZoneName => out.push_str(&moment.zone.name()),
            Item::Optional(inner) => write_items(inner, moment, out),
        }
    }
}

fn push_name(names: &[&str], index: i64, full: bool, out: &mut String) {
    let name = usize::try_from(index).ok().and_then(|at| names.get(at)).copied().unwrap_or("");
    out.push_str(if full { name } else { short(name) });
}

fn write_number(value: i64, width: Width, out: &mut String) {
    let (sign, digits) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    let text = match width {
        Width::Free => format!("{sign}{digits}"),
        Width::Exact(n) => format!("{digits:0n$}"),
        Width::TwoDigitYear => format!("{:02}", value.rem_euclid(100)),
        Width::Padded(n) => {
            let text = format!("{digits:0n$}");
            let plus = if value > 0 && text.len() > n { "+" } else { "" };
            format!("{sign}{plus}{text}")
        }
    };
    out.push_str(&text);
}

fn write_offset(seconds: i32, letter: char, count: usize, out: &mut String) {
    if seconds == 0 && (letter == 'X' || (letter == 'Z' && count == 5)) {
        out.push('Z');
        return;
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let total = seconds.unsigned_abs();
    let (hours, minutes, rest) = (total / 3600, total / 60 % 60, total % 60);
    let (colon, has_seconds) = match (letter, count) {
        ('Z', 5) => (":", true),
        ('Z', _) => ("", false),
        // Spark prints the seconds of offsets from before standard time here too.
        (_, 3) => (":", true),
        (_, 4) => ("", true),
        (_, 5) => (":", true),
        _ => ("", false),
    };
    out.push_str(&format!("{sign}{hours:02}"));
    if letter == 'Z' || count > 1 || minutes > 0 {
        out.push_str(&format!("{colon}{minutes:02}"));
    }
    if has_seconds && rest > 0 {
        out.push_str(&format!("{colon}{rest:02}"));
    }
}
