//! The Kafka source under fire, on Apache Kafka: brokers that die, logs that are cut, emptied,
//! compacted and recreated, transactions that hang, lines that break. Whatever happens, the
//! partitions and offsets read are held against those written, as multisets.
//!
//! One broker serves the tests that need no death of a broker, a cluster of three the others, one
//! after the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

mod brokers;
mod connections;
mod lost;
mod records;
mod stage;
#[allow(dead_code)]
#[path = "../it/support.rs"]
mod support;
mod topics;
mod transactions;
