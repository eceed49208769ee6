//! The kill matrix: the process ends at each fault point, in the first, a middle and the last
//! batch, with one table and with dead letters; then the stream goes on.

use crate::lake::BATCHES;
use crate::report::{Cell, Report};
use crate::{Lake, Shape, Workplace, run_cells};
use millstream_core::fault::{PLACES, Passes, Place};
use std::time::Instant;

/// One cell: runs that each die at a fault point, one after another.
#[derive(Debug, Clone)]
pub struct Kill {
    shape: Shape,
    /// The faults, the first one on an empty lake.
    faults: Vec<String>,
}

/// All cells, in order.
pub fn matrix() -> Vec<Kill> {
    let mut cells = Vec::new();
    for shape in Shape::ALL {
        for place in PLACES {
            for faults in scripts(place, shape) {
                cells.push(Kill { shape, faults });
            }
        }
    }
    cells
}

/// How a place is reached: at the start of a stream, in its middle, at its end. What a run passes
/// only once is reached in the middle and at the end by runs that go on after a crash, and what only
/// recovery passes needs a batch that is in doubt.
fn scripts(place: &Place, shape: Shape) -> Vec<Vec<String>> {
    let name = format!("{}:{}", place.step, place.moment);
    let (first, middle, last) = (0, BATCHES / 2, BATCHES - 1);
    let doubt = |step: &str, batch: u64| format!("{step}:after:{batch}");
    match place.passes {
        Passes::PerBatch => {
            [first, middle, last].map(|batch| vec![format!("{name}:{batch}")]).to_vec()
        }
        Passes::OncePerRun => {
            let mut scripts = vec![vec![name.clone()]];
            for batch in [first, middle, last] {
                for step in ["P4", "P9", "P11"] {
                    scripts.push(vec![doubt(step, batch), name.clone()]);
                }
            }
            scripts
        }
        // One sink has no second one to be asked.
        Passes::OnRecovery if name == "P5:inside" && shape == Shape::Table => Vec::new(),
        Passes::OnRecovery => {
            let mut scripts = Vec::new();
            for batch in [first, middle, last] {
                for step in ["P4", "P9", "P11", "P13"] {
                    scripts.push(vec![doubt(step, batch), name.clone()]);
                }
            }
            scripts
        }
        // An unclear answer is not made by ending the process: `syscalls` and `zombies` reach it.
        Passes::InDoubt => Vec::new(),
    }
}

impl Kill {
    /// The cell's name.
    pub fn name(&self) -> String {
        format!("{} {}", self.shape, self.faults.join(" then "))
    }

    /// Runs it once.
    pub fn run(&self, place: &Workplace) -> Cell {
        let lake = place.lake(self.shape);
        match self.check(&lake) {
            Ok(()) => Cell::held(self.name(), "killed, gone on, every record once"),
            Err(what) => Cell::violation(self.name(), what),
        }
    }

    fn check(&self, lake: &Lake<'_>) -> Result<(), String> {
        for fault in &self.faults {
            let ended = lake.run(Some(fault));
            let reached = ended.stderr.contains(&format!("fault point {fault} reached"));
            if !ended.was_killed() || !reached {
                return Err(format!("{fault} was not reached: {}", ended.words()));
            }
        }
        let ended = lake.run(None);
        if !ended.is_success() {
            return Err(format!("the stream did not go on: {}", ended.words()));
        }
        lake.audit(self.faults.iter().filter(|fault| wastes_an_attempt(fault)).count())?;
        lake.verify()
    }
}

/// Whether a run that dies there may leave an attempt that comes to nothing (I10): it has begun one,
/// and no sink has it yet. An attempt that a sink has is rolled forward, never made again.
fn wastes_an_attempt(fault: &str) -> bool {
    let mut parts = fault.split(':');
    let (step, moment) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match step {
        "P6" | "P7" | "P8" | "P9" | "P10" => true,
        // Inside, the first sink may have it: that of the dead letters, where there are any.
        "P11" => moment == "before",
        _ => false,
    }
}

/// Runs `cells`, each `repeat` times.
pub fn run(place: &Workplace, cells: &[Kill], repeat: usize, command: &str) -> Report {
    let begun = Instant::now();
    let all: Vec<&Kill> = cells.iter().flat_map(|cell| vec![cell; repeat]).collect();
    let outcomes = run_cells(&all, |cell| cell.run(place));
    let kills: usize = all.iter().map(|cell| cell.faults.len()).sum();
    // One line for a cell, however often it ran: the worst of its outcomes.
    let kept = outcomes
        .chunks(repeat)
        .filter_map(|runs| runs.iter().find(|cell| !cell.is_held()).or(runs.first()).cloned())
        .collect();
    let title = "The real binary ends at each fault point of the protocol (P0 to P16: before, \
                 inside, after), in the first, a middle and the last batch, with one table and with \
                 dead letters.";
    let mut report = Report::of("kill-matrix", title, command, begun.elapsed().as_secs_f64(), kept);
    report.figure("runs of a cell", repeat);
    report.figure("kills", kills);
    report
}
