//! Which tables a checkpoint's query writes: the doctor's witnesses, in the order of their commits.
//!
//! The checkpoint's identity names them, at the places that they had when it was written. Storage may
//! have been moved or copied since, with everything in it: then they are looked for at the same places
//! from where the checkpoint is now, as a run finds them, and never in the storage that was left. A
//! table that is not found is a witness all the same, of which nothing is known.

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

/// Directory of checkpoints in a storage directory.
const CHECKPOINTS: &str = "_checkpoints";

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
            Place::OfAnother(path, checkpoint) => Box::new(Silent::of_another(&path, &checkpoint)),
            Place::Forgetful(kind) => Box::new(Silent::forgetful(kind)),
        });
    }
    Ok(sinks)
}

/// Where a sink is.
enum Place {
    Table(PathBuf),
    /// A table that a checkpoint writes of which this one is a copy.
    OfAnother(PathBuf, PathBuf),
    /// One that remembers nothing, such as the console.
    Forgetful(String),
}

async fn places(dir: &Path, identity: Option<&Value>, named: &[PathBuf]) -> Result<Vec<Place>> {
    let mut named = named.iter().map(|path| absolute(path)).collect::<Result<Vec<_>>>()?;
    let known = identity.and_then(|identity| identity["sinks"].as_array());
    let Some(known) = known.filter(|known| !known.is_empty()) else {
        if named.is_empty() {
            named = beside(&absolute(dir)?);
        }
        // Dead letters are committed first.
        named.sort_by_key(|path| !file_name(path).ends_with(DEAD_LETTERS));
        return Ok(named.into_iter().map(Place::Table).collect());
    };
    let (known, dir) = (known.clone(), absolute(dir)?);
    let (places, strangers) = blocking(move || resolve(&dir, &known, with_ids(named)?)).await?;
    match strangers.first() {
        Some(stranger) => Err(unknown(&stranger.path, &places)),
        None => Ok(places),
    }
}

/// The dead letters of a checkpoint whose table the user says to be `table`.
///
/// # Errors
/// What opening a table says.
pub async fn dead_letters(dir: &Path, identity: &Value, table: &Path) -> Result<Option<PathBuf>> {
    let Some(known) = identity["sinks"].as_array().filter(|known| known.len() == 2) else {
        return Ok(None);
    };
    let (known, dir, table) = (known.clone(), absolute(dir)?, table.to_path_buf());
    let named = table.clone();
    let (places, _) = blocking(move || resolve(&dir, &known, with_ids(vec![named])?)).await?;
    Ok(match places.into_iter().next() {
        Some(Place::Table(path)) if path != table => Some(path),
        // What another checkpoint writes says nothing about this one: it is not found here.
        Some(Place::OfAnother(path, _)) => Some(table.with_file_name(file_name(&path))),
        _ => None,
    })
}

/// A directory that tables lay in, and where it is now.
struct Moved {
    from: PathBuf,
    to: PathBuf,
    /// Whether something of the query was found there; nothing is then left at the old place.
    is_proven: bool,
}

/// Where the sinks that the identity knows are now, and which of `named` are none of them.
fn resolve(dir: &Path, known: &[Value], mut named: Vec<Named>) -> Result<(Vec<Place>, Vec<Named>)> {
    let paths: Vec<Option<PathBuf>> = known.iter().map(recorded).collect();
    let mut found: Vec<Option<PathBuf>> = Vec::with_capacity(known.len());
    let mut moves = moves(dir, &paths);
    for (sink, path) in known.iter().zip(&paths) {
        let Some(path) = path else {
            found.push(None);
            continue;
        };
        let same_name = |table: &Named| file_name(&table.path) == file_name(path);
        let at = named.iter().position(|table| table.is(sink));
        let at =
            at.or_else(|| named.iter().position(same_name)).map(|at| named.swap_remove(at).path);
        if let (Some(from), Some(to)) = (path.parent(), at.as_ref().and_then(|at| at.parent())) {
            let (from, to) = (from.to_path_buf(), to.to_path_buf());
            moves.push(Moved { from, to, is_proven: true });
        }
        found.push(at);
    }
    for (slot, (sink, path)) in found.iter_mut().zip(known.iter().zip(&paths)) {
        if let (Some(path), None) = (path, &slot) {
            *slot = look_for(sink, path, &mut moves)?;
        }
    }
    let mut places = Vec::with_capacity(known.len());
    for (sink, (path, found)) in known.iter().zip(paths.into_iter().zip(found)) {
        places.push(match (path, found) {
            (None, _) => Place::Forgetful(sink["kind"].as_str().unwrap_or("sink").to_owned()),
            (_, Some(found)) => Place::Table(found),
            (Some(path), None) => left_behind(dir, path, &moves),
        });
    }
    Ok((places, named))
}

/// Where a sink is that was at `path`.
fn look_for(sink: &Value, path: &Path, moves: &mut [Moved]) -> Result<Option<PathBuf>> {
    for moved in moves {
        let Some(candidate) = moved.now(path) else { continue };
        let table = Named::of(candidate)?;
        // A table that the first batch made has no id in the identity yet.
        let is_it = table.is(sink) || (sink["tableId"].is_null() && table.id.is_some());
        moved.is_proven |= is_it;
        if is_it || same(&moved.from, &moved.to) {
            return Ok(Some(table.path));
        }
    }
    Ok(None)
}

/// The place that a sink had.
fn recorded(sink: &Value) -> Option<PathBuf> {
    sink["path"].as_str().filter(|_| sink["kind"] == "delta").map(PathBuf::from)
}

impl Moved {
    /// Where something is now that was at `path`.
    fn now(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.from).ok().map(|inside| self.to.join(inside))
    }
}

/// Where the tables lay, and where the checkpoint says that they are. Without a place of its own, a
/// table lies in the storage under its name; dead letters with a name always do.
fn moves(dir: &Path, paths: &[Option<PathBuf>]) -> Vec<Moved> {
    let Some((storage, table)) = storage_of(dir) else { return Vec::new() };
    let parents: Vec<&Path> = paths.iter().flatten().filter_map(|path| path.parent()).collect();
    // One that is still there: then the others are where they were, too.
    if let Some(from) = parents.iter().find(|parent| same(parent, &storage)) {
        return vec![Moved { from: from.to_path_buf(), to: storage, is_proven: true }];
    }
    let of_table = paths.iter().flatten().find(|path| file_name(path) == table);
    let mut froms: Vec<&Path> = of_table.and_then(|path| path.parent()).into_iter().collect();
    froms.extend(parents);
    froms.dedup();
    let moved =
        |from: &Path| Moved { from: from.to_path_buf(), to: storage.clone(), is_proven: false };
    froms.into_iter().map(moved).collect()
}

/// What to say of a table that was not found where the checkpoint is. Where it was is asked only if
/// it did not lie in what was moved, and no other checkpoint of the query is there.
fn left_behind(dir: &Path, path: PathBuf, moves: &[Moved]) -> Place {
    let mut proven = moves.iter().filter(|moved| moved.is_proven);
    if let Some(now) = proven.find_map(|moved| moved.now(&path)) {
        return Place::Table(now);
    }
    match original(dir, &path) {
        Some(checkpoint) => Place::OfAnother(path, checkpoint),
        None => Place::Table(path),
    }
}

/// A checkpoint beside the table at `path` with the same `metadata` as the one in `dir`.
fn original(dir: &Path, path: &Path) -> Option<PathBuf> {
    let metadata = |dir: &Path| std::fs::read(dir.join("metadata")).ok();
    let ours = metadata(dir)?;
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let tables = entries(&path.parent()?.join(CHECKPOINTS));
    let mut flows = tables.flat_map(|table| entries(&table.path())).map(|flow| flow.path());
    flows.find(|flow| !same(flow, dir) && metadata(flow).as_ref() == Some(&ours))
}

/// Whether two paths lead to one directory.
fn same(a: &Path, b: &Path) -> bool {
    a == b || a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}

/// A table that is not known from the identity.
struct Named {
    path: PathBuf,
    /// Its id; `None` if there is no table.
    id: Option<String>,
}

impl Named {
    fn of(path: PathBuf) -> Result<Self> {
        let id = DeltaTable::open(&path)?.map(|table| table.id().to_owned());
        Ok(Named { path, id })
    }

    /// Whether it is the table that the identity knows by its id.
    fn is(&self, sink: &Value) -> bool {
        self.id.is_some() && self.id.as_deref() == sink["tableId"].as_str()
    }
}

fn with_ids(paths: Vec<PathBuf>) -> Result<Vec<Named>> {
    paths.into_iter().map(Named::of).collect()
}

fn unknown(path: &Path, places: &[Place]) -> Error {
    let known: Vec<String> = places
        .iter()
        .filter_map(|place| match place {
            Place::Table(path) | Place::OfAnother(path, _) => Some(format!("`{}`", path.display())),
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

/// The storage of a checkpoint at `<storage>/_checkpoints/<table>/<flow>`, and the table's name.
pub fn storage_of(dir: &Path) -> Option<(PathBuf, String)> {
    let of_table = dir.parent()?;
    let checkpoints = of_table.parent().filter(|dir| file_name(dir) == CHECKPOINTS)?;
    Some((checkpoints.parent()?.to_path_buf(), file_name(of_table)))
}

/// What lies where the tables of a checkpoint lie. One that is not there may have a place of its own.
fn beside(dir: &Path) -> Vec<PathBuf> {
    let Some((storage, table)) = storage_of(dir) else { return Vec::new() };
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

    fn of_another(path: &Path, checkpoint: &Path) -> Self {
        let description = format!(
            "DeltaSink[file:{}] (not asked: `{}` writes it, of which this checkpoint is a copy)",
            path.display(),
            checkpoint.display()
        );
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

    fn is_there(&self) -> bool {
        self.path.is_none()
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
