//! `millstream checkpoint doctor`: what is wrong, what would cure it, and, if asked, the cure.

use super::facts::{facts, newest_in};
use super::{findings, lock, look, twins};
use millstream_core::contract::Sink;
use millstream_core::ids::{BatchId, Epoch, QueryId};
use millstream_core::log::{CommitFile, Metadata, Record};
use millstream_core::protocol::{
    Diagnosis, Evidence, Finding, Repair, Scan, decide, diagnose, paths,
};
use millstream_core::{Error, Result};
use millstream_store::{Created, Store};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Rounds of repairs: one repair may bring another finding to light.
const ROUNDS_MAX: usize = 8;

/// Whether the doctor may change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Say what would be done.
    Describe,
    /// Do it.
    Apply,
}

/// What the doctor found, and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Doctor {
    /// Where the checkpoint is.
    pub place: String,
    /// The sinks that were asked for evidence, in the order of their commits.
    pub witnesses: Vec<Witness>,
    /// What was wrong when the doctor came; for [`Treatment::Describe`], what is wrong.
    pub findings: Vec<Finding>,
    /// Repairs that were made.
    pub applied: Vec<Repair>,
    /// What is still wrong.
    pub remaining: Vec<Finding>,
}

/// A sink that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Witness {
    /// Its description.
    pub sink: String,
    /// Where it is, if it has a place.
    pub path: Option<String>,
    /// Whether it remembers batches.
    pub remembers: bool,
    /// The newest batch of the query that it holds.
    pub holds: Option<BatchId>,
}

impl Doctor {
    /// Examines a checkpoint that no query runs on, with the evidence of all its sinks, in the order
    /// of their commits. What a run with these sinks would refuse is a finding with the same code:
    /// both ask `decide`. Without sinks that is not to be known, which is a finding, too.
    ///
    /// # Errors
    /// `CHECKPOINT_IN_USE` while a query runs on it; what the store and the sinks say.
    pub async fn examine(
        store: Arc<dyn Store>,
        sinks: &[&dyn Sink],
        treatment: Treatment,
    ) -> Result<Doctor> {
        let _lock = lock(&*store).await?;
        let (findings, witnesses) = diagnosis(&*store, sinks).await?;
        let mut doctor = Doctor {
            place: store.describe(),
            witnesses,
            remaining: findings.clone(),
            findings,
            applied: Vec::new(),
        };
        if treatment == Treatment::Describe {
            return Ok(doctor);
        }
        for _ in 0..ROUNDS_MAX {
            let repairs: Vec<Repair> =
                doctor.remaining.iter().flat_map(|f| f.repairs.iter().cloned()).collect();
            if repairs.is_empty() {
                break;
            }
            for repair in repairs {
                apply(&*store, &repair).await?;
                doctor.applied.push(repair);
            }
            (doctor.remaining, doctor.witnesses) = diagnosis(&*store, sinks).await?;
        }
        Ok(doctor)
    }

    /// How the checkpoint is made anew.
    fn rebuilding(&self) -> String {
        let tables = self.witnesses.iter().filter_map(|w| w.path.as_ref());
        let tables: String = tables.map(|path| format!("--table '{path}' ")).collect();
        let place = &self.place;
        format!("move '{place}' away; then: millstream checkpoint rebuild {tables}'{place}'")
    }

    /// Whether nothing is wrong (any more).
    pub fn is_sound(&self) -> bool {
        self.remaining.is_empty()
    }
}

/// Everything wrong, and what each sink said.
async fn diagnosis(store: &dyn Store, sinks: &[&dyn Sink]) -> Result<(Vec<Finding>, Vec<Witness>)> {
    let scan = look::scan(store).await?;
    let known = findings::identity(store, &scan).await?;
    let mismatch = findings::other_owner(&scan, &known);
    let query = match mismatch {
        Some((_, owner)) => Some(owner),
        None => scan.metadata().ok().flatten().map(|m| m.id).or_else(|| scan.query_elsewhere()),
    };
    let evidence = match query {
        Some(query) => evidence(query, &Evidence::wanted(&scan), sinks).await?,
        None => Evidence::default(),
    };
    let witnesses = witnesses(query, sinks).await?;
    let mut diagnosis = diagnose(&scan, &evidence, false);
    if let Some((named, owner)) = mismatch {
        diagnosis.findings.insert(0, wrong_id(named, owner, sinks).await?);
    }
    diagnosis.findings.extend(known.finding(&scan));
    diagnosis.findings.extend(known.replaced(&scan, sinks));
    // Before what the run says about the same files, which is then said already.
    diagnosis.findings.extend(findings::twins(store, &known).await?);
    if let Some(query) = query {
        foretell(store, &scan, query, sinks, &mut diagnosis).await?;
    }
    if witnesses.is_empty() {
        diagnosis.findings.push(Finding::new(
            "CHECKPOINT_NO_WITNESS",
            "No table was asked: the checkpoint does not say which one its query writes.",
            "Name the table, and its dead letters if it has any, with `--table`.",
        ));
    }
    if diagnosis.findings.iter().any(|finding| finding.repairs.is_empty()) {
        diagnosis.findings.extend(not_found(sinks));
    }
    diagnosis.findings.extend(findings::claims(&scan));
    diagnosis.findings.extend(findings::ledger(store, &scan, query).await?);
    diagnosis.findings.extend(findings::starts(store, &scan).await?);
    if let Some((first, others)) = witnesses.split_first()
        && first.holds.is_some()
        && others.iter().all(|other| other.holds == first.holds)
    {
        diagnosis.allow_rebuild();
    }
    Ok((diagnosis.findings, witnesses))
}

/// Adds what a run of `query` would stop with at its recovery.
async fn foretell(
    store: &dyn Store,
    scan: &Scan,
    query: QueryId,
    sinks: &[&dyn Sink],
    diagnosis: &mut Diagnosis,
) -> Result<()> {
    let epoch = scan.newest_epoch().unwrap_or(Epoch(0));
    let step = decide(&facts(scan, query, epoch, sinks).await?);
    diagnosis.add_step(&step);
    if step.error().is_none()
        && let Err(error) = findings::standing(store, scan, query).await
    {
        diagnosis.add_refusal(&error);
    }
    Ok(())
}

/// Sinks that are not where they were looked for. A flow that has not committed anything has none
/// yet; but nothing is proven by their silence.
fn not_found(sinks: &[&dyn Sink]) -> Option<Finding> {
    let missing = sinks.iter().filter(|sink| !sink.is_there());
    let missing: Vec<String> = missing.map(|sink| sink.describe()).collect();
    let what = format!("What {} holds is not known.", missing.join(" and what "));
    let advice = "If the table was moved, or its disk is not mounted, bring it back or name its place \
                  with `--table`, and ask again; nothing is deleted until it has been asked. If it \
                  is lost, restore it from a backup, or start over with `millstream run \
                  --full-refresh`. If no run has ever committed to it, move the checkpoint away and \
                  run again.";
    (!missing.is_empty()).then(|| Finding::new("CHECKPOINT_TABLE_NOT_FOUND", what, advice))
}

/// `metadata` with an id that no other file has. The tables say which of the two is right.
async fn wrong_id(named: QueryId, owner: QueryId, sinks: &[&dyn Sink]) -> Result<Finding> {
    let what = format!("`metadata` has the id {named}; the other files belong to query {owner}.");
    let (mut of_named, mut of_owner) = (false, false);
    for sink in sinks.iter().filter(|sink| sink.is_exactly_once()) {
        of_named |= newest_in(*sink, named).await?.is_some();
        of_owner |= newest_in(*sink, owner).await?.is_some();
    }
    if of_named || !of_owner {
        let advice = "The tables do not prove which of the two is right: restore the checkpoint \
                      from one backup.";
        return Ok(Finding::new("QUERY_CHANGED", what, advice));
    }
    let advice = format!("The tables hold batches of {owner}, and none of {named}.");
    Ok(Finding::new("QUERY_CHANGED", what, advice).repaired_by([
        Repair::Delete { path: paths::METADATA.to_owned() },
        Repair::WriteMetadata { id: owner },
    ]))
}

async fn witnesses(query: Option<QueryId>, sinks: &[&dyn Sink]) -> Result<Vec<Witness>> {
    let mut witnesses = Vec::new();
    for sink in sinks {
        let holds = match query {
            Some(query) if sink.is_exactly_once() => newest_in(*sink, query).await?,
            _ => None,
        };
        let path = sink.identity().get("path").and_then(|p| p.as_str().map(str::to_owned));
        let remembers = sink.is_exactly_once();
        witnesses.push(Witness { sink: sink.describe(), path, remembers, holds });
    }
    Ok(witnesses)
}

async fn evidence(query: QueryId, batches: &[BatchId], sinks: &[&dyn Sink]) -> Result<Evidence> {
    let mut evidence = Evidence::default();
    for sink in sinks.iter().filter(|sink| sink.is_exactly_once()) {
        let mut said = BTreeMap::new();
        for batch in batches.iter().filter(|_| sink.is_there()) {
            said.insert(*batch, sink.probe(query, *batch).await?);
        }
        evidence.sinks.push(said);
    }
    Ok(evidence)
}

async fn apply(store: &dyn Store, repair: &Repair) -> Result<()> {
    match repair {
        Repair::Delete { path } => {
            // The twin first: one that outlived its file would meet the next file of that name.
            store.delete(&twins::twin_of(path)).await?;
            store.delete(path).await.map(|_| ())
        }
        Repair::WriteCompletion { batch, next_watermark_ms } => {
            let bytes = CommitFile::new(*next_watermark_ms).encode();
            write(store, &paths::commits(*batch), &bytes).await
        }
        Repair::WriteMetadata { id } => {
            write(store, paths::METADATA, &Metadata { id: *id }.encode()).await
        }
        Repair::WriteLedger { entry } => {
            write(store, &paths::ledger(entry.batch), &entry.encode()?).await
        }
        Repair::SetAside { path } => {
            let Some(bytes) = store.read(path).await? else { return Ok(()) };
            let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name);
            store.replace(&format!("{}/{name}", paths::DAMAGED), &bytes).await?;
            store.delete(path).await.map(|_| ())
        }
    }
}

/// Creates a file that must not exist yet.
pub(super) async fn write(store: &dyn Store, path: &str, bytes: &[u8]) -> Result<()> {
    store.delete(&twins::twin_of(path)).await?;
    match store.create(path, bytes).await? {
        Created::Created => Ok(()),
        Created::Exists => Err(Error::invalid(
            "CHECKPOINT_NOT_EMPTY",
            format!("{}/{path} exists already and is not overwritten.", store.describe()),
        )
        .cure("Choose a directory without a checkpoint.")),
    }
}

impl fmt::Display for Doctor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "checkpoint  {}", self.place)?;
        for witness in &self.witnesses {
            writeln!(f, "asked       {witness}")?;
        }
        if self.findings.is_empty() {
            return writeln!(f, "findings    none");
        }
        for finding in &self.findings {
            writeln!(f, "finding     {}: {}", finding.code, finding.what)?;
            writeln!(f, "            {}", finding.advice)?;
            for repair in &finding.repairs {
                writeln!(f, "  repair    {}", sentence(repair))?;
            }
            if finding.rebuild {
                writeln!(f, "  cure      {}", self.rebuilding())?;
            }
        }
        for repair in &self.applied {
            writeln!(f, "done        {}", sentence(repair))?;
        }
        if !self.applied.is_empty() {
            for finding in &self.remaining {
                writeln!(f, "remains     {}: {} {}", finding.code, finding.what, finding.advice)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.holds {
            _ if !self.remembers => write!(f, "{}: it does not remember batches", self.sink),
            Some(batch) => write!(f, "{}: it holds batches up to {batch}", self.sink),
            None => write!(f, "{}: it holds no batch of this query", self.sink),
        }
    }
}

fn sentence(repair: &Repair) -> String {
    match repair {
        Repair::Delete { path } => format!("delete `{path}`"),
        Repair::WriteCompletion { batch, next_watermark_ms } => {
            format!("write `commits/{batch}` with watermark {next_watermark_ms}")
        }
        Repair::WriteMetadata { id } => format!("write `metadata` with the id {id}"),
        Repair::WriteLedger { entry } => {
            format!("write `{}` from the intent of its batch", paths::ledger(entry.batch))
        }
        Repair::SetAside { path } => format!("move `{path}` to `{}`", paths::DAMAGED),
    }
}
