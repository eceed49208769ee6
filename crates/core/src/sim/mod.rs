//! A seeded, deterministic simulator of the batch protocol.
//!
//! It runs the real [`crate::protocol::decide`], [`crate::protocol::resolve`],
//! [`crate::protocol::Scan`], [`crate::protocol::diagnose`] and the real encodings of every file
//! against a model of the world: a checkpoint store that loses what was not synced, one to three
//! sinks (one may be unstaged) whose answers get lost and whose writes arrive late, runs that die
//! at every step and come back as zombies, checkpoints that are damaged or restored from backups,
//! and another engine that plans and commits batches of its own.
//!
//! * `rng`: randomness from a seed; `disk`: the checkpoint store; `sinks`: the sinks;
//! * `run`: one run, one effect a step; `world`: who moves next, faults, the operator;
//! * `oracle`: what must hold, after every step and at the end.
//!
//! One seed, one trace, byte for byte. [`PlantedBug`] switches defects on, to see that they are
//! found.

mod bugs;
mod disk;
mod oracle;
mod rng;
mod run;
mod sinks;
mod stats;
mod world;

pub use bugs::PlantedBug;
pub use stats::{Faults, Stats};

use crate::protocol::marks;
use std::collections::BTreeSet;
use world::World;

/// What one seed did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What is broken, if anything: the sentence of the invariant.
    pub violation: Option<String>,
    /// Every step and fault, one a line; of [`check`], only where something is broken.
    pub trace: String,
    /// Counts, for the figures.
    pub stats: Stats,
}

/// Simulates one seed, with a planted bug or without.
pub fn simulate(seed: u64, bug: Option<PlantedBug>) -> Outcome {
    World::new(seed, bug, true).simulate()
}

/// As [`simulate`], with a trace only of a seed that breaks something: such a seed is simulated
/// once more, so that all the others need not write what nobody reads.
pub fn check(seed: u64, bug: Option<PlantedBug>) -> Outcome {
    let untraced = World::new(seed, bug, false).simulate();
    if untraced.violation.is_none() { untraced } else { simulate(seed, bug) }
}

/// The branches of the decision that this thread has reached since it last asked.
pub fn branches_reached() -> BTreeSet<&'static str> {
    marks::take()
}

#[cfg(test)]
mod tests;
