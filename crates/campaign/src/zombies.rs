//! Zombies: a process is stopped (SIGSTOP) at a fault point, a successor takes the stream over, and
//! the stopped one goes on (SIGCONT) as if nothing had happened.

use crate::lake::Held;
use crate::report::{Cell, Report};
use crate::{Lake, Shape, Workplace, run_cells_on};
use millstream_core::fault::{PLACES, Passes, Place};
use std::time::{Duration, Instant};

/// Exit status of a run that another one has taken over from.
const FENCED: i32 = 6;
/// Cells side by side: they mostly wait.
const SIDE_BY_SIDE: usize = 12;

/// One cell.
#[derive(Debug, Clone)]
pub struct Zombie {
    shape: Shape,
    /// Where the first process is stopped.
    stopped: String,
    /// Where the successor dies; it gets through without.
    successor: Option<&'static str>,
    /// How long the first process is stopped.
    pause: Duration,
}

/// All cells, each stopped for `pause`.
pub fn matrix(pause: Duration) -> Vec<Zombie> {
    let mut cells = Vec::new();
    for shape in Shape::ALL {
        for stopped in PLACES.iter().flat_map(stops) {
            // Gone through; died with a batch logged, sealed, in the first sink, in all of them.
            for successor in [
                None,
                Some("P4:after:1"),
                Some("P9:after:1"),
                Some("P11:inside:1"),
                Some("P11:after:1"),
            ] {
                cells.push(Zombie { shape, stopped: stopped.clone(), successor, pause });
            }
        }
    }
    cells
}

/// In batch 0, which successors purge, and in batch 1; or where a run begins or ends. What only
/// recovery and doubt pass, the successors pass.
fn stops(place: &Place) -> Vec<String> {
    let batches: &[&str] = match place.passes {
        Passes::PerBatch => &[":0", ":1"],
        Passes::OncePerRun => &[""],
        Passes::OnRecovery | Passes::InDoubt => &[],
    };
    batches.iter().map(|batch| format!("{}:{}{batch}", place.step, place.moment)).collect()
}

impl Zombie {
    /// The cell's name.
    pub fn name(&self) -> String {
        let successor =
            self.successor.map_or("gets through".to_owned(), |f| format!("dies at {f}"));
        format!("{} stopped at {}, successor {successor}", self.shape, self.stopped)
    }

    /// Runs it.
    pub fn run(&self, place: &Workplace) -> Cell {
        let lake = place.lake(self.shape);
        match self.check(&lake) {
            Ok(how) => Cell::held(self.name(), how),
            Err(what) => Cell::violation(self.name(), what),
        }
    }

    fn check(&self, lake: &Lake<'_>) -> Result<String, String> {
        let held = Held::at(lake, &self.stopped)?;
        held.signal("STOP");
        let since = Instant::now();
        let result = self.succeed(lake);
        std::thread::sleep(self.pause.saturating_sub(since.elapsed()));
        held.signal("CONT");
        let zombie = held.release();
        result?;
        let how = match zombie.status.and_then(|status| status.code()) {
            Some(FENCED) => zombie.code().unwrap_or_default(),
            Some(0) => "the zombie ended well".to_owned(),
            _ => return Err(format!("the zombie: {}", zombie.words())),
        };
        let last = lake.run(None);
        if !last.is_success() {
            return Err(format!("{how}; the stream did not go on: {}", last.words()));
        }
        // The zombie and its successor may each have left one attempt that came to nothing.
        lake.audit(3).and_then(|()| lake.verify()).map_err(|what| format!("{how}; {what}"))?;
        Ok(how)
    }

    /// A successor is refused while the lock is held; where locks do not reach, it takes over.
    fn succeed(&self, lake: &Lake<'_>) -> Result<(), String> {
        let lock = lake.checkpoint().join("millstream/lock");
        if lock.exists() {
            let refused = lake.run(None);
            if refused.code().as_deref() != Some("CHECKPOINT_IN_USE") {
                return Err(format!("a second process was not refused: {}", refused.words()));
            }
            std::fs::remove_file(&lock).map_err(|e| e.to_string())?;
        }
        let ended = lake.run(self.successor);
        match self.successor {
            None if !ended.is_success() => Err(format!("the successor: {}", ended.words())),
            Some(_) if !ended.was_killed() && !ended.is_success() => {
                Err(format!("the successor: {}", ended.words()))
            }
            _ => Ok(()),
        }
    }
}

/// Runs `cells`.
pub fn run(place: &Workplace, cells: &[Zombie], command: &str) -> Report {
    let begun = Instant::now();
    let outcomes = run_cells_on(SIDE_BY_SIDE, cells, |cell| cell.run(place));
    let title = "A process is stopped with SIGSTOP at each fault point, a successor takes over (the \
                 lock taken away, as where locks do not reach) and gets through or dies, then the \
                 stopped one goes on.";
    let mut report = Report::of("zombies", title, command, begun.elapsed().as_secs_f64(), outcomes);
    let pause = cells.iter().map(|cell| cell.pause.as_secs_f64()).fold(0.0, f64::max);
    report.figure("seconds stopped, at least", pause);
    report
}
