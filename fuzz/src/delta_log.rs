//! A table's log in memory: entries, names, the hint, and what a reader makes of them together.
//!
//! The input is a list of files: one byte for the name, the content up to a byte 0xff (which is no
//! UTF-8, so that no content needs it).

use crate::check_error;
use crate::input::Input;
use crate::memory;
use millstream_core::{Error, Result};
use millstream_delta::{CommitEntry, DeltaTable, LogFiles, Stamp, table_path};
use millstream_store::Created;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What records may hold for one byte of a log: maps, and an entry read more than once.
const BYTES_PER_BYTE: usize = 400;
const FILES_MAX: usize = 12;

/// A log that is only read.
#[derive(Debug)]
struct MemoryLog(BTreeMap<String, Vec<u8>>);

fn read_only() -> Error {
    Error::unavailable("STORE_READ_ONLY", "The log is only read.")
}

impl LogFiles for MemoryLog {
    fn dir(&self) -> &Path {
        Path::new("/nowhere/_delta_log")
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(name).cloned())
    }

    fn stamp(&self, name: &str) -> Result<Option<Stamp>> {
        let stamp = |b: &Vec<u8>| Stamp { size: b.len() as u64, inode: 1, modified_ns: 1 };
        Ok(self.0.get(name).map(stamp))
    }

    fn names(&self) -> Result<Option<Vec<String>>> {
        Ok((!self.0.is_empty()).then(|| self.0.keys().cloned().collect()))
    }

    fn create(&self, _: &str, _: &[u8]) -> Result<Created> {
        Err(read_only())
    }

    fn settle(&self, _: &str) -> Result<()> {
        Err(read_only())
    }
}

/// One execution.
pub fn run(data: &[u8]) {
    let files = files(Input(data));
    let newest = files.keys().filter_map(|n| n.strip_suffix(".json")?.parse().ok()).max();
    memory::bounded((1 << 20) + BYTES_PER_BYTE * data.len(), || {
        let log = Arc::new(MemoryLog(files));
        for version in 0..3 {
            match CommitEntry::read(log.as_ref(), version) {
                Ok(Some(entry)) => check_entry(&entry),
                Ok(None) => {}
                Err(error) => check_error(&error),
            }
        }
        match DeltaTable::open_log("/nowhere", log) {
            Ok(Some(table)) => check_table(table, newest),
            Ok(None) => {}
            Err(error) => check_error(&error),
        }
    });
}

fn files(mut input: Input<'_>) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    while !input.0.is_empty() && files.len() < FILES_MAX {
        let name = match input.byte() {
            version @ 0..=7 => format!("{version:020}.json"),
            8 => "_last_checkpoint".to_owned(),
            version @ 9..=11 => format!("{:020}.checkpoint.parquet", version - 9),
            _ => match std::str::from_utf8(input.until(b'\n')) {
                Ok(name) => name.to_owned(),
                Err(_) => continue,
            },
        };
        files.insert(name, input.until(0xff).to_vec());
    }
    files
}

fn check_table(mut table: DeltaTable, newest: Option<u64>) {
    assert!(newest.is_none_or(|newest| table.version() <= newest.max(2)));
    assert!(table.txns().len() <= 1 << 16);
    match table.hinted_checkpoint() {
        Ok(hinted) => assert!(hinted.is_none_or(|version| version < i64::MAX as u64)),
        Err(error) => check_error(&error),
    }
    match table.active_files() {
        Ok(live) => assert!(live.is_sorted_by(|a, b| a.path <= b.path)),
        Err(error) => check_error(&error),
    }
    let before = table.version();
    table.refresh().unwrap();
    assert_eq!(table.version(), before, "nothing happened meanwhile");
    assert!(table.oldest_commit().unwrap().is_none_or(|oldest| oldest <= before));
}

/// What was read is written and read again as the same; paths have a meaning.
fn check_entry(entry: &CommitEntry) {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: serde_json::Value| {
        lines.extend(serde_json::json!({ name: value }).to_string().into_bytes());
        lines.push(b'\n');
    };
    entry.adds.iter().for_each(|a| line("add", serde_json::to_value(a).unwrap()));
    entry.removes.iter().for_each(|r| line("remove", serde_json::to_value(r).unwrap()));
    entry.txns.iter().for_each(|t| line("txn", serde_json::to_value(t).unwrap()));
    entry.metadata.iter().for_each(|m| line("metaData", serde_json::to_value(m).unwrap()));
    entry.protocol.iter().for_each(|p| line("protocol", serde_json::to_value(p).unwrap()));
    if !lines.is_empty() {
        let log = MemoryLog([(format!("{:020}.json", 0), lines)].into_iter().collect());
        let again = CommitEntry::read(&log, 0).unwrap().unwrap();
        assert_eq!((&again.adds, &again.removes), (&entry.adds, &entry.removes));
        assert_eq!((&again.metadata, &again.protocol), (&entry.metadata, &entry.protocol));
        assert_eq!(again.txns, entry.txns);
    }
    for add in &entry.adds {
        if let Err(error) = add.local_path(Path::new("/table")) {
            check_error(&error);
        }
        let _ = add.num_records();
        if let Err(error) = table_path(&add.path) {
            check_error(&error);
        }
    }
}
