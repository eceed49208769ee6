//! Dev-only: campaigns of faults against the real binary.
//!
//! A campaign is a list of cells. A cell takes a small stream (a [`Lake`]), makes one thing go
//! wrong while the binary works on it, starts the binary again without faults until the stream is
//! through, and holds the tables against the topic. What it found is a [`report::Report`].
//!
//! * [`kills`]: the process ends at each fault point of the protocol, in the first, a middle and
//!   the last batch.
//! * [`damage`]: every file of a checkpoint is cut, flipped, missing, swapped or foreign.
//! * [`syscalls`]: the n-th call that changes the disk kills the process, or fails.
//! * [`zombies`]: a stopped process goes on after a successor has taken over.
//! * [`order`]: everything is forced to the disk before something else builds on it.
//! * [`planted`]: a build that makes mistakes on purpose, and whether the campaigns notice.
//!
//! `bash scripts/prove.sh` runs them whole; `crates/cli/tests/campaigns.rs` a fixed part.
// Everything here runs in tests only, where a panic is the answer to a broken promise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::missing_panics_doc
)]

pub mod damage;
pub mod disk;
pub mod kills;
mod lake;
pub mod order;
pub mod planted;
mod reader;
pub mod report;
pub mod syscalls;
pub mod zombies;

pub use lake::{Ended, Held, Lake, Shape, Topic, Workplace, run_cells, run_cells_on};
pub use reader::TableReader;
