use super::super::facts::{Damage, IntentFact, LeaseFact};
use super::super::refusal::Refusal;
use super::*;
use crate::log::{OffsetsFile, Planner};
use uuid::Uuid;

fn commit(batch: u64, attempt: u128, intent: &[u8]) -> SinkCommit {
    SinkCommit {
        batch: BatchId(batch),
        attempt: AttemptId(Uuid::from_u128(attempt)),
        digest: Digest::of(intent),
        epoch: Epoch(1),
    }
}

fn records(counts: &[(&'static str, u64)]) -> Multiset<&'static str> {
    counts.iter().copied().collect()
}

#[test]
fn multisets_are_compared_by_count() {
    let should = records(&[("a", 1), ("b", 2), ("c", 2)]);
    assert!(same_records(&should, &should).is_none());
    let found = same_records(&should, &records(&[("a", 3), ("b", 1), ("c", 2), ("d", 1)]));
    assert_eq!((found.lost.as_slice(), found.duplicated.as_slice()), (&["b"][..], &["a"][..]));
    assert_eq!(found.phantom, ["d"]);
    assert_eq!(found.to_string(), "lost 1, duplicated 1, phantom 1");
    for one in [records(&[("b", 2), ("c", 2)]), records(&[("a", 2), ("b", 2), ("c", 2)])] {
        assert!(!same_records(&should, &one).is_none());
    }
    let more = records(&[("a", 1), ("b", 2), ("c", 2), ("d", 1)]);
    assert!(!same_records(&should, &more).is_none());
}

#[test]
fn a_sinks_log_has_each_batch_once_and_in_order() {
    let log = |batches: &[u64]| -> Vec<SinkCommit> {
        batches.iter().map(|batch| commit(*batch, 1, b"i")).collect()
    };
    assert_eq!(each_batch_once(&log(&[4, 5, 6])), None);
    for (broken, says) in [
        (&[4, 5, 5][..], "batch 5 is followed by batch 5"),
        (&[4, 6], "batch 4 is followed by batch 6"),
        (&[5, 4], "batch 5 is followed by batch 4"),
    ] {
        assert_eq!(each_batch_once(&log(broken)).unwrap(), says);
    }
}

#[test]
fn sinks_hold_a_batch_by_one_attempt_of_one_intent() {
    let (batch, digest) = (BatchId(4), Digest::of(b"i"));
    let held = |holders: &[SinkCommit]| one_attempt(batch, digest, holders);
    assert_eq!(held(&[]), None);
    assert_eq!(held(&[commit(4, 1, b"i"), commit(4, 1, b"i")]), None);
    let two = held(&[commit(4, 1, b"i"), commit(4, 2, b"i")]);
    assert_eq!(two.unwrap(), "batch 4 is held by two attempts");
    let other = held(&[commit(4, 1, b"i"), commit(4, 1, b"other")]);
    assert_eq!(other.unwrap(), "batch 4 is held under another intent's digest");
}

#[test]
fn completions_are_at_most_one_behind() {
    let log = |intent: Option<u64>, completed: Option<u64>| LogFact {
        intent: intent.map(|n| IntentFact {
            batch: BatchId(n),
            digest: Digest::of(b"i"),
            planner: Planner::Millstream,
        }),
        completed: completed.map(BatchId),
        ..LogFact::default()
    };
    for sound in [(None, None), (Some(0), None), (Some(0), Some(0)), (Some(3), Some(2))] {
        assert_eq!(completions_follow_intents(&log(sound.0, sound.1)), None, "{sound:?}");
    }
    for (intent, completed, says) in [
        (Some(1), None, "2 intents and 0 completions"),
        (None, Some(0), "0 intents and 1 completions"),
        (Some(3), Some(1), "4 intents and 2 completions"),
        (Some(3), Some(4), "4 intents and 5 completions"),
    ] {
        assert_eq!(completions_follow_intents(&log(intent, completed)).unwrap(), says);
    }
}

fn facts(newest: u64) -> Facts {
    Facts {
        lease: LeaseFact { ours: Epoch(2), newest: Epoch(newest) },
        log: LogFact::default(),
        sinks: Vec::new(),
        stateful: false,
    }
}

#[test]
fn an_overtaken_run_stops_and_a_damaged_checkpoint_is_refused() {
    let plan = Step::Plan { batch: BatchId(0) };
    let stop = Step::Stop { newest: Epoch(3) };
    let refuse = Step::Refuse(Refusal::metadata_missing());
    assert_eq!(only_the_newest_advances(&facts(2), &plan), None);
    assert_eq!(only_the_newest_advances(&facts(3), &stop), None);
    let beside = "epoch 2 goes on beside 3";
    assert_eq!(only_the_newest_advances(&facts(3), &plan).unwrap(), beside);
    assert_eq!(only_the_newest_advances(&facts(3), &refuse).unwrap(), beside);

    assert_eq!(damage_is_refused(&facts(2), &plan), None);
    let error = OffsetsFile::decode(b"").unwrap_err();
    let changes: [fn(&mut LogFact, &crate::error::Error); 3] = [
        |log, _| log.metadata_missing = true,
        |log, _| log.holes.push("offsets/1".into()),
        |log, error| log.damage.push(Damage::new("offsets/1", error)),
    ];
    for change in changes {
        let (mut ours, mut overtaken) = (facts(2), facts(3));
        change(&mut ours.log, &error);
        change(&mut overtaken.log, &error);
        assert_eq!(damage_is_refused(&ours, &plan).unwrap(), "a damaged checkpoint is used");
        assert_eq!(damage_is_refused(&ours, &refuse), None);
        // Whoever was overtaken stops, and leaves the damage to its successor.
        assert_eq!(damage_is_refused(&overtaken, &stop), None);
    }
}

#[test]
fn what_is_complete_is_not_redone() {
    let execute = |batch| Step::Execute { batch: BatchId(batch) };
    let roll = |batch| Step::RollForward {
        batch: BatchId(batch),
        attempt: AttemptId(Uuid::nil()),
        remaining: vec![0],
    };
    let says = "batch 4 is redone although 5 is next";
    for step in [execute(4), roll(4)] {
        assert_eq!(at_most_one_redone(Some(BatchId(4)), &step).unwrap(), says);
        assert_eq!(at_most_one_redone(Some(BatchId(3)), &step), None);
    }
    assert_eq!(at_most_one_redone(None, &execute(0)), None);
    assert_eq!(at_most_one_redone(Some(BatchId(4)), &Step::Plan { batch: BatchId(5) }), None);
}

#[test]
fn bounds_hold_and_watermarks_rise() {
    assert_eq!(bounded("x", 3, 3), None);
    assert_eq!(bounded("x", 2, 3), None);
    assert_eq!(bounded("x", 4, 3).unwrap(), "4 files in x, more than 3");
    assert_eq!(watermark_never_goes_back(&[1, 1, 2]), None);
    let back = watermark_never_goes_back(&[1, 3, 2]);
    assert_eq!(back.unwrap(), "the watermark goes from 3 back to 2");
}
