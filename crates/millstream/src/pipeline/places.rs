//! Where a pipeline's tables, dead letters and checkpoints lie: never in each other, and never on
//! what another query has written.

use super::PipelineFlow;
use super::flow::CHECKPOINTS;
use millstream_core::ids::QueryId;
use millstream_core::log::Metadata;
use millstream_core::protocol::paths;
use millstream_core::{Error, Result};
use millstream_delta::{DeltaTable, MARK_SUFFIX};
use millstream_store::{Operation, io_error};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// One directory that a pipeline writes.
struct Place {
    path: PathBuf,
    /// The table it belongs to.
    table: String,
    what: String,
}

/// Refuses a pipeline of which one table would write into another, into dead letters that are not
/// its own, or into a checkpoint. Starting one of them over would delete the other's data.
///
/// # Errors
/// `PLACES_OVERLAP`, and where a location is no local path.
pub fn check_places(flows: &[PipelineFlow], storage: &Path) -> Result<()> {
    let mut places: Vec<Place> = Vec::new();
    let checkpoints = storage.join(CHECKPOINTS);
    places.push(Place {
        path: checkpoints,
        table: String::new(),
        what: "the checkpoints' directory".to_owned(),
    });
    for flow in flows {
        let table = &flow.table.name;
        let path = flow.table_path(storage)?;
        add(&mut places, Place { path, table: table.clone(), what: format!("table `{table}`") })?;
        if let Some(path) = flow.dead_letter_path(storage)? {
            let what = format!("the dead letters of `{table}`");
            add(&mut places, Place { path, table: table.clone(), what })?;
        }
    }
    Ok(())
}

fn add(places: &mut Vec<Place>, new: Place) -> Result<()> {
    for old in places.iter() {
        // Flows of one table share its directory, and may share its dead letters.
        if old.table == new.table && old.what == new.what && old.path == new.path {
            return Ok(());
        }
        if overlap(&old.path, &new.path) {
            let message = format!(
                "{} ({}) and {} ({}) lie in one another.",
                old.what,
                old.path.display(),
                new.what,
                new.path.display()
            );
            return Err(Error::invalid("PLACES_OVERLAP", message)
                .cure("Give each table, and each table's dead letters, a directory of its own."));
        }
    }
    places.push(new);
    Ok(())
}

/// Whether two places are one, or one lies in the other, with links resolved as far as the
/// directories exist.
pub(crate) fn overlap(a: &Path, b: &Path) -> bool {
    let (a, b) = (resolved(a), resolved(b));
    a.starts_with(&b) || b.starts_with(&a)
}

fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut real = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                real.pop();
            }
            other => {
                real.push(other);
                // What does not exist yet is no link.
                if let Ok(target) = real.canonicalize() {
                    real = target;
                }
            }
        }
    }
    real
}

/// Refuses to start a flow at its beginning where its table already has batches of a flow that the
/// pipeline does not have: the flow was renamed, or its checkpoint is lost, and every record would
/// be written once more. `new_flows` are those of which the user says that they are new.
///
/// # Errors
/// `TABLE_HAS_OTHER_QUERIES`, `TABLE_NAME_CASE`, and a damaged table or checkpoint by name.
pub fn check_history(flows: &[PipelineFlow], storage: &Path, new_flows: &[String]) -> Result<()> {
    for flow in flows {
        let dir = flow.table_path(storage)?;
        check_case(flow, storage)?;
        let is_new = !has_checkpoint(&flow.checkpoint_path(storage))?;
        if !is_new || new_flows.iter().any(|name| name.eq_ignore_ascii_case(&flow.name)) {
            continue;
        }
        let mut strangers = queries_in(&dir)?;
        for (name, query) in checkpoints_of(&flow.table.name, storage)? {
            let app = query.to_string();
            let still_here =
                flows.iter().any(|f| f.table.name == flow.table.name && f.name == name);
            if still_here {
                strangers.remove(&app);
            } else if let Some(holder) = strangers.get_mut(&app) {
                *holder = Some(name);
            }
        }
        let mut place = format!("the table `{}`", flow.table.name);
        // A crash may have left the first batch in the dead letters alone, which a flow of another
        // pipeline may write as well.
        if let (true, Some(letters)) = (strangers.is_empty(), flow.dead_letter_path(storage)?) {
            strangers = queries_in(&letters)?;
            if !strangers.is_empty() {
                for table in names(&storage.join(CHECKPOINTS))? {
                    for (_, query) in checkpoints_of(&table, storage)? {
                        strangers.remove(&query.to_string());
                    }
                }
            }
            place = format!("the dead letters of `{}`", flow.table.name);
        }
        if !strangers.is_empty() {
            return Err(others(flow, storage, &place, &strangers));
        }
    }
    Ok(())
}

/// Flows of other tables that have a checkpoint in the storage and batches in the table at `dir`, which
/// is one of `table`'s: its own, or that of its dead letters. Each as `flow of table`.
///
/// # Errors
/// A damaged table or checkpoint by name.
pub fn flows_of_other_tables(dir: &Path, table: &str, storage: &Path) -> Result<Vec<String>> {
    let holders = queries_in(dir)?;
    let mut found = Vec::new();
    for other in names(&storage.join(CHECKPOINTS))? {
        if other.eq_ignore_ascii_case(table) {
            continue;
        }
        for (flow, query) in checkpoints_of(&other, storage)? {
            if holders.contains_key(&query.to_string()) {
                found.push(format!("`{flow}` of `{other}`"));
            }
        }
    }
    Ok(found)
}

/// Whether anything of a checkpoint is there. Logs without `metadata` are a damaged one, which the
/// start refuses as that.
fn has_checkpoint(dir: &Path) -> Result<bool> {
    for log in [paths::OFFSETS, paths::COMMITS, paths::SOURCES, paths::LEASES, paths::INTENTS] {
        if !names(&dir.join(log))?.is_empty() {
            return Ok(true);
        }
    }
    let metadata = dir.join(paths::METADATA);
    metadata.try_exists().map_err(|e| io_error(Operation::Read, &metadata, e))
}

/// Names in a directory, but for those that begin with a period; none where there is no directory.
/// One that may not be read is not empty.
fn names(dir: &Path) -> Result<Vec<String>> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let unreadable = |e| io_error(Operation::Read, dir, e);
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), NotFound | NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(unreadable(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| !name.starts_with('.'));
    Ok(names)
}

/// The queries whose batches a table has. Spark's streams, and other writers with batches of their
/// own, are no flow of ours.
fn queries_in(dir: &Path) -> Result<BTreeMap<String, Option<String>>> {
    let Some(table) = DeltaTable::open(dir)? else { return Ok(BTreeMap::new()) };
    let apps = table.txns().into_keys().filter_map(|app| app.strip_suffix(MARK_SUFFIX));
    Ok(apps.map(|app| (app.to_owned(), None)).collect())
}

fn others(
    flow: &PipelineFlow,
    storage: &Path,
    place: &str,
    strangers: &BTreeMap<String, Option<String>>,
) -> Error {
    let list: Vec<String> = strangers
        .iter()
        .map(|(app, holder)| match holder {
            Some(name) => format!("{app} (flow `{name}`, which the pipeline no longer has)"),
            None => format!("{app} (whose checkpoint is not there)"),
        })
        .collect();
    let checkpoint = flow.checkpoint_path(storage);
    Error::invalid(
        "TABLE_HAS_OTHER_QUERIES",
        format!(
            "Flow `{}` has no checkpoint yet, and {place} already has batches of {}. \
             Starting at the beginning may write the same records once more.",
            flow.name,
            list.join(", ")
        ),
    )
    .cure(format!(
        "If the flow was renamed, rename its directory to `{}`; if the checkpoint is lost, make it \
         anew with `millstream checkpoint rebuild`; if the flow really is another one, run with \
         `--new-flow {}`.",
        checkpoint.display(),
        flow.name
    ))
}

/// Flows of a table that have a checkpoint, whether or not the pipeline still has them.
fn checkpoints_of(table: &str, storage: &Path) -> Result<Vec<(String, QueryId)>> {
    let mut found = Vec::new();
    let dir = storage.join(CHECKPOINTS).join(table);
    for name in names(&dir)? {
        let path = dir.join(&name).join(paths::METADATA);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(io_error(Operation::Read, &path, e));
            }
            Err(_) => continue,
        };
        let metadata =
            Metadata::decode(&bytes).map_err(|e| e.context(path.display().to_string()))?;
        found.push((name, metadata.id));
    }
    Ok(found)
}

/// Names of tables are not case-sensitive, names of directories are: a table whose name changed its
/// case would begin again beside the old one.
fn check_case(flow: &PipelineFlow, storage: &Path) -> Result<()> {
    let name = &flow.table.name;
    if flow.table.location.is_some() || storage.join(name).exists() {
        return Ok(());
    }
    let entries = std::fs::read_dir(storage).into_iter().flatten().flatten();
    let twin = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .find(|other| other != name && other.to_lowercase() == name.to_lowercase());
    match twin {
        None => Ok(()),
        Some(twin) => Err(Error::invalid(
            "TABLE_NAME_CASE",
            format!("The storage has the table `{twin}`; `{name}` is the same name."),
        )
        .cure(format!("Write `{twin}` in the pipeline, or rename the directory."))),
    }
}
