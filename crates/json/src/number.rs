//! Numbers as Java reads and prints them.

/// A `double` as Java prints it, with the shortest digits that read back to the same value.
pub(crate) fn java_double(value: f64) -> String {
    java_digits(value, format!("{value:e}"), || format!("{value:.1e}"))
}

/// A `float` as Java prints it.
pub(crate) fn java_float(value: f32) -> String {
    java_digits(f64::from(value), format!("{value:e}"), || format!("{value:.1e}"))
}

fn java_digits(value: f64, shortest: String, two_digits: impl Fn() -> String) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0.0".into() } else { "0.0".into() };
    }
    // Java always prints two digits, and then the two that are nearest.
    let text = if shortest.contains('.') { shortest } else { two_digits() };
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    if !(-3..7).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        return format!("{sign}{first}.{rest}E{exponent}");
    }
    let digits = digits.trim_end_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    if exponent < 0 {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0));
        return format!("{sign}0.{zeros}{digits}");
    }
    let point = usize::try_from(exponent).unwrap_or(0) + 1;
    if digits.len() <= point {
        return format!("{sign}{digits}{}.0", "0".repeat(point - digits.len()));
    }
    let (whole, fraction) = digits.split_at(point);
    format!("{sign}{whole}.{fraction}")
}

/// The text of a JSON integer without a sign on zero and without leading zeros.
pub(crate) fn plain_integer(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() { "0".into() } else { format!("{sign}{digits}") }
}

/// Reads a decimal number into `DECIMAL(precision, scale)`, rounding half away from zero. `None`
/// if the text is not a number or its value does not fit.
///
/// Takes what `java.math.BigDecimal` takes: a sign, digits with or without a point, an exponent.
pub fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (rest.get(..at)?, exponent(rest.get(at + 1..)?)?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let digits: Vec<u8> =
        whole.bytes().chain(fraction.bytes()).map(|b| b - b'0').skip_while(|d| *d == 0).collect();
    let fraction = i64::try_from(fraction.len()).ok()?;
    let shift = i64::from(scale) - fraction + exponent;
    let magnitude = shifted(&digits, shift)?;
    if magnitude >= 10_i128.checked_pow(u32::from(precision))? {
        return None;
    }
    Some(if negative { -magnitude } else { magnitude })
}

fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // `BigDecimal` keeps its scale in 32 bits.
    text.strip_prefix('+').unwrap_or(text).parse::<i32>().ok().map(i64::from)
}

/// The digits times ten to the power of `shift`, rounded half up; `None` beyond 38 digits.
fn shifted(digits: &[u8], shift: i64) -> Option<i128> {
    if digits.is_empty() {
        return Some(0);
    }
    let length = i64::try_from(digits.len()).ok()?;
    let kept = length.checked_add(shift)?;
    if kept < 0 {
        return Some(0);
    }
    if kept > 39 {
        return None;
    }
    let kept = usize::try_from(kept).ok()?;
    let mut value = 0_i128;
    for at in 0..kept {
        let digit = digits.get(at).copied().unwrap_or(0);
        value = value.checked_mul(10)?.checked_add(i128::from(digit))?;
    }
    if digits.get(kept).is_some_and(|dropped| *dropped >= 5) {
        value = value.checked_add(1)?;
    }
    Some(value)
}

/// An unscaled decimal as plain text with its scale (`1.10`).
pub(crate) fn plain_decimal(value: i128, scale: i8) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    let sign = if value < 0 { "-" } else { "" };
    let digits = value.unsigned_abs().to_string();
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_java_prints_them() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-12.5, "-12.5"),
            (0.001, "0.001"),
            (0.000_99, "9.9E-4"),
            (9_999_999.5, "9999999.5"),
            (10_000_000.0, "1.0E7"),
            (123_456_789.125, "1.23456789125E8"),
            (100.0, "100.0"),
            (5e-324, "4.9E-324"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(java_double(value), text);
        }
        assert_eq!(java_float(1.1), "1.1");
        assert_eq!(java_float(1.0e10), "1.0E10");
    }

    #[test]
    fn decimals_round_half_away_from_zero() {
        for (text, expected) in [
            ("1.005", Some(101)),
            ("-1.005", Some(-101)),
            ("1.0049999", Some(100)),
            ("0.004", Some(0)),
            ("999.994", Some(99_999)),
            ("999.995", None),
            ("1e2", Some(10_000)),
            ("1E+2", Some(10_000)),
            ("12345e-5", Some(12)),
            ("1e2147483647", None),
            ("1e-2147483647", Some(0)),
            ("0e2147483647", Some(0)),
            ("1e2147483648", None),
            (".5", Some(50)),
            ("5.", Some(500)),
            ("", None),
            ("-", None),
            (".", None),
            ("1e", None),
            ("1 ", None),
            ("--1", None),
            ("1e+-2", None),
        ] {
            assert_eq!(decimal(text, 5, 2), expected, "{text}");
        }
        let widest = "9".repeat(38);
        assert_eq!(decimal(&widest, 38, 0), Some(10_i128.pow(38) - 1));
        assert_eq!(decimal(&format!("{widest}.5"), 38, 0), None);
        assert_eq!(decimal(&"9".repeat(1000), 38, 0), None);
        assert_eq!(plain_decimal(-5, 2), "-0.05");
        assert_eq!(plain_decimal(110, 2), "1.10");
    }
}
