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
mod world;

pub use bugs::PlantedBug;

use world::World;

/// What one seed did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What is broken, if anything: the sentence of the invariant.
    pub violation: Option<String>,
    /// Every step and fault, one a line.
    pub trace: String,
    /// Counts, for the figures.
    pub stats: Stats,
}

/// Counts of one or more seeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Steps of runs.
    pub steps: u64,
    /// Batches that were reported complete.
    pub batches: u64,
    /// Runs that were started.
    pub runs: u64,
    /// Faults: deaths, power losses, lost answers, late writes, damage, restored backups.
    pub faults: u64,
    /// Refusals that a person had to answer.
    pub refusals: u64,
    /// Batches that were rolled forward.
    pub rolled_forward: u64,
    /// Worlds that were tampered with in a way that no file of a backup could cure.
    pub given_up: u64,
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Stats) {
        self.steps += other.steps;
        self.batches += other.batches;
        self.runs += other.runs;
        self.faults += other.faults;
        self.refusals += other.refusals;
        self.rolled_forward += other.rolled_forward;
        self.given_up += other.given_up;
    }
}

/// Simulates one seed, with a planted bug or without.
pub fn simulate(seed: u64, bug: Option<PlantedBug>) -> Outcome {
    World::new(seed, bug).simulate()
}

#[cfg(test)]
mod tests;
