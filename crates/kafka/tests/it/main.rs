//! The Kafka source against brokers: the embedded one with faults on demand, and Apache Kafka
//! where it is installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod admission;
mod faults;
mod flips;
mod loss;
mod positions;
mod reading;
mod real;
mod support;
