//! Structured Streaming from Kafka to Delta, exactly once: session, reader, writer, queries.

pub mod checkpoint;
