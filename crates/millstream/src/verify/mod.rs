//! `millstream verify`: the audit of a table against the checkpoint that wrote it, apart from the
//! engine's own decisions. It reads and never writes.
//!
//! Three levels, each with its own module, each a function from facts to findings:
//! - [`chain`]: commits follow one another without a repeat or a hole, linked by digest, and say
//!   the same as the checkpoint's ledger;
//! - [`files`]: what a batch added is live, or was removed by an operation that has a name, and
//!   holds as many rows as the ledger says;
//! - [`rows`]: where the table carries topic, partition and offset, no record is there twice, none
//!   lies outside of what was read, and none is missing by what the batches counted.
//!
//! Given brokers, the third level reads the source back as well: [`compare`] holds one batch
//! against what the source still has of it, and against the rows that the pipeline's own plan makes
//! of that (`replay`). Without the pipeline, the records themselves are what is compared.
//!
//! `gather` reads the facts from table and checkpoint (`history`), `source` those of the brokers;
//! [`lives`] tells the lives of a topic apart that was deleted and created again. [`report`] is what people and programs get to see. Deletions and updates by users are notes, not violations.

pub mod chain;
pub mod compare;
pub mod facts;
pub mod files;
mod gather;
mod history;
pub mod lives;
mod place;
pub mod places;
mod replay;
pub mod report;
pub mod rows;
mod source;

pub use gather::{VerifyTarget, verify, verify_with_brokers};
pub use report::{Finding, Level, LevelReport, Report, Severity, Verdict};
pub use source::Brokers;

#[cfg(test)]
mod tests;
