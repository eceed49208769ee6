//! A one-process broker that speaks Kafka's protocol: for learning, for tests that need no
//! installation, and for faults on demand.
//!
//! It is a development tool. There is no replication, no security, no retention and no
//! compaction; consumer groups have offsets but no members. What it serves, it means to serve as
//! Apache Kafka does, and one conformance script runs against both.
//!
//! ```
//! # fn main() -> Result<(), millstream_core::Error> {
//! use millstream_broker::{Broker, BrokerConfig};
//!
//! let broker = Broker::start(BrokerConfig {
//!     topics: vec![("orders".into(), 4)],
//!     ..BrokerConfig::default()
//! })?;
//! assert!(broker.bootstrap_servers().starts_with("127.0.0.1:"));
//! assert_eq!(broker.end_offset("orders", 0)?, 0);
//! # Ok(())
//! # }
//! ```
//!
//! The broker runs on threads of its own, so it can be started and dropped anywhere, inside and
//! outside of an async runtime. Dropping it stops it.
//!
//! Limits, each a refusal: [`BrokerConfig`]. Records survive the death of the process once they
//! are acknowledged, if there is a directory; they do not survive a power failure.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod api;
mod broker;
mod catalog;
mod config;
mod coordinator;
mod disk;
mod faults;
mod handlers;
mod log;
mod refusal;
mod sequence;
mod server;
mod shared;

pub use broker::Broker;
pub use config::BrokerConfig;
pub use faults::{Action, Fault, Faults, Reach};
pub use kafka_protocol::ResponseError;
pub use kafka_protocol::messages::ApiKey;
