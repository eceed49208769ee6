//! Mistakes with their place in the text.

use millstream_core::Error;
use std::fmt;

/// A byte range of the text. `Span::NONE` is for trees that were built by verbs, not parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// No place in any text.
    pub const NONE: Span = Span { start: usize::MAX, end: usize::MAX };

    /// From the start of `self` to the end of `other`.
    #[must_use]
    pub fn to(self, other: Span) -> Span {
        if self == Span::NONE {
            return other;
        }
        if other == Span::NONE {
            return self;
        }
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// Line and column of the start, both from 1, counted in characters; `None` for
    /// [`Span::NONE`].
    pub fn line_and_column(self, text: &str) -> Option<(usize, usize)> {
        if self == Span::NONE {
            return None;
        }
        let mut at = self.start.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let before = text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Some((line, column))
    }
}

/// One mistake: stable code, place, cause and cure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable upper-case code, Spark's where Spark has one.
    pub code: &'static str,
    /// Sentence of cause.
    pub message: String,
    /// Sentence of cure.
    pub cure: Option<String>,
    /// Where.
    pub span: Span,
}

impl Diagnostic {
    /// A mistake at `span`.
    pub fn new(code: &'static str, message: impl Into<String>, span: Span) -> Self {
        Diagnostic { code, message: message.into(), cure: None, span }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    /// Adds "Did you mean ..?" where a candidate is near `word` and no cure is there yet.
    #[must_use]
    pub fn suggest<'a>(self, word: &str, candidates: impl Iterator<Item = &'a str>) -> Self {
        if self.cure.is_some() {
            return self;
        }
        match millstream_core::options::did_you_mean(word, candidates) {
            Some(near) if !near.eq_ignore_ascii_case(word) => {
                let cure = format!("Did you mean `{near}`?");
                self.cure(cure)
            }
            _ => self,
        }
    }

    /// Gives a place to a mistake that has none.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        if self.span == Span::NONE {
            self.span = span;
        }
        self
    }

    /// A mistake that another part of the program reported, at `span`.
    pub fn from_error(error: &Error, span: Span) -> Self {
        Diagnostic {
            code: error.code(),
            message: error.message().to_owned(),
            cure: error.cure_text().map(str::to_owned),
            span,
        }
    }

    /// `line:column: [CODE] cause cure`, for `text`.
    pub fn render(&self, text: &str) -> String {
        match self.span.line_and_column(text) {
            Some((line, column)) => format!("{line}:{column}: {self}"),
            None => self.to_string(),
        }
    }

    /// As an error of the library; the place in `text` comes first in the message.
    pub fn to_error(&self, text: &str) -> Error {
        let place = match self.span.line_and_column(text) {
            Some((line, column)) => format!("line {line}, column {column}: "),
            None => String::new(),
        };
        let error = Error::invalid(self.code, format!("{place}{}", self.message));
        match &self.cure {
            Some(cure) => error.cure(cure.clone()),
            None => error,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code, self.message)?;
        if let Some(cure) = &self.cure {
            write!(f, " {cure}")?;
        }
        Ok(())
    }
}
