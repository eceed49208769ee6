//! `schema_of_json`: the schema of one document.

use crate::number;
use crate::options::SchemaOfJsonOptions;
use crate::pull::{Malformed, Pull, Token};
use millstream_core::{Error, Result};
use millstream_types::{DECIMAL_PRECISION_MAX, DataType, NESTING_MAX, StructField, StructType};

/// The schema of a JSON document; [`DataType::sql`] prints it as Spark does.
///
/// # Errors
/// `MALFORMED_JSON`; `SCHEMA_INVALID` for a document that nests deeper than a schema may.
pub fn schema_of_json(json: &str, options: &SchemaOfJsonOptions) -> Result<DataType> {
    let mut infer = Infer { pull: Pull::new(json, &options.syntax), options };
    let inferred = infer.pull.next_token().map_err(Fail::from).and_then(|_| infer.value(0));
    let inferred = inferred.map_err(|fail| match fail {
        Fail::Malformed(m) => Error::invalid(
            "MALFORMED_JSON",
            format!("The text is not JSON: {} at byte {}.", m.cause, m.at),
        ),
        Fail::TooDeep => Error::invalid(
            "SCHEMA_INVALID",
            format!("The document nests deeper than {NESTING_MAX}."),
        ),
    })?;
    Ok(match inferred {
        // An empty struct at the root stays; the inner ones are left out.
        DataType::Struct(_) => {
            canonical(inferred, options).unwrap_or(DataType::Struct(StructType::default()))
        }
        DataType::Array { element, .. } if matches!(*element, DataType::Struct(_)) => {
            let element = canonical(*element, options);
            DataType::array(element.unwrap_or(DataType::Struct(StructType::default())))
        }
        other => canonical(other, options).unwrap_or(DataType::String),
    })
}

enum Fail {
    Malformed(Malformed),
    TooDeep,
}

impl From<Malformed> for Fail {
    fn from(malformed: Malformed) -> Self {
        Fail::Malformed(malformed)
    }
}

struct Infer<'a> {
    pull: Pull<'a>,
    options: &'a SchemaOfJsonOptions,
}

impl Infer<'_> {
    fn value(&mut self, depth: usize) -> Result<DataType, Fail> {
        if depth > NESTING_MAX {
            return Err(Fail::TooDeep);
        }
        let mut token = self.pull.current();
        while token == Some(Token::Name) {
            token = self.pull.next_token()?;
        }
        Ok(match token {
            None | Some(Token::Null) => DataType::Null,
            Some(Token::Text) => self.text()?,
            Some(Token::StartObject) => self.object(depth)?,
            Some(Token::StartArray) => {
                let mut element = DataType::Null;
                while self.pull.next_token()?.is_some_and(|t| t != Token::EndArray) {
                    let other = self.value(depth + 1)?;
                    element = common(element, other);
                }
                DataType::array(element)
            }
            Some(Token::EndObject | Token::EndArray | Token::Name) => {
                return Err(self.pull.malformed("expected a value").into());
            }
            Some(_) if self.options.primitives_as_string => DataType::String,
            Some(Token::True | Token::False) => DataType::Boolean,
            Some(token) => {
                let text = self.pull.text()?;
                number_type(text, token == Token::Int, self.options.prefers_decimal)
            }
        })
    }

    fn text(&mut self) -> Result<DataType, Fail> {
        let text = self.pull.text()?;
        if text.is_empty() {
            return Ok(DataType::Null);
        }
        let decimal = self.options.prefers_decimal.then(|| digits(text)).flatten();
        Ok(match decimal {
            Some((precision, scale)) => fixed(precision, scale).unwrap_or(DataType::String),
            None => DataType::String,
        })
    }

    fn object(&mut self, depth: usize) -> Result<DataType, Fail> {
        let mut fields = Vec::new();
        while self.pull.next_token()?.is_some_and(|t| t != Token::EndObject) {
            let name = self.pull.current_name().unwrap_or_default().to_owned();
            fields.push(StructField::new(name, self.value(depth + 1)?, true));
        }
        fields.sort_by(|a, b| a.name.encode_utf16().cmp(b.name.encode_utf16()));
        Ok(DataType::Struct(StructType::new(fields)))
    }
}

fn number_type(text: &str, integer: bool, prefers_decimal: bool) -> DataType {
    if integer && text.parse::<i64>().is_ok() {
        return DataType::Long;
    }
    let decimal = if integer || prefers_decimal { digits(text) } else { None };
    decimal.and_then(|(p, s)| fixed(p.max(s), s)).unwrap_or(DataType::Double)
}

/// Precision and scale of a decimal number as `java.math.BigDecimal` counts them.
fn digits(text: &str) -> Option<(i64, i64)> {
    let text = text.trim_start_matches(['+', '-']);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // Only to check the form.
    number::decimal(&format!("{mantissa}e-400"), 1, 0)?;
    let significant = format!("{whole}{fraction}");
    let precision = significant.trim_start_matches('0').len().max(1);
    let scale = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
    Some((i64::try_from(precision).ok()?, scale))
}

fn fixed(precision: i64, scale: i64) -> Option<DataType> {
    let precision = u8::try_from(precision).ok().filter(|p| *p <= DECIMAL_PRECISION_MAX)?;
    let scale = i8::try_from(scale).ok().filter(|s| *s >= 0)?;
    (i64::from(scale) <= i64::from(precision)).then_some(DataType::Decimal(precision, scale))
}

/// The type of a place in which values of both types occur.
fn common(a: DataType, b: DataType) -> DataType {
    match (a, b) {
        (DataType::Null, other) | (other, DataType::Null) => other,
        (a, b) if a == b => a,
        (DataType::Long | DataType::Decimal(..), DataType::Double)
        | (DataType::Double, DataType::Long | DataType::Decimal(..)) => DataType::Double,
        (DataType::Long, DataType::Decimal(p, s)) | (DataType::Decimal(p, s), DataType::Long) => {
            wider((20, 0), (p, s))
        }
        (DataType::Decimal(p1, s1), DataType::Decimal(p2, s2)) => wider((p1, s1), (p2, s2)),
        (DataType::Array { element: a, .. }, DataType::Array { element: b, .. }) => {
            DataType::array(common(*a, *b))
        }
        (DataType::Struct(a), DataType::Struct(b)) => DataType::Struct(merged(a, b)),
        _ => DataType::String,
    }
}

fn wider(a: (u8, i8), b: (u8, i8)) -> DataType {
    let scale = i64::from(a.1.max(b.1));
    let whole = |(p, s): (u8, i8)| i64::from(p) - i64::from(s);
    fixed(whole(a).max(whole(b)) + scale, scale).unwrap_or(DataType::Double)
}

/// The fields of both, sorted by name; both are.
fn merged(a: StructType, b: StructType) -> StructType {
    let mut fields = a.fields;
    for field in b.fields {
        match fields.iter_mut().find(|f| f.name == field.name) {
            Some(known) => {
                let before = std::mem::replace(&mut known.data_type, DataType::Null);
                known.data_type = common(before, field.data_type);
            }
            None => fields.push(field),
        }
    }
    fields.sort_by(|a, b| a.name.encode_utf16().cmp(b.name.encode_utf16()));
    StructType::new(fields)
}

/// Nulls become strings, or disappear; so do empty structs and names.
fn canonical(data_type: DataType, options: &SchemaOfJsonOptions) -> Option<DataType> {
    match data_type {
        DataType::Null if options.drop_field_if_all_null => None,
        DataType::Null => Some(DataType::String),
        DataType::Array { element, .. } => canonical(*element, options).map(DataType::array),
        DataType::Struct(fields) => {
            let kept: Vec<StructField> = fields
                .fields
                .into_iter()
                .filter(|f| !f.name.is_empty())
                .filter_map(|f| {
                    let data_type = canonical(f.data_type, options)?;
                    Some(StructField::new(f.name, data_type, true))
                })
                .collect();
            (!kept.is_empty()).then(|| DataType::Struct(StructType::new(kept)))
        }
        other => Some(other),
    }
}
