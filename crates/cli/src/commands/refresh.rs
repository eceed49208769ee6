//! `run --full-refresh`: deletes a table, its dead letters and its checkpoints, after saying so.

use crate::commands::pipeline::Loaded;
use millstream_core::{Error, ErrorKind, Result};
use millstream_store::{Access, FileLock, LocalStore, Locked, Store};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

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
/// `TABLE_NOT_IN_PIPELINE`, `REFRESH_NOT_CONFIRMED`, `REFRESH_NOT_A_TABLE`, `CHECKPOINT_IN_USE`,
/// `REFRESH_FAILED`.
pub async fn start_over(loaded: &Loaded, tables: &[String], yes: bool) -> Result<()> {
    for table in tables {
        let plan = plan(loaded, table)?;
        let doomed: Vec<&PathBuf> =
            plan.tables.iter().chain(&plan.checkpoints).filter(|p| p.exists()).collect();
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

/// Tables first: a checkpoint without its table is refused, while a table without its checkpoint
/// would be written to again from the beginning.
async fn delete(plan: &Plan) -> Result<()> {
    let mut locks = Vec::new();
    for checkpoint in plan.checkpoints.iter().filter(|c| c.exists()) {
        locks.push(lock(checkpoint).await?);
    }
    for table in plan.tables.iter().filter(|t| t.exists()) {
        if !table.join("_delta_log").is_dir() {
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
        std::fs::remove_dir_all(table).map_err(|e| failed(table, e))?;
    }
    for checkpoint in plan.checkpoints.iter().filter(|c| c.exists()) {
        std::fs::remove_dir_all(checkpoint).map_err(|e| failed(checkpoint, e))?;
    }
    Ok(())
}

/// A table or a checkpoint somewhere below `table`, which deleting `table` would take along.
fn another_inside(table: &Path) -> std::io::Result<Option<PathBuf>> {
    let mut open = vec![table.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            // A link is deleted, not what it leads to.
            if !entry.file_type()?.is_dir() || (dir == table && entry.file_name() == "_delta_log") {
                continue;
            }
            let path = entry.path();
            if path.join("_delta_log").is_dir() || path.join("offsets").is_dir() {
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
