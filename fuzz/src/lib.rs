//! What the fuzz targets share, and their bodies: `targets/<name>.rs` only hands the input over.
//!
//! A target that panics, takes too long or takes too much memory has found something. Every body
//! asserts more than the absence of panics wherever there is something to assert.

pub mod checkpoint_files;
pub mod delta_checkpoint;
pub mod delta_log;
pub mod input;
pub mod json_decode;
pub mod json_functions;
pub mod kafka_answers;
pub mod memory;
pub mod options;
pub mod schemas;
pub mod sql_scripts;
pub mod text_values;
pub mod topic_patterns;
pub mod values;
pub mod wire_batches;

use millstream_core::{Error, ErrorKind};

/// An error that outside bytes caused must not say that it is our bug, and must say something.
pub fn check_error(error: &Error) {
    assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
    assert!(!error.code().is_empty() && !error.message().is_empty());
}
