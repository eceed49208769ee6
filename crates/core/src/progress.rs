//! What a query tells about itself, in Spark's words: keys, their order, and which are left out.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Progress of one trigger (Spark's `StreamingQueryProgress`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryProgress {
    /// The query's id.
    pub id: String,
    /// The run's id.
    pub run_id: String,
    /// The query's name; `null` if it has none.
    pub name: Option<String>,
    /// Start of the trigger, see [`timestamp`].
    pub timestamp: String,
    /// The batch; of an idle trigger, the next one.
    pub batch_id: u64,
    /// Milliseconds of the whole trigger.
    pub batch_duration: i64,
    /// Rows read of all sources; a source used twice counts twice.
    pub num_input_rows: u64,
    /// Rows that arrived per second since the trigger before; left out if not finite.
    #[serde(default = "no_rate", skip_serializing_if = "is_no_rate")]
    pub input_rows_per_second: f64,
    /// Rows processed per second of this trigger; left out if not finite.
    #[serde(default = "no_rate", skip_serializing_if = "is_no_rate")]
    pub processed_rows_per_second: f64,
    /// Milliseconds by phase: `addBatch`, `commitOffsets`, `getBatch`, `latestOffset`,
    /// `queryPlanning`, `triggerExecution`, `walCommit`.
    pub duration_ms: BTreeMap<String, i64>,
    /// `avg`, `max`, `min` and `watermark` as timestamps; left out if empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub event_time: BTreeMap<String, String>,
    /// One entry a stateful operator.
    pub state_operators: Vec<StateOperatorProgress>,
    /// One entry a source, in the order of the plan.
    pub sources: Vec<SourceProgress>,
    /// The sink.
    pub sink: SinkProgress,
    /// Observed metrics by name; left out if empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub observed_metrics: BTreeMap<String, Value>,
}

/// Progress of one stateful operator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateOperatorProgress {
    /// Spark's name of the operator, for example `stateStoreSave`.
    pub operator_name: String,
    /// Rows in the state.
    pub num_rows_total: i64,
    /// Rows added or changed.
    pub num_rows_updated: i64,
    /// Milliseconds spent on that.
    pub all_updates_time_ms: i64,
    /// Rows taken out.
    pub num_rows_removed: i64,
    /// Milliseconds spent on that.
    pub all_removals_time_ms: i64,
    /// Milliseconds of making the state durable.
    pub commit_time_ms: i64,
    /// Memory that the state takes.
    pub memory_used_bytes: i64,
    /// Input rows that were too late.
    pub num_rows_dropped_by_watermark: i64,
    /// Partitions of the state.
    pub num_shuffle_partitions: i64,
    /// Stores of the state.
    pub num_state_store_instances: i64,
    /// Metrics of the provider; left out if empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_metrics: BTreeMap<String, i64>,
}

/// Progress of one source. Offsets are the source's own JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceProgress {
    /// For example `KafkaV2[Subscribe[events]]`.
    pub description: String,
    /// Where the batch started; `null` in batch 0.
    pub start_offset: Value,
    /// Where it ended.
    pub end_offset: Value,
    /// The newest position seen; `null` if the source does not say.
    pub latest_offset: Value,
    /// Rows read.
    pub num_input_rows: u64,
    /// As in [`QueryProgress`].
    #[serde(default = "no_rate", skip_serializing_if = "is_no_rate")]
    pub input_rows_per_second: f64,
    /// As in [`QueryProgress`].
    #[serde(default = "no_rate", skip_serializing_if = "is_no_rate")]
    pub processed_rows_per_second: f64,
    /// The source's metrics, as text; left out if empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, String>,
}

/// Progress of the sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkProgress {
    /// For example `DeltaSink[file:/t]`.
    pub description: String,
    /// Rows written; -1 where the sink does not say, as Spark's Delta sink does.
    pub num_output_rows: i64,
    /// The sink's metrics, as text; left out if empty. [`DEAD_LETTERS`] where the query keeps them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, String>,
}

/// The sink's metric that counts the records of a batch which became dead letters. Spark has none.
pub const DEAD_LETTERS: &str = "numDeadLetters";

/// What a query is doing at this moment (Spark's `StreamingQueryStatus`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamingQueryStatus {
    /// In a few words, for example `Waiting for data to arrive`.
    pub message: String,
    /// Whether the last look at the sources found something to read.
    pub is_data_available: bool,
    /// Whether a trigger is being worked on.
    pub is_trigger_active: bool,
}

impl StreamingQueryStatus {
    /// A status with this message, in no trigger and without data.
    pub fn idle(message: impl Into<String>) -> Self {
        StreamingQueryStatus {
            message: message.into(),
            is_data_available: false,
            is_trigger_active: false,
        }
    }

    /// Spark's JSON on one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Default for StreamingQueryStatus {
    fn default() -> Self {
        Self::idle("Initializing sources")
    }
}

impl QueryProgress {
    /// Spark's JSON on one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Spark's JSON, indented.
    pub fn pretty_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The object itself, for callers that add to it.
    pub fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }
}

/// Rows per second; not finite (and so left out) if no time has passed.
pub fn rate(rows: u64, milliseconds: i64) -> f64 {
    if milliseconds <= 0 { f64::NAN } else { rows as f64 * 1000.0 / milliseconds as f64 }
}

/// Milliseconds since the epoch as progress writes times: `2026-11-21T01:09:27.880Z`.
pub fn timestamp(epoch_ms: i64) -> String {
    const DAY_MS: i64 = 86_400_000;
    let (days, ms) = (epoch_ms.div_euclid(DAY_MS), epoch_ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

/// Year, month and day of a day number since 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted in eras of 400 years that begin on 1 March, so that the leap day comes last.
    const ERA_DAYS: i64 = 146_097;
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(ERA_DAYS), shifted.rem_euclid(ERA_DAYS));
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * march_month + 2) / 5 + 1)
}

fn no_rate() -> f64 {
    f64::NAN
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The signature that serde asks for.
fn is_no_rate(rate: &f64) -> bool {
    !rate.is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn progress() -> QueryProgress {
        QueryProgress {
            id: "9aae6b48".into(),
            run_id: "e63a27a4".into(),
            name: None,
            timestamp: timestamp(1_795_223_367_880),
            batch_id: 2,
            batch_duration: 2444,
            num_input_rows: 4,
            input_rows_per_second: f64::INFINITY,
            processed_rows_per_second: 2.0,
            duration_ms: BTreeMap::from([("walCommit".into(), 96), ("addBatch".into(), 1845)]),
            event_time: BTreeMap::new(),
            state_operators: Vec::new(),
            sources: vec![SourceProgress {
                description: "KafkaV2[Subscribe[events]]".into(),
                start_offset: Value::Null,
                end_offset: json!({"events": {"0": 9}}),
                latest_offset: json!({"events": {"0": 12}}),
                num_input_rows: 4,
                input_rows_per_second: f64::NAN,
                processed_rows_per_second: 0.8,
                metrics: BTreeMap::from([("maxOffsetsBehindLatest".into(), "3".into())]),
            }],
            sink: SinkProgress {
                description: "DeltaSink[file:/t]".into(),
                num_output_rows: -1,
                metrics: BTreeMap::new(),
            },
            observed_metrics: BTreeMap::new(),
        }
    }

    #[test]
    fn keys_come_in_sparks_order_and_empty_ones_are_left_out() {
        assert_eq!(
            progress().json(),
            concat!(
                r#"{"id":"9aae6b48","runId":"e63a27a4","name":null,"#,
                r#""timestamp":"2026-11-21T01:09:27.880Z","batchId":2,"batchDuration":2444,"#,
                r#""numInputRows":4,"processedRowsPerSecond":2.0,"#,
                r#""durationMs":{"addBatch":1845,"walCommit":96},"stateOperators":[],"#,
                r#""sources":[{"description":"KafkaV2[Subscribe[events]]","startOffset":null,"#,
                r#""endOffset":{"events":{"0":9}},"latestOffset":{"events":{"0":12}},"#,
                r#""numInputRows":4,"processedRowsPerSecond":0.8,"#,
                r#""metrics":{"maxOffsetsBehindLatest":"3"}}],"#,
                r#""sink":{"description":"DeltaSink[file:/t]","numOutputRows":-1}}"#,
            )
        );
    }

    #[test]
    fn the_indented_form_says_the_same() {
        let pretty = progress().pretty_json();
        assert!(pretty.starts_with("{\n  \"id\": \"9aae6b48\","), "{pretty}");
        let [pretty, plain] =
            [pretty, progress().json()].map(|text| serde_json::from_str::<Value>(&text).unwrap());
        assert_eq!(pretty, plain);
    }

    #[test]
    fn every_key_is_in_its_place() {
        let mut full = progress();
        full.input_rows_per_second = 0.5;
        full.event_time.insert("watermark".into(), timestamp(0));
        full.state_operators.push(StateOperatorProgress::default());
        full.observed_metrics.insert("m".into(), json!({"c": 1}));
        let keys: Vec<String> = full.to_map().keys().cloned().collect();
        assert_eq!(
            keys,
            [
                "id",
                "runId",
                "name",
                "timestamp",
                "batchId",
                "batchDuration",
                "numInputRows",
                "inputRowsPerSecond",
                "processedRowsPerSecond",
                "durationMs",
                "eventTime",
                "stateOperators",
                "sources",
                "sink",
                "observedMetrics",
            ]
        );
        let back: QueryProgress = serde_json::from_str(&full.json()).unwrap();
        assert_eq!(back.json(), full.json());
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_795_223_353_824, "2026-11-21T01:09:13.824Z"),
        ] {
            assert_eq!(timestamp(ms), text);
        }
    }

    #[test]
    fn a_rate_over_no_time_is_left_out() {
        assert!(rate(5, 0).is_nan());
        assert!((rate(2, 2444) - 0.818).abs() < 0.001);
        let status = StreamingQueryStatus::default();
        assert_eq!(
            status.json(),
            r#"{"message":"Initializing sources","isDataAvailable":false,"isTriggerActive":false}"#
        );
    }
}
