//! Spark's lexical rules (`SqlBaseLexer.g4`): words, strings with escapes, numbers with suffixes.

use crate::diagnostic::{Diagnostic, Span};

/// A token and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where.
    pub span: Span,
}

/// Kinds of tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenKind {
    /// An unquoted name or keyword.
    Word(String),
    /// A name in backquotes.
    Quoted(String),
    /// A string literal, escapes resolved.
    String(String),
    /// A number as written, suffix included.
    Number(String),
    /// An operator or punctuation mark.
    Symbol(&'static str),
    /// The end of the statement.
    End,
}

impl TokenKind {
    /// As error messages show it.
    pub fn describe(&self) -> String {
        match self {
            TokenKind::Word(w) => format!("'{w}'"),
            TokenKind::Quoted(w) => format!("'`{w}`'"),
            TokenKind::String(s) => format!("''{s}''"),
            TokenKind::Number(n) => format!("'{n}'"),
            TokenKind::Symbol(s) => format!("'{s}'"),
            TokenKind::End => "end of input".to_owned(),
        }
    }
}

/// Longest first, so that the first match is the right one.
const SYMBOLS: &[&str] = &[
    "<=>", ">>>", "<=", ">=", "<>", "!=", "==", "=>", "->", "||", "::", "<<", ">>", "(", ")", "[",
    "]", ",", ".", "=", "<", ">", "+", "-", "*", "/", "%", "~", "&", "|", "^", "!", ":", ";", "?",
    "@", "{", "}", "$",
];

/// Cuts `text` into tokens; the last one is [`TokenKind::End`].
///
/// # Errors
/// `PARSE_SYNTAX_ERROR` for an unclosed string, name or comment, and for characters that are no
/// part of the language.
pub fn tokenize(text: &str) -> Result<Vec<Token>, Diagnostic> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    tokens.push(Token { kind: TokenKind::End, span: Span { start: text.len(), end: text.len() } });
    Ok(tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<Option<Token>, Diagnostic> {
        self.skip_blank()?;
        let start = self.at;
        let Some(c) = self.peek() else { return Ok(None) };
        let kind = match c {
            '\'' | '"' => TokenKind::String(self.string(c, false)?),
            '`' => TokenKind::Quoted(self.quoted()?),
            'r' | 'R' if matches!(self.peek_at(1), Some('\'' | '"')) => {
                self.at += 1;
                let quote = self.peek().unwrap_or('\'');
                TokenKind::String(self.string(quote, true)?)
            }
            c if c.is_ascii_digit() => self.number(),
            '.' if self.peek_at(1).is_some_and(|c| c.is_ascii_digit()) && !self.after_name() => {
                self.number()
            }
            c if c == '_' || c.is_alphabetic() => {
                let rest = self.rest();
                let len = rest.find(|c: char| !(c == '_' || c.is_alphanumeric()));
                let word = rest.get(..len.unwrap_or(rest.len())).unwrap_or_default().to_owned();
                self.at += word.len();
                TokenKind::Word(word)
            }
            _ => self.symbol(c)?,
        };
        Ok(Some(Token { kind, span: Span { start, end: self.at } }))
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn peek_at(&self, n: usize) -> Option<char> {
        self.rest().chars().nth(n)
    }

    /// `t.1` is a field; ` .1` is a number.
    fn after_name(&self) -> bool {
        let before = self.text.get(..self.at).unwrap_or_default();
        before.chars().next_back().is_some_and(|c| c == '_' || c == '`' || c.is_alphanumeric())
    }

    fn skip_blank(&mut self) -> Result<(), Diagnostic> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            if blank > 0 {
                self.at += blank;
            } else if rest.starts_with("--") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.at = block_comment_end(self.text, self.at).ok_or_else(|| {
                    self.error(self.at, "the comment that starts here is not closed")
                })?;
            } else {
                return Ok(());
            }
        }
    }

    fn error(&self, start: usize, why: &str) -> Diagnostic {
        let span = Span { start, end: self.text.len().max(start) };
        Diagnostic::new("PARSE_SYNTAX_ERROR", format!("Syntax error: {why}."), span)
    }

    fn symbol(&mut self, c: char) -> Result<TokenKind, Diagnostic> {
        let rest = self.rest();
        match SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
            Some(symbol) => {
                self.at += symbol.len();
                Ok(TokenKind::Symbol(symbol))
            }
            None => Err(self.error(self.at, &format!("unexpected character '{c}'"))),
        }
    }

    fn quoted(&mut self) -> Result<String, Diagnostic> {
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        while let Some(c) = self.peek() {
            self.at += c.len_utf8();
            if c != '`' {
                out.push(c);
            } else if self.peek() == Some('`') {
                self.at += 1;
                out.push('`');
            } else {
                return Ok(out);
            }
        }
        Err(self.error(start, "the name in backquotes that starts here is not closed"))
    }

    fn string(&mut self, quote: char, raw: bool) -> Result<String, Diagnostic> {
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        while let Some(c) = self.peek() {
            self.at += c.len_utf8();
            if c == quote {
                if !raw && self.peek() == Some(quote) {
                    self.at += 1;
                    out.push(quote);
                    continue;
                }
                return Ok(out);
            }
            if c == '\\' && !raw {
                self.escape(&mut out);
            } else {
                out.push(c);
            }
        }
        Err(self.error(start, "the string that starts here is not closed"))
    }

    /// What follows a backslash (`unescapeSQLString`).
    fn escape(&mut self, out: &mut String) {
        let Some(c) = self.peek() else {
            out.push('\\');
            return;
        };
        for (letter, digits) in [('u', 4), ('U', 8)] {
            if c == letter
                && let Some(hex) = self.rest().get(1..=digits)
                && let Ok(code) = u32::from_str_radix(hex, 16)
                && let Some(char) = char::from_u32(code)
            {
                self.at += 1 + digits;
                out.push(char);
                return;
            }
        }
        if let Some(octal) = self.rest().get(..3)
            && matches!(octal.as_bytes(), [b'0'..=b'3', b'0'..=b'7', b'0'..=b'7'])
            && let Ok(code) = u32::from_str_radix(octal, 8)
            && let Some(char) = char::from_u32(code)
        {
            self.at += 3;
            out.push(char);
            return;
        }
        self.at += c.len_utf8();
        match c {
            '0' => out.push('\0'),
            'b' => out.push('\u{8}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'Z' => out.push('\u{1a}'),
            // LIKE reads these two itself.
            '%' => out.push_str("\\%"),
            '_' => out.push_str("\\_"),
            other => out.push(other),
        }
    }

    fn number(&mut self) -> TokenKind {
        let bytes = self.text.as_bytes();
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let start = self.at;
        let mut at = start;
        while digit(at) {
            at += 1;
        }
        if bytes.get(at) == Some(&b'.')
            && !bytes
                .get(at + 1)
                .is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_' || *c == b'.')
        {
            at += 1;
            while digit(at) {
                at += 1;
            }
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            if digit(at + 1 + sign) {
                at += 1 + sign;
                while digit(at) {
                    at += 1;
                }
            }
        }
        while bytes.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == b'_') {
            at += 1;
        }
        self.at = at;
        TokenKind::Number(self.text.get(start..at).unwrap_or_default().to_owned())
    }
}

/// One past the end of the (nested) block comment at `at`.
pub(crate) fn block_comment_end(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut i) = (0usize, at);
    while i < bytes.len() {
        match bytes.get(i..i + 2) {
            Some(b"/*") => {
                depth += 1;
                i += 2;
            }
            Some(b"*/") => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => i += 1,
        }
    }
    None
}
