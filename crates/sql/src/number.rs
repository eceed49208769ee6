//! Number literals: the suffix decides the type, the spelling decides without one.

use crate::ast::Literal;
use crate::cursor::Parse;
use crate::diagnostic::{Diagnostic, Span};

/// A literal whose text is none of its type.
pub(crate) fn invalid_literal(what: &str, text: &str, span: Span) -> Diagnostic {
    Diagnostic::new(
        "INVALID_LITERAL",
        format!("The value '{text}' of the {what} literal cannot be parsed or is out of range."),
        span,
    )
}

/// A number as written, sign and suffix included.
pub(crate) fn number(text: &str, span: Span) -> Parse<Literal> {
    let upper = text.to_ascii_uppercase();
    let invalid = |what| invalid_literal(what, text, span);
    let digits = |suffix: &str| upper.strip_suffix(suffix).map(str::to_owned);
    let is_number = |s: &str| s.parse::<f64>().is_ok() && !s.contains(['N', 'I']);
    if let Some(body) = digits("BD").filter(|b| is_number(b)) {
        return Ok(Literal::Decimal(body));
    }
    if let Some(body) = digits("D").filter(|b| is_number(b)) {
        return body.parse().map(Literal::Double).map_err(|_| invalid("double"));
    }
    if let Some(body) = digits("F").filter(|b| is_number(b)) {
        return body.parse().map(Literal::Float).map_err(|_| invalid("float"));
    }
    if let Some(body) = digits("L") {
        return body.parse().map(Literal::Long).map_err(|_| invalid("bigint"));
    }
    if let Some(body) = digits("S") {
        return body.parse().map(Literal::Short).map_err(|_| invalid("smallint"));
    }
    if let Some(body) = digits("Y") {
        return body.parse().map(Literal::Byte).map_err(|_| invalid("tinyint"));
    }
    if !is_number(&upper) {
        return Err(invalid("number"));
    }
    if upper.contains('E') {
        return upper.parse().map(Literal::Double).map_err(|_| invalid("double"));
    }
    if upper.contains('.') {
        return Ok(Literal::Decimal(upper));
    }
    Ok(Literal::Integer(upper))
}
