//! What a power failure would leave: the order of writes and syncs of an undisturbed run. Killing a
//! process does not lose what the kernel holds, so that forgotten syncs show only here.

use crate::disk::{Call, Disk};
use crate::lake::end;
use crate::report::{Cell, Report};
use crate::{Lake, Shape, Workplace, disk};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Where an earlier run died, if there was one: a batch in doubt at each kind of step, and files
/// that are half purged.
const STATES: [Option<&str>; 7] = [
    None,
    Some("P4:after:1"),
    Some("P9:after:1"),
    Some("P11:inside:1"),
    Some("P11:after:1"),
    Some("P13:inside:1"),
    Some("P15:inside:2"),
];

/// What has been written and not forced to the disk.
#[derive(Debug, Default)]
struct Unsynced {
    /// Files with bytes that only the kernel has.
    files: BTreeSet<PathBuf>,
    /// Names that only the kernel has, by the directory to sync.
    names: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    /// Every name there is: creating one again changes nothing.
    existing: BTreeSet<PathBuf>,
}

/// Breaks of the two rules: a file is synced before it gets its final name, or is named by another
/// file; and before a log entry, an intent's, a completion's or a sealed attempt's name appears,
/// every earlier name that it builds on is synced.
pub fn breaks(calls: &[Call]) -> Vec<String> {
    breaks_after(&mut Unsynced::default(), calls)
}

fn breaks_after(state: &mut Unsynced, calls: &[Call]) -> Vec<String> {
    let mut found = Vec::new();
    for call in calls {
        let path = &call.path;
        match call.class.as_str() {
            "create" | "mkdir" => state.named(path),
            "write" | "truncate" => {
                state.files.insert(path.clone());
            }
            "sync" => {
                state.files.remove(path);
                state.names.remove(path);
            }
            "link" | "rename" => {
                if is_step(path) && !state.existing.contains(path) {
                    found.extend(state.missing(path));
                }
                state.named(path);
            }
            "unlink" => state.gone(path),
            _ => {}
        }
    }
    found
}

impl Unsynced {
    fn named(&mut self, path: &Path) {
        if !self.existing.insert(path.to_owned()) {
            return;
        }
        if let Some(parent) = path.parent() {
            self.names.entry(parent.to_owned()).or_default().insert(path.to_owned());
        }
    }

    fn gone(&mut self, path: &Path) {
        self.files.remove(path);
        self.existing.remove(path);
        if let Some(names) = path.parent().and_then(|parent| self.names.get_mut(parent)) {
            names.remove(path);
        }
    }

    /// The run that did this is dead: nobody builds on what it left, but for its steps.
    fn forget_all_but_steps(&mut self) {
        self.files.retain(|file| is_step(file));
        for names in self.names.values_mut() {
            names.retain(|name| is_step(name));
        }
    }

    /// What is not durable although `step` is about to appear. Temporary names are nobody's.
    fn missing(&self, step: &Path) -> Vec<String> {
        let matters = |path: &&PathBuf| !is_temporary(path) && !is_advice(path);
        let files = self
            .files
            .iter()
            .filter(matters)
            .map(|file| format!("the bytes of {}", file.display()));
        // The bytes of the file that gets this name are under a temporary one until now.
        let own = self.files.iter().filter(|file| is_temporary_of(file, step));
        let own = own.map(|file| format!("its own bytes ({})", file.display()));
        let names = self.names.values().flatten().filter(matters);
        let names = names.map(|name| format!("the name {}", name.display()));
        files
            .chain(own)
            .chain(names)
            .map(|what| format!("{} appears before {what} is durable", step.display()))
            .collect()
    }
}

/// Files whose existence means that a step of the protocol is done.
fn is_step(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let steps = ["/offsets/", "/commits/", "/prepared/", "/_delta_log/"];
    steps.iter().any(|step| text.contains(step)) && !is_advice(path)
}

/// Files that nothing builds on: the lock's words about its holder, and table checkpoints.
fn is_advice(path: &Path) -> bool {
    let text = path.to_string_lossy();
    ["/millstream/lock", "checkpoint.parquet", "_last_checkpoint"].iter().any(|n| text.contains(n))
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        name.starts_with('.') && name.ends_with(".tmp")
    })
}

fn is_temporary_of(path: &Path, named: &Path) -> bool {
    let name = named.file_name().unwrap_or_default().to_string_lossy().into_owned();
    is_temporary(path)
        && path.parent() == named.parent()
        && path.file_name().is_some_and(|t| t.to_string_lossy().contains(&name))
}

/// Calls of each class that `strace` sees the same kind of run make, to hold the counting library
/// against: whatever changed the lake without it would be a hole in every campaign.
fn strace_counts(
    place: &Workplace,
    disk: &Disk,
    shape: Shape,
) -> Option<[BTreeMap<String, usize>; 2]> {
    Command::new("strace").arg("-V").output().ok()?;
    let lake = place.lake(shape);
    let (root, trace, log) = (lake.root(), lake.path("strace"), lake.log());
    let inner = lake.command();
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-qq", "-s", "0", "-e"]);
    command.arg(
        "trace=open,openat,creat,write,writev,pwrite64,copy_file_range,fallocate,ftruncate,fsync,\
         fdatasync,sync_file_range,link,linkat,symlink,symlinkat,rename,renameat,renameat2,unlink,\
         unlinkat,rmdir,mkdir,mkdirat,sendfile,splice",
    );
    command.arg("-o").arg(&trace);
    let library = disk.library();
    let preload = |name: &str, value: &Path| format!("{name}={}", value.display());
    command.arg("-E").arg(preload("LD_PRELOAD", &library));
    command.arg("-E").arg(preload("DISK_FAULTS_ROOT", &root));
    command.arg("-E").arg(preload("DISK_FAULTS_LOG", &log));
    command.arg(inner.get_program()).args(inner.get_args());
    let output = command.output().expect("strace runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&trace).expect("the trace");
    let mut seen = BTreeMap::new();
    for line in text.lines() {
        if let Some(class) = class_in_trace(line, &root.to_string_lossy()) {
            *seen.entry(class).or_default() += 1;
        }
    }
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for call in crate::disk::calls(&log) {
        *counted.entry(call.class).or_default() += 1;
    }
    Some([seen, counted])
}

/// `123 openat(AT_FDCWD</x>, "/lake/f", O_WRONLY|O_CREAT, 0600) = 3</lake/f>`
fn class_in_trace(line: &str, root: &str) -> Option<String> {
    let call = line.split_once(' ')?.1.trim_start();
    let (name, arguments) = call.split_once('(')?;
    if call.starts_with('<') || !arguments.contains(root) {
        return None;
    }
    let class = match name {
        "open" | "openat" | "creat" => {
            let creates = arguments.contains("O_CREAT") || arguments.contains("O_TRUNC");
            return (creates || name == "creat").then(|| "create".to_owned());
        }
        "fsync" | "fdatasync" | "sync_file_range" => "sync",
        "link" | "linkat" | "symlink" | "symlinkat" => "link",
        "rename" | "renameat" | "renameat2" => "rename",
        "unlink" | "unlinkat" | "rmdir" => "unlink",
        "mkdir" | "mkdirat" => "mkdir",
        "ftruncate" => "truncate",
        _ => "write",
    };
    Some(class.to_owned())
}

/// The order in a run that goes on after one that died, if one did.
fn ordered(place: &Workplace, disk: &Disk, shape: Shape, state: Option<&str>) -> Cell {
    let lake = place.lake(shape);
    let after = state.map_or_else(String::new, |state| format!(" after {state}"));
    let mut unsynced = Unsynced::default();
    let mut found = Vec::new();
    let mut count = 0;
    let first = state.map(Some).into_iter();
    for fault in first.chain([None]) {
        match recorded(&lake, disk, fault) {
            Ok(calls) => {
                found.extend(breaks_after(&mut unsynced, &calls));
                count = calls.len();
            }
            Err(ended) => return Cell::violation(format!("{shape}{after} order"), ended),
        }
        if fault.is_some() {
            unsynced.forget_all_but_steps();
        }
    }
    let name = format!("{shape}{after} order of {count} calls");
    match found.first() {
        None => Cell::held(name, "everything is durable before something builds on it"),
        Some(first) => Cell::violation(name, format!("{first}, and {} more", found.len() - 1)),
    }
}

/// The calls of one run: to the end of the stream, or to this fault. An error says how it ended
/// otherwise.
fn recorded(lake: &Lake<'_>, disk: &Disk, fault: Option<&str>) -> Result<Vec<Call>, String> {
    let log = lake.log();
    let mut command = lake.command();
    disk.under(&mut command, &lake.root(), &log);
    if let Some(fault) = fault {
        command.env("MILLSTREAM_FAULT", fault);
    }
    let ended = end(command.spawn().expect("the binary starts"));
    let is_as_meant = if fault.is_some() { ended.was_killed() } else { ended.is_success() };
    if !is_as_meant {
        return Err(format!(
            "the run to {} did not end so: {}",
            fault.unwrap_or("the end"),
            ended.words()
        ));
    }
    Ok(disk::calls(&log))
}

/// Checks the order of an undisturbed run of each shape, and the counting against `strace`.
pub fn run(place: &Workplace, disk: &Disk, command: &str) -> Report {
    let begun = Instant::now();
    let mut cells = Vec::new();
    for shape in Shape::ALL {
        cells.extend(STATES.map(|state| ordered(place, disk, shape, state)));
        let name = format!("{shape} calls as strace sees them");
        match strace_counts(place, disk, shape) {
            None => assert!(!millstream_testkit::require_real(), "strace is missing"),
            Some([seen, counted]) if seen == counted => {
                cells.push(Cell::held(name, "the same calls of each class"));
            }
            Some([seen, counted]) => cells.push(Cell::violation(
                name,
                format!("strace saw {seen:?}, the library counted {counted:?}"),
            )),
        }
    }
    let title = "The order of writes, syncs and names in an undisturbed run and in runs that go on \
                 after a crash, and whether the library that counts calls sees what strace sees. \
                 Deletions that a power failure takes back are the simulator's.";
    Report::of("durability-order", title, command, begun.elapsed().as_secs_f64(), cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(text: &str) -> Vec<Call> {
        text.split(", ")
            .map(|call| {
                let (class, path) = call.split_once(' ').unwrap();
                Call { class: class.to_owned(), path: path.into() }
            })
            .collect()
    }

    #[test]
    fn an_entry_may_appear_when_everything_before_it_is_durable() {
        let sound = "create /t/part-1, write /t/part-1, sync /t/part-1, sync /t, \
                     create /t/_delta_log/.0.json.tmp, write /t/_delta_log/.0.json.tmp, \
                     sync /t/_delta_log/.0.json.tmp, link /t/_delta_log/0.json, \
                     unlink /t/_delta_log/.0.json.tmp, sync /t/_delta_log";
        assert_eq!(breaks(&calls(sound)), Vec::<String>::new());
        for (forgotten, what) in [
            ("sync /t/part-1, ", "the bytes of /t/part-1"),
            ("sync /t, ", "the name /t/part-1"),
            ("sync /t/_delta_log/.0.json.tmp, ", "its own bytes"),
        ] {
            let found = breaks(&calls(&sound.replacen(forgotten, "", 1)));
            assert_eq!(found.len(), 1, "{forgotten}: {found:?}");
            assert!(found[0].contains(what), "{found:?}");
        }
    }

    #[test]
    fn a_name_is_durable_before_the_next_step() {
        let two = "link /c/offsets/0, sync /c/offsets, link /c/commits/0, sync /c/commits";
        assert_eq!(breaks(&calls(two)), Vec::<String>::new());
        let found = breaks(&calls("link /c/offsets/0, link /c/commits/0"));
        assert_eq!(found, ["/c/commits/0 appears before the name /c/offsets/0 is durable"]);
    }
}
