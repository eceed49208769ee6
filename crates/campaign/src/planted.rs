//! Whether the campaigns notice: a test build of the binary makes one mistake of the protocol on
//! purpose, and some cell must break a promise.

use crate::disk::Disk;
use crate::report::{Cell, Report};
use crate::{Workplace, kills, order, syscalls, zombies};
use millstream_core::planted::Mistake;
use std::time::{Duration, Instant};

/// Characters kept of what a cell found.
const WORDS_MAX: usize = 240;

/// Runs the campaigns against each mistake until one notices. `place` has the test build, which must
/// hold every promise as long as it makes no mistake.
pub fn run(place: &Workplace, disk: &Disk, command: &str) -> Report {
    let begun = Instant::now();
    let control = match notice(place, disk) {
        None => Cell::held("no mistake", "nothing to notice"),
        Some(by) => Cell::violation("no mistake", by),
    };
    let cells = Mistake::ALL.iter().map(|(name, _)| {
        let place = place.making(name);
        match notice(&place, disk) {
            Some(by) => Cell::held(*name, format!("noticed by {by}")),
            None => Cell::violation(*name, "nobody noticed"),
        }
    });
    let cells = [control].into_iter().chain(cells).collect();
    let title = "A test build of the binary makes one mistake of the protocol on purpose; a campaign \
                 must notice. First it makes none.";
    let mut report =
        Report::of("planted-mistakes", title, command, begun.elapsed().as_secs_f64(), cells);
    report.figure("mistakes", Mistake::ALL.len());
    report
}

/// The first cell that breaks a promise, from the cheapest campaign on, and which promise.
fn notice(place: &Workplace, disk: &Disk) -> Option<String> {
    let order = order::run(place, disk, "");
    let broken = order.broken().into_iter().next();
    broken
        .map(|cell| words(&order.name, cell))
        .or_else(|| first_broken("syscalls", &syscalls::doubts(), |cell| cell.run(place, disk)))
        .or_else(|| first_broken("kill-matrix", &kills::matrix(), |cell| cell.run(place)))
        .or_else(|| {
            let zombies = zombies::matrix(Duration::ZERO);
            first_broken("zombies", &zombies, |cell| cell.run(place))
        })
}

fn first_broken<T>(campaign: &str, cells: &[T], run: impl Fn(&T) -> Cell) -> Option<String> {
    // That a place is not reached says nothing about a promise.
    let is_broken = |cell: &Cell| !cell.is_held() && !cell.outcome.contains("was not reached");
    let broken = cells.iter().map(run).find(is_broken)?;
    Some(words(campaign, &broken))
}

fn words(campaign: &str, cell: &Cell) -> String {
    let what = cell.outcome.trim_start_matches("VIOLATION: ");
    let what: String =
        what.chars().take(WORDS_MAX).map(|c| if c == '\n' { ' ' } else { c }).collect();
    format!("{campaign}: {}: {what}", cell.cell)
}
