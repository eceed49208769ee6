//! The fast parser: one pass over the bytes, straight into the columns.
//!
//! It accepts only what the exact parser would read without any complaint, and gives up on
//! everything else ([`Exact`]), having left marks only in columns that the caller cuts back. So
//! it never decides that a record is bad, and wherever it succeeds the two agree.

use crate::base64_text;
use crate::column::{Bytes, Column, Fields};
use crate::convert;
use crate::datetime;
use crate::number;
use crate::options::{FromJsonOptions, Syntax};
use crate::plan::{Kind, StructPlan};
use crate::pull::Units;
use crate::rules;

/// The record needs the exact parser.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exact;

type Quick<T> = Result<T, Exact>;

/// Nesting that is followed by recursion; deeper documents go to the exact parser.
const DEPTH_MAX: usize = 120;
/// Names up to this length need no comparison with the limit of the exact parser.
const NAME_LENGTH_MAX: usize = 1000;
/// Marks a position of [`Fields::order`] at which no field was.
const NO_FIELD: u16 = u16::MAX;

/// What stays the same from record to record.
pub(crate) struct Fast<'a> {
    options: &'a FromJsonOptions,
    depth_max: usize,
    days: DayCache,
}

/// Records of a batch mostly fall on the same day.
#[derive(Default)]
struct DayCache {
    text: [u8; 10],
    day_us: i64,
}

struct Cursor<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
}

impl<'a> Fast<'a> {
    pub(crate) fn new(options: &'a FromJsonOptions) -> Self {
        let depth_max = options.syntax.nesting_depth_max.min(DEPTH_MAX);
        Fast { options, depth_max, days: DayCache::default() }
    }

    /// Appends one row to the fields of the root. Their columns all have `row` values.
    pub(crate) fn record(
        &mut self,
        text: &str,
        plan: &StructPlan,
        fields: &mut Fields,
        row: usize,
    ) -> Quick<()> {
        let mut cursor = Cursor { text, bytes: text.as_bytes(), at: 0 };
        if cursor.next_mark()? != b'{' {
            return Err(Exact);
        }
        self.object(&mut cursor, plan, fields, row, 1)
    }

    /// Appends one value of a root that is an array or a map.
    pub(crate) fn root(&mut self, text: &str, kind: &Kind, column: &mut Column) -> Quick<()> {
        let mut cursor = Cursor { text, bytes: text.as_bytes(), at: 0 };
        let mark = cursor.next_mark()?;
        match kind {
            Kind::List(_) if mark == b'[' => {}
            Kind::Map(_) if mark == b'{' => {}
            _ => return Err(Exact),
        }
        cursor.at -= 1;
        self.value(&mut cursor, kind, column, 0)
    }

    /// Reads the members of an object after its opening brace.
    fn object(
        &mut self,
        cursor: &mut Cursor<'_>,
        plan: &StructPlan,
        fields: &mut Fields,
        row: usize,
        depth: usize,
    ) -> Quick<()> {
        if depth > self.depth_max {
            return Err(Exact);
        }
        let Fields { columns, order } = fields;
        let mut member = 0;
        if !cursor.take_mark(b'}') {
            loop {
                let field = cursor.field(plan, order, member)?;
                member += 1;
                match field.and_then(|at| Some((plan.fields.get(at)?, columns.get_mut(at)?))) {
                    Some((field, column)) => {
                        if column.len() > row {
                            column.truncate(row);
                        }
                        self.value(cursor, &field.kind, column, depth)?;
                    }
                    None => self.skip(cursor, depth)?,
                }
                match cursor.next_mark()? {
                    b',' => {}
                    b'}' => break,
                    _ => return Err(Exact),
                }
            }
        }
        for column in columns {
            if column.len() == row {
                column.push_null();
            }
        }
        Ok(())
    }

    fn value(
        &mut self,
        cursor: &mut Cursor<'_>,
        kind: &Kind,
        column: &mut Column,
        depth: usize,
    ) -> Quick<()> {
        let first = cursor.peek_mark()?;
        if first == b'n' {
            cursor.word(b"null")?;
            column.push_null();
            return Ok(());
        }
        match (kind, column) {
            (Kind::Text, Column::Bytes(out)) => self.text(cursor, first, out)?,
            (Kind::Double, Column::Double(out)) => out.push(self.double(cursor)?),
            (Kind::Long, Column::Long(out)) => out.push(self.integer(cursor)?),
            (Kind::Integer, Column::Integer(out)) => {
                out.push(i32::try_from(self.integer(cursor)?).map_err(|_| Exact)?);
            }
            (Kind::Timestamp, Column::Long(out)) => out.push(self.timestamp(cursor, first)?),
            (Kind::TimestampNtz, Column::Long(out)) => {
                let text = self.plain_text(cursor)?;
                let found = match (&self.options.timestamp_ntz, self.days.instant(text)) {
                    (None, Some((local, None))) => Some(local),
                    _ => self.options.timestamp_ntz_of(text),
                };
                out.push(found.ok_or(Exact)?);
            }
            (Kind::Date, Column::Integer(out)) => {
                let text = self.plain_text(cursor)?;
                out.push(self.options.date_of(text).ok_or(Exact)?);
            }
            (Kind::Boolean, Column::Boolean(out)) => {
                cursor.word(if first == b't' { b"true" } else { b"false" })?;
                out.push(first == b't');
            }
            (Kind::Short, Column::Short(out)) => {
                out.push(i16::try_from(self.integer(cursor)?).map_err(|_| Exact)?);
            }
            (Kind::Byte, Column::Byte(out)) => {
                out.push(convert::byte(self.integer(cursor)?).ok_or(Exact)?);
            }
            (Kind::Float, Column::Float(out)) => {
                let (text, _) = self.number(cursor)?;
                out.push(text.parse().map_err(|_| Exact)?);
            }
            (Kind::Decimal(precision, scale), Column::Decimal(out)) => {
                let found = if first == b'"' {
                    rules::decimal_of(self.plain_text(cursor)?, *precision, *scale)
                } else {
                    number::decimal(self.number(cursor)?.0, *precision, *scale)
                };
                out.push(found.ok_or(Exact)?);
            }
            (Kind::Binary, Column::Bytes(out)) => {
                let text = self.plain_text(cursor)?;
                out.push(&base64_text::decode(text).ok_or(Exact)?);
            }
            (Kind::Null, column @ Column::Null(_)) => {
                // The exact parser does not skip what is inside an object or array here.
                if matches!(first, b'{' | b'[') {
                    return Err(Exact);
                }
                self.skip(cursor, depth)?;
                column.push_null();
            }
            (Kind::Struct(plan), Column::Struct(out)) => {
                cursor.expect(b'{')?;
                let len = out.len();
                self.object(cursor, plan, &mut out.fields, len, depth + 1)?;
                out.end_value();
            }
            (Kind::List(element), Column::List(out)) => {
                self.list(cursor, element, &mut out.child, depth + 1)?;
                let len = out.child.len();
                out.end_value(len);
            }
            (Kind::Map(value), Column::Map(out)) => {
                let (keys, values) = &mut out.child;
                self.map(cursor, value, keys, values, depth + 1)?;
                let len = values.len();
                out.end_value(len);
            }
            _ => return Err(Exact),
        }
        Ok(())
    }

    fn list(
        &mut self,
        cursor: &mut Cursor<'_>,
        kind: &Kind,
        column: &mut Column,
        depth: usize,
    ) -> Quick<()> {
        if depth > self.depth_max {
            return Err(Exact);
        }
        cursor.expect(b'[')?;
        if cursor.take_mark(b']') {
            return Ok(());
        }
        loop {
            self.value(cursor, kind, column, depth)?;
            match cursor.next_mark()? {
                b',' => {}
                b']' => return Ok(()),
                _ => return Err(Exact),
            }
        }
    }

    fn map(
        &mut self,
        cursor: &mut Cursor<'_>,
        kind: &Kind,
        keys: &mut Bytes,
        values: &mut Column,
        depth: usize,
    ) -> Quick<()> {
        if depth > self.depth_max {
            return Err(Exact);
        }
        cursor.expect(b'{')?;
        if cursor.take_mark(b'}') {
            return Ok(());
        }
        loop {
            keys.push(cursor.name()?.as_bytes());
            self.value(cursor, kind, values, depth)?;
            match cursor.next_mark()? {
                b',' => {}
                b'}' => return Ok(()),
                _ => return Err(Exact),
            }
        }
    }

    fn text(&self, cursor: &mut Cursor<'_>, first: u8, out: &mut Bytes) -> Quick<()> {
        match first {
            b'"' => {
                cursor.at += 1;
                let start = cursor.at;
                let end = cursor.string_end()?;
                let run = cursor.slice(start, end)?;
                out.data.extend_from_slice(run.as_bytes());
                if cursor.bytes.get(end) == Some(&b'"') {
                    cursor.at = end + 1;
                    if run.len() > self.options.syntax.string_length_max {
                        return Err(Exact);
                    }
                } else {
                    cursor.at = end;
                    let length = run.len() + unescape(cursor, out)?;
                    if length > self.options.syntax.string_length_max {
                        return Err(Exact);
                    }
                }
            }
            // Numbers and words are kept as text; only those whose text stays the same.
            b'1'..=b'9' => {
                let (number, whole) = self.number(cursor)?;
                if !whole {
                    return Err(Exact);
                }
                out.data.extend_from_slice(number.as_bytes());
            }
            b't' => {
                cursor.word(b"true")?;
                out.data.extend_from_slice(b"true");
            }
            b'f' => {
                cursor.word(b"false")?;
                out.data.extend_from_slice(b"false");
            }
            _ => return Err(Exact),
        }
        out.end_value();
        Ok(())
    }

    /// A string without escapes.
    fn plain_text<'t>(&self, cursor: &mut Cursor<'t>) -> Quick<&'t str> {
        cursor.expect(b'"')?;
        let start = cursor.at;
        let end = cursor.string_end()?;
        cursor.at = end;
        cursor.expect(b'"')?;
        if end - start > self.options.syntax.string_length_max {
            return Err(Exact);
        }
        cursor.slice(start, end)
    }

    fn timestamp(&mut self, cursor: &mut Cursor<'_>, first: u8) -> Quick<i64> {
        if first != b'"' {
            return self.integer(cursor).map(convert::seconds);
        }
        let text = self.plain_text(cursor)?;
        if self.options.timestamp.is_none()
            && let Some((local, offset)) = self.days.instant(text)
        {
            let found = match offset {
                Some(seconds) => local.checked_sub(i64::from(seconds) * 1_000_000),
                None => self.options.zone.instant(local),
            };
            return found.ok_or(Exact);
        }
        self.options.timestamp_of(text).ok_or(Exact)
    }

    /// A number, and whether it is an integer. What follows it is left to the caller.
    fn number<'t>(&self, cursor: &mut Cursor<'t>) -> Quick<(&'t str, bool)> {
        let start = cursor.at;
        let mut at = start + usize::from(cursor.bytes.get(start) == Some(&b'-'));
        let digits = |mut at: usize| {
            let from = at;
            while cursor.bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            (at, at - from)
        };
        let zero = cursor.bytes.get(at) == Some(&b'0');
        let (end, mut length) = digits(at);
        if length == 0 || (zero && length > 1) {
            return Err(Exact);
        }
        at = end;
        let mut whole = true;
        if cursor.bytes.get(at) == Some(&b'.') {
            let (end, count) = digits(at + 1);
            if count == 0 {
                return Err(Exact);
            }
            (at, length, whole) = (end, length + count, false);
        }
        if matches!(cursor.bytes.get(at), Some(b'e' | b'E')) {
            let sign = matches!(cursor.bytes.get(at + 1), Some(b'+' | b'-'));
            let (end, count) = digits(at + 1 + usize::from(sign));
            if count == 0 {
                return Err(Exact);
            }
            (at, length, whole) = (end, length + count, false);
        }
        if length > self.options.syntax.number_length_max {
            return Err(Exact);
        }
        cursor.at = at;
        Ok((cursor.slice(start, at)?, whole))
    }

    fn integer(&self, cursor: &mut Cursor<'_>) -> Quick<i64> {
        let (text, whole) = self.number(cursor)?;
        if whole { text.parse().map_err(|_| Exact) } else { Err(Exact) }
    }

    fn double(&self, cursor: &mut Cursor<'_>) -> Quick<f64> {
        if let Some(value) = cursor.short_decimal(&self.options.syntax) {
            return Ok(value);
        }
        let (text, _) = self.number(cursor)?;
        text.parse().map_err(|_| Exact)
    }

    /// Moves over a value, checking its syntax.
    fn skip(&self, cursor: &mut Cursor<'_>, depth: usize) -> Quick<()> {
        match cursor.peek_mark()? {
            b'"' => {
                cursor.at += 1;
                cursor.skip_string()
            }
            open @ (b'{' | b'[') => {
                let depth = depth + 1;
                if depth > self.depth_max {
                    return Err(Exact);
                }
                cursor.at += 1;
                let close = if open == b'{' { b'}' } else { b']' };
                if cursor.take_mark(close) {
                    return Ok(());
                }
                loop {
                    if open == b'{' {
                        cursor.name()?;
                    }
                    self.skip(cursor, depth)?;
                    match cursor.next_mark()? {
                        b',' => {}
                        mark if mark == close => return Ok(()),
                        _ => return Err(Exact),
                    }
                }
            }
            b't' => cursor.word(b"true"),
            b'f' => cursor.word(b"false"),
            b'n' => cursor.word(b"null"),
            _ => self.number(cursor).map(|_| ()),
        }
    }
}

impl<'t> Cursor<'t> {
    fn slice(&self, start: usize, end: usize) -> Quick<&'t str> {
        self.text.get(start..end).ok_or(Exact)
    }

    /// The next byte that is not white space, without taking it.
    #[inline]
    fn peek_mark(&mut self) -> Quick<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(Exact),
            }
        }
    }

    #[inline]
    fn next_mark(&mut self) -> Quick<u8> {
        let byte = self.peek_mark()?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn take_mark(&mut self, mark: u8) -> bool {
        let hit = self.peek_mark().is_ok_and(|byte| byte == mark);
        self.at += usize::from(hit);
        hit
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Quick<()> {
        if self.bytes.get(self.at) != Some(&byte) {
            return Err(Exact);
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Quick<()> {
        let end = self.at + word.len();
        if self.bytes.get(self.at..end) != Some(word) {
            return Err(Exact);
        }
        self.at = end;
        Ok(())
    }

    /// Takes a name and its colon, and says which field it is.
    #[inline]
    fn field(
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
    fn name(&mut self) -> Quick<&'t str> {
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
    fn string_end(&self) -> Quick<usize> {
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

    fn skip_string(&mut self) -> Quick<()> {
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
    fn short_decimal(&mut self, syntax: &Syntax) -> Option<f64> {
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

/// Reads the rest of a string from its first escape on; returns how long it is.
fn unescape(cursor: &mut Cursor<'_>, out: &mut Bytes) -> Quick<usize> {
    let mut text = String::new();
    let mut units = Units::default();
    loop {
        let escaped = match (cursor.bytes.get(cursor.at), cursor.bytes.get(cursor.at + 1)) {
            (Some(b'"'), _) => {
                units.flush(&mut text);
                cursor.at += 1;
                out.data.extend_from_slice(text.as_bytes());
                return Ok(text.len());
            }
            (Some(b'\\'), Some(b'u')) => {
                let unit = hex_unit(cursor.bytes, cursor.at + 2)?;
                cursor.at += 4;
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
        cursor.at += 2;
        let start = cursor.at;
        cursor.at = cursor.string_end()?;
        if start < cursor.at {
            units.flush(&mut text);
            text.push_str(cursor.slice(start, cursor.at)?);
        }
    }
}

impl DayCache {
    /// Wall-clock microseconds, and the offset in seconds if the text has one, of the usual forms
    /// `yyyy-MM-dd HH:mm:ss[.f..][Z|+hh:mm]`; `None` for every other form.
    #[inline]
    fn instant(&mut self, text: &str) -> Option<(i64, Option<i32>)> {
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
