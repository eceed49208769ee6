//! What was simulated, in figures.

/// Counts of one or more seeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Steps of runs.
    pub steps: u64,
    /// Batches that were reported complete by a run.
    pub batches: u64,
    /// Batches that another engine completed.
    pub foreign_batches: u64,
    /// Runs that were started.
    pub runs: u64,
    /// What went wrong.
    pub faults: Faults,
    /// Refusals that a person had to answer.
    pub refusals: u64,
    /// Batches in doubt that were executed again.
    pub executed_again: u64,
    /// Batches in doubt that were rolled forward.
    pub rolled_forward: u64,
    /// Batches in doubt that every sink held already.
    pub found_complete: u64,
    /// Worlds that were tampered with in a way that no file of a backup could cure.
    pub given_up: u64,
}

impl Stats {
    /// Batches in doubt that a run took over from one that ended before its completion.
    pub fn recoveries(&self) -> u64 {
        self.executed_again + self.rolled_forward + self.found_complete
    }
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Stats) {
        self.steps += other.steps;
        self.batches += other.batches;
        self.foreign_batches += other.foreign_batches;
        self.runs += other.runs;
        self.faults += other.faults;
        self.refusals += other.refusals;
        self.executed_again += other.executed_again;
        self.rolled_forward += other.rolled_forward;
        self.found_complete += other.found_complete;
        self.given_up += other.given_up;
    }
}

/// Faults by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Runs that died inside an effect.
    pub deaths: u64,
    /// Runs that were killed between two effects.
    pub kills: u64,
    /// Power failures, which take every run and whatever was not synced.
    pub power_losses: u64,
    /// Runs that stood still while others went on.
    pub pauses: u64,
    /// Commits that were made and whose answer was lost.
    pub answers_lost: u64,
    /// Commits that never arrived and whose answer was lost.
    pub never_arrived: u64,
    /// Commits that arrived after their run had given up waiting.
    pub arrived_late: u64,
    /// Files of the checkpoint that were cut, zeroed or deleted.
    pub files_damaged: u64,
    /// Checkpoints that were replaced by an older copy.
    pub checkpoints_restored: u64,
    /// Batches that a copy of the checkpoint committed.
    pub copies_at_work: u64,
    /// Sinks that were restored to an older version, or that lost staged files.
    pub sinks_worn: u64,
}

impl Faults {
    /// Each kind by name.
    pub fn by_kind(&self) -> [(&'static str, u64); 11] {
        [
            ("deaths", self.deaths),
            ("kills", self.kills),
            ("powerLosses", self.power_losses),
            ("pauses", self.pauses),
            ("answersLost", self.answers_lost),
            ("neverArrived", self.never_arrived),
            ("arrivedLate", self.arrived_late),
            ("filesDamaged", self.files_damaged),
            ("checkpointsRestored", self.checkpoints_restored),
            ("copiesAtWork", self.copies_at_work),
            ("sinksWorn", self.sinks_worn),
        ]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_kind().iter().map(|(_, count)| count).sum()
    }

    /// Ends of runs that no run chose: deaths, kills, and what a power failure took.
    pub fn crashes(&self) -> u64 {
        self.deaths + self.kills + self.power_losses
    }
}

impl std::ops::AddAssign for Faults {
    fn add_assign(&mut self, other: Faults) {
        self.deaths += other.deaths;
        self.kills += other.kills;
        self.power_losses += other.power_losses;
        self.pauses += other.pauses;
        self.answers_lost += other.answers_lost;
        self.never_arrived += other.never_arrived;
        self.arrived_late += other.arrived_late;
        self.files_damaged += other.files_damaged;
        self.checkpoints_restored += other.checkpoints_restored;
        self.copies_at_work += other.copies_at_work;
        self.sinks_worn += other.sinks_worn;
    }
}
