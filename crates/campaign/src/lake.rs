//! A small stream that cells break: four batches from one topic into one table, with or without
//! dead letters.

use crate::TableReader;
use millstream_core::Result;
use millstream_testkit::{KafkaHarness, Ledger, TestRecord};
use millstream_wire::Codec;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Batches that a whole run makes.
pub const BATCHES: u64 = 4;
/// Partitions of the topic.
const PARTITIONS: i32 = 2;
/// Records of one batch, all partitions together.
const PER_BATCH: u64 = 10;
/// One record in so many does not decode.
const MALFORMED: u64 = 5;
/// Cells between two words about how far a campaign is.
const PROGRESS: usize = 500;
/// Longest time that one run may take before it counts as hung.
const RUN_TIME_MAX: Duration = Duration::from_secs(60);

/// Where the rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// One table.
    Table,
    /// One table, and a second one for records that do not decode.
    DeadLetters,
}

impl Shape {
    /// Both.
    pub const ALL: [Shape; 2] = [Shape::Table, Shape::DeadLetters];
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Shape::Table => "table",
            Shape::DeadLetters => "letters",
        })
    }
}

/// The topic that all cells read, on an embedded broker of its own.
#[derive(Debug)]
pub struct Topic {
    kafka: KafkaHarness,
    ledger: Ledger,
}

impl Topic {
    /// Starts the broker and fills the topic.
    pub async fn start() -> Topic {
        let kafka = KafkaHarness::embedded();
        kafka.admin().await.create_topic("topic", PARTITIONS).await;
        let mut producer = kafka.producer().await;
        let mut ledger = Ledger::new();
        let records = BATCHES * PER_BATCH / PARTITIONS.unsigned_abs() as u64;
        for partition in 0..PARTITIONS {
            let values: Vec<TestRecord> =
                (0..records).map(|_| TestRecord::value(record(ledger.next(partition)))).collect();
            producer.produce("topic", partition, &values, Codec::None).await;
        }
        Topic { kafka, ledger }
    }

    /// Addresses for clients.
    pub fn brokers(&self) -> String {
        self.kafka.bootstrap_servers()
    }
}

/// Whether the record at an offset does not decode.
fn is_malformed(n: u64) -> bool {
    n % MALFORMED == 1
}

/// The record at an offset of any partition: its value is its offset.
fn record(n: u64) -> Vec<u8> {
    let end = if is_malformed(n) { "" } else { "}" };
    format!("{{\"a\": {n}{end}").into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What all cells of a campaign share.
#[derive(Debug, Clone)]
pub struct Workplace {
    binary: PathBuf,
    brokers: String,
    ledger: Ledger,
    reader: Arc<TableReader>,
    scratch: PathBuf,
    /// The mistake that a test build of the binary makes on purpose.
    mistake: Option<String>,
    /// Whether tables get a checkpoint of their log at every second entry.
    has_table_checkpoints: bool,
}

/// `TMPDIR`, or a directory in memory: thousands of lakes of a few kilobytes, each synced often.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let usable = || tempfile::tempfile_in(memory).is_ok();
    match std::env::var_os("TMPDIR") {
        None if usable() => memory.to_owned(),
        _ => std::env::temp_dir(),
    }
}

impl Workplace {
    /// Cells run `binary` on `topic`, in directories in memory where there is a place for that.
    ///
    /// # Errors
    /// `TEST_PART_MISSING` where the independent reader is not installed.
    pub fn new(binary: impl Into<PathBuf>, topic: &Topic) -> Result<Workplace> {
        Ok(Workplace {
            binary: binary.into(),
            brokers: topic.brokers(),
            ledger: topic.ledger.clone(),
            reader: Arc::new(TableReader::start()?),
            scratch: scratch(),
            mistake: None,
            has_table_checkpoints: true,
        })
    }

    /// The same place with a binary that makes this mistake; the binary must be a test build.
    pub fn making(&self, mistake: &str) -> Workplace {
        Workplace { mistake: Some(mistake.to_owned()), ..self.clone() }
    }

    /// The same place with tables that are too young for checkpoints of their logs: whether one is
    /// there when a run has been killed is a matter of chance, and equal lakes have equal files.
    pub fn without_table_checkpoints(&self) -> Workplace {
        Workplace { has_table_checkpoints: false, ..self.clone() }
    }

    /// A new lake of this shape.
    pub fn lake(&self, shape: Shape) -> Lake<'_> {
        let directory = tempfile::tempdir_in(&self.scratch).expect("a directory for the lake");
        let lake = Lake { place: self, shape, directory };
        std::fs::write(lake.path("pipeline.sql"), lake.pipeline()).expect("the pipeline");
        std::fs::create_dir(lake.storage()).expect("the lake's directory");
        lake
    }
}

/// One stream with its tables and its checkpoint.
#[derive(Debug)]
pub struct Lake<'a> {
    place: &'a Workplace,
    shape: Shape,
    directory: tempfile::TempDir,
}

/// How a run of the binary ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its status; `None` where it hung and was killed.
    pub status: Option<ExitStatus>,
    /// Everything it said on stderr.
    pub stderr: String,
}

impl Ended {
    /// Whether it ended well.
    pub fn is_success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Whether a signal ended it.
    pub fn was_killed(&self) -> bool {
        use std::os::unix::process::ExitStatusExt as _;
        self.status.is_some_and(|status| status.signal().is_some())
    }

    /// The stable code of the error that ended it; `None` where it ended otherwise, or without one.
    pub fn code(&self) -> Option<String> {
        let line = self.stderr.lines().rfind(|line| line.starts_with("error: "))?;
        let is_code = |word: &&str| {
            word.contains('_') && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        };
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.find(is_code).map(str::to_owned)
    }

    /// Status and the last words, for reports.
    pub fn words(&self) -> String {
        let last: Vec<&str> = self.stderr.lines().rev().take(4).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        format!("{:?}: {}", self.status.map(|s| s.to_string()), last.join(" / "))
    }
}

impl Lake<'_> {
    /// A path in the lake's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The lake's directory without symbolic links in its path.
    pub fn root(&self) -> PathBuf {
        self.storage().canonicalize().expect("the lake's directory")
    }

    /// A new name for a log beside the lake.
    pub fn log(&self) -> PathBuf {
        self.path(&format!("log-{}", names(self.directory.path()).len()))
    }

    /// Where tables and checkpoint lie.
    pub fn storage(&self) -> PathBuf {
        self.path("lake")
    }

    /// The stream's checkpoint.
    pub fn checkpoint(&self) -> PathBuf {
        self.path("lake/_checkpoints/t/t")
    }

    /// The tables, dead letters first, as they are committed.
    pub fn tables(&self) -> Vec<PathBuf> {
        match self.shape {
            Shape::Table => vec![self.path("lake/t")],
            Shape::DeadLetters => vec![self.path("lake/d"), self.path("lake/t")],
        }
    }

    fn pipeline(&self) -> String {
        let letters = match self.shape {
            Shape::Table => "",
            Shape::DeadLetters => ", deadLetter => 'd'",
        };
        let properties = match self.place.has_table_checkpoints {
            true => "TBLPROPERTIES ('delta.checkpointInterval' = '2')",
            false => "",
        };
        format!(
            "SET spark.sql.streaming.minBatchesToRetain = 1;
             CREATE OR REFRESH STREAMING TABLE t {properties}
             AS SELECT j.a, topic, partition, offset FROM (
               SELECT from_json(CAST(value AS STRING), 'a INT') AS j, topic, partition, offset
               FROM STREAM read_kafka(bootstrapServers => '{}', subscribe => 'topic',
                 startingOffsets => 'earliest', maxOffsetsPerTrigger => {PER_BATCH}{letters}));\n",
            self.place.brokers
        )
    }

    /// The command that runs the stream until the topic's end.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.place.binary);
        command.arg("run").arg(self.path("pipeline.sql")).arg("--storage").arg(self.storage());
        command.args(["--trigger", "available-now", "--progress", "none", "--log-level", "warn"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some(mistake) = &self.place.mistake {
            command.env("MILLSTREAM_MISTAKE", mistake);
        }
        command
    }

    /// Starts the stream with this fault point armed, if any.
    pub fn start(&self, fault: Option<&str>) -> Child {
        let mut command = self.command();
        if let Some(fault) = fault {
            command.env("MILLSTREAM_FAULT", fault);
        }
        command.spawn().expect("the binary starts")
    }

    /// Runs the stream to its end, or to its fault.
    pub fn run(&self, fault: Option<&str>) -> Ended {
        end(self.start(fault))
    }

    /// Whether everything that was promised holds now that the stream is through: every record in
    /// one of the tables once, dead letters where they belong, a checkpoint that is complete, and at
    /// most `crashes` attempts that came to nothing.
    ///
    /// # Errors
    /// What does not hold.
    pub fn audit(&self, crashes: usize) -> std::result::Result<(), String> {
        self.audit_rows()?;
        self.check_logs()?;
        self.check_attempts(crashes)
    }

    /// Whether every record is in one of the tables once, in the one where it belongs, and with its
    /// own value.
    ///
    /// # Errors
    /// What does not hold.
    pub fn audit_rows(&self) -> std::result::Result<(), String> {
        let mut places = Vec::new();
        for table in self.tables() {
            let is_letters = table.ends_with("d");
            let value = if is_letters { "value" } else { "a" };
            let columns = ["topic", "partition", "offset", value];
            let rows: Vec<(String, i32, i64, Value)> = self.place.reader.rows(&table, &columns)?;
            for (topic, partition, offset, found) in rows {
                let place = format!("{topic}-{partition}:{offset}");
                let n = offset.unsigned_abs();
                let expected = match (is_malformed(n), is_letters) {
                    (true, true) => Value::String(hex(&record(n))),
                    (true, false) if self.shape == Shape::Table => Value::Null,
                    (false, false) => n.into(),
                    (true, false) => return Err(format!("{place} is a row and does not decode")),
                    (false, true) => return Err(format!("{place} is a dead letter and decodes")),
                };
                if topic != "topic" || found != expected {
                    return Err(format!("{place} has {found}, not {expected}"));
                }
                places.push((partition, offset));
            }
        }
        let audit = self.place.ledger.audit(places);
        match audit.is_clean() {
            true => Ok(()),
            false => Err(audit.to_string()),
        }
    }

    /// I5 at the end: the newest intent is complete, and it is the last batch.
    fn check_logs(&self) -> std::result::Result<(), String> {
        let newest = |dir: &str| {
            let names = names(&self.checkpoint().join(dir));
            names.iter().filter_map(|name| name.parse::<u64>().ok()).max()
        };
        let (offsets, commits) = (newest("offsets"), newest("commits"));
        if offsets != Some(BATCHES - 1) || commits != offsets {
            return Err(format!("newest offsets {offsets:?}, newest commits {commits:?}"));
        }
        Ok(())
    }

    /// I10: no more attempts than batches and crashes. Data files carry the attempt's id.
    fn check_attempts(&self, crashes: usize) -> std::result::Result<(), String> {
        let mut attempts = BTreeSet::new();
        for table in self.tables() {
            let files = names(&table);
            attempts.extend(files.iter().filter_map(|name| attempt_of(name)).map(str::to_owned));
        }
        let most = usize::try_from(BATCHES).unwrap_or(0) + crashes;
        if attempts.len() > most {
            let count = attempts.len();
            return Err(format!("{count} attempts of {BATCHES} batches after {crashes} crashes"));
        }
        Ok(())
    }

    /// What `millstream checkpoint` says to these arguments.
    pub fn checkpoint_command(&self, arguments: &[&OsStr]) -> Output {
        let mut command = Command::new(&self.place.binary);
        command.arg("checkpoint").args(arguments).args(["--log-level", "error"]);
        command.stdin(Stdio::null()).output().expect("the binary runs")
    }

    /// What `millstream verify` says, where it finds a violation or cannot look.
    ///
    /// # Errors
    /// Its words.
    pub fn verify(&self) -> std::result::Result<(), String> {
        let mut command = Command::new(&self.place.binary);
        command.arg("verify").arg(self.path("pipeline.sql")).arg("--storage").arg(self.storage());
        command.args(["--bootstrap-servers", &self.place.brokers, "--log-level", "error"]);
        let output = command.stdin(Stdio::null()).output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stdout);
        // Where it cannot look at rows, that is a note to people, and here no proof.
        let has_compared = |line: &str| line.starts_with("rows ") && !line.contains("not possible");
        match output.status.success() && said.lines().any(has_compared) {
            true => Ok(()),
            false => Err(format!("verify: {said}")),
        }
    }
}

/// `part-00000-<uuid>-c000.snappy.parquet`
fn attempt_of(name: &str) -> Option<&str> {
    name.strip_prefix("part-")?.get(6..42)
}

/// Names in a directory; none if it does not exist.
pub fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect()
}

/// Waits for a child and takes what it said; kills it where it hangs.
pub fn end(mut child: Child) -> Ended {
    let mut pipe = child.stderr.take().expect("a pipe");
    let said = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = std::io::Read::read_to_end(&mut pipe, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let status = wait(&mut child, RUN_TIME_MAX);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    Ended { status, stderr: said.join().expect("the pipe is read") }
}

/// Waits for a child until a deadline.
pub fn wait(child: &mut Child, most: Duration) -> Option<ExitStatus> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            return Some(status);
        }
        if begun.elapsed() > most {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// A process that waits at a fault point.
#[derive(Debug)]
pub struct Held {
    child: Child,
    /// What it said on stderr.
    words: PathBuf,
}

impl Held {
    /// Starts the stream and waits until it is at `point`.
    ///
    /// # Errors
    /// What it said instead.
    pub fn at(lake: &Lake<'_>, point: &str) -> std::result::Result<Held, String> {
        let words = lake.log();
        let stderr = std::fs::File::create(&words).expect("a file for its words");
        let mut command = lake.command();
        command.env("MILLSTREAM_FAULT", format!("{point}:hold"));
        let mut child =
            command.stdin(Stdio::piped()).stderr(stderr).spawn().expect("the binary starts");
        let reached = format!("fault point {point} reached");
        let begun = Instant::now();
        while begun.elapsed() < RUN_TIME_MAX {
            let said = std::fs::read_to_string(&words).unwrap_or_default();
            if said.contains(&reached) {
                return Ok(Held { child, words });
            }
            if child.try_wait().expect("the child can be waited for").is_some() {
                return Err(format!("{point} was not reached: {said}"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(format!("{point} was not reached in time"))
    }

    /// Sends it a signal, by name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Lets it go on, and waits for its end.
    pub fn release(mut self) -> Ended {
        // It may be dead already.
        let _ = std::io::Write::write_all(&mut self.child.stdin.take().expect("a pipe"), b"\n");
        let status = wait(&mut self.child, RUN_TIME_MAX);
        if status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let stderr = std::fs::read_to_string(&self.words).unwrap_or_default();
        Ended { status, stderr }
    }
}

/// Runs cells side by side, one on each core, and returns what they found in their order.
pub fn run_cells<T: Sync, R: Send>(cells: &[T], run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    run_cells_on(std::thread::available_parallelism().map_or(1, usize::from), cells, run)
}

/// Runs cells `side_by_side` at a time.
pub fn run_cells_on<T: Sync, R: Send>(
    side_by_side: usize,
    cells: &[T],
    run: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, R>> = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..side_by_side {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(cell) = cells.get(at) else { break };
                    if at % PROGRESS == PROGRESS - 1 {
                        eprintln!("cell {} of {}", at + 1, cells.len());
                    }
                    let outcome = run(cell);
                    done.lock().expect("no cell has panicked").insert(at, outcome);
                }
            });
        }
    });
    done.into_inner().expect("no cell has panicked").into_values().collect()
}
