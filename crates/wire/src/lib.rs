//! Kafka record batches (message format v2): headers, checksums, codecs, records as slices.
