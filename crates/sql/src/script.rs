//! A pipeline file: cut into statements, variables put in, each statement parsed; all mistakes are
//! collected, not only the first.

use crate::ast::{Expr, Ident, Query, SelectItem, Statement, StatementKind};
use crate::cursor::{Cursor, Parse};
use crate::diagnostic::{Diagnostic, Span};
use crate::token::block_comment_end;
use millstream_core::options::OptionMap;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Script {
    /// Statements that parsed, in order. Their spans are places in the file.
    pub statements: Vec<Statement>,
    /// Mistakes, in order of their place.
    pub mistakes: Vec<Diagnostic>,
}

/// Bytes of a statement once its variables are put in. Variables that double each other would
/// otherwise fill the memory.
const EXPANDED_MAX: usize = 1 << 20;

/// How far variables may refer to variables.
const SUBSTITUTION_DEPTH_MAX: usize = 40;

/// Parses a pipeline file. `overrides` (from `--set name=value`) win over the file's own `SET`.
pub fn parse_script(text: &str, overrides: &OptionMap) -> Script {
    let mut script = Script::default();
    let mut variables = overrides.clone();
    for piece in pieces(text) {
        match parse_piece(text, piece, &variables) {
            Ok(Some(mut statement)) => {
                if let StatementKind::Set { name, value } = &mut statement.kind {
                    match overrides.get(&name.name) {
                        Some(given) => *value = given.to_owned(),
                        None => variables.insert(name.name.clone(), value.clone()),
                    }
                }
                script.statements.push(statement);
            }
            Ok(None) => {}
            Err(mistake) => script.mistakes.push(mistake),
        }
    }
    script
}

/// Parses one expression, all of `text`.
///
/// # Errors
/// The mistake, with its place in `text`.
pub fn parse_expression(text: &str) -> Result<Expr, Diagnostic> {
    whole(text, |c| c.expr())
}

/// Parses `expr [AS name]`, all of `text`, as `selectExpr` takes it.
///
/// # Errors
/// The mistake, with its place in `text`.
pub fn parse_select_item(text: &str) -> Result<SelectItem, Diagnostic> {
    whole(text, |c| c.select_item())
}

/// Parses one query; a `;` at its end is allowed.
///
/// # Errors
/// The mistake, with its place in `text`.
pub fn parse_query(text: &str) -> Result<Query, Diagnostic> {
    whole(text, |c| {
        let query = c.query()?;
        c.eat_symbol(";");
        c.end_of_statement()?;
        Ok(query)
    })
}

fn whole<T>(text: &str, parse: impl FnOnce(&mut Cursor<'_>) -> Parse<T>) -> Parse<T> {
    let mut cursor = Cursor::new(text)?;
    let out = parse(&mut cursor)?;
    if cursor.at_end() { Ok(out) } else { Err(cursor.unexpected(&["end of input"])) }
}

/// Byte ranges between semicolons, outside strings, quoted names and comments.
fn pieces(text: &str) -> Vec<Span> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b';' => {
                out.push(Span { start, end: at });
                at += 1;
                start = at;
            }
            b'\'' | b'"' | b'`' => at = quoted_end(bytes, at),
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                at =
                    bytes.iter().skip(at).position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n);
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at = block_comment_end(text, at).unwrap_or(bytes.len());
            }
            _ => at += 1,
        }
    }
    out.push(Span { start, end: bytes.len() });
    out
}

fn quoted_end(bytes: &[u8], open: usize) -> usize {
    let quote = bytes.get(open).copied().unwrap_or(b'\'');
    let raw = quote != b'`'
        && open > 0
        && matches!(bytes.get(open - 1), Some(b'r' | b'R'))
        && !(open > 1 && bytes.get(open - 2).is_some_and(|b| b.is_ascii_alphanumeric()));
    let mut at = open + 1;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'\\' && quote != b'`' && !raw {
            at += 2;
        } else if *byte == quote {
            return at + 1;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn parse_piece(
    text: &str,
    piece: Span,
    variables: &OptionMap,
) -> Result<Option<Statement>, Diagnostic> {
    let raw = text.get(piece.start..piece.end).unwrap_or_default();
    let blank = leading_blank(raw);
    let raw = raw.get(blank..).unwrap_or_default();
    let start = piece.start + blank;
    if raw.trim().is_empty() {
        return Ok(None);
    }
    let expanded = expand(raw, start, variables)?;
    let place = |span| expanded.original(span);
    match set_statement(&expanded.text) {
        Some(Ok(mut set)) => {
            set.span = place(set.span);
            if let StatementKind::Set { name, .. } = &mut set.kind {
                name.span = place(name.span);
            }
            Ok(Some(set))
        }
        Some(Err(mut mistake)) => {
            mistake.span = place(mistake.span);
            Err(mistake)
        }
        None => Cursor::placed(&expanded.text, &place)?.statement().map(Some),
    }
}

/// Length of the white space and comments that `text` begins with.
fn leading_blank(text: &str) -> usize {
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let blank = rest.len() - rest.trim_start().len();
        if blank > 0 {
            at += blank;
        } else if rest.starts_with("--") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            match block_comment_end(text, at) {
                Some(end) => at = end,
                None => return at,
            }
        } else {
            return at;
        }
    }
}

/// Text with variables put in, and where each part of it came from.
struct Expanded {
    text: String,
    /// (start in the new text, start in the file, whether the part was copied as it stood).
    parts: Vec<(usize, usize, bool)>,
}

impl Expanded {
    fn original(&self, span: Span) -> Span {
        if span == Span::NONE {
            return span;
        }
        let start = self.position(span.start);
        Span { start, end: self.position(span.end).max(start) }
    }

    fn position(&self, at: usize) -> usize {
        match self.parts.iter().rev().find(|(new, _, _)| *new <= at) {
            Some((new, old, true)) => old + (at - new),
            Some((_, old, false)) => *old,
            None => at,
        }
    }
}

/// Puts `${name}` in, everywhere but in comments.
fn expand(raw: &str, offset: usize, variables: &OptionMap) -> Result<Expanded, Diagnostic> {
    let mut out = Expanded { text: String::new(), parts: vec![(0, offset, true)] };
    let mut at = 0;
    while let Some(rest) = raw.get(at..).filter(|r| !r.is_empty()) {
        if rest.starts_with("--") {
            let end = rest.find('\n').unwrap_or(rest.len());
            out.text.push_str(rest.get(..end).unwrap_or_default());
            at += end;
        } else if let Some(body) = rest.strip_prefix("${") {
            let span = |len: usize| Span { start: offset + at, end: offset + at + len };
            let Some(close) = body.find('}') else {
                let message = "Syntax error: the variable that starts here is not closed.";
                return Err(Diagnostic::new("PARSE_SYNTAX_ERROR", message, span(2)));
            };
            let name = body.get(..close).unwrap_or_default();
            let value = value_of(name, variables, span(close + 3), 0)?;
            out.parts.push((out.text.len(), offset + at, false));
            out.text.push_str(&value);
            if out.text.len() > EXPANDED_MAX {
                return Err(too_long(span(close + 3)));
            }
            at += close + 3;
            out.parts.push((out.text.len(), offset + at, true));
        } else {
            let step = rest.chars().next().map_or(1, char::len_utf8);
            out.text.push_str(rest.get(..step).unwrap_or_default());
            at += step;
        }
    }
    Ok(out)
}

fn too_long(span: Span) -> Diagnostic {
    let message = format!("The statement is longer than {EXPANDED_MAX} bytes with its variables.");
    Diagnostic::new("STATEMENT_TOO_LONG", message, span)
}

fn value_of(
    name: &str,
    variables: &OptionMap,
    span: Span,
    depth: usize,
) -> Result<String, Diagnostic> {
    let name = name.trim();
    let value = variables.get(name).ok_or_else(|| {
        Diagnostic::new("VARIABLE_UNKNOWN", format!("The variable `{name}` has no value."), span)
            .suggest(name, variables.iter().map(|(n, _)| n))
    });
    let mut value = match value {
        Ok(value) => value.to_owned(),
        Err(e) if e.cure.is_some() => return Err(e),
        Err(e) => {
            return Err(e.cure(format!("Write SET {name} = .. before, or give --set {name}=..")));
        }
    };
    if depth > SUBSTITUTION_DEPTH_MAX {
        let message = format!("The variable `{name}` refers to itself.");
        return Err(Diagnostic::new("VARIABLE_CYCLE", message, span));
    }
    while let Some(start) = value.find("${") {
        let Some(len) = value.get(start..).and_then(|v| v.find('}')) else { break };
        let inner = value.get(start + 2..start + len).unwrap_or_default().to_owned();
        let put = value_of(&inner, variables, span, depth + 1)?;
        value.replace_range(start..=start + len, &put);
        if value.len() > EXPANDED_MAX {
            return Err(too_long(span));
        }
    }
    Ok(value)
}

/// `SET key = value`: the value is the rest of the statement, as Spark takes it.
fn set_statement(text: &str) -> Option<Result<Statement, Diagnostic>> {
    let word = text.get(..3)?;
    if !word.eq_ignore_ascii_case("set") || !text.get(3..)?.starts_with(char::is_whitespace) {
        return None;
    }
    let body_at = 3 + (text.get(3..)?.len() - text.get(3..)?.trim_start().len());
    let body = text.get(body_at..)?;
    let all = Span { start: 0, end: text.trim_end().len() };
    let words: Vec<&str> = body.split_whitespace().take(3).collect();
    if let [first, second, ..] = words.as_slice()
        && first.eq_ignore_ascii_case("time")
        && second.eq_ignore_ascii_case("zone")
    {
        let zone = body.split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
        let zone = if zone.eq_ignore_ascii_case("local") { "UTC".to_owned() } else { zone };
        let span = Span { start: body_at, end: all.end };
        let name = Ident { name: "spark.sql.session.timeZone".to_owned(), span };
        let value = zone.trim_matches(['\'', '"']).to_owned();
        return Some(Ok(Statement { kind: StatementKind::Set { name, value }, span: all }));
    }
    let Some(equals) = body.find('=') else {
        let message = "Syntax error: SET needs a name, `=` and a value.";
        let span = Span { start: body_at, end: all.end };
        return Some(Err(
            Diagnostic::new("INVALID_SET_SYNTAX", message, span).cure("Write SET name = value.")
        ));
    };
    let key = body.get(..equals)?.trim().trim_matches('`').to_owned();
    if key.is_empty() || key.contains(char::is_whitespace) {
        let message = format!("Syntax error: `{key}` is not a name that can be set.");
        let span = Span { start: body_at, end: body_at + equals };
        return Some(Err(Diagnostic::new("INVALID_PROPERTY_KEY", message, span)));
    }
    let value = without_comment(body.get(equals + 1..)?).trim().to_owned();
    let span = Span { start: body_at, end: body_at + key.len() };
    let name = Ident { name: key, span };
    Some(Ok(Statement { kind: StatementKind::Set { name, value }, span: all }))
}

fn without_comment(value: &str) -> &str {
    let bytes = value.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\'' | b'"' => at = quoted_end(bytes, at),
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                return value.get(..at).unwrap_or(value);
            }
            _ => at += 1,
        }
    }
    value
}
