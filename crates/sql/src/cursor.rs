//! A position in the tokens of one statement, and what all parsers need of it.

use crate::ast::{Ident, TypeText};
use crate::diagnostic::{Diagnostic, Span};
use crate::token::{Token, TokenKind, tokenize};

pub(crate) type Parse<T> = Result<T, Diagnostic>;

/// How deep parentheses and operators may nest: the parser and the analyser recurse.
const DEPTH_MAX: usize = 40;

/// How many operators of one level may follow each other: each makes the tree one deeper.
const CHAIN_MAX: usize = 300;

pub(crate) struct Cursor<'a> {
    text: &'a str,
    /// Tokens with their places in the file.
    tokens: Vec<Token>,
    /// Their places in `text`, which differ where variables were put in.
    raw: Vec<Span>,
    at: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Parse<Self> {
        Self::placed(text, &|span| span)
    }

    /// A cursor whose tokens, and so all trees and mistakes, have the places that `place` gives.
    pub(crate) fn placed(text: &'a str, place: &dyn Fn(Span) -> Span) -> Parse<Self> {
        let mut tokens = tokenize(text).map_err(|mut e| {
            e.span = place(e.span);
            e
        })?;
        let raw = tokens.iter().map(|t| t.span).collect();
        for token in &mut tokens {
            token.span = place(token.span);
        }
        Ok(Cursor { text, tokens, raw, at: 0, depth: 0 })
    }

    pub(crate) fn peek(&self) -> &TokenKind {
        self.peek_at(0)
    }

    pub(crate) fn peek_at(&self, n: usize) -> &TokenKind {
        const END: &TokenKind = &TokenKind::End;
        self.tokens.get(self.at + n).map_or(END, |t| &t.kind)
    }

    pub(crate) fn span(&self) -> Span {
        self.tokens.get(self.at).map_or(Span::NONE, |t| t.span)
    }

    /// Place of the token before.
    pub(crate) fn previous_span(&self) -> Span {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(Span::NONE, |t| t.span)
    }

    pub(crate) fn advance(&mut self) -> Token {
        let end = Token { kind: TokenKind::End, span: self.span() };
        let token = self.tokens.get(self.at).cloned().unwrap_or(end);
        if token.kind != TokenKind::End {
            self.at += 1;
        }
        token
    }

    /// Runs `parse` one level deeper, within the limit.
    pub(crate) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.too_deep(&format!("nests deeper than {DEPTH_MAX} levels")));
        }
        let out = parse(self);
        self.depth -= 1;
        out
    }

    /// Counts one more operator in a chain, within the limit.
    pub(crate) fn one_more(&self, count: &mut usize) -> Parse<()> {
        *count += 1;
        if *count > CHAIN_MAX {
            return Err(self.too_deep(&format!("has more than {CHAIN_MAX} operators in a row")));
        }
        Ok(())
    }

    fn too_deep(&self, how: &str) -> Diagnostic {
        let message = format!("The statement {how}.");
        Diagnostic::new("STATEMENT_TOO_DEEP", message, self.span())
    }

    /// Tries `parse`; on failure goes back to where it started.
    pub(crate) fn attempt<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parse<T>) -> Option<T> {
        let (at, depth) = (self.at, self.depth);
        let out = parse(self).ok();
        if out.is_none() {
            (self.at, self.depth) = (at, depth);
        }
        out
    }

    pub(crate) fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), TokenKind::Symbol(s) if *s == symbol)
    }

    pub(crate) fn is_symbol_at(&self, n: usize, symbol: &str) -> bool {
        matches!(self.peek_at(n), TokenKind::Symbol(s) if *s == symbol)
    }

    pub(crate) fn eat_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect_symbol(&mut self, symbol: &'static str) -> Parse<Span> {
        if self.is_symbol(symbol) {
            return Ok(self.advance().span);
        }
        Err(self.unexpected(&[symbol]))
    }

    pub(crate) fn is_word_at(&self, n: usize, word: &str) -> bool {
        matches!(self.peek_at(n), TokenKind::Word(w) if w.eq_ignore_ascii_case(word))
    }

    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.is_word_at(0, word)
    }

    /// Whether the next tokens are exactly these keywords.
    pub(crate) fn is_words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(n, word)| self.is_word_at(n, word))
    }

    pub(crate) fn is_any_word(&self, words: &[&str]) -> bool {
        words.iter().any(|w| self.is_word(w))
    }

    pub(crate) fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn eat_words(&mut self, words: &[&str]) -> bool {
        let found = self.is_words(words);
        if found {
            self.at += words.len();
        }
        found
    }

    pub(crate) fn expect_word(&mut self, word: &'static str) -> Parse<Span> {
        if self.is_word(word) {
            return Ok(self.advance().span);
        }
        Err(self.unexpected(&[word]))
    }

    pub(crate) fn at_end(&self) -> bool {
        matches!(self.peek(), TokenKind::End)
    }

    /// The mistake of finding the next token where one of `expected` should stand. A word near
    /// to an expected keyword, here or just before, is taken for a misspelling of it.
    pub(crate) fn unexpected(&self, expected: &[&str]) -> Diagnostic {
        let found = self.peek();
        let mut diagnostic = Diagnostic::new(
            "PARSE_SYNTAX_ERROR",
            format!("Syntax error at or near {}{}.", found.describe(), expected_text(expected)),
            self.span(),
        );
        let keywords = || expected.iter().copied().filter(|w| w.len() > 1);
        if let TokenKind::Word(word) = found {
            diagnostic = diagnostic.suggest(word, keywords());
        }
        if diagnostic.cure.is_none()
            && let Some(previous) = self.at.checked_sub(1).and_then(|at| self.tokens.get(at))
            && let TokenKind::Word(word) = &previous.kind
            && !keywords().any(|k| k.eq_ignore_ascii_case(word))
        {
            let near = millstream_core::options::did_you_mean(word, keywords());
            if let Some(near) = near.filter(|n| n.len() > 2 && word.len() > 2) {
                diagnostic.span = previous.span;
                diagnostic.cure = Some(format!("Did you mean `{near}` instead of `{word}`?"));
            }
        }
        diagnostic
    }

    /// See [`not_yet`].
    pub(crate) fn not_yet(&self, what: &str, span: Span) -> Diagnostic {
        not_yet(what, span)
    }

    pub(crate) fn identifier(&mut self, what: &str) -> Parse<Ident> {
        match self.peek().clone() {
            TokenKind::Word(name) | TokenKind::Quoted(name) => {
                let span = self.advance().span;
                Ok(Ident { name, span })
            }
            _ => Err(self.unexpected(&[what])),
        }
    }

    /// `a.b.c`
    pub(crate) fn name_parts(&mut self, what: &str) -> Parse<Vec<Ident>> {
        let mut parts = vec![self.identifier(what)?];
        while self.is_symbol(".") && !self.is_symbol_at(1, "*") {
            self.advance();
            parts.push(self.identifier(what)?);
        }
        Ok(parts)
    }

    /// `(a, b)`
    pub(crate) fn identifier_list(&mut self) -> Parse<Vec<Ident>> {
        self.expect_symbol("(")?;
        let mut out = vec![self.identifier("a name")?];
        while self.eat_symbol(",") {
            out.push(self.identifier("a name")?);
        }
        self.expect_symbol(")")?;
        Ok(out)
    }

    pub(crate) fn string(&mut self, what: &str) -> Parse<String> {
        match self.peek().clone() {
            TokenKind::String(mut text) => {
                self.advance();
                while let TokenKind::String(more) = self.peek().clone() {
                    self.advance();
                    text.push_str(&more);
                }
                Ok(text)
            }
            _ => Err(self.unexpected(&[what])),
        }
    }

    /// A type, taken as text: a name, and what stands in its brackets.
    pub(crate) fn type_text(&mut self) -> Parse<TypeText> {
        let first = self.at;
        let start = self.identifier("a type")?.span;
        if self.is_symbol("(") {
            self.skip_brackets("(", ")", 1)?;
        } else if self.is_symbol("<") {
            self.skip_angles()?;
        } else if self.is_symbol("<>") {
            self.advance();
        }
        let span = start.to(self.previous_span());
        let raw = |at: usize| self.raw.get(at).copied().unwrap_or(Span::NONE);
        let range = raw(first).to(raw(self.at.saturating_sub(1)));
        let text = self.text.get(range.start..range.end).unwrap_or_default().to_owned();
        Ok(TypeText { text, span })
    }

    fn skip_brackets(&mut self, open: &'static str, close: &'static str, depth: i32) -> Parse<()> {
        let mut depth = depth - 1;
        loop {
            if self.at_end() {
                return Err(self.unexpected(&[close]));
            }
            if self.is_symbol(open) {
                depth += 1;
            } else if self.is_symbol(close) {
                depth -= 1;
            }
            self.advance();
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn skip_angles(&mut self) -> Parse<()> {
        let mut depth = 0i32;
        loop {
            depth += match self.peek() {
                TokenKind::End => return Err(self.unexpected(&[">"])),
                TokenKind::Symbol("<") => 1,
                TokenKind::Symbol(">") => -1,
                TokenKind::Symbol(">>") => -2,
                TokenKind::Symbol(">>>") => -3,
                _ => 0,
            };
            self.advance();
            if depth <= 0 {
                return Ok(());
            }
        }
    }
}

/// A construct that is known and not offered.
pub(crate) fn not_yet(what: &str, span: Span) -> Diagnostic {
    Diagnostic::new("UNSUPPORTED_SYNTAX", format!("{what} not supported yet."), span)
}

fn expected_text(expected: &[&str]) -> String {
    let quoted: Vec<String> = expected
        .iter()
        .map(|e| if e.contains(' ') { (*e).to_owned() } else { format!("`{e}`") })
        .collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => format!(": expected {one}"),
        many => format!(": expected one of {}", many.join(", ")),
    }
}
