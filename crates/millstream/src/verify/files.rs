//! Second level: every file that a batch added is live or was removed by an operation that has a
//! name, is on disk, and holds the rows that the ledger counted.

use super::facts::{CheckpointFacts, CommitFacts, FileFacts, TableFacts};
use super::report::{Finding, Level, LevelReport};
use std::collections::BTreeMap;

/// The operation that brings an older version of the table back.
const RESTORE: &str = "RESTORE";

/// Audits the files. `sink` is the table's place in the ledger's row counts.
pub fn audit(table: &TableFacts, checkpoint: &CheckpointFacts, sink: usize) -> LevelReport {
    let mut findings = Vec::new();
    let last = last_actions(table);
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
            present(table, &last, mark.batch, &file.path, &mut findings);
        }
        let counted = checkpoint.ledger.get(&mark.batch).and_then(|e| e.rows_out.as_ref());
        let counted = counted.and_then(|rows| rows.get(sink)).map(|rows| (*rows, "the ledger"));
        if let Some(expected) = counted.or(mark.rows.map(|rows| (rows, "its commit"))) {
            counts(commit, mark.batch, expected, &mut findings);
        }
    }
    for (path, on_disk) in &table.live {
        let added = adder(table, path);
        let batch = added.and_then(|(commit, _)| commit.mark.as_ref()).map(|mark| mark.batch);
        match (on_disk, added) {
            (None, _) => {
                findings.push(Finding::violation(batch, format!("`{path}` is not on disk")));
            }
            (Some(bytes), Some((_, file))) if *bytes != file.bytes => {
                let what = format!(
                    "`{path}` is another file than was added: it has {bytes} bytes, not {}",
                    file.bytes
                );
                findings.push(Finding::violation(batch, what));
            }
            (Some(_), _) => {}
        }
    }
    let covered =
        format!("{files} files of {batches} batches; {} files are live", table.live.len());
    LevelReport::new(Level::Files, covered, findings)
}

/// What the log says of a file at last.
enum Last<'a> {
    Added,
    Removed(&'a CommitFacts),
}

/// Each path with the newest action on it. A file that is removed and added in one entry stays.
fn last_actions(table: &TableFacts) -> BTreeMap<&str, Last<'_>> {
    let mut last = BTreeMap::new();
    for commit in &table.commits {
        for (path, _) in &commit.removed {
            last.insert(path.as_str(), Last::Removed(commit));
        }
        for file in &commit.added {
            last.insert(file.path.as_str(), Last::Added);
        }
    }
    last
}

fn present(
    table: &TableFacts,
    last: &BTreeMap<&str, Last<'_>>,
    batch: u64,
    path: &str,
    findings: &mut Vec<Finding>,
) {
    let live = table.live.contains_key(path);
    let what = match last.get(path) {
        Some(Last::Removed(by)) if live => {
            format!("`{path}` is live although version {} removed it", by.version)
        }
        // The batch stays in the query's `txn`, so that nothing reads it again.
        Some(Last::Removed(by)) if by.operation == RESTORE => format!(
            "version {} ({RESTORE}) took `{path}` out of the table, and the stream goes on after \
             this batch",
            by.version
        ),
        Some(Last::Removed(_)) => return,
        _ if live => return,
        _ => format!("`{path}` is not in the table, and no operation removed it"),
    };
    findings.push(Finding::violation(batch, what));
}

/// Rows of the added files against those that somebody counted.
fn counts(
    commit: &CommitFacts,
    batch: u64,
    (expected, who): (u64, &str),
    findings: &mut Vec<Finding>,
) {
    let stated: Option<u64> = commit.added.iter().map(|f| f.rows).sum();
    match stated {
        None => findings.push(Finding::unknown(
            batch,
            format!("a file of version {} does not say how many rows it has", commit.version),
        )),
        Some(rows) if rows != expected => findings.push(Finding::violation(
            batch,
            format!("version {} added {rows} rows; {who} counted {expected}", commit.version),
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

/// Who added a file at last.
fn adder<'a>(table: &'a TableFacts, path: &str) -> Option<(&'a CommitFacts, &'a FileFacts)> {
    let newest = table.commits.iter().rev();
    newest.flat_map(|c| c.added.iter().map(move |f| (c, f))).find(|(_, f)| f.path == path)
}

/// Whether somebody else changed rows: then a missing row may be theirs.
pub(super) fn changed_by_others(table: &TableFacts) -> bool {
    table.commits.iter().filter(|c| c.mark.is_none()).any(|c| {
        // What another stream adds is no excuse for what is missing of this one.
        let added = !c.other_stream && c.added.iter().any(|f| f.data_change);
        added || c.removed.iter().any(|(_, data)| *data)
    })
}

/// Whether somebody who is no stream may have added rows: an entry says so, or older entries are
/// gone that might have said it.
pub(super) fn holds_rows_of_others(table: &TableFacts) -> bool {
    let adds = |c: &CommitFacts| c.mark.is_none() && c.added.iter().any(|f| f.data_change);
    !table.is_whole() || table.commits.iter().any(adds)
}
