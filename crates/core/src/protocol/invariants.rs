//! I1 to I14 as predicates over what a model or a checkpoint shows. Each returns the sentence of
//! what is broken, or nothing.
//!
//! I7 (state) and I12 (secrets) have no predicate here: the first needs the state's own fold, the
//! second a search through artefacts.

use super::decide::Step;
use super::facts::{Facts, LogFact};
use crate::ids::{AttemptId, BatchId, Digest, Epoch};
use std::collections::BTreeMap;
use std::fmt;

/// How often each record occurs.
pub type Multiset<R> = BTreeMap<R, u64>;

/// How a sink differs from what it should hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deviation<R> {
    /// Records that should be there and are not (I1).
    pub lost: Vec<R>,
    /// Records that are there more often than they should be (I2).
    pub duplicated: Vec<R>,
    /// Records that should not be there at all (I3).
    pub phantom: Vec<R>,
}

impl<R> Deviation<R> {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.lost.is_empty() && self.duplicated.is_empty() && self.phantom.is_empty()
    }
}

impl<R> fmt::Display for Deviation<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lost, duplicated) = (self.lost.len(), self.duplicated.len());
        write!(f, "lost {lost}, duplicated {duplicated}, phantom {}", self.phantom.len())
    }
}

/// I1, I2, I3: the sink holds exactly the records of the completed ranges.
pub fn same_records<R: Ord + Clone>(should: &Multiset<R>, does: &Multiset<R>) -> Deviation<R> {
    let mut found = Deviation { lost: Vec::new(), duplicated: Vec::new(), phantom: Vec::new() };
    for (record, expected) in should {
        let count = does.get(record).copied().unwrap_or(0);
        if count < *expected {
            found.lost.push(record.clone());
        } else if count > *expected {
            found.duplicated.push(record.clone());
        }
    }
    found.phantom.extend(does.keys().filter(|r| !should.contains_key(*r)).cloned());
    found
}

/// One commit as a sink's log has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkCommit {
    /// The batch.
    pub batch: BatchId,
    /// The attempt.
    pub attempt: AttemptId,
    /// Digest of its intent.
    pub digest: Digest,
    /// Epoch of the run that committed.
    pub epoch: Epoch,
}

/// I2, I6: a sink's log holds each batch once, in order.
pub fn each_batch_once(log: &[SinkCommit]) -> Option<String> {
    log.windows(2).find_map(|pair| match pair {
        [a, b] if a.batch.next() != b.batch => {
            Some(format!("batch {} is followed by batch {}", a.batch, b.batch))
        }
        _ => None,
    })
}

/// I4, I7: every sink that holds a batch holds it by one attempt and under the intent's digest.
pub fn one_attempt(batch: BatchId, digest: Digest, holders: &[SinkCommit]) -> Option<String> {
    let first = holders.first()?;
    holders.iter().find_map(|held| {
        if held.digest != digest {
            Some(format!("batch {batch} is held under another intent's digest"))
        } else if held.attempt != first.attempt {
            Some(format!("batch {batch} is held by two attempts"))
        } else {
            None
        }
    })
}

/// I5: M ≤ N ≤ M+1.
pub fn completions_follow_intents(log: &LogFact) -> Option<String> {
    let intents = log.intent.map_or(0, |intent| intent.batch.0 + 1);
    let completions = log.completed.map_or(0, |batch| batch.0 + 1);
    (completions > intents || intents > completions + 1)
        .then(|| format!("{intents} intents and {completions} completions"))
}

/// I6: once a newer epoch is known, the run does nothing but stop.
pub fn only_the_newest_advances(facts: &Facts, step: &Step) -> Option<String> {
    (facts.lease.newest > facts.lease.ours && !matches!(step, Step::Stop { .. }))
        .then(|| format!("epoch {} goes on beside {}", facts.lease.ours, facts.lease.newest))
}

/// I9: damage, holes and missing metadata are refused.
pub fn damage_is_refused(facts: &Facts, step: &Step) -> Option<String> {
    let log = &facts.log;
    let damaged = log.metadata_missing || !log.damage.is_empty() || !log.holes.is_empty();
    let fenced = facts.lease.newest > facts.lease.ours;
    (damaged && !fenced && !matches!(step, Step::Refuse(_)))
        .then(|| "a damaged checkpoint is used".to_owned())
}

/// I10: at most one batch is redone after a fault.
pub fn at_most_one_redone(completed_before: Option<BatchId>, step: &Step) -> Option<String> {
    let next = completed_before.map_or(BatchId(0), BatchId::next);
    match step {
        Step::Execute { batch } | Step::RollForward { batch, .. } if *batch < next => {
            Some(format!("batch {batch} is redone although {next} is next"))
        }
        _ => None,
    }
}

/// I11: a directory holds no more than its bound.
pub fn bounded(what: &str, count: usize, bound: usize) -> Option<String> {
    (count > bound).then(|| format!("{count} files in {what}, more than {bound}"))
}

/// I14: the watermark never goes back.
pub fn watermark_never_goes_back(watermarks_ms: &[i64]) -> Option<String> {
    watermarks_ms.windows(2).find_map(|pair| match pair {
        [a, b] if b < a => Some(format!("the watermark goes from {a} back to {b}")),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
