//! The conformance suites over every source and every sink of the engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod learning;
mod sinks;
mod sources;
