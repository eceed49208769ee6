//! Lost answers: the creation of an entry says that it failed, and has or has not happened.

use crate::support::*;
use millstream_core::contract::{CommitOutcome, Probe, Sink};
use millstream_core::{Error, ErrorKind, Result};
use millstream_delta::{DeltaSink, DeltaSinkOptions, LocalLog, LogFiles, Stamp};
use millstream_store::Created;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What happens to a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The entry lands, the answer is an error.
    Landed,
    /// The entry does not land, the answer is an error.
    Lost,
    /// The entry lands when [`FaultyLog::deliver`] is called, the answer is an error.
    Late,
    /// The disk is full, and says so.
    Full,
    /// The entry lands, the answer is that the disk is full.
    FullAndLanded,
    /// Another writer's entry lands, the answer is that the disk is full.
    FullAndTaken,
}

#[derive(Debug)]
struct FaultyLog {
    log: LocalLog,
    next: Mutex<Fault>,
    late: Mutex<Option<(String, Vec<u8>)>>,
    settled: AtomicUsize,
    /// Whether the hint of the newest checkpoint cannot be read, and an fsync is to blame.
    is_hint_lost: AtomicBool,
    last_settled: Mutex<Option<String>>,
}

impl FaultyLog {
    fn new(table: &Path) -> Arc<Self> {
        Arc::new(FaultyLog {
            log: LocalLog::new(table),
            next: Mutex::new(Fault::None),
            late: Mutex::new(None),
            settled: AtomicUsize::new(0),
            is_hint_lost: AtomicBool::new(false),
            last_settled: Mutex::new(None),
        })
    }

    fn fail_next(&self, fault: Fault) {
        *self.next.lock().unwrap() = fault;
    }

    fn deliver(&self) -> Created {
        let (name, bytes) = self.late.lock().unwrap().take().unwrap();
        self.log.create(&name, &bytes).unwrap()
    }
}

impl LogFiles for FaultyLog {
    fn dir(&self) -> &Path {
        self.log.dir()
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if name == "_last_checkpoint" && self.is_hint_lost.load(Ordering::SeqCst) {
            return Err(Error::unavailable("STORE_SYNC_FAILED", "An fsync failed."));
        }
        self.log.read(name)
    }

    fn stamp(&self, name: &str) -> Result<Option<Stamp>> {
        self.log.stamp(name)
    }

    fn names(&self) -> Result<Option<Vec<String>>> {
        self.log.names()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        let fault = std::mem::replace(&mut *self.next.lock().unwrap(), Fault::None);
        let unclear = || Err(Error::unavailable("STORE_IO", "The answer was lost."));
        let full = || Err(Error::new(ErrorKind::Exhausted, "STORE_FULL", "The disk is full."));
        match fault {
            Fault::None => self.log.create(name, bytes),
            Fault::Landed => {
                assert_eq!(self.log.create(name, bytes)?, Created::Created);
                unclear()
            }
            Fault::Lost => unclear(),
            Fault::Late => {
                *self.late.lock().unwrap() = Some((name.to_owned(), bytes.to_vec()));
                unclear()
            }
            Fault::Full => full(),
            Fault::FullAndLanded => {
                assert_eq!(self.log.create(name, bytes)?, Created::Created);
                full()
            }
            Fault::FullAndTaken => {
                let theirs = b"{\"commitInfo\":{\"operation\":\"WRITE\"}}\n";
                assert_eq!(self.log.create(name, theirs)?, Created::Created);
                full()
            }
        }
    }

    fn settle(&self, name: &str) -> Result<()> {
        self.settled.fetch_add(1, Ordering::SeqCst);
        *self.last_settled.lock().unwrap() = Some(name.to_owned());
        self.log.settle(name)
    }

    fn distrust(&self) {
        self.log.distrust();
    }
}

fn faulty(path: &Path) -> (DeltaSink, Arc<FaultyLog>) {
    let log = FaultyLog::new(path);
    let options = DeltaSinkOptions::new(path);
    let files: Arc<dyn LogFiles> = Arc::clone(&log) as _;
    (DeltaSink::prepare_with(options, &ddl("id BIGINT"), env(), files).unwrap(), log)
}

#[tokio::test]
async fn a_lost_answer_is_resolved_by_probing() {
    // At the creation of the table and in its middle.
    for before in [0u64, 2] {
        for fault in [Fault::Landed, Fault::Lost] {
            let dir = tempfile::tempdir().unwrap();
            let (sink, log) = faulty(dir.path());
            let q = query();
            for batch in 0..before {
                append(&sink, q, batch, &ids(0..1)).await;
            }
            let tag = tag(q, before);
            let staged = stage(&sink, &tag, &ids(0..1)).unwrap();
            log.fail_next(fault);
            let outcome = sink.commit(&tag, &staged).await.unwrap();
            assert!(matches!(outcome, CommitOutcome::Unknown(_)), "{outcome:?}");
            let settled = log.settled.load(Ordering::SeqCst);
            let found = sink.probe(q, tag.batch).await.unwrap();
            if fault == Fault::Landed {
                let expected = Probe::Committed {
                    attempt: Some(tag.attempt),
                    digest_low_48: Some(tag.digest.low_48_bits()),
                };
                assert_eq!(found, expected);
                assert!(log.settled.load(Ordering::SeqCst) > settled, "made durable first");
            } else {
                assert_eq!(found, Probe::Absent);
                assert_eq!(committed(sink.commit(&tag, &staged).await.unwrap()), before);
            }
            assert_eq!(row_count(dir.path()), before + 1);
            assert_eq!(append(&sink, q, before + 1, &ids(0..1)).await, before + 1);
        }
    }
}

#[tokio::test]
async fn a_late_entry_never_doubles_a_batch() {
    // The late entry arrives before the second try: that try finds it.
    let dir = tempfile::tempdir().unwrap();
    let (sink, log) = faulty(dir.path());
    let q = query();
    append(&sink, q, 0, &ids(0..1)).await;
    let second = tag(q, 1);
    let staged = stage(&sink, &second, &ids(1..2)).unwrap();
    log.fail_next(Fault::Late);
    assert!(matches!(sink.commit(&second, &staged).await.unwrap(), CommitOutcome::Unknown(_)));
    assert_eq!(sink.probe(q, second.batch).await.unwrap(), Probe::Absent);
    assert_eq!(log.deliver(), Created::Created);
    let outcome = sink.commit(&second, &staged).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::AlreadyThere), "{outcome:?}");
    assert_eq!(row_count(dir.path()), 2);

    // It arrives after the second try: its place is taken.
    let third = tag(q, 2);
    let staged = stage(&sink, &third, &ids(2..3)).unwrap();
    log.fail_next(Fault::Late);
    assert!(matches!(sink.commit(&third, &staged).await.unwrap(), CommitOutcome::Unknown(_)));
    assert_eq!(committed(sink.commit(&third, &staged).await.unwrap()), 2);
    assert_eq!(log.deliver(), Created::Exists);
    assert_eq!(row_count(dir.path()), 3);
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_no_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, log) = faulty(dir.path());
    let tag = tag(query(), 0);
    let staged = stage(&sink, &tag, &ids(0..1)).unwrap();
    log.fail_next(Fault::Full);
    assert_eq!(sink.commit(&tag, &staged).await.unwrap_err().code(), "STORE_FULL");
    assert_eq!(committed(sink.commit(&tag, &staged).await.unwrap()), 0);
}

/// What the log holds counts for more than what was answered.
#[tokio::test]
async fn an_entry_that_landed_on_a_full_disk_is_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, log) = faulty(dir.path());
    let q = query();
    append(&sink, q, 0, &ids(0..1)).await;
    let next = tag(q, 1);
    let staged = stage(&sink, &next, &ids(1..2)).unwrap();
    log.fail_next(Fault::FullAndTaken);
    assert_eq!(sink.commit(&next, &staged).await.unwrap_err().code(), "STORE_FULL");
    log.fail_next(Fault::FullAndLanded);
    let outcome = sink.commit(&next, &staged).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Unknown(_)), "{outcome:?}");
    let found = sink.probe(q, next.batch).await.unwrap();
    assert!(matches!(found, Probe::Committed { .. }), "{found:?}");
}

/// Set for the process in which modes mean something.
const IS_ORDINARY: &str = "MILLSTREAM_TEST_ORDINARY_USER";

/// Runs the test of this name in a process that may not write where the mode forbids it. Modes mean
/// nothing to the superuser, so that such a process is one without his right to pass them over.
fn as_ordinary_user(test: &str) {
    let output = std::process::Command::new("setpriv")
        .arg("--bounding-set=-dac_override,-dac_read_search")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(IS_ORDINARY, "1")
        .output()
        .expect("`setpriv` of util-linux, which takes rights from the superuser");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{failed}");
}

#[tokio::test]
#[allow(clippy::disallowed_methods)]
async fn an_unwritable_directory_is_an_error_and_no_doubt() {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};
    let dir = tempfile::tempdir().unwrap();
    let (sink, _) = faulty(dir.path());
    let q = query();
    append(&sink, q, 0, &ids(0..1)).await;
    let next = tag(q, 1);
    let staged = stage(&sink, &next, &ids(1..2)).unwrap();
    let log = dir.path().join("_delta_log");
    let allow = |mode| std::fs::set_permissions(&log, Permissions::from_mode(mode)).unwrap();
    allow(0o555);
    let is_forbidden = std::fs::write(log.join("x"), "x").is_err();
    if !is_forbidden && std::env::var_os(IS_ORDINARY).is_none() {
        return as_ordinary_user("faults::an_unwritable_directory_is_an_error_and_no_doubt");
    }
    assert!(is_forbidden, "nothing was forbidden");
    let outcome = sink.commit(&next, &staged).await;
    allow(0o755);
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Invalid);
    // The table is as it was, and the batch is not lost.
    assert_eq!(row_count(dir.path()), 1);
    assert_eq!(committed(sink.commit(&next, &staged).await.unwrap()), 1);
    assert_eq!(row_count(dir.path()), 2);
}

/// A batch that a checkpoint tells of was committed in no entry that is known: what shows the
/// newest version is made durable.
#[tokio::test]
async fn a_batch_from_a_checkpoint_is_made_durable_by_the_newest_file() {
    let dir = tempfile::tempdir().unwrap();
    let options = with_properties(dir.path(), &[("delta.checkpointInterval", "2")]);
    let writer = DeltaSink::prepare(options, &ddl("id BIGINT"), env()).unwrap();
    let q = query();
    for batch in 0..3 {
        append(&writer, q, batch, "").await;
        writer.after_completion().await.unwrap();
        writer.finish_maintenance().await.unwrap();
    }
    let (sink, log) = faulty(dir.path());
    let found = sink.probe(q, millstream_core::ids::BatchId(2)).await.unwrap();
    assert!(matches!(found, Probe::Committed { attempt: None, .. }), "{found:?}");
    let settled = log.last_settled.lock().unwrap().clone();
    assert_eq!(settled.as_deref(), Some("00000000000000000002.json"));
}

#[tokio::test]
async fn no_commit_is_believed_after_a_failed_fsync_of_housekeeping() {
    let dir = tempfile::tempdir().unwrap();
    let log = FaultyLog::new(dir.path());
    let options = with_properties(dir.path(), &[("delta.checkpointInterval", "1")]);
    let files: Arc<dyn LogFiles> = Arc::clone(&log) as _;
    let sink = DeltaSink::prepare_with(options, &ddl("id BIGINT"), env(), files).unwrap();
    let q = query();
    for batch in 0..2 {
        append(&sink, q, batch, &ids(0..1)).await;
    }
    log.is_hint_lost.store(true, Ordering::SeqCst);
    sink.after_completion().await.unwrap();
    let error = sink.finish_maintenance().await.unwrap_err();
    assert_eq!(error.code(), "STORE_SYNC_FAILED");
    let tag = tag(q, 2);
    let staged = stage(&sink, &tag, &ids(0..1)).unwrap();
    match sink.commit(&tag, &staged).await.unwrap() {
        CommitOutcome::Unknown(error) => assert_eq!(error.code(), "STORE_POISONED"),
        other => panic!("{other:?}"),
    }
}
