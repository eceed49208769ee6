//! The Kafka source: options, connections, metadata with topic ids, fetch path, data-loss rules.
