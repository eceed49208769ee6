//! Syscall by syscall: the n-th call that changes the lake kills the process, or fails, for every n
//! until a run gets through; from an empty lake, and from each kind of batch in doubt.

use crate::disk::{self, Call, Deed, Disk};
use crate::lake::{BATCHES, end};
use crate::report::{Cell, Report};
use crate::{Ended, Lake, Shape, Workplace, run_cells};
use std::path::Path;
use std::time::Instant;

/// What the lake looks like before the run that is hurt: empty, or a batch in doubt.
const STATES: [Option<&str>; 5] =
    [None, Some("P4:after:1"), Some("P9:after:1"), Some("P11:after:1"), Some("P13:inside:1")];

/// How a run ends that makes fewer calls than the cell counts.
const NO_SUCH_CALL: &str = "no such call";

/// One cell.
#[derive(Debug, Clone)]
pub struct Hurt {
    shape: Shape,
    /// Fault that an earlier run died of, if there was one.
    state: Option<&'static str>,
    deed: Deed,
    /// The call: its number, or `class:end of path`.
    at: String,
    /// Fault point armed besides.
    fault: Option<String>,
}

/// Cells for every `stride`-th call of whole runs.
pub fn matrix(place: &Workplace, disk: &Disk, stride: usize) -> Vec<Hurt> {
    let mut cells = Vec::new();
    for shape in Shape::ALL {
        for state in STATES {
            let calls = count(place, disk, shape, state);
            for deed in Deed::KILLS.into_iter().chain(Deed::ERRORS) {
                // One more than there are, to see that there are no more.
                let numbers = (1..=calls + 1).step_by(stride);
                cells.extend(numbers.map(|n| Hurt {
                    shape,
                    state,
                    deed,
                    at: n.to_string(),
                    fault: None,
                }));
            }
        }
    }
    cells.extend(doubts());
    cells
}

/// Unclear answers of a commit, a crash at each step of settling them (P12), entries whose names
/// could not be made durable, and disks that may not be written.
pub fn doubts() -> Vec<Hurt> {
    let mut cells = Vec::new();
    for shape in Shape::ALL {
        let tables: &[&str] = if shape == Shape::Table { &["t"] } else { &["d", "t"] };
        for table in tables {
            for batch in [0, BATCHES / 2, BATCHES - 1] {
                for deed in [Deed::Eio, Deed::EioAfter] {
                    let points =
                        ["before", "inside", "after"].map(|moment| format!("P12:{moment}:{batch}"));
                    for fault in [None].into_iter().chain(points.map(Some)) {
                        let at = format!("link:/{table}/_delta_log/{batch:020}.json");
                        cells.push(Hurt { shape, state: None, deed, at, fault });
                    }
                }
            }
        }
    }
    for shape in Shape::ALL {
        for deed in [Deed::Eio, Deed::Enospc] {
            // The name of the entry, which the kernel shows and the disk may not have.
            let at = "sync:/t/_delta_log".to_owned();
            cells.push(Hurt { shape, state: Some("P9:after:1"), deed, at, fault: None });
        }
        let refused = Deed::refusals();
        cells.extend(refused.map(|(deed, state, at)| {
            let at = at.to_owned();
            Hurt { shape, state, deed, at, fault: None }
        }));
    }
    cells
}

/// Calls of an undisturbed run: the most of a few, for threads interleave.
fn count(place: &Workplace, disk: &Disk, shape: Shape, state: Option<&'static str>) -> usize {
    let hurt = Hurt { shape, state, deed: Deed::Eio, at: "0".to_owned(), fault: None };
    let runs = (0..3).map(|_| {
        let lake = place.lake(shape);
        hurt.prepare(&lake).expect("the state can be made");
        let (ended, calls) = hurt.strike(&lake, disk);
        assert!(ended.is_success(), "an undisturbed run: {}", ended.words());
        calls.len()
    });
    runs.max().unwrap_or(0)
}

impl Hurt {
    /// The cell's name.
    pub fn name(&self) -> String {
        let Hurt { shape, state, deed, at, fault } = self;
        let state = state.map_or_else(String::new, |state| format!(" after {state}"));
        let fault = fault.as_ref().map_or_else(String::new, |fault| format!(" then {fault}"));
        format!("{shape}{state} {} at {at}{fault}", deed.name())
    }

    /// Runs it.
    pub fn run(&self, place: &Workplace, disk: &Disk) -> Cell {
        let lake = place.lake(self.shape);
        match self.check(&lake, disk) {
            Ok(how) => Cell::held(self.name(), how),
            Err(what) => Cell::violation(self.name(), what),
        }
    }

    fn prepare(&self, lake: &Lake<'_>) -> Result<(), String> {
        match self.state {
            Some(fault) if !lake.run(Some(fault)).was_killed() => Err(format!("no {fault}")),
            _ => Ok(()),
        }
    }

    /// The run that is hurt, and the calls it made.
    fn strike(&self, lake: &Lake<'_>, disk: &Disk) -> (Ended, Vec<Call>) {
        let log = lake.log();
        let mut command = lake.command();
        disk.under(&mut command, &lake.root(), &log);
        disk::arm(&mut command, &self.at, self.deed);
        if let Some(fault) = &self.fault {
            command.env("MILLSTREAM_FAULT", fault);
        }
        let ended = end(command.spawn().expect("the binary starts"));
        (ended, disk::calls(&log))
    }

    fn check(&self, lake: &Lake<'_>, disk: &Disk) -> Result<String, String> {
        self.prepare(lake)?;
        let (ended, calls) = self.strike(lake, disk);
        let how = self.judge(&ended, &calls, &lake.root())?;
        let again = lake.run(None);
        if !again.is_success() {
            return Err(format!("{how}; the stream did not go on: {}", again.words()));
        }
        lake.audit(2).and_then(|()| lake.verify()).map_err(|what| format!("{how}; {what}"))?;
        Ok(how)
    }

    /// How the hurt run ended, and whether it may.
    fn judge(&self, ended: &Ended, calls: &[Call], root: &Path) -> Result<String, String> {
        let hit = self.hit(calls);
        let Some(hit) = hit else {
            let through = ended.is_success();
            return through.then(|| NO_SUCH_CALL.to_owned()).ok_or_else(|| ended.words());
        };
        let name = kind(&hit, root);
        if self.fault.is_some() || Deed::KILLS.contains(&self.deed) {
            let died = ended.was_killed();
            return died.then(|| format!("killed at {name}")).ok_or_else(|| ended.words());
        }
        if ended.stderr.contains("panicked") {
            return Err(ended.words());
        }
        match ended.code() {
            _ if ended.is_success() && self.is_settled(&hit) => Ok(format!("{name} was settled")),
            _ if ended.is_success() && may_be_missing(&hit) => {
                Ok(format!("went on without {name}"))
            }
            _ if ended.is_success() => Err(format!("went on although {name} failed")),
            Some(code) if code != "INTERNAL" => Ok(format!("{code} at {name}")),
            _ => Err(ended.words()),
        }
    }

    /// The call that went wrong.
    fn hit(&self, calls: &[Call]) -> Option<Call> {
        match self.at.parse::<usize>() {
            Ok(number) => {
                let mut rest = calls.get(number.checked_sub(1)?..)?.iter();
                match self.deed {
                    // Of all the calls that failed, the first one that matters.
                    Deed::EnospcFromHere => rest.find(|c| needs_space(c) && !may_be_missing(c)),
                    _ => rest.next(),
                }
                .cloned()
            }
            Err(_) => {
                let (class, end) = self.at.split_once(':')?;
                let is_it = |call: &&Call| {
                    call.class == class && call.path.to_string_lossy().ends_with(end)
                };
                calls.iter().find(is_it).cloned()
            }
        }
    }

    /// An unclear creation is probed until it is clear; a directory that is there is a directory.
    fn is_settled(&self, hit: &Call) -> bool {
        let creates = matches!(hit.class.as_str(), "create" | "write" | "link");
        let log_entry = creates && hit.path.to_string_lossy().contains("/_delta_log/");
        log_entry || (hit.class == "mkdir" && self.deed == Deed::EioAfter)
    }
}

/// Whether a failure of this call costs nothing: a deletion, a table checkpoint, or the words in the
/// lock file, which tell whoever is refused by whom (the lock is not in them).
fn may_be_missing(call: &Call) -> bool {
    let path = call.path.to_string_lossy();
    let is_words = matches!(call.class.as_str(), "write" | "truncate");
    call.class == "unlink"
        || (is_words && path.ends_with("/millstream/lock"))
        || path.contains("checkpoint.parquet")
        || path.contains("_last_checkpoint")
}

/// Calls that a full disk refuses.
fn needs_space(call: &Call) -> bool {
    matches!(call.class.as_str(), "create" | "write" | "link" | "mkdir")
}

/// The call with the lake's own words for what differs from run to run.
fn kind(call: &Call, root: &Path) -> String {
    let path = call.path.strip_prefix(root).unwrap_or(&call.path);
    let parts: Vec<String> =
        path.components().map(|part| general(&part.as_os_str().to_string_lossy())).collect();
    format!("{} {}", call.class, parts.join("/"))
}

/// Numbers as `N`, ids as `ID`.
fn general(name: &str) -> String {
    let is_id = |word: &str| word.len() == 36 && word.matches('-').count() == 4;
    if let Some(at) = (0..name.len()).find(|at| name.get(*at..at + 36).is_some_and(is_id)) {
        return general(&format!("{}ID{}", &name[..at], &name[at + 36..]));
    }
    let mut out = String::new();
    for c in name.chars() {
        match c {
            '0'..='9' if out.ends_with('N') => {}
            '0'..='9' => out.push('N'),
            c => out.push(c),
        }
    }
    out
}

/// Runs `cells`.
pub fn run(place: &Workplace, disk: &Disk, cells: &[Hurt], command: &str) -> Report {
    let begun = Instant::now();
    let outcomes = run_cells(cells, |cell| cell.run(place, disk));
    let title = "Every call of a short run that changes checkpoint or tables: killed before it, \
                 after it and in the middle of a write; failed with EIO before and after its effect, \
                 with ENOSPC once and from there on.";
    let is_missed = |cell: &&Cell| cell.outcome == format!("held: {NO_SUCH_CALL}");
    let missed = outcomes.iter().filter(is_missed).count();
    let mut report =
        Report::of("syscalls", title, command, begun.elapsed().as_secs_f64(), outcomes);
    report.figure("cells whose call the run did not make", missed);
    let count = |what: &dyn Fn(&Hurt) -> bool| cells.iter().filter(|cell| what(cell)).count();
    report.figure("kills", count(&|cell| Deed::KILLS.contains(&cell.deed)));
    report.figure("errors", count(&|cell| Deed::ERRORS.contains(&cell.deed)));
    report
}
