//! What a campaign did, as data that is kept in the repository (`proof/results/*.json`), and as a
//! page for people (`proof/REPORT.md`).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One cell of a campaign: one fault at one place, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Its name, which says everything that is needed to run it again.
    pub cell: String,
    /// `held`, or what did not.
    pub outcome: String,
}

impl Cell {
    /// A cell whose promises held; `how` says in which way.
    pub fn held(cell: impl Into<String>, how: impl std::fmt::Display) -> Self {
        Cell { cell: cell.into(), outcome: format!("held: {how}") }
    }

    /// A cell that broke a promise.
    pub fn violation(cell: impl Into<String>, what: impl std::fmt::Display) -> Self {
        Cell { cell: cell.into(), outcome: format!("VIOLATION: {what}") }
    }

    /// Whether a promise was broken. Some campaigns say `held` in words of their own.
    pub fn is_violation(&self) -> bool {
        self.outcome.starts_with("VIOLATION")
    }

    /// Whether every promise held.
    pub fn is_held(&self) -> bool {
        self.outcome.starts_with("held")
    }
}

/// The report of one campaign.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Short name; also the file's.
    pub name: String,
    /// One sentence: what was done.
    pub title: String,
    /// The command that does it again.
    pub command: String,
    /// Commit of the tree that was tested.
    #[serde(default)]
    pub commit: String,
    /// Day, `YYYY-MM-DD`.
    #[serde(default)]
    pub date: String,
    /// Cores and kernel.
    #[serde(default)]
    pub machine: String,
    /// How long it took.
    pub seconds: f64,
    /// Broken promises.
    pub violations: u64,
    /// Counts by name.
    #[serde(default)]
    pub figures: BTreeMap<String, serde_json::Value>,
    /// The cells, where they are few enough to keep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<Cell>,
}

impl Report {
    /// A report of `cells`, of the tree and the machine that this runs in.
    pub fn of(name: &str, title: &str, command: &str, seconds: f64, cells: Vec<Cell>) -> Report {
        let violations = cells.iter().filter(|cell| !cell.is_held()).count();
        let figures = [("cells".to_owned(), cells.len().into())].into();
        Report {
            name: name.to_owned(),
            title: title.to_owned(),
            command: command.to_owned(),
            commit: said("git", &["rev-parse", "--short", "HEAD"]),
            date: said("date", &["-u", "+%Y-%m-%d"]),
            machine: format!(
                "{} cores, {}",
                std::thread::available_parallelism().map_or(1, usize::from),
                said("uname", &["-sr"])
            ),
            seconds: (seconds * 10.0).round() / 10.0,
            violations: violations as u64,
            figures,
            cells,
        }
    }

    /// Adds a figure.
    pub fn figure(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Cells that broke a promise.
    pub fn broken(&self) -> Vec<&Cell> {
        self.cells.iter().filter(|cell| !cell.is_held()).collect()
    }

    /// Writes `<directory>/<name>.json`.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, directory: &Path) {
        std::fs::create_dir_all(directory).expect("the directory of results");
        let mut text = serde_json::to_string_pretty(self).expect("a report is JSON");
        text.push('\n');
        std::fs::write(directory.join(format!("{}.json", self.name)), text).expect("the result");
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

/// Most outcomes of one campaign that the page shows, violations aside.
const OUTCOMES: usize = 40;

/// The campaigns that `scripts/prove.sh` knows. One without a result is a row all the same.
pub const CAMPAIGNS: [&str; 14] = [
    "kill-matrix",
    "syscalls",
    "zombies",
    "durability-order",
    "planted-mistakes",
    "damage",
    "simulation",
    "kill-loop",
    "fuzz",
    "mutants",
    "source",
    "store",
    "recovery",
    "interop",
];

/// Digits of a commit that the pages show.
const COMMIT_DIGITS: usize = 7;

/// Most cells of one outcome that the page shows.
const EXAMPLES: usize = 3;

/// All results in `directory`, by name.
///
/// # Panics
/// If a result cannot be read.
pub fn results(directory: &Path) -> Vec<Report> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .expect("the results")
        .map(|entry| entry.expect("a result").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    let read = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).expect("a result");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
    };
    files.iter().map(read).collect()
}

/// The page for people (`proof/REPORT.md`).
pub fn page(results: &[Report]) -> String {
    let mut page = String::from(
        "# What the campaigns found\n\n\
         Generated from `proof/results/`; `bash scripts/prove.sh` runs everything and writes it \
         again.\nEvery cell is one fault at one place; after it, the stream is started again \
         without faults, and an\nindependent reader compares the multiset of rows with what the \
         topic holds.\n\n\
         | campaign | figures | violations | seconds | commit | date | command |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for row in rows(results) {
        let report = match row {
            Row::Whole(report) => report,
            Row::Missing(name) => {
                let _ = writeln!(page, "| {name} | {NOT_RUN} | | | | | `{}` |", command(name));
                continue;
            }
        };
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | `{}` | {} | `{}` |",
            report.name,
            figures(report, |_| true),
            report.violations,
            report.seconds,
            short(&report.commit),
            report.date,
            report.command
        );
    }
    results.iter().for_each(|report| page.push_str(&detail(report)));
    page
}

/// A row of the tables.
enum Row<'a> {
    Whole(&'a Report),
    Missing(&'a str),
}

/// What stands in the place of figures where there is no result.
const NOT_RUN: &str = "not run whole";

/// Every campaign, and every result of another name, by name.
fn rows(results: &[Report]) -> Vec<Row<'_>> {
    let mut rows: BTreeMap<&str, Row<'_>> =
        CAMPAIGNS.iter().map(|name| (*name, Row::Missing(name))).collect();
    rows.extend(results.iter().map(|report| (report.name.as_str(), Row::Whole(report))));
    rows.into_values().collect()
}

/// What runs a campaign that has no result yet.
fn command(name: &str) -> String {
    format!("bash scripts/prove.sh {name}")
}

fn short(commit: &str) -> &str {
    commit.get(..COMMIT_DIGITS).unwrap_or(commit)
}

/// What stands before and after the table of figures in GUARANTEES.md.
const TABLE: [&str; 2] = ["<!-- figures -->\n", "<!-- /figures -->"];

/// The figures of a campaign that has many which belong into GUARANTEES.md.
const HEADLINES: [(&str, &[&str]); 5] = [
    (
        "fuzz",
        &["targets", "targets_with_ten_million", "executions", "oldest_commit", "newest_commit"],
    ),
    (
        "mutants",
        &[
            "core_viable",
            "core_killed",
            "core_percent",
            "sink_viable",
            "sink_killed",
            "sink_percent",
            "source_viable",
            "source_killed",
            "source_percent",
            "survivors_explained",
        ],
    ),
    (
        "kill-loop",
        &["kills", "broker_kills", "records_acknowledged", "lost", "duplicated", "phantom"],
    ),
    (
        "simulation",
        &["batches", "seeds", "runs", "crashes", "powerLosses", "filesDamaged", "worldsGivenUp"],
    ),
    (
        "recovery",
        &[
            "default_retention_batches",
            "default_retention_recoveries",
            "default_retention_slowest_recovery_ms",
            "everything_kept_batches",
            "everything_kept_slowest_recovery_ms",
        ],
    ),
];

/// GUARANTEES.md with the figures of `results`.
///
/// # Panics
/// If the page has no place for them.
pub fn with_figures(guarantees: &str, results: &[Report]) -> String {
    let (before, rest) = guarantees.split_once(TABLE[0]).expect("a place for the figures");
    let (_, after) = rest.split_once(TABLE[1]).expect("an end of the figures");
    let mut table = String::from(
        "| campaign | figures | violations | commit | date | command |\n|---|---|---|---|---|---|\n",
    );
    for row in rows(results) {
        let report = match row {
            Row::Whole(report) => report,
            Row::Missing(name) => {
                let _ = writeln!(table, "| {name} | {NOT_RUN} | | | | `{}` |", command(name));
                continue;
            }
        };
        let headlines = HEADLINES.iter().find(|(name, _)| *name == report.name);
        let is_shown = |figure: &str| headlines.is_none_or(|(_, shown)| shown.contains(&figure));
        let figures = figures(report, is_shown);
        let Report { name, violations, date, command, .. } = report;
        let commit = short(&report.commit);
        let _ = writeln!(
            table,
            "| {name} | {figures} | {violations} | `{commit}` | {date} | `{command}` |"
        );
    }
    format!("{before}{}{table}{}{after}", TABLE[0], TABLE[1])
}

fn figures(report: &Report, is_shown: impl Fn(&str) -> bool) -> String {
    let shown = report.figures.iter().filter(|(name, _)| is_shown(name));
    shown
        .map(|(name, value)| format!("{} {}", name.replace('_', " "), plain(value)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A section for one campaign: every violation, then its cells counted by outcome, the most first,
/// with examples.
fn detail(report: &Report) -> String {
    let mut text = format!(
        "\n## {}\n\n{}\n\n`{}` on {}, {}.\n",
        report.name, report.title, report.command, report.date, report.machine
    );
    let mut outcomes: BTreeMap<&str, Vec<&Cell>> = BTreeMap::new();
    for cell in &report.cells {
        outcomes.entry(&cell.outcome).or_default().push(cell);
    }
    if outcomes.is_empty() {
        return text;
    }
    text.push_str("\n| cells | outcome | for example |\n|---|---|---|\n");
    let is_broken = |cells: &[&Cell]| cells.iter().any(|cell| cell.is_violation());
    let mut outcomes: Vec<(&str, Vec<&Cell>)> = outcomes.into_iter().collect();
    outcomes.sort_by_key(|(_, cells)| (!is_broken(cells), std::cmp::Reverse(cells.len())));
    let broken = outcomes.iter().filter(|(_, cells)| is_broken(cells)).count();
    let rest = outcomes.split_off(outcomes.len().min(broken.max(OUTCOMES)));
    for (outcome, cells) in outcomes {
        let examples: Vec<String> =
            cells.iter().take(EXAMPLES).map(|cell| format!("`{}`", cell.cell)).collect();
        let _ = writeln!(text, "| {} | {} | {} |", cells.len(), outcome, examples.join(", "));
    }
    if !rest.is_empty() {
        let cells: usize = rest.iter().map(|(_, cells)| cells.len()).sum();
        let name = &report.name;
        let _ = writeln!(
            text,
            "| {cells} | {} more outcomes, none a violation | `results/{name}.json` |",
            rest.len()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_counts_cells_by_outcome_and_shows_violations() {
        let directory = tempfile::tempdir().unwrap();
        let cells = vec![
            Cell::held("a", "rolled forward"),
            Cell::held("b", "rolled forward"),
            Cell::violation("c", "lost 3"),
        ];
        let report = Report::of("kills", "All of them.", "run it", 1.25, cells);
        assert_eq!((report.violations, report.broken().len()), (1, 1));
        report.write(directory.path());
        let results = results(directory.path());
        let page = page(&results);
        assert!(page.contains("| kills | cells 3 | 1 | 1.3 |"), "{page}");
        assert!(page.contains("| 2 | held: rolled forward | `a`, `b` |"), "{page}");
        assert!(page.contains("| 1 | VIOLATION: lost 3 | `c` |"), "{page}");
    }

    #[test]
    fn a_campaign_without_a_result_is_a_row() {
        let root = millstream_testkit::repository_root();
        let script = std::fs::read_to_string(root.join("scripts/prove.sh")).unwrap();
        let (_, names) = script.split_once("|| names=(").unwrap();
        let (names, _) = names.split_once(')').unwrap();
        assert_eq!(names.split_whitespace().collect::<Vec<_>>(), CAMPAIGNS);

        let mut zombies = Report::of("zombies", "All.", "run it", 1.0, vec![Cell::held("a", "so")]);
        (zombies.commit, zombies.date) = ("0123456789abcdef".to_owned(), "2026-01-02".to_owned());
        let guarantees = format!("x\n{}old\n{}\ny\n", TABLE[0], TABLE[1]);
        let guarantees = with_figures(&guarantees, std::slice::from_ref(&zombies));
        let row = "| zombies | cells 1 | 0 | `0123456` | 2026-01-02 | `run it` |";
        assert!(guarantees.contains(row), "{guarantees}");
        for text in [guarantees, page(&[zombies])] {
            assert_eq!(text.matches(NOT_RUN).count(), CAMPAIGNS.len() - 1, "{text}");
            assert!(text.contains("`bash scripts/prove.sh damage`"), "{text}");
        }
    }

    #[test]
    fn the_pages_say_what_the_results_say() {
        let root = millstream_testkit::repository_root();
        let results = results(&root.join("proof/results"));
        let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
        let cure = "run `bash scripts/prove.sh report`";
        assert_eq!(read("proof/REPORT.md"), page(&results), "{cure}");
        let guarantees = read("GUARANTEES.md");
        assert_eq!(guarantees, with_figures(&guarantees, &results), "{cure}");
    }
}
