//! `millstream checkpoint doctor`: what is wrong, what would cure it, and, if asked, the cure.

use super::{lock, look, twins};
use millstream_core::contract::Sink;
use millstream_core::ids::QueryId;
use millstream_core::log::{CommitFile, Metadata, hadoop_twin};
use millstream_core::protocol::{Diagnosis, Evidence, Finding, Repair, diagnose, paths};
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
    /// What was wrong when the doctor came; for [`Treatment::Describe`], what is wrong.
    pub findings: Vec<Finding>,
    /// Repairs that were made.
    pub applied: Vec<Repair>,
    /// What is still wrong.
    pub remaining: Vec<Finding>,
}

impl Doctor {
    /// Examines a checkpoint that no query runs on, with the sinks' evidence. Sinks that do not
    /// remember batches say nothing here; without any, repairs that need evidence are not offered.
    ///
    /// # Errors
    /// `CHECKPOINT_IN_USE` while a query runs on it; what the store and the sinks say.
    pub async fn examine(
        store: Arc<dyn Store>,
        sinks: &[&dyn Sink],
        treatment: Treatment,
    ) -> Result<Doctor> {
        let _lock = lock(&*store).await?;
        let mut doctor = Doctor {
            place: store.describe(),
            findings: diagnosis(&*store, sinks).await?.findings,
            applied: Vec::new(),
            remaining: Vec::new(),
        };
        doctor.remaining = doctor.findings.clone();
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
            doctor.remaining = diagnosis(&*store, sinks).await?.findings;
        }
        Ok(doctor)
    }

    /// Whether nothing is wrong (any more).
    pub fn is_sound(&self) -> bool {
        self.remaining.is_empty()
    }
}

async fn diagnosis(store: &dyn Store, sinks: &[&dyn Sink]) -> Result<Diagnosis> {
    let scan = look::scan(store).await?;
    let query = scan.metadata().ok().flatten().map(|m| m.id).or_else(|| scan.query_elsewhere());
    let evidence = match query {
        Some(query) => evidence(query, &Evidence::wanted(&scan), sinks).await?,
        None => Evidence::default(),
    };
    let mut diagnosis = diagnose(&scan, &evidence, false);
    for path in twins::stale(store).await? {
        diagnosis.findings.push(Finding {
            what: format!("`{path}` is stale: it does not belong to the file beside it."),
            advice: "Spark refuses a file with such a twin; without the twin it reads it.".into(),
            repairs: vec![Repair::Delete { path }],
        });
    }
    Ok(diagnosis)
}

async fn evidence(
    query: QueryId,
    batches: &[millstream_core::ids::BatchId],
    sinks: &[&dyn Sink],
) -> Result<Evidence> {
    let mut evidence = Evidence::default();
    for sink in sinks.iter().filter(|sink| sink.is_exactly_once()) {
        let mut said = BTreeMap::new();
        for batch in batches {
            said.insert(*batch, sink.probe(query, *batch).await?);
        }
        evidence.sinks.push(said);
    }
    Ok(evidence)
}

async fn apply(store: &dyn Store, repair: &Repair) -> Result<()> {
    match repair {
        Repair::Delete { path } => {
            store.delete(path).await?;
            let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
            let twin = hadoop_twin(name);
            let twin = if dir.is_empty() { twin } else { format!("{dir}/{twin}") };
            store.delete(&twin).await.map(|_| ())
        }
        Repair::WriteCompletion { batch, next_watermark_ms } => {
            let bytes = CommitFile::new(*next_watermark_ms).encode();
            write(store, &paths::commits(*batch), &bytes).await
        }
        Repair::WriteMetadata { id } => {
            write(store, paths::METADATA, &Metadata { id: *id }.encode()).await
        }
    }
}

/// Creates a file that must not exist yet.
pub(super) async fn write(store: &dyn Store, path: &str, bytes: &[u8]) -> Result<()> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let twin = hadoop_twin(name);
    store.delete(&if dir.is_empty() { twin } else { format!("{dir}/{twin}") }).await?;
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
        if self.findings.is_empty() {
            return writeln!(f, "findings    none");
        }
        for finding in &self.findings {
            writeln!(f, "finding     {}", finding.what)?;
            writeln!(f, "            {}", finding.advice)?;
            for repair in &finding.repairs {
                writeln!(f, "  repair    {}", sentence(repair))?;
            }
        }
        for repair in &self.applied {
            writeln!(f, "done        {}", sentence(repair))?;
        }
        if !self.applied.is_empty() {
            for finding in &self.remaining {
                writeln!(f, "remains     {} {}", finding.what, finding.advice)?;
            }
        }
        Ok(())
    }
}

fn sentence(repair: &Repair) -> String {
    match repair {
        Repair::Delete { path } => format!("delete `{path}`"),
        Repair::WriteCompletion { batch, next_watermark_ms } => {
            format!("write `commits/{batch}` with watermark {next_watermark_ms}")
        }
        Repair::WriteMetadata { id } => format!("write `metadata` with the id {id}"),
    }
}
