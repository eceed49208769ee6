//! One entry of the log: parsing, and the error that names a damaged one.

use super::actions::{AddFile, Metadata, Protocol, RemoveFile, Row, Txn};
use super::files::LogFiles;
use super::names;
use millstream_core::{Error, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// What one commit did.
#[derive(Debug, Clone, Default)]
pub struct CommitEntry {
    /// Version of the table that the commit made.
    pub version: u64,
    /// `commitInfo` as it is in the log.
    pub commit_info: Option<Value>,
    /// New metadata.
    pub metadata: Option<Metadata>,
    /// New protocol.
    pub protocol: Option<Protocol>,
    /// Progress of applications.
    pub txns: Vec<Txn>,
    /// Files added.
    pub adds: Vec<AddFile>,
    /// Files removed.
    pub removes: Vec<RemoveFile>,
}

impl CommitEntry {
    /// Reads entry `version` of a log; `None` if there is no such entry.
    ///
    /// # Errors
    /// `DELTA_LOG_CORRUPT`, naming the line, or what `files` says.
    pub fn read(files: &dyn LogFiles, version: u64) -> Result<Option<CommitEntry>> {
        read_full(files, version)
    }
}

/// The part of an entry that a writer keeps: no files.
#[derive(Debug, Default)]
pub(crate) struct LightEntry {
    pub metadata: Option<Metadata>,
    pub protocol: Option<Protocol>,
    pub txns: Vec<Txn>,
}

/// A line without the content of its files; the syntax is checked all the same.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LightRow {
    txn: Option<Txn>,
    meta_data: Option<Metadata>,
    protocol: Option<Protocol>,
    commit_info: Option<LightInfo>,
    #[serde(rename = "add")]
    _add: Option<IgnoredAny>,
    #[serde(rename = "remove")]
    _remove: Option<IgnoredAny>,
}

/// Whether an entry is ours.
#[derive(Deserialize)]
struct LightInfo {
    millstream: Option<IgnoredAny>,
}

/// Reads entry `version` without its files; `None` if there is no such entry.
pub(crate) fn read_light(files: &dyn LogFiles, version: u64) -> Result<Option<LightEntry>> {
    let Some(bytes) = files.read(&names::entry(version))? else { return Ok(None) };
    let mut entry = LightEntry::default();
    let mut ours = false;
    for_each_line(files, version, &bytes, |row: LightRow| {
        ours |= row.commit_info.is_some_and(|info| info.millstream.is_some());
        entry.txns.extend(row.txn);
        entry.metadata = row.meta_data.or(entry.metadata.take());
        entry.protocol = row.protocol.or(entry.protocol.take());
    })?;
    // Each of ours names its query's batch. One without was cut at the end of a line, and taking
    // it for a commit of nobody would commit the batch again.
    if ours && entry.txns.is_empty() {
        return Err(damaged(files, version, bytes.split(|b| *b == b'\n').count()));
    }
    Ok(Some(entry))
}

/// Reads entry `version`; `None` if there is no such entry.
pub(crate) fn read_full(files: &dyn LogFiles, version: u64) -> Result<Option<CommitEntry>> {
    let Some(bytes) = files.read(&names::entry(version))? else { return Ok(None) };
    let mut entry = CommitEntry { version, ..CommitEntry::default() };
    for_each_line(files, version, &bytes, |row: Row| {
        entry.commit_info = row.commit_info.or(entry.commit_info.take());
        entry.metadata = row.meta_data.or(entry.metadata.take());
        entry.protocol = row.protocol.or(entry.protocol.take());
        entry.txns.extend(row.txn);
        entry.adds.extend(row.add);
        entry.removes.extend(row.remove);
    })?;
    Ok(Some(entry))
}

fn for_each_line<T: for<'a> Deserialize<'a>>(
    files: &dyn LogFiles,
    version: u64,
    bytes: &[u8],
    mut each: impl FnMut(T),
) -> Result<()> {
    let mut lines = 0;
    for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let row = serde_json::from_slice(line)
            .map_err(|e| damaged(files, version, index + 1).caused_by(e))?;
        each(row);
        lines += 1;
    }
    if lines == 0 {
        return Err(damaged(files, version, 1));
    }
    Ok(())
}

fn damaged(files: &dyn LogFiles, version: u64, line: usize) -> Error {
    let path = files.dir().join(names::entry(version));
    Error::corrupt(
        "DELTA_LOG_CORRUPT",
        format!("The log entry `{}` is damaged in line {line}.", path.display()),
    )
    .cure("Restore the file from a backup; it was not skipped, because it may hold rows.")
}
