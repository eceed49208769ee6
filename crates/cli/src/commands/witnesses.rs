//! Which tables a checkpoint's query writes: the doctor's witnesses, in the order of their commits.
//!
//! The checkpoint's identity names them. Where it is gone, or the storage was moved, they are looked
//! for where a run puts them. A table that is not there is a witness all the same: it has lost every batch.

use crate::commands::pipeline::absolute;
use crate::commands::report::blocking;
use async_trait::async_trait;
use millstream_core::contract::{CommitOutcome, CommitTag, Probe, Sink, Staged};
use millstream_core::env::SystemEnv;
use millstream_core::ids::{BatchId, QueryId};
use millstream_core::{Error, Result};
use millstream_delta::{DeltaSink, DeltaSinkOptions, DeltaTable};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is added to a table's name for its dead letters.
pub const DEAD_LETTERS: &str = "_dead_letters";

/// The witnesses of the checkpoint in `dir`. `named` are tables that the user names: in place of
/// those of the same name in the identity, or all there are.
///
/// # Errors
/// What opening a table says.
pub async fn of(
    dir: &Path,
    identity: Option<&Value>,
    named: &[PathBuf],
) -> Result<Vec<Box<dyn Sink>>> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    for place in places(dir, identity, named).await? {
        sinks.push(match place {
            Place::Table(path) => blocking(move || table_as_sink(&path)).await?,
            Place::Forgetful(kind) => Box::new(Silent::forgetful(kind)),
        });
    }
    Ok(sinks)
}

/// Where a sink is.
enum Place {
    Table(PathBuf),
    /// One that remembers nothing, such as the console.
    Forgetful(String),
}

async fn places(dir: &Path, identity: Option<&Value>, named: &[PathBuf]) -> Result<Vec<Place>> {
    let mut named = named.iter().map(|path| absolute(path)).collect::<Result<Vec<_>>>()?;
    let beside = beside(&absolute(dir)?);
    let known = identity.and_then(|identity| identity["sinks"].as_array());
    let Some(known) = known.filter(|known| !known.is_empty()) else {
        if named.is_empty() {
            named = beside;
        }
        // Dead letters are committed first.
        named.sort_by_key(|path| !file_name(path).ends_with(DEAD_LETTERS));
        return Ok(named.into_iter().map(Place::Table).collect());
    };
    let (mut named, beside) = blocking(move || Ok((with_ids(named)?, with_ids(beside)?))).await?;
    let mut places = Vec::with_capacity(known.len());
    for sink in known {
        let Some(path) = sink["path"].as_str().filter(|_| sink["kind"] == "delta") else {
            places.push(Place::Forgetful(sink["kind"].as_str().unwrap_or("sink").to_owned()));
            continue;
        };
        let path = PathBuf::from(path);
        let same_id =
            |table: &Named| table.id.is_some() && table.id.as_deref() == sink["tableId"].as_str();
        let same_name = |table: &Named| file_name(&table.path) == file_name(&path);
        let at = named.iter().position(same_id).or_else(|| named.iter().position(same_name));
        // A table that the first batch made has no id in the identity yet.
        let moved = |table: &&Named| {
            same_id(table) || (sink["tableId"].is_null() && same_name(table) && table.id.is_some())
        };
        places.push(Place::Table(match (at, beside.iter().find(moved)) {
            (Some(at), _) => named.swap_remove(at).path,
            // Tables and checkpoints were moved, or copied, together.
            (None, Some(moved)) => moved.path.clone(),
            (None, None) => path,
        }));
    }
    match named.first() {
        Some(stranger) => Err(unknown(&stranger.path, &places)),
        None => Ok(places),
    }
}

/// A table that is not known from the identity.
struct Named {
    path: PathBuf,
    /// Its id; `None` if there is no table.
    id: Option<String>,
}

fn with_ids(paths: Vec<PathBuf>) -> Result<Vec<Named>> {
    let with_id = |path: PathBuf| {
        let id = DeltaTable::open(&path)?.map(|table| table.id().to_owned());
        Ok(Named { path, id })
    };
    paths.into_iter().map(with_id).collect()
}

fn unknown(path: &Path, places: &[Place]) -> Error {
    let known: Vec<String> = places
        .iter()
        .filter_map(|place| match place {
            Place::Table(path) => Some(format!("`{}`", path.display())),
            Place::Forgetful(_) => None,
        })
        .collect();
    Error::invalid(
        "DOCTOR_TABLE_UNKNOWN",
        format!(
            "The query of this checkpoint does not write `{}`; it writes {}.",
            path.display(),
            known.join(" and ")
        ),
    )
    .cure("Name only tables that were moved, under their names or with their ids; or none.")
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What lies where the tables of a checkpoint at `<storage>/_checkpoints/<table>/<flow>` lie. One
/// that is not there may have a place of its own.
fn beside(dir: &Path) -> Vec<PathBuf> {
    let Some(of_table) = dir.parent() else { return Vec::new() };
    let Some(checkpoints) = of_table.parent() else { return Vec::new() };
    let Some(storage) = checkpoints.parent() else { return Vec::new() };
    if file_name(checkpoints) != "_checkpoints" {
        return Vec::new();
    }
    let table = file_name(of_table);
    let names = [format!("{table}{DEAD_LETTERS}"), table];
    names.iter().map(|name| storage.join(name)).filter(|path| path.is_dir()).collect()
}

fn table_as_sink(path: &Path) -> Result<Box<dyn Sink>> {
    let Some(table) = DeltaTable::open(path)? else {
        return Ok(Box::new(Silent::missing(path)));
    };
    let options = DeltaSinkOptions { create: false, ..DeltaSinkOptions::new(path) };
    Ok(Box::new(DeltaSink::prepare(options, table.schema(), Arc::new(SystemEnv))?))
}

/// A sink that says nothing: a table that is not there, or one without a memory.
struct Silent {
    description: String,
    path: Option<PathBuf>,
}

impl Silent {
    fn missing(path: &Path) -> Self {
        let description = format!("DeltaSink[file:{}] (no table is there)", path.display());
        Silent { description, path: Some(path.to_path_buf()) }
    }

    fn forgetful(description: String) -> Self {
        Silent { description, path: None }
    }
}

#[async_trait]
impl Sink for Silent {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn identity(&self) -> Value {
        self.path.as_ref().map_or(Value::Null, |path| json!({ "path": path }))
    }

    fn is_exactly_once(&self) -> bool {
        self.path.is_some()
    }

    async fn staged_is_complete(&self, staged: &Staged) -> Result<bool> {
        match self.path.clone() {
            None => Ok(true),
            // A run would make the table from these files.
            Some(path) => millstream_delta::staged_is_complete(&path, staged),
        }
    }

    async fn probe(&self, _query: QueryId, _batch: BatchId) -> Result<Probe> {
        Ok(Probe::Absent)
    }

    async fn commit(&self, _tag: &CommitTag, _staged: &Staged) -> Result<CommitOutcome> {
        Err(Error::internal("a witness does not commit"))
    }
}
