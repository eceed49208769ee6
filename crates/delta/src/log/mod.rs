//! The table log: its records, its files, and a table's state at one version.

pub(crate) mod actions;
pub(crate) mod checkpoint_read;
pub(crate) mod checkpoint_write;
pub(crate) mod cleanup;
pub(crate) mod entry;
pub(crate) mod files;
mod footer;
pub(crate) mod names;
pub(crate) mod snapshot;
