//! `run --full-refresh`: deletes a table, its dead letters and its checkpoints, after saying so.
//!
//! Deleting takes many steps, and the process may end between any two of them. So everything is first
//! taken out of its place, each table and checkpoint in one durable step, the tables before the
//! checkpoints; and only what no run looks at any more is deleted. Wherever it ended, the next run
//! finds everything as it was; or a checkpoint without its table, which it refuses; or nothing, and
//! begins anew. Another `--full-refresh` goes on from each of them, and deletes what was left.

use crate::commands::pipeline::Loaded;
use millstream::pipeline::flows_of_other_tables;
use millstream_core::env::{Env as _, SystemEnv};
use millstream_core::{Error, ErrorKind, Result};
use millstream_store::{Access, FileLock, LocalStore, Locked, Store};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Between the name of what was taken out of its place and a random id; a period comes first.
const TAKEN_OUT: &str = ".refresh-";
/// A table's log: without it there is no table.
const LOG: &str = "_delta_log";
/// What is taken out first where a directory has to stay: a table without its log is none, and a
/// checkpoint without `metadata` is refused until its logs are gone as well.
const FIRST: [&str; 2] = [LOG, "metadata"];
/// What is taken out last: they keep a run off a checkpoint without `metadata`.
const LAST: [&str; 2] = ["commits", "offsets"];

/// What starting a table over deletes.
struct Plan {
    /// Tables: the target and the dead letters.
    tables: Vec<PathBuf>,
    /// Checkpoints of all its flows.
    checkpoints: Vec<PathBuf>,
}

/// Starts each of `tables` over.
///
/// # Errors
/// `TABLE_NOT_IN_PIPELINE`, `REFRESH_NOT_CONFIRMED`, `REFRESH_NOT_A_TABLE`, `REFRESH_TABLE_SHARED`,
/// `CHECKPOINT_IN_USE`, `REFRESH_FAILED`.
pub async fn start_over(loaded: &Loaded, tables: &[String], yes: bool) -> Result<()> {
    for table in tables {
        let plan = plan(loaded, table)?;
        for path in plan.tables.iter().chain(&plan.checkpoints) {
            // What may not be looked at is not missing.
            path.try_exists().map_err(|e| failed(path, e))?;
        }
        for path in &plan.tables {
            check_alone(path, table, &loaded.storage)?;
        }
        let there = |path: &&PathBuf| path.exists();
        let mut doomed: Vec<PathBuf> =
            plan.tables.iter().chain(&plan.checkpoints).filter(there).cloned().collect();
        doomed.extend(plan.leftovers());
        if doomed.is_empty() {
            continue;
        }
        eprintln!("Starting `{table}` over deletes:");
        for path in &doomed {
            eprintln!("  {}", path.display());
        }
        if !yes && !confirmed()? {
            return Err(Error::invalid("REFRESH_NOT_CONFIRMED", "Nothing was deleted.")
                .cure("Answer `yes`, or give --yes."));
        }
        delete(&plan).await?;
    }
    Ok(())
}

fn plan(loaded: &Loaded, table: &str) -> Result<Plan> {
    let flows = loaded.pipeline.flows.iter();
    let of_table: Vec<_> = flows.filter(|f| f.table.name.eq_ignore_ascii_case(table)).collect();
    if of_table.is_empty() {
        let names = loaded.pipeline.flows.iter().map(|f| f.table.name.as_str());
        let error = Error::invalid(
            "TABLE_NOT_IN_PIPELINE",
            format!("The pipeline has no table `{table}`."),
        );
        return Err(match millstream_core::options::did_you_mean(table, names) {
            Some(near) => error.cure(format!("Did you mean `{near}`?")),
            None => error,
        });
    }
    let mut plan = Plan { tables: Vec::new(), checkpoints: Vec::new() };
    for flow in of_table {
        let letters = flow.dead_letter_path(&loaded.storage)?;
        for path in [Some(flow.table_path(&loaded.storage)?), letters].into_iter().flatten() {
            if !plan.tables.contains(&path) {
                plan.tables.push(path);
            }
        }
        plan.checkpoints.push(flow.checkpoint_path(&loaded.storage));
    }
    Ok(plan)
}

/// Refuses to delete what flows of other tables have written, who would miss their batches.
fn check_alone(path: &Path, table: &str, storage: &Path) -> Result<()> {
    let others = match flows_of_other_tables(path, table, storage) {
        Ok(others) => others,
        // A table that cannot be read is one reason to start it over.
        Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(()),
        Err(error) => return Err(error),
    };
    if others.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(
        "REFRESH_TABLE_SHARED",
        format!("`{}` has batches of flow {} as well.", path.display(), others.join(" and of ")),
    )
    .cure(format!("Give the dead letters of `{table}` a table of their own (`deadLetter`).")))
}

fn confirmed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("Delete them? Type yes: ");
    let mut answer = String::new();
    let read = std::io::stderr().flush().and_then(|()| std::io::stdin().read_line(&mut answer));
    read.map_err(|e| failed(Path::new("the terminal"), e))?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

impl Plan {
    /// What a refresh that ended too early has taken out of its place and not deleted.
    fn leftovers(&self) -> Vec<PathBuf> {
        self.tables.iter().chain(&self.checkpoints).flat_map(|path| taken_out(path)).collect()
    }
}

/// Tables first: a checkpoint without its table is refused, while a table without its checkpoint
/// would be written to again from the beginning.
async fn delete(plan: &Plan) -> Result<()> {
    let mut locks = Vec::new();
    for checkpoint in plan.checkpoints.iter().filter(|c| c.exists()) {
        locks.push(lock(checkpoint).await?);
    }
    let tables: Vec<&PathBuf> = plan.tables.iter().filter(|t| t.exists()).collect();
    for table in &tables {
        check(table, !locks.is_empty())?;
    }
    for path in tables.into_iter().chain(plan.checkpoints.iter().filter(|c| c.exists())) {
        take_out(path).map_err(|e| failed(path, e))?;
    }
    for path in plan.leftovers() {
        std::fs::remove_dir_all(&path).map_err(|e| failed(&path, e))?;
    }
    Ok(())
}

/// Refuses what is no table, or more than one.
fn check(table: &Path, has_checkpoint: bool) -> Result<()> {
    if !is_table(table, has_checkpoint).map_err(|e| failed(table, e))? {
        return Err(Error::invalid(
            "REFRESH_NOT_A_TABLE",
            format!("`{}` is no Delta table and is not deleted.", table.display()),
        )
        .cure("Move it away yourself."));
    }
    if let Some(inner) = another_inside(table).map_err(|e| failed(table, e))? {
        return Err(Error::invalid(
            "REFRESH_NOT_A_TABLE",
            format!("`{}` holds `{}` and is not deleted.", table.display(), inner.display()),
        )
        .cure("Move what is not the table's away yourself."));
    }
    Ok(())
}

/// Whether this is a table; or what one leaves whose log was taken out: nothing but data files,
/// which are the table's only as long as there is a checkpoint. A first batch that was never
/// committed leaves the same.
fn is_table(path: &Path, has_checkpoint: bool) -> std::io::Result<bool> {
    if path.join(LOG).is_dir() {
        return Ok(true);
    }
    let mut open = vec![path.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_dir = entry.file_type()?.is_dir();
            if is_dir && (name == LOG || name.contains('=')) {
                open.push(entry.path());
            } else if !(is_dir && is_taken_out(&name, "")
                || has_checkpoint && name.starts_with("part-") && name.ends_with(".parquet"))
            {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Takes a table or a checkpoint out of its place, durably: the directory itself gets another name
/// beside it. One that cannot be renamed, because it is a link or another file system begins there,
/// stays, and what is in it is taken out.
fn take_out(path: &Path) -> std::io::Result<()> {
    if !path.is_symlink() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match std::fs::rename(path, path.with_file_name(new_name(&name))) {
            Ok(()) => return sync(path.parent().unwrap_or(path)),
            Err(error) if stays(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let aside = path.join(new_name(""));
    std::fs::create_dir(&aside)?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !is_taken_out(&name, "") {
            names.push(name);
        }
    }
    let turn = |name: &String| match () {
        () if FIRST.contains(&name.as_str()) => 0,
        () if LAST.contains(&name.as_str()) => 2,
        () => 1,
    };
    names.sort_by_key(|name| (turn(name), name.clone()));
    for name in names {
        std::fs::rename(path.join(&name), aside.join(&name))?;
        if FIRST.contains(&name.as_str()) {
            sync(path)?;
        }
    }
    sync(path)
}

/// Whether a directory cannot be renamed because of where it lies, as one that is mounted.
fn stays(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{CrossesDevices, ResourceBusy};
    matches!(error.kind(), CrossesDevices | ResourceBusy)
}

fn sync(directory: &Path) -> std::io::Result<()> {
    std::fs::File::open(directory)?.sync_all()
}

fn new_name(name: &str) -> String {
    format!(".{name}{TAKEN_OUT}{}", SystemEnv.uuid())
}

/// Whether this is a name that [`new_name`] has given to `of`.
fn is_taken_out(name: &str, of: &str) -> bool {
    let id = name.strip_prefix('.').and_then(|rest| rest.strip_prefix(of));
    id.and_then(|rest| rest.strip_prefix(TAKEN_OUT)).is_some_and(|id| Uuid::parse_str(id).is_ok())
}

/// What was taken out of `path`, or away from it.
fn taken_out(path: &Path) -> Vec<PathBuf> {
    let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let found = |dir: &Path, of: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let ours = entries.filter(|e| is_taken_out(&e.file_name().to_string_lossy(), of));
        ours.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    let mut all = path.parent().map(|parent| found(parent, &own)).unwrap_or_default();
    all.extend(found(path, ""));
    all
}

/// A table or a checkpoint somewhere below `table`, which deleting `table` would take along.
fn another_inside(table: &Path) -> std::io::Result<Option<PathBuf>> {
    let mut open = vec![table.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            // A link is deleted, not what it leads to.
            let name = entry.file_name();
            let own = name == LOG || is_taken_out(&name.to_string_lossy(), "");
            if !entry.file_type()?.is_dir() || (dir == table && own) {
                continue;
            }
            let path = entry.path();
            if path.join(LOG).is_dir() || path.join("offsets").is_dir() {
                return Ok(Some(path));
            }
            open.push(path);
        }
    }
    Ok(None)
}

/// Keeps other processes off the checkpoint while it is deleted.
async fn lock(checkpoint: &Path) -> Result<Option<FileLock>> {
    let store = LocalStore::new(checkpoint, Access::Owner);
    match store.try_lock("millstream/lock").await? {
        Locked::Held(lock) => Ok(Some(lock)),
        Locked::Unsupported => Ok(None),
        Locked::Busy { .. } => Err(Error::new(
            ErrorKind::Fenced,
            "CHECKPOINT_IN_USE",
            format!("A query runs on `{}`.", checkpoint.display()),
        )
        .cure("Stop it first.")),
    }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable("REFRESH_FAILED", format!("`{}` could not be deleted.", path.display()))
        .caused_by(error)
        .cure("Start again with --full-refresh: it goes on where it stopped.")
}
