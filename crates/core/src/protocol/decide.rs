//! From facts to the next step.

use super::facts::{Facts, IntentFact, PreparedFact, SinkFact};
use super::marks::reached;
use super::refusal::Refusal;
use crate::contract::Probe;
use crate::error::{Error, ErrorKind};
use crate::ids::{AttemptId, BatchId, Epoch};
use std::collections::BTreeSet;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Everything so far is complete: plan this batch when there is something to read.
    Plan {
        /// The batch to plan.
        batch: BatchId,
    },
    /// The batch is logged and in no sink: execute it, from the same intent, as a new attempt.
    Execute {
        /// The batch to execute.
        batch: BatchId,
    },
    /// Some sinks hold the batch by this attempt: commit what it staged for the others, adopt its
    /// state and watermarks, complete. Never execute again.
    RollForward {
        /// The batch to finish.
        batch: BatchId,
        /// The attempt that the sinks name.
        attempt: AttemptId,
        /// Indexes of the sinks that lack it, in commit order.
        remaining: Vec<usize>,
    },
    /// Every sink holds the batch: write `commits/N`.
    Complete {
        /// The batch to complete.
        batch: BatchId,
        /// Whose watermarks and counts the completion carries.
        adopt: Adopt,
    },
    /// A newer run owns the checkpoint.
    Stop {
        /// Its epoch.
        newest: Epoch,
    },
    /// Going on could lose, double or invent records.
    Refuse(Refusal),
}

/// What a completion takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopt {
    /// Watermarks, state and counts of `prepared/N/<attempt>`.
    Attempt(AttemptId),
    /// Nothing: the sinks hold the batch, nobody here counted it, and no state is needed.
    Nothing,
}

impl Step {
    /// The error of a step that ends the run: `RUN_FENCED`, or the refusal.
    pub fn error(&self) -> Option<Error> {
        match self {
            Step::Stop { newest } => Some(fenced(*newest)),
            Step::Refuse(refusal) => Some(refusal.clone().into()),
            _ => None,
        }
    }
}

/// The error of a run that found a higher epoch.
pub(crate) fn fenced(newest: Epoch) -> Error {
    Error::new(
        ErrorKind::Fenced,
        "RUN_FENCED",
        format!("A newer run (epoch {newest}) has taken over this checkpoint."),
    )
    .cure("Nothing is lost. Do not start this one again while the other runs.")
}

/// Decides. Total: every combination of facts has an answer, and the answer depends on nothing
/// else.
pub fn decide(facts: &Facts) -> Step {
    if facts.lease.newest > facts.lease.ours {
        reached("a newer claim");
        return Step::Stop { newest: facts.lease.newest };
    }
    match decide_or_refuse(facts) {
        Ok(step) => step,
        Err(refusal) => Step::Refuse(refusal),
    }
}

fn decide_or_refuse(facts: &Facts) -> Result<Step, Refusal> {
    let log = &facts.log;
    if log.metadata_missing {
        reached("metadata missing");
        return Err(Refusal::metadata_missing());
    }
    if let Some(damage) = log.damage.first() {
        reached("damage");
        return Err(Refusal::damaged(damage));
    }
    match (log.intent, log.completed) {
        // Before holes: without the newest intent, the one before it looks as if it had no start.
        (None, Some(completed)) => {
            reached("completions without any intent");
            Err(Refusal::completion_without_intent(completed, None))
        }
        (Some(intent), Some(completed)) if completed > intent.batch => {
            reached("a completion after the newest intent");
            Err(Refusal::completion_without_intent(completed, Some(intent.batch)))
        }
        _ if !log.holes.is_empty() => {
            reached("a hole");
            Err(Refusal::hole(&log.holes))
        }
        (None, None) => first_batch(facts),
        (Some(intent), Some(completed)) if completed == intent.batch => settled(facts, intent),
        (Some(intent), completed) if completed == intent.batch.previous() => finish(facts, intent),
        (Some(intent), completed) => {
            reached("completions missing");
            Err(Refusal::completions_missing(intent.batch, completed))
        }
    }
}

/// No log at all: a new query, unless something remembers an older life of it.
fn first_batch(facts: &Facts) -> Result<Step, Refusal> {
    if facts.log.history {
        reached("logs gone, by our history");
        return Err(Refusal::logs_gone("its `millstream` directory"));
    }
    for sink in remembering(facts) {
        if sink.newest != Probe::Absent {
            reached("logs gone, by a sink");
            return Err(Refusal::logs_gone(&sink.name));
        }
    }
    reached("the first batch");
    Ok(Step::Plan { batch: BatchId(0) })
}

/// M = N: go on, unless a sink contradicts.
fn settled(facts: &Facts, intent: IntentFact) -> Result<Step, Refusal> {
    for sink in remembering(facts) {
        contradiction(sink, intent)?;
        if sink.newest == Probe::Absent && !sink.may_forget {
            reached("a sink lost the completed batch");
            return Err(match Holders::of(facts).unmarked {
                0 => Refusal::sink_lost(&sink.name, intent.batch),
                _ => Refusal::left_out(&sink.name, intent.batch),
            });
        }
    }
    if Holders::of(facts).attempts.len() > 1 {
        reached("two attempts of the completed batch");
        return Err(Refusal::sinks_disagree(remembering(facts), intent.batch));
    }
    reached("the next batch");
    Ok(Step::Plan { batch: intent.batch.next() })
}

/// M = N−1: finish N.
fn finish(facts: &Facts, intent: IntentFact) -> Result<Step, Refusal> {
    let batch = intent.batch;
    for sink in remembering(facts) {
        contradiction(sink, intent)?;
        if let (Probe::Absent, Some(Probe::Absent)) = (&sink.newest, &sink.before) {
            let before = batch.previous().unwrap_or(batch);
            return Err(if sink.may_forget {
                reached("a mark has expired");
                Refusal::mark_missing(&sink.name, batch)
            } else {
                reached("a sink lost the batch before");
                Refusal::sink_lost(&sink.name, before)
            });
        }
    }
    let holders = Holders::of(facts);
    if holders.count == 0 {
        reached("in no sink");
        return Ok(Step::Execute { batch });
    }
    if holders.attempts.len() > 1 {
        reached("two attempts");
        return Err(Refusal::sinks_disagree(remembering(facts), batch));
    }
    if holders.unmarked > 0 && holders.unmarked < holders.count {
        reached("with and without our mark");
        return Err(Refusal::sinks_disagree(remembering(facts), batch));
    }
    match holders.attempts.first() {
        Some(attempt) => roll_forward(facts, batch, *attempt, holders.remaining),
        None if !holders.remaining.is_empty() => {
            reached("in some sinks, by an attempt without a name");
            Err(Refusal::attempt_unknown(batch))
        }
        None if facts.stateful => {
            reached("in every sink, by an attempt without a name, with state");
            Err(Refusal::state_not_adoptable(batch))
        }
        None => {
            reached("in every sink, by an attempt without a name");
            Ok(Step::Complete { batch, adopt: Adopt::Nothing })
        }
    }
}

/// At least one sink names `attempt`.
fn roll_forward(
    facts: &Facts,
    batch: BatchId,
    attempt: AttemptId,
    remaining: Vec<usize>,
) -> Result<Step, Refusal> {
    let sealed = facts.log.prepared.iter().find(|p| p.attempt == attempt);
    if remaining.is_empty() {
        return match sealed {
            Some(_) => {
                reached("in every sink");
                Ok(Step::Complete { batch, adopt: Adopt::Attempt(attempt) })
            }
            None if facts.stateful => {
                reached("in every sink, unsealed, with state");
                Err(Refusal::prepared_gone(batch, attempt, "its `prepared` file is gone"))
            }
            None => {
                reached("in every sink, unsealed");
                Ok(Step::Complete { batch, adopt: Adopt::Nothing })
            }
        };
    }
    let lacking = remaining.iter().filter_map(|at| facts.sinks.get(*at));
    if let Some(unstaged) = lacking.into_iter().find(|sink| !sink.staged) {
        reached("an unstaged sink lacks what a later one holds");
        return Err(Refusal::order_broken(&unstaged.name, batch));
    }
    match sealed {
        Some(PreparedFact { staged: true, .. }) => {
            reached("in some sinks");
            Ok(Step::RollForward { batch, attempt, remaining })
        }
        Some(_) => {
            reached("in some sinks, staged files gone");
            let what = "a file that it staged is gone or has another size";
            Err(Refusal::prepared_gone(batch, attempt, what))
        }
        None => {
            reached("in some sinks, unsealed");
            Err(Refusal::prepared_gone(batch, attempt, "its `prepared` file is gone"))
        }
    }
}

/// Who holds N, and how they name it.
struct Holders {
    /// Sinks that hold N.
    count: usize,
    /// Of those, the ones without our mark.
    unmarked: usize,
    /// The attempts that they name.
    attempts: BTreeSet<AttemptId>,
    /// Indexes of remembering sinks that lack N.
    remaining: Vec<usize>,
}

impl Holders {
    fn of(facts: &Facts) -> Self {
        let mut found =
            Holders { count: 0, unmarked: 0, attempts: BTreeSet::new(), remaining: Vec::new() };
        for (at, sink) in facts.sinks.iter().enumerate().filter(|(_, sink)| sink.remembers) {
            match &sink.newest {
                Probe::Committed { attempt, digest_low_48 } => {
                    found.count += 1;
                    found.unmarked += usize::from(digest_low_48.is_none());
                    // An attempt without a digest would be somebody else's word.
                    found.attempts.extend(attempt.filter(|_| digest_low_48.is_some()));
                }
                Probe::Absent => found.remaining.push(at),
                Probe::Ahead { .. } => {}
            }
        }
        found
    }
}

fn remembering(facts: &Facts) -> impl Iterator<Item = &SinkFact> {
    facts.sinks.iter().filter(|sink| sink.remembers)
}

/// Refuses a sink that is ahead, or that holds N with other contents.
fn contradiction(sink: &SinkFact, intent: IntentFact) -> Result<(), Refusal> {
    match &sink.newest {
        Probe::Ahead { newest } => {
            reached("a sink is ahead");
            Err(Refusal::behind(&sink.name, intent.batch, *newest))
        }
        Probe::Committed { digest_low_48: Some(low), .. }
            if *low != intent.digest.low_48_bits() =>
        {
            reached("another digest");
            Err(Refusal::digest_differs(&sink.name, intent.batch))
        }
        Probe::Committed { .. } | Probe::Absent => Ok(()),
    }
}
