//! Functions of regular expressions. Java's syntax is translated where Rust's engine has the same
//! construct under another spelling; look-around and back-references are refused by name.

use std::collections::HashMap;

use arrow::array::{ArrayRef, ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use regex::Regex;

use crate::coercion::list_of;
use crate::def::{Call, Def, Param, Params, Sig, own};
use crate::error::spark_error;

use Param::{Int, Str};

/// Largest compiled pattern.
const PATTERN_BYTES_MAX: usize = 4 * 1024 * 1024;

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

fn texts(_: &Sig) -> Result<DataType> {
    Ok(list_of(DataType::Utf8))
}

pub(crate) const DEFS: &[Def] = &[
    own("like", &[], Params::Optional(2, &[Str, Str, Str]), boolean, |c| like(c, false)),
    own("ilike", &[], Params::Optional(2, &[Str, Str, Str]), boolean, |c| like(c, true)),
    own("rlike", &["regexp", "regexp_like"], TWO, boolean, rlike),
    own("regexp_extract", &[], Params::Optional(2, &[Str, Str, Int]), text, extract),
    own("regexp_extract_all", &[], Params::Optional(2, &[Str, Str, Int]), texts, extract_all),
    own("regexp_replace", &[], Params::Optional(3, &[Str, Str, Str, Int]), text, replace),
    own("regexp_count", &[], TWO, int, count),
    own("regexp_substr", &[], TWO, text, substr),
    own("regexp_instr", &[], Params::Optional(2, &[Str, Str, Int]), int, instr),
    own("split", &[], Params::Optional(2, &[Str, Str, Int]), texts, split),
];

/// Compiled patterns of one batch; usually there is one.
struct Patterns {
    function: &'static str,
    compiled: HashMap<String, Regex>,
}

impl Patterns {
    fn new(function: &'static str) -> Self {
        Patterns { function, compiled: HashMap::new() }
    }

    fn get(&mut self, pattern: &str) -> Result<&Regex> {
        if !self.compiled.contains_key(pattern) {
            let regex = compile(self.function, pattern)?;
            self.compiled.insert(pattern.to_owned(), regex);
        }
        self.compiled.get(pattern).ok_or_else(|| {
            datafusion::common::DataFusionError::Internal("a pattern got lost".to_owned())
        })
    }
}

fn compile(function: &str, pattern: &str) -> Result<Regex> {
    regex::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| {
        let unsupported = ["(?=", "(?!", "(?<=", "(?<!", "(?>", "*+", "++", "?+"]
            .iter()
            .any(|p| pattern.contains(p));
        let why = if unsupported {
            "look-around, atomic groups and possessive quantifiers are not supported"
        } else {
            "it is not a regular expression, or uses a construct that is not supported"
        };
        spark_error(
            "INVALID_PARAMETER_VALUE.PATTERN",
            format!(
                "The value of parameter(s) `regexp` in `{function}` is invalid: '{pattern}'; {why}."
            ),
        )
        .context(error.to_string().lines().last().unwrap_or_default().to_owned())
    })
}

/// A LIKE pattern as a regular expression.
fn like_regex(pattern: &str, escape: char, fold_case: bool) -> Result<String> {
    let mut out = String::from(if fold_case { "(?si)^" } else { "(?s)^" });
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c == escape {
            match chars.next() {
                Some(next) if matches!(next, '_' | '%') || next == escape => {
                    out.push_str(&regex::escape(&next.to_string()));
                }
                Some(next) => {
                    return Err(spark_error(
                        "INVALID_FORMAT.ESC_IN_THE_MIDDLE",
                        format!(
                            "The format is invalid: '{pattern}'. The escape character is not \
                             allowed to precede '{next}'."
                        ),
                    ));
                }
                None => {
                    return Err(spark_error(
                        "INVALID_FORMAT.ESC_AT_THE_END",
                        format!(
                            "The format is invalid: '{pattern}'. The escape character is not \
                             allowed to end with."
                        ),
                    ));
                }
            }
            continue;
        }
        match c {
            '_' => out.push('.'),
            '%' => out.push_str(".*"),
            other => out.push_str(&regex::escape(&other.to_string())),
        }
    }
    out.push('$');
    Ok(out)
}

fn like(call: &Call, fold_case: bool) -> Result<ArrayRef> {
    let mut compiled: HashMap<(String, char), Regex> = HashMap::new();
    call.flags(|r| {
        let (Some(value), Some(pattern)) = (call.str(0, r)?, call.str(1, r)?) else {
            return Ok(None);
        };
        let escape = call.str(2, r)?.and_then(|e| e.chars().next()).unwrap_or('\\');
        let key = (pattern.to_owned(), escape);
        if let Some(regex) = compiled.get(&key) {
            return Ok(Some(regex.is_match(value)));
        }
        let regex = compile("like", &like_regex(pattern, escape, fold_case)?)?;
        let matches = regex.is_match(value);
        compiled.insert(key, regex);
        Ok(Some(matches))
    })
}

fn rlike(call: &Call) -> Result<ArrayRef> {
    let mut patterns = Patterns::new("rlike");
    call.flags(|r| {
        let (Some(value), Some(pattern)) = (call.str(0, r)?, call.str(1, r)?) else {
            return Ok(None);
        };
        Ok(Some(patterns.get(pattern)?.is_match(value)))
    })
}

/// The group number of a row, checked.
fn group(call: &Call, row: usize, regex: &Regex, function: &str) -> Result<Option<usize>> {
    let index = if call.has(2) { call.int(2, row)? } else { Some(1) };
    let Some(index) = index else { return Ok(None) };
    let groups = regex.captures_len() - 1;
    match usize::try_from(index) {
        Ok(index) if index <= groups => Ok(Some(index)),
        _ => Err(spark_error(
            "INVALID_PARAMETER_VALUE.REGEX_GROUP_INDEX",
            format!(
                "The value of parameter(s) `idx` in `{function}` is invalid: Expects group index \
                 between 0 and {groups}, but got {index}."
            ),
        )),
    }
}

fn extract(call: &Call) -> Result<ArrayRef> {
    let mut patterns = Patterns::new("regexp_extract");
    call.texts(|r| {
        let (Some(value), Some(pattern)) = (call.str(0, r)?, call.str(1, r)?) else {
            return Ok(None);
        };
        let regex = patterns.get(pattern)?;
        let Some(captures) = regex.captures(value) else { return Ok(Some("")) };
        let Some(index) = group(call, r, regex, "regexp_extract")? else { return Ok(None) };
        Ok(Some(captures.get(index).map_or("", |m| m.as_str())))
    })
}

fn list_builder() -> ListBuilder<StringBuilder> {
    ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, true))
}

fn extract_all(call: &Call) -> Result<ArrayRef> {
    let mut patterns = Patterns::new("regexp_extract_all");
    let mut builder = list_builder();
    for r in 0..call.rows {
        let (Some(value), Some(pattern)) = (call.str(0, r)?, call.str(1, r)?) else {
            builder.append_null();
            continue;
        };
        let regex = patterns.get(pattern)?;
        let Some(index) = group(call, r, regex, "regexp_extract_all")? else {
            builder.append_null();
            continue;
        };
        for captures in regex.captures_iter(value) {
            builder.values().append_value(captures.get(index).map_or("", |m| m.as_str()));
        }
        builder.append(true);
    }
    Ok(std::sync::Arc::new(builder.finish()))
}

/// Java writes `$1` and `\$`; Rust would read `$1x` as a group named `1x`.
fn replacement(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('$') => out.push_str("$$"),
                Some(other) => out.push(other),
                None => {}
            },
            '$' => {
                out.push_str("${");
                while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                    out.push(digit);
                }
                out.push('}');
            }
            other => out.push(other),
        }
    }
    out
}

fn replace(call: &Call) -> Result<ArrayRef> {
    let mut patterns = Patterns::new("regexp_replace");
    call.texts(|r| {
        let (Some(value), Some(pattern), Some(with)) =
            (call.str(0, r)?, call.str(1, r)?, call.str(2, r)?)
        else {
            return Ok(None);
        };
        let from = if call.has(3) { call.int(3, r)? } else { Some(1) };
        let Some(from) = from else { return Ok(None) };
        let skipped = match usize::try_from(from) {
            Ok(from) if from >= 1 => from - 1,
            _ => {
                return Err(spark_error(
                    "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE",
                    "The `position` must be between (0, 2147483647].",
                ));
            }
        };
        let at = value.char_indices().nth(skipped).map_or(value.len(), |(i, _)| i);
        let (head, tail) = value.split_at(at);
        let changed = patterns.get(pattern)?.replace_all(tail, replacement(with).as_str());
        Ok(Some(format!("{head}{changed}")))
    })
}

fn count(call: &Call) -> Result<ArrayRef> {
    let mut patterns = Patterns::new("regexp_count");
    call.int_values(|r| {
        let (Some(value), Some(pattern)) = (call.str(0, r)?, call.str(1, r)?) else {
            return Ok(None);
        };
        Ok(i32::try_from(patterns.get(pattern)?.find_iter(value).count()).ok())
    })
}

fn substr(call: &Call) -> Result<ArrayRef> {
    let mut patterns = Patterns::new("regexp_substr");
    call.texts(|r| {
        let (Some(value), Some(pattern)) = (call.str(0, r)?, call.str(1, r)?) else {
            return Ok(None);
        };
        Ok(patterns.get(pattern)?.find(value).map(|m| m.as_str()).filter(|m| !m.is_empty()))
    })
}

fn instr(call: &Call) -> Result<ArrayRef> {
    let mut patterns = Patterns::new("regexp_instr");
    call.int_values(|r| {
        let (Some(value), Some(pattern)) = (call.str(0, r)?, call.str(1, r)?) else {
            return Ok(None);
        };
        let found = patterns.get(pattern)?.find(value);
        let at = found.and_then(|m| value.get(..m.start())).map_or(0, |s| s.chars().count() + 1);
        Ok(i32::try_from(at).ok())
    })
}

/// Java's `split`: no empty first piece from an empty match; with limit 0 or less all pieces stay.
fn split(call: &Call) -> Result<ArrayRef> {
    let mut patterns = Patterns::new("split");
    let mut builder = list_builder();
    for r in 0..call.rows {
        let (Some(value), Some(pattern)) = (call.str(0, r)?, call.str(1, r)?) else {
            builder.append_null();
            continue;
        };
        let limit = if call.has(2) { call.int(2, r)? } else { Some(-1) };
        let Some(limit) = limit else {
            builder.append_null();
            continue;
        };
        let most = usize::try_from(limit).ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
        let mut pieces = 1;
        let mut start = 0;
        for found in patterns.get(pattern)?.find_iter(value) {
            if pieces >= most {
                break;
            }
            if found.is_empty() && (found.start() == 0 || found.start() == value.len()) {
                continue;
            }
            builder.values().append_value(value.get(start..found.start()).unwrap_or_default());
            start = found.end();
            pieces += 1;
        }
        builder.values().append_value(value.get(start..).unwrap_or_default());
        builder.append(true);
    }
    Ok(std::sync::Arc::new(builder.finish()))
}
