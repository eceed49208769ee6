//! Literals: the type that a spelling gives, and the name that Spark prints.

use super::Analysis;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use millstream_sql::ast::Literal;
use millstream_sql::{Diagnostic, Span};

const PRECISION_MAX: usize = 38;

/// The value of a literal and the text that Spark prints for it. Typed literals and intervals are
/// the function library's.
pub(crate) fn literal(value: &Literal, span: Span) -> Analysis<(ScalarValue, String)> {
    Ok(match value {
        Literal::Null => (ScalarValue::Null, "NULL".to_owned()),
        Literal::Boolean(b) => (ScalarValue::Boolean(Some(*b)), b.to_string()),
        Literal::Byte(n) => (ScalarValue::Int8(Some(*n)), n.to_string()),
        Literal::Short(n) => (ScalarValue::Int16(Some(*n)), n.to_string()),
        Literal::Long(n) => (ScalarValue::Int64(Some(*n)), n.to_string()),
        Literal::Float(n) => (ScalarValue::Float32(Some(*n)), java(f64::from(*n))),
        Literal::Double(n) => (ScalarValue::Float64(Some(*n)), java(*n)),
        Literal::String(s) => (ScalarValue::Utf8(Some(s.clone())), s.clone()),
        Literal::Binary(bytes) => {
            let hex: String = bytes.iter().map(|b| format!("{b:02X}")).collect();
            (ScalarValue::Binary(Some(bytes.clone())), format!("X'{hex}'"))
        }
        Literal::Integer(digits) => integer(digits, span)?,
        Literal::Decimal(digits) => decimal(digits, span)?,
        Literal::Typed(..) | Literal::Interval(_) => {
            let message = "This literal is not supported here.";
            return Err(Diagnostic::new("UNSUPPORTED_SYNTAX", message, span));
        }
    })
}

fn integer(digits: &str, span: Span) -> Analysis<(ScalarValue, String)> {
    if let Ok(n) = digits.parse::<i32>() {
        return Ok((ScalarValue::Int32(Some(n)), n.to_string()));
    }
    if let Ok(n) = digits.parse::<i64>() {
        return Ok((ScalarValue::Int64(Some(n)), n.to_string()));
    }
    decimal(digits, span)
}

/// `12.50` is DECIMAL(4,2); `1e3` never comes here.
fn decimal(written: &str, span: Span) -> Analysis<(ScalarValue, String)> {
    let out_of_range = || {
        Diagnostic::new(
            "DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION",
            format!("Decimal precision of `{written}` exceeds max precision {PRECISION_MAX}."),
            span,
        )
    };
    let (mantissa, exponent) = match written.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i32>().map_err(|_| out_of_range())?),
        None => (written, 0),
    };
    let negative = mantissa.starts_with('-');
    let body = mantissa.trim_start_matches(['-', '+']);
    let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
    let mut digits = format!("{whole}{fraction}");
    let mut scale = i32::try_from(fraction.len()).unwrap_or(i32::MAX) - exponent;
    if scale < 0 {
        let zeros = usize::try_from(-scale).unwrap_or(usize::MAX);
        if zeros > PRECISION_MAX {
            return Err(out_of_range());
        }
        digits.push_str(&"0".repeat(zeros));
        scale = 0;
    }
    let significant = digits.trim_start_matches('0').len().max(1);
    let scale_digits = usize::try_from(scale).unwrap_or(usize::MAX);
    let precision = significant.max(scale_digits);
    if precision > PRECISION_MAX {
        return Err(out_of_range());
    }
    let value: i128 = digits.parse().map_err(|_| out_of_range())?;
    let value = if negative { -value } else { value };
    let precision = u8::try_from(precision).map_err(|_| out_of_range())?;
    let scale = i8::try_from(scale).map_err(|_| out_of_range())?;
    let scalar = ScalarValue::Decimal128(Some(value), precision, scale);
    let text = plain(value, scale_digits);
    Ok((scalar, text))
}

fn plain(value: i128, scale: usize) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let digits = value.unsigned_abs().to_string();
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// A double as Java prints the common ones.
fn java(n: f64) -> String {
    let magnitude = n.abs();
    if n.is_finite() && (magnitude == 0.0 || (1e-3..1e7).contains(&magnitude)) {
        return format!("{n:?}");
    }
    if !n.is_finite() {
        return if n.is_nan() {
            "NaN".into()
        } else {
            format!("{}Infinity", if n < 0.0 { "-" } else { "" })
        };
    }
    let text = format!("{n:E}");
    match text.split_once('E') {
        Some((m, e)) if !m.contains('.') => format!("{m}.0E{e}"),
        _ => text,
    }
}

/// The value of a literal string expression.
pub(crate) fn as_string(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(s)), _) => Some(s),
        _ => None,
    }
}
