//! A checkpoint of ours, whole; then each part of it foreign to the rest.

use super::*;
use crate::contract::{SourceRange, Staged};
use crate::ids::RunId;
use crate::log::{
    Conf, INTENT_KEY, IntentRef, LedgerEntry, Metrics, OffsetsMetadata, Planner, Rebuilt,
};
use serde_json::{Value, json};

const QUERY: QueryId = QueryId(Uuid::from_u128(1));
const N: BatchId = BatchId(1);
const ATTEMPT: AttemptId = AttemptId(Uuid::from_u128(9));
const INTENT: Uuid = Uuid::from_u128(2);

type Files = BTreeMap<String, Vec<u8>>;

fn intent() -> Intent {
    Intent {
        query: QUERY,
        batch: N,
        id: INTENT,
        previous: None,
        epoch: Epoch(3),
        run: RunId(Uuid::nil()),
        batch_time_ms: 7,
        watermark_ms: 5,
        input_watermarks_ms: Vec::new(),
        plan: String::new(),
        sources: vec![Some(SourceRange::new(Position(json!([1])), Position(json!([4]))))],
    }
}

fn prepared(digest: Digest) -> Prepared {
    Prepared {
        query: QUERY,
        batch: N,
        attempt: ATTEMPT,
        digest,
        epoch: Epoch(3),
        run: RunId(Uuid::nil()),
        sinks: vec![Staged(Value::Null)],
        state: Vec::new(),
        next_watermark_ms: 6,
        input_watermarks_ms: Vec::new(),
        metrics: Metrics::default(),
    }
}

fn lease(query: QueryId) -> Lease {
    let run = RunId(Uuid::nil());
    Lease { query, epoch: Epoch(3), run, process: 0, claimed_ms: 0 }
}

fn ledger() -> LedgerEntry {
    LedgerEntry {
        query: QUERY,
        batch: N,
        digest: digest(),
        previous: None,
        planner: Planner::Millstream,
        attempt: Some(ATTEMPT),
        epoch: Epoch(3),
        batch_time_ms: 7,
        sources: Vec::new(),
        rows_in: None,
        rows_out: None,
    }
}

fn digest() -> Digest {
    Digest::of(&intent().encode().unwrap())
}

/// `offsets/1` that names `intent`, but says what `said` says.
fn offsets(intent: &Intent, said: &Intent) -> Vec<u8> {
    let mut conf = Conf::default();
    let digest = Digest::of(&intent.encode().unwrap());
    conf.set(INTENT_KEY, IntentRef { id: INTENT, digest }.to_string());
    let metadata = OffsetsMetadata {
        watermark_ms: said.watermark_ms,
        timestamp_ms: said.batch_time_ms,
        conf,
        source_info: None,
    };
    let ends = said.sources.iter().map(|range| range.as_ref().map(|range| range.end.clone()));
    OffsetsFile::new(metadata, ends.collect()).encode()
}

fn whole() -> Files {
    let first = OffsetsFile::new(OffsetsMetadata::default(), vec![Some(Position(json!([1])))]);
    Files::from([
        (paths::METADATA.to_owned(), Metadata { id: QUERY }.encode()),
        (paths::lease(Epoch(3)), lease(QUERY).encode().unwrap()),
        (paths::offsets(BatchId(0)), first.encode()),
        (paths::commits(BatchId(0)), CommitFile::new(5).encode()),
        (paths::intent(INTENT), intent().encode().unwrap()),
        (paths::offsets(N), offsets(&intent(), &intent())),
        (paths::prepared(N, ATTEMPT), prepared(digest()).encode().unwrap()),
    ])
}

fn with(path: &str, bytes: Vec<u8>) -> Files {
    let mut files = whole();
    files.insert(path.to_owned(), bytes);
    files
}

/// Supplies whatever the scan wants from `files`.
pub(in crate::protocol) fn scan(files: &Files) -> Scan {
    let mut scan = Scan::new();
    while let Some(want) = scan.wants().into_iter().next() {
        match want {
            Want::Read(path) => scan.supply_file(&path, files.get(&path).cloned()),
            Want::List(dir) => {
                let prefix = format!("{dir}/");
                let below = files.keys().filter_map(|path| path.strip_prefix(&prefix));
                let mut names: Vec<String> =
                    below.filter_map(|rest| rest.split('/').next()).map(str::to_owned).collect();
                names.dedup();
                scan.supply_list(&dir, names);
            }
        }
    }
    scan
}

fn damage(files: &Files) -> Vec<(String, &'static str)> {
    scan(files).log().damage.into_iter().map(|damage| (damage.file, damage.code)).collect()
}

/// One that is there is no hole, however it reads.
#[test]
fn a_damaged_start_of_the_newest_batch_is_named() {
    let before = paths::offsets(BatchId(0));
    let files = with(&before, b"v1\n{".to_vec());
    let log = scan(&files).log();
    assert!(log.holes.is_empty(), "{log:?}");
    assert_eq!(log.damage.into_iter().map(|damage| damage.file).collect::<Vec<_>>(), [before]);
}

#[test]
fn what_is_set_aside_is_looked_past() {
    let mut scan = Scan::new();
    let names = ["0", "1", "2", "note"].map(str::to_owned).to_vec();
    scan.supply_list(paths::OFFSETS, names.clone());
    scan.supply_list(paths::COMMITS, names);
    scan.set_aside(paths::OFFSETS, 2);
    assert_eq!(scan.numbers(paths::OFFSETS), [0, 1]);
    assert_eq!(scan.newest_commits(), Some(BatchId(2)));
    scan.set_aside("folder", 1);
}

#[test]
fn a_whole_checkpoint_says_everything() {
    let scan = scan(&whole());
    assert_eq!(scan.newest_epoch(), Some(Epoch(3)));
    assert_eq!(scan.newest_commits(), Some(BatchId(0)));
    assert_eq!(scan.metadata().unwrap(), Some(Metadata { id: QUERY }));
    assert_eq!(scan.intent(N).unwrap(), Some(intent()));
    assert_eq!(scan.digest(N).unwrap(), (digest(), Planner::Millstream));
    assert_eq!(scan.prepared(N, ATTEMPT).unwrap(), prepared(digest()));
    assert_eq!(scan.sealed(), [prepared(digest())]);
    assert_eq!(scan.commit(BatchId(0)).unwrap(), CommitFile::new(5));
    assert_eq!(scan.ledger(N), None);
    let log = scan.log();
    assert!(log.damage.is_empty() && log.holes.is_empty() && log.history, "{log:?}");
    assert_eq!(log.prepared, [PreparedFact { attempt: ATTEMPT, staged: true }]);
    let newest = IntentFact { batch: N, digest: digest(), planner: Planner::Millstream };
    assert_eq!(log.intent, Some(newest));
}

#[test]
fn an_intent_is_the_one_that_offsets_names() {
    let path = paths::intent(INTENT);
    let newest = (paths::offsets(N), "CHECKPOINT_FILE_DAMAGED");
    let mut other = intent();
    other.plan = "another".into();
    assert_eq!(damage(&with(&path, other.encode().unwrap())), std::slice::from_ref(&newest));

    let mut of_another_batch = intent();
    of_another_batch.batch = BatchId(7);
    let mut of_another_name = intent();
    of_another_name.id = Uuid::from_u128(77);
    for wrong in [of_another_batch, of_another_name] {
        let mut files = with(&path, wrong.encode().unwrap());
        files.insert(paths::offsets(N), offsets(&wrong, &wrong));
        assert_eq!(damage(&files), std::slice::from_ref(&newest));
    }

    let mut gone = whole();
    gone.remove(&path);
    assert_eq!(damage(&gone), [(paths::offsets(N), "CHECKPOINT_FILE_GONE")]);
}

#[test]
fn offsets_say_what_their_intent_says() {
    let mut ends = intent();
    ends.sources = vec![Some(SourceRange::new(Position(json!([1])), Position(json!([5]))))];
    let mut time = intent();
    time.batch_time_ms += 1;
    let mut watermark = intent();
    watermark.watermark_ms += 1;
    for said in [ends, time, watermark] {
        let files = with(&paths::offsets(N), offsets(&intent(), &said));
        assert_eq!(damage(&files), [(paths::offsets(N), "CHECKPOINT_FILE_DAMAGED")], "{said:?}");
    }
}

#[test]
fn a_sealed_attempt_belongs_to_its_batch_its_name_and_its_intent() {
    let path = paths::prepared(N, ATTEMPT);
    let mut batch = prepared(digest());
    batch.batch = BatchId(0);
    let mut attempt = prepared(digest());
    attempt.attempt = AttemptId(Uuid::from_u128(10));
    for wrong in [batch, attempt, prepared(Digest::of(b"another intent"))] {
        let scan = scan(&with(&path, wrong.encode().unwrap()));
        let error = scan.prepared(N, ATTEMPT).unwrap_err();
        assert_eq!(error.code(), "CHECKPOINT_FILE_DAMAGED");
        assert!(scan.sealed().is_empty() && scan.log().prepared.is_empty());
    }
    let error = scan(&whole()).prepared(N, AttemptId(Uuid::nil())).unwrap_err();
    assert_eq!(error.code(), "CHECKPOINT_FILE_GONE");
}

#[test]
fn sealed_attempts_come_in_one_order() {
    let mut files = whole();
    for n in [20u128, 3] {
        let attempt = AttemptId(Uuid::from_u128(n));
        let mut sealed = prepared(digest());
        sealed.attempt = attempt;
        files.insert(paths::prepared(N, attempt), sealed.encode().unwrap());
    }
    let attempts: Vec<u128> = scan(&files).sealed().iter().map(|p| p.attempt.0.as_u128()).collect();
    assert_eq!(attempts, [3, 9, 20]);
}

#[test]
fn the_ledger_counts_as_history_and_is_read() {
    let mut files = whole();
    files.remove(&paths::prepared(N, ATTEMPT));
    assert!(!scan(&files).log().history);
    files.insert(paths::ledger(N), ledger().encode().unwrap());
    let scan = scan(&files);
    assert!(scan.log().history);
    assert_eq!(scan.ledger(N), Some(ledger()));
}

#[test]
fn missing_metadata_is_noticed_whatever_else_there_is() {
    let missing = |files: Files| scan(&files).log().metadata_missing;
    assert!(!missing(Files::new()));
    assert!(!missing(whole()));
    for path in [
        paths::offsets(N),
        paths::commits(N),
        paths::ledger(N),
        paths::prepared(N, ATTEMPT),
        paths::lease(Epoch(1)),
    ] {
        assert!(missing(Files::from([(path.clone(), Vec::new())])), "{path}");
    }
}

#[test]
fn the_querys_id_is_also_elsewhere() {
    let id = |n: u128| QueryId(Uuid::from_u128(n));
    let rebuilt = Rebuilt { query: id(20), batch: N, digest: digest(), offsets: None };
    let mut files = whole();
    files.insert(paths::REBUILT.to_owned(), rebuilt.encode().unwrap());
    files.insert(paths::lease(Epoch(3)), lease(id(30)).encode().unwrap());
    assert_eq!(scan(&files).query_elsewhere(), Some(QUERY));
    files.remove(&paths::intent(INTENT));
    assert_eq!(scan(&files).query_elsewhere(), Some(id(20)));
    files.remove(paths::REBUILT);
    assert_eq!(scan(&files).query_elsewhere(), Some(id(30)));
    files.remove(&paths::lease(Epoch(3)));
    assert_eq!(scan(&files).query_elsewhere(), None);
}

/// A checkpoint that was made anew from its table begins in the middle, under the table's digest.
#[test]
fn a_rebuilt_checkpoint_begins_with_its_batch() {
    let digest = Digest::of(b"as the table says");
    let rebuilt = Rebuilt { query: QUERY, batch: BatchId(5), digest, offsets: None };
    let newest = OffsetsFile::new(OffsetsMetadata::default(), vec![Some(Position(json!([1])))]);
    let mut files = Files::from([
        (paths::METADATA.to_owned(), Metadata { id: QUERY }.encode()),
        (paths::offsets(BatchId(5)), newest.encode()),
        (paths::commits(BatchId(5)), CommitFile::new(0).encode()),
        (paths::REBUILT.to_owned(), rebuilt.encode().unwrap()),
    ]);
    let begun = scan(&files);
    assert!(begun.log().holes.is_empty());
    assert_eq!(begun.digest(BatchId(5)).unwrap(), (digest, Planner::Other));

    // What it says about another batch counts for nothing here.
    let elsewhere = Rebuilt { query: QUERY, batch: BatchId(4), digest, offsets: None };
    files.insert(paths::REBUILT.to_owned(), elsewhere.encode().unwrap());
    let other = scan(&files);
    assert_eq!(other.log().holes, ["offsets/4"]);
    let own = Digest::of(&newest.encode());
    assert_eq!(other.digest(BatchId(5)).unwrap(), (own, Planner::Other));
}

#[test]
fn a_hole_is_named_once() {
    let mut files = whole();
    files.remove(&paths::offsets(BatchId(0)));
    assert_eq!(scan(&files).log().holes, ["offsets/0"]);
    let older = files[&paths::offsets(N)].clone();
    files.insert("offsets/3".into(), older);
    assert_eq!(scan(&files).log().holes, ["offsets/2"]);
}
