use super::*;
use crate::options::{CLIENT_KEYS, SOURCE_OPTIONS};

const SERVERS: (&str, &str) = ("kafka.bootstrap.servers", "localhost:9092");
const TOPIC: (&str, &str) = ("subscribe", "t");

fn parse(mode: ReadMode, pairs: &[(&str, &str)]) -> Result<KafkaConfig> {
    KafkaConfig::from_options(&pairs.iter().copied().collect(), mode)
}

fn stream(pairs: &[(&str, &str)]) -> Result<KafkaConfig> {
    parse(ReadMode::Stream, &[&[SERVERS, TOPIC], pairs].concat())
}

fn batch(pairs: &[(&str, &str)]) -> Result<KafkaConfig> {
    parse(ReadMode::Batch, &[&[SERVERS, TOPIC], pairs].concat())
}

#[track_caller]
fn refused(outcome: Result<KafkaConfig>, code: &str, message: &str) {
    let error = outcome.unwrap_err();
    assert_eq!((error.code(), error.message()), (code, message));
}

#[track_caller]
fn invalid(outcome: Result<KafkaConfig>, message: &str) {
    refused(outcome, "KAFKA_OPTION_INVALID", message);
}

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

#[test]
fn defaults_are_sparks() {
    let config = stream(&[]).unwrap();
    assert_eq!((&config.starting, config.no_match), (&OffsetLimit::Latest, NoMatch::Error));
    assert!(config.fail_on_data_loss && !config.include_headers && !config.commit_group_offsets);
    assert_eq!((config.max_offsets, config.min_offsets, config.max_bytes), (None, None, None));
    assert_eq!((config.min_partitions, config.max_records_per_partition), (None, None));
    assert_eq!(config.max_trigger_delay, Duration::from_secs(15 * 60));
    assert_eq!((config.group_id_prefix.as_str(), config.group_id), ("spark-kafka-source", None));
    assert_eq!(config.poll_timeout, Duration::from_secs(120));
    assert_eq!(config.offset_attempts, 3);
    assert_eq!(config.offset_retry_interval, Duration::from_secs(1));
    assert_eq!(config.client.isolation, Isolation::Uncommitted);
    assert_eq!(config.client.bootstrap, [("localhost".to_owned(), 9092)]);
    let config = batch(&[]).unwrap();
    assert_eq!((&config.starting, &config.ending), (&OffsetLimit::Earliest, &OffsetLimit::Latest));
    assert_eq!(config.group_id_prefix, "spark-kafka-relation");
    assert_eq!(config.mode(), ReadMode::Batch);
}

#[test]
fn the_schema_is_fixed_and_nullable() {
    let names = |config: KafkaConfig| -> Vec<String> {
        config.schema().fields().iter().map(|f| f.name().clone()).collect()
    };
    let base = ["key", "value", "topic", "partition", "offset", "timestamp", "timestampType"];
    assert_eq!(names(stream(&[]).unwrap()), base);
    let with = stream(&[("includeHeaders", "TRUE")]).unwrap();
    assert!(with.schema().fields().iter().all(|f| f.is_nullable()));
    assert_eq!(names(with)[7], "headers");
}

#[test]
fn bootstrap_servers_are_required_and_checked() {
    refused(
        parse(ReadMode::Stream, &[TOPIC]),
        "KAFKA_OPTION_MISSING",
        "Option 'kafka.bootstrap.servers' must be specified for configuring Kafka consumer",
    );
    let with = |servers| parse(ReadMode::Stream, &[TOPIC, ("kafka.bootstrap.servers", servers)]);
    for bad in ["localhost", "localhost:", ":1", "h:0", "h:70000", "SSL://h:1", "::1:9092"] {
        invalid(with(bad), &format!("Invalid url in bootstrap.servers: {bad}"));
    }
    invalid(with(" , "), "No resolvable bootstrap urls given in bootstrap.servers");
    let good = with("a:1, plaintext://b:2 ,[::1]:3").unwrap();
    let pair = |host: &str, port| (host.to_owned(), port);
    assert_eq!(good.client.bootstrap, [pair("a", 1), pair("b", 2), pair("::1", 3)]);
}

#[test]
fn exactly_one_way_to_choose_partitions() {
    let listed = "subscribe, subscribepattern, assign. See the docs for more details.";
    refused(
        parse(ReadMode::Stream, &[SERVERS]),
        "KAFKA_OPTION_MISSING",
        &format!("One of the following options must be specified for Kafka source: {listed}"),
    );
    let several =
        format!("Only one of the following options can be specified for Kafka source: {listed}");
    invalid(stream(&[("subscribePattern", "x")]), &several);
    invalid(stream(&[("ASSIGN", "{}")]), &several);
}

#[test]
fn subscriptions_are_read_and_shown_as_spark_does() {
    let with = |name, value| parse(ReadMode::Stream, &[SERVERS, (name, value)]);
    let shown = |name, value| with(name, value).unwrap().subscription.to_string();
    assert_eq!(shown("subscribe", " b ,,a"), "Subscribe[b, a]");
    assert_eq!(shown("subscribePattern", " ev.* "), "SubscribePattern[ev.*]");
    assert_eq!(shown("assign", r#"{"t":[1,0],"s":[2]}"#), "Assign[s-2, t-0, t-1]");
    invalid(
        with("subscribe", " , "),
        "No topics to subscribe to as specified value for option 'subscribe' is ' , '",
    );
    invalid(
        with("subscribePattern", "  "),
        "Pattern to subscribe is empty as specified value for option 'subscribePattern' is '  '",
    );
    invalid(
        with("assign", "t-0"),
        "No topicpartitions to assign as specified value for option 'assign' is 't-0'",
    );
    for bad in ["{", r#"{"t":0}"#, r#"{"t":["x"]}"#, "{}", r#"{"t":[-1]}"#] {
        invalid(
            with("assign", bad),
            &format!("Expected e.g. {{\"topicA\":[0,1],\"topicB\":[0,1]}}, got {bad}"),
        );
    }
    let error = with("subscribePattern", "a(?=b)").unwrap_err();
    assert_eq!(error.code(), "KAFKA_PATTERN_UNSUPPORTED");
}

#[test]
fn starting_positions_by_precedence() {
    let starting = |pairs: &[(&str, &str)]| stream(pairs).unwrap().starting;
    let offsets = ("startingOffsets", r#"{"t":{"0":5,"1":-1,"2":-2}}"#);
    let by_timestamp = ("startingOffsetsByTimestamp", r#"{"t":{"0":7}}"#);
    let timestamp = ("startingTimestamp", " 9 ");
    let specific = BTreeMap::from([(tp("t", 0), 5), (tp("t", 1), -1), (tp("t", 2), -2)]);
    assert_eq!(starting(&[offsets]), OffsetLimit::Specific(specific));
    let times = BTreeMap::from([(tp("t", 0), 7)]);
    assert_eq!(starting(&[offsets, by_timestamp]), OffsetLimit::ByTimestamp(times));
    assert_eq!(starting(&[offsets, by_timestamp, timestamp]), OffsetLimit::Timestamp(9));
    assert_eq!(starting(&[("startingOffsets", "Latest ")]), OffsetLimit::Latest);
    assert_eq!(starting(&[("startingOffsets", "EARLIEST")]), OffsetLimit::Earliest);
}

#[test]
fn malformed_positions_are_answered_with_an_example() {
    for mode in [ReadMode::Stream, ReadMode::Batch] {
        let with = |name, value| parse(mode, &[SERVERS, TOPIC, (name, value)]);
        for bad in ["newest", "{", r#"{"t":{"0":"x"}}"#, r#"{"t":{"0":-3}}"#] {
            invalid(
                with("startingOffsets", bad),
                &format!(
                    "Expected e.g. {{\"topicA\":{{\"0\":23,\"1\":-1}},\"topicB\":{{\"0\":-2}}}}, \
                     got {bad}"
                ),
            );
        }
        for bad in ["7", r#"{"t":{"0":-1}}"#] {
            invalid(
                with("startingOffsetsByTimestamp", bad),
                &format!(
                    "Expected e.g. {{\"topicA\": {{\"0\": 123456789, \"1\": 123456789}}, \
                     \"topicB\": {{\"0\": 123456789, \"1\": 123456789}}}}, got {bad}"
                ),
            );
        }
        for bad in ["x", "1.5", "-1", ""] {
            invalid(
                with("startingTimestamp", bad),
                &format!("Expected a single long value, got {bad}"),
            );
        }
    }
    invalid(batch(&[("endingTimestamp", "x")]), "Expected a single long value, got x");
    assert!(batch(&[("endingOffsets", "x")]).is_err());
    assert!(batch(&[("endingOffsetsByTimestamp", "x")]).is_err());
}

#[test]
fn the_strategy_without_a_match() {
    let with = |value| stream(&[("startingOffsetsByTimestampStrategy", value)]);
    assert_eq!(with("Error").unwrap().no_match, NoMatch::Error);
    assert_eq!(with("latest").unwrap().no_match, NoMatch::Latest);
    invalid(with("first"), "No value found for 'FIRST'");
}

#[test]
fn endings_are_for_batch_reads() {
    invalid(stream(&[("endingOffsets", "latest")]), "ending offset not valid in streaming queries");
    invalid(
        stream(&[("endingOffsetsByTimestamp", "{}")]),
        "ending timestamp not valid in streaming queries",
    );
    stream(&[("endingTimestamp", "5")]).expect("Spark ignores it silently; we warn");
    let ending = |pairs: &[(&str, &str)]| batch(pairs).unwrap().ending;
    let offsets = ("endingOffsets", r#"{"t":{"0":5,"1":-1}}"#);
    let times = ("endingOffsetsByTimestamp", r#"{"t":{"0":7}}"#);
    let specific = BTreeMap::from([(tp("t", 0), 5), (tp("t", 1), -1)]);
    assert_eq!(ending(&[offsets]), OffsetLimit::Specific(specific));
    let expected = BTreeMap::from([(tp("t", 0), 7)]);
    assert_eq!(ending(&[offsets, times]), OffsetLimit::ByTimestamp(expected));
    let timestamp = ("endingTimestamp", "9");
    assert_eq!(ending(&[offsets, times, timestamp]), OffsetLimit::Timestamp(9));
}

#[test]
fn batch_reads_refuse_ends_that_never_come() {
    invalid(
        batch(&[("startingOffsets", "latest")]),
        "starting offset can't be latest for batch queries on Kafka",
    );
    invalid(
        batch(&[("startingOffsets", r#"{"t":{"0":-1}}"#)]),
        "startingOffsets for t-0 can't be latest for batch queries on Kafka",
    );
    invalid(
        batch(&[("endingOffsets", "earliest")]),
        "ending offset can't be earliest for batch queries on Kafka",
    );
    invalid(
        batch(&[("endingOffsets", r#"{"t":{"0":-2}}"#)]),
        "ending offset for t-0 can't be earliest for batch queries on Kafka",
    );
}

#[test]
fn start_and_end_must_fit_together() {
    let offsets = |start, end| batch(&[("startingOffsets", start), ("endingOffsets", end)]);
    refused(
        offsets(r#"{"t":{"0":1}}"#, r#"{"t":{"1":1}}"#),
        "MISMATCHED_TOPIC_PARTITIONS_BETWEEN_START_OFFSET_AND_END_OFFSET",
        "The specified start offset and end offset should have the same topic-partitions. \
         Topic-partitions for start offset: [t-0], topic-partitions for end offset: [t-1].",
    );
    refused(
        offsets(r#"{"t":{"0":9}}"#, r#"{"t":{"0":8}}"#),
        "UNRESOLVED_START_OFFSET_GREATER_THAN_END_OFFSET",
        "The specified start offset 9 is greater than the end offset 8 for topic t partition 0.",
    );
    offsets(r#"{"t":{"0":9}}"#, r#"{"t":{"0":-1}}"#).expect("latest is not compared");
    let times = |start, end| {
        batch(&[("startingOffsetsByTimestamp", start), ("endingOffsetsByTimestamp", end)])
    };
    refused(
        times(r#"{"t":{"0":9}}"#, r#"{"t":{"0":8}}"#),
        "UNRESOLVED_START_OFFSET_GREATER_THAN_END_OFFSET",
        "The specified start timestamp 9 is greater than the end timestamp 8 for topic t \
         partition 0.",
    );
    assert!(times(r#"{"t":{"0":9}}"#, r#"{"u":{"0":9}}"#).is_err());
}

#[test]
fn limits_must_be_positive_and_in_order() {
    let config = stream(&[
        ("maxOffsetsPerTrigger", "100"),
        ("minOffsetsPerTrigger", "100"),
        ("maxTriggerDelay", "30s"),
        ("maxBytesPerTrigger", "5"),
        ("minPartitions", "3"),
        ("maxRecordsPerPartition", "7"),
    ])
    .unwrap();
    assert_eq!((config.max_offsets, config.min_offsets), (Some(100), Some(100)));
    assert_eq!((config.max_bytes, config.max_trigger_delay), (Some(5), Duration::from_secs(30)));
    assert_eq!((config.min_partitions, config.max_records_per_partition), (Some(3), Some(7)));
    invalid(
        stream(&[("maxOffsetsPerTrigger", "5"), ("minOffsetsPerTrigger", "6")]),
        "The value of minOffsetPerTrigger(6) is higher than the maxOffsetsPerTrigger(5).",
    );
    for zero in ["0", "-1"] {
        invalid(stream(&[("minPartitions", zero)]), "minPartitions must be positive");
        invalid(
            stream(&[("maxRecordsPerPartition", zero)]),
            "maxrecordsperpartition must be positive",
        );
        invalid(stream(&[("maxOffsetsPerTrigger", zero)]), "maxOffsetsPerTrigger must be positive");
        invalid(stream(&[("maxBytesPerTrigger", zero)]), "maxBytesPerTrigger must be positive");
    }
    for name in ["minPartitions", "maxRecordsPerPartition", "maxOffsetsPerTrigger"] {
        let message = format!("Option '{name}' must be a whole number, got 'x'.");
        invalid(stream(&[(name, "x")]), &message);
    }
    let error = stream(&[("maxTriggerDelay", "soon")]).unwrap_err();
    assert_eq!(error.code(), "INTERVAL_INVALID");
    assert!(stream(&[("minOffsetsPerTrigger", "-1")]).is_err());
    batch(&[("maxOffsetsPerTrigger", "5")]).expect("ignored with a warning");
}

#[test]
fn booleans_numbers_and_groups() {
    let config = stream(&[
        ("FAILONDATALOSS", "False"),
        ("kafkaConsumer.pollTimeoutMs", "512"),
        ("fetchOffset.numRetries", "7"),
        ("fetchOffset.retryIntervalMs", "0"),
        ("groupIdPrefix", "mine"),
    ])
    .unwrap();
    assert!(!config.fail_on_data_loss);
    assert_eq!(config.poll_timeout, Duration::from_millis(512));
    assert_eq!((config.offset_attempts, config.offset_retry_interval), (7, Duration::ZERO));
    assert_eq!(config.group_id_prefix, "mine");
    for name in ["failOnDataLoss", "includeHeaders", "commitGroupOffsets", "kafka.check.crcs"] {
        let message = format!("Option '{name}' must be true or false, got 'yes'.");
        invalid(stream(&[(name, "yes")]), &message);
    }
    invalid(
        stream(&[("fetchOffset.numRetries", "0")]),
        "Option 'fetchOffset.numRetries' must be a whole number from 1 to 1000, got '0'.",
    );
    assert!(stream(&[("kafkaConsumer.pollTimeoutMs", "0")]).is_err());
    assert!(stream(&[("fetchOffset.retryIntervalMs", "-1")]).is_err());
    refused(
        stream(&[("commitGroupOffsets", "true")]),
        "KAFKA_OPTION_MISSING",
        "Option 'commitGroupOffsets' needs the group to commit to.",
    );
    let config = stream(&[("commitGroupOffsets", "true"), ("kafka.group.id", "g")]).unwrap();
    assert_eq!((config.group_id.as_deref(), config.commit_group_offsets), (Some("g"), true));
}

#[test]
fn client_keys_are_honoured() {
    let client = stream(&[
        ("kafka.isolation.level", "READ_COMMITTED"),
        ("kafka.client.id", "me"),
        ("kafka.fetch.max.bytes", "1"),
        ("kafka.max.partition.fetch.bytes", "2"),
        ("kafka.fetch.min.bytes", "3"),
        ("kafka.fetch.max.wait.ms", "4"),
        ("kafka.request.timeout.ms", "5"),
        ("kafka.default.api.timeout.ms", "6"),
        ("kafka.socket.connection.setup.timeout.ms", "7"),
        ("kafka.reconnect.backoff.ms", "8"),
        ("kafka.reconnect.backoff.max.ms", "9"),
        ("kafka.retry.backoff.ms", "11"),
        ("kafka.retry.backoff.max.ms", "10"),
        ("kafka.receive.buffer.bytes", "-1"),
        ("kafka.send.buffer.bytes", "12"),
        ("kafka.check.crcs", "false"),
        ("kafka.security.protocol", "plaintext"),
    ])
    .unwrap()
    .client;
    let ms = Duration::from_millis;
    assert_eq!((client.isolation, client.client_id.as_str()), (Isolation::Committed, "me"));
    assert_eq!((client.fetch_max_bytes, client.partition_max_bytes), (1, Some(2)));
    assert_eq!((client.fetch_min_bytes, client.fetch_max_wait), (3, ms(4)));
    assert_eq!((client.request_timeout, client.api_timeout), (ms(5), ms(6)));
    assert_eq!((client.connect_timeout, client.reconnect_backoff), (ms(7), (ms(8), ms(9))));
    assert_eq!(client.retry_backoff, (ms(11), ms(11)), "the most is never below the first");
    assert_eq!((client.receive_buffer, client.send_buffer), (None, Some(12)));
    assert!(!client.check_crcs);
    invalid(
        stream(&[("kafka.isolation.level", "serializable")]),
        "Option 'kafka.isolation.level' must be read_uncommitted or read_committed, got \
         'serializable'.",
    );
    for key in CLIENT_KEYS.iter().filter(|k| k.default.parse::<i64>().is_ok()) {
        assert!(stream(&[(key.name, "many")]).is_err(), "{}", key.name);
    }
}

#[test]
fn keys_that_would_break_a_promise_are_refused_by_name() {
    let message = |key: &str| {
        let error = stream(&[(key, "x")]).unwrap_err();
        assert_eq!(error.code(), "KAFKA_OPTION_UNSUPPORTED", "{key}");
        error.message().to_owned()
    };
    assert!(message("kafka.auto.offset.reset").starts_with(
        "Kafka option 'auto.offset.reset' is not supported. Instead set the source option \
         'startingoffsets' to 'earliest' or 'latest' to specify where to start."
    ));
    assert_eq!(
        message("Kafka.Key.Deserializer"),
        "Kafka option 'key.deserializer' is not supported as keys are deserialized as byte \
         arrays with ByteArrayDeserializer. Use DataFrame operations to explicitly deserialize \
         the keys."
    );
    assert!(message("kafka.value.deserializer").contains("not supported as values are"));
    for key in ["enable.auto.commit", "interceptor.classes", "max.poll.records", "acks"] {
        let expected = format!("Kafka option '{key}' is not supported");
        assert_eq!(message(&format!("kafka.{key}")), expected);
    }
    let near = stream(&[("kafka.fetch.max.byte", "1")]).unwrap_err();
    assert_eq!(near.cure_text(), Some("Did you mean `kafka.fetch.max.bytes`?"));
}

#[test]
fn security_comes_later_and_says_so() {
    for key in ["kafka.ssl.truststore.location", "kafka.sasl.mechanism", "KAFKA.SASL.JAAS.CONFIG"] {
        let error = stream(&[(key, "hunter2")]).unwrap_err();
        assert_eq!(error.code(), "KAFKA_OPTION_NOT_YET");
        assert!(error.message().contains("release 0.2"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "no secret in an error");
    }
    for protocol in ["SSL", "SASL_PLAINTEXT", "SASL_SSL"] {
        refused(
            stream(&[("kafka.security.protocol", protocol)]),
            "KAFKA_OPTION_NOT_YET",
            &format!(
                "Option 'kafka.security.protocol' is '{protocol}'; TLS and SASL come in release \
                 0.2."
            ),
        );
    }
}

#[test]
fn unknown_options_are_refused_with_the_nearest_name() {
    let error = stream(&[("maxOffsetPerTrigger", "5")]).unwrap_err();
    assert_eq!(error.code(), "OPTION_UNKNOWN");
    assert_eq!(error.cure_text(), Some("Did you mean `maxOffsetsPerTrigger`?"));
}

#[test]
fn every_row_of_the_tables_is_read_in_any_case() {
    let value = |name: &str| match name {
        "assign" => r#"{"t":[0]}"#,
        "startingOffsetsByTimestamp" | "endingOffsetsByTimestamp" => r#"{"t":{"0":1}}"#,
        "startingOffsets" => "earliest",
        "endingOffsets" => "latest",
        "startingOffsetsByTimestampStrategy" => "latest",
        "failOnDataLoss" | "includeHeaders" | "kafka.check.crcs" => "true",
        "commitGroupOffsets" => "false",
        "kafka.isolation.level" => "read_committed",
        "kafka.security.protocol" => "PLAINTEXT",
        "kafka.bootstrap.servers" => "h:1",
        _ => "5",
    };
    for row in SOURCE_OPTIONS.iter().chain(CLIENT_KEYS) {
        let mode = if row.scope == "batch" { ReadMode::Batch } else { ReadMode::Stream };
        let mut options: OptionMap = [SERVERS].into_iter().collect();
        if !["assign", "subscribe", "subscribePattern"].contains(&row.name) {
            options.insert(TOPIC.0, TOPIC.1);
        }
        options.insert(row.name.to_uppercase(), value(row.name));
        KafkaConfig::from_options(&options, mode).unwrap_or_else(|e| panic!("{}: {e}", row.name));
        assert!(!row.meaning.is_empty());
    }
}

#[test]
fn secrets_do_not_travel() {
    const TABLE: &[OptionSpec] = &[OptionSpec {
        name: "kafka.sasl.password",
        scope: "stream",
        default: "",
        meaning: "",
        secret: true,
    }];
    let planted = [
        ("kafka.sasl.password", "hunter2"),
        ("KAFKA.SASL.Password", "hunter2"),
        ("kafka.sasl.jaas.config", "password=\"hunter2\""),
        ("kafka.ssl.keystore.password", "hunter2"),
        ("my.token", "hunter2"),
    ];
    for secret in planted {
        let options: OptionMap = [SERVERS, secret, ("SubScribe", "t")].into_iter().collect();
        let kept = portable(&options, &[TABLE, SOURCE_OPTIONS, CLIENT_KEYS]);
        let kept: Vec<(&str, &str)> = kept.iter().collect();
        assert_eq!(kept, [SERVERS, ("SubScribe", "t")], "{secret:?}");
    }
    let config = stream(&[("includeHeaders", "true")]).unwrap();
    let kept: Vec<(&str, &str)> = config.portable_options().iter().collect();
    assert_eq!(kept, [SERVERS, TOPIC, ("includeHeaders", "true")]);
}

#[test]
fn options_with_the_name_of_a_secret_are_marked_as_one() {
    for spec in SOURCE_OPTIONS.iter().chain(CLIENT_KEYS) {
        let name = spec.name.to_lowercase();
        let words = ["password", "jaas", "secret", "token", "keystore.key", "credential"];
        if words.iter().any(|word| name.contains(word)) {
            assert!(spec.secret, "`{}` is not marked as a secret", spec.name);
        }
    }
}
