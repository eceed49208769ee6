//! The exact parser: a pull parser that yields the tokens, and makes the mistakes, of the one that
//! Spark uses.
//!
//! What a record becomes when it is damaged depends on where that parser stands after an error:
//! Spark goes on reading after a field that failed. So the state after each error is part of the
//! contract here. The input is UTF-8; positions are bytes.

mod base64;

pub(crate) use base64::decode;

use crate::options::Syntax;
use crate::text::Units;

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    StartObject,
    EndObject,
    StartArray,
    EndArray,
    Name,
    Text,
    Int,
    Float,
    True,
    False,
    Null,
}

/// Why the text is not JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Malformed {
    /// Byte offset at which reading stopped.
    pub(crate) at: usize,
    /// What is wrong there.
    pub(crate) cause: &'static str,
}

pub(crate) type Scan<T> = Result<T, Malformed>;

/// Names longer than this are refused.
const NAME_LENGTH_MAX: usize = 50_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Root,
    Object,
    Array,
}

struct Context {
    scope: Scope,
    /// Whether an entry was begun; the next one needs a comma.
    begun: bool,
    name: Option<String>,
}

/// The parser and the token it stands on.
pub(crate) struct Pull<'a> {
    input: &'a str,
    syntax: &'a Syntax,
    at: usize,
    contexts: Vec<Context>,
    current: Option<Token>,
    /// The value after a name, whose first part is read together with the name.
    ahead: Option<Token>,
    /// Whether the current string is not read yet.
    unread: bool,
    text: String,
}

impl<'a> Pull<'a> {
    pub(crate) fn new(input: &'a str, syntax: &'a Syntax) -> Self {
        let root = Context { scope: Scope::Root, begun: false, name: None };
        Pull {
            input,
            syntax,
            at: 0,
            contexts: vec![root],
            current: None,
            ahead: None,
            unread: false,
            text: String::new(),
        }
    }

    /// The token the parser stands on.
    pub(crate) fn current(&self) -> Option<Token> {
        self.current
    }

    /// The name of the member that the current token belongs to.
    pub(crate) fn current_name(&self) -> Option<&str> {
        let mut contexts = self.contexts.iter().rev();
        if matches!(self.current, Some(Token::StartObject | Token::StartArray)) {
            contexts.next();
        }
        contexts.next().and_then(|c| c.name.as_deref())
    }

    /// The text of a string or number.
    pub(crate) fn text(&mut self) -> Scan<&str> {
        if self.current == Some(Token::Text) && self.unread {
            self.unread = false;
            self.finish_string(b'"')?;
        }
        if self.current == Some(Token::Text) && self.text.len() > self.syntax.string_length_max {
            return self.fail("the string is longer than maxStringLen");
        }
        Ok(&self.text)
    }

    /// Moves to the next token; `None` after the last.
    pub(crate) fn next_token(&mut self) -> Scan<Option<Token>> {
        if self.current == Some(Token::Name) {
            return self.value_after_name();
        }
        if self.unread {
            self.unread = false;
            self.finish_string(b'"')?;
        }
        let Some(mut byte) = self.skip_blank_or_end()? else {
            self.current = None;
            return Ok(None);
        };
        if matches!(byte, b']' | b'}') {
            return self.close(byte);
        }
        let scope = self.scope();
        if let Some(context) = self.contexts.last_mut() {
            let comma = context.begun && scope != Scope::Root;
            context.begun = true;
            if comma {
                byte = self.after_comma(byte)?;
            }
        }
        if scope == Scope::Object {
            let name = self.name(byte)?;
            if let Some(context) = self.contexts.last_mut() {
                context.name = Some(name);
            }
            self.current = Some(Token::Name);
            let byte = self.after_colon()?;
            self.ahead = Some(self.value(byte)?);
            return Ok(self.current);
        }
        let token = self.value(byte)?;
        self.open(token)?;
        self.current = Some(token);
        Ok(self.current)
    }

    /// If the parser stands on the start of an object or array, moves to its end.
    pub(crate) fn skip_children(&mut self) -> Scan<()> {
        if !matches!(self.current, Some(Token::StartObject | Token::StartArray)) {
            return Ok(());
        }
        let mut open = 1_usize;
        loop {
            match self.next_token()? {
                None if self.scope() == Scope::Root => return Ok(()),
                None => return self.fail("unexpected end of input"),
                Some(Token::StartObject | Token::StartArray) => open += 1,
                Some(Token::EndObject | Token::EndArray) => {
                    open -= 1;
                    if open == 0 {
                        return Ok(());
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn value_after_name(&mut self) -> Scan<Option<Token>> {
        let token = self.ahead.take();
        if let Some(token) = token {
            self.open(token)?;
        }
        self.current = token;
        Ok(token)
    }

    fn scope(&self) -> Scope {
        self.contexts.last().map_or(Scope::Root, |c| c.scope)
    }

    fn open(&mut self, token: Token) -> Scan<()> {
        let scope = match token {
            Token::StartObject => Scope::Object,
            Token::StartArray => Scope::Array,
            _ => return Ok(()),
        };
        self.contexts.push(Context { scope, begun: false, name: None });
        if self.contexts.len() > self.syntax.nesting_depth_max.saturating_add(1) {
            return self.fail("nested deeper than maxNestingDepth");
        }
        Ok(())
    }

    fn close(&mut self, byte: u8) -> Scan<Option<Token>> {
        let (scope, token) = match byte {
            b']' => (Scope::Array, Token::EndArray),
            _ => (Scope::Object, Token::EndObject),
        };
        if self.scope() != scope {
            return self.fail("the closing bracket does not match");
        }
        self.contexts.pop();
        self.current = Some(token);
        Ok(self.current)
    }

    /// The error for what is wrong at the current place.
    pub(crate) fn malformed(&self, cause: &'static str) -> Malformed {
        Malformed { at: self.at, cause }
    }

    fn fail<T>(&self, cause: &'static str) -> Scan<T> {
        Err(self.malformed(cause))
    }

    fn peek(&self) -> Option<u8> {
        self.input.as_bytes().get(self.at).copied()
    }

    /// Takes one byte, and with it the rest of its character.
    fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        while self.at < self.input.len() && !self.input.is_char_boundary(self.at) {
            self.at += 1;
        }
        Some(byte)
    }

    /// The next byte that is not white space or part of a comment.
    fn skip_blank_or_end(&mut self) -> Scan<Option<u8>> {
        while let Some(byte) = self.take() {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => {}
                b'/' => self.skip_comment()?,
                0..=0x1f => return self.fail("illegal control character"),
                _ => return Ok(Some(byte)),
            }
        }
        if self.scope() == Scope::Root {
            return Ok(None);
        }
        self.fail("unexpected end of input")
    }

    fn skip_blank(&mut self) -> Scan<u8> {
        match self.skip_blank_or_end()? {
            Some(byte) => Ok(byte),
            None => self.fail("unexpected end of input"),
        }
    }

    fn after_comma(&mut self, byte: u8) -> Scan<u8> {
        if byte != b',' {
            return self.fail("expected a comma");
        }
        self.skip_blank()
    }

    fn after_colon(&mut self) -> Scan<u8> {
        if self.skip_blank()? != b':' {
            return self.fail("expected a colon");
        }
        self.skip_blank()
    }

    fn skip_comment(&mut self) -> Scan<()> {
        if !self.syntax.comments {
            return self.fail("comments are not allowed");
        }
        match self.take() {
            Some(b'/') => {
                while let Some(byte) = self.take() {
                    match byte {
                        b'\n' | b'\r' => break,
                        b'\t' | 0x20.. => {}
                        _ => return self.fail("illegal control character"),
                    }
                }
                Ok(())
            }
            Some(b'*') => {
                while let Some(byte) = self.take() {
                    match byte {
                        b'*' if self.peek() == Some(b'/') => {
                            self.take();
                            return Ok(());
                        }
                        b'\t' | b'\n' | b'\r' | 0x20.. => {}
                        _ => return self.fail("illegal control character"),
                    }
                }
                self.fail("the comment is not closed")
            }
            _ => self.fail("expected a comment"),
        }
    }

    /// Reads the first part of a value: all of it, except for the inside of a string in double
    /// quotes, an object or an array.
    fn value(&mut self, byte: u8) -> Scan<Token> {
        match byte {
            b'"' => {
                self.unread = true;
                Ok(Token::Text)
            }
            b'[' => Ok(Token::StartArray),
            b'{' => Ok(Token::StartObject),
            b't' => self.word("rue", Token::True),
            b'f' => self.word("alse", Token::False),
            b'n' => self.word("ull", Token::Null),
            b'-' => self.signed(true),
            b'+' => self.signed(false),
            b'0'..=b'9' => self.number(byte, ""),
            b'\'' if self.syntax.single_quotes => {
                self.finish_string(b'\'')?;
                Ok(Token::Text)
            }
            b'N' => self.special("aN", "NaN"),
            b'I' => self.special("nfinity", "Infinity"),
            other => {
                if is_identifier(other) {
                    self.skip_identifier();
                }
                self.fail("expected a value")
            }
        }
    }

    fn word(&mut self, rest: &str, token: Token) -> Scan<Token> {
        for expected in rest.bytes() {
            if self.peek() != Some(expected) {
                self.skip_identifier();
                return self.fail("unknown word");
            }
            self.at += 1;
        }
        match self.peek() {
            Some(b']' | b'}' | 0..=0x2f) | None => Ok(token),
            Some(byte) if is_identifier(byte) => {
                self.skip_identifier();
                self.fail("unknown word")
            }
            Some(_) => Ok(token),
        }
    }

    fn skip_identifier(&mut self) {
        while self.peek().is_some_and(is_identifier) {
            self.take();
        }
    }

    fn special(&mut self, rest: &str, value: &str) -> Scan<Token> {
        self.word(rest, Token::Float)?;
        if !self.syntax.non_numeric_numbers {
            return self.fail("NaN and Infinity are not allowed");
        }
        self.text.clear();
        self.text.push_str(value);
        Ok(Token::Float)
    }

    fn signed(&mut self, negative: bool) -> Scan<Token> {
        match self.take() {
            Some(digit @ b'0'..=b'9') if negative => self.number(digit, "-"),
            Some(b'I') => {
                let value = if negative { "-Infinity" } else { "Infinity" };
                match self.take() {
                    Some(b'N') => self.special("F", value),
                    Some(b'n') => self.special("finity", value),
                    _ => self.fail("expected a digit after the sign"),
                }
            }
            _ => self.fail("expected a digit after the sign"),
        }
    }

    fn number(&mut self, first: u8, sign: &str) -> Scan<Token> {
        let mut start = self.at - 1;
        if first == b'0' && self.peek().is_some_and(|b| b.is_ascii_digit()) {
            if !self.syntax.leading_zeros {
                return self.fail("leading zeros are not allowed");
            }
            while self.peek() == Some(b'0') {
                self.at += 1;
            }
            start = self.at;
            if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
                start -= 1;
            }
        }
        let mut digits = self.skip_digits() + usize::from(start < self.at);
        let mut token = Token::Int;
        let tail = self.at + 1;
        if self.peek() == Some(b'.') {
            self.at += 1;
            token = Token::Float;
            let fraction = self.skip_digits();
            if fraction == 0 {
                return self.broken_number(first, tail, "expected a digit after the point");
            }
            digits += fraction;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            token = Token::Float;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            let exponent = self.skip_digits();
            if exponent == 0 {
                return self.broken_number(first, tail, "expected a digit in the exponent");
            }
            digits += exponent;
        }
        self.text.clear();
        self.text.push_str(sign);
        self.text.push_str(self.input.get(start..self.at).unwrap_or_default());
        if self.scope() == Scope::Root
            && !matches!(self.peek(), None | Some(b' ' | b'\t' | b'\n' | b'\r'))
        {
            self.take();
            return self.fail("expected white space after a number at the root");
        }
        if digits > self.syntax.number_length_max {
            return self.fail("the number is longer than maxNumLen");
        }
        Ok(token)
    }

    /// The parser has two ways to read numbers. The one for those that start with zero stops after
    /// the byte that is wrong, the other after the first byte that no integer has.
    fn broken_number<T>(&mut self, first: u8, tail: usize, cause: &'static str) -> Scan<T> {
        let malformed = self.malformed(cause);
        if first == b'0' {
            self.take();
        } else {
            self.at = tail;
        }
        Err(malformed)
    }

    fn skip_digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn name(&mut self, byte: u8) -> Scan<String> {
        match byte {
            b'"' => self.finish_string(b'"')?,
            b'\'' if self.syntax.single_quotes => self.finish_string(b'\'')?,
            _ if !self.syntax.unquoted_names => return self.fail("expected a name in quotes"),
            other if is_bare_name(other) => {
                let end = self.at;
                let start = (0..end).rev().find(|at| self.input.is_char_boundary(*at)).unwrap_or(0);
                while self.peek().is_some_and(is_bare_name) {
                    self.take();
                }
                self.text.clear();
                self.text.push_str(self.input.get(start..self.at).unwrap_or_default());
            }
            _ => return self.fail("expected a name"),
        }
        if self.text.len() > NAME_LENGTH_MAX {
            return self.fail("the name is too long");
        }
        Ok(self.text.clone())
    }

    /// Reads the rest of a string up to its closing quote into `text`.
    fn finish_string(&mut self, quote: u8) -> Scan<()> {
        self.text.clear();
        let mut units = Units::default();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|b| b != quote && b != b'\\' && b >= 0x20) {
                self.at += 1;
            }
            if start < self.at {
                units.flush(&mut self.text);
                self.text.push_str(self.input.get(start..self.at).unwrap_or_default());
            }
            match self.take() {
                None => return self.fail("the string is not closed"),
                Some(b'\\') => {
                    let unit = self.escape()?;
                    units.push(unit, &mut self.text);
                }
                Some(byte) if byte == quote => {
                    units.flush(&mut self.text);
                    return Ok(());
                }
                Some(byte) if self.syntax.control_characters => {
                    units.flush(&mut self.text);
                    self.text.push(char::from(byte));
                }
                Some(_) => return self.fail("illegal control character in a string"),
            }
        }
    }

    /// The UTF-16 unit, or the whole character, of an escape sequence.
    fn escape(&mut self) -> Scan<u32> {
        let start = self.at;
        Ok(match self.take() {
            None => return self.fail("the string is not closed"),
            Some(b'b') => 0x08,
            Some(b't') => 0x09,
            Some(b'n') => 0x0a,
            Some(b'f') => 0x0c,
            Some(b'r') => 0x0d,
            Some(byte @ (b'"' | b'/' | b'\\')) => u32::from(byte),
            Some(b'u') => {
                let mut unit = 0;
                for _ in 0..4 {
                    let digit = self.take().and_then(|b| char::from(b).to_digit(16));
                    let Some(digit) = digit else {
                        return self.fail("expected a hexadecimal digit");
                    };
                    unit = unit * 16 + digit;
                }
                unit
            }
            Some(b'\'') if self.syntax.single_quotes => u32::from(b'\''),
            Some(_) if self.syntax.any_escape => {
                let taken = self.input.get(start..self.at).and_then(|t| t.chars().next());
                taken.map_or(0, u32::from)
            }
            Some(_) => return self.fail("unknown escape sequence"),
        })
    }
}

fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x7f
}

fn is_bare_name(byte: u8) -> bool {
    is_identifier(byte) && byte != 0x7f || matches!(byte, b'@' | b'#' | b'*' | b'-' | b'+')
}
