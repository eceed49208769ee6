use super::facts::{BatchMark, CheckpointFacts, CommitFacts, FileFacts, TableFacts};
use super::report::{LevelReport, Severity};
use super::{chain, files, rows::RowAudit};
use millstream_core::contract::{Position, SourceRange};
use millstream_core::ids::{BatchId, Digest, Epoch, QueryId};
use millstream_core::log::{LedgerEntry, Planner};
use millstream_core::offsets::TopicPartition;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

const ROWS_A_BATCH: i64 = 10;

fn digest(batch: u64) -> Digest {
    Digest::of(format!("intent {batch}").as_bytes())
}

fn ledger_entry(batch: u64) -> LedgerEntry {
    let from = i64::try_from(batch).unwrap() * ROWS_A_BATCH;
    LedgerEntry {
        query: QueryId(Uuid::nil()),
        batch: BatchId(batch),
        digest: digest(batch),
        previous: batch.checked_sub(1).map(digest),
        planner: Planner::Millstream,
        attempt: None,
        epoch: Epoch(1),
        batch_time_ms: 0,
        sources: vec![Some(SourceRange::new(
            Position(json!({"t": {"0": from}})),
            Position(json!({"t": {"0": from + ROWS_A_BATCH}})),
        ))],
        rows_in: Some(vec![10]),
        rows_out: Some(vec![10]),
    }
}

fn file(name: impl Into<String>) -> FileFacts {
    FileFacts { path: name.into(), rows: Some(10), bytes: 1, data_change: true }
}

fn commit(batch: u64) -> CommitFacts {
    CommitFacts {
        version: batch,
        operation: "STREAMING UPDATE".to_owned(),
        other_stream: false,
        mark: Some(BatchMark {
            batch,
            attempt: None,
            digest: Some(digest(batch).to_string()),
            previous: batch.checked_sub(1).map(|b| digest(b).to_string()),
            rows: Some(10),
        }),
        added: vec![file(format!("f{batch}"))],
        removed: Vec::new(),
    }
}

/// Four batches of ten records, everything as it should be.
fn whole() -> (TableFacts, CheckpointFacts) {
    let table = TableFacts {
        version: 3,
        commits: (0..4).map(commit).collect(),
        txn: Some(3),
        live: (0..4).map(|b| (format!("f{b}"), Some(1))).collect(),
    };
    let ledger: BTreeMap<u64, LedgerEntry> = (0..4).map(|b| (b, ledger_entry(b))).collect();
    (table, CheckpointFacts { completed: Some(3), ledger, ..CheckpointFacts::default() })
}

fn violations(report: &LevelReport) -> Vec<String> {
    let broken = report.findings.iter().filter(|f| f.severity == Severity::Violation);
    broken.map(|f| f.what.clone()).collect()
}

/// Checks that the chain has one violation that says `part`.
fn chain_says(change: impl FnOnce(&mut TableFacts, &mut CheckpointFacts), part: &str) {
    let (mut table, mut checkpoint) = whole();
    change(&mut table, &mut checkpoint);
    let found = violations(&chain::audit(&table, &checkpoint));
    assert!(found.iter().any(|f| f.contains(part)), "{found:?} does not say {part}");
}

fn files_say(change: impl FnOnce(&mut TableFacts, &mut CheckpointFacts), part: &str) {
    let (mut table, mut checkpoint) = whole();
    change(&mut table, &mut checkpoint);
    let found = violations(&files::audit(&table, &checkpoint, 0));
    assert!(found.iter().any(|f| f.contains(part)), "{found:?} does not say {part}");
}

fn rows(change: impl FnOnce(&mut Vec<(i32, i64)>)) -> LevelReport {
    let (_, checkpoint) = whole();
    let mut places: Vec<(i32, i64)> = (0..40).map(|offset| (0, offset)).collect();
    change(&mut places);
    let mut audit = RowAudit::new(Arc::new(checkpoint.clone()));
    for (partition, offset) in places {
        audit.row(Some(0), &"f".into(), &TopicPartition::new("t", partition), offset);
    }
    audit.finish(false, None)
}

#[test]
fn what_is_whole_is_clean() {
    let (table, checkpoint) = whole();
    assert_eq!(chain::audit(&table, &checkpoint).findings, []);
    assert_eq!(files::audit(&table, &checkpoint, 0).findings, []);
    assert_eq!(rows(|_| ()).findings, []);
}

#[test]
fn a_repeated_batch_is_seen() {
    chain_says(|t, _| t.commits.push(CommitFacts { version: 4, ..commit(3) }), "holds batch 3");
}

#[test]
fn a_missing_batch_is_seen() {
    chain_says(|t, _| drop(t.commits.remove(1)), "missing");
    chain_says(|t, _| drop(t.commits.remove(1)), "in no commit of the table");
    chain_says(
        |t, _| {
            t.commits.pop();
            t.txn = Some(2);
        },
        "completed batch 3; the table ends with 2",
    );
    chain_says(|t, _| t.commits[0].mark = None, "the table's first batch is 1");
}

#[test]
fn an_older_log_that_was_cleaned_up_is_no_violation() {
    let (mut table, checkpoint) = whole();
    table.commits.drain(..2);
    assert_eq!(chain::audit(&table, &checkpoint).findings, []);
}

#[test]
fn another_intent_is_seen() {
    let other = Digest::of(b"other").to_string();
    let changed = other.clone();
    chain_says(
        move |t, _| t.commits[1].mark.as_mut().unwrap().digest = Some(changed),
        "another intent than the ledger",
    );
    chain_says(
        move |t, _| t.commits[2].mark.as_mut().unwrap().previous = Some(other),
        "follows another intent",
    );
}

#[test]
fn skipped_and_repeated_ranges_are_seen() {
    let start = |c: &mut CheckpointFacts, offset: i64| {
        let entry = c.ledger.get_mut(&2).unwrap();
        entry.sources[0].as_mut().unwrap().start = Position(json!({"t": {"0": offset}}));
    };
    chain_says(|_, c| start(c, 23), "offsets 20 to 22 were skipped");
    chain_says(|_, c| start(c, 18), "offsets 18 to 19 were read again");
}

#[test]
fn a_batch_in_flight_is_a_note() {
    let (table, mut checkpoint) = whole();
    checkpoint.completed = Some(2);
    checkpoint.ledger.remove(&3);
    let report = chain::audit(&table, &checkpoint);
    assert_eq!(report.violations, 0);
    assert_eq!(report.findings.len(), 1);
    chain_says(|_, c| c.completed = Some(1), "more than one batch ahead");
}

#[test]
fn files_that_vanished_are_seen() {
    files_say(
        |t, _| {
            t.live.remove("f1");
        },
        "no operation removed it",
    );
    files_say(
        |t, _| {
            t.live.insert("f1".into(), None);
        },
        "is not on disk",
    );
    files_say(
        |t, _| {
            t.live.insert("f1".into(), Some(0));
        },
        "it has 0 bytes, not 1",
    );
    files_say(|t, _| t.commits[1].added[0].rows = Some(9), "the ledger counted 10");
    files_say(
        |t, c| {
            c.ledger.remove(&1);
            t.commits[1].added.clear();
            t.live.remove("f1");
        },
        "its commit counted 10",
    );
}

#[test]
fn a_removal_with_a_name_is_a_note() {
    let (mut table, checkpoint) = whole();
    table.live.remove("f1");
    table.commits.push(CommitFacts {
        version: 4,
        operation: "DELETE".to_owned(),
        other_stream: false,
        mark: None,
        added: Vec::new(),
        removed: vec![("f1".to_owned(), true)],
    });
    let report = files::audit(&table, &checkpoint, 0);
    assert_eq!(report.violations, 0);
    assert!(report.findings.iter().any(|f| f.what.contains("DELETE")), "{report:?}");
    assert!(files::changed_by_others(&table));
}

#[test]
fn a_row_count_that_nobody_knows_is_unknown() {
    let (mut table, checkpoint) = whole();
    table.commits[1].added[0].rows = None;
    let report = files::audit(&table, &checkpoint, 0);
    assert_eq!((report.violations, report.unknown), (0, 1));
}

#[test]
fn repeats_phantoms_and_gaps_are_told_apart() {
    let repeat = rows(|r| r.push((0, 7)));
    assert!(violations(&repeat)[0].contains("t-0 offset 7 is there again"), "{repeat:?}");
    let phantom = rows(|r| r.push((1, 7)));
    assert!(violations(&phantom)[0].contains("t-1 offset 7 was never read"), "{phantom:?}");
    let gap = rows(|r| {
        r.remove(13);
    });
    assert_eq!(violations(&gap), ["1 of the records it read are missing"]);
    assert_eq!(gap.findings[0].batch, Some(1));
}

#[test]
fn many_repeats_are_counted_not_listed() {
    let report = rows(|r| r.extend((0..40).map(|offset| (0, offset)).collect::<Vec<_>>()));
    assert!(violations(&report).len() < 60);
    let report = rows(|r| r.extend(vec![(0, 1); 1_000]));
    assert!(violations(&report).last().unwrap().contains("950 more"), "{report:?}");
}

#[test]
fn rows_that_the_ledger_does_not_tell_are_no_phantoms() {
    let (_, mut checkpoint) = whole();
    checkpoint.ledger.remove(&3);
    let mut audit = RowAudit::new(Arc::new(checkpoint.clone()));
    for offset in 0..40 {
        let batch = u64::try_from(offset / ROWS_A_BATCH).unwrap();
        audit.row(Some(batch), &"f".into(), &TopicPartition::new("t", 0), offset);
    }
    let report = audit.finish(false, None);
    assert_eq!((report.violations, report.unknown), (0, 0), "{report:?}");
    assert!(report.findings[0].what.starts_with("10 rows"), "{report:?}");
    checkpoint.ledger.remove(&0);
    let mut audit = RowAudit::new(Arc::new(checkpoint.clone()));
    audit.row(Some(0), &"f".into(), &TopicPartition::new("t", 0), 3);
    assert_eq!(audit.finish(false, None).unknown, 1);
}

#[test]
fn a_file_of_another_size_is_seen() {
    files_say(
        |t, _| {
            t.live.insert("f1".into(), Some(2));
        },
        "`f1` is another file than was added: it has 2 bytes, not 1",
    );
}

fn by_others(version: u64, operation: &str, added: &[&str], removed: &[&str]) -> CommitFacts {
    CommitFacts {
        version,
        operation: operation.to_owned(),
        other_stream: false,
        mark: None,
        added: added.iter().map(|name| file(*name)).collect(),
        removed: removed.iter().map(|name| ((*name).to_owned(), true)).collect(),
    }
}

#[test]
fn a_restore_that_takes_a_batch_away_is_seen_and_one_that_does_not_is_none() {
    files_say(
        |t, _| {
            t.live.remove("f3");
            t.commits.push(by_others(4, "RESTORE", &[], &["f3"]));
        },
        "version 4 (RESTORE) took `f3` out of the table",
    );
    // Compacted, and back to before.
    let (mut table, checkpoint) = whole();
    table.commits.push(by_others(4, "OPTIMIZE", &["c"], &["f2", "f3"]));
    table.commits.push(by_others(5, "RESTORE", &["f2", "f3"], &["c"]));
    let report = files::audit(&table, &checkpoint, 0);
    assert_eq!((report.violations, report.unknown), (0, 0), "{report:?}");
    // A file that is removed and added in one entry is live: a deletion vector was put on it.
    table.commits.push(by_others(6, "DELETE", &["f2"], &["f2"]));
    assert_eq!(files::audit(&table, &checkpoint, 0).violations, 0);
}

#[test]
fn a_checkpoint_put_back_is_told_from_a_batch_in_flight() {
    let since = |planned, completed| {
        let (planned, completed) = (Some(planned), Some(completed));
        Some(super::facts::Since { planned, completed })
    };
    let older = |c: &mut CheckpointFacts| {
        c.completed = Some(2);
        c.ledger.remove(&3);
        c.since = since(2, 2);
    };
    chain_says(|_, c| older(c), "the newest batch that the checkpoint has planned is 2");
    let (table, mut checkpoint) = whole();
    older(&mut checkpoint);
    checkpoint.since = since(3, 2);
    assert_eq!(chain::audit(&table, &checkpoint).violations, 0);
    // Two batches went by while the table was looked at.
    checkpoint.completed = Some(1);
    checkpoint.ledger.remove(&2);
    checkpoint.since = since(3, 3);
    assert_eq!(chain::audit(&table, &checkpoint).violations, 0);
}

#[test]
fn rows_that_others_added_are_no_phantoms_where_others_add_rows() {
    let audit = |others: bool, batch| {
        let (_, checkpoint) = whole();
        let mut audit = RowAudit::new(Arc::new(checkpoint));
        if others {
            audit.expect_rows_of_others();
        }
        for offset in 0..40 {
            audit.row(Some(0), &"f".into(), &TopicPartition::new("t", 0), offset);
        }
        audit.row(batch, &"g".into(), &TopicPartition::new("elsewhere", 0), 7);
        audit.finish(false, None).violations
    };
    assert_eq!((audit(true, None), audit(false, None), audit(true, Some(1))), (0, 1, 1));
}

/// Batches 0 to 3 read offsets 0 to 19 of one life of the topic, and then of the next.
fn two_lives() -> CheckpointFacts {
    let (_, mut checkpoint) = whole();
    for (batch, entry) in &mut checkpoint.ledger {
        let from = i64::try_from(batch % 2).unwrap() * ROWS_A_BATCH;
        let range = entry.sources[0].as_mut().unwrap();
        range.start = Position(json!({"t": {"0": from}}));
        range.end = Position(json!({"t": {"0": from + ROWS_A_BATCH}}));
        range.detail = json!({"topics": {"t": format!("id {}", batch / 2)}});
    }
    checkpoint
}

#[test]
fn offsets_of_another_life_of_a_topic_are_no_repeats() {
    let audit = |rewritten: &[i64], more: Option<(Option<u64>, i64)>| {
        let mut audit = RowAudit::new(Arc::new(two_lives()));
        let place = TopicPartition::new("t", 0);
        for row in (0..40).filter(|row| !rewritten.contains(row)) {
            let batch = u64::try_from(row / ROWS_A_BATCH).unwrap();
            audit.row(Some(batch), &"f".into(), &place, row % 20);
        }
        // Files of nobody's batch come last.
        for row in rewritten {
            audit.row(None, &"g".into(), &place, row % 20);
        }
        if let Some((batch, offset)) = more {
            audit.row(batch, &"g".into(), &place, offset);
        }
        audit.finish(false, None)
    };
    assert_eq!(audit(&[], None).findings, []);
    assert_eq!(audit(&[3, 23, 17, 38], None).findings, []);
    for batch in [Some(0), None] {
        let found = violations(&audit(&[3, 23], Some((batch, 3))));
        assert_eq!(found, ["t-0 offset 3 is there again (`g`)"], "{batch:?}");
    }
    let found = violations(&audit(&[], Some((Some(2), 3))));
    assert_eq!(found, ["t (created again, life 2)-0 offset 3 is there again (`g`)"]);
    // A row of the first life does not stand in for one of the second.
    let mut lost = RowAudit::new(Arc::new(two_lives()));
    for row in (0..40).filter(|row| *row != 25) {
        let batch = u64::try_from(row / ROWS_A_BATCH).unwrap();
        lost.row(Some(batch), &"f".into(), &TopicPartition::new("t", 0), row % 20);
    }
    let lost = lost.finish(false, None);
    assert_eq!(violations(&lost), ["1 of the records it read are missing"]);
    assert_eq!(lost.findings[0].batch, Some(2));
}
