//! States of a stream that are damaged: how each is made, and how it is put back.

use crate::lake::names;
use crate::{Lake, Shape, Workplace};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The checkpoint, seen from the lake's storage.
pub(super) const CHECKPOINT: &str = "_checkpoints/t/t";
/// The conf that makes a batch ours.
const INTENT_CONF: &str = ",\"millstream.intent\":\"";

/// How a state is made.
#[derive(Debug)]
pub struct Recipe {
    /// Its name in cells.
    pub name: &'static str,
    /// Where rows go.
    pub(super) shape: Shape,
    /// Faults of one run after another, from an empty lake; an empty one is a run to the end.
    faults: &'static [&'static str],
    /// What is done then.
    then: Then,
}

/// What follows the runs of a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    /// The newest batch loses its intent, as if Spark had planned it. It is in no sink.
    SparkPlanned,
    /// As [`Then::SparkPlanned`]; then a run completes it, and dies.
    SparkPlannedAndCompleted,
    /// As if Spark had planned, committed and completed the newest batch: no intent, no mark in the
    /// tables, no history.
    SparkCompleted,
    /// The checkpoint is deleted and made anew from its table.
    Rebuilt,
}

/// The state in which nothing repeats what `offsets/N` says.
pub(super) const COMPLETED_BY_SPARK: &str = "completed by Spark";

/// The states whose files are damaged.
pub(super) const RECIPES: &[Recipe] = &[
    letters("first in half of the tables", &["P11:inside:0"], Then::Nothing),
    letters("complete", &["P15:after:1", "P15:after:2"], Then::Nothing),
    letters("planned", &["P4:after:2"], Then::Nothing),
    letters("sealed", &["P9:after:2"], Then::Nothing),
    letters("in half of the tables", &["P11:inside:2"], Then::Nothing),
    letters("in all tables", &["P11:after:2"], Then::Nothing),
    letters("planned by Spark", &["P4:after:2"], Then::SparkPlanned),
    letters("completed for Spark", &["P4:after:2"], Then::SparkPlannedAndCompleted),
    letters(COMPLETED_BY_SPARK, &["P4:after:2"], Then::SparkCompleted),
    letters("made anew", &["P15:after:2"], Then::Rebuilt),
    Recipe { name: "at the end", shape: Shape::Table, faults: &[""], then: Then::Nothing },
];

const fn letters(name: &'static str, faults: &'static [&'static str], then: Then) -> Recipe {
    Recipe { name, shape: Shape::DeadLetters, faults, then }
}

/// A lake in one state, again and again.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The lake.
    pub(super) lake: Lake<'a>,
    /// Its files in this state.
    pub(super) files: Vec<File>,
    /// Its empty directories: a table that a run has begun to make is one of them.
    empty: Vec<PathBuf>,
}

/// One file of a state.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// Path in the lake's storage.
    pub(super) path: PathBuf,
    /// The path with names in place of random ids: the same in every lake of this state.
    pub(super) role: String,
    /// What it says.
    pub(super) bytes: Vec<u8>,
}

impl File {
    /// Whether it belongs to the checkpoint, and is not its lock.
    pub(super) fn is_of_checkpoint(&self) -> bool {
        self.path.starts_with(CHECKPOINT) && !self.role.ends_with("lock")
    }

    /// Whether it is an entry of a table's log.
    pub(super) fn is_log_entry(&self) -> bool {
        self.role.contains("_delta_log")
    }

    /// Whether it holds rows. Its name is random.
    pub(super) fn is_data(&self) -> bool {
        self.role.ends_with(".parquet")
    }
}

impl<'a> Stage<'a> {
    /// Makes the state in a new lake.
    ///
    /// # Panics
    /// If it does not come about.
    pub(super) fn new(place: &'a Workplace, recipe: &Recipe) -> Stage<'a> {
        let lake = place.lake(recipe.shape);
        for fault in recipe.faults {
            run_to(&lake, fault);
        }
        match recipe.then {
            Then::Nothing => {}
            Then::SparkPlanned => by_spark(&lake),
            Then::SparkPlannedAndCompleted | Then::SparkCompleted => {
                by_spark(&lake);
                run_to(&lake, "P15:after:2");
                if recipe.then == Then::SparkCompleted {
                    forget_marks(&lake);
                    for file in ["metadata", "sources/0/0", "commits/2"] {
                        add_twin(&lake.checkpoint().join(file));
                    }
                }
            }
            Then::Rebuilt => {
                fs::remove_dir_all(lake.checkpoint()).expect("the checkpoint goes");
                rebuild(&lake).expect("the checkpoint is made anew");
            }
        }
        let files = files_of(&lake.storage());
        let empty = empty_directories(&lake.storage());
        Stage { lake, files, empty }
    }

    /// Puts everything back as it was.
    pub(super) fn reset(&self) {
        let storage = self.lake.storage();
        let _ = fs::remove_dir_all(&storage);
        for file in &self.files {
            write(&storage.join(&file.path), &file.bytes);
        }
        for path in &self.empty {
            fs::create_dir_all(storage.join(path)).expect("the directory");
        }
    }

    /// Puts one file back, whatever is in its place.
    pub(super) fn put_back(&self, file: &File) {
        let path = self.lake.storage().join(&file.path);
        remove(&path);
        write(&path, &file.bytes);
    }

    /// The file of this role.
    pub(super) fn file(&self, role: &str) -> Option<&File> {
        self.files.iter().find(|file| file.role == role)
    }
}

/// Runs until the fault, or to the end.
fn run_to(lake: &Lake<'_>, fault: &str) {
    let ended = lake.run(Some(fault).filter(|fault| !fault.is_empty()));
    let reached = ended.was_killed() && ended.stderr.contains("reached");
    assert!(reached || (fault.is_empty() && ended.is_success()), "{fault}: {}", ended.words());
}

/// Makes the checkpoint anew from the tables that there are.
///
/// # Errors
/// What the command says.
pub(super) fn rebuild(lake: &Lake<'_>) -> Result<(), String> {
    let (checkpoint, all) = (lake.checkpoint(), lake.tables());
    let is_there = |table: &&PathBuf| table.join("_delta_log").is_dir();
    let there: Vec<PathBuf> = all.iter().filter(is_there).cloned().collect();
    let tables = if there.is_empty() { all } else { there };
    let mut arguments = vec!["rebuild".as_ref()];
    arguments.extend(tables.iter().flat_map(|table| ["--table".as_ref(), table.as_os_str()]));
    arguments.push(checkpoint.as_os_str());
    let output = lake.checkpoint_command(&arguments);
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Takes our key out of the newest `offsets/N`, the intent away, and adds a twin: what Spark leaves of
/// a batch on a local disk.
fn by_spark(lake: &Lake<'_>) {
    let checkpoint = lake.checkpoint();
    let newest = names(&checkpoint.join("offsets")).into_iter().max().expect("a planned batch");
    let path = checkpoint.join("offsets").join(newest);
    let text = fs::read_to_string(&path).expect("Spark's grammar is text");
    let (before, rest) = text.split_once(INTENT_CONF).expect("our key");
    let (named, after) = rest.split_once('"').expect("its value ends");
    let intent = named.split(':').next().expect("a name");
    fs::write(&path, format!("{before}{after}")).expect("the plan");
    fs::remove_file(checkpoint.join("millstream/intents").join(intent)).expect("the intent");
    add_twin(&path);
}

/// Hadoop's checksum file beside a file: a magic, the chunk size, and a CRC-32 of every chunk.
fn add_twin(path: &Path) {
    const CHUNK: u32 = 512;
    let bytes = fs::read(path).expect("a file");
    let mut twin = [&b"crc\0"[..], &CHUNK.to_be_bytes()].concat();
    for chunk in bytes.chunks(CHUNK as usize) {
        let mut crc = u32::MAX;
        for byte in chunk {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            }
        }
        twin.extend((!crc).to_be_bytes());
    }
    let name = path.file_name().expect("a name").to_string_lossy();
    fs::write(path.with_file_name(format!(".{name}.crc")), twin).expect("the twin");
}

/// Takes what Spark would not have written out of the newest batch's history and commits.
fn forget_marks(lake: &Lake<'_>) {
    fs::remove_file(lake.checkpoint().join("millstream/ledger/2")).expect("the history");
    for table in lake.tables() {
        let log = table.join("_delta_log");
        let newest = log.join(names(&log).into_iter().max().expect("an entry"));
        let text = fs::read_to_string(&newest).expect("an entry is text");
        let is_sparks = |line: &&str| !line.contains("#millstream") && !line.contains("commitInfo");
        let kept: Vec<&str> = text.lines().filter(is_sparks).collect();
        fs::write(&newest, kept.join("\n") + "\n").expect("the entry");
    }
}

/// Everything under `root`, in order.
fn files_of(root: &Path) -> Vec<File> {
    let found =
        tree(root).into_iter().map(|(path, bytes)| File { role: role(&path, &bytes), path, bytes });
    let mut files: Vec<File> = found.collect();
    files.sort_by(|a, b| a.role.cmp(&b.role));
    files
}

/// Paths under `root` and what is there; directories in which there is nothing are nothing.
pub(super) fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(at) = open.pop() {
        let Ok(entries) = fs::read_dir(root.join(&at)) else { continue };
        for entry in entries.flatten() {
            let path = at.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                _ => {
                    let bytes = fs::read(entry.path()).unwrap_or_default();
                    found.insert(path, bytes);
                }
            }
        }
    }
    found
}

fn empty_directories(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(at) = open.pop() {
        let entries: Vec<_> = fs::read_dir(&at).expect("a directory").flatten().collect();
        if entries.is_empty() {
            found.push(at.strip_prefix(root).expect("it lies in it").to_path_buf());
        }
        open.extend(entries.iter().map(fs::DirEntry::path).filter(|path| path.is_dir()));
    }
    found
}

/// The path in the checkpoint, or in the storage, with what random names stand for.
fn role(path: &Path, bytes: &[u8]) -> String {
    let inside = path.strip_prefix(CHECKPOINT).unwrap_or(path);
    let parent = inside.parent().map(|p| p.display().to_string()).unwrap_or_default();
    if parent == "millstream/intents" {
        return format!("{parent}/<of batch {}>", number_after(bytes, "\"batch\":"));
    }
    if parent.starts_with("millstream/prepared") {
        return format!("{parent}/<attempt>");
    }
    inside.display().to_string()
}

fn number_after(bytes: &[u8], key: &str) -> String {
    let text = String::from_utf8_lossy(bytes);
    let rest = text.split_once(key).expect("an intent names its batch").1;
    rest.chars().take_while(char::is_ascii_digit).collect()
}

/// Writes a file and the directories it lies in.
pub(super) fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("the directory");
    fs::write(path, bytes).expect("the file");
}

/// Removes a file or a directory.
pub(super) fn remove(path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).expect("the directory goes");
    } else if path.symlink_metadata().is_ok() {
        fs::remove_file(path).expect("the file goes");
    }
}
