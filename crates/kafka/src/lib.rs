//! The Kafka source: options, connections, metadata with topic ids, admission, the fetch path
//! from the wire to Arrow, and the data-loss rules.
//!
//! Layers, outermost first: [`KafkaConfig`] (options, no I/O) → [`KafkaSource`] (the control side
//! of `millstream_core::contract::Source`, and [`KafkaSource::read`]) → `plan` and `limits` (pure
//! rules) → `client` (connections, metadata, offsets). Record batches are `millstream-wire`'s.
//!
//! Invariants: a range is read exactly, from its start to its end, or the read fails; a topic is
//! never read under another id than the one the batch was planned with; every request has a
//! deadline and every retry an end; memory is bounded by the options of a read, plus one record
//! batch.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod answers;
mod client;
mod config;
mod detail;
mod limits;
mod loss;
mod metrics;
mod options;
mod plan;
mod read;
mod snapshot;
mod source;
mod split;
mod subscription;

pub use config::{KafkaConfig, ReadMode};
pub use metrics::KafkaMetrics;
pub use options::{CLIENT_KEYS, SOURCE_OPTIONS};
pub use read::ReadOptions;
pub use source::{KafkaSource, Lag};
pub use split::Split;
pub use subscription::{Subscription, TopicPattern};
