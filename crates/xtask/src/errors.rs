//! Error codes, found where they are made, for the page that documents them.

use crate::rust_source::without_test_modules;
use crate::workspace::File;
use millstream_core::ErrorKind;
use regex::Regex;
use std::collections::BTreeMap;

/// What the sources say about one code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Name of its kind, as in [`ErrorKind::name`]; empty where the place does not say it.
    pub kind: String,
    /// The sentence of cause, with `{..}` for what varies.
    pub message: String,
    /// The sentence of cure, if there is one.
    pub cure: String,
}

/// Entries by code.
pub type Codes = BTreeMap<String, Entry>;

/// How far after a code its sentences may stand, in bytes.
const REACH: usize = 900;

struct Patterns {
    made: Regex,
    message: Regex,
    cure: Regex,
    /// `let message = ".."` before the code.
    message_before: Regex,
}

impl Patterns {
    fn new() -> Result<Self, String> {
        let regex = |text: &str| Regex::new(text).map_err(|e| e.to_string());
        Ok(Patterns {
            made: regex(
                r#"(?:Error|Self|Diagnostic)::(invalid|corrupt|unavailable|new)\(\s*(?:(?:\w+::)*ErrorKind::(\w+),\s*)?"([A-Z][A-Z0-9_.]+)""#,
            )?,
            message: regex(r#"^,\s*(?:format!\(\s*)?"((?:[^"\\]|\\(?s:.))*)""#)?,
            message_before: regex(r#"let message =\s*(?:format!\(\s*)?"((?:[^"\\]|\\(?s:.))*)""#)?,
            cure: regex(r#"\.cure\(\s*(?:format!\(\s*)?"((?:[^"\\]|\\(?s:.))*)""#)?,
        })
    }
}

/// Every error code that the product makes.
///
/// # Errors
/// A sentence where a pattern cannot be read.
pub fn codes(sources: &[File]) -> Result<Codes, String> {
    let patterns = Patterns::new()?;
    let mut found = Codes::new();
    for file in sources {
        let text = without_test_modules(&file.text);
        for place in patterns.made.captures_iter(&text) {
            let Some(code) = place.get(3) else { continue };
            let constructor = place.get(1).map_or("", |m| m.as_str());
            let kind = place.get(2).map_or(constructor, |m| m.as_str());
            let after = text.get(code.end() + 1..).unwrap_or_default();
            let entry = found.entry(code.as_str().to_owned()).or_default();
            fill(entry, kind, statement(after), &patterns);
            if entry.message.is_empty() {
                let before = statement_before(&text[..code.start()]);
                let last = patterns.message_before.captures_iter(before).last();
                entry.message = last.map(|c| plain(&c[1])).unwrap_or_default();
            }
        }
    }
    Ok(found)
}

/// `text` up to the end of the statement, or to the next error that is made.
fn statement(text: &str) -> &str {
    let mut end = text.len().min(REACH);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    let stops = ["Error::", "Diagnostic::", "\n}", "=> "];
    let end = stops.iter().filter_map(|s| text.find(s)).min().unwrap_or(text.len());
    &text[..end]
}

/// The end of `text`, from the statement before on that may hold the message.
fn statement_before(text: &str) -> &str {
    let mut start = text.len().saturating_sub(REACH);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

fn fill(entry: &mut Entry, kind: &str, text: &str, patterns: &Patterns) {
    let sentence = |regex: &Regex| regex.captures(text).map(|c| plain(&c[1])).unwrap_or_default();
    if entry.kind.is_empty() {
        entry.kind = kind_name(kind);
    }
    if entry.message.is_empty() {
        entry.message = sentence(&patterns.message);
    }
    if entry.cure.is_empty() {
        entry.cure = sentence(&patterns.cure);
    }
}

fn kind_name(word: &str) -> String {
    match word {
        "DataLoss" => "data-loss".to_owned(),
        // A mistake in a pipeline file.
        "new" => "invalid".to_owned(),
        other => other.to_ascii_lowercase(),
    }
}

/// A string literal as it reads: continued lines joined, escapes resolved.
fn plain(literal: &str) -> String {
    let mut out = String::new();
    let mut chars = literal.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
            Some('n') => out.push(' '),
            Some(other) => out.push(other),
            None => (),
        }
    }
    out.replace("{{", "{").replace("}}", "}")
}

/// The codes that `page` has no row for.
pub fn undocumented(codes: &Codes, page: &str) -> Vec<String> {
    codes.keys().filter(|code| !page.contains(&format!("`{code}`"))).cloned().collect()
}

/// The table of all codes.
pub fn table(codes: &Codes) -> String {
    let mut out = String::from("| code | kind | exit | what it says | what to do |\n");
    out.push_str("|---|---|---|---|---|\n");
    for (code, entry) in codes {
        let (message, cure) = (cell(&entry.message), cell(&entry.cure));
        let exit = exit_status(&entry.kind);
        out.push_str(&format!("| `{code}` | {} | {exit} | {message} | {cure} |\n", entry.kind));
    }
    out
}

/// Text for a table cell: what varies becomes an ellipsis.
fn cell(text: &str) -> String {
    let mut out = String::new();
    let mut depth = 0u32;
    for c in text.chars() {
        match c {
            '{' => {
                if depth == 0 {
                    out.push('…');
                }
                depth += 1;
            }
            '}' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => out.push_str("\\|"),
            '<' if depth == 0 => out.push_str("&lt;"),
            _ if depth == 0 => out.push(c),
            _ => (),
        }
    }
    out
}

fn exit_status(kind: &str) -> String {
    let kinds = [
        ErrorKind::Invalid,
        ErrorKind::DataLoss,
        ErrorKind::Corrupt,
        ErrorKind::Conflict,
        ErrorKind::Fenced,
        ErrorKind::Unavailable,
        ErrorKind::Exhausted,
        ErrorKind::Internal,
    ];
    let found = kinds.into_iter().find(|k| k.name() == kind);
    found.map(|k| k.exit_status().to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_kind_and_sentences_are_found() {
        let text = r#"
            Error::new(ErrorKind::DataLoss, "GONE", format!("Offsets {a} of \
                 `{b}` are gone."))
            .cure("Decide.");
            let message = format!("No {x}.");
            Error::invalid("WRONG", message)
        "#;
        let found = codes(&[File { path: "a.rs".into(), text: text.into() }]).unwrap();
        let gone = &found["GONE"];
        assert_eq!(gone.kind, "data-loss");
        assert_eq!(gone.message, "Offsets {a} of `{b}` are gone.");
        assert_eq!(gone.cure, "Decide.");
        assert_eq!(found["WRONG"].message, "No {x}.");
        assert_eq!(found["WRONG"].kind, "invalid");
        let table = table(&found);
        assert!(
            table.contains("| `GONE` | data-loss | 3 | Offsets … of `…` are gone. | Decide. |")
        );
    }
}
