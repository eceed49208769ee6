//! The parser of schemas as SQL writes them.

use crate::lexer::{Position, Token, invalid, tokens};
use crate::{DECIMAL_PRECISION_MAX, DataType, NESTING_MAX, StructField, StructType};
use millstream_core::{Error, Result};

/// Parses a list of columns; an empty list is an empty struct.
pub(crate) fn parse_columns(text: &str) -> Result<StructType> {
    let mut parser = Parser::new(text)?;
    let mut fields = Vec::new();
    if parser.peek() != &Token::End {
        loop {
            fields.push(parser.field(0)?);
            if !parser.take_sign(',') {
                break;
            }
        }
    }
    parser.end("`,` or the end of the schema")?;
    Ok(StructType { fields })
}

/// Parses one type.
pub(crate) fn parse_type(text: &str) -> Result<DataType> {
    let mut parser = Parser::new(text)?;
    let parsed = parser.data_type(0)?;
    parser.end("the end of the type")?;
    Ok(parsed)
}

/// Whether `text` is one type rather than a list of columns: a lone word, or a word followed by
/// its parameters. No list of columns starts like that.
pub(crate) fn starts_as_type(text: &str) -> bool {
    let Ok(found) = tokens(text) else { return false };
    let kind = |at: usize| found.get(at).map(|(token, _)| token);
    matches!(kind(0), Some(Token::Word(_)))
        && match kind(1) {
            Some(Token::End | Token::Sign('<' | '(')) => true,
            Some(Token::Word(word)) => word.eq_ignore_ascii_case("collate"),
            _ => false,
        }
}

struct Parser {
    tokens: Vec<(Token, Position)>,
    next: usize,
}

const END: (Token, Position) = (Token::End, Position { line: 1, column: 1 });

impl Parser {
    fn new(text: &str) -> Result<Self> {
        Ok(Parser { tokens: tokens(text)?, next: 0 })
    }

    fn current(&self) -> &(Token, Position) {
        self.tokens.get(self.next).or(self.tokens.last()).unwrap_or(&END)
    }

    fn peek(&self) -> &Token {
        &self.current().0
    }

    fn at(&self) -> Position {
        self.current().1
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn take_sign(&mut self, sign: char) -> bool {
        let hit = self.peek() == &Token::Sign(sign);
        self.next += usize::from(hit);
        hit
    }

    fn take_word(&mut self, keyword: &str) -> bool {
        let hit = matches!(self.peek(), Token::Word(w) if w.eq_ignore_ascii_case(keyword));
        self.next += usize::from(hit);
        hit
    }

    fn expected(&self, what: &str) -> Error {
        invalid(self.at(), format_args!("expected {what}, found {}", self.peek().shown()))
    }

    fn sign(&mut self, sign: char) -> Result<()> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.expected(&format!("`{sign}`"))) }
    }

    fn end(&mut self, what: &str) -> Result<()> {
        if self.peek() == &Token::End { Ok(()) } else { Err(self.expected(what)) }
    }

    fn name(&mut self) -> Result<String> {
        match self.peek().clone() {
            Token::Word(name) | Token::Quoted(name) => {
                self.next += 1;
                Ok(name)
            }
            _ => Err(self.expected("a column name")),
        }
    }

    fn field(&mut self, depth: usize) -> Result<StructField> {
        let name = self.name()?;
        self.take_sign(':');
        let mut field = StructField::new(name, self.data_type(depth + 1)?, true);
        loop {
            let at = self.at();
            if self.take_word("not") {
                if !self.take_word("null") {
                    return Err(self.expected("`NULL` after `NOT`"));
                }
                if !field.nullable {
                    return Err(invalid(at, "`NOT NULL` is given twice"));
                }
                field.nullable = false;
            } else if self.take_word("comment") {
                let Token::Text(comment) = self.peek().clone() else {
                    return Err(self.expected("a string literal after `COMMENT`"));
                };
                self.next += 1;
                if field.comment().is_some() {
                    return Err(invalid(at, "`COMMENT` is given twice"));
                }
                field = field.with_comment(comment);
            } else if self.take_word("default") || self.take_word("generated") {
                let cause = "columns with a default or generated value are not supported";
                return Err(invalid(at, cause));
            } else {
                return Ok(field);
            }
        }
    }

    fn data_type(&mut self, depth: usize) -> Result<DataType> {
        let at = self.at();
        if depth > NESTING_MAX {
            return Err(invalid(at, format_args!("types nest deeper than {NESTING_MAX}")));
        }
        let Token::Word(word) = self.peek().clone() else {
            return Err(self.expected("a data type"));
        };
        self.next += 1;
        Ok(match word.to_ascii_lowercase().as_str() {
            "array" => {
                self.sign('<')?;
                let element = self.data_type(depth + 1)?;
                self.sign('>')?;
                DataType::array(element)
            }
            "map" => self.map(depth)?,
            "struct" => self.structure(depth)?,
            "decimal" | "dec" | "numeric" => self.decimal(at)?,
            "string" => self.string()?,
            other => match simple(other) {
                Some(found) => found,
                None => return Err(unknown(at, &word)),
            },
        })
    }

    fn map(&mut self, depth: usize) -> Result<DataType> {
        self.sign('<')?;
        let at = self.at();
        let key = self.data_type(depth + 1)?;
        if matches!(key, DataType::Map { .. }) {
            return Err(invalid(at, "a map cannot be the key of a map"));
        }
        self.sign(',')?;
        let value = self.data_type(depth + 1)?;
        self.sign('>')?;
        Ok(DataType::map(key, value))
    }

    fn structure(&mut self, depth: usize) -> Result<DataType> {
        self.sign('<')?;
        let mut fields = Vec::new();
        if !self.take_sign('>') {
            loop {
                fields.push(self.field(depth)?);
                if !self.take_sign(',') {
                    break;
                }
            }
            if !self.take_sign('>') {
                return Err(self.expected("`,` or `>`"));
            }
        }
        Ok(DataType::Struct(StructType { fields }))
    }

    fn decimal(&mut self, at: Position) -> Result<DataType> {
        let (mut precision, mut scale) = (10, 0);
        if self.take_sign('(') {
            precision = self.number()?;
            if self.take_sign(',') {
                scale = self.number()?;
            }
            self.sign(')')?;
        }
        decimal(precision, scale).map_err(|cause| invalid(at, cause))
    }

    fn number(&mut self) -> Result<u32> {
        let Token::Number(digits) = self.peek().clone() else {
            return Err(self.expected("a number without sign"));
        };
        let number =
            digits.parse().map_err(|_| invalid(self.at(), "the number is out of range"))?;
        self.next += 1;
        Ok(number)
    }

    fn string(&mut self) -> Result<DataType> {
        if !self.take_word("collate") {
            return Ok(DataType::String);
        }
        let at = self.at();
        match self.take() {
            Token::Word(name) | Token::Quoted(name) if name.eq_ignore_ascii_case("utf8_binary") => {
                Ok(DataType::String)
            }
            other => Err(unsupported(
                at,
                format_args!("the collation {}", other.shown()),
                "Use STRING, which compares bytes (UTF8_BINARY).",
            )),
        }
    }
}

/// A checked decimal type, or the cause of its refusal.
pub(crate) fn decimal(precision: u32, scale: u32) -> Result<DataType, String> {
    let bad = |what: &str| Err(format!("DECIMAL({precision},{scale}): {what}"));
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(0), _) => bad("the precision must be at least 1"),
        (Ok(p), Ok(s)) if p <= DECIMAL_PRECISION_MAX && scale <= precision => {
            Ok(DataType::Decimal(p, s))
        }
        (Ok(p), _) if p <= DECIMAL_PRECISION_MAX => bad("the scale must not exceed the precision"),
        _ => bad(&format!("the precision must not exceed {DECIMAL_PRECISION_MAX}")),
    }
}

fn simple(word: &str) -> Option<DataType> {
    Some(match word {
        "boolean" => DataType::Boolean,
        "tinyint" | "byte" => DataType::Byte,
        "smallint" | "short" => DataType::Short,
        "int" | "integer" => DataType::Integer,
        "bigint" | "long" => DataType::Long,
        "float" | "real" => DataType::Float,
        "double" => DataType::Double,
        "binary" => DataType::Binary,
        "date" => DataType::Date,
        "timestamp" | "timestamp_ltz" => DataType::Timestamp,
        "timestamp_ntz" => DataType::TimestampNtz,
        "void" => DataType::Null,
        _ => return None,
    })
}

/// Types that Spark has, with what to write instead.
pub(crate) fn known_but_unsupported(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "varchar" | "char" | "character" => "Use STRING.",
        "interval" => "Keep the length as BIGINT in one unit.",
        "variant" => "Keep the document as STRING and take values out with get_json_object.",
        "time" => "Use STRING, or TIMESTAMP_NTZ with a date.",
        "geometry" | "geography" | "object" => "Use BINARY or STRING.",
        _ => return None,
    })
}

fn unsupported(at: Position, what: impl std::fmt::Display, cure: &str) -> Error {
    Error::invalid(
        "SCHEMA_UNSUPPORTED_TYPE",
        format!("{what} at line {}, column {} is not supported.", at.line, at.column),
    )
    .cure(cure)
}

fn unknown(at: Position, word: &str) -> Error {
    if let Some(cure) = known_but_unsupported(word) {
        return unsupported(at, format_args!("The type {}", word.to_ascii_uppercase()), cure);
    }
    let error = invalid(at, format_args!("unsupported data type `{word}`"));
    let names = [
        "boolean",
        "tinyint",
        "smallint",
        "int",
        "integer",
        "bigint",
        "long",
        "float",
        "double",
        "decimal",
        "numeric",
        "string",
        "binary",
        "date",
        "timestamp",
        "timestamp_ntz",
        "array",
        "map",
        "struct",
        "void",
    ];
    match millstream_core::options::did_you_mean(word, names.into_iter()) {
        Some(near) => error.cure(format!("Did you mean {}?", near.to_ascii_uppercase())),
        None => error,
    }
}
