//! What is wrong with a checkpoint, and which repairs the evidence allows. Pure; whoever applies
//! the repairs prints them first.

use super::decide::Step;
use super::paths;
use super::scan::Scan;
use crate::contract::Probe;
use crate::error::Error;
use crate::ids::{BatchId, QueryId};
use crate::log::LedgerEntry;
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
    /// Write `millstream/ledger/N` (in place of a damaged one).
    WriteLedger {
        /// What it says.
        entry: Box<LedgerEntry>,
    },
    /// Move this file into `millstream/damaged`, where nothing reads it.
    SetAside {
        /// Its path in the checkpoint.
        path: String,
    },
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The code with which a run would refuse; a code of its own where a run would not.
    pub code: String,
    /// In a sentence.
    pub what: String,
    /// Why the repairs are right; or, if there are none, what a person can do.
    pub advice: String,
    /// What would cure it; empty if the evidence is not enough.
    pub repairs: Vec<Repair>,
    /// Whether a checkpoint made anew from the tables would cure it.
    pub rebuild: bool,
}

impl Finding {
    /// A finding without a repair.
    pub fn new(
        code: impl Into<String>,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Finding {
            code: code.into(),
            what: what.into(),
            advice: advice.into(),
            repairs: Vec::new(),
            rebuild: false,
        }
    }

    /// What a run would stop with.
    pub fn refused(error: &Error) -> Self {
        Finding::new(error.code(), error.message(), error.cure_text().unwrap_or_default())
    }

    /// The same with repairs.
    #[must_use]
    pub fn repaired_by(mut self, repairs: impl IntoIterator<Item = Repair>) -> Self {
        self.repairs.extend(repairs);
        self
    }
}

/// Everything wrong, in the order in which it should be repaired.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The findings; empty for a sound checkpoint.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Adds what a run would stop with, unless a finding says so already: a diagnosis never calls
    /// a checkpoint sound that recovery refuses.
    pub fn add_refusal(&mut self, error: &Error) {
        if self.findings.iter().all(|f| f.code != error.code()) {
            self.findings.push(Finding::refused(error));
        }
    }

    /// [`Diagnosis::add_refusal`] for what recovery decides.
    pub fn add_step(&mut self, step: &Step) {
        if let Some(error) = step.error() {
            self.add_refusal(&error);
        }
    }

    /// Marks the findings that a checkpoint made anew would cure, for sinks that all end with the
    /// same batch. Sinks that hold it from different attempts are not made one by a new checkpoint.
    pub fn allow_rebuild(&mut self) {
        for finding in &mut self.findings {
            finding.rebuild = finding.repairs.is_empty() && finding.code != "SINKS_DISAGREE";
        }
    }

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
    /// One map a sink; an empty one for a sink that was not found, and may hold anything.
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

    /// Whether no sink holds `batch`. A sink that was not found counts only where none can hold it.
    fn none_holds(&self, scan: &Scan, batch: BatchId) -> bool {
        let lacks = |said: &BTreeMap<BatchId, Probe>| match said.is_empty() {
            true => never_sealed(scan),
            false => said.get(&batch) == Some(&Probe::Absent),
        };
        !self.sinks.is_empty() && self.sinks.iter().all(lacks)
    }
}

/// Whether nothing of the query can be in any sink: the first batch is not complete, and a commit of
/// ours follows its sealed attempt, which is kept until the batch is.
fn never_sealed(scan: &Scan) -> bool {
    scan.newest_offsets() == Some(BatchId(0))
        && scan.newest_commits().is_none()
        && !scan.log().history
}

/// Code of logs with holes.
const HOLE: &str = "CHECKPOINT_LOG_HOLE";

const ANEW: &str =
    "move the checkpoint away and make it anew from the table with `millstream checkpoint rebuild`";

/// Diagnoses.
pub fn diagnose(scan: &Scan, evidence: &Evidence, stateful: bool) -> Diagnosis {
    let log = scan.log();
    let mut findings = Vec::new();
    if log.metadata_missing {
        findings.push(metadata_missing(scan));
    }
    for damage in &log.damage {
        let what = format!("`{}`: {}", damage.file, damage.why);
        let mut finding = damaged(scan, evidence, stateful, &damage.file, what);
        finding.code = damage.code.to_owned();
        findings.push(finding);
    }
    findings.extend(offsets_holes(scan, &log.holes));
    findings.extend(completions_missing(scan, evidence, stateful));
    if let Some(completed) = scan.newest_commits()
        && scan.newest_offsets().is_none_or(|newest| completed > newest)
    {
        findings.push(Finding::new(
            "CHECKPOINT_COMMIT_WITHOUT_OFFSETS",
            format!("`commits/{completed}` has no `offsets/{completed}`."),
            format!(
                "What the batch read is lost here: restore `offsets` from a backup, or {ANEW}."
            ),
        ));
    }
    Diagnosis { findings }
}

fn metadata_missing(scan: &Scan) -> Finding {
    let id = scan.query_elsewhere();
    let advice = match id {
        Some(_) => "Other files of the checkpoint name the query's id.",
        None => {
            "Nothing else here names the query's id; the `txn` entries of the table's log do. Write it back as `{\"id\":\"<uuid>\"}`."
        }
    };
    Finding::new(
        "STREAMING_CHECKPOINT_MISSING_METADATA_FILE",
        "`metadata` is missing although there are logs.",
        advice,
    )
    .repaired_by(id.map(|id| Repair::WriteMetadata { id }))
}

fn damaged(scan: &Scan, evidence: &Evidence, stateful: bool, file: &str, what: String) -> Finding {
    let restore = format!(
        "The evidence is not enough for a repair: restore the file from a backup, or {ANEW}."
    );
    let (newest, completed) = (scan.newest_offsets(), scan.newest_commits());
    let (advice, repairs) = match (newest, completed) {
        (Some(n), m)
            if file == paths::offsets(n) && m < Some(n) && evidence.none_holds(scan, n) =>
        {
            (
                format!("No sink holds batch {n}: without this file it is planned again."),
                vec![Repair::Delete { path: file.to_owned() }],
            )
        }
        (_, Some(m)) if file == paths::commits(m) && evidence.all_hold(m) => {
            match next_watermark(scan, m, stateful) {
                Some(next_watermark_ms) => (
                    format!("Every sink holds batch {m}: it is complete."),
                    vec![
                        Repair::Delete { path: file.to_owned() },
                        Repair::WriteCompletion { batch: m, next_watermark_ms },
                    ],
                ),
                None => (restore, Vec::new()),
            }
        }
        (Some(n), Some(m))
            if file == paths::commits(m) && n == m && evidence.none_holds(scan, m) =>
        {
            (
                format!("No sink holds batch {m}: without this file it is executed again."),
                vec![Repair::Delete { path: file.to_owned() }],
            )
        }
        _ if file == paths::METADATA => whole_metadata(scan, restore),
        _ => (restore, Vec::new()),
    };
    Finding::new("CHECKPOINT_FILE_DAMAGED", what, advice).repaired_by(repairs)
}

/// A damaged `metadata` says nothing but the id, which other files say, too.
fn whole_metadata(scan: &Scan, restore: String) -> (String, Vec<Repair>) {
    match scan.query_elsewhere() {
        Some(id) => (
            "Other files of the checkpoint name the query's id.".to_owned(),
            vec![Repair::Delete { path: paths::METADATA.to_owned() }, Repair::WriteMetadata { id }],
        ),
        None => (restore, Vec::new()),
    }
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
    let hole = |advice: String| Finding::new(HOLE, "`offsets` has holes.", advice);
    Some(match top {
        Some(top) if !missing_before => {
            let leftovers = numbers.iter().filter(|n| **n <= top);
            hole("The files before the hole are leftovers of a purge; nothing needs them.".into())
                .repaired_by(
                    leftovers.map(|n| Repair::Delete { path: paths::offsets(BatchId(*n)) }),
                )
        }
        _ => hole(format!(
            "The batch before the newest one is missing: restore it from a backup, or {ANEW}."
        )),
    })
}

/// Most missing completions that are listed: a huge number in a file name must not make a huge list.
const MISSING_MAX: usize = 100_000;

/// Completions that the sinks prove: M < N−1, or holes in `commits`.
fn completions_missing(scan: &Scan, evidence: &Evidence, stateful: bool) -> Option<Finding> {
    let before = scan.newest_offsets()?.previous()?;
    let have = scan.numbers(paths::COMMITS);
    let first = have.first().copied().unwrap_or(before.0);
    let lowest = scan.numbers(paths::OFFSETS).first().copied()?;
    let missing: Vec<BatchId> = (first.max(lowest)..=before.0)
        .filter(|n| have.binary_search(n).is_err())
        .map(BatchId)
        .take(MISSING_MAX)
        .collect();
    let (oldest, newest) = (missing.first()?, missing.last()?);
    // A hole is refused as one; a log that ends too early has none.
    let holed = have.last().is_some_and(|last| *last > oldest.0);
    let code = if holed { HOLE } else { "CHECKPOINT_COMMITS_MISSING" };
    let what = format!("`commits` lacks {} files from {oldest} to {newest}.", missing.len());
    let watermark = next_watermark(scan, before, stateful);
    Some(match watermark.filter(|_| evidence.all_hold(before)) {
        Some(next_watermark_ms) => {
            let advice = format!("Every sink holds batch {before}, which proves all before it.");
            let write = |batch| Repair::WriteCompletion { batch, next_watermark_ms };
            Finding::new(code, what, advice).repaired_by(missing.into_iter().map(write))
        }
        None => Finding::new(
            code,
            what,
            format!(
                "The sinks do not prove these batches: restore `commits` from a backup, or {ANEW}."
            ),
        ),
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

#[cfg(test)]
mod tests;
