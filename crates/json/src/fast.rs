//! The fast parser: one pass over the bytes, straight into the columns.
//!
//! It accepts only what the exact parser would read without any complaint, and gives up on
//! everything else ([`Exact`]), having left marks only in columns that the caller cuts back. So
//! it never decides that a record is bad, and wherever it succeeds the two agree.

use crate::column::{Bytes, Column, Fields};
use crate::convert;
use crate::number;
use crate::options::FromJsonOptions;
use crate::plan::{Kind, StructPlan};
use crate::pull;
use crate::rules;
use crate::scan::{Cursor, DayCache, Exact, Quick};

/// Nesting that is followed by recursion; deeper documents go to the exact parser.
const DEPTH_MAX: usize = 120;
/// What stays the same from record to record.
pub(crate) struct Fast<'a> {
    options: &'a FromJsonOptions,
    depth_max: usize,
    days: DayCache,
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
        let mut cursor = Cursor::new(text);
        if cursor.next_mark()? != b'{' {
            return Err(Exact);
        }
        self.object(&mut cursor, plan, fields, row, 1)
    }

    /// Appends one value of a root that is an array or a map.
    pub(crate) fn root(&mut self, text: &str, kind: &Kind, column: &mut Column) -> Quick<()> {
        let mut cursor = Cursor::new(text);
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
            (_, column) => self.scalar(cursor, kind, column, first)?,
        }
        Ok(())
    }

    #[inline]
    fn scalar(
        &mut self,
        cursor: &mut Cursor<'_>,
        kind: &Kind,
        column: &mut Column,
        first: u8,
    ) -> Quick<()> {
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
                out.push(&pull::decode(text).ok_or(Exact)?);
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
                    let length = run.len() + cursor.unescape(out)?;
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
