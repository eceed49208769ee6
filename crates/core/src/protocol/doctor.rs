//! What is wrong with a checkpoint, and which repairs the evidence allows. Pure; whoever applies
//! the repairs prints them first.

use super::paths;
use super::scan::Scan;
use crate::contract::Probe;
use crate::ids::{BatchId, QueryId};
use serde::Serialize;
use std::collections::BTreeMap;

/// One change that a doctor may make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "action")]
pub enum Repair {
    /// Delete this file.
    Delete {
        /// Its path in the checkpoint.
        path: String,
    },
    /// Write `commits/N` (in place of a damaged one).
    WriteCompletion {
        /// N.
        batch: BatchId,
        /// The watermark it carries.
        next_watermark_ms: i64,
    },
    /// Write `metadata`.
    WriteMetadata {
        /// The query's id.
        id: QueryId,
    },
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// In a sentence.
    pub what: String,
    /// Why the repairs are right; or, if there are none, what a person can do.
    pub advice: String,
    /// What would cure it; empty if the evidence is not enough.
    pub repairs: Vec<Repair>,
}

/// Everything wrong, in the order in which it should be repaired.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The findings; empty for a sound checkpoint.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Every repair, in order.
    pub fn repairs(&self) -> impl Iterator<Item = &Repair> {
        self.findings.iter().flat_map(|f| f.repairs.iter())
    }

    /// Whether every finding has a repair.
    pub fn is_curable(&self) -> bool {
        self.findings.iter().all(|f| !f.repairs.is_empty())
    }
}

/// What the sinks said about some batches. Only sinks that remember belong in here.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// One map a sink.
    pub sinks: Vec<BTreeMap<BatchId, Probe>>,
}

impl Evidence {
    /// The batches that a diagnosis of this scan asks the sinks about.
    pub fn wanted(scan: &Scan) -> Vec<BatchId> {
        let newest = scan.newest_offsets();
        let mut wanted: Vec<BatchId> = [newest, newest.and_then(BatchId::previous)]
            .into_iter()
            .chain([scan.newest_commits()])
            .flatten()
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// Whether every sink holds `batch`, or one after it. Batches start only when the one before
    /// is in every sink, so that holding one proves all before it.
    fn all_hold(&self, batch: BatchId) -> bool {
        !self.sinks.is_empty()
            && self.sinks.iter().all(|s| s.get(&batch).is_some_and(|p| *p != Probe::Absent))
    }

    /// Whether no sink holds `batch`.
    fn none_holds(&self, batch: BatchId) -> bool {
        !self.sinks.is_empty()
            && self.sinks.iter().all(|s| s.get(&batch).is_some_and(|p| *p == Probe::Absent))
    }
}

/// Diagnoses.
pub fn diagnose(scan: &Scan, evidence: &Evidence, stateful: bool) -> Diagnosis {
    let log = scan.log();
    let mut findings = Vec::new();
    if log.metadata_missing {
        findings.push(metadata_missing(scan));
    }
    for damage in &log.damage {
        let what = format!("`{}`: {}", damage.file, damage.why);
        findings.push(damaged(scan, evidence, stateful, &damage.file, what));
    }
    findings.extend(offsets_holes(scan, &log.holes));
    findings.extend(completions_missing(scan, evidence, stateful));
    if let Some(completed) = scan.newest_commits()
        && scan.newest_offsets().is_none_or(|newest| completed > newest)
    {
        findings.push(Finding {
            what: format!("`commits/{completed}` has no `offsets/{completed}`."),
            advice: "What the batch read is lost here: restore `offsets` from a backup, or use `millstream checkpoint rebuild` with the table.".into(),
            repairs: Vec::new(),
        });
    }
    Diagnosis { findings }
}

fn metadata_missing(scan: &Scan) -> Finding {
    let id = scan.query_elsewhere();
    Finding {
        what: "`metadata` is missing although there are logs.".into(),
        advice: match id {
            Some(_) => "Other files of the checkpoint name the query's id.".into(),
            None => "Nothing else here names the query's id; the `txn` entries of the table's log do. Write it back as `{\"id\":\"<uuid>\"}`.".into(),
        },
        repairs: id.map(|id| Repair::WriteMetadata { id }).into_iter().collect(),
    }
}

fn damaged(scan: &Scan, evidence: &Evidence, stateful: bool, file: &str, what: String) -> Finding {
    let restore = "The evidence is not enough for a repair; restore the file from a backup.";
    let (newest, completed) = (scan.newest_offsets(), scan.newest_commits());
    let (advice, repairs) = match (newest, completed) {
        (Some(n), m) if file == paths::offsets(n) && m < Some(n) && evidence.none_holds(n) => (
            format!("No sink holds batch {n}: without this file it is planned again."),
            vec![Repair::Delete { path: file.to_owned() }],
        ),
        (_, Some(m)) if file == paths::commits(m) && evidence.all_hold(m) => {
            match next_watermark(scan, m, stateful) {
                Some(next_watermark_ms) => (
                    format!("Every sink holds batch {m}: it is complete."),
                    vec![
                        Repair::Delete { path: file.to_owned() },
                        Repair::WriteCompletion { batch: m, next_watermark_ms },
                    ],
                ),
                None => (restore.to_owned(), Vec::new()),
            }
        }
        (Some(n), Some(m)) if file == paths::commits(m) && n == m && evidence.none_holds(m) => (
            format!("No sink holds batch {m}: without this file it is executed again."),
            vec![Repair::Delete { path: file.to_owned() }],
        ),
        _ => (restore.to_owned(), Vec::new()),
    };
    Finding { what, advice, repairs }
}

/// Holes in `offsets` below N−1 come from an interrupted purge of another engine: what is older
/// than the hole is not needed.
fn offsets_holes(scan: &Scan, holes: &[String]) -> Option<Finding> {
    let numbers = scan.numbers(paths::OFFSETS);
    let top = numbers.windows(2).rev().find_map(|pair| match pair {
        [a, b] if *b != a + 1 => Some(*a),
        _ => None,
    });
    let before = scan.newest_offsets().and_then(BatchId::previous);
    let missing_before = before.is_some_and(|b| !numbers.contains(&b.0));
    if top.is_none() && !(missing_before && holes.iter().any(|h| h.starts_with(paths::OFFSETS))) {
        return None;
    }
    let what = "`offsets` has holes.".to_owned();
    Some(match top {
        Some(top) if !missing_before => Finding {
            what,
            advice: "The files before the hole are leftovers of a purge; nothing needs them.".into(),
            repairs: numbers
                .iter()
                .filter(|n| **n <= top)
                .map(|n| Repair::Delete { path: paths::offsets(BatchId(*n)) })
                .collect(),
        },
        _ => Finding {
            what,
            advice: "The batch before the newest one is missing: restore it from a backup, or use `millstream checkpoint rebuild` with the table.".into(),
            repairs: Vec::new(),
        },
    })
}

/// Completions that the sinks prove: M < N−1, or holes in `commits`.
fn completions_missing(scan: &Scan, evidence: &Evidence, stateful: bool) -> Option<Finding> {
    let before = scan.newest_offsets()?.previous()?;
    let have = scan.numbers(paths::COMMITS);
    let first = have.first().copied().unwrap_or(before.0);
    let lowest = scan.numbers(paths::OFFSETS).first().copied()?;
    let missing: Vec<BatchId> = (first.max(lowest)..=before.0)
        .filter(|n| have.binary_search(n).is_err())
        .map(BatchId)
        .collect();
    let (oldest, newest) = (missing.first()?, missing.last()?);
    let what = format!("`commits` lacks {} files from {oldest} to {newest}.", missing.len());
    let watermark = next_watermark(scan, before, stateful);
    Some(match watermark.filter(|_| evidence.all_hold(before)) {
        Some(next_watermark_ms) => Finding {
            what,
            advice: format!("Every sink holds batch {before}, which proves all before it."),
            repairs: missing
                .into_iter()
                .map(|batch| Repair::WriteCompletion { batch, next_watermark_ms })
                .collect(),
        },
        None => Finding {
            what,
            advice: "The sinks do not prove these batches; restore `commits` from a backup.".into(),
            repairs: Vec::new(),
        },
    })
}

/// The watermark after a batch that is known to be complete: the one that the next batch used, or
/// the sealed attempt's; of a stateless query any that does not go back.
fn next_watermark(scan: &Scan, batch: BatchId, stateful: bool) -> Option<i64> {
    let used = |b: BatchId| scan.offsets(b).ok()?.metadata.map(|m| m.watermark_ms);
    used(batch.next())
        .or_else(|| match scan.sealed().as_slice() {
            [only] if only.batch == batch => Some(only.next_watermark_ms),
            _ => None,
        })
        .or_else(|| if stateful { None } else { Some(used(batch).unwrap_or(0)) })
}
