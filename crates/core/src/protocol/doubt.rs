//! What a probe says about a commit whose answer was unclear (P5, P12).

use super::refusal::Refusal;
use crate::contract::{CommitTag, Probe};
use crate::ids::AttemptId;

/// What became of one attempt in one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Resolved {
    /// The sink holds the batch by this attempt: go on to the next sink.
    Ours,
    /// The sink does not hold the batch. The same attempt may be committed again: the sink's
    /// atomic step lets only one of the two in.
    Absent,
    /// The sink holds the batch by another attempt (or no longer says by which). This attempt has
    /// lost: stop, and let recovery finish the winner's. Its files stay where they are.
    Lost {
        /// The winner, where the sink names it.
        winner: Option<AttemptId>,
    },
    /// The sink went on without this run.
    Overtaken,
    /// The sink holds something else under this number.
    Refuse(Refusal),
}

/// Resolves doubt about committing `tag` to the sink called `name`.
pub fn resolve(name: &str, tag: &CommitTag, probe: &Probe) -> Resolved {
    match probe {
        Probe::Absent => Resolved::Absent,
        Probe::Ahead { .. } => Resolved::Overtaken,
        Probe::Committed { digest_low_48: Some(low), .. } if *low != tag.digest.low_48_bits() => {
            Resolved::Refuse(Refusal::digest_differs(name, tag.batch))
        }
        // The number without our mark: another engine finished the batch.
        Probe::Committed { digest_low_48: None, .. } => Resolved::Lost { winner: None },
        Probe::Committed { attempt: Some(attempt), .. } if *attempt == tag.attempt => {
            Resolved::Ours
        }
        Probe::Committed { attempt, .. } => Resolved::Lost { winner: *attempt },
    }
}
