//! Durable create-once files, locks and listings under checkpoints and table logs.
//!
//! What is stored is not known here. The promises are about *when*: [`Store::create`] answers
//! [`Created::Created`] only after the file and its directory entry are durable, exactly one
//! creator of a path ever gets that answer, and no reader ever sees half a file.
//!
//! * [`Store`]: what a checkpoint needs of a place to keep files.
//! * [`LocalStore`]: a directory of a local disk. [`MemoryStore`]: for tests and learning.
//! * [`durable`]: the same steps as plain functions, for table logs that manage their own paths.
//! * [`FileLock`]: refuses a second process at once.
//! * [`conformance`]: what any implementation of [`Store`] has to pass.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod conformance;
pub mod durable;
mod failure;
mod local;
mod lock;
mod memory;
mod path;
mod store;

pub use durable::Access;
pub use failure::{Operation, io_error};
pub use local::LocalStore;
pub use lock::FileLock;
pub use memory::MemoryStore;
pub use path::check_path;
pub use store::{Created, Locked, Store};
