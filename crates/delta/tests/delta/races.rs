//! Writers that commit to one table at the same time.

use crate::support::*;
use millstream_core::contract::Sink as _;
use std::collections::BTreeSet;
use std::path::PathBuf;

const COMMITS: u64 = 200;

/// Two writers that share nothing but the disk, as two processes would: each has its own sink, on
/// its own thread with its own runtime.
#[test]
fn two_writers_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let writers: Vec<_> = (0..2u64)
        .map(|writer| {
            let path: PathBuf = dir.path().to_owned();
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let sink = sink(&path, "id BIGINT");
                    let q = query();
                    let mut versions = Vec::new();
                    for batch in 0..COMMITS {
                        let id = writer * COMMITS + batch;
                        versions.push(append(&sink, q, batch, &ids(id..id + 1)).await);
                    }
                    (q, versions)
                })
            })
        })
        .collect();
    let done: Vec<_> = writers.into_iter().map(|w| w.join().unwrap()).collect();

    let versions: BTreeSet<u64> = done.iter().flat_map(|(_, v)| v).copied().collect();
    assert_eq!(versions, (0..2 * COMMITS).collect(), "every version has one commit");
    let table = open(dir.path());
    assert_eq!(table.version(), 2 * COMMITS - 1);
    assert_eq!(row_count(dir.path()), 2 * COMMITS);
    for (q, _) in &done {
        assert_eq!(table.txn(&q.to_string()), Some(COMMITS as i64 - 1));
    }
}

/// Two runs of one query commit the same batch from one intent: the table takes one of them.
#[test]
fn one_batch_of_two_runs_is_taken_once() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let q = query();
        let runs: Vec<_> = (0..4)
            .map(|_| {
                let path: PathBuf = dir.path().to_owned();
                std::thread::spawn(move || {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        let sink = sink(&path, "id BIGINT");
                        let tag = tag(q, 0);
                        let staged = stage(&sink, &tag, &ids(0..3)).unwrap();
                        sink.commit(&tag, &staged).await.unwrap()
                    })
                })
            })
            .collect();
        let outcomes: Vec<_> = runs.into_iter().map(|r| r.join().unwrap()).collect();
        let won = outcomes
            .iter()
            .filter(|o| matches!(o, millstream_core::contract::CommitOutcome::Committed { .. }))
            .count();
        assert_eq!(won, 1, "{outcomes:?}");
        assert_eq!(row_count(dir.path()), 3);
        assert_eq!(open(dir.path()).version(), 0);
    }
}
