//! What a diagnosis is made of; `protocol::tests` has whole checkpoints.

use super::*;
use crate::contract::{Position, Staged};
use crate::error::ErrorKind;
use crate::ids::{AttemptId, Digest, Epoch, RunId};
use crate::log::Record as _;
use crate::log::{
    CommitFile, Lease, Metadata, Metrics, OffsetsFile, OffsetsMetadata, Prepared, Rebuilt,
};
use crate::protocol::Refusal;
use crate::protocol::scan::tests::scan;
use serde_json::{Value, json};
use uuid::Uuid;

const QUERY: QueryId = QueryId(Uuid::from_u128(7));

type Files = BTreeMap<String, Vec<u8>>;

fn offsets(watermark_ms: i64) -> Vec<u8> {
    let metadata = OffsetsMetadata { watermark_ms, ..OffsetsMetadata::default() };
    OffsetsFile::new(metadata, vec![Some(Position(json!([1])))]).encode()
}

fn checkpoint(planned: &[u64], completed: &[u64]) -> Files {
    let mut files = Files::from([(paths::METADATA.to_owned(), Metadata { id: QUERY }.encode())]);
    let planned = planned.iter().map(|n| (paths::offsets(BatchId(*n)), offsets(100 + *n as i64)));
    files.extend(planned);
    let commit = CommitFile::new(0).encode();
    files.extend(completed.iter().map(|n| (paths::commits(BatchId(*n)), commit.clone())));
    files
}

fn held() -> Probe {
    Probe::Committed { attempt: None, digest_low_48: None }
}

/// Sinks of which each says the same about every batch.
fn sinks(scan: &Scan, say: &[Probe]) -> Evidence {
    let wanted = Evidence::wanted(scan);
    let sink = |probe: &Probe| wanted.iter().map(|batch| (*batch, probe.clone())).collect();
    Evidence { sinks: say.iter().map(sink).collect() }
}

fn repairs(files: &Files, say: &[Probe], stateful: bool) -> Vec<Repair> {
    let scan = scan(files);
    diagnose(&scan, &sinks(&scan, say), stateful).repairs().cloned().collect()
}

fn finding(code: &str) -> Finding {
    Finding::new(code, "what", "advice")
}

fn delete(path: &str) -> Repair {
    Repair::Delete { path: path.to_owned() }
}

#[test]
fn a_refusal_is_said_once() {
    let error = crate::error::Error::new(ErrorKind::Corrupt, "SOME_CODE", "Cause.").cure("Cure.");
    let mut diagnosis = Diagnosis::default();
    diagnosis.add_refusal(&error);
    diagnosis.add_refusal(&error);
    assert_eq!(diagnosis.findings, [Finding::new("SOME_CODE", "Cause.", "Cure.")]);

    let mut diagnosis = Diagnosis::default();
    diagnosis.add_step(&Step::Plan { batch: BatchId(1) });
    assert!(diagnosis.findings.is_empty());
    let refusal = Refusal::sinks_disagree([].iter(), BatchId(1));
    diagnosis.add_step(&Step::Refuse(refusal.clone()));
    diagnosis.add_step(&Step::Refuse(refusal));
    let codes: Vec<&str> = diagnosis.findings.iter().map(|f| f.code.as_str()).collect();
    assert_eq!(codes, ["SINKS_DISAGREE"]);
}

#[test]
fn a_new_checkpoint_cures_what_has_no_repair_and_is_not_about_sinks() {
    let repaired = finding("A").repaired_by([delete("x")]);
    let findings = vec![finding("A"), repaired, finding("SINKS_DISAGREE")];
    let mut diagnosis = Diagnosis { findings };
    assert!(!diagnosis.is_curable());
    diagnosis.allow_rebuild();
    let rebuild: Vec<bool> = diagnosis.findings.iter().map(|f| f.rebuild).collect();
    assert_eq!(rebuild, [true, false, false]);
    diagnosis.findings.retain(|f| !f.repairs.is_empty());
    assert!(diagnosis.is_curable());
}

#[test]
fn metadata_comes_back_from_other_files() {
    let write = Repair::WriteMetadata { id: QUERY };
    let lease =
        Lease { query: QUERY, epoch: Epoch(1), run: RunId(Uuid::nil()), process: 0, claimed_ms: 0 };
    let mut files = checkpoint(&[0, 1], &[0]);
    files.insert(paths::METADATA.to_owned(), b"v1\n{".to_vec());
    assert!(repairs(&files, &[held()], false).is_empty());
    files.insert(paths::lease(Epoch(1)), lease.encode().unwrap());
    let cured = repairs(&files, &[held()], false);
    assert_eq!(cured, [delete(paths::METADATA), write.clone()]);
    files.remove(paths::METADATA);
    assert_eq!(repairs(&files, &[held()], false), [write]);

    // Knowing the id does not help where another file is damaged.
    let mut files = checkpoint(&[0, 1], &[0]);
    files.insert(paths::lease(Epoch(1)), lease.encode().unwrap());
    files.insert("offsets/1".into(), Vec::new());
    assert!(repairs(&files, &[held()], false).is_empty());
}

#[test]
fn a_torn_newest_file_goes_only_where_every_sink_agrees() {
    let absent = Probe::Absent;
    let mut torn = checkpoint(&[0, 1], &[0]);
    torn.insert("offsets/1".into(), Vec::new());
    assert_eq!(repairs(&torn, &[absent.clone(), absent.clone()], false), [delete("offsets/1")]);
    assert!(repairs(&torn, &[absent.clone(), held()], false).is_empty());
    // A completed batch is not planned again, whatever the sinks say.
    torn.insert("commits/1".into(), CommitFile::new(0).encode());
    assert!(repairs(&torn, std::slice::from_ref(&absent), false).is_empty());

    let mut half = checkpoint(&[0, 1], &[0]);
    half.insert("commits/1".into(), Vec::new());
    assert!(repairs(&half, &[absent.clone(), held()], false).is_empty());
    assert_eq!(repairs(&half, &[absent.clone(), absent.clone()], false), [delete("commits/1")]);
    // Where a later batch is planned, the completion is not taken away.
    let mut older = checkpoint(&[0, 1], &[]);
    older.insert("commits/0".into(), Vec::new());
    assert!(repairs(&older, &[absent], false).is_empty());
}

#[test]
fn completions_carry_the_watermark_that_the_next_batch_used() {
    let write =
        |n, next_watermark_ms| Repair::WriteCompletion { batch: BatchId(n), next_watermark_ms };
    let mut half = checkpoint(&[0, 1], &[]);
    half.insert("commits/0".into(), Vec::new());
    let cured = [delete("commits/0"), write(0, 101)];
    for stateful in [false, true] {
        assert_eq!(repairs(&half, &[held()], stateful), cured);
    }
}

#[test]
fn the_newest_completion_carries_the_only_sealed_attempts_watermark() {
    let write =
        |next_watermark_ms| Repair::WriteCompletion { batch: BatchId(1), next_watermark_ms };
    let digest = Digest::of(&offsets(101));
    let seal = |attempt: u128| {
        let attempt = AttemptId(Uuid::from_u128(attempt));
        let sealed = Prepared {
            query: QUERY,
            batch: BatchId(1),
            attempt,
            digest,
            epoch: Epoch(1),
            run: RunId(Uuid::nil()),
            sinks: vec![Staged(Value::Null)],
            state: Vec::new(),
            next_watermark_ms: 555,
            input_watermarks_ms: Vec::new(),
            metrics: Metrics::default(),
        };
        (paths::prepared(BatchId(1), attempt), sealed.encode().unwrap())
    };
    let mut half = checkpoint(&[0, 1], &[0]);
    half.insert("commits/1".into(), Vec::new());
    // Nothing says the watermark: one that does not go back does, unless there is state.
    assert_eq!(repairs(&half, &[held()], false), [delete("commits/1"), write(101)]);
    assert!(repairs(&half, &[held()], true).is_empty());
    let mut files = half;
    files.extend([seal(1)]);
    assert_eq!(repairs(&files, &[held()], true), [delete("commits/1"), write(555)]);
    // The attempt of another batch says nothing about this one.
    assert_eq!(next_watermark(&scan(&files), BatchId(7), true), None);
    // Of two attempts nobody knows which.
    files.extend([seal(2)]);
    assert!(repairs(&files, &[held()], true).is_empty());
}

#[test]
fn a_gap_at_the_end_is_not_a_hole_and_a_completion_needs_its_offsets() {
    let code = |files: &Files| {
        let scan = scan(files);
        let codes = diagnose(&scan, &Evidence::default(), false).findings;
        codes.into_iter().map(|f| f.code).collect::<Vec<_>>()
    };
    assert_eq!(code(&checkpoint(&[0, 1, 2, 3], &[0])), ["CHECKPOINT_COMMITS_MISSING"]);
    assert_eq!(code(&checkpoint(&[0, 1, 2, 3], &[0, 2])), [HOLE]);
    assert_eq!(code(&checkpoint(&[0, 1], &[0, 1])), Vec::<String>::new());
    assert_eq!(code(&checkpoint(&[0], &[0, 1])), ["CHECKPOINT_COMMIT_WITHOUT_OFFSETS"]);
    let rebuilt =
        Rebuilt { query: QUERY, batch: BatchId(5), digest: Digest::of(b""), offsets: None };
    let mut files = checkpoint(&[5], &[5]);
    assert_eq!(code(&files), [HOLE]);
    files.insert(paths::REBUILT.to_owned(), rebuilt.encode().unwrap());
    assert_eq!(code(&files), Vec::<String>::new(), "it begins with batch 5");
    assert_eq!(code(&checkpoint(&[3, 5], &[3])), [HOLE, "CHECKPOINT_COMMITS_MISSING"]);
}

#[test]
fn a_sink_that_was_not_found_proves_nothing_but_where_it_can_hold_nothing() {
    let torn = |newest: u64, batches: &[u64], commits: &[u64]| {
        let mut files = checkpoint(batches, commits);
        files.insert(paths::offsets(BatchId(newest)), b"v1\n{".to_vec());
        files
    };
    let says = |files: &Files, said: &[Option<Probe>]| {
        let scan = scan(files);
        let wanted = Evidence::wanted(&scan);
        let sink = |probe: &Option<Probe>| match probe {
            Some(probe) => wanted.iter().map(|batch| (*batch, probe.clone())).collect(),
            None => BTreeMap::new(),
        };
        let evidence = Evidence { sinks: said.iter().map(sink).collect() };
        diagnose(&scan, &evidence, false).repairs().cloned().collect::<Vec<_>>()
    };
    let (lacks, not_found) = (Some(Probe::Absent), None);
    let first = torn(0, &[0], &[]);
    let mut sealed = first.clone();
    sealed.insert(format!("{}/x", paths::prepared_dir(BatchId(0))), Vec::new());
    let later = torn(1, &[0, 1], &[0]);
    for (files, file) in [(&first, "offsets/0"), (&sealed, "offsets/0"), (&later, "offsets/1")] {
        assert_eq!(says(files, std::slice::from_ref(&lacks)), [delete(file)]);
    }
    for said in [vec![not_found.clone()], vec![lacks, not_found]] {
        assert_eq!(says(&first, &said), [delete("offsets/0")], "no attempt was sealed");
        assert!(says(&sealed, &said).is_empty());
        assert!(says(&later, &said).is_empty());
    }
}
