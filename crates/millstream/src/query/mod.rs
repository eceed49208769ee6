//! Running queries: the batch loop, recovery, triggers, progress and the handle.
//!
//! * `run`: the loop as prose; start reading there
//! * `recover`: what the last run left; `batch`: one batch from execution to completion
//! * `evolution`: what may change between two runs; `pace`: triggers; `progress`: reports
//! * `assemble`: from a checked plan to a flow; `flow`: what a query needs; `handle`: what the program holds of it

pub(crate) mod assemble;
mod batch;
mod evolution;
pub(crate) mod flow;
mod handle;
mod pace;
mod progress;
mod recover;
mod run;
mod start;

pub(crate) use evolution::changes;
pub use handle::{ProgressListener, StreamingQuery};
pub(crate) use start::start;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod under_fire;
