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
    /// Sentences of cause, with `{..}` for what varies: one for each place that differs.
    pub messages: Vec<String>,
    /// Sentences of cure, in the same way; none where there is none.
    pub cures: Vec<String>,
}

/// Sentences of one code that the page shows; a code of a parser has dozens.
const SENTENCES_MAX: usize = 3;

/// Entries by code.
pub type Codes = BTreeMap<String, Entry>;

/// How far after a code its sentences may stand, in bytes.
const REACH: usize = 900;

struct Patterns {
    made: Regex,
    message: Regex,
    cure: Regex,
    /// A refusal of the protocol: kind, code; message and cure are the next two literals.
    refused: Regex,
    literal: Regex,
    /// An error of a function under Spark's class.
    spark: Regex,
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
            refused: regex(r#"refuse\(\s*(?:\w+::)*ErrorKind::(\w+),\s*"([A-Z][A-Z0-9_.]+)""#)?,
            literal: regex(r#""((?:[^"\\]|\\(?s:.))*)""#)?,
            spark: regex(r#"spark_error\(\s*"([A-Z][A-Z0-9_.]+)""#)?,
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
            let after = statement(after);
            let message = patterns.message.captures(after).map(|c| plain(&c[1])).or_else(|| {
                let named = after.trim_start_matches([',', ' ', '\n']).starts_with("message");
                let before = if named { statement_before(&text[..code.start()]) } else { "" };
                patterns.message_before.captures_iter(before).last().map(|c| plain(&c[1]))
            });
            let cure = patterns.cure.captures(after).map(|c| plain(&c[1]));
            found.entry(code.as_str().to_owned()).or_default().add(kind, message, cure);
        }
        for place in patterns.refused.captures_iter(&text) {
            let (Some(kind), Some(code)) = (place.get(1), place.get(2)) else { continue };
            let after = text.get(code.end() + 1..).unwrap_or_default();
            let mut literals = patterns.literal.captures_iter(statement(after));
            let mut next = || literals.next().map(|c| plain(&c[1]));
            let (message, cure) = (next(), next());
            found.entry(code.as_str().to_owned()).or_default().add(kind.as_str(), message, cure);
        }
        for place in patterns.spark.captures_iter(&text) {
            let Some(code) = place.get(1) else { continue };
            let after = text.get(code.end() + 1..).unwrap_or_default();
            let message = patterns.message.captures(statement(after)).map(|c| plain(&c[1]));
            found.entry(code.as_str().to_owned()).or_default().add("invalid", message, None);
        }
    }
    Ok(found)
}

impl Entry {
    /// Adds what one place says.
    fn add(&mut self, kind: &str, message: Option<String>, cure: Option<String>) {
        if self.kind.is_empty() {
            self.kind = kind_name(kind);
        }
        for (list, new) in [(&mut self.messages, message), (&mut self.cures, cure)] {
            if let Some(new) = new.filter(|new| !new.is_empty() && !list.contains(new)) {
                list.push(new);
            }
        }
    }
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
        let (message, cure) = (sentences(&entry.messages), sentences(&entry.cures));
        let exit = exit_status(&entry.kind);
        out.push_str(&format!("| `{code}` | {} | {exit} | {message} | {cure} |\n", entry.kind));
    }
    out
}

/// The sentences of one cell, as many as a reader can use.
fn sentences(all: &[String]) -> String {
    let mut shown: Vec<String> = all.iter().take(SENTENCES_MAX).map(|s| cell(s)).collect();
    if all.len() > SENTENCES_MAX {
        shown.push("and others".to_owned());
    }
    shown.join(" · ")
}

/// Text for a table cell: what varies becomes an ellipsis.
fn cell(text: &str) -> String {
    let mut out = String::new();
    let mut depth = 0u32;
    // Between backticks a page shows what is written.
    let mut code = false;
    for c in text.chars() {
        code ^= c == '`' && depth == 0;
        match c {
            '{' => {
                if depth == 0 {
                    out.push('…');
                }
                depth += 1;
            }
            '}' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => out.push_str("\\|"),
            '<' if depth == 0 && !code => out.push_str("&lt;"),
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
            refuse(ErrorKind::Corrupt, "HOLE", format!("Holes: {}.", list), "Restore it.")
            spark_error("DIVIDE_BY_ZERO", "Division by zero.")
            Error::invalid("WRONG", "Not this.")
        "#;
        let found = codes(&[File { path: "a.rs".into(), text: text.into() }]).unwrap();
        let gone = &found["GONE"];
        assert_eq!(gone.kind, "data-loss");
        assert_eq!(gone.messages, ["Offsets {a} of `{b}` are gone."]);
        assert_eq!(gone.cures, ["Decide."]);
        assert_eq!(found["WRONG"].messages, ["No {x}.", "Not this."]);
        assert_eq!(found["WRONG"].kind, "invalid");
        assert_eq!(found["HOLE"].kind, "corrupt");
        assert_eq!(found["HOLE"].messages, ["Holes: {}."]);
        assert_eq!(found["HOLE"].cures, ["Restore it."]);
        assert_eq!(found["DIVIDE_BY_ZERO"].messages, ["Division by zero."]);
        let table = table(&found);
        assert!(table.contains("| No …. · Not this. |"), "{table}");
        assert!(
            table.contains("| `GONE` | data-loss | 3 | Offsets … of `…` are gone. | Decide. |")
        );
    }
}
