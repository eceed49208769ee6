//! Mistakes of the protocol that a test build makes on purpose, to see that the campaigns notice.
//!
//! Without the feature `planted-mistakes` every [`makes`] is `false` for the compiler, and nothing
//! of this is in the binary.

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// `commits/N` is written before the sinks commit.
    CompleteBeforeSinks,
    /// Rolling forward takes a batch for complete when its first sink has it.
    RollForwardFirstSinkOnly,
    /// A logged batch reads up to the newest records when it is executed again.
    ReadToLatestOnRecovery,
    /// Recovery takes every sink for one that lacks the batch.
    ForgetProbe,
    /// Recovery asks no sink, and the commit does not look whether the batch is there.
    BlindRepeat,
    /// An unclear commit counts as done.
    UnknownIsCommitted,
    /// An unclear commit is repeated without a look.
    UnknownIsAbsent,
    /// Staged files are deleted when a commit is unclear.
    DeleteStagedOnDoubt,
    /// The attempt is sealed after the sinks have committed.
    SealAfterCommit,
    /// `offsets/N` is written before the intent that it names.
    OffsetsBeforeIntent,
    /// `offsets/N` is written over an existing one.
    OverwriteOffsets,
    /// A start deletes sealed attempts.
    PurgeUnfinished,
    /// Every attempt of a batch has the same id.
    ReuseAttemptId,
    /// New names are not forced to the disk.
    ForgetDirectorySync,
    /// New files are not forced to the disk before they get their names.
    ForgetFileSync,
    /// A failed fsync is tried again.
    SyncAgain,
}

impl Mistake {
    /// All of them, with their names.
    pub const ALL: [(&str, Mistake); 16] = [
        ("complete-before-sinks", Mistake::CompleteBeforeSinks),
        ("roll-forward-first-sink-only", Mistake::RollForwardFirstSinkOnly),
        ("read-to-latest-on-recovery", Mistake::ReadToLatestOnRecovery),
        ("forget-probe", Mistake::ForgetProbe),
        ("blind-repeat", Mistake::BlindRepeat),
        ("unknown-is-committed", Mistake::UnknownIsCommitted),
        ("unknown-is-absent", Mistake::UnknownIsAbsent),
        ("delete-staged-on-doubt", Mistake::DeleteStagedOnDoubt),
        ("seal-after-commit", Mistake::SealAfterCommit),
        ("offsets-before-intent", Mistake::OffsetsBeforeIntent),
        ("overwrite-offsets", Mistake::OverwriteOffsets),
        ("purge-unfinished", Mistake::PurgeUnfinished),
        ("reuse-attempt-id", Mistake::ReuseAttemptId),
        ("forget-directory-sync", Mistake::ForgetDirectorySync),
        ("forget-file-sync", Mistake::ForgetFileSync),
        ("sync-again", Mistake::SyncAgain),
    ];
}

#[cfg(feature = "planted-mistakes")]
mod planted {
    use super::Mistake;
    use std::sync::OnceLock;

    static PLANTED: OnceLock<Mistake> = OnceLock::new();

    /// Plants the one mistake of this process; later calls change nothing.
    pub fn plant(mistake: Mistake) {
        let _ = PLANTED.set(mistake);
    }

    /// Whether this process makes `mistake`.
    pub fn makes(mistake: Mistake) -> bool {
        PLANTED.get() == Some(&mistake)
    }
}

#[cfg(feature = "planted-mistakes")]
pub use planted::{makes, plant};

/// Whether this process makes `mistake`: never, without the feature.
#[cfg(not(feature = "planted-mistakes"))]
#[inline(always)]
pub const fn makes(_mistake: Mistake) -> bool {
    false
}
