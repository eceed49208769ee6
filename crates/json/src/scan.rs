//! The bytes of one record, scanned for the fast parser: marks, names, strings and numbers.
//!
//! Everything here accepts standard JSON only and gives up ([`Exact`]) on anything else.

use crate::column::Bytes;
use crate::datetime;
use crate::options::Syntax;
use crate::plan::StructPlan;
use crate::text::Units;

/// The record needs the exact parser.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exact;

pub(crate) type Quick<T> = Result<T, Exact>;

/// Names up to this length need no comparison with the limit of the exact parser.
const NAME_LENGTH_MAX: usize = 1000;
/// Marks a position of [`Fields::order`] at which no field was.
const NO_FIELD: u16 = u16::MAX;

/// A place in a record.
pub(crate) struct Cursor<'t> {
    pub(crate) text: &'t str,
    pub(crate) bytes: &'t [u8],
    pub(crate) at: usize,
}

impl<'t> Cursor<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Cursor { text, bytes: text.as_bytes(), at: 0 }
    }

    pub(crate) fn slice(&self, start: usize, end: usize) -> Quick<&'t str> {
        self.text.get(start..end).ok_or(Exact)
    }

    /// The next byte that is not white space, without taking it.
    #[inline]
    pub(crate) fn peek_mark(&mut self) -> Quick<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(Exact),
            }
        }
    }

    #[inline]
    pub(crate) fn next_mark(&mut self) -> Quick<u8> {
        let byte = self.peek_mark()?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn take_mark(&mut self, mark: u8) -> bool {
        let hit = self.peek_mark().is_ok_and(|byte| byte == mark);
        self.at += usize::from(hit);
        hit
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Quick<()> {
        if self.bytes.get(self.at) != Some(&byte) {
            return Err(Exact);
        }
        self.at += 1;
        Ok(())
    }

    pub(crate) fn word(&mut self, word: &[u8]) -> Quick<()> {
        let end = self.at + word.len();
        if self.bytes.get(self.at..end) != Some(word) {
            return Err(Exact);
        }
        self.at = end;
        Ok(())
    }

    /// Takes a name and its colon, and says which field it is.
    #[inline]
    pub(crate) fn field(
        &mut self,
        plan: &StructPlan,
        order: &mut Vec<u16>,
        member: usize,
    ) -> Quick<Option<usize>> {
        self.peek_mark()?;
        let expected = order.get(member).copied().unwrap_or(NO_FIELD);
        if let Some(field) = plan.fields.get(usize::from(expected))
            && !field.quoted.is_empty()
            && self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(&field.quoted))
        {
            self.at += field.quoted.len();
            return Ok(Some(usize::from(expected)));
        }
        let found = plan.find(self.name()?.as_bytes());
        let known = found.and_then(|at| u16::try_from(at).ok()).unwrap_or(NO_FIELD);
        let next = order.len();
        match order.get_mut(member) {
            Some(slot) => *slot = known,
            None if next == member => order.push(known),
            None => {}
        }
        Ok(found)
    }

    /// Takes a name without escapes, and its colon.
    pub(crate) fn name(&mut self) -> Quick<&'t str> {
        if self.next_mark()? != b'"' {
            return Err(Exact);
        }
        let start = self.at;
        let end = self.string_end()?;
        self.at = end;
        self.expect(b'"')?;
        if end - start > NAME_LENGTH_MAX || self.next_mark()? != b':' {
            return Err(Exact);
        }
        self.slice(start, end)
    }

    /// Where the next quote, backslash or control character is.
    #[inline]
    pub(crate) fn string_end(&self) -> Quick<usize> {
        let mut at = self.at;
        while let Some(chunk) = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let marks = string_marks(u64::from_le_bytes(*chunk));
            if marks != 0 {
                return Ok(at + (marks.trailing_zeros() / 8) as usize);
            }
            at += 8;
        }
        while let Some(byte) = self.bytes.get(at) {
            if matches!(byte, b'"' | b'\\' | 0..=0x1f) {
                return Ok(at);
            }
            at += 1;
        }
        Err(Exact)
    }

    pub(crate) fn skip_string(&mut self) -> Quick<()> {
        loop {
            self.at = self.string_end()?;
            match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                (Some(b'"'), _) => {
                    self.at += 1;
                    return Ok(());
                }
                (Some(b'\\'), Some(b'u')) => {
                    hex_unit(self.bytes, self.at + 2)?;
                    self.at += 6;
                }
                (Some(b'\\'), Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => {
                    self.at += 2;
                }
                _ => return Err(Exact),
            }
        }
    }

    /// A number whose digits and power of ten are exact in a `double`.
    #[inline]
    pub(crate) fn short_decimal(&mut self, syntax: &Syntax) -> Option<f64> {
        const EXACT_DIGITS: usize = 15;
        let negative = self.bytes.get(self.at) == Some(&b'-');
        let start = self.at + usize::from(negative);
        let mut at = start;
        let mut digits = 0_u64;
        let mut point = None;
        loop {
            match self.bytes.get(at) {
                Some(byte @ b'0'..=b'9') => digits = digits * 10 + u64::from(byte - b'0'),
                Some(b'.') if point.is_none() && at > start => point = Some(at),
                Some(b'.' | b'e' | b'E') => return None,
                _ => break,
            }
            at += 1;
            if at - start > EXACT_DIGITS + 1 {
                return None;
            }
        }
        let whole = point.unwrap_or(at) - start;
        let fraction = point.map_or(0, |point| at - point - 1);
        let leading_zero = whole > 1 && self.bytes.get(start) == Some(&b'0');
        let count = whole + fraction;
        if whole == 0
            || leading_zero
            || (point.is_some() && fraction == 0)
            || count > EXACT_DIGITS.min(syntax.number_length_max)
        {
            return None;
        }
        self.at = at;
        let value = digits as f64 / POWERS_OF_TEN.get(fraction)?;
        Some(if negative { -value } else { value })
    }

    /// Reads the rest of a string from its first escape on; returns how long it is.
    pub(crate) fn unescape(&mut self, out: &mut Bytes) -> Quick<usize> {
        let mut text = String::new();
        let mut units = Units::default();
        loop {
            let escaped = match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                (Some(b'"'), _) => {
                    units.flush(&mut text);
                    self.at += 1;
                    out.data.extend_from_slice(text.as_bytes());
                    return Ok(text.len());
                }
                (Some(b'\\'), Some(b'u')) => {
                    let unit = hex_unit(self.bytes, self.at + 2)?;
                    self.at += 4;
                    unit
                }
                (Some(b'\\'), Some(byte @ (b'"' | b'\\' | b'/'))) => u32::from(*byte),
                (Some(b'\\'), Some(b'n')) => 0x0a,
                (Some(b'\\'), Some(b't')) => 0x09,
                (Some(b'\\'), Some(b'r')) => 0x0d,
                (Some(b'\\'), Some(b'b')) => 0x08,
                (Some(b'\\'), Some(b'f')) => 0x0c,
                _ => return Err(Exact),
            };
            units.push(escaped, &mut text);
            self.at += 2;
            let start = self.at;
            self.at = self.string_end()?;
            if start < self.at {
                units.flush(&mut text);
                text.push_str(self.slice(start, self.at)?);
            }
        }
    }
}

const POWERS_OF_TEN: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The high bit of each byte that ends a run of plain text in a string; exact up to the first.
#[inline]
fn string_marks(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    let quote = zero(word ^ (ONES * b'"' as u64));
    let backslash = zero(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGH
}

fn hex_unit(bytes: &[u8], at: usize) -> Quick<u32> {
    let digits = bytes.get(at..at + 4).ok_or(Exact)?;
    digits.iter().try_fold(0, |unit, b| {
        char::from(*b).to_digit(16).map(|digit| unit * 16 + digit).ok_or(Exact)
    })
}

/// Records of a batch mostly fall on the same day.
#[derive(Default)]
pub(crate) struct DayCache {
    text: [u8; 10],
    day_us: i64,
}

impl DayCache {
    /// Wall-clock microseconds, and the offset in seconds if the text has one, of the usual forms
    /// `yyyy-MM-dd HH:mm:ss[.f..][Z|+hh:mm]`; `None` for every other form.
    #[inline]
    pub(crate) fn instant(&mut self, text: &str) -> Option<(i64, Option<i32>)> {
        let bytes = text.as_bytes();
        let (date, rest) = bytes.split_first_chunk::<10>()?;
        let (time, rest) = rest.split_first_chunk::<9>()?;
        let [separator, h1, h2, b':', m1, m2, b':', s1, s2] = *time else { return None };
        if separator != b'T' && separator != b' ' {
            return None;
        }
        let (hour, minute, second) = (two(h1, h2)?, two(m1, m2)?, two(s1, s2)?);
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        if *date != self.text {
            let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *date else { return None };
            let year = two(y1, y2)? * 100 + two(y3, y4)?;
            self.day_us = datetime::days(year, two(m1, m2)?, two(d1, d2)?)? * 86_400_000_000;
            self.text = *date;
        }
        let mut local = self.day_us + ((hour * 60 + minute) * 60 + second) * 1_000_000;
        let mut rest = rest;
        if let Some((b'.', after)) = rest.split_first() {
            let mut scale = 100_000;
            let mut count = 0;
            while let Some(digit) = after.get(count).filter(|b| b.is_ascii_digit()) {
                local += i64::from(digit - b'0') * scale;
                scale /= 10;
                count += 1;
            }
            rest = after.get(count..)?;
        }
        match *rest {
            [] => Some((local, None)),
            [b'Z'] => Some((local, Some(0))),
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let (hours, minutes) = (two(h1, h2)?, two(m1, m2)?);
                if hours > 17 || minutes > 59 {
                    return None;
                }
                let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
                Some((local, Some(if sign == b'-' { -seconds } else { seconds })))
            }
            _ => None,
        }
    }
}

#[inline]
fn two(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens * 10 + ones))
}
