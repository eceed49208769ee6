//! How a broker is started: where it keeps its logs, how many nodes it shows, and its limits.

use std::path::PathBuf;

/// Settings of a [`Broker`](crate::Broker). Every limit is a refusal, never a silent cut.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Directory of the logs; `None` keeps everything in memory.
    pub dir: Option<PathBuf>,
    /// Port of the first node on 127.0.0.1; 0 lets the system choose. Further nodes always get a
    /// port from the system.
    pub port: u16,
    /// Nodes of the pretended cluster, 1 to 16. Each has its own port and leads its share of the
    /// partitions; all of them live in this process.
    pub nodes: usize,
    /// Topics created at the start unless they exist, with their partition counts.
    pub topics: Vec<(String, i32)>,
    /// Whether Metadata for an unknown name creates the topic.
    pub auto_create_topics: bool,
    /// Partition count where a request leaves it to the broker.
    pub default_partitions: i32,
    /// Open connections over all nodes; more are closed at once.
    pub connections_max: usize,
    /// Longest request in bytes; a longer one closes the connection.
    pub request_bytes_max: usize,
    /// Longest record batch in bytes unless the topic sets `max.message.bytes`.
    pub message_bytes_max: usize,
    /// Longest answer to a fetch in bytes, whatever the client asks for.
    pub fetch_bytes_max: usize,
    /// Bytes of records that a broker without a directory keeps; then Produce is refused with
    /// `KAFKA_STORAGE_ERROR`.
    pub memory_bytes_max: usize,
    /// Partitions over all topics.
    pub partitions_max: usize,
    /// Size at which a log file is closed and the next one begun.
    pub segment_bytes: u64,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        BrokerConfig {
            dir: None,
            port: 0,
            nodes: 1,
            topics: Vec::new(),
            auto_create_topics: false,
            default_partitions: 1,
            connections_max: 1024,
            request_bytes_max: 64 << 20,
            // The default of Apache Kafka's message.max.bytes.
            message_bytes_max: 1_048_588,
            fetch_bytes_max: 55 << 20,
            memory_bytes_max: 1 << 30,
            partitions_max: 10_000,
            segment_bytes: 64 << 20,
        }
    }
}
