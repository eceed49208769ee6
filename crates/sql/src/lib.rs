//! Spark SQL text to syntax trees: the statements of a pipeline file, queries and expressions,
//! with a place in the text for everything.
//!
//! The lexer and the parser are our own because Spark's lexical rules (backslash escapes, `r'..'`,
//! suffixed numbers, double-quoted strings) and its streaming statements differ from those of
//! general SQL parsers in ways that would change meaning silently. Nothing is resolved here: names,
//! types and functions are text with a [`Span`].
//!
//! Reading order: [`ast`], [`token`], `expr`, `query`, `statement`, [`script`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod ast;
pub mod diagnostic;
pub mod script;
pub mod token;

mod cursor;
mod expr;
mod number;
mod query;
mod statement;

pub use diagnostic::{Diagnostic, Span};
pub use script::{Script, parse_expression, parse_query, parse_script, parse_select_item};
