//! Whether the campaigns notice: a test build of the binary makes one mistake of the protocol on
//! purpose, and some cell must break a promise.

use crate::disk::Disk;
use crate::report::{Cell, Report};
use crate::{Workplace, kills, order, syscalls, zombies};
use millstream_core::planted::Mistake;
use std::time::{Duration, Instant};

/// Runs the campaigns against each mistake until one notices. `place` has the test build.
pub fn run(place: &Workplace, disk: &Disk, command: &str) -> Report {
    let begun = Instant::now();
    let cells = Mistake::ALL.iter().map(|(name, _)| {
        let place = place.making(name);
        match notice(&place, disk) {
            Some(by) => Cell::held(*name, format!("noticed by {by}")),
            None => Cell::violation(*name, "nobody noticed"),
        }
    });
    let cells = cells.collect();
    let title = "A test build of the binary makes one mistake of the protocol on purpose; a campaign \
                 must notice.";
    Report::of("planted-mistakes", title, command, begun.elapsed().as_secs_f64(), cells)
}

/// The first cell that breaks a promise, from the cheapest campaign on.
fn notice(place: &Workplace, disk: &Disk) -> Option<String> {
    let order = order::run(place, disk, "");
    if let Some(cell) = order.broken().first() {
        return Some(format!("{}: {}", order.name, cell.cell));
    }
    first_broken("syscalls", &syscalls::doubts(), |cell| cell.run(place, disk))
        .or_else(|| first_broken("kill-matrix", &kills::matrix(), |cell| cell.run(place)))
        .or_else(|| {
            let zombies = zombies::matrix(Duration::ZERO);
            first_broken("zombies", &zombies, |cell| cell.run(place))
        })
}

fn first_broken<T>(campaign: &str, cells: &[T], run: impl Fn(&T) -> Cell) -> Option<String> {
    let broken = cells.iter().map(run).find(|cell| !cell.is_held())?;
    Some(format!("{campaign}: {}", broken.cell))
}
