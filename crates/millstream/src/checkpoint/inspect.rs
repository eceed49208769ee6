//! `millstream checkpoint inspect`: what a checkpoint says, as a value and as text.

use super::{findings, history, look};
use millstream_core::Result;
use millstream_core::contract::Position;
use millstream_core::ids::{BatchId, Digest, Epoch, QueryId};
use millstream_core::log::{LedgerEntry, OffsetsFile, Planner, SourceStart};
use millstream_core::protocol::paths;
use millstream_store::Store;
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// Batches whose details are shown, newest last.
const BATCHES_SHOWN: usize = 10;

/// What a checkpoint says. Damaged files are listed, not errors.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// Where it is.
    pub place: String,
    /// The query's id.
    pub query: Option<QueryId>,
    /// Newest claim; `None` for a checkpoint that only Spark has used.
    pub epoch: Option<Epoch>,
    /// First and last batch with an `offsets/N`.
    pub planned: Option<(u64, u64)>,
    /// First and last batch with a `commits/N`.
    pub completed: Option<(u64, u64)>,
    /// The batch that is planned and not complete.
    pub in_doubt: Option<BatchId>,
    /// Sealed attempts of the newest batch.
    pub sealed_attempts: usize,
    /// Completed batches in the ledger.
    pub ledger_batches: usize,
    /// Rows read by the batches in the ledger, where they were counted.
    pub ledger_rows_in: u64,
    /// What the query was when it last started; `None` for Spark's checkpoints.
    pub identity: Option<Value>,
    /// Pinned starting positions, source by source.
    pub starts: Vec<Position>,
    /// The newest batches.
    pub batches: Vec<BatchReport>,
    /// Everything that is wrong with these files, in sentences. What the tables say to them, and
    /// what would cure it, `checkpoint doctor` says.
    pub problems: Vec<String>,
}

/// One batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchReport {
    /// Its number.
    pub batch: BatchId,
    /// Whether `commits/N` exists.
    pub complete: bool,
    /// Who planned it.
    pub planner: Planner,
    /// When it was planned, in milliseconds since the epoch.
    pub batch_time_ms: i64,
    /// The watermark it uses.
    pub watermark_ms: i64,
    /// End of every source; null for one without offsets.
    pub ends: Vec<Option<Position>>,
    /// Digest of its intent.
    pub digest: Digest,
    /// Rows read of each source, where the ledger has them.
    pub rows_in: Option<Vec<u64>>,
    /// Rows of each sink, where the ledger has them.
    pub rows_out: Option<Vec<u64>>,
}

impl Inspection {
    /// Reads everything, claims nothing, changes nothing.
    ///
    /// # Errors
    /// What the store says.
    pub async fn of(store: &dyn Store) -> Result<Inspection> {
        let scan = look::scan(store).await?;
        let log = scan.log();
        let mut problems = Vec::new();
        if log.metadata_missing {
            problems.push("`metadata` is missing although there are logs.".to_owned());
        }
        problems.extend(log.damage.iter().map(|d| format!("`{}`: {}", d.file, d.why)));
        problems.extend(log.holes.iter().map(|hole| format!("`{hole}` is missing.")));
        let (newest, completed) = (scan.newest_offsets(), scan.newest_commits());
        match (newest, completed) {
            (newest, Some(m)) if newest.is_none_or(|n| m > n) => {
                problems.push(format!("`commits/{m}` has no `offsets/{m}`."));
            }
            (Some(n), m) if m != Some(n) && m != n.previous() => {
                problems.push(format!("`commits` lacks batches before {n}."));
            }
            _ => {}
        }
        problems.extend(findings::sentences(store, &scan).await?);
        // A damaged file of it is among the problems already.
        let ledger = history::ledger(store).await.unwrap_or_default();
        let span = |dir: &str| {
            let numbers = scan.numbers(dir);
            Some((*numbers.first()?, *numbers.last()?))
        };
        Ok(Inspection {
            place: store.describe(),
            query: scan.metadata().ok().flatten().map(|m| m.id),
            epoch: scan.newest_epoch(),
            planned: span(paths::OFFSETS),
            completed: span(paths::COMMITS),
            in_doubt: newest.filter(|n| completed.is_none_or(|m| m < *n)),
            sealed_attempts: scan.sealed().len(),
            ledger_batches: ledger.len(),
            ledger_rows_in: ledger.iter().flat_map(|e| e.rows_in.iter().flatten()).sum(),
            identity: findings::identity(store, &scan)
                .await?
                .of_this_query(&scan)
                .and_then(|i| serde_json::to_value(i).ok()),
            starts: starts(store).await?,
            batches: batches(store, &scan.numbers(paths::OFFSETS), completed, &ledger).await?,
            problems,
        })
    }
}

async fn starts(store: &dyn Store) -> Result<Vec<Position>> {
    let mut found = Vec::new();
    for index in paths::numbers(&store.list(paths::SOURCES).await?) {
        let path = format!("{}/{index}/0", paths::SOURCES);
        let Some(bytes) = store.read(&path).await? else { continue };
        found.extend(SourceStart::decode(&bytes).ok().map(|start| start.position));
    }
    Ok(found)
}

async fn batches(
    store: &dyn Store,
    planned: &[u64],
    completed: Option<BatchId>,
    ledger: &[LedgerEntry],
) -> Result<Vec<BatchReport>> {
    let mut found = Vec::new();
    for number in planned.iter().skip(planned.len().saturating_sub(BATCHES_SHOWN)) {
        let batch = BatchId(*number);
        let Some(bytes) = store.read(&paths::offsets(batch)).await? else { continue };
        let Ok(offsets) = OffsetsFile::decode(&bytes) else { continue };
        let Ok(named) = offsets.intent() else { continue };
        let entry = ledger.iter().find(|entry| entry.batch == batch);
        let metadata = offsets.metadata.as_ref();
        found.push(BatchReport {
            batch,
            complete: completed.is_some_and(|m| batch <= m),
            planner: if named.is_some() { Planner::Millstream } else { Planner::Other },
            batch_time_ms: metadata.map_or(0, |m| m.timestamp_ms),
            watermark_ms: metadata.map_or(0, |m| m.watermark_ms),
            digest: named.map_or_else(|| Digest::of(&bytes), |named| named.digest),
            rows_in: entry.and_then(|e| e.rows_in.clone()),
            rows_out: entry.and_then(|e| e.rows_out.clone()),
            ends: offsets.sources,
        });
    }
    Ok(found)
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.query.map_or("unknown".to_owned(), |q| q.to_string());
        let span =
            |s: Option<(u64, u64)>| s.map_or("none".to_owned(), |(a, b)| format!("{a}..{b}"));
        writeln!(f, "checkpoint  {}", self.place)?;
        writeln!(f, "query       {id}")?;
        match self.epoch {
            Some(epoch) => writeln!(f, "epoch       {epoch}")?,
            None => writeln!(f, "epoch       none (no run of Millstream has claimed it)")?,
        }
        writeln!(f, "planned     {}", span(self.planned))?;
        writeln!(f, "completed   {}", span(self.completed))?;
        match self.in_doubt {
            Some(batch) => writeln!(
                f,
                "in doubt    batch {batch}, {} sealed attempts; the next start finishes it",
                self.sealed_attempts
            )?,
            None => writeln!(f, "in doubt    none")?,
        }
        let (batches, rows) = (self.ledger_batches, self.ledger_rows_in);
        writeln!(f, "ledger      {batches} batches, {rows} rows read")?;
        for (index, start) in self.starts.iter().enumerate() {
            writeln!(f, "source {index}    began at {}", start.0)?;
        }
        for batch in &self.batches {
            let state = if batch.complete { "complete" } else { "in doubt" };
            let by = match batch.planner {
                Planner::Millstream => "",
                Planner::Other => ", planned by another engine",
            };
            let time = millstream_core::progress::timestamp(batch.batch_time_ms);
            writeln!(f, "batch {:<5} {state}{by}, {time}", batch.batch.0)?;
            for end in batch.ends.iter().flatten() {
                writeln!(f, "            ends at {}", end.0)?;
            }
        }
        for problem in &self.problems {
            writeln!(f, "problem     {problem}")?;
        }
        if self.problems.is_empty() {
            writeln!(f, "problems    none in these files")?;
        }
        writeln!(f, "not asked   the tables: `millstream checkpoint doctor` asks them")
    }
}
