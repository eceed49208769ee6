//! `millstream checkpoint`: look at a checkpoint, repair it, make it anew.

use crate::args::{CheckpointCommand, ReportFormat};
use crate::commands::report::{blocking, print, say};
use crate::commands::witnesses;
use millstream::checkpoint::{Doctor, Inspection, Rebuild, Treatment, open_read_only, rebuild};
use millstream_core::contract::{Position, Sink};
use millstream_core::ids::{BatchId, Digest, QueryId};
use millstream_core::log::Conf;
use millstream_core::{Error, Result};
use millstream_delta::{CommitEntry, DeltaTable};
use millstream_store::{Access, LocalStore, Store};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use uuid::Uuid;

/// Exit status of `doctor` while something is wrong.
const NOT_SOUND: u8 = 1;
/// Spark's default of `spark.sql.shuffle.partitions`, which a stateless query does not use.
const SHUFFLE_PARTITIONS: u32 = 200;

/// Does what the command says.
///
/// # Errors
/// What the checkpoint or the table says.
pub async fn run(command: &CheckpointCommand) -> Result<ExitCode> {
    match command {
        CheckpointCommand::Inspect { dir, format } => inspect(dir, *format).await,
        CheckpointCommand::Doctor { dir, apply, table, format } => {
            let treatment = if *apply { Treatment::Apply } else { Treatment::Describe };
            doctor(dir, table, treatment, *format).await
        }
        CheckpointCommand::Rebuild { table, query_id, dir } => {
            make_anew(table.clone(), query_id.as_deref(), dir).await
        }
    }
}

async fn inspect(dir: &Path, format: ReportFormat) -> Result<ExitCode> {
    let store = open_read_only(dir).await?;
    let inspection = Inspection::of(&*store).await?;
    print(&inspection, format)?;
    Ok(ExitCode::SUCCESS)
}

async fn doctor(
    dir: &Path,
    tables: &[PathBuf],
    treatment: Treatment,
    format: ReportFormat,
) -> Result<ExitCode> {
    let store = open_read_only(dir).await?;
    let inspection = Inspection::of(&*store).await?;
    let sinks = witnesses::of(dir, inspection.identity.as_ref(), tables).await?;
    let sinks: Vec<&dyn Sink> = sinks.iter().map(|sink| &**sink).collect();
    let doctor = Doctor::examine(store, &sinks, treatment).await?;
    print(&doctor, format)?;
    Ok(if doctor.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(NOT_SOUND) })
}

async fn make_anew(table: PathBuf, query: Option<&str>, dir: &Path) -> Result<ExitCode> {
    let wanted = query.map(parse_query).transpose()?;
    let from = blocking(move || remembered(&table, wanted)).await?;
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(dir, Access::Owner));
    rebuild(store, &from).await?;
    say(&format!("query       {}", from.query));
    say(&format!("checkpoint  {}", dir.display()));
    say(&format!(
        "next batch  {}, after what the table has of batch {}",
        from.batch.next(),
        from.batch
    ));
    Ok(ExitCode::SUCCESS)
}

fn parse_query(text: &str) -> Result<QueryId> {
    Uuid::parse_str(text).map(QueryId).map_err(|e| {
        Error::invalid("QUERY_ID_INVALID", format!("`{text}` is no query id.")).caused_by(e)
    })
}

/// What the table remembers of the newest batch of its query.
fn remembered(path: &Path, wanted: Option<QueryId>) -> Result<Rebuild> {
    let table = DeltaTable::open(path)?.ok_or_else(|| {
        Error::invalid("REBUILD_NO_TABLE", format!("`{}` is no Delta table.", path.display()))
            .cure("Name the table's directory.")
    })?;
    let query = match wanted {
        Some(query) => query,
        None => only_query(&table)?,
    };
    let app = query.to_string();
    let newest = table.txn(&app).ok_or_else(|| {
        Error::invalid("REBUILD_NO_QUERY", format!("The table has no batch of query {query}."))
    })?;
    for version in (0..=table.version()).rev() {
        let Some(entry) = table.read_commit(version)? else { break };
        if entry.txns.iter().any(|t| t.app_id == app && t.version == newest) {
            return from_commit(query, newest, &entry).ok_or_else(|| too_little(path, version));
        }
    }
    Err(Error::invalid(
        "REBUILD_LOG_GONE",
        format!("The log of `{}` no longer has the commit of batch {newest}.", path.display()),
    )
    .cure("Restore the log from a backup; the offsets of the batch are only in that commit."))
}

/// The one query whose batches the table has.
fn only_query(table: &DeltaTable) -> Result<QueryId> {
    let ids: BTreeSet<Uuid> =
        table.txns().keys().filter_map(|app| Uuid::parse_str(app).ok()).collect();
    match (ids.first(), ids.len()) {
        (Some(id), 1) => Ok(QueryId(*id)),
        (None, _) => Err(Error::invalid("REBUILD_NO_QUERY", "The table has no batch of a query.")),
        _ => {
            let all: Vec<String> = ids.iter().map(Uuid::to_string).collect();
            let message = format!("Several queries write to the table: {}.", all.join(", "));
            Err(Error::invalid("REBUILD_SEVERAL_QUERIES", message)
                .cure("Choose one with --query-id."))
        }
    }
}

fn from_commit(query: QueryId, newest: i64, entry: &CommitEntry) -> Option<Rebuild> {
    let info = entry.commit_info.as_ref()?;
    let ours = info.get("millstream")?;
    let ranges = ours.get("ranges")?.as_array()?;
    let ends: Option<Vec<Position>> =
        ranges.iter().map(|r| r.get("end").cloned().map(Position)).collect();
    Some(Rebuild {
        query,
        batch: BatchId(u64::try_from(newest).ok()?),
        digest: Digest::parse(ours.get("digest").and_then(Value::as_str)?)?,
        ends: ends.filter(|e| !e.is_empty())?,
        batch_time_ms: info.get("timestamp").and_then(Value::as_i64).unwrap_or(0),
        watermark_ms: 0,
        conf: Conf::spark(SHUFFLE_PARTITIONS),
    })
}

fn too_little(path: &Path, version: u64) -> Error {
    Error::invalid(
        "REBUILD_FOREIGN_COMMIT",
        format!("Version {version} of `{}` does not say what its batch read.", path.display()),
    )
    .cure("Another engine wrote it; only batches of Millstream tell their offsets.")
}
