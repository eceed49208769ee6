//! `millstream verify`: the audit of a table against the checkpoint that wrote it, apart from the
//! engine's own decisions. It reads and never writes.
//!
//! Three levels, each with its own module, each a function from facts to findings:
//! - [`chain`]: commits follow one another without a repeat or a hole, linked by digest, and say
//!   the same as the checkpoint's ledger;
//! - [`files`]: what a batch added is live, or was removed by an operation that has a name, and
//!   holds as many rows as the ledger says;
//! - [`rows`]: where the table carries topic, partition and offset, no record is there twice, none
//!   lies outside of what was read, and none is missing where one record makes one row.
//!
//! `gather` reads the facts from table and checkpoint; [`report`] is what people and programs
//! get to see. Deletions and updates by users are notes, not violations.

pub mod chain;
pub mod facts;
pub mod files;
mod gather;
mod place;
pub mod report;
pub mod rows;

pub use gather::{VerifyTarget, verify};
pub use report::{Finding, Level, LevelReport, Report, Severity, Verdict};

#[cfg(test)]
mod tests;
