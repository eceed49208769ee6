//! What any source and any sink has to hold: the promises of [`millstream_core::contract`] and of
//! the batch protocol, as checks that any implementation runs.
//!
//! An implementation gives a harness, which makes it, feeds it and reads it back. Each check has a
//! fresh one. The first rule that does not hold is the answer, as an error that says it.
//!
//! The suite for stores is `millstream_store::conformance`.

pub mod sink;
pub mod source;

pub use sink::SinkHarness;
pub use source::SourceHarness;

use millstream_core::{Error, Result};

/// Whether a rule was held, with what was seen where it was not.
fn hold(held: bool, rule: &str, seen: impl FnOnce() -> String) -> Result<()> {
    if held {
        return Ok(());
    }
    Err(Error::internal(format!("This rule is broken: {rule}. {}", seen())).context("conformance"))
}

/// Whether two multisets are one.
fn same<T: Ord + Clone + std::fmt::Debug>(rule: &str, found: &[T], expected: &[T]) -> Result<()> {
    let sorted = |all: &[T]| {
        let mut all = all.to_vec();
        all.sort();
        all
    };
    let (found, expected) = (sorted(found), sorted(expected));
    hold(found == expected, rule, || format!("Found {found:?} instead of {expected:?}."))
}
