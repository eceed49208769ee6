//! Everything a checkpoint stores, as values with an encoder and a strict decoder.
//!
//! | file | record | whose grammar |
//! |---|---|---|
//! | `metadata` | [`Metadata`] | Spark |
//! | `offsets/N` | [`OffsetsFile`] | Spark, with one more conf key, [`INTENT_KEY`] |
//! | `commits/N` | [`CommitFile`] | Spark |
//! | `sources/<i>/0` | [`SourceStart`] | Spark |
//! | `millstream/identity`, `millstream/identity.<n>` | [`Identity`] | ours |
//! | `millstream/lease/<epoch>` | [`Lease`] | ours |
//! | `millstream/intents/<uuid>` | [`Intent`] | ours |
//! | `millstream/prepared/<N>/<attempt>` | [`Prepared`] | ours |
//! | `millstream/rebuilt` | [`Rebuilt`] | ours |
//! | `millstream/ledger/<N>`, `millstream/ledger/<first>-<last>` | [`LedgerEntry`], [`LedgerSegment`] | ours |
//!
//! Ours have one form (see [`Record`]): a header line with kind and version, one line of JSON, a
//! line with the SHA-256 of everything before it. Every cut and every flipped bit is noticed.
//! Spark's files have no checksum: what their grammar lets one notice is noticed (cuts, doubled
//! keys, wrong types, unknown versions); a changed digit inside `offsets/N` is noticed because
//! the intent that the file names says the same once more.
//!
//! Decoding errors are of kind `Corrupt`: `CHECKPOINT_FILE_TORN` (the file ends too early),
//! `CHECKPOINT_FILE_DAMAGED` (it says something it cannot have said), `CHECKPOINT_VERSION_NEWER`
//! (written by a newer release; kind `Invalid`). Decoders do not know file names; whoever reads a
//! file adds its name with [`crate::Error::context`].

mod frame;
mod identity;
mod intent;
mod lease;
mod ledger;
mod prepared;
mod rebuilt;
mod spark;
mod strict;

pub use frame::Record;
pub use identity::{Difference, Identity};
pub use intent::{Intent, IntentRef};
pub use lease::Lease;
pub use ledger::{LedgerEntry, LedgerSegment, Planner};
pub use prepared::{Metrics, Prepared};
pub use rebuilt::Rebuilt;
pub use spark::{
    CommitFile, Conf, INTENT_KEY, Metadata, OffsetsFile, OffsetsMetadata, SourceStart, hadoop_twin,
};

use crate::error::{Error, ErrorKind};

const CURE: &str = "Run `millstream checkpoint doctor` on the checkpoint: it says what would cure it. A backup of the file does, too.";

/// The file ends before its grammar does.
pub(crate) fn torn(why: impl std::fmt::Display) -> Error {
    Error::corrupt("CHECKPOINT_FILE_TORN", format!("The file is not complete: {why}.")).cure(CURE)
}

/// The file says something that its writer cannot have written.
pub(crate) fn damaged(why: impl std::fmt::Display) -> Error {
    Error::corrupt("CHECKPOINT_FILE_DAMAGED", format!("The file is damaged: {why}.")).cure(CURE)
}

/// The file is whole and of a version that this release does not know.
pub(crate) fn newer(version: u64, known: u64) -> Error {
    Error::new(
        ErrorKind::Invalid,
        "CHECKPOINT_VERSION_NEWER",
        format!(
            "The file has format version v{version}; this release reads versions up to v{known}."
        ),
    )
    .cure("Use the release that wrote the checkpoint, or a newer one.")
}

#[cfg(test)]
mod tests;
