//! From tokens to values with Spark's rules, over the exact parser.
//!
//! A field that fails becomes null and the record counts as bad; reading goes on from wherever
//! the parser stands. Of an array, one bad element spoils the whole, unless the element is a
//! struct that could be read in part.

use crate::column::Datum;
use crate::number;
use crate::options::FromJsonOptions;
use crate::plan::{Kind, StructPlan};
use crate::pull::{Malformed, Pull, Token};
use crate::rules;
use crate::text::{Escapes, push_quoted};

/// Code of records that are not JSON.
pub const MALFORMED_JSON: &str = "MALFORMED_JSON";
/// Code of records with a value that is not of its field's type.
pub const FIELD_TYPE_MISMATCH: &str = "FIELD_TYPE_MISMATCH";
/// Code of records that are JSON, but of another kind than the schema's root.
pub const ROOT_TYPE_MISMATCH: &str = "ROOT_TYPE_MISMATCH";

/// Why a record counts as bad.
#[derive(Debug, Clone, PartialEq)]
pub struct Reason {
    /// One of the codes above.
    pub code: &'static str,
    /// A sentence with the place.
    pub detail: String,
}

/// What a record becomes.
pub(crate) struct Converted {
    /// `None` for a record without any token, which is null as a whole.
    pub(crate) value: Option<Datum>,
    pub(crate) bad: Option<Reason>,
}

enum Fail {
    Bad(Reason),
    /// What could be read of a struct, array or map.
    Partial(Datum, Reason),
}

impl From<Malformed> for Fail {
    fn from(m: Malformed) -> Self {
        let detail = format!("{} at byte {}", m.cause, m.at);
        Fail::Bad(Reason { code: MALFORMED_JSON, detail })
    }
}

type Converting<T> = Result<T, Fail>;

/// Characters of a value that a reason shows.
const SHOWN_MAX: usize = 64;

/// Converts one record.
pub(crate) fn convert(text: &str, kind: &Kind, options: &FromJsonOptions) -> Converted {
    let mut converter = Converter { pull: Pull::new(text, &options.syntax), options };
    match converter.root(kind) {
        Ok(value) => Converted { value, bad: None },
        Err(Fail::Partial(value, reason)) => Converted { value: Some(value), bad: Some(reason) },
        Err(Fail::Bad(reason)) => Converted { value: Some(Datum::Null), bad: Some(reason) },
    }
}

struct Converter<'a> {
    pull: Pull<'a>,
    options: &'a FromJsonOptions,
}

impl Converter<'_> {
    fn root(&mut self, kind: &Kind) -> Converting<Option<Datum>> {
        let Some(token) = self.pull.next_token()? else { return Ok(None) };
        match (kind, token) {
            (Kind::Struct(plan), Token::StartObject) => self.object(plan).map(Some),
            (Kind::List(element), Token::StartArray) => self.array(element).map(Some),
            (Kind::List(element), Token::StartObject) => {
                let Kind::Struct(plan) = element.as_ref() else {
                    return Err(self.root_mismatch(kind, token));
                };
                match self.object(plan) {
                    Ok(only) => Ok(Some(Datum::List(vec![only]))),
                    Err(Fail::Partial(only, reason)) => {
                        Err(Fail::Partial(Datum::List(vec![only]), reason))
                    }
                    Err(bad) => Err(bad),
                }
            }
            (Kind::Map(value), Token::StartObject) => self.map(value).map(Some),
            _ => Err(self.root_mismatch(kind, token)),
        }
    }

    fn root_mismatch(&mut self, kind: &Kind, token: Token) -> Fail {
        // A string at the root may turn out not to end.
        if let Err(malformed) = self.pull.text() {
            return malformed.into();
        }
        let detail = format!("{} cannot be read as {}", token_name(token), kind.name());
        Fail::Bad(Reason { code: ROOT_TYPE_MISMATCH, detail })
    }

    /// Moves on; false at `stop` and at the end.
    fn next_until(&mut self, stop: Token) -> Converting<bool> {
        Ok(self.pull.next_token()?.is_some_and(|token| token != stop))
    }

    fn object(&mut self, plan: &StructPlan) -> Converting<Datum> {
        let mut row = vec![Datum::Null; plan.fields.len()];
        let mut bad = None;
        while self.next_until(Token::EndObject)? {
            let found = self.pull.current_name().and_then(|name| plan.find(name.as_bytes()));
            let Some((index, field)) = found.and_then(|i| Some((i, plan.fields.get(i)?))) else {
                self.pull.skip_children()?;
                continue;
            };
            let value = match self.value(&field.kind) {
                Ok(value) => value,
                Err(Fail::Partial(value, reason)) => {
                    bad.get_or_insert(reason);
                    value
                }
                Err(Fail::Bad(reason)) => {
                    bad.get_or_insert(reason);
                    self.pull.skip_children()?;
                    continue;
                }
            };
            if let Some(slot) = row.get_mut(index) {
                *slot = value;
            }
        }
        finished(Datum::Struct(row), bad)
    }

    fn array(&mut self, element: &Kind) -> Converting<Datum> {
        let mut values = Vec::new();
        let mut bad = None;
        while self.next_until(Token::EndArray)? {
            match self.value(element) {
                Ok(value) => values.push(value),
                Err(Fail::Partial(value, reason)) => {
                    bad.get_or_insert(reason);
                    values.push(value);
                }
                Err(fail) => return Err(fail),
            }
        }
        finished(Datum::List(values), bad)
    }

    fn map(&mut self, kind: &Kind) -> Converting<Datum> {
        let mut entries = Vec::new();
        let (mut partial, mut bad) = (None, None);
        while self.next_until(Token::EndObject)? {
            let key = self.pull.current_name().unwrap_or_default().to_owned();
            match self.value(kind) {
                Ok(value) => entries.push((key, value)),
                Err(Fail::Partial(value, reason)) => {
                    partial.get_or_insert(reason);
                    entries.push((key, value));
                }
                Err(Fail::Bad(reason)) => {
                    bad.get_or_insert(reason);
                    self.pull.skip_children()?;
                }
            }
        }
        match bad {
            Some(reason) => Err(Fail::Bad(reason)),
            None => finished(Datum::Map(entries), partial),
        }
    }

    /// Converts the value that the parser stands on, or that follows the name it stands on.
    fn value(&mut self, kind: &Kind) -> Converting<Datum> {
        let mut token = self.pull.current();
        while token == Some(Token::Name) {
            token = self.pull.next_token()?;
        }
        let Some(token) = token else { return Ok(Datum::Null) };
        match (kind, token) {
            (_, Token::Null) | (Kind::Null, _) => Ok(Datum::Null),
            (Kind::Struct(plan), Token::StartObject) => self.object(plan),
            (Kind::List(element), Token::StartArray) => self.array(element),
            (Kind::Map(value), Token::StartObject) => self.map(value),
            (Kind::Text, Token::Text) => Ok(Datum::Text(self.pull.text()?.to_owned())),
            (Kind::Text, _) => Ok(Datum::Text(self.printed()?)),
            (Kind::Binary, Token::Text) => self.binary(),
            _ => self.scalar(kind, token),
        }
    }

    fn scalar(&mut self, kind: &Kind, token: Token) -> Converting<Datum> {
        let options = self.options;
        let text = self.pull.text()?;
        let converted = match (kind, token) {
            (Kind::Boolean, Token::True) => Some(Datum::Boolean(true)),
            (Kind::Boolean, Token::False) => Some(Datum::Boolean(false)),
            (Kind::Byte, Token::Int) => integer(text).and_then(byte).map(Datum::Byte),
            (Kind::Short, Token::Int) => narrow(text).map(Datum::Short),
            (Kind::Integer, Token::Int) => narrow(text).map(Datum::Integer),
            (Kind::Long, Token::Int) => integer(text).map(Datum::Long),
            (Kind::Float, Token::Int | Token::Float) => java_float(text).map(Datum::Float),
            (Kind::Double, Token::Int | Token::Float) => java_float(text).map(Datum::Double),
            (Kind::Float | Kind::Double, Token::Text) if options.syntax.non_numeric_numbers => {
                rules::non_numeric(text).map(|value| match kind {
                    Kind::Float => Datum::Float(value as f32),
                    _ => Datum::Double(value),
                })
            }
            (Kind::Decimal(p, s), Token::Int | Token::Float) => {
                number::decimal(text, *p, *s).map(Datum::Decimal)
            }
            (Kind::Decimal(p, s), Token::Text) => {
                rules::decimal_of(text, *p, *s).map(Datum::Decimal)
            }
            (Kind::Timestamp, Token::Text) => options.timestamp_of(text).map(Datum::Long),
            (Kind::Timestamp, Token::Int) => integer(text).map(seconds).map(Datum::Long),
            (Kind::TimestampNtz, Token::Text) => options.timestamp_ntz_of(text).map(Datum::Long),
            (Kind::Date, Token::Text) => options.date_of(text).map(Datum::Integer),
            _ => None,
        };
        converted.ok_or_else(|| self.mismatch(kind, token))
    }

    fn binary(&mut self) -> Converting<Datum> {
        self.pull.bytes().map(Datum::Binary).map_err(|m| {
            let name = self.pull.current_name().unwrap_or_default();
            let detail = format!("field `{name}`: {} at byte {}", m.cause, m.at);
            Fail::Bad(Reason { code: FIELD_TYPE_MISMATCH, detail })
        })
    }

    fn mismatch(&mut self, kind: &Kind, token: Token) -> Fail {
        let value = match token {
            Token::Text | Token::Int | Token::Float => {
                let text = self.pull.text().map(str::to_owned).unwrap_or_default();
                let shown: String = text.chars().take(SHOWN_MAX).collect();
                let more = if shown.len() < text.len() { ".." } else { "" };
                let quote = if token == Token::Text { "\"" } else { "" };
                format!("{quote}{shown}{more}{quote}")
            }
            other => token_name(other).into(),
        };
        let field = match self.pull.current_name() {
            Some(name) => format!("field `{name}`"),
            None => "an element".into(),
        };
        let detail = format!("{field}: {value} cannot be read as {}", kind.name());
        Fail::Bad(Reason { code: FIELD_TYPE_MISMATCH, detail })
    }

    /// The value printed again, without blanks and with numbers in Java's form.
    fn printed(&mut self) -> Converting<String> {
        let mut out = String::new();
        print(&mut self.pull, Escapes::Supplementary, &mut out)?;
        Ok(out)
    }
}

/// Prints the value that the parser stands on, and moves to its end.
pub(crate) fn print(
    pull: &mut Pull<'_>,
    escapes: Escapes,
    out: &mut String,
) -> Result<(), Malformed> {
    let mut closers = Vec::new();
    let mut token = pull.current();
    if matches!(token, Some(Token::EndObject | Token::EndArray)) {
        return Err(pull.malformed("a value is missing"));
    }
    loop {
        let follows = !out.is_empty() && !out.ends_with(['{', '[', ':']);
        match token {
            None => break,
            Some(Token::EndObject | Token::EndArray) => {
                if let Some(closer) = closers.pop() {
                    out.push(closer);
                }
            }
            Some(other) => {
                if follows {
                    out.push(',');
                }
                match other {
                    Token::StartObject => {
                        out.push('{');
                        closers.push('}');
                    }
                    Token::StartArray => {
                        out.push('[');
                        closers.push(']');
                    }
                    Token::Name => {
                        push_quoted(pull.current_name().unwrap_or_default(), escapes, out);
                        out.push(':');
                    }
                    scalar => print_scalar(pull, scalar, escapes, out)?,
                }
            }
        }
        if closers.is_empty() && token != Some(Token::Name) {
            return Ok(());
        }
        token = pull.next_token()?;
    }
    while let Some(closer) = closers.pop() {
        out.push(closer);
    }
    Ok(())
}

fn print_scalar(
    pull: &mut Pull<'_>,
    token: Token,
    escapes: Escapes,
    out: &mut String,
) -> Result<(), Malformed> {
    match token {
        Token::True => out.push_str("true"),
        Token::False => out.push_str("false"),
        Token::Null => out.push_str("null"),
        Token::Int => out.push_str(&number::plain_integer(pull.text()?)),
        Token::Float => {
            let value: f64 = java_float(pull.text()?).unwrap_or(f64::NAN);
            let text = number::java_double(value);
            if value.is_finite() {
                out.push_str(&text);
            } else {
                push_quoted(&text, escapes, out);
            }
        }
        _ => push_quoted(pull.text()?, escapes, out),
    }
    Ok(())
}

fn finished(value: Datum, bad: Option<Reason>) -> Converting<Datum> {
    match bad {
        None => Ok(value),
        Some(reason) => Err(Fail::Partial(value, reason)),
    }
}

fn token_name(token: Token) -> &'static str {
    match token {
        Token::StartObject | Token::EndObject => "an object",
        Token::StartArray | Token::EndArray => "an array",
        Token::Name => "a name",
        Token::Text => "a string",
        Token::Int | Token::Float => "a number",
        Token::True | Token::False => "a boolean",
        Token::Null => "null",
    }
}

fn integer(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn narrow<T: TryFrom<i64>>(text: &str) -> Option<T> {
    T::try_from(integer(text)?).ok()
}

/// Bytes may be given with or without their sign, as Java's parser takes them.
pub(crate) fn byte(value: i64) -> Option<i8> {
    (-128..=255).contains(&value).then_some(value as i8)
}

/// Epoch seconds in microseconds; Spark lets the product wrap around.
pub(crate) fn seconds(value: i64) -> i64 {
    value.wrapping_mul(1_000_000)
}

fn java_float<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}
