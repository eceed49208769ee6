//! The Delta table log: open, probe, commit, conflict rules, schema rules, data files,
//! checkpoints.
//!
//! The log is read and written by this crate alone, on its own records of the actions; a commit
//! costs the same at version ten and at version ten million, because nothing is kept that grows
//! with the table. Tables lie on local disks.
//!
//! * [`DeltaSink`]: plans a write, hands out [`DeltaWriter`]s, commits what they staged.
//! * [`DeltaTable`]: reads a table's state, live files and commits.
//! * [`store_assignment`]: which values Spark converts when it stores them.
//!
//! Invariants: an entry is created exclusively, directly above the newest entry that was just
//! looked at; a data file is durable before an entry names it; a feature that is not implemented
//! is refused by name before anything is written; a damaged entry is named and never skipped.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod commit;
mod features;
mod log;
mod maintenance;
mod mark;
mod options;
mod plan;
mod properties;
mod schema;
mod sink;
mod table;
mod write;

pub use log::actions::{
    AddFile, DeletionVector, Format, Metadata, PartitionValues, Protocol, RemoveFile, Txn,
};
pub use log::entry::CommitEntry;
pub use log::files::{LocalLog, LogFiles, Stamp};
pub use mark::MARK_SUFFIX;
pub use options::{DeltaSinkOptions, table_path};
pub use plan::ColumnSource;
pub use schema::{Conversion, store_assignment};
pub use sink::{DeltaSink, StageInfo, staged_is_complete};
pub use table::DeltaTable;
pub use write::{DeltaWriter, OPEN_FILES_MAX};
