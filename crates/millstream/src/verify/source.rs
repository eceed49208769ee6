//! The brokers' side of the row level: what the source still has of each batch, read back one
//! batch at a time, and the rows that the pipeline makes of it.

use super::compare::{SourceView, read_by};
use super::facts::CheckpointFacts;
use super::places::Places;
use super::replay::Replay;
use super::report::Finding;
use super::rows::RowAudit;
use crate::plan::FlowPlan;
use crate::session::Session;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use futures::TryStreamExt as _;
use millstream_core::contract::{Position, Source as _, SourceRange};
use millstream_core::env::SystemEnv;
use millstream_core::log::{Identity, LedgerEntry};
use millstream_core::offsets::{Offsets, TopicPartition};
use millstream_core::options::OptionMap;
use millstream_core::{Error, ErrorKind, Result};
use millstream_kafka::{KafkaConfig, KafkaSource, ReadMode, ReadOptions};
use serde::Deserialize as _;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Partitions of the window that are listed.
const LISTED_MAX: usize = 8;
/// Columns topic, partition and offset of Kafka's fixed schema.
const PLACE_COLUMNS: [usize; 3] = [2, 3, 4];

/// The source of a flow, to verify against.
pub struct Brokers {
    /// `host:port` of some brokers, separated by commas.
    pub bootstrap_servers: String,
    /// The flow, where the pipeline is at hand; its plan then says which rows there should be.
    pub flow: Option<(Session, FlowPlan)>,
}

/// Kafka, by what is read of it.
struct Readers {
    /// With the query's isolation level, or `read_committed` where it is not known.
    certain: Arc<KafkaSource>,
    /// With `read_uncommitted`, where the query's isolation level is not known.
    possible: Option<Arc<KafkaSource>>,
}

/// Compares every batch of the ledger with the brokers. Returns what was covered, in a sentence.
///
/// # Errors
/// Where the brokers cannot be asked.
pub(super) async fn audit(
    brokers: &Brokers,
    identity: &Value,
    checkpoint: &CheckpointFacts,
    rows: &mut RowAudit,
    others: bool,
) -> Result<String> {
    let unknown = |rows: &mut RowAudit, why: String| {
        rows.finding(Finding::unknown(None, why.clone()));
        Ok(format!("not compared with the source: {why}"))
    };
    let sources = identity["sources"].as_array();
    if sources.is_some_and(|all| all.iter().any(|source| source["format"] != "kafka")) {
        return unknown(rows, "not every source of the query is Kafka".to_owned());
    }
    let topics: BTreeSet<String> =
        checkpoint.ledger.values().flat_map(read_by).map(|(tp, ..)| tp.topic).collect();
    if topics.is_empty() {
        return Ok("no batch in the ledger to compare with the source".to_owned());
    }
    let readers = Readers::new(brokers, &topics)?;
    let earliest = match readers.certain.initial_position().await {
        Ok(position) => Offsets::parse(&position.0.to_string())?,
        Err(error) if is_gone(&error) => return unknown(rows, error.to_string()),
        Err(error) => return Err(error),
    };
    let replay = replay(brokers, identity, rows).await?;
    let mut covered = Covered::default();
    for entry in checkpoint.ledger.values() {
        let Some(window) = Window::of(entry, &earliest)? else {
            covered.gone.insert(entry.batch.0);
            continue;
        };
        match view(&readers, replay.as_ref(), entry, &window).await {
            Ok(view) => {
                covered.add(entry.batch.0, &view);
                rows.against_source(entry, &view, others);
            }
            // The records are those of a topic that is no longer there.
            Err(error) if error.code() == "KAFKA_DATA_LOSS_TOPIC_RECREATED" => {
                covered.gone.insert(entry.batch.0);
            }
            Err(error) if is_gone(&error) || error.kind() == ErrorKind::DataLoss => {
                let what = format!("cannot be compared with the source: {error}");
                rows.finding(Finding::unknown(entry.batch.0, what));
            }
            Err(error) => return Err(error.context(format!("batch {}", entry.batch))),
        }
    }
    Ok(covered.finish(rows, replay.is_some()))
}

/// The pipeline's plan, where it is at hand and still the one that wrote the table.
async fn replay(
    brokers: &Brokers,
    identity: &Value,
    rows: &mut RowAudit,
) -> Result<Option<Replay>> {
    let Some((session, plan)) = &brokers.flow else { return Ok(None) };
    let replay = Replay::new(session, plan, &brokers.bootstrap_servers).await?;
    let changes = match Identity::deserialize(identity) {
        Ok(then) => crate::query::changes(&then, plan, replay.identities()),
        // A checkpoint of Spark's does not say what the query was.
        Err(_) => Vec::new(),
    };
    if changes.is_empty() {
        return Ok(Some(replay));
    }
    rows.finding(Finding::unknown(
        None,
        format!("the pipeline is not the one that wrote the table: {}", changes.join("; ")),
    ));
    Ok(None)
}

/// A topic that is no longer there.
fn is_gone(error: &Error) -> bool {
    error.code() == "KAFKA_TOPIC_UNKNOWN"
}

impl Readers {
    fn new(brokers: &Brokers, topics: &BTreeSet<String>) -> Result<Self> {
        // The ranges come from the ledger; all that matters here is how brokers are reached.
        let mut options = OptionMap::new();
        let streams = brokers.flow.iter().flat_map(|(_, plan)| &plan.streams);
        for (name, value) in streams.clone().flat_map(|stream| stream.options.iter()) {
            if name.get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case("kafka.")) {
                options.insert(name, value);
            }
        }
        options.insert("kafka.bootstrap.servers", brokers.bootstrap_servers.as_str());
        options.insert("subscribe", topics.iter().cloned().collect::<Vec<_>>().join(","));
        options.insert("startingOffsets", "earliest");
        let open = |isolation: Option<&str>| {
            let mut options = options.clone();
            if let Some(level) = isolation {
                options.insert("kafka.isolation.level", level);
            }
            let config = KafkaConfig::from_options(&options, ReadMode::Stream)?;
            Ok::<_, Error>(KafkaSource::new(config, Arc::new(SystemEnv)))
        };
        match brokers.flow {
            Some(_) => Ok(Readers { certain: open(None)?, possible: None }),
            None => Ok(Readers {
                certain: open(Some("read_committed"))?,
                possible: Some(open(Some("read_uncommitted"))?),
            }),
        }
    }
}

/// What the source still has of one batch.
async fn view(
    readers: &Readers,
    replay: Option<&Replay>,
    entry: &LedgerEntry,
    window: &Window,
) -> Result<SourceView> {
    let certain = places(&readers.certain, &window.ranges).await?;
    let possible = match &readers.possible {
        Some(reader) => places(reader, &window.ranges).await?,
        None => certain.clone(),
    };
    let rows = match replay {
        Some(replay) => Some(replay.rows(&window.ranges, entry).await?),
        None => None,
    };
    let compared = window.partitions.iter().map(|(tp, (from, to))| (tp.clone(), *from, *to));
    Ok(SourceView { window: compared.collect(), whole: window.whole, certain, possible, rows })
}

async fn places(reader: &Arc<KafkaSource>, ranges: &[SourceRange]) -> Result<Places> {
    let mut found = Places::default();
    for range in ranges {
        let splits = reader.splits(range, 1)?;
        let columns = Some(PLACE_COLUMNS.to_vec());
        let mut batches = reader.read(splits, columns, ReadOptions::default());
        while let Some(batch) = batches.try_next().await? {
            add_places(&mut found, &batch)?;
        }
    }
    Ok(found)
}

/// Adds the places of rows of topic, partition and offset, in this order.
pub(super) fn add_places(places: &mut Places, batch: &RecordBatch) -> Result<()> {
    let defect = || Error::internal("the columns of a place have other types");
    let [topics, partitions, offsets] = batch.columns() else { return Err(defect()) };
    let topics = topics.as_string_opt::<i32>().ok_or_else(defect)?;
    let partitions = partitions.as_primitive_opt::<Int32Type>().ok_or_else(defect)?;
    let offsets = offsets.as_primitive_opt::<Int64Type>().ok_or_else(defect)?;
    let mut at = TopicPartition::new("", -1);
    for row in 0..batch.num_rows() {
        if topics.is_null(row) || partitions.is_null(row) || offsets.is_null(row) {
            continue;
        }
        if at.topic != topics.value(row) || at.partition != partitions.value(row) {
            at = TopicPartition::new(topics.value(row), partitions.value(row));
        }
        places.insert(&at, offsets.value(row));
    }
    Ok(())
}

/// The part of a batch that the source still has.
struct Window {
    /// Source by source.
    ranges: Vec<SourceRange>,
    partitions: BTreeMap<TopicPartition, (i64, i64)>,
    whole: bool,
}

impl Window {
    /// `None` where nothing of the batch is left.
    fn of(entry: &LedgerEntry, earliest: &Offsets) -> Result<Option<Window>> {
        let mut window = Window { ranges: Vec::new(), partitions: BTreeMap::new(), whole: true };
        let mut read = false;
        for range in entry.sources.iter().flatten() {
            let mut start = Offsets::parse(&range.start.0.to_string())?;
            let mut end = Offsets::parse(&range.end.0.to_string())?;
            end.0.retain(|tp, to| start.get(tp).is_some_and(|from| from < *to));
            start.0.retain(|tp, _| end.get(tp).is_some());
            read |= !end.0.is_empty();
            for (tp, from) in &mut start.0 {
                let first = earliest.get(tp).unwrap_or(i64::MAX);
                window.whole &= first <= *from;
                *from = first.max(*from);
            }
            end.0.retain(|tp, to| start.get(tp).is_some_and(|from| from < *to));
            start.0.retain(|tp, _| end.get(tp).is_some());
            for (tp, from) in &start.0 {
                let to = end.get(tp).unwrap_or(*from);
                let known = window.partitions.entry(tp.clone()).or_insert((*from, to));
                *known = (known.0.min(*from), known.1.max(to));
            }
            let json = |offsets: &Offsets| {
                serde_json::from_str(&offsets.to_json())
                    .map(Position)
                    .map_err(|e| Error::internal(format!("offsets are not JSON: {e}")))
            };
            let detail = range.detail.clone();
            window.ranges.push(SourceRange { start: json(&start)?, end: json(&end)?, detail });
        }
        Ok((!read || !window.partitions.is_empty()).then_some(window))
    }
}

/// What was compared.
#[derive(Default)]
struct Covered {
    whole: BTreeSet<u64>,
    partly: BTreeSet<u64>,
    gone: BTreeSet<u64>,
    window: BTreeMap<TopicPartition, (i64, i64)>,
}

impl Covered {
    fn add(&mut self, batch: u64, view: &SourceView) {
        if view.whole {
            self.whole.insert(batch)
        } else {
            self.partly.insert(batch)
        };
        for (tp, from, to) in &view.window {
            let known = self.window.entry(tp.clone()).or_insert((*from, *to));
            *known = (known.0.min(*from), known.1.max(*to));
        }
    }

    /// The sentence. Batches that the source no longer has are said to be so.
    fn finish(self, rows: &mut RowAudit, by_plan: bool) -> String {
        let older: BTreeSet<u64> = self.gone.union(&self.partly).copied().collect();
        if let (Some(first), Some(last)) = (older.first(), older.last()) {
            let what = format!(
                "the source no longer has all records of {} batches from {first} to {last}",
                older.len()
            );
            // Retention is no fault; but an answer to the question asked it is not either.
            rows.finding(match self.whole.is_empty() && self.partly.is_empty() {
                true => Finding::unknown(None, what),
                false => Finding::note(None, what),
            });
        }
        let mut window: Vec<String> = self
            .window
            .iter()
            .take(LISTED_MAX)
            .map(|(tp, (from, to))| format!("{tp} {from} to {}", to - 1))
            .collect();
        if self.window.len() > LISTED_MAX {
            window.push(format!("{} more partitions", self.window.len() - LISTED_MAX));
        }
        let how = if by_plan { "by the pipeline's own plan" } else { "record by record" };
        let window = if window.is_empty() { "no offsets".to_owned() } else { window.join(", ") };
        let (whole, partly) = (self.whole.len(), self.partly.len());
        format!("{whole} batches compared with the source {how}, {partly} partly ({window})")
    }
}

#[cfg(test)]
mod tests;
