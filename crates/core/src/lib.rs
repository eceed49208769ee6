//! The control plane of Millstream as contracts and pure decisions.
//!
//! Nothing here does I/O: the batch protocol is a function from observed facts to the next step
//! ([`protocol`]), stored records are values with encoders and decoders ([`log`]), and the world
//! is reached only through traits ([`contract`], [`mod@env`]). Arrow, DataFusion, Kafka and Delta are
//! unknown here.
//!
//! Reading order: [`error`], [`ids`], [`offsets`], [`contract`], [`log`], [`protocol`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod contract;
pub mod env;
pub mod error;
pub mod fault;
pub mod ids;
pub mod log;
pub mod offsets;
pub mod options;
pub mod planted;
pub mod progress;
pub mod protocol;
pub mod secret;
pub mod trigger;

pub use error::{Error, ErrorKind, Result};

#[cfg(any(test, feature = "sim"))]
pub mod sim;
