//! `get_json_object`: the value at a path, as text.
//!
//! Paths are Spark's: `$`, `.name`, `['name']`, `[3]`, `[*]`, `.*`. A star over an array gives an
//! array of the matches, or the match itself if there is only one, as Hive does.

use crate::convert::print;
use crate::options::Syntax;
use crate::pull::{Malformed, Pull, Token};
use crate::text::{Escapes, push_quoted};
use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType as ArrowType;
use millstream_core::{Error, Result};

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// Into the members of an object.
    Key,
    /// Into the elements of an array.
    Subscript,
    /// Any member or element.
    Any,
    Index(u64),
    Name(String),
}

impl JsonPath {
    /// The path of a text, or `None` if it is not a path; Spark's function is null then.
    ///
    /// White space may stand before names, numbers and quotes, and nowhere else.
    pub fn parse(text: &str) -> Option<JsonPath> {
        let mut rest = text.strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.trim_start().is_empty() {
            let spaced = rest.trim_start();
            if let Some(after) = spaced.strip_prefix(".*").or(spaced.strip_prefix("['*']")) {
                steps.push(Step::Any);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('.') {
                let (name, after) = until(after.trim_start(), &['.', '['])?;
                steps.extend([Step::Key, Step::Name(name.into())]);
                rest = after;
            } else if let Some(after) = spaced.strip_prefix("['") {
                let (name, after) = until(after.trim_start(), &['\'', '?'])?;
                steps.extend([Step::Key, Step::Name(name.into())]);
                rest = after.trim_start().strip_prefix("']")?;
            } else {
                let after = rest.strip_prefix('[')?;
                let (step, after) = match after.strip_prefix('*') {
                    Some(after) => (Step::Any, after),
                    None => {
                        let after = after.trim_start();
                        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
                        let (number, after) = after.split_at_checked(digits)?;
                        (Step::Index(number.parse().ok()?), after)
                    }
                };
                steps.extend([Step::Subscript, step]);
                rest = after.strip_prefix(']')?;
            }
        }
        Some(JsonPath(steps))
    }

    /// The text of the value at this path, or `None` if there is none, if it is null, or if what
    /// was read of `json` is malformed.
    pub fn get(&self, json: &str) -> Option<String> {
        let syntax =
            Syntax { control_characters: true, non_numeric_numbers: false, ..Syntax::default() };
        let mut pull = Pull::new(json, &syntax);
        let mut out = Output::new(Escapes::Supplementary);
        let found =
            pull.next_token().and_then(|_| evaluate(&mut pull, &mut out, Style::Raw, &self.0));
        matches!(found, Ok(true)).then_some(out.text)
    }
}

/// `get_json_object` over a column of texts; a path that is not one gives nulls.
///
/// # Errors
/// `INTERNAL` for a column that holds no texts.
pub fn get_json_object(json: &ArrayRef, path: &str) -> Result<StringArray> {
    let json = texts(json)?;
    let path = JsonPath::parse(path);
    let mut out = StringBuilder::new();
    for row in json.as_string::<i32>() {
        out.append_option(path.as_ref().zip(row).and_then(|(path, row)| path.get(row)));
    }
    Ok(out.finish())
}

fn texts(array: &ArrayRef) -> Result<ArrayRef> {
    if array.data_type() == &ArrowType::Utf8 {
        return Ok(array.clone());
    }
    cast(array, &ArrowType::Utf8)
        .map_err(|e| Error::internal("A JSON function was given no texts.").caused_by(e))
}

/// The text before the first of `ends`, which must not be empty.
fn until<'a>(text: &'a str, ends: &[char]) -> Option<(&'a str, &'a str)> {
    let at = text.find(ends).unwrap_or(text.len());
    (at > 0).then(|| text.split_at(at))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Style {
    /// Strings as they are.
    Raw,
    /// Strings in quotes.
    Quoted,
    /// As quoted, and arrays are joined into the one around them.
    Flatten,
}

/// JSON being written: values in arrays are separated by commas.
struct Output {
    text: String,
    /// For each open array, whether it has an element.
    arrays: Vec<bool>,
    escapes: Escapes,
}

impl Output {
    fn new(escapes: Escapes) -> Self {
        Output { text: String::new(), arrays: Vec::new(), escapes }
    }

    fn value(&mut self, text: &str) {
        if let Some(begun) = self.arrays.last_mut() {
            if *begun {
                self.text.push(',');
            }
            *begun = true;
        }
        self.text.push_str(text);
    }

    fn open(&mut self) {
        self.value("[");
        self.arrays.push(false);
    }

    fn close(&mut self) {
        self.arrays.pop();
        self.text.push(']');
    }
}

type Found = std::result::Result<bool, Malformed>;

/// Writes what the steps lead to from the current token; whether anything was written.
fn evaluate(pull: &mut Pull<'_>, out: &mut Output, style: Style, steps: &[Step]) -> Found {
    match (pull.current(), steps) {
        (None, _) => Ok(false),
        (Some(Token::Text), []) if style == Style::Raw => {
            let text = pull.text()?.to_owned();
            out.text.push_str(&text);
            Ok(true)
        }
        (Some(Token::StartArray), []) if style == Style::Flatten => {
            elements(pull, |pull| evaluate(pull, out, style, steps))
        }
        (Some(Token::Name), []) => Err(pull.malformed("a member is not a value")),
        (_, []) => {
            let mut text = String::new();
            print(pull, out.escapes, &mut text)?;
            out.value(&text);
            Ok(true)
        }
        (Some(Token::StartObject), [Step::Key, rest @ ..]) => {
            let mut found = false;
            while next(pull)? != Token::EndObject {
                if found {
                    pull.skip_children()?;
                } else {
                    found = evaluate(pull, out, style, rest)?;
                }
            }
            Ok(found)
        }
        (
            Some(Token::StartArray),
            [Step::Subscript, Step::Any, Step::Subscript, Step::Any, rest @ ..],
        ) => {
            out.open();
            let found = elements(pull, |pull| evaluate(pull, out, Style::Flatten, rest))?;
            out.close();
            Ok(found)
        }
        (Some(Token::StartArray), [Step::Subscript, Step::Any, rest @ ..]) => {
            any_element(pull, out, style, rest)
        }
        (Some(Token::StartArray), [Step::Subscript, Step::Index(index), rest @ ..]) => {
            let many = matches!(rest, [Step::Subscript, Step::Any, ..]);
            let style = if many { Style::Quoted } else { style };
            element(pull, *index, |pull| evaluate(pull, out, style, rest))
        }
        (Some(Token::Name), [Step::Name(name), rest @ ..])
            if pull.current_name() == Some(name.as_str()) =>
        {
            if next(pull)? == Token::Null {
                return Ok(false);
            }
            evaluate(pull, out, style, rest)
        }
        (Some(Token::Name), [Step::Any, rest @ ..]) => {
            next(pull)?;
            evaluate(pull, out, style, rest)
        }
        _ => {
            pull.skip_children()?;
            Ok(false)
        }
    }
}

fn any_element(pull: &mut Pull<'_>, out: &mut Output, style: Style, rest: &[Step]) -> Found {
    if style == Style::Quoted {
        out.open();
        let found = elements(pull, |pull| evaluate(pull, out, Style::Quoted, rest))?;
        out.close();
        return Ok(found);
    }
    let inner = if style == Style::Raw { Style::Quoted } else { style };
    // Spark collects the matches with its other writer.
    let mut matches = Output::new(Escapes::None);
    matches.open();
    let mut count = 0;
    while next(pull)? != Token::EndArray {
        count += u32::from(evaluate(pull, &mut matches, inner, rest)?);
    }
    matches.close();
    match count {
        0 => {}
        1 => {
            let only = matches.text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
            out.value(only.unwrap_or_default());
        }
        _ => out.value(&matches.text),
    }
    Ok(count > 0)
}

fn elements(pull: &mut Pull<'_>, mut each: impl FnMut(&mut Pull<'_>) -> Found) -> Found {
    let mut found = false;
    while next(pull)? != Token::EndArray {
        found |= each(pull)?;
    }
    Ok(found)
}

fn element(pull: &mut Pull<'_>, index: u64, wanted: impl FnOnce(&mut Pull<'_>) -> Found) -> Found {
    let mut token = next(pull)?;
    for _ in 0..index {
        if token == Token::EndArray {
            break;
        }
        pull.skip_children()?;
        token = next(pull)?;
    }
    if token == Token::EndArray {
        return Ok(false);
    }
    let found = wanted(pull)?;
    while next(pull)? != Token::EndArray {
        pull.skip_children()?;
    }
    Ok(found)
}

fn next(pull: &mut Pull<'_>) -> std::result::Result<Token, Malformed> {
    match pull.next_token()? {
        Some(token) => Ok(token),
        None => Err(pull.malformed("unexpected end of input")),
    }
}

/// The names of the members of an object in their order, or `None` if the text is no object.
pub fn json_object_keys(json: &str) -> Option<Vec<String>> {
    let syntax = Syntax { control_characters: true, ..Syntax::default() };
    let mut pull = Pull::new(json, &syntax);
    if pull.next_token().ok()? != Some(Token::StartObject) {
        return None;
    }
    let mut keys = Vec::new();
    while next(&mut pull).ok()? != Token::EndObject {
        keys.push(pull.current_name()?.to_owned());
        next(&mut pull).ok()?;
        pull.skip_children().ok()?;
    }
    Some(keys)
}

/// The number of elements of an array, or `None` if the text is no array.
pub fn json_array_length(json: &str) -> Option<i32> {
    let syntax = Syntax { control_characters: true, ..Syntax::default() };
    let mut pull = Pull::new(json, &syntax);
    if pull.next_token().ok()? != Some(Token::StartArray) {
        return None;
    }
    let mut length = 0_i32;
    while next(&mut pull).ok()? != Token::EndArray {
        pull.skip_children().ok()?;
        length = length.checked_add(1)?;
    }
    Some(length)
}

/// `json_tuple`: the texts of these members of an object; of equal names the first counts.
pub fn json_tuple(json: &str, names: &[&str]) -> Vec<Option<String>> {
    tuple(json, names).unwrap_or_else(|| vec![None; names.len()])
}

fn tuple(json: &str, names: &[&str]) -> Option<Vec<Option<String>>> {
    let syntax = Syntax { control_characters: true, ..Syntax::default() };
    let mut pull = Pull::new(json, &syntax);
    if pull.next_token().ok()? != Some(Token::StartObject) {
        return None;
    }
    let mut values = vec![None; names.len()];
    while next(&mut pull).ok()? != Token::EndObject {
        let name = pull.current_name()?.to_owned();
        let token = next(&mut pull).ok()?;
        if token == Token::Null || !names.contains(&name.as_str()) {
            pull.skip_children().ok()?;
            continue;
        }
        let mut text = String::new();
        if token == Token::Text {
            text.push_str(pull.text().ok()?);
        } else {
            print(&mut pull, Escapes::Supplementary, &mut text).ok()?;
        }
        for (value, _) in values.iter_mut().zip(names).filter(|(_, wanted)| **wanted == name) {
            *value = Some(text.clone());
        }
    }
    Some(values)
}

/// A text as a JSON string, for callers that build documents by hand.
pub fn quoted(text: &str) -> String {
    let mut out = String::new();
    push_quoted(text, Escapes::None, &mut out);
    out
}
