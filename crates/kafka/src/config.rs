//! Options to settings: every validation that needs no broker, with Spark's words where Spark
//! has them (`KafkaSourceProvider`).

mod limits;
#[cfg(test)]
mod tests;

use crate::options::{CLIENT_KEYS, SOURCE_OPTIONS, is_security_key, refused_key};
use crate::subscription::{Subscription, TopicPattern};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
pub(crate) use limits::{NoMatch, OffsetLimit};
use millstream_core::offsets::TopicPartition;
use millstream_core::options::{OptionMap, OptionSpec, did_you_mean, refuse_unknown};
use millstream_core::trigger::parse_interval;
use millstream_core::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Whether a source is read as a stream or once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadMode {
    /// A streaming query: ends are the loop's business.
    Stream,
    /// A batch query: options say where it ends.
    Batch,
}

/// Which records of transactions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    Uncommitted = 0,
    Committed = 1,
}

/// Everything about connections and requests.
#[derive(Debug, Clone)]
pub(crate) struct ClientSettings {
    /// `host:port` pairs, at least one.
    pub(crate) bootstrap: Vec<(String, u16)>,
    pub(crate) isolation: Isolation,
    pub(crate) client_id: String,
    pub(crate) fetch_max_bytes: i32,
    /// `None`: one MiB, or more where few partitions share an answer.
    pub(crate) partition_max_bytes: Option<i32>,
    pub(crate) fetch_min_bytes: i32,
    pub(crate) fetch_max_wait: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) api_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) reconnect_backoff: (Duration, Duration),
    pub(crate) retry_backoff: (Duration, Duration),
    pub(crate) receive_buffer: Option<u32>,
    pub(crate) send_buffer: Option<u32>,
    pub(crate) check_crcs: bool,
}

/// The settings of one Kafka source.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    pub(crate) mode: ReadMode,
    pub(crate) subscription: Subscription,
    pub(crate) starting: OffsetLimit,
    pub(crate) ending: OffsetLimit,
    pub(crate) no_match: NoMatch,
    pub(crate) fail_on_data_loss: bool,
    pub(crate) max_offsets: Option<i64>,
    pub(crate) min_offsets: Option<i64>,
    pub(crate) max_trigger_delay: Duration,
    pub(crate) max_bytes: Option<i64>,
    pub(crate) min_partitions: Option<i32>,
    pub(crate) max_records_per_partition: Option<i64>,
    pub(crate) include_headers: bool,
    pub(crate) group_id_prefix: String,
    pub(crate) group_id: Option<String>,
    pub(crate) commit_group_offsets: bool,
    pub(crate) poll_timeout: Duration,
    pub(crate) offset_attempts: u32,
    pub(crate) offset_retry_interval: Duration,
    pub(crate) client: ClientSettings,
    portable: OptionMap,
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::invalid("KAFKA_OPTION_INVALID", message)
}

impl KafkaConfig {
    /// Reads and validates the options of a source.
    ///
    /// # Errors
    /// `OPTION_UNKNOWN`, `KAFKA_OPTION_MISSING`, `KAFKA_OPTION_INVALID`,
    /// `KAFKA_OPTION_UNSUPPORTED`, `KAFKA_OPTION_NOT_YET`, `KAFKA_PATTERN_UNSUPPORTED`,
    /// `KAFKA_PATTERN_INVALID`, and Spark's classes for start and end that do not fit together.
    pub fn from_options(options: &OptionMap, mode: ReadMode) -> Result<KafkaConfig> {
        refuse_keys(options)?;
        refuse_unknown(options, &[SOURCE_OPTIONS, CLIENT_KEYS], "The Kafka source")?;
        let no_match = NoMatch::parse(options)?;
        let (starting, ending) = limits::limits(options, mode)?;
        let subscription = subscription(options)?;
        let min_partitions = positive(options, "minPartitions", "minPartitions must be positive")?;
        let max_records_per_partition =
            positive(options, "maxRecordsPerPartition", "maxrecordsperpartition must be positive")?;
        let bootstrap = bootstrap(options)?;
        let (min_offsets, max_offsets) = offsets_per_trigger(options)?;
        let group_id = options.get("kafka.group.id").map(str::to_owned);
        let commit_group_offsets = boolean(options, "commitGroupOffsets", false)?;
        if commit_group_offsets && group_id.is_none() {
            return Err(Error::invalid(
                "KAFKA_OPTION_MISSING",
                "Option 'commitGroupOffsets' needs the group to commit to.",
            )
            .cure("Set 'kafka.group.id'."));
        }
        let config = KafkaConfig {
            mode,
            subscription,
            starting,
            ending,
            no_match,
            fail_on_data_loss: boolean(options, "failOnDataLoss", true)?,
            max_offsets,
            min_offsets,
            max_trigger_delay: max_trigger_delay(options)?,
            max_bytes: positive(
                options,
                "maxBytesPerTrigger",
                "maxBytesPerTrigger must be positive",
            )?,
            min_partitions,
            max_records_per_partition,
            include_headers: boolean(options, "includeHeaders", false)?,
            group_id_prefix: options
                .get("groupIdPrefix")
                .unwrap_or(match mode {
                    ReadMode::Stream => "spark-kafka-source",
                    ReadMode::Batch => "spark-kafka-relation",
                })
                .to_owned(),
            group_id,
            commit_group_offsets,
            poll_timeout: millis(options, "kafkaConsumer.pollTimeoutMs", 120_000, 1)?,
            offset_attempts: number(options, "fetchOffset.numRetries", 1..=1_000)?.unwrap_or(3),
            offset_retry_interval: millis(options, "fetchOffset.retryIntervalMs", 1_000, 0)?,
            client: client_settings(options, bootstrap)?,
            portable: portable(options, &[SOURCE_OPTIONS, CLIENT_KEYS]),
        };
        config.warn(options);
        Ok(config)
    }

    /// The columns of every row, all nullable: Spark's fixed schema.
    pub fn schema(&self) -> SchemaRef {
        let utc = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let mut fields = vec![
            Field::new("key", DataType::Binary, true),
            Field::new("value", DataType::Binary, true),
            Field::new("topic", DataType::Utf8, true),
            Field::new("partition", DataType::Int32, true),
            Field::new("offset", DataType::Int64, true),
            Field::new("timestamp", utc(), true),
            Field::new("timestampType", DataType::Int32, true),
        ];
        if self.include_headers {
            fields.push(Field::new("headers", DataType::List(headers_item()), true));
        }
        Arc::new(Schema::new(fields))
    }

    /// The options as they were given, without those that hold a secret: what may be written down
    /// for another process to read the same records.
    pub fn portable_options(&self) -> &OptionMap {
        &self.portable
    }

    /// Which mode it was made for.
    pub fn mode(&self) -> ReadMode {
        self.mode
    }

    /// What Spark warns about, and what it ignores silently.
    fn warn(&self, options: &OptionMap) {
        if self.group_id.is_some() {
            tracing::warn!("{}", crate::loss::CUSTOM_GROUP_ID);
            if options.get("groupIdPrefix").is_some() {
                tracing::warn!(
                    "Option groupIdPrefix will be ignored as option kafka.group.id has been set."
                );
            }
        }
        let ignored: &[&str] = match self.mode {
            ReadMode::Stream => &["endingTimestamp"],
            ReadMode::Batch => &[
                "maxOffsetsPerTrigger",
                "minOffsetsPerTrigger",
                "maxTriggerDelay",
                "maxBytesPerTrigger",
                "commitGroupOffsets",
            ],
        };
        let mode = match self.mode {
            ReadMode::Stream => "streaming",
            ReadMode::Batch => "batch",
        };
        for name in ignored.iter().filter(|n| options.get(n).is_some()) {
            tracing::warn!("{name} option ignored in {mode} queries");
        }
    }
}

/// The element of the headers column.
pub(crate) fn headers_item() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Struct(header_fields()), true))
}

pub(crate) fn header_fields() -> Fields {
    Fields::from(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Binary, true),
    ])
}

/// What `tables` know and do not call a secret. An option that no table knows is left out as well:
/// what is not understood may hold anything.
fn portable(options: &OptionMap, tables: &[&[OptionSpec]]) -> OptionMap {
    let may_travel = |name: &str| {
        let spec = tables.iter().flat_map(|t| t.iter()).find(|s| s.name.eq_ignore_ascii_case(name));
        spec.is_some_and(|s| !s.secret)
    };
    options.iter().filter(|(name, _)| may_travel(name)).collect()
}

/// Refuses `kafka.*` keys by name: those that would break a promise, those to come, the others.
fn refuse_keys(options: &OptionMap) -> Result<()> {
    for (name, _) in options.iter() {
        if let Some(why) = refused_key(name) {
            return Err(Error::invalid("KAFKA_OPTION_UNSUPPORTED", why));
        }
        if is_security_key(name) {
            return Err(Error::invalid(
                "KAFKA_OPTION_NOT_YET",
                format!("Option '{name}' needs TLS or SASL, which come in release 0.2."),
            )
            .cure("Until then connect to a PLAINTEXT listener."));
        }
        let is_client_key =
            name.get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case("kafka."));
        if is_client_key && !CLIENT_KEYS.iter().any(|k| k.name.eq_ignore_ascii_case(name)) {
            let mut error = Error::invalid(
                "KAFKA_OPTION_UNSUPPORTED",
                format!("Kafka option '{}' is not supported", name.get(6..).unwrap_or_default()),
            );
            if let Some(near) = did_you_mean(name, CLIENT_KEYS.iter().map(|k| k.name)) {
                error = error.cure(format!("Did you mean `{near}`?"));
            }
            return Err(error);
        }
    }
    let protocol = options.get("kafka.security.protocol").unwrap_or("PLAINTEXT");
    if !protocol.trim().eq_ignore_ascii_case("PLAINTEXT") {
        return Err(Error::invalid(
            "KAFKA_OPTION_NOT_YET",
            format!(
                "Option 'kafka.security.protocol' is '{protocol}'; TLS and SASL come in release 0.2."
            ),
        )
        .cure("Until then use PLAINTEXT."));
    }
    Ok(())
}

fn subscription(options: &OptionMap) -> Result<Subscription> {
    const STRATEGIES: [&str; 3] = ["subscribe", "subscribePattern", "assign"];
    let given: Vec<(&str, &str)> =
        STRATEGIES.iter().filter_map(|n| options.get(n).map(|v| (*n, v))).collect();
    let listed = "subscribe, subscribepattern, assign. See the docs for more details.";
    match given.as_slice() {
        [] => Err(Error::invalid(
            "KAFKA_OPTION_MISSING",
            format!("One of the following options must be specified for Kafka source: {listed}"),
        )),
        [("assign", value)] => assign(value),
        [("subscribe", value)] => {
            let topics: Vec<String> = value
                .split(',')
                .map(str::trim)
                .filter(|t| !t.is_empty())
                .map(str::to_owned)
                .collect();
            if topics.is_empty() {
                return Err(invalid(format!(
                    "No topics to subscribe to as specified value for option 'subscribe' is \
                     '{value}'"
                )));
            }
            Ok(Subscription::Subscribe(topics))
        }
        [(_, value)] => {
            if value.trim().is_empty() {
                return Err(invalid(format!(
                    "Pattern to subscribe is empty as specified value for option \
                     'subscribePattern' is '{value}'"
                )));
            }
            Ok(Subscription::Pattern(Box::new(TopicPattern::parse(value.trim())?)))
        }
        _ => Err(invalid(format!(
            "Only one of the following options can be specified for Kafka source: {listed}"
        ))),
    }
}

fn assign(value: &str) -> Result<Subscription> {
    if !value.trim().starts_with('{') {
        return Err(invalid(format!(
            "No topicpartitions to assign as specified value for option 'assign' is '{value}'"
        )));
    }
    let expected =
        || invalid(format!("Expected e.g. {{\"topicA\":[0,1],\"topicB\":[0,1]}}, got {value}"));
    let parsed: BTreeMap<String, Vec<i32>> = serde_json::from_str(value).map_err(|_| expected())?;
    let mut partitions: Vec<TopicPartition> = parsed
        .into_iter()
        .flat_map(|(t, ps)| ps.into_iter().map(move |p| TopicPartition::new(t.clone(), p)))
        .collect();
    if partitions.is_empty() || partitions.iter().any(|p| p.partition < 0) {
        return Err(expected());
    }
    partitions.sort();
    partitions.dedup();
    Ok(Subscription::Assign(partitions))
}

fn bootstrap(options: &OptionMap) -> Result<Vec<(String, u16)>> {
    let value = options.get("kafka.bootstrap.servers").ok_or_else(|| {
        Error::invalid(
            "KAFKA_OPTION_MISSING",
            "Option 'kafka.bootstrap.servers' must be specified for configuring Kafka consumer",
        )
    })?;
    let mut servers = Vec::new();
    for part in value.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let server = host_and_port(part).ok_or_else(|| {
            invalid(format!("Invalid url in bootstrap.servers: {part}"))
                .cure("Write `host:port`, several separated by commas.")
        })?;
        servers.push(server);
    }
    if servers.is_empty() {
        return Err(invalid("No resolvable bootstrap urls given in bootstrap.servers")
            .cure("Write `host:port`, several separated by commas."));
    }
    Ok(servers)
}

/// `host:port`, `[v6]:port`, either with `PLAINTEXT://` in front.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let rest = match text.split_once("://") {
        Some((protocol, rest)) if protocol.eq_ignore_ascii_case("PLAINTEXT") => rest,
        Some(_) => return None,
        None => text,
    };
    let (host, port) = rest.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse::<u16>().ok().filter(|p| *p > 0)?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

fn offsets_per_trigger(options: &OptionMap) -> Result<(Option<i64>, Option<i64>)> {
    let max = positive(options, "maxOffsetsPerTrigger", "maxOffsetsPerTrigger must be positive")?;
    let min = number(options, "minOffsetsPerTrigger", 0_i64..=i64::MAX)?;
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        return Err(invalid(format!(
            "The value of minOffsetPerTrigger({min}) is higher than the \
             maxOffsetsPerTrigger({max})."
        )));
    }
    Ok((min, max))
}

fn max_trigger_delay(options: &OptionMap) -> Result<Duration> {
    let text = options.get("maxTriggerDelay").unwrap_or("15m");
    parse_interval(text).map_err(|e| e.context("Option 'maxTriggerDelay'"))
}

fn client_settings(options: &OptionMap, bootstrap: Vec<(String, u16)>) -> Result<ClientSettings> {
    let isolation = options.get("kafka.isolation.level").unwrap_or("read_uncommitted");
    let isolation = match isolation.to_ascii_lowercase().as_str() {
        "read_uncommitted" => Isolation::Uncommitted,
        "read_committed" => Isolation::Committed,
        _ => {
            return Err(invalid(format!(
                "Option 'kafka.isolation.level' must be read_uncommitted or read_committed, got \
                 '{isolation}'."
            )));
        }
    };
    let bytes = |name| number(options, name, 1..=i32::MAX);
    let buffer = |name| -> Result<Option<u32>> {
        let size = number(options, name, -1..=i32::MAX)?;
        Ok(size.and_then(|s| u32::try_from(s).ok()))
    };
    let pause = |first, first_ms, most, most_ms| -> Result<(Duration, Duration)> {
        let first = millis(options, first, first_ms, 0)?;
        Ok((first, millis(options, most, most_ms, 0)?.max(first)))
    };
    Ok(ClientSettings {
        bootstrap,
        isolation,
        client_id: options.get("kafka.client.id").unwrap_or("millstream").to_owned(),
        fetch_max_bytes: bytes("kafka.fetch.max.bytes")?.unwrap_or(52_428_800),
        partition_max_bytes: bytes("kafka.max.partition.fetch.bytes")?,
        fetch_min_bytes: number(options, "kafka.fetch.min.bytes", 0..=i32::MAX)?.unwrap_or(1),
        fetch_max_wait: millis(options, "kafka.fetch.max.wait.ms", 50, 0)?,
        request_timeout: millis(options, "kafka.request.timeout.ms", 30_000, 1)?,
        api_timeout: millis(options, "kafka.default.api.timeout.ms", 60_000, 1)?,
        connect_timeout: millis(options, "kafka.socket.connection.setup.timeout.ms", 10_000, 1)?,
        reconnect_backoff: pause(
            "kafka.reconnect.backoff.ms",
            50,
            "kafka.reconnect.backoff.max.ms",
            1_000,
        )?,
        retry_backoff: pause("kafka.retry.backoff.ms", 100, "kafka.retry.backoff.max.ms", 1_000)?,
        receive_buffer: buffer("kafka.receive.buffer.bytes")?,
        send_buffer: buffer("kafka.send.buffer.bytes")?,
        check_crcs: boolean(options, "kafka.check.crcs", true)?,
    })
}

/// A whole number within `range`.
fn number<T>(
    options: &OptionMap,
    name: &str,
    range: std::ops::RangeInclusive<T>,
) -> Result<Option<T>>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let Some(text) = options.get(name) else { return Ok(None) };
    let parsed = text.trim().parse::<T>().ok().filter(|n| range.contains(n));
    parsed.map(Some).ok_or_else(|| {
        invalid(format!(
            "Option '{name}' must be a whole number from {} to {}, got '{text}'.",
            range.start(),
            range.end()
        ))
    })
}

/// A positive whole number; `refusal` is what Spark says where it is zero or less.
fn positive<T>(options: &OptionMap, name: &str, refusal: &str) -> Result<Option<T>>
where
    T: std::str::FromStr + PartialOrd + From<u8> + Copy,
{
    let Some(text) = options.get(name) else { return Ok(None) };
    match text.trim().parse::<T>() {
        Ok(value) if value > T::from(0) => Ok(Some(value)),
        Ok(_) => Err(invalid(refusal)),
        Err(_) => Err(invalid(format!("Option '{name}' must be a whole number, got '{text}'."))),
    }
}

/// Milliseconds, `least` at least and 24 days at most (a Java int).
fn millis(options: &OptionMap, name: &str, default: u64, least: u64) -> Result<Duration> {
    let value = number(options, name, least..=i32::MAX as u64)?;
    Ok(Duration::from_millis(value.unwrap_or(default)))
}

fn boolean(options: &OptionMap, name: &str, default: bool) -> Result<bool> {
    match options.get(name) {
        None => Ok(default),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(text) => Err(invalid(format!("Option '{name}' must be true or false, got '{text}'."))),
    }
}
