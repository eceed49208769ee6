//! Text as codes and codes as text: hexadecimal, Base64, character sets, URLs, phonetic codes,
//! formatted numbers.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use crate::coercion::implicit;
use crate::def::{Call, Def, Param, Params, Sig, own, reuse, wrong_count};
use crate::error::spark_error;
use crate::settings::FunctionSettings;

use Param::{Bin, Int, Str, StrOrBin};

const ONE: Params = Params::Exact(&[Str]);
const TWO: Params = Params::Exact(&[Str, Str]);

fn text(_: &Sig) -> Result<DataType> {
    Ok(DataType::Utf8)
}

fn int(_: &Sig) -> Result<DataType> {
    Ok(DataType::Int32)
}

fn boolean(_: &Sig) -> Result<DataType> {
    Ok(DataType::Boolean)
}

pub(crate) const DEFS: &[Def] = &[
    own("ascii", &[], ONE, int, ascii),
    own("chr", &["char"], Params::Exact(&[Param::Long]), text, chr),
    own("hex", &[], Params::Custom(hex_params), text, hex),
    own("unhex", &[], ONE, |_| Ok(DataType::Binary), unhex),
    own("base64", &[], Params::Exact(&[Bin]), text, base64_text),
    own("unbase64", &[], ONE, |_| Ok(DataType::Binary), unbase64),
    own("encode", &[], TWO, |_| Ok(DataType::Binary), encode),
    own("decode", &[], Params::Exact(&[Bin, Str]), text, decode),
    own("levenshtein", &[], TWO, int, levenshtein),
    own("quote", &[], ONE, text, quote),
    own("is_valid_utf8", &[], ONE, boolean, |c| c.flags(|r| Ok(c.str(0, r)?.map(|_| true)))),
    reuse(
        "format_string",
        &["printf"],
        Params::Custom(format_params),
        datafusion_spark::function::string::format_string,
    ),
    reuse("luhn_check", &[], ONE, datafusion_spark::function::string::luhn_check),
    reuse(
        "parse_url",
        &[],
        Params::Optional(2, &[Str, Str, Str]),
        datafusion_spark::function::url::parse_url,
    ),
    reuse("url_encode", &[], ONE, datafusion_spark::function::url::url_encode),
    reuse("url_decode", &[], ONE, datafusion_spark::function::url::url_decode),
    own("mask", &[], Params::Optional(1, &[Str, Str, Str, Str, Str]), text, mask),
    own("format_number", &[], Params::Custom(format_number_params), text, format_number),
    own("soundex", &[], ONE, text, |c| c.texts(|r| Ok(c.str(0, r)?.map(soundex)))),
];

fn ascii(call: &Call) -> Result<ArrayRef> {
    call.int_values(|row| {
        Ok(call
            .str(0, row)?
            .map(|s| s.chars().next().and_then(|c| i32::try_from(u32::from(c)).ok()).unwrap_or(0)))
    })
}

/// The character of the lowest byte; nothing for a negative number.
fn chr(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| {
        Ok(call.long(0, row)?.map(|n| {
            if n < 0 {
                return String::new();
            }
            char::from(u8::try_from(n & 0xFF).unwrap_or(0)).to_string()
        }))
    })
}

fn hex_params(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [t] if crate::coercion::is_numeric(t) => Ok(vec![DataType::Int64]),
        [t] => Ok(vec![implicit("hex", StrOrBin, t)?]),
        _ => Err(wrong_count("hex", ONE, types.len())),
    }
}

fn hex(call: &Call) -> Result<ArrayRef> {
    if matches!(call.array(0)?.data_type(), DataType::Int64) {
        return call.texts(|row| Ok(call.long(0, row)?.map(|n| format!("{n:X}"))));
    }
    call.texts(|row| Ok(call.raw(0, row)?.map(hex_text)))
}

pub(crate) fn hex_text(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

fn unhex(call: &Call) -> Result<ArrayRef> {
    call.blobs(|row| {
        let Some(text) = call.str(0, row)? else { return Ok(None) };
        let padded = if text.len() % 2 == 1 { format!("0{text}") } else { text.to_owned() };
        let bytes: Option<Vec<u8>> = padded
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        Ok(bytes)
    })
}

fn base64_text(call: &Call) -> Result<ArrayRef> {
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD;
    call.texts(|row| {
        Ok(call.bytes(0, row)?.map(|bytes| {
            let text = engine.encode(bytes);
            // Lines of 76 characters, as MIME wants them.
            let lines: Vec<&str> = text
                .as_bytes()
                .chunks(76)
                .map(|line| std::str::from_utf8(line).unwrap_or_default())
                .collect();
            lines.join("\r\n")
        }))
    })
}

fn unbase64(call: &Call) -> Result<ArrayRef> {
    use base64::Engine;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    call.blobs(|row| {
        let Some(text) = call.str(0, row)? else { return Ok(None) };
        let clean: String =
            text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/')).collect();
        engine.decode(clean).map(Some).map_err(|_| {
            spark_error(
                "CONVERSION_INVALID_INPUT",
                format!("The value '{text}' cannot be converted to \"BINARY\" by `unbase64`."),
            )
        })
    })
}

fn charset(name: &str) -> Result<()> {
    match name.to_ascii_uppercase().as_str() {
        "UTF-8" | "UTF8" | "US-ASCII" => Ok(()),
        other => Err(spark_error(
            "INVALID_PARAMETER_VALUE.CHARSET",
            format!(
                "Invalid value for the parameter `charset`: expects one of the charsets \
                 'us-ascii', 'utf-8', but got {other}. Other charsets are not supported yet."
            ),
        )),
    }
}

fn encode(call: &Call) -> Result<ArrayRef> {
    call.blobs(|row| {
        let (Some(text), Some(name)) = (call.str(0, row)?, call.str(1, row)?) else {
            return Ok(None);
        };
        charset(name)?;
        Ok(Some(text.as_bytes()))
    })
}

fn decode(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| {
        let (Some(bytes), Some(name)) = (call.bytes(0, row)?, call.str(1, row)?) else {
            return Ok(None);
        };
        charset(name)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(spark_error(
                "MALFORMED_CHARACTER_CODING",
                "Invalid value found when performing `decode` with UTF-8",
            )),
        }
    })
}

fn levenshtein(call: &Call) -> Result<ArrayRef> {
    call.int_values(|row| {
        let (Some(a), Some(b)) = (call.str(0, row)?, call.str(1, row)?) else {
            return Ok(None);
        };
        let b: Vec<char> = b.chars().collect();
        let mut costs: Vec<i32> = (0..=i32::try_from(b.len()).unwrap_or(i32::MAX)).collect();
        for (i, x) in a.chars().enumerate() {
            let mut diagonal = i32::try_from(i).unwrap_or(i32::MAX);
            let mut above_left = diagonal + 1;
            for (cost, y) in costs.iter_mut().skip(1).zip(&b) {
                let replaced = diagonal + i32::from(x != *y);
                diagonal = *cost;
                *cost = replaced.min(*cost + 1).min(above_left + 1);
                above_left = *cost;
            }
            if let Some(first) = costs.first_mut() {
                *first = i32::try_from(i + 1).unwrap_or(i32::MAX);
            }
        }
        Ok(costs.last().copied())
    })
}

fn quote(call: &Call) -> Result<ArrayRef> {
    call.texts(|row| Ok(call.str(0, row)?.map(|s| format!("'{}'", s.replace('\'', "\\'")))))
}

fn format_params(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [format, rest @ ..] => {
            let format = implicit("format_string", Str, format)?;
            Ok(std::iter::once(format).chain(rest.iter().cloned()).collect())
        }
        [] => Err(wrong_count("format_string", Params::Variadic(1, Param::Any), 0)),
    }
}

/// Upper-case letters, lower-case letters, digits, others; a NULL replacement keeps them.
fn mask(call: &Call) -> Result<ArrayRef> {
    const DEFAULTS: [Option<char>; 4] = [Some('X'), Some('x'), Some('n'), None];
    call.texts(|row| {
        let Some(text) = call.str(0, row)? else { return Ok(None) };
        let mut with = DEFAULTS;
        for (index, slot) in with.iter_mut().enumerate() {
            if call.has(index + 1) {
                *slot = call.str(index + 1, row)?.and_then(|s| s.chars().next());
            }
        }
        let [upper, lower, digit, other] = with;
        let masked = text
            .chars()
            .map(|c| {
                let slot = if c.is_uppercase() {
                    upper
                } else if c.is_lowercase() {
                    lower
                } else if c.is_ascii_digit() {
                    digit
                } else {
                    other
                };
                slot.unwrap_or(c)
            })
            .collect::<String>();
        Ok(Some(masked))
    })
}

fn format_number_params(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    match types {
        [value, places] => {
            let value = match value {
                DataType::Decimal128(..) | DataType::Int64 => value.clone(),
                t if crate::coercion::is_integral(t) => DataType::Int64,
                other => implicit("format_number", Param::Double, other)?,
            };
            Ok(vec![value, implicit("format_number", Int, places)?])
        }
        _ => Err(wrong_count("format_number", Params::Exact(&[Param::Double, Int]), types.len())),
    }
}

/// Thousands in groups, with a fixed number of places, halves to the even digit.
fn format_number(call: &Call) -> Result<ArrayRef> {
    let values = crate::cast::numbers(call.array(0)?)?;
    call.texts(|row| {
        let (Some(value), Some(places)) = (values.get(row).copied().flatten(), call.int(1, row)?)
        else {
            return Ok(None);
        };
        let Ok(places) = usize::try_from(places) else { return Ok(None) };
        let text = match value {
            crate::cast::Number::Whole(v) => format!("{v}.{}", "0".repeat(places)),
            other => format!("{:.places$}", other.to_f64()),
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let (sign, digits) = match whole.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", whole),
        };
        let mut grouped = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        let point = if places == 0 { "" } else { "." };
        Ok(Some(format!("{sign}{grouped}{point}{fraction}")))
    })
}

fn soundex(text: &str) -> String {
    let code = |c: char| match c.to_ascii_uppercase() {
        'B' | 'F' | 'P' | 'V' => Some('1'),
        'C' | 'G' | 'J' | 'K' | 'Q' | 'S' | 'X' | 'Z' => Some('2'),
        'D' | 'T' => Some('3'),
        'L' => Some('4'),
        'M' | 'N' => Some('5'),
        'R' => Some('6'),
        _ => None,
    };
    let Some(first) = text.chars().next().filter(char::is_ascii_alphabetic) else {
        return text.to_owned();
    };
    let mut out = String::from(first.to_ascii_uppercase());
    let mut last = code(first);
    for c in text.chars().skip(1) {
        if !c.is_ascii_alphabetic() {
            continue;
        }
        let digit = code(c);
        if let Some(digit) = digit
            && last != Some(digit)
        {
            out.push(digit);
            if out.len() == 4 {
                break;
            }
        }
        if !matches!(c.to_ascii_uppercase(), 'H' | 'W') {
            last = digit;
        }
    }
    format!("{out:0<4}")
}
