//! Analysis, plans and binding, without any broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod mistakes;
mod names;
mod plans;
mod queries;
