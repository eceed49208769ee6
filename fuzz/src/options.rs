//! Texts that users write as options: of the Kafka source, of the JSON functions, triggers,
//! intervals, locations.

use crate::check_error;
use crate::input::Input;
use millstream_core::options::{OptionMap, OptionSpec, did_you_mean, refuse_unknown};
use millstream_core::trigger::{Trigger, parse_interval};
use millstream_core::{ErrorKind, Result};
use millstream_json::{
    FROM_JSON_OPTIONS, FromJsonOptions, SCHEMA_OF_JSON_OPTIONS, SchemaOfJsonOptions, SessionFormat,
    TO_JSON_OPTIONS, ToJsonOptions,
};
use millstream_kafka::{CLIENT_KEYS, KafkaConfig, ReadMode, SOURCE_OPTIONS};
use std::time::Duration;

/// One execution.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() {
        0 => kafka(input, ReadMode::Stream),
        1 => kafka(input, ReadMode::Batch),
        2 => json(input),
        3 => intervals(input),
        _ => locations(input),
    }
}

/// Lines `value`, each behind a byte that chooses the name, or `name=value` for other bytes.
fn options(mut input: Input<'_>, tables: &[&[OptionSpec]]) -> OptionMap {
    let known: Vec<&str> = tables.iter().flat_map(|t| t.iter()).map(|s| s.name).collect();
    let mut options = OptionMap::new();
    while !input.0.is_empty() {
        let chosen = known.get(usize::from(input.byte())).copied();
        let Ok(line) = std::str::from_utf8(input.until(b'\n')) else { continue };
        match (chosen, line.split_once('=')) {
            (Some(name), _) => options.insert(name, line),
            (None, Some((name, value))) => options.insert(name, value),
            (None, None) => {}
        }
    }
    options
}

fn invalid<T>(outcome: Result<T>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) => {
            check_error(&error);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            None
        }
    }
}

fn kafka(input: Input<'_>, mode: ReadMode) {
    let mut options = options(input, &[SOURCE_OPTIONS, CLIENT_KEYS]);
    if options.get("kafka.bootstrap.servers").is_none() {
        options.insert("kafka.bootstrap.servers", "broker:9092");
    }
    // Patterns proper are left to `topic_patterns`: compiling one takes the library its time.
    let is_plain = |p: &str| p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b' ');
    if options.get("subscribePattern").is_some_and(|p| !is_plain(p)) {
        return;
    }
    let Some(config) = invalid(KafkaConfig::from_options(&options, mode)) else { return };
    refuse_unknown(&options, &[SOURCE_OPTIONS, CLIENT_KEYS], "The source").unwrap();
    assert_eq!(config.mode(), mode);
    // What travels is what was given, and means the same at the other end.
    let portable = config.portable_options();
    let again = KafkaConfig::from_options(portable, mode).unwrap();
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
}

fn json(input: Input<'_>) {
    let options = options(input, &[FROM_JSON_OPTIONS, TO_JSON_OPTIONS, SCHEMA_OF_JSON_OPTIONS]);
    let session = SessionFormat::default();
    invalid(FromJsonOptions::parse(&options, &session));
    invalid(ToJsonOptions::parse(&options, &session));
    invalid(SchemaOfJsonOptions::parse(&options));
}

fn intervals(input: Input<'_>) {
    let Some(text) = input.text() else { return };
    let trigger = invalid(Trigger::parse(text));
    let Some(interval) = invalid(parse_interval(text)) else { return };
    assert!(trigger.is_some(), "an interval is a trigger");
    let millis = Duration::from_millis(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
    assert_eq!(parse_interval(&millis.as_millis().to_string()).unwrap(), millis);
    assert_eq!(parse_interval(&format!("  INTERVAL {} ms", millis.as_millis())).unwrap(), millis);
    for now in [-1, 0, 1_700_000_000_123] {
        let next = Trigger::next_tick_ms(interval, now);
        assert!(next > now || interval.as_millis() == 0);
    }
}

fn locations(input: Input<'_>) {
    let Some(text) = input.text() else { return };
    if let Some(path) = invalid(millstream_delta::table_path(text)) {
        assert!(!path.as_os_str().is_empty());
    }
    if let Some(near) = did_you_mean(text, ["startingOffsets", "subscribe", "assign"].into_iter()) {
        assert!(text.len() < 60 && !near.is_empty());
    }
}
