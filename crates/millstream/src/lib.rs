//! Structured Streaming from Kafka to Delta, exactly once: session, reader, writer, queries.
//!
//! Reading order: [`session`], `dataframe`, [`plan`], `query`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod batch;
pub mod checkpoint;
pub mod execute;
pub mod functions;
pub mod pipeline;
pub mod plan;
pub mod query;
pub mod session;
pub mod sinks;
pub mod sources;
pub mod verify;

mod column;
mod dataframe;
mod reader;
mod writer;

pub use column::Column;
pub use dataframe::DataFrame;
pub use millstream_core::trigger::Trigger;
pub use millstream_core::{Error, ErrorKind, Result};
pub use query::StreamingQuery;
pub use reader::DataStreamReader;
pub use session::Session;
pub use writer::{DELTA_OPTIONS, DataStreamWriter, OutputMode, WRITER_OPTIONS};
