//! Second level: every file that a batch added is live or was removed by an operation that has a
//! name, is on disk, and holds the rows that the ledger counted.

use super::facts::{CheckpointFacts, CommitFacts, TableFacts};
use super::report::{Finding, Level, LevelReport};
use std::collections::BTreeMap;

/// Audits the files. `sink` is the table's place in the ledger's row counts.
pub fn audit(table: &TableFacts, checkpoint: &CheckpointFacts, sink: usize) -> LevelReport {
    let mut findings = Vec::new();
    let removals = removals(table);
    let mut files = 0;
    let mut batches = 0;
    for commit in &table.commits {
        let Some(mark) = &commit.mark else {
            foreign(commit, &mut findings);
            continue;
        };
        batches += 1;
        files += commit.added.len();
        for file in &commit.added {
            present(table, &removals, commit, mark.batch, &file.path, &mut findings);
        }
        let counted = checkpoint.ledger.get(&mark.batch).and_then(|e| e.rows_out.as_ref());
        if let Some(expected) = counted.and_then(|rows| rows.get(sink)) {
            counts(commit, mark.batch, *expected, &mut findings);
        }
    }
    for (path, bytes) in &table.live {
        if bytes.is_none() {
            let batch = adder(table, path);
            findings.push(Finding::violation(batch, format!("`{path}` is not on disk")));
        }
    }
    let covered =
        format!("{files} files of {batches} batches; {} files are live", table.live.len());
    LevelReport::new(Level::Files, covered, findings)
}

/// Path of each removed file, to the newest commit that removed it.
fn removals(table: &TableFacts) -> BTreeMap<&str, &CommitFacts> {
    let all =
        table.commits.iter().flat_map(|c| c.removed.iter().map(move |(p, _)| (p.as_str(), c)));
    all.collect()
}

fn present(
    table: &TableFacts,
    removals: &BTreeMap<&str, &CommitFacts>,
    commit: &CommitFacts,
    batch: u64,
    path: &str,
    findings: &mut Vec<Finding>,
) {
    let live = table.live.contains_key(path);
    match removals.get(path) {
        // The newest removal counts only if it came after the file.
        Some(by) if by.version > commit.version && live => findings.push(Finding::violation(
            batch,
            format!("`{path}` is live although version {} removed it", by.version),
        )),
        Some(by) if by.version > commit.version => (),
        _ if live => (),
        _ => findings.push(Finding::violation(
            batch,
            format!("`{path}` is not in the table, and no operation removed it"),
        )),
    }
}

fn counts(commit: &CommitFacts, batch: u64, expected: u64, findings: &mut Vec<Finding>) {
    let stated: Option<u64> = commit.added.iter().map(|f| f.rows).sum();
    match stated {
        None => findings.push(Finding::unknown(
            batch,
            format!("a file of version {} does not say how many rows it has", commit.version),
        )),
        Some(rows) if rows != expected => findings.push(Finding::violation(
            batch,
            format!("version {} added {rows} rows; the ledger counted {expected}", commit.version),
        )),
        Some(_) => (),
    }
}

/// A commit that is not a batch of this query.
fn foreign(commit: &CommitFacts, findings: &mut Vec<Finding>) {
    let removed = commit.removed.iter().filter(|(_, data_change)| *data_change).count();
    let added = commit.added.iter().filter(|f| f.data_change).count();
    if removed + added > 0 {
        findings.push(Finding::note(
            None,
            format!(
                "version {} ({}) is not of this query: it added {added} files and removed {removed}",
                commit.version, commit.operation
            ),
        ));
    }
}

fn adder(table: &TableFacts, path: &str) -> Option<u64> {
    let commit = table.commits.iter().rev().find(|c| c.added.iter().any(|f| f.path == path))?;
    commit.mark.as_ref().map(|m| m.batch)
}

/// Whether somebody else changed rows: then a missing row may be theirs.
pub(super) fn changed_by_others(table: &TableFacts) -> bool {
    table.commits.iter().filter(|c| c.mark.is_none()).any(|c| {
        // What another stream adds is no excuse for what is missing of this one.
        let added = !c.other_stream && c.added.iter().any(|f| f.data_change);
        added || c.removed.iter().any(|(_, data)| *data)
    })
}
