//! The damage matrix: every file of a checkpoint cut to every length, with every bit flipped, with
//! zeros, missing, doubled, foreign, swapped, of another version; files that do not belong there;
//! table logs and data files that are torn.
//!
//! A cell damages a stream in one of eleven states and runs it. Either the rows are those of an
//! undamaged run, or the run refuses with a code, the file's name and a cure, and has changed
//! nothing. Then the doctor foretells the same code; what he says he cured goes on to the undamaged
//! result, and what he cannot cure does so with the file put back.

mod acts;
mod anew;
mod check;
mod harm;
mod stage;

use crate::Workplace;
use crate::lake::run_cells_on;
use crate::report::{Cell, Report};
use acts::{ACTS, Act};
use check::{After, Excuse, judge};
use harm::{Harm, STRUCTURAL};
use stage::{COMPLETED_BY_SPARK, File, RECIPES, Recipe, Stage};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// How much of the matrix is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// What fits into a minute: all cells but cuts and flips in three of the states, and of each
    /// file every 1597th cut and flip.
    Fixed,
}

/// States of which [`Part::Fixed`] runs more than cuts and flips.
const FIXED: [&str; 3] = ["complete", "in half of the tables", "made anew"];
/// Cells of one unit of work, at most.
const UNIT: usize = 500;
/// Of cuts and flips that are refused, one in so many is followed until the file is back.
const PUT_BACK: usize = 16;
/// Of those of our own files, to one in so many the doctor is called.
const DOCTOR: usize = 8;

/// Which cuts and flips of a file are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// All.
    All,
    /// All but inside the pinned confs, of which one in so many.
    OutsideConfs(usize),
    /// One in so many.
    Every(usize),
}

/// A piece of work: cells of one state.
#[derive(Debug)]
struct Unit {
    recipe: usize,
    task: Task,
}

#[derive(Debug)]
enum Task {
    /// These are done to the file of this role.
    Harms { role: String, harms: Vec<Harm> },
    /// Something else is done to the lake.
    Act(&'static Act),
}

/// What became of one cell.
struct Found {
    /// Which one.
    name: String,
    /// What it counts among.
    group: String,
    outcome: Result<String, String>,
}

/// Lakes of one state that nobody uses at the moment, and files of another query.
struct Pool<'a> {
    recipe: &'static Recipe,
    free: Mutex<Vec<Stage<'a>>>,
    foreign: BTreeMap<String, Vec<u8>>,
}

impl<'a> Pool<'a> {
    fn new(place: &'a Workplace, recipe: &'static Recipe) -> Pool<'a> {
        let (one, other) = (Stage::new(place, recipe), Stage::new(place, recipe));
        let files = other.files.iter().map(|file| (file.role.clone(), file.bytes.clone()));
        Pool { recipe, foreign: files.collect(), free: Mutex::new(vec![other, one]) }
    }

    /// Runs `work` on a lake that nobody else uses meanwhile.
    fn with<T>(&self, place: &'a Workplace, work: impl FnOnce(&Stage<'a>) -> T) -> T {
        let free = self.free.lock().expect("nobody panics with it").pop();
        let stage = free.unwrap_or_else(|| Stage::new(place, self.recipe));
        let done = work(&stage);
        self.free.lock().expect("nobody panics with it").push(stage);
        done
    }
}

/// Runs the matrix, or a part of it; of one state only, if it is named.
pub fn run(place: &Workplace, part: Part, state: Option<&str>, command: &str) -> Report {
    let begun = Instant::now();
    let place = &place.without_table_checkpoints();
    let recipes = RECIPES.iter().filter(|recipe| state.is_none_or(|state| state == recipe.name));
    let pools: Vec<Pool<'_>> = recipes.map(|recipe| Pool::new(place, recipe)).collect();
    let units: Vec<Unit> =
        pools.iter().enumerate().flat_map(|(at, p)| units(at, p, part)).collect();
    let done = AtomicUsize::new(0);
    // A cell mostly waits for a process that has just been started.
    let workers = 4 * std::thread::available_parallelism().map_or(1, usize::from);
    let mut found: Vec<Found> = run_cells_on(workers, &units, |unit| {
        let pool = &pools[unit.recipe];
        let found = pool.with(place, |stage| run_unit(pool, stage, &unit.task));
        for broken in found.iter().filter(|found| found.outcome.is_err()) {
            eprintln!("{}: {:?}", broken.name, broken.outcome);
        }
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(50) {
            eprintln!("{done} of {} units, {} s", units.len(), begun.elapsed().as_secs());
        }
        found
    })
    .into_iter()
    .flatten()
    .collect();
    if state.is_none() {
        found.extend(anew::run(place, part));
    }
    report(&found, begun, command)
}

fn units(at: usize, pool: &Pool<'_>, part: Part) -> Vec<Unit> {
    let (name, mut units) = (pool.recipe.name, Vec::new());
    let files = pool.with_files();
    let has_logs = FIXED.contains(&name);
    let is_meant = |f: &&File| f.is_of_checkpoint() || (has_logs && f.is_log_entry());
    for file in files.iter().filter(is_meant) {
        let depth = match part {
            Part::Whole => depth(name, file),
            Part::Fixed => Depth::Every(1597),
        };
        let mut harms = cuts_and_flips(file, depth);
        if part == Part::Whole || FIXED.contains(&name) {
            harms.extend(STRUCTURAL);
        }
        for harms in harms.chunks(UNIT) {
            let task = Task::Harms { role: file.role.clone(), harms: harms.to_vec() };
            units.push(Unit { recipe: at, task });
        }
    }
    if part == Part::Whole || FIXED.contains(&name) {
        units.extend(ACTS.iter().map(|act| Unit { recipe: at, task: Task::Act(act) }));
    }
    units
}

impl Pool<'_> {
    fn with_files(&self) -> Vec<File> {
        let free = self.free.lock().expect("nobody panics with it");
        free.last().map(|stage| stage.files.clone()).unwrap_or_default()
    }
}

/// One small checkpoint is damaged in every way there is, and so are the files that others have and it
/// has not. In the other states it is the files without a checksum: what a flipped digit does depends
/// on what else repeats it.
fn depth(state: &str, file: &File) -> Depth {
    let is_sparks = ["metadata", "offsets", "commits", "sources"]
        .iter()
        .any(|start| file.role.starts_with(start));
    match state {
        _ if file.is_log_entry() => Depth::Every(97),
        // The longest of all, with a checksum. Five is coprime to eight: no bit is left out of all
        // bytes.
        "first in half of the tables" if file.role.starts_with("millstream/prepared") => {
            Depth::Every(5)
        }
        "first in half of the tables" => Depth::All,
        // Files that only these states have.
        "complete" if file.role.starts_with("millstream/ledger") => Depth::All,
        "made anew" if file.role == "millstream/rebuilt" => Depth::All,
        "complete"
        | "planned by Spark"
        | "completed for Spark"
        | COMPLETED_BY_SPARK
        | "made anew"
            if is_sparks =>
        {
            Depth::OutsideConfs(47)
        }
        _ => Depth::Every(193),
    }
}

fn cuts_and_flips(file: &File, depth: Depth) -> Vec<Harm> {
    let length = file.bytes.len();
    let confs = confs(&file.bytes);
    let taken = |byte: usize, at: usize| match depth {
        Depth::All => true,
        Depth::OutsideConfs(n) => !confs.contains(&byte) || at.is_multiple_of(n),
        Depth::Every(n) => at.is_multiple_of(n),
    };
    let cuts = (0..length).filter(|cut| taken(*cut, *cut)).map(Harm::Cut);
    let flips = (0..8 * length).filter(|bit| taken(bit / 8, *bit)).map(Harm::Flip);
    cuts.chain(flips).collect()
}

/// Where the pinned confs lie in Spark's `offsets/N`.
fn confs(bytes: &[u8]) -> std::ops::Range<usize> {
    let text = String::from_utf8_lossy(bytes);
    let Some(start) = text.find("\"conf\":{\"spark.").filter(|_| text.starts_with("v1\n")) else {
        return 0..0;
    };
    let ours = text.find(",\"millstream.intent\"");
    start..ours.or_else(|| text.find("}}")).unwrap_or(start)
}

fn run_unit(pool: &Pool<'_>, stage: &Stage<'_>, task: &Task) -> Vec<Found> {
    let state = pool.recipe.name;
    match task {
        Task::Act(act) => {
            stage.reset();
            let Some(names) = (act.change)(stage) else { return Vec::new() };
            let outcome = judge(stage, None, &names, After::Doctor, act.excuse);
            let name = format!("{state}: {}", act.name);
            vec![Found { name, group: act.name.to_owned(), outcome }]
        }
        Task::Harms { role, harms } => {
            let file = stage.file(role).expect("lakes of one state have the same files");
            let kind = kind_of(file);
            let mut found = Vec::with_capacity(harms.len());
            for (at, harm) in harms.iter().enumerate() {
                stage.reset();
                if !harm.apply(stage, file, &pool.foreign) {
                    continue;
                }
                let thorough =
                    at.is_multiple_of(PUT_BACK) || !matches!(harm, Harm::Cut(_) | Harm::Flip(_));
                let after = match (thorough, file.role.starts_with("millstream/")) {
                    (true, _) => After::PutBack,
                    (false, false) => After::Doctor,
                    // Files with a checksum: each of these cells is like the one before.
                    (false, true) if at.is_multiple_of(DOCTOR) => After::Doctor,
                    (false, true) => After::Unchanged,
                };
                let excuse = match harm {
                    _ if file.is_log_entry() => Excuse::OfTables,
                    Harm::Flip(_) if state == COMPLETED_BY_SPARK && role == "offsets/2" => {
                        Excuse::NothingRepeats
                    }
                    _ => Excuse::None,
                };
                let outcome = judge(stage, Some(file), &names_of(file), after, excuse);
                let name = format!("{state}: {role}, {harm:?}");
                found.push(Found { name, group: format!("{kind}, {}", harm.kind()), outcome });
            }
            found
        }
    }
}

/// What kind of file it is.
fn kind_of(file: &File) -> String {
    if file.is_log_entry() {
        return "entry of a table's log".to_owned();
    }
    let parts = file.role.split('/').map(|part| part.split('.').next().unwrap_or(part));
    let plain = |part: &&str| !part.starts_with(|c: char| c == '<' || c.is_ascii_digit());
    parts.filter(plain).collect::<Vec<_>>().join("/")
}

/// The file's name, and the batch it speaks of.
fn names_of(file: &File) -> check::Names {
    let inside = file.path.strip_prefix(stage::CHECKPOINT).unwrap_or(&file.path);
    let mut names = vec![inside.display().to_string()];
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let is_of_batch = ["offsets", "commits", "intents", "prepared", "ledger"].iter().any(|dir| {
        file.role.starts_with(dir) || file.role.starts_with(&format!("millstream/{dir}"))
    });
    if is_of_batch {
        let batch = digits(&file.role);
        names.extend([format!("batch {batch}"), format!("offsets/{batch}")]);
    }
    if file.role == "metadata" {
        // Where nothing else has the query's id, the tables say that they lack its batches.
        names.push("batch 2".to_owned());
    }
    if file.role == "millstream/rebuilt" {
        // The batch that it speaks of, and the one before, which without it seems to be missing.
        names.extend(["batch 2", "newest batch", "offsets/1"].map(str::to_owned));
    }
    if file.is_log_entry() {
        let table = file.path.components().next().expect("a table");
        names.push(format!("lake/{}", table.as_os_str().display()));
    }
    names
}

fn report(found: &[Found], begun: Instant, command: &str) -> Report {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut cells = Vec::new();
    for one in found {
        match &one.outcome {
            Ok(class) => *counts.entry((&one.group, class)).or_default() += 1,
            Err(what) => cells.push(Cell::violation(&one.name, what)),
        }
    }
    cells.extend(
        counts
            .into_iter()
            .map(|((group, class), count)| Cell::held(format!("{group} ({count} cells)"), class)),
    );
    let title = "Every file of a checkpoint cut to every length and with every bit flipped (of sealed \
                 attempts every fifth; of files with a checksum in one state of the stream each), \
                 with zeros, missing, swapped, foreign, of another version; files that do not belong \
                 there; torn logs and data files of tables; checkpoints made anew. Either the \
                 undamaged result, or a refusal by name that lost nothing.";
    let mut report = Report::of("damage", title, command, begun.elapsed().as_secs_f64(), cells);
    report.figure("cells", found.len());
    report.figure("states", RECIPES.len());
    let of = |word: &str| found.iter().filter(|f| f.group.contains(word)).count();
    report.figure("prefixes", of("every prefix"));
    report.figure("flipped bits", of("every flipped bit"));
    let ended = |word: &str| {
        found.iter().filter(|f| f.outcome.as_ref().is_ok_and(|class| class.contains(word))).count()
    };
    report.figure("undamaged results", ended("the undamaged result"));
    report.figure("changed digits that nothing repeats", ended("nothing repeats"));
    report.figure("cured by the doctor", ended("cured by the doctor"));
    report
}
