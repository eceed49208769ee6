//! First level: the chain of commits, against itself and against the checkpoint's ledger.

use super::facts::{BatchMark, CheckpointFacts, TableFacts};
use super::report::{Finding, Level, LevelReport};
use millstream_core::log::LedgerEntry;
use millstream_core::offsets::Offsets;
use serde_json::Value;

/// Audits the chain.
pub fn audit(table: &TableFacts, checkpoint: &CheckpointFacts) -> LevelReport {
    let mut findings = Vec::new();
    let marks: Vec<(u64, &BatchMark)> =
        table.commits.iter().filter_map(|c| c.mark.as_ref().map(|m| (c.version, m))).collect();
    order(&marks, &mut findings);
    ends(table, &marks, checkpoint, &mut findings);
    against_ledger(table, &marks, checkpoint, &mut findings);
    ranges(checkpoint, &mut findings);
    findings.extend(checkpoint.damaged.iter().map(|what| Finding::unknown(None, what.as_str())));
    LevelReport::new(Level::Chain, covered(table, &marks, checkpoint), findings)
}

/// Numbers rise by one and each commit names the digest of the one before.
fn order(marks: &[(u64, &BatchMark)], findings: &mut Vec<Finding>) {
    for pair in marks.windows(2) {
        let [(before_version, before), (version, mark)] = pair else { continue };
        if mark.batch <= before.batch {
            findings.push(Finding::violation(
                mark.batch,
                format!(
                    "version {version} holds batch {}, after version {before_version} had batch {}",
                    mark.batch, before.batch
                ),
            ));
        } else if mark.batch > before.batch + 1 {
            findings.push(Finding::violation(
                before.batch + 1,
                format!(
                    "missing: versions {before_version} and {version} hold batches {} and {}",
                    before.batch, mark.batch
                ),
            ));
        } else if let (Some(previous), Some(digest)) = (&mark.previous, &before.digest)
            && previous != digest
        {
            findings.push(Finding::violation(
                mark.batch,
                format!(
                    "version {version} follows another intent than the one that version \
                     {before_version} holds as batch {}",
                    before.batch
                ),
            ));
        }
    }
}

/// The first and the last batch are where they should be.
fn ends(
    table: &TableFacts,
    marks: &[(u64, &BatchMark)],
    checkpoint: &CheckpointFacts,
    findings: &mut Vec<Finding>,
) {
    if table.is_whole()
        && let Some((version, first)) = marks.first()
        && first.batch != 0
    {
        findings.push(Finding::violation(
            0,
            format!("missing: the table's first batch is {} at version {version}", first.batch),
        ));
    }
    let newest = marks.last().map(|(_, m)| m.batch).max(table.txn);
    match (newest, checkpoint.completed) {
        (Some(newest), Some(completed)) if newest < completed => findings.push(Finding::violation(
            newest + 1,
            format!("the checkpoint completed batch {completed}; the table ends with {newest}"),
        )),
        (None, Some(completed)) => findings.push(Finding::violation(
            0,
            format!("the checkpoint completed batch {completed}; the table has none of them"),
        )),
        (Some(newest), _) if is_unplanned(newest, checkpoint) => {
            let planned = checkpoint.since.and_then(|since| since.planned);
            let planned = planned.map_or("none".to_owned(), |batch| batch.to_string());
            findings.push(Finding::violation(
                newest,
                format!(
                    "it is in the table, and the newest batch that the checkpoint has planned is \
                     {planned}: an older checkpoint was put back"
                ),
            ));
        }
        (Some(newest), completed) if is_far_ahead(newest, completed, checkpoint) => {
            findings.push(Finding::violation(
                newest,
                "the table is more than one batch ahead of the checkpoint",
            ));
        }
        (Some(newest), completed) if completed != Some(newest) => findings.push(Finding::note(
            newest,
            "committed, not completed: the next run finishes it (`checkpoint doctor` says whether it can)",
        )),
        _ => (),
    }
}

/// Whether the table has a batch that the checkpoint knows nothing of.
fn is_unplanned(newest: u64, checkpoint: &CheckpointFacts) -> bool {
    checkpoint.since.is_some_and(|since| since.planned.is_none_or(|planned| planned < newest))
}

/// Whether more than the batch in flight is missing in the checkpoint.
fn is_far_ahead(newest: u64, completed: Option<u64>, checkpoint: &CheckpointFacts) -> bool {
    let completed = completed.max(checkpoint.since.and_then(|since| since.completed));
    completed.map_or(0, |completed| completed + 1) < newest
}

/// Where both speak of a batch they say the same.
fn against_ledger(
    table: &TableFacts,
    marks: &[(u64, &BatchMark)],
    checkpoint: &CheckpointFacts,
    findings: &mut Vec<Finding>,
) {
    for (version, mark) in marks {
        let Some(entry) = checkpoint.ledger.get(&mark.batch) else { continue };
        let digest = entry.digest.to_string();
        if mark.digest.as_ref().is_some_and(|d| *d != digest) {
            findings.push(Finding::violation(
                mark.batch,
                format!("version {version} holds another intent than the ledger"),
            ));
        }
        let attempt = entry.attempt.map(|a| a.to_string());
        if mark.attempt.is_some() && attempt.is_some() && mark.attempt != attempt {
            findings.push(Finding::violation(
                mark.batch,
                format!("version {version} holds another attempt than the ledger"),
            ));
        }
    }
    // Below the first batch that the log still shows, only the ledger speaks.
    let from = if table.is_whole() { Some(0) } else { marks.first().map(|(_, m)| m.batch) };
    let Some(from) = from else { return };
    for batch in checkpoint.ledger.range(from..).map(|(batch, _)| *batch) {
        if !marks.iter().any(|(_, m)| m.batch == batch) {
            findings
                .push(Finding::violation(batch, "in the ledger, but in no commit of the table"));
        }
    }
}

/// Each batch starts where the one before ended.
fn ranges(checkpoint: &CheckpointFacts, findings: &mut Vec<Finding>) {
    let entries: Vec<&LedgerEntry> = checkpoint.ledger.values().collect();
    for pair in entries.windows(2) {
        let [before, entry] = pair else { continue };
        if entry.batch.0 != before.batch.0 + 1 {
            findings.push(Finding::unknown(
                before.batch.0 + 1,
                format!("the ledger has no entries between {} and {}", before.batch, entry.batch),
            ));
            continue;
        }
        if entry.previous.is_some_and(|p| p != before.digest) {
            findings.push(Finding::violation(
                entry.batch.0,
                "the ledger's entry follows another intent than the entry before it",
            ));
        }
        for (earlier, later) in before.sources.iter().zip(&entry.sources) {
            let (Some(earlier), Some(later)) = (earlier, later) else { continue };
            let (end, start) = (offsets(&earlier.end.0), offsets(&later.start.0));
            let (Some(end), Some(start)) = (end, start) else { continue };
            compare_ranges(entry.batch.0, &end, &start, &later.detail, findings);
        }
    }
}

/// `detail` is what the source remembers of the later range: gaps that `failOnDataLoss = false`
/// allowed are in it, each with its reason.
fn compare_ranges(
    batch: u64,
    end: &Offsets,
    start: &Offsets,
    detail: &Value,
    findings: &mut Vec<Finding>,
) {
    for (partition, from) in &start.0 {
        let Some(to) = end.get(partition) else { continue };
        let gap =
            detail["gaps"].as_array().into_iter().flatten().find(|gap| {
                gap["topic"] == partition.topic && gap["partition"] == partition.partition
            });
        let reason = gap.and_then(|gap| gap["reason"].as_str());
        let covered = gap.is_some_and(|gap| gap["to"].as_i64() >= Some(*from));
        if let Some(reason) = reason.filter(|_| covered && *from != to) {
            findings.push(Finding::note(
                batch,
                format!(
                    "{partition}: after offset {to} reading went on at {from} ({reason}); \
                     failOnDataLoss was false"
                ),
            ));
        } else if *from > to {
            findings.push(Finding::violation(
                batch,
                format!("{partition}: offsets {to} to {} were skipped", from - 1),
            ));
        } else if *from < to {
            findings.push(Finding::violation(
                batch,
                format!("{partition}: offsets {from} to {} were read again", to - 1),
            ));
        }
    }
}

/// A position as Kafka's offsets; `None` for other sources.
pub(super) fn offsets(position: &serde_json::Value) -> Option<Offsets> {
    Offsets::parse(&position.to_string()).ok()
}

fn covered(
    table: &TableFacts,
    marks: &[(u64, &BatchMark)],
    checkpoint: &CheckpointFacts,
) -> String {
    let in_table = match (marks.first(), marks.last()) {
        (Some((from, first)), Some((to, last))) => format!(
            "batches {} to {} in versions {from} to {to} of the table",
            first.batch, last.batch
        ),
        _ => "no batch of the query in the table's log".to_owned(),
    };
    let back = if table.is_whole() {
        "whole log"
    } else {
        "older entries of the log are gone; before them only the newest txn speaks"
    };
    let ledger = match (checkpoint.ledger.keys().next(), checkpoint.ledger.keys().next_back()) {
        (Some(first), Some(last)) => format!("ledger of batches {first} to {last}"),
        _ => "no ledger".to_owned(),
    };
    let ledger = match checkpoint.derived.len() {
        0 => ledger,
        n => format!("{ledger}, {n} of them completed by another engine and known by `offsets`"),
    };
    format!("{in_table} ({back}); {ledger}")
}
