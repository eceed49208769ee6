//! Why a run does not go on, what it means and what to do.

use super::facts::{Damage, SinkFact};
use crate::error::{Error, ErrorKind};
use crate::ids::{AttemptId, BatchId};

/// A refusal: nothing was changed, a person decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the caller can do.
    pub kind: ErrorKind,
    /// Stable code.
    pub code: &'static str,
    /// The sentence of cause.
    pub cause: String,
    /// The sentence of cure.
    pub cure: String,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::new(refusal.kind, refusal.code, refusal.cause).cure(refusal.cure)
    }
}

/// Making the checkpoint anew, which needs an empty directory.
const ANEW: &str = "move this checkpoint away and make it anew from what the tables hold: `millstream checkpoint rebuild --table <table> <checkpoint>`";

/// A batch leaves a table only with its log entry: RESTORE of other engines keeps transaction ids.
const TAKE_OUT: &str = "take the log entry of this batch out of the table that holds it, if it is the newest one (`millstream checkpoint rebuild` names the file; RESTORE would not do: it keeps the transaction id)";

const DOCTOR: &str = "Run `millstream checkpoint doctor` to see what it would repair";

fn refuse(kind: ErrorKind, code: &'static str, cause: String, cure: impl Into<String>) -> Refusal {
    Refusal { kind, code, cause, cure: cure.into() }
}

impl Refusal {
    pub(super) fn damaged(damage: &Damage) -> Self {
        let cure = if damage.kind == ErrorKind::Invalid {
            "Use the release that wrote the checkpoint, or a newer one.".to_owned()
        } else {
            format!("{DOCTOR}, or restore the file from a backup.")
        };
        refuse(damage.kind, damage.code, format!("`{}`: {}", damage.file, damage.why), cure)
    }

    pub(super) fn metadata_missing() -> Self {
        refuse(
            ErrorKind::Corrupt,
            "STREAMING_CHECKPOINT_MISSING_METADATA_FILE",
            "The checkpoint has logs but no `metadata` file; a new query id would write every record again.".into(),
            format!("{DOCTOR}, restore `metadata` from a backup, or choose a new checkpoint location."),
        )
    }

    pub(super) fn hole(missing: &[String]) -> Self {
        refuse(
            ErrorKind::Corrupt,
            "CHECKPOINT_LOG_HOLE",
            format!("The checkpoint's logs have holes: {} missing.", list(missing)),
            format!("{DOCTOR}, or restore the files from a backup."),
        )
    }

    pub(super) fn logs_gone(who: &str) -> Self {
        refuse(
            ErrorKind::DataLoss,
            "CHECKPOINT_LOGS_GONE",
            format!(
                "The checkpoint has no logs (`offsets/0` and every later batch are gone), but {who} holds batches of this query; starting over would write records twice or skip them."
            ),
            format!(
                "Restore the checkpoint from a backup; or {ANEW}; or start over with a new checkpoint and a new table (`millstream run --full-refresh`)."
            ),
        )
    }

    pub(super) fn completion_without_intent(completed: BatchId, newest: Option<BatchId>) -> Self {
        let newest = newest.map_or("none".to_owned(), |n| n.to_string());
        refuse(
            ErrorKind::Corrupt,
            "CHECKPOINT_COMMIT_WITHOUT_OFFSETS",
            format!(
                "`commits/{completed}` exists but the newest file of `offsets` is {newest}: what batch {completed} read is lost."
            ),
            format!("Restore the checkpoint from a backup, or {ANEW}."),
        )
    }

    pub(super) fn completions_missing(newest: BatchId, completed: Option<BatchId>) -> Self {
        let first = completed.map_or(BatchId(0), BatchId::next);
        refuse(
            ErrorKind::Corrupt,
            "CHECKPOINT_COMMITS_MISSING",
            format!(
                "`offsets/{newest}` exists but `commits` lacks batch {first} and later ones before it; more than one batch would be in doubt."
            ),
            format!("{DOCTOR}: if the sink holds those batches, it can write them again."),
        )
    }

    pub(super) fn behind(sink: &str, batch: BatchId, newest: BatchId) -> Self {
        refuse(
            ErrorKind::Conflict,
            "CHECKPOINT_BEHIND_SINK",
            format!(
                "{sink} holds batch {newest} of this query, but the checkpoint ends at batch {batch}: the checkpoint was restored from an older backup, or another run went on elsewhere."
            ),
            format!("Use the newest checkpoint, or {ANEW}."),
        )
    }

    pub(super) fn digest_differs(sink: &str, batch: BatchId) -> Self {
        refuse(
            ErrorKind::Conflict,
            "BATCH_DIGEST_DIFFERS",
            format!(
                "{sink} holds batch {batch} of this query with other contents than the checkpoint names; skipping it would lose records, and repeating it would double them."
            ),
            format!("Use the checkpoint that wrote the table, or {ANEW}."),
        )
    }

    pub(super) fn sink_lost(sink: &str, batch: BatchId) -> Self {
        refuse(
            ErrorKind::DataLoss,
            "SINK_LOST_BATCH",
            format!(
                "The checkpoint says that batch {batch} is complete, but {sink} does not hold it: the table was dropped, replaced or copied back from an older backup, its newest log entries were lost, or its transaction ids have expired."
            ),
            format!(
                "Restore the table's files from a backup; or {ANEW}, and the next run reads the lost batches again, as far as the source still has them; or, if nothing of the table is left, start over with `millstream run --full-refresh`."
            ),
        )
    }

    pub(super) fn left_out(sink: &str, batch: BatchId) -> Self {
        refuse(
            ErrorKind::DataLoss,
            "SINK_LEFT_OUT",
            format!(
                "Batch {batch} is complete, but {sink} does not hold it: another engine, which writes to one table only, has committed it to the flow's other sink. Records of that batch that belong in {sink} are not there."
            ),
            "Go on with the other engine; or start over with `millstream run --full-refresh`. A flow with several sinks cannot be shared with Spark.",
        )
    }

    pub(super) fn mark_missing(sink: &str, batch: BatchId) -> Self {
        refuse(
            ErrorKind::DataLoss,
            "SINK_MARK_MISSING",
            format!(
                "{sink} no longer says whether it holds batch {batch}: its marks have expired."
            ),
            format!("{DOCTOR}; somebody has to say whether the batch arrived."),
        )
    }

    pub(super) fn sinks_disagree<'a>(
        sinks: impl Iterator<Item = &'a SinkFact>,
        batch: BatchId,
    ) -> Self {
        let names: Vec<&str> = sinks.map(|sink| sink.name.as_str()).collect();
        refuse(
            ErrorKind::Corrupt,
            "SINKS_DISAGREE",
            format!(
                "{} hold batch {batch} from different attempts; no attempt can finish it.",
                names.join(" and ")
            ),
            format!("In one of them, {TAKE_OUT}; or start over."),
        )
    }

    pub(super) fn prepared_gone(batch: BatchId, attempt: AttemptId, why: &str) -> Self {
        refuse(
            ErrorKind::DataLoss,
            "PREPARED_GONE",
            format!(
                "Attempt {attempt} of batch {batch} is in one sink and has to be finished in the others, but {why}."
            ),
            format!(
                "Restore `millstream/prepared/{batch}/{attempt}` and its staged files from a backup; or {TAKE_OUT}; then start again."
            ),
        )
    }

    pub(super) fn attempt_unknown(batch: BatchId) -> Self {
        refuse(
            ErrorKind::DataLoss,
            "SINK_ATTEMPT_UNKNOWN",
            format!(
                "A sink holds batch {batch} but no longer says by which attempt, and the batch is not finished everywhere."
            ),
            format!("Either {TAKE_OUT}, and start again; or start over."),
        )
    }

    pub(super) fn order_broken(sink: &str, batch: BatchId) -> Self {
        refuse(
            ErrorKind::Corrupt,
            "SINK_ORDER_BROKEN",
            format!(
                "{sink} lacks batch {batch} although a sink that commits after it holds the batch; its transaction is gone."
            ),
            format!("Either {TAKE_OUT}, and start again; or start over."),
        )
    }

    pub(super) fn state_not_adoptable(batch: BatchId) -> Self {
        refuse(
            ErrorKind::Invalid,
            "CHECKPOINT_STATE_FOREIGN",
            format!(
                "Batch {batch} was committed by another engine, and the query keeps state, which cannot be taken over."
            ),
            "Continue with the engine that wrote the checkpoint, or start with a new one.",
        )
    }
}

fn list(items: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = items.iter().take(SHOWN).map(|i| format!("`{i}`")).collect();
    let more = items.len().saturating_sub(SHOWN);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
