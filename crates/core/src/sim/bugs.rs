//! Defects that the simulator must notice.

/// One defect of a run, of a sink or of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// Recovery takes every sink for one that lacks the batch.
    SkipProbe,
    /// Recovery takes every digest for the right one.
    IgnoreDigest,
    /// `commits/N` is written before the sinks commit.
    CompleteBeforeSinks,
    /// `commits/N` is written when the first of several sinks has committed.
    CompleteAfterFirstSink,
    /// Nobody looks for a newer claim before committing.
    NoLeaseCheck,
    /// A claim takes the newest epoch instead of the one after it.
    AcceptOlderEpoch,
    /// Every attempt of a batch stages under the same name.
    ReuseAttemptNames,
    /// A batch that some sink holds is executed again for the others.
    ReexecuteInsteadOfRollForward,
    /// Some other sealed attempt is rolled forward than the one that the sinks name.
    AdoptWrongAttempt,
    /// Files of the checkpoint are not synced.
    ForgetFsync,
    /// Files that a dead run left visible but unsynced are trusted as they are.
    NoSettle,
    /// The sink's commit is not synced.
    SinkNotSynced,
    /// Staged files are deleted when the answer of a commit is unclear.
    DeleteStagedOnDoubt,
    /// An unclear commit is repeated without a probe.
    UnknownIsAbsent,
    /// An unclear commit counts as done.
    UnknownIsCommitted,
    /// A sink that is further than the batch counts as holding it.
    SkipByNumberOnly,
    /// `offsets/N` is written over an existing one.
    OverwriteIntent,
    /// `offsets/N+1` is written before `commits/N`.
    PlanBeforeCompletion,
    /// A logged batch is planned anew instead of being executed as logged.
    ReplanOnRecovery,
    /// The attempt is sealed after the sinks have committed.
    SealAfterCommit,
    /// The sink that cannot be rolled forward commits last.
    UnstagedLast,
    /// An unclear transaction is probed without fencing it first.
    ProbeWithoutFencing,
    /// Sealed attempts of the batch in doubt are purged when a run starts.
    PurgeUnfinished,
    /// Completion is reported before `commits/N` is written.
    ReportBeforeDurable,
    /// Staged files are not synced before the attempt is sealed.
    StagedNotSynced,
    /// A run deletes the staged files of attempts that no sink names yet.
    DeleteUnknownAttempts,
    /// Recovery derives where a batch starts, new partitions from their present end, instead of
    /// reading it from the intent.
    RederiveStarts,
    /// A run that comes second with `offsets/N` executes what it had planned itself.
    IgnoreLostRace,
    /// Whatever attempt the sink holds counts as the run's own.
    AnyAttemptIsOurs,
    /// A sink that has the number counts as having this attempt, without a probe.
    AlreadyThereIsOurs,
    /// Recovery takes the first sink's word for all of them.
    AskFirstSinkOnly,
    /// A sink is committed to without looking for the batch in its log.
    CommitWithoutLooking,
    /// An entry of a sink's log is written over an existing one.
    OverwriteSinkEntry,
    /// A damaged checkpoint is thrown away, and a new one begins with batch 0.
    StartAnewOnDamage,
    /// A run looks first and claims then.
    LookBeforeClaim,
    /// A batch that another engine committed counts as not committed.
    UnmarkedIsAbsent,
    /// `offsets/N` is written before the intent that it names.
    OffsetsBeforeIntent,
    /// A batch in doubt that no sink holds is left alone, and the next one is planned.
    AbandonInDoubt,
    /// A run that starts reads from the beginning, whatever the log says.
    PositionsFromEarliest,
    /// A roll-forward commits to one sink and completes.
    RollForwardOneSink,
    /// An attempt is not sealed if another one of the batch is.
    OneSealPerBatch,
    /// The sealed attempt is deleted when the first of several sinks has committed.
    UnsealAfterFirstSink,
    /// The newest completion is purged with the older ones.
    PurgeNewestCompletion,
    /// Nobody looks past files that a run created again after their batch was purged.
    TrustEveryFile,
    /// The ledger is purged as early as the files of its batches.
    PurgeHistory,
    /// The purge keeps one batch less than it should: the one that says where the next begins may
    /// go.
    PurgeOneTooMany,
    /// The purge goes from new to old, so that an interrupted one leaves a hole.
    PurgeNewToOld,
    /// Of several files that are purged at once, none is synced away before the next goes.
    PurgeUnsynced,
    /// A purge takes the sealed attempts of batches after its own, too.
    PurgeNewerAttempts,
}

impl PlantedBug {
    /// All of them.
    pub const ALL: [PlantedBug; 49] = [
        PlantedBug::SkipProbe,
        PlantedBug::IgnoreDigest,
        PlantedBug::CompleteBeforeSinks,
        PlantedBug::CompleteAfterFirstSink,
        PlantedBug::NoLeaseCheck,
        PlantedBug::AcceptOlderEpoch,
        PlantedBug::ReuseAttemptNames,
        PlantedBug::ReexecuteInsteadOfRollForward,
        PlantedBug::AdoptWrongAttempt,
        PlantedBug::ForgetFsync,
        PlantedBug::NoSettle,
        PlantedBug::SinkNotSynced,
        PlantedBug::DeleteStagedOnDoubt,
        PlantedBug::UnknownIsAbsent,
        PlantedBug::UnknownIsCommitted,
        PlantedBug::SkipByNumberOnly,
        PlantedBug::OverwriteIntent,
        PlantedBug::PlanBeforeCompletion,
        PlantedBug::ReplanOnRecovery,
        PlantedBug::SealAfterCommit,
        PlantedBug::UnstagedLast,
        PlantedBug::ProbeWithoutFencing,
        PlantedBug::PurgeUnfinished,
        PlantedBug::ReportBeforeDurable,
        PlantedBug::StagedNotSynced,
        PlantedBug::DeleteUnknownAttempts,
        PlantedBug::RederiveStarts,
        PlantedBug::IgnoreLostRace,
        PlantedBug::AnyAttemptIsOurs,
        PlantedBug::AlreadyThereIsOurs,
        PlantedBug::AskFirstSinkOnly,
        PlantedBug::CommitWithoutLooking,
        PlantedBug::OverwriteSinkEntry,
        PlantedBug::StartAnewOnDamage,
        PlantedBug::LookBeforeClaim,
        PlantedBug::UnmarkedIsAbsent,
        PlantedBug::OffsetsBeforeIntent,
        PlantedBug::AbandonInDoubt,
        PlantedBug::PositionsFromEarliest,
        PlantedBug::RollForwardOneSink,
        PlantedBug::OneSealPerBatch,
        PlantedBug::UnsealAfterFirstSink,
        PlantedBug::PurgeNewestCompletion,
        PlantedBug::TrustEveryFile,
        PlantedBug::PurgeHistory,
        PlantedBug::PurgeOneTooMany,
        PlantedBug::PurgeNewToOld,
        PlantedBug::PurgeUnsynced,
        PlantedBug::PurgeNewerAttempts,
    ];
}
