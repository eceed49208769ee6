//! Tests of the decoder through its public interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod differential;
mod functions;
mod oracle;
mod support;
