#![allow(clippy::disallowed_methods)]
use super::*;
use async_trait::async_trait;
use millstream_core::contract::{CommitOutcome, CommitTag, Probe, Sink, SourceRange, Staged};
use millstream_core::env::SystemEnv;
use millstream_core::ids::{AttemptId, BatchId, Digest};
use millstream_core::log::{
    Conf, Intent, LedgerEntry, LedgerSegment, Metrics, OffsetsFile, OffsetsMetadata, Planner,
    Prepared,
};
use millstream_core::protocol::Repair;
use millstream_store::MemoryStore;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use uuid::Uuid;

fn env() -> SharedEnv {
    Arc::new(SystemEnv)
}

fn run() -> RunId {
    RunId(Uuid::new_v4())
}

fn position(offset: u64) -> Position {
    Position(json!({ "t": { "0": offset } }))
}

fn intent_of(checkpoint: &Checkpoint, batch: u64) -> Intent {
    Intent {
        query: checkpoint.query(),
        batch: BatchId(batch),
        id: Uuid::new_v4(),
        previous: None,
        epoch: checkpoint.epoch(),
        run: checkpoint.run(),
        batch_time_ms: 1000 + batch as i64,
        watermark_ms: 0,
        input_watermarks_ms: vec![],
        plan: "p".into(),
        sources: vec![Some(SourceRange {
            start: position(batch * 10),
            end: position(batch * 10 + 10),
            detail: json!({"ids": 1}),
        })],
    }
}

async fn log(checkpoint: &Checkpoint, batch: u64) -> Result<LoggedBatch> {
    let intent = intent_of(checkpoint, batch);
    let metadata = OffsetsMetadata {
        watermark_ms: intent.watermark_ms,
        timestamp_ms: intent.batch_time_ms,
        conf: Conf::spark(200),
        source_info: None,
    };
    checkpoint.log_intent(intent, metadata).await
}

async fn complete(checkpoint: &Checkpoint, logged: &LoggedBatch) -> Result<()> {
    let entry = LedgerEntry {
        query: checkpoint.query(),
        batch: logged.batch,
        digest: logged.digest,
        previous: None,
        planner: Planner::Millstream,
        attempt: None,
        epoch: checkpoint.epoch(),
        batch_time_ms: logged.batch_time_ms(),
        sources: vec![None],
        rows_in: Some(vec![10]),
        rows_out: Some(vec![10]),
    };
    checkpoint.complete(&entry, 0).await
}

async fn whole_batch(checkpoint: &Checkpoint, batch: u64) -> LoggedBatch {
    let logged = log(checkpoint, batch).await.unwrap();
    complete(checkpoint, &logged).await.unwrap();
    logged
}

/// A sink that holds every batch up to `newest` of one query, or of any; the newest with this
/// digest, or without a mark.
struct Holding {
    newest: Option<u64>,
    digest: Option<Digest>,
    only: Option<QueryId>,
}

#[async_trait]
impl Sink for Holding {
    fn describe(&self) -> String {
        "Holding".into()
    }
    fn identity(&self) -> Value {
        Value::Null
    }
    fn is_exactly_once(&self) -> bool {
        true
    }
    async fn probe(&self, query: QueryId, batch: BatchId) -> Result<Probe> {
        Ok(match self.newest.filter(|_| self.only.is_none_or(|only| only == query)) {
            Some(newest) if newest > batch.0 => Probe::Ahead { newest: BatchId(newest) },
            Some(newest) if newest == batch.0 => {
                let digest_low_48 = self.digest.map(|digest| digest.low_48_bits());
                Probe::Committed { attempt: None, digest_low_48 }
            }
            _ => Probe::Absent,
        })
    }
    async fn commit(&self, _: &CommitTag, _: &Staged) -> Result<CommitOutcome> {
        Ok(CommitOutcome::AlreadyThere)
    }
}

fn holding(newest: Option<u64>) -> Holding {
    Holding { newest, digest: None, only: None }
}

struct Dir {
    _temp: tempfile::TempDir,
    path: PathBuf,
}

fn dir() -> Dir {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("ckpt");
    Dir { _temp: temp, path }
}

impl Dir {
    async fn open(&self) -> Result<Checkpoint> {
        Checkpoint::open(&self.path, run(), &env()).await
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(LocalStore::new(&self.path, Access::Owner))
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        fs::write(self.path.join(path), bytes).unwrap();
    }

    async fn doctor(&self, sink: &Holding, treatment: Treatment) -> Doctor {
        Doctor::examine(self.store(), &[sink], treatment).await.unwrap()
    }
}

#[tokio::test]
async fn a_second_process_is_refused_at_once_and_the_id_stays() {
    let dir = dir();
    let first = dir.open().await.unwrap();
    let error = dir.open().await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("CHECKPOINT_IN_USE", ErrorKind::Fenced));
    let (query, epoch) = (first.query(), first.epoch());
    drop(first);
    let second = dir.open().await.unwrap();
    assert_eq!(second.query(), query);
    assert!(second.epoch() > epoch);
}

#[tokio::test]
async fn a_newer_claim_fences_older_ones_however_many_came_between() {
    // A store without locks, as on object storage.
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let first = Checkpoint::open_in(store.clone(), run(), &env()).await.unwrap();
    first.check_lease().await.unwrap();
    for _ in 0..4 {
        let newer = Checkpoint::open_in(store.clone(), run(), &env()).await.unwrap();
        newer.check_lease().await.unwrap();
        let error = first.check_lease().await.unwrap_err();
        assert_eq!((error.code(), error.kind()), ("RUN_FENCED", ErrorKind::Fenced));
    }
    assert!(store.list(paths::LEASES).await.unwrap().len() <= 2);
}

#[tokio::test]
async fn a_run_whose_claim_is_gone_stops() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let checkpoint = Checkpoint::open_in(store.clone(), run(), &env()).await.unwrap();
    checkpoint.check_lease().await.unwrap();
    for name in store.list(paths::LEASES).await.unwrap() {
        store.delete(&format!("{}/{name}", paths::LEASES)).await.unwrap();
    }
    let error = checkpoint.check_lease().await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("CHECKPOINT_GONE", ErrorKind::Conflict));
}

#[tokio::test]
async fn whoever_creates_offsets_first_has_fixed_the_batch() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let first = Checkpoint::open_in(store.clone(), run(), &env()).await.unwrap();
    let second = Checkpoint::open_in(store.clone(), run(), &env()).await.unwrap();
    let logged = log(&second, 0).await.unwrap();
    let error = log(&first, 0).await.unwrap_err();
    assert_eq!(error.code(), "CONCURRENT_STREAM_LOG_UPDATE");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(first.logged(BatchId(0)).await.unwrap().digest, logged.digest);
}

#[tokio::test]
async fn missing_metadata_is_never_replaced() {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    whole_batch(&checkpoint, 0).await;
    let query = checkpoint.query();
    drop(checkpoint);
    fs::remove_file(dir.path.join("metadata")).unwrap();
    let error = dir.open().await.unwrap_err();
    assert_eq!(error.code(), "STREAMING_CHECKPOINT_MISSING_METADATA_FILE");
    let doctor = dir.doctor(&holding(Some(0)), Treatment::Apply).await;
    assert_eq!(doctor.applied, [Repair::WriteMetadata { id: query }]);
    assert_eq!(dir.open().await.unwrap().query(), query);
}

#[tokio::test]
async fn spark_reads_what_is_written_and_stale_twins_are_removed() {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    checkpoint.pin_source_start(0, position(0)).await.unwrap();
    fs::create_dir_all(dir.path.join("offsets")).unwrap();
    dir.write("offsets/.0.crc", b"stale");
    whole_batch(&checkpoint, 0).await;
    let text = |path: &str| fs::read_to_string(dir.path.join(path)).unwrap();
    assert_eq!(text("metadata"), format!("{{\"id\":\"{}\"}}", checkpoint.query()));
    assert_eq!(text("sources/0/0"), "\0v1\n{\"t\":{\"0\":0}}");
    assert_eq!(text("commits/0"), "v1\n{\"nextBatchWatermarkMs\":0}");
    assert!(text("offsets/0").ends_with("}}\n{\"t\":{\"0\":10}}"));
    assert!(!dir.path.join("offsets/.0.crc").exists());
}

#[tokio::test]
async fn purge_keeps_what_spark_keeps() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let checkpoint = Checkpoint::open_in(store.clone(), run(), &env()).await.unwrap();
    for batch in 0..=5 {
        let logged = log(&checkpoint, batch).await.unwrap();
        let prepared = Prepared {
            query: checkpoint.query(),
            batch: logged.batch,
            attempt: AttemptId(Uuid::new_v4()),
            digest: logged.digest,
            epoch: checkpoint.epoch(),
            run: checkpoint.run(),
            sinks: vec![Staged(Value::Null)],
            state: vec![],
            next_watermark_ms: 0,
            input_watermarks_ms: vec![],
            metrics: Metrics::default(),
        };
        checkpoint.seal(&prepared).await.unwrap();
        complete(&checkpoint, &logged).await.unwrap();
        checkpoint.purge(logged.batch, 2).await.unwrap();
    }
    for dir in [paths::OFFSETS, paths::COMMITS] {
        assert_eq!(store.list(dir).await.unwrap(), ["3", "4", "5"], "{dir}");
    }
    assert_eq!(store.list(paths::INTENTS).await.unwrap().len(), 3);
    assert_eq!(store.list(paths::PREPARED).await.unwrap(), ["5"]);
    assert_eq!(ledger(&*store).await.unwrap().len(), 6);
}

#[tokio::test]
async fn files_that_a_stopped_run_made_again_below_a_purge_are_looked_past() {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    for batch in 0..5 {
        whole_batch(&checkpoint, batch).await;
    }
    let kept = checkpoint.store.read("offsets/0").await.unwrap().unwrap();
    checkpoint.purge(BatchId(4), 1).await.unwrap();
    // It planned batch 0 before it was stopped, and another run has completed and purged it.
    log(&checkpoint, 0).await.unwrap();
    dir.write("commits/1", b"v1\n{}");
    let holes = async || checkpoint.scan().await.unwrap().log().holes;
    assert_eq!(holes().await, Vec::<String>::new());
    checkpoint.purge(BatchId(4), 1).await.unwrap();
    assert_eq!(checkpoint.numbers("offsets").await.unwrap(), BTreeSet::from([3, 4]));
    assert_eq!(checkpoint.numbers("commits").await.unwrap(), BTreeSet::from([3, 4]));

    // What the ledger says itself is what is left of a log that lost files.
    dir.write("offsets/0", &kept);
    assert_eq!(holes().await, ["offsets/1", "offsets/2"]);
    // Without the ledger nothing is proved.
    fs::remove_file(dir.path.join("offsets/0")).unwrap();
    log(&checkpoint, 0).await.unwrap();
    fs::remove_file(dir.path.join("millstream/ledger/0")).unwrap();
    assert_eq!(holes().await, ["offsets/1", "offsets/2"]);
}

#[tokio::test]
async fn intents_that_nobody_names_are_purged_once_their_batch_is_complete() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let checkpoint = Checkpoint::open_in(store.clone(), run(), &env()).await.unwrap();
    whole_batch(&checkpoint, 0).await;
    for _ in 0..40 {
        assert!(log(&checkpoint, 0).await.is_err(), "leaves an intent that nobody names");
    }
    let future = intent_of(&checkpoint, 1);
    let _ = store.create(&paths::intent(future.id), &future.encode().unwrap()).await.unwrap();
    checkpoint.purge(BatchId(0), 2).await.unwrap();
    let left = store.list(paths::INTENTS).await.unwrap();
    assert_eq!(left.len(), 2);
    assert!(left.contains(&future.id.to_string()), "its batch may still be logged");
}

#[tokio::test]
async fn the_ledger_is_packed_and_nothing_is_lost() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let checkpoint = Checkpoint::open_in(store.clone(), run(), &env()).await.unwrap();
    for batch in 0..=420 {
        whole_batch(&checkpoint, batch).await;
        checkpoint.purge(BatchId(batch), 5).await.unwrap();
    }
    let files = store.list(paths::LEDGER).await.unwrap().len();
    assert!(files < 220, "{files} files");
    let batches: Vec<u64> =
        ledger(&*store).await.unwrap().iter().map(|entry| entry.batch.0).collect();
    assert_eq!(batches, (0..=420).collect::<Vec<u64>>());
}

#[tokio::test]
async fn inspect_says_where_a_checkpoint_stands() {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    checkpoint.pin_source_start(0, position(0)).await.unwrap();
    whole_batch(&checkpoint, 0).await;
    log(&checkpoint, 1).await.unwrap();
    // Also while a run holds it.
    let seen = Inspection::of(&*open_read_only(&dir.path).await.unwrap()).await.unwrap();
    assert_eq!((seen.planned, seen.completed), (Some((0, 1)), Some((0, 0))));
    assert_eq!(seen.in_doubt, Some(BatchId(1)));
    assert_eq!((seen.ledger_batches, seen.ledger_rows_in), (1, 10));
    assert!(seen.problems.is_empty(), "{:?}", seen.problems);
    let text = seen.to_string();
    assert!(text.contains("in doubt    batch 1"), "{text}");
    assert!(serde_json::to_string(&seen).unwrap().contains("\"inDoubt\":1"));
    drop(checkpoint);
    dir.write("offsets/1", b"v1\n{\"batch");
    let seen = Inspection::of(&*dir.store()).await.unwrap();
    assert!(seen.problems.iter().any(|p| p.contains("`offsets/1`")), "{:?}", seen.problems);
    let missing = open_read_only(&dir.path.join("nowhere")).await.unwrap_err();
    assert_eq!(missing.code(), "CHECKPOINT_NOT_FOUND");
}

#[tokio::test]
async fn the_doctor_deletes_a_torn_intent_only_if_no_sink_holds_the_batch() {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    whole_batch(&checkpoint, 0).await;
    log(&checkpoint, 1).await.unwrap();
    let busy = Doctor::examine(dir.store(), &[], Treatment::Describe).await.unwrap_err();
    assert_eq!(busy.code(), "CHECKPOINT_IN_USE");
    drop(checkpoint);
    dir.write("offsets/1", b"");
    for sink in [holding(Some(1)), holding(Some(7))] {
        let doctor = dir.doctor(&sink, Treatment::Apply).await;
        assert!(doctor.applied.is_empty() && !doctor.is_sound());
    }
    let described = dir.doctor(&holding(Some(0)), Treatment::Describe).await;
    let repair = Repair::Delete { path: "offsets/1".into() };
    assert_eq!(described.findings[0].repairs, std::slice::from_ref(&repair));
    assert!(dir.path.join("offsets/1").exists(), "describing changes nothing");
    let doctor = dir.doctor(&holding(Some(0)), Treatment::Apply).await;
    assert_eq!(doctor.applied, [repair]);
    assert!(doctor.is_sound());
    assert!(dir.doctor(&holding(Some(0)), Treatment::Apply).await.findings.is_empty());
}

#[tokio::test]
async fn the_doctor_writes_completions_that_the_sinks_prove() {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    for batch in 0..5 {
        whole_batch(&checkpoint, batch).await;
    }
    drop(checkpoint);
    for batch in [2, 3, 4] {
        fs::remove_file(dir.path.join(format!("commits/{batch}"))).unwrap();
    }
    // The sink proves 0 to 3 only if it holds 3; batch 4 stays for recovery.
    assert!(dir.doctor(&holding(Some(2)), Treatment::Apply).await.applied.is_empty());
    let doctor = dir.doctor(&holding(Some(3)), Treatment::Apply).await;
    assert_eq!(doctor.applied.len(), 2);
    assert!(doctor.is_sound());
    // A torn newest completion is written again.
    dir.write("commits/3", b"v1");
    let doctor = dir.doctor(&holding(Some(3)), Treatment::Apply).await;
    assert!(doctor.is_sound(), "{doctor}");
    let bytes = fs::read(dir.path.join("commits/3")).unwrap();
    assert_eq!(bytes, b"v1\n{\"nextBatchWatermarkMs\":0}");
}

#[tokio::test]
async fn the_doctor_removes_stale_twins_and_leaves_good_ones() {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    whole_batch(&checkpoint, 0).await;
    drop(checkpoint);
    // Spark's own twin of this very content.
    dir.write("commits/.0.crc", b"crc\0\0\0\x02\0\xf3\x2a\xbf\xdd");
    dir.write(".metadata.crc", b"crc\0\0\0\x02\0\0\0\0\0");
    // A run knows its query by nothing else; the doctor sees that the batches have the same.
    let code = dir.open().await.unwrap_err().code().to_owned();
    let doctor = dir.doctor(&holding(Some(0)), Treatment::Apply).await;
    assert_eq!(codes(&doctor), [code]);
    assert_eq!(doctor.applied, [Repair::Delete { path: ".metadata.crc".into() }]);
    assert!(dir.path.join("commits/.0.crc").exists());
    assert!(doctor.is_sound() && dir.open().await.is_ok());
}

fn codes(doctor: &Doctor) -> Vec<&str> {
    doctor.findings.iter().map(|finding| finding.code.as_str()).collect()
}

/// Three complete batches that no run holds.
async fn three_batches() -> Dir {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    for batch in 0..3 {
        whole_batch(&checkpoint, batch).await;
    }
    dir
}

#[tokio::test]
async fn what_recovery_would_refuse_is_a_finding_with_its_code() {
    let dir = three_batches().await;
    let other = Holding { digest: Some(Digest::of(b"another intent")), ..holding(Some(2)) };
    for (sink, code, anew) in [
        (holding(Some(1)), "SINK_LOST_BATCH", true),
        (holding(None), "SINK_LOST_BATCH", false),
        (holding(Some(5)), "CHECKPOINT_BEHIND_SINK", true),
        (other, "BATCH_DIGEST_DIFFERS", true),
    ] {
        let doctor = dir.doctor(&sink, Treatment::Apply).await;
        assert_eq!(codes(&doctor), [code]);
        assert_eq!(doctor.findings[0].rebuild, anew, "{code}");
        assert!(!doctor.is_sound() && doctor.applied.is_empty());
    }
    // Two sinks: what one of them lacks is a finding, and no new checkpoint can help. The other one
    // has the batch without a mark of ours: another engine went on without the first.
    let sinks = [holding(Some(2)), holding(Some(1))];
    let sinks: Vec<&dyn Sink> = sinks.iter().map(|sink| sink as &dyn Sink).collect();
    let doctor = Doctor::examine(dir.store(), &sinks, Treatment::Describe).await.unwrap();
    assert_eq!((codes(&doctor), doctor.findings[0].rebuild), (vec!["SINK_LEFT_OUT"], false));
    let held: Vec<_> = doctor.witnesses.iter().map(|w| w.holds).collect();
    assert_eq!(held, [Some(BatchId(2)), Some(BatchId(1))]);
    // Only `metadata` is left.
    for name in ["offsets", "commits", "millstream"] {
        fs::remove_dir_all(dir.path.join(name)).unwrap();
    }
    let doctor = dir.doctor(&holding(Some(2)), Treatment::Describe).await;
    assert_eq!((codes(&doctor), doctor.findings[0].rebuild), (vec!["CHECKPOINT_LOGS_GONE"], true));
}

#[tokio::test]
async fn without_a_witness_nothing_is_called_sound() {
    let dir = three_batches().await;
    let doctor = Doctor::examine(dir.store(), &[], Treatment::Apply).await.unwrap();
    assert_eq!(codes(&doctor), ["CHECKPOINT_NO_WITNESS"]);
    assert!(!doctor.is_sound());
    assert!(dir.doctor(&holding(Some(2)), Treatment::Apply).await.is_sound());
}

#[tokio::test]
async fn a_lost_intent_of_the_batch_before_is_foretold() {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    let logged = whole_batch(&checkpoint, 0).await;
    log(&checkpoint, 1).await.unwrap();
    drop(checkpoint);
    fs::remove_file(dir.path.join(paths::intent(logged.intent.unwrap().id))).unwrap();
    let doctor = dir.doctor(&holding(Some(0)), Treatment::Describe).await;
    assert_eq!(codes(&doctor), ["CHECKPOINT_INTENT_MISSING"]);
    assert!(doctor.findings[0].rebuild);
}

#[tokio::test]
async fn a_foreign_id_in_metadata_is_put_right_where_the_tables_prove_it() {
    let dir = three_batches().await;
    let owner = query_id(&*dir.store()).await.unwrap().unwrap();
    let foreign = Metadata { id: QueryId(Uuid::new_v4()) };
    dir.write("metadata", &foreign.encode());
    let unproved = dir.doctor(&holding(Some(2)), Treatment::Apply).await;
    assert_eq!(codes(&unproved), ["QUERY_CHANGED"]);
    assert!(unproved.applied.is_empty(), "the table has batches of both");
    let proving = Holding { only: Some(owner), ..holding(Some(2)) };
    let doctor = dir.doctor(&proving, Treatment::Apply).await;
    assert!(doctor.is_sound(), "{doctor}");
    assert_eq!(query_id(&*dir.store()).await.unwrap(), Some(owner));
}

fn identity_of(query: QueryId, revision: u64) -> Identity {
    let engine = "test".into();
    let (sources, sinks) = (Vec::new(), Vec::new());
    Identity { query, revision, engine, plan: Value::Null, sources, sinks, state: Value::Null }
}

#[tokio::test]
async fn a_damaged_identity_is_set_aside_only_where_something_else_guards() {
    for bytes in [&b""[..], b"millstream identity v1\n{}\nx\n"] {
        let dir = three_batches().await;
        dir.write("millstream/identity", bytes);
        let inspected = Inspection::of(&*dir.store()).await.unwrap();
        assert_eq!(inspected.problems.len(), 1, "{:?}", inspected.problems);
        // The newest intent names the plan.
        let doctor = dir.doctor(&holding(Some(2)), Treatment::Apply).await;
        assert_eq!(doctor.findings.len(), 1, "{doctor}");
        assert!(doctor.findings[0].code.starts_with("CHECKPOINT_FILE_"), "{doctor}");
        assert_eq!(doctor.applied, [Repair::SetAside { path: "millstream/identity".into() }]);
        assert!(doctor.is_sound());
        assert_eq!(fs::read(dir.path.join("millstream/damaged/identity")).unwrap(), bytes);
        assert_eq!(dir.open().await.unwrap().identity().await.unwrap(), None);
    }
    // No batch, no intent: nothing guards; an older revision does.
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    let query = checkpoint.query();
    drop(checkpoint);
    dir.write("millstream/identity.1", b"");
    let doctor = dir.doctor(&holding(None), Treatment::Apply).await;
    assert!(doctor.applied.is_empty() && !doctor.is_sound(), "{doctor}");
    dir.write("millstream/identity", &identity_of(query, 0).encode().unwrap());
    let doctor = dir.doctor(&holding(None), Treatment::Apply).await;
    assert!(doctor.is_sound(), "{doctor}");
    assert_eq!(dir.open().await.unwrap().identity().await.unwrap().unwrap().revision, 0);
}

#[tokio::test]
async fn a_damaged_ledger_entry_is_written_from_its_intent_or_given_up() {
    let dir = three_batches().await;
    let before = ledger(&*dir.store()).await.unwrap();
    for batch in 0..3 {
        let mut bytes = fs::read(dir.path.join(format!("millstream/ledger/{batch}"))).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        dir.write(&format!("millstream/ledger/{batch}"), &bytes);
    }
    // The intent of batch 0 is purged.
    let offsets = OffsetsFile::decode(&fs::read(dir.path.join("offsets/0")).unwrap()).unwrap();
    let intent = paths::intent(offsets.intent().unwrap().unwrap().id);
    fs::remove_file(dir.path.join(intent)).unwrap();
    fs::remove_file(dir.path.join("offsets/0")).unwrap();
    assert!(ledger(&*dir.store()).await.is_err());
    assert_eq!(Inspection::of(&*dir.store()).await.unwrap().problems.len(), 3);
    let doctor = dir.doctor(&holding(Some(2)), Treatment::Apply).await;
    assert_eq!(codes(&doctor).len(), 3, "{doctor}");
    assert!(doctor.is_sound(), "{doctor}");
    let after = ledger(&*dir.store()).await.unwrap();
    assert_eq!(after.len(), 2, "batch 0 is given up");
    for (was, is) in before.iter().skip(1).zip(&after) {
        assert_eq!((was.batch, was.digest, is.rows_in.as_ref()), (is.batch, is.digest, None));
        assert!(is.sources[0].is_some());
    }
}

#[tokio::test]
async fn a_damaged_entry_of_a_batch_in_doubt_makes_way_for_its_completion() {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    whole_batch(&checkpoint, 0).await;
    let logged = log(&checkpoint, 1).await.unwrap();
    dir.write("millstream/ledger/1", b"");
    assert!(complete(&checkpoint, &logged).await.is_err());
    drop(checkpoint);
    let doctor = dir.doctor(&holding(Some(0)), Treatment::Apply).await;
    assert_eq!(doctor.applied, [Repair::Delete { path: "millstream/ledger/1".into() }]);
    assert!(doctor.is_sound(), "{doctor}");
    complete(&dir.open().await.unwrap(), &logged).await.unwrap();
}

#[tokio::test]
async fn a_damaged_start_is_deleted_only_when_it_is_passed() {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    checkpoint.pin_source_start(0, position(0)).await.unwrap();
    let logged = log(&checkpoint, 0).await.unwrap();
    dir.write("sources/0/0", b"\0v1\n{");
    drop(checkpoint);
    let doctor = dir.doctor(&holding(None), Treatment::Apply).await;
    assert!(doctor.applied.is_empty() && !doctor.is_sound(), "{doctor}");
    complete(&dir.open().await.unwrap(), &logged).await.unwrap();
    let doctor = dir.doctor(&holding(Some(0)), Treatment::Apply).await;
    assert_eq!(doctor.applied, [Repair::Delete { path: "sources/0/0".into() }]);
    assert!(doctor.is_sound(), "{doctor}");
}

#[tokio::test]
async fn a_rebuilt_checkpoint_goes_on_after_the_tables_newest_batch() {
    let dir = dir();
    let digest = Digest::of(b"the intent of batch 7");
    let from = Rebuild {
        query: QueryId(Uuid::new_v4()),
        batch: BatchId(7),
        digest: Rebuild::digest_of_mark(digest.low_48_bits()),
        ends: vec![position(80)],
        batch_time_ms: 5,
        watermark_ms: 0,
        conf: Conf::spark(200),
    };
    rebuild(dir.store(), &from).await.unwrap();
    let again = rebuild(dir.store(), &from).await.unwrap_err();
    assert_eq!(again.code(), "CHECKPOINT_NOT_EMPTY");
    let checkpoint = dir.open().await.unwrap();
    assert_eq!(checkpoint.query(), from.query);
    let logged = checkpoint.logged(BatchId(7)).await.unwrap();
    assert_eq!(logged.digest.low_48_bits(), digest.low_48_bits());
    assert_eq!(logged.ends(), [Some(position(80))]);
    let log_fact = checkpoint.scan().await.unwrap().log();
    assert!(log_fact.damage.is_empty() && log_fact.holes.is_empty());
    let fact = log_fact.intent.unwrap();
    assert_eq!((fact.batch, log_fact.completed), (BatchId(7), Some(BatchId(7))));
    assert_eq!(fact.digest.low_48_bits(), digest.low_48_bits());
    whole_batch(&checkpoint, 8).await;
    assert!(checkpoint.scan().await.unwrap().log().holes.is_empty());
    drop(checkpoint);
    assert!(dir.doctor(&holding(Some(8)), Treatment::Apply).await.is_sound());
}

#[tokio::test]
async fn every_damaged_newest_file_is_refused_by_name() {
    for path in ["offsets/1", "commits/0", "metadata"] {
        for bytes in [&b""[..], b"v1\n", b"\0\0\0", b"v1\n{\"x\":1}\n1"] {
            let dir = dir();
            let checkpoint = dir.open().await.unwrap();
            whole_batch(&checkpoint, 0).await;
            log(&checkpoint, 1).await.unwrap();
            dir.write(path, bytes);
            let damage = checkpoint.scan().await.unwrap().log().damage;
            assert_eq!(damage.len(), 1, "{path}");
            assert_eq!((damage[0].file.as_str(), damage[0].kind), (path, ErrorKind::Corrupt));
        }
    }
}

#[tokio::test]
async fn a_changed_digit_in_offsets_is_noticed_by_its_intent() {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    log(&checkpoint, 0).await.unwrap();
    let text = fs::read_to_string(dir.path.join("offsets/0")).unwrap();
    dir.write("offsets/0", text.replace("{\"0\":10}", "{\"0\":11}").as_bytes());
    let damage = checkpoint.scan().await.unwrap().log().damage;
    assert_eq!(damage[0].code, "CHECKPOINT_FILE_DAMAGED");
    assert_eq!(checkpoint.logged(BatchId(0)).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

mod beside_spark;
mod damage;

fn made_anew(batch: u64) -> Rebuild {
    Rebuild {
        query: QueryId(Uuid::new_v4()),
        batch: BatchId(batch),
        digest: Digest::of(b"an intent that is lost"),
        ends: vec![position(10)],
        batch_time_ms: 5,
        watermark_ms: 0,
        conf: Conf::spark(200),
    }
}

/// Leaves out which intent planned a batch: so Spark would have written it.
fn planned_by_spark(dir: &Dir, batch: u64) {
    let path = format!("offsets/{batch}");
    let text = fs::read_to_string(dir.path.join(&path)).unwrap();
    let (before, rest) = text.split_once(",\"millstream.intent\":\"").unwrap();
    let rest = rest.split_once('"').unwrap().1;
    dir.write(&path, format!("{before}{rest}").as_bytes());
}

#[tokio::test]
async fn batches_of_another_engine_get_their_history_before_their_files_are_purged() {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    checkpoint.pin_source_start(0, position(4)).await.unwrap();
    whole_batch(&checkpoint, 0).await;
    for batch in 1..4 {
        log(&checkpoint, batch).await.unwrap();
        // Batch 2 was planned here and executed there.
        if batch != 2 {
            planned_by_spark(&dir, batch);
        }
        dir.write(&format!("commits/{batch}"), b"v1\n{}");
    }
    // Planned, not complete.
    log(&checkpoint, 4).await.unwrap();
    checkpoint.note_batches_of_others(BatchId(3)).await.unwrap();
    checkpoint.note_batches_of_others(BatchId(3)).await.unwrap();
    let noted = ledger(&*dir.store()).await.unwrap();
    let facts = |entry: &LedgerEntry| {
        let range = entry.sources[0].as_ref().map(|r| (r.start.clone(), r.end.clone()));
        (entry.batch.0, entry.planner, range, entry.rows_in.clone())
    };
    let range = |batch: u64| Some((position(batch * 10), position(batch * 10 + 10)));
    assert_eq!(
        noted.iter().map(facts).collect::<Vec<_>>(),
        [
            (0, Planner::Millstream, None, Some(vec![10])),
            (1, Planner::Other, range(1), None),
            (2, Planner::Millstream, range(2), None),
            (3, Planner::Other, range(3), None),
        ]
    );
    for entry in &noted {
        assert_eq!(entry.digest, checkpoint.logged(entry.batch).await.unwrap().digest);
    }
    dir.write("commits/4", b"v1\n{}");
    checkpoint.note_batches_of_others(BatchId(4)).await.unwrap();
    checkpoint.purge(BatchId(4), 0).await.unwrap();
    assert_eq!(ledger(&*dir.store()).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_batch_that_a_checkpoint_was_made_anew_with_gets_no_history() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    rebuild(store.clone(), &made_anew(0)).await.unwrap();
    let checkpoint = Checkpoint::open_in(store.clone(), run(), &env()).await.unwrap();
    checkpoint.note_batches_of_others(BatchId(0)).await.unwrap();
    assert_eq!(ledger(&*store).await.unwrap(), []);
}

#[tokio::test]
async fn a_segment_of_the_ledger_says_what_another_engine_had_planned() {
    let dir = dir();
    let checkpoint = dir.open().await.unwrap();
    checkpoint.pin_source_start(0, position(0)).await.unwrap();
    log(&checkpoint, 0).await.unwrap();
    planned_by_spark(&dir, 0);
    fs::create_dir_all(dir.path.join("commits")).unwrap();
    dir.write("commits/0", b"v1\n{}");
    checkpoint.note_batches_of_others(BatchId(0)).await.unwrap();
    let entries = ledger(&*dir.store()).await.unwrap();
    let segment = LedgerSegment { query: checkpoint.query(), entries };
    let path = dir.path.join("millstream/ledger/0-0");
    fs::write(path, segment.encode().unwrap()).unwrap();
    fs::remove_file(dir.path.join("millstream/ledger/0")).unwrap();
    checkpoint.logged(BatchId(0)).await.unwrap();
    let text = fs::read_to_string(dir.path.join("offsets/0")).unwrap();
    dir.write("offsets/0", text.replace("{\"0\":10}", "{\"0\":11}").as_bytes());
    let error = checkpoint.logged(BatchId(0)).await.unwrap_err();
    assert_eq!(error.code(), "CHECKPOINT_FILE_DAMAGED");
}
