//! Analysis, plans and binding, without any broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod mistakes;
mod names;
mod plans;
mod queries;
