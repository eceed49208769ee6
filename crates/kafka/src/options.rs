//! The option tables of the Kafka source: what exists, what it means, what is refused by name.
//! Parsing, documents and "did you mean" read the same rows.

use millstream_core::options::OptionSpec;

const fn row(
    name: &'static str,
    scope: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> OptionSpec {
    OptionSpec { name, scope, default, meaning, secret: false }
}

const ALL: &str = "stream and batch";
const STREAM: &str = "stream";
const BATCH: &str = "batch";

/// Options of the source itself: Spark's, and ours where the meaning says so.
pub const SOURCE_OPTIONS: &[OptionSpec] = &[
    row(
        "assign",
        ALL,
        "",
        "Partitions to read, as JSON: {\"t\":[0,1]}. One of assign, subscribe, subscribePattern.",
    ),
    row("subscribe", ALL, "", "Topics to read, separated by commas."),
    row(
        "subscribePattern",
        ALL,
        "",
        "Regular expression of topic names, found anywhere in the name; internal topics are left \
         out. What Rust's `regex` does not know (look-around, back-references) is refused.",
    ),
    row(
        "startingTimestamp",
        ALL,
        "",
        "Milliseconds since the epoch: every partition starts at its first record of that time or \
         later. Comes before startingOffsetsByTimestamp and startingOffsets.",
    ),
    row(
        "startingOffsetsByTimestamp",
        ALL,
        "",
        "The same per partition, as JSON: {\"t\":{\"0\":1700000000000}}; all partitions must be \
         listed. Comes before startingOffsets.",
    ),
    row(
        "startingOffsets",
        ALL,
        "latest (stream), earliest (batch)",
        "earliest, latest, or JSON {\"t\":{\"0\":23,\"1\":-2}} of all partitions, -2 for earliest \
         and -1 for latest. Only used when a query starts for the first time.",
    ),
    row(
        "startingOffsetsByTimestampStrategy",
        ALL,
        "error",
        "Where no record is as young as the timestamp: error, or latest to start at the end.",
    ),
    row("endingOffsets", BATCH, "latest", "latest, or JSON like startingOffsets without -2."),
    row(
        "endingOffsetsByTimestamp",
        BATCH,
        "",
        "Like startingOffsetsByTimestamp, exclusive; the end of the partition where no record is \
         as young. Comes before endingOffsets.",
    ),
    row("endingTimestamp", BATCH, "", "Like startingTimestamp, exclusive. Comes first."),
    row(
        "failOnDataLoss",
        ALL,
        "true",
        "true: stop when records are gone that should be read. false: record the gap, warn, count \
         and go on.",
    ),
    row(
        "maxOffsetsPerTrigger",
        STREAM,
        "",
        "Offsets of one batch at most, shared among the partitions by what each has to offer.",
    ),
    row(
        "minOffsetsPerTrigger",
        STREAM,
        "",
        "Offsets that a batch waits for, for maxTriggerDelay at most.",
    ),
    row("maxTriggerDelay", STREAM, "15m", "How long minOffsetsPerTrigger may hold a batch back."),
    row(
        "maxBytesPerTrigger",
        STREAM,
        "",
        "Ours. Stored (compressed) bytes of one batch, about: estimated from a sample of each \
         partition. A partition that has data always gives one record at least.",
    ),
    row(
        "minPartitions",
        ALL,
        "",
        "Tasks to read with, about; large ranges are split where there are fewer partitions.",
    ),
    row(
        "maxRecordsPerPartition",
        ALL,
        "",
        "Offsets of one task at most; larger ranges are split, before minPartitions looks.",
    ),
    row("includeHeaders", ALL, "false", "Adds the column headers."),
    row(
        "groupIdPrefix",
        ALL,
        "spark-kafka-source (stream), spark-kafka-relation (batch)",
        "Front of the group id named in messages; ignored with kafka.group.id.",
    ),
    row(
        "kafkaConsumer.pollTimeoutMs",
        ALL,
        "120000",
        "Milliseconds without progress after which reading a partition fails.",
    ),
    row("fetchOffset.numRetries", ALL, "3", "Attempts to learn offsets that make sense."),
    row("fetchOffset.retryIntervalMs", ALL, "1000", "Milliseconds between those attempts."),
    row(
        "commitGroupOffsets",
        STREAM,
        "false",
        "Ours. Commits the offsets of completed batches to kafka.group.id, so that Kafka's own \
         tools show the lag. Nothing is ever read from there.",
    ),
];

/// `kafka.*` keys that are honoured.
pub const CLIENT_KEYS: &[OptionSpec] = &[
    row("kafka.bootstrap.servers", ALL, "", "host:port of some brokers, separated by commas."),
    row(
        "kafka.isolation.level",
        ALL,
        "read_uncommitted",
        "read_committed leaves aborted records out and ends at the last stable offset.",
    ),
    row("kafka.client.id", ALL, "millstream", "Name under which brokers log this client."),
    row(
        "kafka.group.id",
        ALL,
        "",
        "Group named in messages and used by commitGroupOffsets. The group is never joined.",
    ),
    row("kafka.fetch.max.bytes", ALL, "52428800", "Bytes of one answer at most, about."),
    row(
        "kafka.max.partition.fetch.bytes",
        ALL,
        "1048576, or more where few partitions share an answer",
        "Bytes of one partition in one answer at most; one record batch always comes whole.",
    ),
    row("kafka.fetch.min.bytes", ALL, "1", "Bytes a broker waits for before it answers."),
    row(
        "kafka.fetch.max.wait.ms",
        ALL,
        "50",
        "How long it waits for them. What a batch reads is there already, so this only delays \
         the end of compacted partitions.",
    ),
    row("kafka.request.timeout.ms", ALL, "30000", "Deadline of one request."),
    row(
        "kafka.default.api.timeout.ms",
        ALL,
        "60000",
        "Deadline of one question to the cluster with all its attempts.",
    ),
    row(
        "kafka.socket.connection.setup.timeout.ms",
        ALL,
        "10000",
        "Deadline of setting up one connection.",
    ),
    row("kafka.reconnect.backoff.ms", ALL, "50", "First pause before connecting again."),
    row("kafka.reconnect.backoff.max.ms", ALL, "1000", "Longest pause before connecting again."),
    row("kafka.retry.backoff.ms", ALL, "100", "First pause before a request is repeated."),
    row("kafka.retry.backoff.max.ms", ALL, "1000", "Longest pause before a request is repeated."),
    row("kafka.receive.buffer.bytes", ALL, "-1", "Socket buffer; -1 lets the system size it."),
    row("kafka.send.buffer.bytes", ALL, "-1", "Socket buffer; -1 lets the system size it."),
    row("kafka.check.crcs", ALL, "true", "Whether checksums of record batches are checked."),
    row("kafka.security.protocol", ALL, "PLAINTEXT", "PLAINTEXT; others come in release 0.2."),
];

/// Kafka keys that would break the source's promises, with Spark's words why.
pub(crate) fn refused_key(key: &str) -> Option<String> {
    let key = key.to_ascii_lowercase();
    let key = key.strip_prefix("kafka.")?;
    match key {
        "auto.offset.reset" => Some(
            "Kafka option 'auto.offset.reset' is not supported. Instead set the source option \
             'startingoffsets' to 'earliest' or 'latest' to specify where to start. Structured \
             Streaming manages which offsets are consumed internally, rather than relying on the \
             kafkaConsumer to do it. This will ensure that no data is missed when new \
             topics/partitions are dynamically subscribed. Note that 'startingoffsets' only \
             applies when a new Streaming query is started, and that resuming will always pick up \
             from where the query left off. See the docs for more details."
                .to_owned(),
        ),
        "key.deserializer" => Some(
            "Kafka option 'key.deserializer' is not supported as keys are deserialized as byte \
             arrays with ByteArrayDeserializer. Use DataFrame operations to explicitly \
             deserialize the keys."
                .to_owned(),
        ),
        "value.deserializer" => Some(
            "Kafka option 'value.deserializer' is not supported as values are deserialized as \
             byte arrays with ByteArrayDeserializer. Use DataFrame operations to explicitly \
             deserialize the values."
                .to_owned(),
        ),
        "enable.auto.commit" | "interceptor.classes" => {
            Some(format!("Kafka option '{key}' is not supported"))
        }
        _ => None,
    }
}

/// Whether a `kafka.*` key belongs to encrypted or authenticated connections.
pub(crate) fn is_security_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.strip_prefix("kafka.").is_some_and(|k| k.starts_with("ssl.") || k.starts_with("sasl."))
}
