use super::scan::tests::scan;
use super::*;
use crate::contract::{CommitTag, Probe};
use crate::error::{Error, ErrorKind};
use crate::ids::{AttemptId, BatchId, Digest, Epoch, QueryId};
use crate::log::{CommitFile, Metadata, OffsetsFile, OffsetsMetadata, Planner};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const N: BatchId = BatchId(5);

fn digest() -> Digest {
    Digest::of(b"intent 5")
}

fn attempt(n: u128) -> AttemptId {
    AttemptId(Uuid::from_u128(n))
}

fn held(by: u128) -> Probe {
    Probe::Committed { attempt: Some(attempt(by)), digest_low_48: Some(digest().low_48_bits()) }
}

fn foreign() -> Probe {
    Probe::Committed { attempt: None, digest_low_48: None }
}

fn sink(newest: Probe) -> SinkFact {
    SinkFact {
        name: "DeltaSink[/t]".into(),
        remembers: true,
        may_forget: false,
        staged: true,
        before: Some(Probe::Ahead { newest: N }),
        newest,
    }
}

/// N is logged, N−1 is complete, attempts 1 and 2 are sealed.
fn in_doubt(sinks: Vec<SinkFact>) -> Facts {
    let sealed = |n| PreparedFact { attempt: attempt(n), staged: true };
    Facts {
        lease: LeaseFact { ours: Epoch(2), newest: Epoch(2) },
        log: LogFact {
            intent: Some(IntentFact { batch: N, digest: digest(), planner: Planner::Millstream }),
            completed: N.previous(),
            prepared: vec![sealed(1), sealed(2)],
            history: true,
            ..LogFact::default()
        },
        sinks,
        stateful: false,
    }
}

fn code(facts: &Facts) -> &'static str {
    match decide(facts) {
        Step::Refuse(refusal) => {
            let error = Error::from(refusal);
            assert!(!error.message().is_empty() && error.cure_text().is_some());
            error.code()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_query_plans_batch_0_unless_somebody_remembers_it() {
    let mut facts = in_doubt(vec![sink(Probe::Absent)]);
    facts.log = LogFact::default();
    assert_eq!(decide(&facts), Step::Plan { batch: BatchId(0) });
    facts.log.history = true;
    assert_eq!(code(&facts), "CHECKPOINT_LOGS_GONE");
    facts.log.history = false;
    for probe in [held(1), foreign(), Probe::Ahead { newest: N }] {
        facts.sinks = vec![sink(Probe::Absent), sink(probe)];
        assert_eq!(code(&facts), "CHECKPOINT_LOGS_GONE");
    }
}

#[test]
fn a_settled_query_goes_on_unless_a_sink_contradicts() {
    let settled = |probe| {
        let mut facts = in_doubt(vec![sink(probe)]);
        facts.log.completed = Some(N);
        facts
    };
    for probe in [held(1), held(9), foreign()] {
        assert_eq!(decide(&settled(probe)), Step::Plan { batch: N.next() });
    }
    assert_eq!(code(&settled(Probe::Absent)), "SINK_LOST_BATCH");
    assert_eq!(code(&settled(Probe::Ahead { newest: N.next() })), "CHECKPOINT_BEHIND_SINK");
    let other = Probe::Committed { attempt: Some(attempt(1)), digest_low_48: Some(1) };
    assert_eq!(code(&settled(other)), "BATCH_DIGEST_DIFFERS");
    // Another engine has finished the batch, and knows one of the sinks only.
    let mut beside = settled(Probe::Absent);
    beside.sinks.push(sink(foreign()));
    assert_eq!(code(&beside), "SINK_LEFT_OUT");
    beside.sinks[1].newest = held(1);
    assert_eq!(code(&beside), "SINK_LOST_BATCH");
    // A late write has taken the place of what a restored sink held.
    let mut mixed = settled(held(1));
    mixed.sinks.push(sink(held(1)));
    assert_eq!(decide(&mixed), Step::Plan { batch: N.next() });
    mixed.sinks[1].newest = foreign();
    assert_eq!(decide(&mixed), Step::Plan { batch: N.next() });
    mixed.sinks[1].newest = held(2);
    assert_eq!(code(&mixed), "SINKS_DISAGREE");
    let names: Vec<&str> = mixed.sinks.iter().map(|sink| sink.name.as_str()).collect();
    let Step::Refuse(refusal) = decide(&mixed) else { panic!("it goes on") };
    assert!(refusal.cause.starts_with(&names.join(" and ")), "{}", refusal.cause);
    let mut forgetful = settled(Probe::Absent);
    forgetful.sinks[0].may_forget = true;
    assert_eq!(decide(&forgetful), Step::Plan { batch: N.next() });
}

#[test]
fn a_batch_in_no_sink_is_executed_anew() {
    let step = Step::Execute { batch: N };
    assert_eq!(decide(&in_doubt(vec![sink(Probe::Absent)])), step);
    assert_eq!(decide(&in_doubt(vec![sink(Probe::Absent), sink(Probe::Absent)])), step);
    // A sink without memory is written at least once.
    let mut console = sink(Probe::Absent);
    console.remembers = false;
    assert_eq!(decide(&in_doubt(vec![console])), step);
}

#[test]
fn a_batch_in_some_sink_is_rolled_forward_by_the_attempt_that_the_sink_names() {
    let facts = in_doubt(vec![sink(held(2)), sink(Probe::Absent), sink(Probe::Absent)]);
    let step = Step::RollForward { batch: N, attempt: attempt(2), remaining: vec![1, 2] };
    assert_eq!(decide(&facts), step);

    let mut gone = facts.clone();
    gone.log.prepared.retain(|p| p.attempt != attempt(2));
    assert_eq!(code(&gone), "PREPARED_GONE");
    let mut files_gone = facts.clone();
    files_gone.log.prepared[1].staged = false;
    assert_eq!(code(&files_gone), "PREPARED_GONE");
    let mut unstaged = facts;
    unstaged.sinks[2].staged = false;
    assert_eq!(code(&unstaged), "SINK_ORDER_BROKEN");
}

#[test]
fn a_batch_in_every_sink_is_completed() {
    let all = in_doubt(vec![sink(held(1)), sink(held(1))]);
    let step = Step::Complete { batch: N, adopt: Adopt::Attempt(attempt(1)) };
    assert_eq!(decide(&all), step);
    // Without its sealed file nothing is missing, unless there is state.
    let mut unsealed = all;
    unsealed.log.prepared.clear();
    assert_eq!(decide(&unsealed), Step::Complete { batch: N, adopt: Adopt::Nothing });
    unsealed.stateful = true;
    assert_eq!(code(&unsealed), "PREPARED_GONE");
}

#[test]
fn a_batch_of_another_engine_is_completed_by_number_if_no_state_is_needed() {
    let mut facts = in_doubt(vec![sink(foreign())]);
    assert_eq!(decide(&facts), Step::Complete { batch: N, adopt: Adopt::Nothing });
    facts.stateful = true;
    assert_eq!(code(&facts), "CHECKPOINT_STATE_FOREIGN");
    assert_eq!(code(&in_doubt(vec![sink(foreign()), sink(Probe::Absent)])), "SINK_ATTEMPT_UNKNOWN");
    assert_eq!(code(&in_doubt(vec![sink(foreign()), sink(held(1))])), "SINKS_DISAGREE");
}

#[test]
fn what_contradicts_is_refused() {
    assert_eq!(code(&in_doubt(vec![sink(held(1)), sink(held(2))])), "SINKS_DISAGREE");
    let other = Probe::Committed { attempt: Some(attempt(1)), digest_low_48: Some(1) };
    assert_eq!(code(&in_doubt(vec![sink(other)])), "BATCH_DIGEST_DIFFERS");
    let ahead = Probe::Ahead { newest: BatchId(9) };
    assert_eq!(code(&in_doubt(vec![sink(ahead)])), "CHECKPOINT_BEHIND_SINK");
    let mut lost = sink(Probe::Absent);
    lost.before = Some(Probe::Absent);
    assert_eq!(code(&in_doubt(vec![lost.clone()])), "SINK_LOST_BATCH");
    lost.may_forget = true;
    assert_eq!(code(&in_doubt(vec![lost])), "SINK_MARK_MISSING");
}

#[test]
fn logs_that_do_not_fit_together_are_refused() {
    let facts = in_doubt(vec![sink(Probe::Absent)]);
    let with = |change: fn(&mut LogFact)| {
        let mut facts = facts.clone();
        change(&mut facts.log);
        code(&facts)
    };
    assert_eq!(with(|l| l.completed = Some(BatchId(3))), "CHECKPOINT_COMMITS_MISSING");
    assert_eq!(with(|l| l.completed = None), "CHECKPOINT_COMMITS_MISSING");
    assert_eq!(with(|l| l.completed = Some(BatchId(6))), "CHECKPOINT_COMMIT_WITHOUT_OFFSETS");
    assert_eq!(with(|l| l.intent = None), "CHECKPOINT_COMMIT_WITHOUT_OFFSETS");
    // The lost newest intent is the cause, and the hole before the one before it what follows.
    let both = with(|l| {
        l.completed = Some(BatchId(6));
        l.holes.push("offsets/3".into());
    });
    assert_eq!(both, "CHECKPOINT_COMMIT_WITHOUT_OFFSETS");
    assert_eq!(with(|l| l.holes.push("offsets/3".into())), "CHECKPOINT_LOG_HOLE");
    assert_eq!(with(|l| l.metadata_missing = true), "STREAMING_CHECKPOINT_MISSING_METADATA_FILE");
    let torn = |l: &mut LogFact| {
        let error = OffsetsFile::decode(b"").unwrap_err();
        l.damage.push(Damage::new("offsets/5", &error));
    };
    assert_eq!(with(torn), "CHECKPOINT_FILE_TORN");
}

#[test]
fn refusals_name_a_few_files_and_the_cure_that_helps() {
    let names = |n: usize| (0..n).map(|i| format!("offsets/{i}")).collect::<Vec<_>>();
    let error = |n| Error::from(Refusal::hole(&names(n))).message().to_owned();
    assert!(error(2).contains(": `offsets/0`, `offsets/1` missing."), "{}", error(2));
    assert!(error(5).contains("`offsets/4` missing."), "{}", error(5));
    assert!(error(7).contains("`offsets/4` and 2 more missing."), "{}", error(7));

    let cure = |error: &Error| {
        let refusal = Refusal::damaged(&Damage::new("offsets/5", error));
        Error::from(refusal).cure_text().unwrap().to_owned()
    };
    let newer = OffsetsFile::decode(b"v3\n{}\n1").unwrap_err();
    assert!(cure(&newer).starts_with("Use the release"), "{}", cure(&newer));
    let torn = OffsetsFile::decode(b"").unwrap_err();
    assert!(cure(&torn).contains("checkpoint doctor"), "{}", cure(&torn));
}

#[test]
fn a_newer_claim_stops_everything_else() {
    let mut facts = in_doubt(vec![sink(Probe::Ahead { newest: BatchId(9) })]);
    facts.lease.newest = Epoch(3);
    let step = decide(&facts);
    assert_eq!(step, Step::Stop { newest: Epoch(3) });
    assert_eq!(step.error().unwrap().kind(), ErrorKind::Fenced);
}

#[test]
fn doubt_is_resolved_by_what_the_sink_says() {
    let tag = CommitTag {
        query: QueryId(Uuid::nil()),
        batch: N,
        attempt: attempt(1),
        digest: digest(),
        previous: None,
        epoch: Epoch(1),
    };
    let said = |probe| resolve("s", &tag, &probe);
    assert_eq!(said(held(1)), Resolved::Ours);
    assert_eq!(said(held(2)), Resolved::Lost { winner: Some(attempt(2)) });
    assert_eq!(said(foreign()), Resolved::Lost { winner: None });
    assert_eq!(said(Probe::Absent), Resolved::Absent);
    assert_eq!(said(Probe::Ahead { newest: BatchId(6) }), Resolved::Overtaken);
    let other = Probe::Committed { attempt: Some(attempt(1)), digest_low_48: Some(1) };
    assert!(matches!(said(other), Resolved::Refuse(r) if r.code == "BATCH_DIGEST_DIFFERS"));
    let forgotten = Probe::Committed { attempt: None, digest_low_48: Some(digest().low_48_bits()) };
    assert_eq!(said(forgotten), Resolved::Lost { winner: None });
}

/// A checkpoint as another engine leaves it.
fn spark(planned: &[u64], completed: &[u64]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let id = QueryId(Uuid::from_u128(7));
    files.insert(paths::METADATA.to_owned(), Metadata { id }.encode());
    for n in planned {
        let end = Some(crate::contract::Position(serde_json::json!({"t": {"0": n}})));
        let file = OffsetsFile::new(OffsetsMetadata::default(), vec![end]);
        files.insert(paths::offsets(BatchId(*n)), file.encode());
    }
    for n in completed {
        files.insert(paths::commits(BatchId(*n)), CommitFile::new(0).encode());
    }
    files
}

#[test]
fn another_engines_checkpoint_is_understood() {
    let files = spark(&[3, 4, 5], &[3, 4]);
    let scan = scan(&files);
    let log = scan.log();
    assert!(log.damage.is_empty() && log.holes.is_empty() && !log.metadata_missing);
    assert_eq!(log.completed, Some(BatchId(4)));
    let intent = log.intent.unwrap();
    assert_eq!((intent.batch, intent.planner), (BatchId(5), Planner::Other));
    // Without an intent of ours, the file itself is what the batch is known by.
    assert_eq!(intent.digest, Digest::of(&files["offsets/5"]));
    assert_eq!(scan.intent(BatchId(5)).unwrap(), None);
}

#[test]
fn foreign_names_are_ignored_and_holes_are_not() {
    let mut files = spark(&[0, 1, 2], &[0, 1]);
    for name in [".2.crc", "007", "3.tmp", "-4", "+5", "6 ", ".3.0123.tmp"] {
        files.insert(format!("offsets/{name}"), Vec::new());
    }
    assert_eq!(scan(&files).newest_offsets(), Some(BatchId(2)));
    files.remove("offsets/1");
    assert_eq!(scan(&files).log().holes, ["offsets/1"]);
    // A huge number cannot make a huge list.
    files.insert("offsets/18446744073709551615".into(), Vec::new());
    assert!(scan(&files).log().holes.len() <= 1001);
}

fn findings(files: &BTreeMap<String, Vec<u8>>, newest_in_sink: Option<u64>) -> Vec<Repair> {
    let scan = scan(files);
    let says = |batch: BatchId| match newest_in_sink {
        Some(newest) if newest > batch.0 => Probe::Ahead { newest: BatchId(newest) },
        Some(newest) if newest == batch.0 => foreign(),
        _ => Probe::Absent,
    };
    let said = Evidence::wanted(&scan).into_iter().map(|b| (b, says(b))).collect();
    diagnose(&scan, &Evidence { sinks: vec![said] }, false).repairs().cloned().collect()
}

#[test]
fn the_doctor_repairs_only_what_the_evidence_allows() {
    let delete = |path: &str| Repair::Delete { path: path.to_owned() };
    let write = |n| Repair::WriteCompletion { batch: BatchId(n), next_watermark_ms: 0 };
    assert!(findings(&spark(&[0, 1], &[0]), Some(0)).is_empty());

    let mut torn = spark(&[0, 1], &[0]);
    torn.insert("offsets/1".into(), b"v1\n{".to_vec());
    assert_eq!(findings(&torn, Some(0)), [delete("offsets/1")]);
    assert!(findings(&torn, Some(1)).is_empty());

    let mut half = spark(&[0, 1], &[0, 1]);
    half.insert("commits/1".into(), Vec::new());
    assert_eq!(findings(&half, Some(1)), [delete("commits/1"), write(1)]);
    assert_eq!(findings(&half, Some(0)), [delete("commits/1")]);

    assert_eq!(findings(&spark(&[0, 1, 2, 3], &[0]), Some(2)), [write(1), write(2)]);
    assert!(findings(&spark(&[0, 1, 2, 3], &[0]), Some(1)).is_empty());
    // Leftovers of a purge that was interrupted.
    let leftover = spark(&[0, 4, 5], &[4, 5]);
    assert_eq!(findings(&leftover, Some(5)), [delete("offsets/0")]);
    // A missing batch before the newest cannot be made up.
    assert!(findings(&spark(&[3, 5], &[3]), Some(3)).is_empty());
    assert!(findings(&spark(&[0], &[0, 1]), Some(1)).is_empty());
}

#[test]
fn a_finding_has_the_code_of_the_refusal() {
    let torn = |path: &str| {
        let mut files = spark(&[0, 1], &[0, 1]);
        files.insert(path.into(), b"v1\n{".to_vec());
        files
    };
    let mut nameless = spark(&[0, 1], &[0, 1]);
    nameless.remove("metadata");
    for files in [
        torn("offsets/1"),
        torn("commits/1"),
        torn("metadata"),
        nameless,
        spark(&[0, 1, 2, 3], &[0]),
        spark(&[0, 1, 2, 3], &[0, 2, 3]),
        spark(&[0, 4, 5], &[4, 5]),
        spark(&[3, 5], &[3]),
        spark(&[0], &[0, 1]),
    ] {
        let scan = scan(&files);
        let lease = LeaseFact { ours: Epoch(1), newest: Epoch(1) };
        let facts = Facts { lease, log: scan.log(), sinks: Vec::new(), stateful: false };
        let refused = decide(&facts).error().expect("a refusal").code();
        let diagnosis = diagnose(&scan, &Evidence::default(), false);
        let found: Vec<&str> = diagnosis.findings.iter().map(|f| f.code.as_str()).collect();
        assert!(found.contains(&refused), "{refused} is not among {found:?}");
        let mut foretold = diagnosis.clone();
        foretold.add_step(&decide(&facts));
        assert_eq!(foretold, diagnosis, "nothing is said twice");
    }
}

#[test]
fn without_sinks_the_doctor_repairs_nothing_that_needs_their_word() {
    let mut torn = spark(&[0, 1], &[0]);
    torn.insert("offsets/1".into(), Vec::new());
    let diagnosis = diagnose(&scan(&torn), &Evidence::default(), false);
    assert_eq!(diagnosis.findings.len(), 1);
    assert!(!diagnosis.is_curable());
}

fn any_probe() -> impl Strategy<Value = Probe> {
    prop_oneof![
        Just(Probe::Absent),
        (0u64..9).prop_map(|n| Probe::Ahead { newest: BatchId(n) }),
        (prop::option::of(0u128..3), prop::option::of(any::<bool>())).prop_map(|(a, d)| {
            Probe::Committed {
                attempt: a.map(attempt),
                digest_low_48: d.map(|ours| if ours { digest().low_48_bits() } else { 1 }),
            }
        }),
    ]
}

prop_compose! {
    fn any_sink()(
        newest in any_probe(),
        before in prop::option::of(any_probe()),
        remembers: bool,
        may_forget: bool,
        staged: bool,
    ) -> SinkFact {
        SinkFact { name: "s".into(), remembers, may_forget, staged, newest, before }
    }
}

prop_compose! {
    fn any_facts()(
        sinks in prop::collection::vec(any_sink(), 0..4),
        intent in prop::option::of(0u64..9),
        completed in prop::option::of(0u64..9),
        prepared in prop::collection::vec((0u128..3, any::<bool>()), 0..3),
        flags: [bool; 5],
        newest in 1u64..4,
    ) -> Facts {
        let [hole, missing, history, stateful, torn] = flags;
        let error = OffsetsFile::decode(b"").unwrap_err();
        Facts {
            lease: LeaseFact { ours: Epoch(2), newest: Epoch(newest) },
            log: LogFact {
                damage: torn.then(|| Damage::new("offsets/5", &error)).into_iter().collect(),
                holes: hole.then(|| "offsets/1".to_owned()).into_iter().collect(),
                metadata_missing: missing,
                history,
                intent: intent.map(|n| IntentFact {
                    batch: BatchId(n),
                    digest: digest(),
                    planner: Planner::Millstream,
                }),
                completed: completed.map(BatchId),
                prepared: prepared
                    .into_iter()
                    .map(|(n, staged)| PreparedFact { attempt: attempt(n), staged })
                    .collect(),
            },
            sinks,
            stateful,
        }
    }
}

/// A batch in doubt and nothing wrong with the log: what is left is for the sinks to say.
fn facts_in_doubt() -> impl Strategy<Value = Facts> {
    any_facts().prop_map(|mut facts| {
        facts.lease.newest = facts.lease.ours;
        facts.log.damage.clear();
        facts.log.holes.clear();
        facts.log.metadata_missing = false;
        facts.log.intent = in_doubt(Vec::new()).log.intent;
        facts.log.completed = N.previous();
        for sink in &mut facts.sinks {
            sink.before = None;
            if let Probe::Committed { digest_low_48: Some(low), .. } = &mut sink.newest {
                *low = digest().low_48_bits();
            }
        }
        facts
    })
}

/// The same, and the newest batch is complete.
fn facts_settled() -> impl Strategy<Value = Facts> {
    facts_in_doubt().prop_map(|mut facts| {
        facts.log.completed = Some(N);
        facts
    })
}

fn facts() -> impl Strategy<Value = Facts> {
    prop_oneof![any_facts(), facts_in_doubt(), facts_settled()]
}

/// What any answer has to hold, given any facts.
fn is_safe(facts: &Facts, step: &Step) -> std::result::Result<(), TestCaseError> {
    prop_assert_eq!(invariants::only_the_newest_advances(facts, step), None);
    prop_assert_eq!(invariants::damage_is_refused(facts, step), None);
    prop_assert_eq!(invariants::at_most_one_redone(facts.log.completed, step), None);
    let remembering = || facts.sinks.iter().filter(|s| s.remembers);
    let ours = |probe: &Probe| matches!(probe, Probe::Committed { .. });
    match step {
        // I5, and nothing is planned over a batch that a sink contradicts.
        Step::Plan { batch } => {
            prop_assert_eq!(facts.log.completed, batch.previous());
            let ahead = |probe: &Probe| matches!(probe, Probe::Ahead { .. });
            prop_assert!(!remembering().any(|s| ahead(&s.newest)));
            let named = remembering().filter_map(|s| match s.newest {
                Probe::Committed { attempt, digest_low_48: Some(_) } => attempt,
                _ => None,
            });
            prop_assert!(named.collect::<BTreeSet<_>>().len() <= 1);
        }
        Step::Execute { .. } => {
            prop_assert!(remembering().all(|s| s.newest == Probe::Absent));
        }
        Step::RollForward { attempt, remaining, .. } => {
            prop_assert!(facts.log.prepared.iter().any(|p| p.attempt == *attempt && p.staged));
            for (at, sink) in facts.sinks.iter().enumerate().filter(|(_, s)| s.remembers) {
                prop_assert_eq!(remaining.contains(&at), !ours(&sink.newest));
                prop_assert!(!remaining.contains(&at) || sink.staged);
            }
        }
        Step::Complete { .. } => {
            prop_assert!(remembering().count() > 0);
            prop_assert!(remembering().all(|s| ours(&s.newest)));
        }
        Step::Stop { .. } | Step::Refuse(_) => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8000))]
    #[test]
    fn every_combination_of_facts_has_a_safe_answer(facts in facts()) {
        is_safe(&facts, &decide(&facts))?;
    }
}

#[test]
fn every_branch_of_the_decision_is_reached_and_its_answers_are_safe() {
    marks::take();
    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for _ in 0..40_000 {
        let facts = facts().new_tree(&mut runner).unwrap().current();
        let safe = is_safe(&facts, &decide(&facts));
        assert!(safe.is_ok(), "{safe:?}: {facts:?}");
    }
    reached.extend(marks::take());
    let missed: Vec<_> = marks::all().filter(|branch| !reached.contains(branch)).collect();
    assert_eq!(missed, Vec::<&str>::new());
    assert!(reached.len() > 20, "{reached:?}");
}
