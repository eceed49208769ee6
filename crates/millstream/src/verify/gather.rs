//! Reads the facts from tables and checkpoint. Read-only: a running query is not disturbed, and
//! what it does meanwhile shows as a batch in flight.

use super::facts::{BatchMark, CheckpointFacts, CommitFacts, FileFacts, TableFacts};
use super::report::{Finding, Level, LevelReport, Report};
use super::source::{self, Brokers};
use super::{chain, files, history, place, rows::RowAudit};
use crate::checkpoint::{Inspection, open_read_only};
use millstream_core::ids::QueryId;
use millstream_core::log::Metadata;
use millstream_core::{Error, Result};
use millstream_delta::{AddFile, CommitEntry, DeltaTable};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is audited: the checkpoint of one flow and the tables it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyTarget {
    /// The checkpoint's directory.
    pub checkpoint: PathBuf,
    /// The flow's table.
    pub table: PathBuf,
    /// The flow's dead letters, where it keeps them.
    pub dead_letters: Option<PathBuf>,
}

/// A table that was opened, with its facts.
struct Opened {
    dir: PathBuf,
    table: DeltaTable,
    facts: TableFacts,
}

/// Audits one flow on every level that table and checkpoint allow. Blocking.
///
/// # Errors
/// What keeps the checkpoint or a table's log from being read; a damaged file is named.
pub fn verify(target: &VerifyTarget) -> Result<Report> {
    let mut gathered = gather(target)?;
    let rows = gathered.rows.take();
    Ok(gathered.finish(target, rows, None))
}

/// The same, with the row level held against the source as well.
///
/// # Errors
/// As [`verify`]; where the brokers cannot be asked.
pub async fn verify_with_brokers(target: &VerifyTarget, brokers: &Brokers) -> Result<Report> {
    let here = target.clone();
    let gathered = tokio::task::spawn_blocking(move || gather(&here)).await;
    let mut gathered =
        gathered.map_err(|e| Error::internal("The audit did not end.").caused_by(e))??;
    let Some(mut rows) = gathered.rows.take() else {
        return Ok(gathered.finish(target, None, None));
    };
    let store = open_read_only(&target.checkpoint).await?;
    let identity = Inspection::of(&*store).await?.identity.unwrap_or_default();
    let checkpoint = Arc::clone(&gathered.checkpoint);
    let others = gathered.others;
    let covered = source::audit(brokers, &identity, &checkpoint, &mut rows, others).await?;
    Ok(gathered.finish(target, Some(rows), Some(&covered)))
}

/// What tables and checkpoint said.
struct Gathered {
    query: QueryId,
    checkpoint: Arc<CheckpointFacts>,
    /// The first two levels.
    levels: Vec<LevelReport>,
    /// The third; `None` where the rows cannot be told apart.
    rows: Option<RowAudit>,
    /// Why not.
    rows_impossible: Option<String>,
    /// Whether somebody else changed rows.
    others: bool,
}

impl Gathered {
    fn finish(
        mut self,
        target: &VerifyTarget,
        rows: Option<RowAudit>,
        source: Option<&str>,
    ) -> Report {
        self.levels.push(match rows {
            Some(rows) => rows.finish(self.others, source),
            None => {
                let note = self.rows_impossible.map(|why| Finding::note(None, why));
                let notes = note.into_iter().collect();
                LevelReport::new(Level::Rows, "not possible for this table", notes)
            }
        });
        let mut report = Report::new(
            target.table.display().to_string(),
            target.checkpoint.display().to_string(),
            Some(self.query.to_string()),
            self.levels,
        );
        report.changed_by_others = self.others;
        report
    }
}

fn gather(target: &VerifyTarget) -> Result<Gathered> {
    let query = read_query(&target.checkpoint)?;
    let mut checkpoint = history::read(&target.checkpoint, query)?;
    // In the order of the commits: dead letters come first.
    let dirs = target.dead_letters.iter().chain([&target.table]);
    let tables = dirs.map(|dir| open(dir, query)).collect::<Result<Vec<_>>>()?;
    checkpoint.since = Some(history::since(&target.checkpoint)?);
    let checkpoint = Arc::new(checkpoint);
    let mut levels = Vec::new();
    for (sink, opened) in tables.iter().enumerate() {
        levels.push(named(chain::audit(&opened.facts, &checkpoint), opened, &tables));
        levels.push(named(files::audit(&opened.facts, &checkpoint, sink), opened, &tables));
    }
    let rows_impossible = place::missing(tables.iter().map(|t| t.table.schema()));
    let rows = match rows_impossible {
        None => Some(read_rows(&tables, &checkpoint, query)?),
        Some(_) => None,
    };
    let others = tables.iter().any(|t| files::changed_by_others(&t.facts));
    Ok(Gathered { query, checkpoint, levels, rows, rows_impossible, others })
}

/// Says which table a level speaks of, where there are several.
fn named(mut level: LevelReport, opened: &Opened, tables: &[Opened]) -> LevelReport {
    if tables.len() > 1 {
        let name = opened.dir.file_name().unwrap_or_default().to_string_lossy();
        level.covered = format!("{name}: {}", level.covered);
    }
    level
}

fn read_rows(
    tables: &[Opened],
    checkpoint: &Arc<CheckpointFacts>,
    query: QueryId,
) -> Result<RowAudit> {
    let mut audit = RowAudit::new(Arc::clone(checkpoint));
    let ours = query.to_string();
    let is_other = |app: &str| !app.starts_with(&ours);
    if tables.iter().any(|t| t.table.txns().keys().any(|app| is_other(app))) {
        audit.expect_other_streams();
    }
    for facts in tables.iter().map(|t| &t.facts).filter(|facts| !facts.is_whole()) {
        let first = facts.commits.iter().find_map(|commit| commit.mark.as_ref());
        audit.expect_forgotten_before(first.map_or(u64::MAX, |mark| mark.batch));
    }
    if tables.iter().any(|t| files::holds_rows_of_others(&t.facts)) {
        audit.expect_rows_of_others();
    }
    let mut files = Vec::new();
    for opened in tables {
        for file in opened.table.active_files()? {
            let adder = adder(&opened.facts, &file.path);
            let batch = adder.and_then(|commit| commit.mark.as_ref()).map(|mark| mark.batch);
            files.push((opened, file, adder, batch));
        }
    }
    // Rows that somebody put into other files take the places that the batches' own files leave.
    files.sort_by_key(|(_, _, _, batch)| batch.is_none());
    for (opened, file, adder, batch) in files {
        let by_other = adder.is_some_and(|commit| commit.other_stream);
        let name: Arc<str> = file.path.as_str().into();
        let columns = opened.table.partition_columns();
        let schema = opened.table.schema();
        let read = place::read(&opened.dir, schema, columns, &file, |at, offset| match by_other {
            true => audit.row_of_other(at, offset),
            false => audit.row(batch, &name, at, offset),
        });
        // The other files and tables are looked at all the same.
        match read {
            Err(error) => audit.finding(Finding::unknown(batch, error.to_string())),
            Ok(Some((in_log, in_file))) => audit.finding(Finding::violation(
                batch,
                format!(
                    "`{}` has a column `{in_file}`, which the table's log calls `{in_log}`: a reader \
                     that tells capitals apart finds no values in it",
                    file.path
                ),
            )),
            Ok(None) => {}
        }
    }
    Ok(audit)
}

fn adder<'a>(facts: &'a TableFacts, path: &str) -> Option<&'a CommitFacts> {
    facts.commits.iter().find(|c| c.added.iter().any(|f| f.path == path))
}

fn open(dir: &Path, query: QueryId) -> Result<Opened> {
    let table = DeltaTable::open(dir)?.ok_or_else(|| {
        Error::invalid("VERIFY_NO_TABLE", format!("`{}` is no Delta table.", dir.display()))
            .cure("Name the table's directory; has the pipeline completed a batch yet?")
    })?;
    let mut commits = Vec::new();
    for version in (0..=table.version()).rev() {
        let Some(entry) = table.read_commit(version)? else { break };
        commits.push(commit_facts(entry, query));
    }
    commits.reverse();
    let app = query.to_string();
    let mut live = BTreeMap::new();
    for file in table.active_files()? {
        let on_disk = std::fs::metadata(file.local_path(dir)?).ok().map(|m| m.len());
        live.insert(file.path, on_disk);
    }
    let txn = table.txn(&app).and_then(|v| u64::try_from(v).ok());
    let facts = TableFacts { version: table.version(), commits, txn, live };
    Ok(Opened { dir: dir.to_path_buf(), table, facts })
}

fn commit_facts(entry: CommitEntry, query: QueryId) -> CommitFacts {
    let info = entry.commit_info.unwrap_or_default();
    let app = query.to_string();
    let ours = &info["millstream"];
    let text = |key: &str| ours[key].as_str().map(str::to_owned);
    let txn = entry.txns.iter().find(|t| t.app_id == app);
    let mark = txn.and_then(|t| u64::try_from(t.version).ok()).map(|batch| BatchMark {
        batch,
        attempt: text("attempt"),
        digest: text("digest"),
        previous: text("previous"),
        rows: ours["rowsOut"].as_u64(),
    });
    CommitFacts {
        other_stream: mark.is_none() && !entry.txns.is_empty(),
        version: entry.version,
        operation: info["operation"].as_str().unwrap_or("an unnamed operation").to_owned(),
        mark,
        added: entry.adds.into_iter().map(file_facts).collect(),
        removed: entry.removes.into_iter().map(|r| (r.path, r.data_change)).collect(),
    }
}

fn file_facts(add: AddFile) -> FileFacts {
    let deleted = add.deletion_vector.as_ref().map_or(0, |dv| dv.cardinality);
    let rows = add.num_records().map(|n| n.saturating_sub(deleted.try_into().unwrap_or(0)));
    FileFacts {
        rows,
        bytes: add.size.try_into().unwrap_or(0),
        data_change: add.data_change,
        path: add.path,
    }
}

fn read_query(checkpoint: &Path) -> Result<QueryId> {
    let path = checkpoint.join("metadata");
    let bytes = std::fs::read(&path).map_err(|e| {
        Error::invalid(
            "VERIFY_NO_CHECKPOINT",
            format!("`{}` is no checkpoint: it has no `metadata`.", checkpoint.display()),
        )
        .caused_by(e)
        .cure("Name the checkpoint's directory; has the pipeline been run?")
    })?;
    let metadata = Metadata::decode(&bytes).map_err(|e| e.context(path.display()))?;
    Ok(metadata.id)
}
