//! A sink that is one log in memory, honest or with one bug.

use async_trait::async_trait;
use millstream_core::contract::{CommitOutcome, CommitTag, Probe, Sink, Staged};
use millstream_core::ids::{AttemptId, BatchId, QueryId};
use millstream_core::{Error, Result};
use millstream_testkit::SinkHarness;
use millstream_testkit::conformance::sink::check;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What can be wrong with a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    StagedIsVisible,
    DeadIsVisible,
    EmptyIsForgotten,
    SecondCommitDrops,
    HousekeepingDrops,
    HousekeepingForgets,
    IdentityMoves,
    ForgetsWhenReopened,
    AttemptNotNamed,
    DigestNotKept,
    CommitsTwice,
    CommitsAttemptsTwice,
    ForeignIntentCommits,
    AheadIsCommitted,
    QueriesShareNumbers,
    LoserIsDeleted,
    AbandoningDeletes,
    LookThenCommit,
    TakesAnything,
    StagedDiesWithIt,
    LossUnnoticed,
}

/// What the place holds.
#[derive(Default)]
struct Place {
    /// Staged rows by attempt.
    staged: BTreeMap<AttemptId, Vec<i64>>,
    log: Vec<(CommitTag, Vec<i64>)>,
    opened: usize,
    leaked: Vec<i64>,
    /// Whether housekeeping was done.
    swept: bool,
}

#[derive(Clone)]
struct Log {
    bug: Bug,
    exactly_once: bool,
    place: Arc<Mutex<Place>>,
}

struct LogSink {
    log: Log,
    opened: usize,
}

impl LogSink {
    fn is(&self, bug: Bug) -> bool {
        self.log.bug == bug
    }

    fn newest(&self, query: QueryId) -> Option<CommitTag> {
        let place = self.log.place.lock().unwrap();
        let shared = self.is(Bug::QueriesShareNumbers);
        let forgets = self.is(Bug::HousekeepingForgets) && place.swept;
        let known = if forgets { 1 } else { place.log.len() };
        let mine = place.log.iter().take(known).filter(|(tag, rows)| {
            (shared || tag.query == query) && !(self.is(Bug::EmptyIsForgotten) && rows.is_empty())
        });
        mine.map(|(tag, _)| tag.clone()).max_by_key(|tag| tag.batch)
    }

    fn refuses(&self, tag: &CommitTag) -> bool {
        let Some(newest) = self.newest(tag.query) else { return false };
        let again = newest.attempt == tag.attempt;
        newest.batch >= tag.batch
            && match self.log.bug {
                Bug::CommitsTwice | Bug::SecondCommitDrops => !again,
                Bug::CommitsAttemptsTwice => again || newest.digest != tag.digest,
                Bug::ForeignIntentCommits => newest.digest == tag.digest,
                _ => true,
            }
    }
}

fn invalid(message: &str) -> Error {
    Error::corrupt("LOG_STAGED_INVALID", message)
}

#[async_trait]
impl Sink for LogSink {
    fn describe(&self) -> String {
        "Log".to_owned()
    }

    fn identity(&self) -> Value {
        json!({ "opened": if self.is(Bug::IdentityMoves) { self.opened } else { 0 } })
    }

    fn is_exactly_once(&self) -> bool {
        self.log.exactly_once
    }

    async fn staged_is_complete(&self, staged: &Staged) -> Result<bool> {
        let attempt = serde_json::from_value(staged.0["attempt"].clone());
        let attempt: AttemptId = attempt.map_err(|_| invalid("It names no attempt."))?;
        let there = self.log.place.lock().unwrap().staged.contains_key(&attempt);
        Ok(there || self.is(Bug::LossUnnoticed))
    }

    async fn probe(&self, query: QueryId, batch: BatchId) -> Result<Probe> {
        if !self.log.exactly_once || (self.is(Bug::ForgetsWhenReopened) && self.opened > 1) {
            return Ok(Probe::Absent);
        }
        Ok(match self.newest(query) {
            Some(newest) if newest.batch > batch && !self.is(Bug::AheadIsCommitted) => {
                Probe::Ahead { newest: newest.batch }
            }
            Some(newest) if newest.batch >= batch => Probe::Committed {
                attempt: Some(newest.attempt).filter(|_| !self.is(Bug::AttemptNotNamed)),
                digest_low_48: match self.log.bug {
                    Bug::DigestNotKept => Some(7),
                    _ => Some(newest.digest.low_48_bits()),
                },
            },
            _ => Probe::Absent,
        })
    }

    async fn commit(&self, tag: &CommitTag, staged: &Staged) -> Result<CommitOutcome> {
        if self.log.exactly_once && self.refuses(tag) {
            if self.is(Bug::LoserIsDeleted) {
                self.log.place.lock().unwrap().staged.remove(&tag.attempt);
            }
            return Ok(CommitOutcome::AlreadyThere);
        }
        if self.is(Bug::LookThenCommit) {
            // Between the look and the commit somebody else may come.
            tokio::task::yield_now().await;
        }
        let named = staged.0.get("attempt").is_some() && staged.0.get("format").is_some();
        if !named && !self.is(Bug::TakesAnything) {
            return Err(invalid("It is no staged commit."));
        }
        let mut place = self.log.place.lock().unwrap();
        let second = self.is(Bug::SecondCommitDrops)
            && place.log.iter().any(|(seen, _)| seen.attempt == tag.attempt);
        if second {
            place.log.clear();
            return Ok(CommitOutcome::AlreadyThere);
        }
        let rows = match place.staged.get(&tag.attempt) {
            Some(rows) => rows.clone(),
            None if self.is(Bug::LossUnnoticed) || self.is(Bug::TakesAnything) => Vec::new(),
            None => return Err(invalid("Its rows are gone.")),
        };
        place.log.push((tag.clone(), rows));
        Ok(CommitOutcome::Committed { version: place.log.len() as u64 })
    }

    async fn after_completion(&self) -> Result<()> {
        let mut place = self.log.place.lock().unwrap();
        place.swept = true;
        if self.is(Bug::HousekeepingDrops) {
            place.log.iter_mut().for_each(|(_, rows)| rows.clear());
        }
        Ok(())
    }
}

impl Drop for LogSink {
    fn drop(&mut self) {
        if self.is(Bug::StagedDiesWithIt) && Arc::strong_count(&self.log.place) <= 2 {
            self.log.place.lock().unwrap().staged.clear();
        }
    }
}

#[async_trait]
impl SinkHarness for Log {
    type Sink = LogSink;

    async fn open(&self) -> Result<Arc<LogSink>> {
        let mut place = self.place.lock().unwrap();
        place.opened += 1;
        Ok(Arc::new(LogSink { log: self.clone(), opened: place.opened }))
    }

    async fn stage(&self, _: &Arc<LogSink>, tag: &CommitTag, rows: &[i64]) -> Result<Staged> {
        let mut place = self.place.lock().unwrap();
        if self.bug == Bug::StagedIsVisible {
            place.leaked.extend(rows);
        }
        place.staged.insert(tag.attempt, rows.to_vec());
        Ok(Staged(json!({ "format": 1, "attempt": tag.attempt })))
    }

    async fn abandon(&self, _: &Arc<LogSink>, _: &CommitTag, rows: &[i64]) -> Result<()> {
        let mut place = self.place.lock().unwrap();
        match self.bug {
            Bug::DeadIsVisible => place.leaked.extend(rows),
            Bug::AbandoningDeletes => place.log.clear(),
            _ => {}
        }
        Ok(())
    }

    async fn rows(&self) -> Result<Option<Vec<i64>>> {
        let place = self.place.lock().unwrap();
        let rows = place.log.iter().flat_map(|(_, rows)| rows);
        Ok(Some(rows.chain(&place.leaked).copied().collect()))
    }

    async fn lose(&self, staged: &Staged) -> Result<bool> {
        let attempt = serde_json::from_value(staged.0["attempt"].clone()).unwrap();
        Ok(self.place.lock().unwrap().staged.remove(&attempt).is_some())
    }
}

async fn run(bug: Bug, exactly_once: bool) -> Result<()> {
    check(async || Ok(Log { bug, exactly_once, place: Arc::default() })).await
}

#[tokio::test]
async fn an_honest_sink_passes() {
    run(Bug::None, true).await.unwrap();
    run(Bug::None, false).await.unwrap();
}

#[tokio::test]
async fn each_bug_of_a_sink_is_caught() {
    for (bug, rule) in [
        (Bug::StagedIsVisible, "staged rows are not visible"),
        (Bug::DeadIsVisible, "rows of an attempt that died are not visible"),
        (Bug::EmptyIsForgotten, "a committed batch is found"),
        (Bug::SecondCommitDrops, "a commit that is said twice loses no rows"),
        (Bug::HousekeepingDrops, "housekeeping changes no rows"),
        (Bug::HousekeepingForgets, "housekeeping forgets no batch"),
        (Bug::IdentityMoves, "a sink opened again has the same identity"),
        (Bug::ForgetsWhenReopened, "a committed batch is found"),
        (Bug::AttemptNotNamed, "a committed batch is found"),
        (Bug::DigestNotKept, "a committed batch is found"),
        (Bug::CommitsTwice, "the same attempt is committed once"),
        (Bug::CommitsAttemptsTwice, "a batch is committed by one attempt"),
        (Bug::ForeignIntentCommits, "another intent does not take a committed batch's number"),
        (Bug::AheadIsCommitted, "a sink that is further says how far"),
        (Bug::QueriesShareNumbers, "another query's batch is not this query's"),
        (Bug::LoserIsDeleted, "what an attempt staged is not deleted by others"),
        (Bug::AbandoningDeletes, "an attempt that ends leaves the winner's rows"),
        (Bug::LookThenCommit, "one of many attempts wins"),
        (Bug::TakesAnything, "what is no staged commit is refused by name"),
        (Bug::StagedDiesWithIt, "what was staged is complete for a later process"),
        (Bug::LossUnnoticed, "what was lost of a staged commit is noticed"),
    ] {
        super::caught(&bug, run(bug, true).await, rule);
    }
}

#[tokio::test]
async fn sinks_that_forget_hide_what_is_not_committed_all_the_same() {
    for (bug, rule) in [
        (Bug::StagedIsVisible, "staged rows are not visible"),
        (Bug::SecondCommitDrops, "a commit that is said twice loses no rows"),
        (Bug::HousekeepingDrops, "housekeeping changes no rows"),
    ] {
        super::caught(&bug, run(bug, false).await, rule);
    }
}
