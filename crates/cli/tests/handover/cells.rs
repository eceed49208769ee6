//! The states in which one engine may leave a batch, and what the other made of them.

use crate::lake::Lake;
use millstream_core::fault::{PLACES, Passes, Place};
use serde_json::{Value, json};
use std::io::Write as _;

/// The name of a fault point.
pub fn name(place: &Place) -> String {
    format!("{}:{}", place.step, place.moment)
}

/// The fault points that a run passes without a fault before it, in their order. At those before
/// `P4:after` nothing is fixed yet; from `P13:after` on the batch is complete. Left out are those
/// of a start after a death (P5) and of an unclear answer (P12), see [`points_of_anothers`].
pub fn points() -> Vec<String> {
    let by_itself = |p: &&Place| matches!(p.passes, Passes::PerBatch | Passes::OncePerRun);
    PLACES.iter().filter(by_itself).map(name).collect()
}

/// The part of them that a plain test run takes: one of each state that can be told apart on disk.
pub const DECISIVE: [&str; 5] = ["P4:inside", "P4:after", "P9:after", "P11:inside", "P13:inside"];

/// Fault points of a batch that another engine has planned: from the question to the sink on, which
/// only a start after a death asks, to its completion. One sink has no second one to be asked
/// (`P5:inside`), and no answer is unclear here (P12).
pub fn points_of_anothers() -> Vec<String> {
    let names = PLACES.iter().filter(|p| p.passes != Passes::InDoubt).map(name);
    let from = names.skip_while(|name| name != "P5:before").filter(|name| name != "P5:inside");
    from.take_while(|name| name != "P14:before").collect()
}

/// Whether everything is run, and not only the part that a plain test run takes.
pub fn is_full() -> bool {
    std::env::var("MILLSTREAM_INTEROP").is_ok_and(|v| v == "full")
}

/// What the checkpoint and the table say of the newest batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing: the newest batch that was planned is complete.
    Settled,
    /// Planned, and not in the table.
    Planned,
    /// In the table, and not complete.
    Committed,
}

/// What one engine left, looked at before the other takes over.
pub struct Before {
    pub left: Left,
    batch: Option<u64>,
    planned: Option<Vec<u8>>,
    in_table: usize,
}

impl Before {
    pub fn of(lake: &Lake) -> Before {
        let (newest, completed) = lake.newest();
        let batches = lake.entries();
        let left = match newest {
            batch if batch == completed => Left::Settled,
            Some(batch) if batches.iter().any(|b| b.batch == batch) => Left::Committed,
            _ => Left::Planned,
        };
        let planned = newest.and_then(|batch| lake.planned(batch));
        Before { left, batch: newest, planned, in_table: batches.len() }
    }

    /// What became of it, in words. `offsets/N` is as it was, and the batch is complete.
    pub fn after(&self, lake: &Lake, when: &str) -> String {
        let (newest, completed) = lake.newest();
        assert_eq!(newest, completed, "{when}: the newest batch is not complete");
        let batches = lake.entries();
        let more = batches.len() - self.in_table;
        let Some(batch) = self.batch else {
            assert!(more > 0, "{when}: nothing was done");
            return format!("nothing was planned; {more} batches followed");
        };
        assert_eq!(lake.planned(batch), self.planned, "{when}: offsets/{batch} was changed");
        let found = batches.iter().find(|b| b.batch == batch);
        let by = match found.unwrap_or_else(|| panic!("{when}: batch {batch} is gone")).ours {
            true => "Millstream",
            false => "Spark",
        };
        match self.left {
            Left::Settled => format!("nothing was in doubt; {more} batches followed"),
            Left::Planned => format!("executed by {by} as planned; {} more followed", more - 1),
            Left::Committed => format!("{by}'s commit was kept; {more} more followed"),
        }
    }
}

/// Writes down one cell of the matrix: to standard output, and to the file that
/// `MILLSTREAM_INTEROP_CELLS` names.
pub fn record(cell: &str, outcome: &str) {
    println!("{cell}: {outcome}");
    if let Some(path) = std::env::var_os("MILLSTREAM_INTEROP_CELLS") {
        let line: Value = json!({ "cell": cell, "outcome": outcome });
        let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}
