//! One error type for every crate: what to do about it ([`ErrorKind`]), a stable code, a sentence
//! of cause and, where there is one, a sentence of cure.

use std::fmt;
use std::sync::Arc;

/// The result of every fallible operation of Millstream.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The input, an option or a statement is wrong: fix it and start again.
    Invalid,
    /// Records that should be read are gone: a person has to decide.
    DataLoss,
    /// A file is damaged: restore or repair it; the message names the file.
    Corrupt,
    /// Somebody else changed what this operation relied on.
    Conflict,
    /// A newer run owns the checkpoint: stop, and do not restart this one.
    Fenced,
    /// A service did not answer: it was retried within its limits and may work later.
    Unavailable,
    /// Memory, disk or another stated limit is used up.
    Exhausted,
    /// A defect of Millstream.
    Internal,
}

impl ErrorKind {
    /// Exit status of the `millstream` binary for an error of this kind.
    pub fn exit_status(self) -> u8 {
        match self {
            ErrorKind::Internal => 1,
            ErrorKind::Invalid => 2,
            ErrorKind::DataLoss => 3,
            ErrorKind::Corrupt => 4,
            ErrorKind::Conflict => 5,
            ErrorKind::Fenced => 6,
            ErrorKind::Unavailable => 7,
            ErrorKind::Exhausted => 8,
        }
    }

    /// The name printed in logs and documents.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::Internal => "internal",
            ErrorKind::Invalid => "invalid",
            ErrorKind::DataLoss => "data-loss",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Fenced => "fenced",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Exhausted => "exhausted",
        }
    }
}

/// An error with a stable code. Cheap to clone, so that a query can keep the one that ended it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    code: &'static str,
    message: String,
    cure: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with a stable upper-case `code` and a sentence of cause.
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Error(Arc::new(Inner { kind, code, message: message.into(), cure: None, source: None }))
    }

    /// Adds the sentence that says what to do.
    #[must_use]
    pub fn cure(self, cure: impl Into<String>) -> Self {
        let cure = cure.into();
        self.rebuild(|inner| inner.cure = Some(cure))
    }

    /// Adds the underlying error.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = source.into();
        self.rebuild(|inner| inner.source = Some(source))
    }

    /// Puts `context` and a colon before the message: where it happened.
    #[must_use]
    pub fn context(self, context: impl fmt::Display) -> Self {
        self.rebuild(|inner| inner.message = format!("{context}: {}", inner.message))
    }

    /// Shorthand for [`ErrorKind::Invalid`].
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, code, message)
    }

    /// Shorthand for [`ErrorKind::Corrupt`].
    pub fn corrupt(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, code, message)
    }

    /// Shorthand for [`ErrorKind::Unavailable`].
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, code, message)
    }

    /// Shorthand for [`ErrorKind::Internal`] with the code `INTERNAL`.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, "INTERNAL", message)
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable code, one documented entry each.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The sentence of cause, without code and cure.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The sentence of cure, if there is one.
    pub fn cure_text(&self) -> Option<&str> {
        self.0.cure.as_deref()
    }

    fn rebuild(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = match Arc::try_unwrap(self.0) {
            Ok(inner) => inner,
            // A shared error keeps its text; only the typed source cannot be carried over.
            Err(shared) => Inner {
                kind: shared.kind,
                code: shared.code,
                message: shared.message.clone(),
                cure: shared.cure.clone(),
                source: shared.source.as_ref().map(|s| s.to_string().into()),
            },
        };
        change(&mut inner);
        Error(Arc::new(inner))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.0.code, self.0.message)?;
        if let Some(source) = &self.0.source {
            write!(f, " ({source})")?;
        }
        if let Some(cure) = &self.0.cure {
            write!(f, " {cure}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| s.as_ref() as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_exit_status_and_its_name() {
        use ErrorKind::{
            Conflict, Corrupt, DataLoss, Exhausted, Fenced, Internal, Invalid, Unavailable,
        };
        let kinds =
            [Internal, Invalid, DataLoss, Corrupt, Conflict, Fenced, Unavailable, Exhausted];
        assert_eq!(kinds.map(ErrorKind::exit_status), [1, 2, 3, 4, 5, 6, 7, 8]);
        let names = [
            "internal",
            "invalid",
            "data-loss",
            "corrupt",
            "conflict",
            "fenced",
            "unavailable",
            "exhausted",
        ];
        assert_eq!(kinds.map(ErrorKind::name), names);
    }

    #[test]
    fn an_error_says_cause_source_and_cure_and_keeps_them_when_shared() {
        let source = std::io::Error::other("disk");
        let error = Error::corrupt("CODE", "Cause.").caused_by(source).cure("Cure.");
        assert_eq!(error.to_string(), "[CODE] Cause. (disk) Cure.");
        assert_eq!(format!("{error:?}"), "Corrupt: [CODE] Cause. (disk) Cure.");
        let shared = error.clone();
        let changed = shared.cure("Another.");
        assert_eq!(changed.to_string(), "[CODE] Cause. (disk) Another.");
        assert_eq!(error.to_string(), "[CODE] Cause. (disk) Cure.");
        assert!(std::error::Error::source(&error).is_some());
    }
}
