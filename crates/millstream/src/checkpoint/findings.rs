//! What a doctor looks at beyond the newest batch: the identity, the ledger, the pinned starts, and
//! whether all files belong to one query. Recovery decides without them; the next start, the next
//! batch or `verify` would stumble over them.

use super::batches::read_logged;
use super::{look, twins};
use millstream_core::contract::{Position, Sink};
use millstream_core::ids::{BatchId, Epoch, QueryId};
use millstream_core::log::{
    Identity, Intent, LedgerEntry, LedgerSegment, Planner, Rebuilt, Record, SourceStart,
};
use millstream_core::protocol::{Finding, Repair, Scan, paths};
use millstream_core::{Error, Result};
use millstream_store::Store;
use serde_json::Value;

/// The newest identity, or why it cannot be believed.
pub(super) struct Known {
    /// Its path, where there is one.
    path: Option<String>,
    /// What it says.
    pub(super) identity: Option<std::result::Result<Identity, Error>>,
    /// Whether an older revision is whole.
    older_is_whole: bool,
    /// Whose batches the checkpoint has, by the newest of them that says so.
    batches_of: Option<QueryId>,
}

/// Reads the identities.
///
/// # Errors
/// What the store says.
pub(super) async fn identity(store: &dyn Store, scan: &Scan) -> Result<Known> {
    let names = store.list(paths::OURS).await?;
    let mut revisions: Vec<u64> =
        names.iter().filter_map(|name| paths::identity_revision(name)).collect();
    revisions.sort_unstable();
    let batches_of = batches_of(store, scan).await?;
    let mut known = Known { path: None, identity: None, older_is_whole: false, batches_of };
    for revision in revisions.into_iter().rev() {
        let path = paths::identity(revision);
        let Some(bytes) = store.read(&path).await? else { continue };
        let decoded = Identity::decode(&bytes);
        if known.path.is_none() {
            known.path = Some(path);
            known.identity = Some(decoded);
        } else {
            known.older_is_whole |= decoded.is_ok();
        }
    }
    Ok(known)
}

/// The query that the newest intent names; or, where there is none, that of the newest entry of the
/// ledger, or of the table that the checkpoint was made anew from.
async fn batches_of(store: &dyn Store, scan: &Scan) -> Result<Option<QueryId>> {
    let newest = scan.newest_offsets();
    if let Some(intent) = newest.and_then(|newest| scan.intent(newest).ok().flatten()) {
        return Ok(Some(intent.query));
    }
    for batch in paths::numbers(&store.list(paths::LEDGER).await?).into_iter().rev() {
        let bytes = store.read(&paths::ledger(BatchId(batch))).await?;
        if let Some(entry) = bytes.and_then(|bytes| LedgerEntry::decode(&bytes).ok()) {
            return Ok(Some(entry.query));
        }
    }
    let bytes = store.read(paths::REBUILT).await?;
    Ok(bytes.and_then(|bytes| Rebuilt::decode(&bytes).ok()).map(|rebuilt| rebuilt.query))
}

impl Known {
    /// An identity of another query than the one of `metadata` and of the batches.
    fn stranger(&self, scan: &Scan) -> Option<&Identity> {
        let named = scan.metadata().ok().flatten()?.id;
        self.whole().filter(|known| known.query != named && self.batches_of == Some(named))
    }

    /// The identity, if it is whole and not of another query: it names the tables.
    pub(super) fn of_this_query(&self, scan: &Scan) -> Option<&Identity> {
        self.whole().filter(|_| self.stranger(scan).is_none())
    }

    /// Tables that are not those that the identity knows by their ids.
    pub(super) fn replaced(&self, scan: &Scan, sinks: &[&dyn Sink]) -> Option<Finding> {
        let known = self.of_this_query(scan).filter(|known| known.sinks.len() == sinks.len())?;
        let replaced: Vec<String> = std::iter::zip(&known.sinks, sinks)
            .filter_map(|(then, sink)| {
                let (then, now) = (then.get("tableId")?, sink.identity());
                let now = now.get("tableId").unwrap_or(&Value::Null);
                let differs = !then.is_null() && then != now;
                differs
                    .then(|| format!("{} has the table id {now}, and had {then}", sink.describe()))
            })
            .collect();
        let what = format!("{}.", replaced.join("; "));
        let advice = "The table was dropped, replaced, or its log is damaged: restore it from a \
                      backup, or start the table over with `millstream run --full-refresh`.";
        (!replaced.is_empty()).then(|| Finding::new("QUERY_CHANGED", what, advice))
    }

    /// The identity, if it is whole.
    pub(super) fn whole(&self) -> Option<&Identity> {
        self.identity.as_ref()?.as_ref().ok()
    }

    /// A damaged identity. It only guards against another query on this checkpoint, so that it may
    /// be set aside where something else still guards: an older revision, or the plan that the
    /// newest intent names.
    pub(super) fn finding(&self, scan: &Scan) -> Option<Finding> {
        if let (Some(path), Some(stranger)) = (&self.path, self.stranger(scan)) {
            let what = format!("`{path}` belongs to query {}, not to this one.", stranger.query);
            let advice = "`metadata` and the batches agree on the query's id: without this file the \
                          next start compares the query with what is left of its own.";
            let set_aside = Repair::SetAside { path: path.clone() };
            return Some(Finding::new("QUERY_CHANGED", what, advice).repaired_by([set_aside]));
        }
        let (Some(path), Some(Err(error))) = (&self.path, &self.identity) else { return None };
        let what = format!("`{path}`: {}", error.message());
        let newest = scan.newest_offsets();
        let guarded = newest.is_some_and(|n| matches!(scan.intent(n), Ok(Some(_))));
        let set_aside = Repair::SetAside { path: path.clone() };
        Some(if self.older_is_whole {
            let advice = "An older revision is whole: the next start compares the query with that, \
                          and stores what was added since once more.";
            Finding::new(error.code(), what, advice).repaired_by([set_aside])
        } else if guarded {
            let advice = "Without it the next start compares the query with the plan that the \
                          newest intent names, refuses another one, and stores the identity anew.";
            Finding::new(error.code(), what, advice).repaired_by([set_aside])
        } else {
            let advice = format!(
                "Nothing else here says which query this is: restore the file from a backup. If \
                 you are sure that the query has not changed, move `{path}` away yourself; the \
                 next start stores it anew and cannot compare."
            );
            Finding::new(error.code(), what, advice)
        })
    }
}

/// The id that the files agree on where `metadata` has another one.
pub(super) fn other_owner(scan: &Scan, known: &Known) -> Option<(QueryId, QueryId)> {
    let named = scan.metadata().ok().flatten()?.id;
    let identity = known.whole().map(|identity| identity.query);
    let owner = match (identity, known.batches_of) {
        (Some(a), Some(b)) if a != b => return None,
        (a, b) => a.or(b)?,
    };
    (owner != named).then_some((named, owner))
}

/// Every file of the ledger that is not what its name says, with what can be put in its place.
///
/// # Errors
/// What the store says.
pub(super) async fn ledger(
    store: &dyn Store,
    scan: &Scan,
    query: Option<QueryId>,
) -> Result<Vec<Finding>> {
    let names = store.list(paths::LEDGER).await?;
    let mut findings = Vec::new();
    for (first, last) in names.iter().filter_map(|name| paths::segment_range(name)) {
        let path = paths::ledger_segment(first, last);
        let Some(bytes) = store.read(&path).await? else { continue };
        if let Err(error) = LedgerSegment::decode(&bytes) {
            findings.push(forgotten(&path, &error, &format!("batches {first} to {last}")));
        }
    }
    for batch in paths::numbers(&names).into_iter().map(BatchId) {
        let path = paths::ledger(batch);
        let Some(bytes) = store.read(&path).await? else { continue };
        let Err(error) = LedgerEntry::decode(&bytes).and_then(|e| belongs(&e, batch, query)) else {
            continue;
        };
        let intent = match query {
            Some(query) => read_logged(store, query, batch)
                .await
                .ok()
                .and_then(|l| l.intent.map(|i| (i, l.digest))),
            None => None,
        };
        findings.push(match intent {
            _ if scan.newest_commits().is_none_or(|completed| batch > completed) => {
                let advice =
                    format!("Batch {batch} is not complete: its completion writes it again.");
                damaged(&path, &error, &advice).repaired_by([Repair::Delete { path }])
            }
            Some((intent, digest)) => {
                let advice = format!(
                    "The intent of batch {batch} says the same, but for the counts of rows: \
                     `verify` then cannot compare those of this batch."
                );
                let entry = Box::new(from_intent(intent, digest));
                damaged(&path, &error, &advice)
                    .repaired_by([Repair::Delete { path }, Repair::WriteLedger { entry }])
            }
            None => forgotten(&path, &error, &format!("batch {batch}")),
        });
    }
    Ok(findings)
}

fn damaged(path: &str, error: &Error, advice: &str) -> Finding {
    Finding::new(error.code(), format!("`{path}`: {}", error.message()), advice)
}

fn forgotten(path: &str, error: &Error, what: &str) -> Finding {
    let advice = format!(
        "Only `verify` reads it, and its intent is purged: restore it from a backup, or delete it; \
         `verify` then says that it cannot tell about {what}."
    );
    damaged(path, error, &advice).repaired_by([Repair::Delete { path: path.to_owned() }])
}

fn belongs(entry: &LedgerEntry, batch: BatchId, query: Option<QueryId>) -> Result<()> {
    if entry.batch == batch && query.is_none_or(|query| entry.query == query) {
        return Ok(());
    }
    Err(Error::corrupt("CHECKPOINT_FILE_DAMAGED", "It is the history of another batch or query."))
}

fn from_intent(intent: Intent, digest: millstream_core::ids::Digest) -> LedgerEntry {
    LedgerEntry {
        query: intent.query,
        batch: intent.batch,
        digest,
        previous: intent.previous,
        planner: Planner::Millstream,
        attempt: None,
        epoch: intent.epoch,
        batch_time_ms: intent.batch_time_ms,
        sources: intent.sources,
        rows_in: None,
        rows_out: None,
    }
}

/// A claim with the last of all numbers: epochs count up by one, so nobody has made it.
pub(super) fn last_claim() -> Error {
    let path = paths::lease(Epoch(u64::MAX));
    Error::corrupt(
        "CHECKPOINT_FILE_DAMAGED",
        format!("`{path}` is no claim that a run has made, and none can follow it."),
    )
    .cure("Run `millstream checkpoint doctor`, which can delete it.")
}

/// The finding for [`last_claim`].
pub(super) fn claims(scan: &Scan) -> Option<Finding> {
    let epoch = scan.newest_epoch().filter(|epoch| epoch.0 == u64::MAX)?;
    let error = last_claim();
    let advice = "Claims count up by one: no run has made this one.";
    let repair = Repair::Delete { path: paths::lease(epoch) };
    Some(Finding::new(error.code(), error.message(), advice).repaired_by([repair]))
}

/// Damaged starting positions.
///
/// # Errors
/// What the store says.
pub(super) async fn starts(store: &dyn Store, scan: &Scan) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let newest = scan.newest_offsets();
    let ends: Vec<Option<Position>> =
        newest.and_then(|n| scan.offsets(n).ok()).map(|o| o.sources).unwrap_or_default();
    for index in paths::numbers(&store.list(paths::SOURCES).await?) {
        let path = format!("{}/{index}/0", paths::SOURCES);
        let Some(bytes) = store.read(&path).await? else { continue };
        let Err(error) = SourceStart::decode(&bytes) else { continue };
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let passed = ends.get(at).is_some_and(Option::is_some) && scan.newest_commits().is_some();
        findings.push(if passed {
            let advice = "A batch with offsets of this source is complete: nothing reads it again.";
            damaged(&path, &error, advice).repaired_by([Repair::Delete { path }])
        } else {
            let advice = "The first batch starts there: restore it from a backup, or start over \
                          with a new checkpoint.";
            damaged(&path, &error, advice)
        });
    }
    Ok(findings)
}

/// Checksum files that do not belong to their files.
///
/// # Errors
/// What the store says.
pub(super) async fn twins(store: &dyn Store, known: &Known) -> Result<Vec<Finding>> {
    let misfits = twins::misfits(store, known.batches_of).await?;
    let finding = |misfit: twins::Misfit| {
        let path = misfit.path;
        let finding = match misfit.refused {
            Some(file) => Finding::refused(&twins::damaged(&file, &path)),
            None => {
                let what = format!("`{path}` is stale: it does not belong to the file beside it.");
                let advice = "Nothing needs it: what the file says is written elsewhere as well, or \
                              there is no such file. Spark refuses a file with a twin of other \
                              bytes.";
                Finding::new("CHECKPOINT_TWIN_STALE", what, advice)
            }
        };
        finding.repaired_by(misfit.is_stale.then_some(Repair::Delete { path }))
    };
    Ok(misfits.into_iter().map(finding).collect())
}

/// What recovery would read after its decision: the batch it stands after, and the one in doubt.
///
/// # Errors
/// What the run would stop with.
pub(super) async fn standing(store: &dyn Store, scan: &Scan, query: QueryId) -> Result<()> {
    let newest = scan.newest_offsets();
    let done = super::standing_after(newest, scan.newest_commits());
    if let Some(done) = done {
        read_logged(store, query, done).await?;
        super::batches::read_completion(store, done).await?;
    }
    match newest.filter(|newest| Some(*newest) != done) {
        Some(in_doubt) => read_logged(store, query, in_doubt).await.map(|_| ()),
        None => Ok(()),
    }
}

/// Sentences for everything that [`identity`], [`twins`], [`ledger`] and [`starts`] find.
///
/// # Errors
/// What the store says.
pub(super) async fn sentences(store: &dyn Store, scan: &Scan) -> Result<Vec<String>> {
    let known = identity(store, scan).await?;
    let query = look::query_id(store).await.ok().flatten();
    let mut findings: Vec<Finding> = known.finding(scan).into_iter().collect();
    findings.extend(twins(store, &known).await?);
    findings.extend(ledger(store, scan, query).await?);
    findings.extend(starts(store, scan).await?);
    let mut sentences: Vec<String> = findings.into_iter().map(|f| f.what).collect();
    if let Some((named, owner)) = other_owner(scan, &known) {
        sentences
            .push(format!("`metadata` has the id {named}; the other files belong to {owner}."));
    }
    Ok(sentences)
}
