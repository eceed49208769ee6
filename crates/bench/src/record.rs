//! What a bench measured, as data (`benches/results/*.json`) and as a table for people.

use crate::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

const BEGIN: &str = "<!-- bench -->";
const END: &str = "<!-- /bench -->";
/// Everything is compared with this one.
const BOUND: &str = "bound: consume, decode, table";

/// One turn of one contender.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// The contender, and what is special about the case.
    pub name: String,
    /// Its topic.
    pub topic: String,
    /// From process start to process end.
    pub wall_seconds: f64,
    /// User and system time of the process tree.
    pub cpu_seconds_per_million: f64,
    /// Peak of the resident memory of the process tree, in 10^6 bytes.
    pub peak_rss_mb: f64,
    /// From process start to the first commit with rows.
    pub first_commit_seconds: Option<f64>,
    /// Records of the topic a second, from the third commit on.
    pub steady_rows_per_second: Option<f64>,
    /// Rows and digest of the table.
    pub answer: Option<(u64, String)>,
}

impl Entry {
    /// One line for whoever waits.
    pub fn line(&self) -> String {
        format!(
            "{:<44} {:>7.2} s {:>6.2} CPU-s/M {:>6.0} MB  first commit {:>6.2} s",
            self.name,
            self.wall_seconds,
            self.cpu_seconds_per_million,
            self.peak_rss_mb,
            self.first_commit_seconds.unwrap_or(f64::NAN),
        )
    }
}

/// One run of one bench.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Where it was measured.
    #[serde(flatten)]
    pub place: Place,
    /// Records of a topic.
    pub records: u64,
    /// Records of a batch.
    pub batch_rows: u64,
    /// All turns, in the order in which they were run.
    pub entries: Vec<Entry>,
}

impl Record {
    /// Begins a record of this tree on this machine.
    pub fn begin(name: &str, records: u64, batch_rows: u64) -> Record {
        Record { place: Place::here(name), records, batch_rows, entries: Vec::new() }
    }

    /// Adds a turn.
    pub fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Whether all tables of one topic hold the same rows.
    ///
    /// # Errors
    /// Names the two that do not.
    pub fn check_answers(&self) -> Result<()> {
        let mut answers: BTreeMap<&str, &Entry> = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| entry.answer.is_some()) {
            let known = answers.entry(&entry.topic).or_insert(entry);
            if known.answer != entry.answer {
                let (a, b) = (known.name.as_str(), entry.name.as_str());
                return Err(format!(
                    "{a} and {b} answer differently on {}: {:?} and {:?}",
                    entry.topic, known.answer, entry.answer
                )
                .into());
            }
        }
        Ok(())
    }

    /// Medians of the turns, a line for each contender, with its ratios to the bound.
    pub fn page(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for entry in &self.entries {
            if !names.contains(&entry.name.as_str()) {
                names.push(&entry.name);
            }
        }
        let bound = self.median(BOUND, |entry| Some(entry.cpu_seconds_per_million));
        let mut page = format!(
            "{} records, {} a batch; {}\n\n",
            self.records,
            self.batch_rows,
            self.place.line()
        );
        page += "| contender | whole job, s | first commit, s | steady rows/s | CPU-s per million | CPU to the bound | peak memory, MB | turns |\n";
        page += "|---|---:|---:|---:|---:|---:|---:|---:|\n";
        for name in names {
            let turns = self.entries.iter().filter(|entry| entry.name == name).count();
            let cpu = self.median(name, |entry| Some(entry.cpu_seconds_per_million));
            let figure = |value: Option<f64>, digits: usize| {
                value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
            };
            let _ = writeln!(
                page,
                "| {name} | {} | {} | {} | {} | {} | {} | {turns} |",
                figure(self.median(name, |entry| Some(entry.wall_seconds)), 2),
                figure(self.median(name, |entry| entry.first_commit_seconds), 2),
                figure(self.median(name, |entry| entry.steady_rows_per_second), 0),
                figure(cpu, 2),
                figure(cpu.zip(bound).map(|(cpu, bound)| cpu / bound), 2),
                figure(self.median(name, |entry| Some(entry.peak_rss_mb)), 0),
            );
        }
        page
    }

    fn median(&self, name: &str, value: impl Fn(&Entry) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<f64> =
            self.entries.iter().filter(|entry| entry.name == name).filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        let high = *values.get(values.len() / 2)?;
        let low = *values.get(values.len().checked_sub(1)? / 2)?;
        Some((low + high) / 2.0)
    }
}

/// Quantiles of some durations, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many.
    pub count: usize,
    /// The median.
    pub p50: f64,
    /// 99 of 100 are not longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Quantiles {
    /// Of these values; zeros where there are none.
    pub fn of(mut values: Vec<f64>) -> Quantiles {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * values.len() as f64).ceil() as usize;
            values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Quantiles { count: values.len(), p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

/// What one window of small batches, or one contender's latency, came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Window {
    /// Whose.
    pub name: String,
    /// Milliseconds.
    pub ms: Quantiles,
}

/// One run of the bench of small batches.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SmallBatches {
    /// Where it was measured.
    #[serde(flatten)]
    pub place: Place,
    /// Records of a batch.
    pub batch_rows: u64,
    /// Processor time of Millstream for a batch, start and end of the process included.
    pub cpu_ms_of_a_batch: f64,
    /// From commit to commit.
    pub windows: Vec<Window>,
}

impl SmallBatches {
    /// Begins a record of this tree on this machine.
    pub fn begin(batch_rows: u64) -> SmallBatches {
        let place = Place::here("small-batches");
        SmallBatches { place, batch_rows, cpu_ms_of_a_batch: 0.0, windows: Vec::new() }
    }

    /// Adds a window.
    pub fn add(&mut self, name: &str, ms: Quantiles) {
        eprintln!("{name}: {ms:?}");
        self.windows.push(Window { name: name.to_owned(), ms });
    }

    /// A table for people.
    pub fn page(&self) -> String {
        format!(
            "{} rows a batch, from commit to commit; {:.2} ms of a processor for each batch; {}\n\n{}",
            self.batch_rows,
            self.cpu_ms_of_a_batch,
            self.place.line(),
            windows(&self.windows)
        )
    }
}

/// One run of the bench of latency.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Latency {
    /// Where it was measured.
    #[serde(flatten)]
    pub place: Place,
    /// Records a second.
    pub rate: u64,
    /// Seconds that count.
    pub seconds: u64,
    /// From sending to the log entry.
    pub windows: Vec<Window>,
}

impl Latency {
    /// Begins a record of this tree on this machine.
    pub fn begin(rate: u64, seconds: u64) -> Latency {
        Latency { place: Place::here("latency"), rate, seconds, windows: Vec::new() }
    }

    /// Adds a contender.
    pub fn add(&mut self, name: &str, ms: Quantiles) {
        eprintln!("{name}: {ms:?}");
        self.windows.push(Window { name: name.to_owned(), ms });
    }

    /// A table for people.
    pub fn page(&self) -> String {
        format!(
            "{} records a second for {} s, from sending to the table's log; {}\n\n{}",
            self.rate,
            self.seconds,
            self.place.line(),
            windows(&self.windows)
        )
    }
}

fn windows(windows: &[Window]) -> String {
    let mut page =
        "| | median, ms | p99, ms | longest, ms | of |\n|---|---:|---:|---:|---:|\n".to_owned();
    for Window { name, ms } in windows {
        let Quantiles { count, p50, p99, max } = ms;
        let _ = writeln!(page, "| {name} | {p50:.1} | {p99:.1} | {max:.1} | {count} |");
    }
    page
}

/// Which tree was measured, when, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Place {
    /// The bench.
    pub name: String,
    /// Commit of the tree.
    pub commit: String,
    /// Day, `YYYY-MM-DD`.
    pub date: String,
    /// Cores, processor and kernel.
    pub machine: String,
}

impl Place {
    fn here(name: &str) -> Place {
        Place {
            name: name.to_owned(),
            commit: said("git", &["describe", "--always", "--dirty", "--exclude=*"]),
            date: said("date", &["-u", "+%Y-%m-%d"]),
            machine: machine(),
        }
    }

    fn line(&self) -> String {
        format!("{}; commit {}, {}.", self.machine, self.commit, self.date)
    }
}

/// Writes a record.
///
/// # Errors
/// Those of the file.
pub fn write(record: &impl Serialize, path: &Path) -> Result<()> {
    fs::write(path, serde_json::to_string_pretty(record)? + "\n")?;
    Ok(())
}

/// One record of any bench, as a table.
fn page_of(text: &str) -> Result<String> {
    let name = serde_json::from_str::<Place>(text)?.name;
    Ok(match name.as_str() {
        "job" => serde_json::from_str::<Record>(text)?.page(),
        "small-batches" => serde_json::from_str::<SmallBatches>(text)?.page(),
        "latency" => serde_json::from_str::<Latency>(text)?.page(),
        _ => return Err(format!("an unknown bench: {name}").into()),
    })
}

/// Puts the tables of the results into a page, between its marks.
///
/// # Errors
/// Files that cannot be read or written; a page without the marks.
pub fn render(results: &Path, page: &Path) -> Result<()> {
    let mut tables = String::new();
    let mut files: Vec<_> = fs::read_dir(results)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files.iter().filter(|path| path.extension().is_some_and(|e| e == "json")) {
        tables += &page_of(&fs::read_to_string(file)?)?;
    }
    let text = fs::read_to_string(page)?;
    let (before, rest) = text.split_once(BEGIN).ok_or("the page has no mark")?;
    let (_, after) = rest.split_once(END).ok_or("the page has no second mark")?;
    fs::write(page, format!("{before}{BEGIN}\n{tables}{END}{after}"))?;
    Ok(())
}

fn said(program: &str, arguments: &[&str]) -> String {
    let root = millstream_testkit::repository_root();
    let done = Command::new(program).args(arguments).current_dir(root).output();
    done.map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned()).unwrap_or_default()
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name))
        .unwrap_or("unknown");
    format!("{cores} cores ({}), {}", model.trim(), said("uname", &["-sr"]))
}
