//! `millstream checkpoint rebuild`: a checkpoint made anew from what the query's tables remember.
//!
//! All tables are looked at before anything is written. They have to end with the same batch, by
//! the same attempt: a batch that only some of them hold cannot be finished, because what the
//! attempt staged for the others was known to the lost checkpoint only, and executing it again is
//! never done (another release might reject other records).

use crate::commands::pipeline::absolute;
use crate::commands::report::{blocking, say};
use crate::commands::witnesses::{DEAD_LETTERS, storage_of};
use millstream::checkpoint::{Rebuild, rebuild};
use millstream::execute::dead_letters;
use millstream_core::contract::Position;
use millstream_core::ids::{BatchId, Digest, QueryId};
use millstream_core::log::Conf;
use millstream_core::progress::timestamp;
use millstream_core::{Error, ErrorKind, Result};
use millstream_delta::{CommitEntry, DeltaTable, MARK_SUFFIX};
use millstream_store::{Access, LocalStore, Store};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use uuid::Uuid;

/// Spark's default of `spark.sql.shuffle.partitions`, which a stateless query does not use.
const SHUFFLE_PARTITIONS: u32 = 200;

/// Makes the checkpoint in `dir` anew.
///
/// # Errors
/// `REBUILD_NO_TABLE`, `REBUILD_NO_QUERY`, `REBUILD_SEVERAL_QUERIES`, `REBUILD_SINKS_DISAGREE`,
/// `REBUILD_ATTEMPTS_DIFFER`, `REBUILD_LOG_GONE`, `REBUILD_FOREIGN_COMMIT`, `CHECKPOINT_NOT_EMPTY`; what a table says.
pub async fn run(tables: &[PathBuf], query: Option<&str>, dir: &Path) -> Result<ExitCode> {
    let wanted = query.map(parse_query).transpose()?;
    let tables = tables.iter().map(|path| absolute(path)).collect::<Result<Vec<_>>>()?;
    let place = absolute(dir)?;
    let (from, places) = blocking(move || remembered(&tables, &place, wanted)).await?;
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(dir, Access::Owner));
    rebuild(store, &from).await?;
    say(&format!("query       {}", from.query));
    for place in places {
        say(&format!("table       {}", place.display()));
    }
    say(&format!("checkpoint  {}", dir.display()));
    say(&format!(
        "next batch  {}, after what the tables have of batch {}",
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

/// What the tables remember of the query's newest batch, and which tables those are.
fn remembered(
    paths: &[PathBuf],
    dir: &Path,
    wanted: Option<QueryId>,
) -> Result<(Rebuild, Vec<PathBuf>)> {
    let (mut tables, mut missing) = (Vec::with_capacity(paths.len()), Vec::new());
    for path in paths {
        match DeltaTable::open(path)? {
            Some(table) => tables.push(table),
            None => missing.push(path.clone()),
        }
    }
    if let (Some(path), true) = (missing.first(), tables.is_empty()) {
        return Err(no_table(path, paths));
    }
    let query = match wanted {
        Some(query) => query,
        None => only_query(&tables)?,
    };
    let mut witnesses: Vec<Witness> =
        tables.into_iter().map(|table| Witness::new(table, query)).collect();
    // One that the user names is the query's: its first batch is missing.
    witnesses.extend(missing.into_iter().map(Witness::unborn));
    for path in companions(paths, dir) {
        witnesses.extend(Witness::companion(&path, query)?);
    }
    for table in neighbours(paths) {
        let is_new = witnesses.iter().all(|witness| witness.path != table.path());
        if is_new && table.txn(&query.to_string()).is_some() {
            witnesses.push(Witness::new(table, query));
        }
    }
    // Rows and dead letters of one batch: letters alone are half of it, wherever the rows belong.
    if witnesses.iter().all(Witness::has_letters)
        && let Some((storage, table)) = storage_of(dir)
    {
        let table = storage.join(table);
        if witnesses.iter().any(|witness| witness.newest > Some(0)) {
            return Err(letters_only(&table));
        }
        witnesses.push(Witness::unborn(table));
    }
    if witnesses.iter().all(|w| w.newest.is_none()) {
        let message = format!("The tables have no batch of query {query}.");
        return Err(Error::invalid("REBUILD_NO_QUERY", message)
            .cure("Name the tables that the query writes, or another query with --query-id."));
    }
    let first = witnesses.first().and_then(|w| w.newest);
    if witnesses.iter().any(|w| w.newest != first) {
        return Err(disagree(&witnesses, query)?);
    }
    let mut marks = BTreeSet::new();
    let mut from = Err(Error::internal("no table was looked at"));
    for witness in &witnesses {
        let entry = witness.newest_commit(query)?;
        marks.insert(["digest", "attempt"].map(|key| ours(&entry, key).map(Value::to_string)));
        if from.is_err() {
            from = from_commit(query, &entry).ok_or_else(|| too_little(&witness.path, &entry));
        }
    }
    if marks.len() > 1 {
        return Err(different_attempts(&witnesses, query));
    }
    Ok((from?, witnesses.into_iter().map(|w| w.path).collect()))
}

fn no_table(path: &Path, paths: &[PathBuf]) -> Error {
    let error =
        Error::invalid("REBUILD_NO_TABLE", format!("`{}` is no Delta table.", path.display()));
    let is_ours = |table: &DeltaTable| table.txns().keys().any(|app| app.ends_with(MARK_SUFFIX));
    let letters = neighbours(paths).filter(|table| is_ours(table) && has_letters(table));
    let letters: Vec<String> =
        letters.map(|table| format!("`{}`", table.path().display())).collect();
    let cure = "Name the table's directory; where a crash has kept its first batch away, that of its \
                dead letters";
    match letters.is_empty() {
        true => error.cure(format!("{cure}.")),
        false => error.cure(format!(
            "{cure}. Here, {} has dead letters of a query; as long as those may be this query's, \
             do not begin with an empty checkpoint: it would write them once more.",
            letters.join(" and ")
        )),
    }
}

/// The table of dead letters that were found has a place of its own, or is lost.
fn letters_only(table: &Path) -> Error {
    let message = format!(
        "Only dead letters of the query were found; its rows are not at `{}`.",
        table.display()
    );
    Error::invalid("REBUILD_NO_TABLE", message)
        .cure("Name the directory of the rows' table as well, or restore it from a backup.")
}

/// Tables that the query may write, too, by their names: dead letters lie beside their table, and
/// the checkpoint lies under the table's name.
fn companions(paths: &[PathBuf], dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        found.push(match name.strip_suffix(DEAD_LETTERS) {
            Some(table) => path.with_file_name(table),
            None => path.with_file_name(format!("{name}{DEAD_LETTERS}")),
        });
    }
    found.extend(storage_of(dir).map(|(storage, table)| storage.join(table)));
    found.sort();
    found.dedup();
    found.retain(|path| !paths.contains(path));
    found
}

/// Most directories beside the tables that are looked at.
const NEIGHBOURS_MAX: usize = 1000;

/// Tables that lie beside those at `paths`: dead letters have any name. One that cannot be read is
/// said to be so, and is passed over.
fn neighbours(paths: &[PathBuf]) -> impl Iterator<Item = DeltaTable> {
    let parents: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
    let entries = parents.into_iter().filter_map(|parent| std::fs::read_dir(parent).ok());
    let mut dirs: Vec<PathBuf> = entries
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| !paths.contains(path) && path.join("_delta_log").is_dir())
        .take(NEIGHBOURS_MAX)
        .collect();
    dirs.sort();
    dirs.into_iter().filter_map(|dir| {
        DeltaTable::open(&dir).unwrap_or_else(|error| {
            eprintln!("warning: `{}` is not asked: {error}", dir.display());
            None
        })
    })
}

/// Whether a table has the columns of dead letters.
fn has_letters(table: &DeltaTable) -> bool {
    let has = |name: &str| table.schema().fields.iter().any(|field| field.name == name);
    dead_letters::schema().fields().iter().all(|field| has(field.name()))
}

/// One table, and how far it has got.
struct Witness {
    path: PathBuf,
    /// `None` where the directory holds no table (yet).
    table: Option<DeltaTable>,
    newest: Option<i64>,
}

impl Witness {
    fn new(table: DeltaTable, query: QueryId) -> Self {
        let newest = table.txn(&query.to_string());
        Witness { path: table.path().to_path_buf(), table: Some(table), newest }
    }

    /// A table of the query's that is not there yet.
    fn unborn(path: PathBuf) -> Self {
        Witness { path, table: None, newest: None }
    }

    /// Whether it is a table of dead letters.
    fn has_letters(&self) -> bool {
        self.table.as_ref().is_some_and(has_letters)
    }

    /// The table at `path` if it is one of the query's. The table of given dead letters is one even
    /// if it has no batch: the first may be missing.
    fn companion(path: &Path, query: QueryId) -> Result<Option<Self>> {
        let is_letters = path.to_string_lossy().ends_with(DEAD_LETTERS);
        Ok(match DeltaTable::open(path)? {
            Some(table) => {
                Some(Witness::new(table, query)).filter(|w| w.newest.is_some() || !is_letters)
            }
            None if !is_letters && path.is_dir() => Some(Witness::unborn(path.to_path_buf())),
            None => None,
        })
    }

    /// The commit of the newest batch.
    fn newest_commit(&self, query: QueryId) -> Result<CommitEntry> {
        let app = query.to_string();
        let newest = self.newest.unwrap_or_default();
        let version = self.table.as_ref().map(DeltaTable::version);
        for version in (0..version.map_or(0, |version| version + 1)).rev() {
            let Some(table) = &self.table else { break };
            let Some(entry) = table.read_commit(version)? else { break };
            if entry.txns.iter().any(|t| t.app_id == app && t.version == newest) {
                return Ok(entry);
            }
        }
        let place = self.path.display();
        Err(Error::invalid(
            "REBUILD_LOG_GONE",
            format!("The log of `{place}` no longer has the commit of batch {newest}."),
        )
        .cure("Restore the log from a backup; the offsets of the batch are only in that commit."))
    }

    /// Files of the log that hold the query's batches after `last`, newest first, where they are
    /// the end of the log and nothing derived from them is there.
    fn removable(&self, query: QueryId, last: Option<i64>) -> Result<Option<Vec<PathBuf>>> {
        let Some(table) = &self.table else { return Ok(None) };
        let app = query.to_string();
        let log = self.path.join("_delta_log");
        let (mut files, mut others, mut first) = (Vec::new(), false, table.version() + 1);
        for version in (0..=table.version()).rev() {
            let Some(entry) = table.read_commit(version)? else { return Ok(None) };
            match entry.txns.iter().find(|t| t.app_id == app) {
                Some(txn) if last.is_some_and(|last| txn.version <= last) => break,
                Some(_) if others => return Ok(None),
                Some(_) => {
                    files.push(log.join(format!("{version:020}.json")));
                    first = version;
                }
                None => others = true,
            }
        }
        Ok((!covered(&log, first)).then_some(files))
    }
}

/// Whether the log has a table checkpoint, or another file derived from entries, of a version from
/// `first` on.
fn covered(log: &Path, first: u64) -> bool {
    let Ok(names) = std::fs::read_dir(log) else { return true };
    names.flatten().any(|name| {
        let name = name.file_name().to_string_lossy().into_owned();
        let Some((number, rest)) = name.split_once('.') else { return false };
        rest != "json" && number.parse::<u64>().is_ok_and(|version| version >= first)
    })
}

/// The tables end with different batches.
fn disagree(witnesses: &[Witness], query: QueryId) -> Result<Error> {
    let least = witnesses.iter().map(|w| w.newest).min().flatten();
    let ends: Vec<String> = witnesses.iter().map(ends_with).collect();
    let mut files = Some(Vec::new());
    for witness in witnesses.iter().filter(|w| w.newest > least) {
        let more = witness.removable(query, least)?;
        files = files.zip(more).map(|(mut files, more)| {
            files.extend(more);
            files
        });
    }
    let next = least.map_or(0, |least| least + 1);
    let cure = match files {
        Some(files) => {
            let files: Vec<String> =
                files.iter().map(|file| format!("`{}`", file.display())).collect();
            let then = match least {
                Some(_) => "then rebuild again",
                None => "then nothing is left to rebuild from: run with an empty checkpoint",
            };
            format!(
                "While nobody writes to the tables, move {} out of the log (the newest entry \
                 first; nothing came after); {then}. Batches from {next} on are then read and \
                 written anew in all tables.",
                files.join(" and ")
            )
        }
        None => "Other commits, or a table checkpoint, came after the batches that only some \
                 tables hold, so that these cannot be taken out any more: restore the \
                 checkpoint, or all tables together, from one backup; or start over with \
                 `millstream run --full-refresh`."
            .to_owned(),
    };
    Ok(Error::new(
        ErrorKind::Conflict,
        "REBUILD_SINKS_DISAGREE",
        format!(
            "The tables of query {query} end with different batches: {}. A crash between their \
             commits leaves them so; what was staged for the others was known to the lost \
             checkpoint only. Nothing was written.",
            ends.join("; ")
        ),
    )
    .cure(format!(
        "{cure} RESTORE would not do: it keeps the transaction id, and the batch would be taken \
         for written."
    )))
}

fn ends_with(witness: &Witness) -> String {
    let place = witness.path.display();
    match witness.newest {
        Some(newest) => format!("`{place}` with batch {newest}"),
        None => format!("`{place}` has none of its batches"),
    }
}

fn different_attempts(witnesses: &[Witness], query: QueryId) -> Error {
    let ends: Vec<String> = witnesses.iter().map(ends_with).collect();
    let message = format!(
        "The tables of query {query} hold their newest batch from different attempts: {}. Nothing \
         was written.",
        ends.join("; ")
    );
    Error::new(ErrorKind::Conflict, "REBUILD_ATTEMPTS_DIFFER", message)
        .cure("One of them was copied from elsewhere: restore all tables from one backup.")
}

/// The one query whose batches the tables have.
fn only_query(tables: &[DeltaTable]) -> Result<QueryId> {
    let ids: BTreeSet<Uuid> = tables
        .iter()
        .flat_map(|table| table.txns().into_keys().filter_map(|app| Uuid::parse_str(app).ok()))
        .collect();
    match (ids.first(), ids.len()) {
        (Some(id), 1) => Ok(QueryId(*id)),
        (None, _) => Err(Error::invalid("REBUILD_NO_QUERY", "The table has no batch of a query.")
            .cure("Name a table that a streaming query writes.")),
        _ => {
            let mut all: BTreeMap<Uuid, String> = BTreeMap::new();
            for (table, id) in tables.iter().flat_map(|t| ids.iter().map(move |id| (t, *id))) {
                if !all.contains_key(&id)
                    && let Some(told) = told(table, id)?
                {
                    all.insert(id, told);
                }
            }
            let all: Vec<String> = all.into_values().collect();
            let message = format!("Several queries write to the table: {}.", all.join("; "));
            Err(Error::invalid("REBUILD_SEVERAL_QUERIES", message)
                .cure("Choose one with --query-id."))
        }
    }
}

/// What tells a query from others: its newest batch, when that was, and what it read.
fn told(table: &DeltaTable, id: Uuid) -> Result<Option<String>> {
    let Some(newest) = table.txn(&id.to_string()) else { return Ok(None) };
    let mut text = format!("{id} (newest batch {newest}");
    for version in (0..=table.version()).rev() {
        let Some(entry) = table.read_commit(version)? else { break };
        if !entry.txns.iter().any(|t| t.app_id == id.to_string()) {
            continue;
        }
        let info = entry.commit_info.as_ref();
        if let Some(at) = info.and_then(|info| info.get("timestamp")?.as_i64()) {
            text.push_str(&format!(" of {}", timestamp(at)));
        }
        let topics = topics(&entry);
        if !topics.is_empty() {
            text.push_str(&format!(", reads {}", topics.join(", ")));
        }
        break;
    }
    text.push(')');
    Ok(Some(text))
}

/// The topics in the ranges of a commit.
fn topics(entry: &CommitEntry) -> Vec<String> {
    let ranges = ours(entry, "ranges").and_then(Value::as_array);
    let ends = ranges.into_iter().flatten().filter_map(|r| r.get("end")?.as_object());
    let names: BTreeSet<&String> = ends.flat_map(|end| end.keys()).collect();
    names.into_iter().map(|name| format!("`{name}`")).collect()
}

/// What Millstream says about itself in `commitInfo`.
fn ours<'a>(entry: &'a CommitEntry, key: &str) -> Option<&'a Value> {
    entry.commit_info.as_ref()?.get("millstream")?.get(key)
}

fn from_commit(query: QueryId, entry: &CommitEntry) -> Option<Rebuild> {
    let app = query.to_string();
    let newest = entry.txns.iter().find(|t| t.app_id == app)?.version;
    let ranges = ours(entry, "ranges")?.as_array()?;
    let ends: Option<Vec<Position>> =
        ranges.iter().map(|r| r.get("end").cloned().map(Position)).collect();
    let time = entry.commit_info.as_ref()?.get("timestamp").and_then(Value::as_i64);
    Some(Rebuild {
        query,
        batch: BatchId(u64::try_from(newest).ok()?),
        digest: Digest::parse(ours(entry, "digest")?.as_str()?)?,
        ends: ends.filter(|e| !e.is_empty())?,
        batch_time_ms: time.unwrap_or(0),
        watermark_ms: 0,
        conf: Conf::spark(SHUFFLE_PARTITIONS),
    })
}

fn too_little(path: &Path, entry: &CommitEntry) -> Error {
    Error::invalid(
        "REBUILD_FOREIGN_COMMIT",
        format!(
            "Version {} of `{}` does not say what its batch read.",
            entry.version,
            path.display()
        ),
    )
    .cure("Another engine wrote it; only batches of Millstream tell their offsets.")
}
