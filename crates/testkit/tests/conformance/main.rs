//! The conformance suites themselves: an honest implementation passes, and each planted bug is
//! caught by the rule that it breaks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod sink;
mod source;

/// Asserts that a suite found the rule broken that says `words`.
fn caught(bug: &dyn std::fmt::Debug, found: millstream_core::Result<()>, words: &str) {
    let error = found.err().unwrap_or_else(|| panic!("{bug:?} was not caught"));
    let text = error.to_string();
    assert!(text.contains(words), "{bug:?} should break `{words}`, but: {text}");
}
