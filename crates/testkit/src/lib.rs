//! Dev-only: what tests of several crates share.
//!
//! * [`KafkaHarness`]: one face for the embedded broker and for a real Apache Kafka.
//! * [`Client`], [`Admin`], [`Producer`]: a plain client on the protocol's own messages, which
//!   shares no code with the product's Kafka source.
//! * [`StubbornProducer`]: each batch once, through brokers that die. [`Transactional`]: batches
//!   that are committed, aborted or left open.
//! * [`Proxy`]: in front of the brokers, to cut, delay, silence and garble what passes.
//! * [`Ledger`]: what was written, and what is lost, duplicated or made up in what was read.
//! * [`conformance`]: what any source and any sink has to hold.
//! * [`Figures`]: what a long campaign measured, for `proof/`.
//! * [`reader`]: reads tables with the independent `deltalake` wheel.
//!
//! What needs Java, Maven or Python is prepared by `scripts/setup-tests.sh`. Where it is missing,
//! tests say a loud SKIP; with `MILLSTREAM_REQUIRE_REAL=1` or `CI=true` they fail.
// Everything here runs in tests only, where a panic is the answer to a broken promise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::missing_panics_doc
)]

mod admin;
mod client;
pub mod conformance;
mod figures;
mod harness;
mod ledger;
mod producer;
mod proxy;
pub mod reader;
mod real;
mod setup;
mod stubborn;
mod transaction;

pub use admin::Admin;
pub use client::Client;
pub use conformance::{SinkHarness, SourceHarness};
pub use figures::Figures;
pub use harness::KafkaHarness;
pub use ledger::{Audit, Ledger};
pub use producer::{Producer, TestRecord};
pub use proxy::{Fault, Proxy, Rule};
pub use real::{RealKafka, RealKafkaConfig, kafka_tool};
pub use setup::{cache_dir, example_binary, repository_root, require_real, skip_or_fail};
pub use stubborn::StubbornProducer;
pub use transaction::Transactional;
