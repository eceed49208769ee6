//! Structured Streaming from Kafka to Delta, exactly once: session, reader, writer, queries.
//!
//! The words are Spark's: a [`Session`] reads a stream, verbs make a [`DataFrame`] of it, a writer
//! starts a [`StreamingQuery`]. From Kafka to a Delta table, and the table read with SQL; the broker
//! of this example is the one for learning, any Apache Kafka will do:
//!
//! ```
//! use millstream::batch::LakeCatalog;
//! use millstream::functions::{col, current_timestamp, from_json};
//! use millstream::{Session, Trigger};
//! use std::sync::Arc;
//! # use millstream_testkit::{KafkaHarness, TestRecord};
//!
//! # #[tokio::main]
//! # async fn main() -> millstream::Result<()> {
//! # let kafka = KafkaHarness::embedded();
//! # kafka.admin().await.create_topic("orders", 1).await;
//! # let records = [r#"{"id":"a","amount":5}"#, r#"{"id":"b","amount":-1}"#].map(TestRecord::value);
//! # kafka.producer().await.produce("orders", 0, &records, millstream_wire::Codec::None).await;
//! # let brokers = kafka.bootstrap_servers();
//! # let directory = tempfile::tempdir().expect("a directory");
//! # let lake = directory.path();
//! let session = Session::builder().build()?;
//! let orders = session
//!     .read_stream()
//!     .format("kafka")
//!     .option("kafka.bootstrap.servers", brokers)
//!     .option("subscribe", "orders")
//!     .option("startingOffsets", "earliest")
//!     .load()?
//!     .select([from_json(col("value").cast("STRING"), "id STRING, amount INT").alias("o")])?
//!     .select(["o.*"])?
//!     .filter("amount > 0")?
//!     .with_column("seen", current_timestamp())?;
//!
//! let query = orders
//!     .write_stream()
//!     .format("delta")
//!     .output_mode("append")
//!     .option("checkpointLocation", lake.join("_checkpoints/orders").display())
//!     .partition_by(["id"])
//!     .trigger(Trigger::AvailableNow)
//!     .start(lake.join("orders"))
//!     .await?;
//! query.await_termination().await?;
//!
//! session.set_catalog(Arc::new(LakeCatalog::new(lake)));
//! let rows = session.sql("SELECT id, amount FROM orders WHERE seen IS NOT NULL")?.collect().await?;
//! assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! Reading order: [`session`], [`DataFrame`], [`plan`], [`query`].
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

pub use column::{Column, Condition, Operand};
pub use dataframe::DataFrame;
pub use millstream_core::trigger::Trigger;
pub use millstream_core::{Error, ErrorKind, Result};
pub use query::StreamingQuery;
pub use reader::DataStreamReader;
pub use session::Session;
pub use writer::{DELTA_OPTIONS, DataStreamWriter, OutputMode, WRITER_OPTIONS};
