//! Words and signs of a schema's DDL text, with their positions.

use millstream_core::{Error, Result};

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// An unquoted identifier or keyword.
    Word(String),
    /// A name in backquotes.
    Quoted(String),
    /// Digits only.
    Number(String),
    /// A string literal, unescaped.
    Text(String),
    /// One sign.
    Sign(char),
    /// After the last token.
    End,
}

impl Token {
    /// The token as an error message shows it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Token::Word(w) => format!("`{w}`"),
            Token::Quoted(w) => format!("the quoted name `{w}`"),
            Token::Number(n) => format!("the number {n}"),
            Token::Text(_) => "a string literal".into(),
            Token::Sign(c) => format!("`{c}`"),
            Token::End => "the end".into(),
        }
    }
}

/// Line and column, both from one, in characters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// The error of every malformed schema.
pub(crate) fn invalid(at: Position, cause: impl std::fmt::Display) -> Error {
    Error::invalid(
        "SCHEMA_INVALID",
        format!("The schema is not valid at line {}, column {}: {cause}.", at.line, at.column),
    )
}

/// Splits `text` into tokens; the last one is [`Token::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<(Token, Position)>> {
    let mut scan = Scan { rest: text.chars().peekable(), at: Position { line: 1, column: 1 } };
    let mut found = Vec::new();
    loop {
        scan.skip_blank()?;
        let at = scan.at;
        let token = scan.token()?;
        let end = token == Token::End;
        found.push((token, at));
        if end {
            return Ok(found);
        }
    }
}

struct Scan<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    at: Position,
}

impl Scan<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.at = Position { line: self.at.line + 1, column: 1 };
        } else {
            self.at.column += 1;
        }
        Some(c)
    }

    fn skip_blank(&mut self) -> Result<()> {
        while let Some(&c) = self.rest.peek() {
            let mut ahead = self.rest.clone();
            ahead.next();
            match (c, ahead.peek()) {
                (c, _) if c.is_whitespace() => {
                    self.next();
                }
                ('-', Some('-')) => while self.next().is_some_and(|c| c != '\n') {},
                ('/', Some('*')) => self.skip_comment()?,
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn skip_comment(&mut self) -> Result<()> {
        let start = self.at;
        self.next();
        self.next();
        let mut before = ' ';
        while let Some(c) = self.next() {
            if before == '*' && c == '/' {
                return Ok(());
            }
            before = c;
        }
        Err(invalid(start, "the comment is not closed"))
    }

    fn token(&mut self) -> Result<Token> {
        let start = self.at;
        let Some(&c) = self.rest.peek() else { return Ok(Token::End) };
        if c.is_alphanumeric() || c == '_' {
            return Ok(self.word());
        }
        self.next();
        match c {
            '`' => self.backquoted(start),
            '\'' | '"' => self.literal(start, c),
            '<' | '>' | '(' | ')' | ',' | ':' | '-' => Ok(Token::Sign(c)),
            other => Err(invalid(start, format_args!("unexpected character {other:?}"))),
        }
    }

    fn word(&mut self) -> Token {
        let mut word = String::new();
        while let Some(&c) = self.rest.peek() {
            if !(c.is_alphanumeric() || c == '_') {
                break;
            }
            word.push(c);
            self.next();
        }
        if word.bytes().all(|b| b.is_ascii_digit()) {
            Token::Number(word)
        } else {
            Token::Word(word)
        }
    }

    fn backquoted(&mut self, start: Position) -> Result<Token> {
        let mut name = String::new();
        while let Some(c) = self.next() {
            if c != '`' {
                name.push(c);
            } else if self.rest.peek() == Some(&'`') {
                name.push('`');
                self.next();
            } else if name.is_empty() {
                return Err(invalid(start, "a name must not be empty"));
            } else {
                return Ok(Token::Quoted(name));
            }
        }
        Err(invalid(start, "the backquote is not closed"))
    }

    fn literal(&mut self, start: Position, quote: char) -> Result<Token> {
        let mut text = String::new();
        while let Some(c) = self.next() {
            if c == '\\' {
                self.escape(start, &mut text)?;
            } else if c != quote {
                text.push(c);
            } else if self.rest.peek() == Some(&quote) {
                text.push(quote);
                self.next();
            } else {
                return Ok(Token::Text(text));
            }
        }
        Err(invalid(start, "the string literal is not closed"))
    }

    fn escape(&mut self, start: Position, text: &mut String) -> Result<()> {
        match self.next() {
            None => return Err(invalid(start, "the string literal is not closed")),
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some('b') => text.push('\u{8}'),
            Some('0') => text.push('\0'),
            Some('Z') => text.push('\u{1a}'),
            Some('u') => {
                let mut code = 0;
                for _ in 0..4 {
                    let digit = self.next().and_then(|c| c.to_digit(16));
                    let digit = digit
                        .ok_or_else(|| invalid(start, "`\\u` needs four hexadecimal digits"))?;
                    code = code * 16 + digit;
                }
                text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            // SQL patterns need these two with their backslash.
            Some(c @ ('%' | '_')) => text.extend(['\\', c]),
            Some(other) => text.push(other),
        }
        Ok(())
    }
}
