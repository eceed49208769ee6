//! How long a start takes after a kill, and how much it does again, on a checkpoint with a long
//! history: the real binary, one record a batch.
//!
//! `MILLSTREAM_RECOVERY_BATCHES` sets the length of the history (300 without it),
//! `MILLSTREAM_RECOVERY_KILLS` the number of random kills (5). With 10,000 batches or more a
//! recovery must end within two seconds; below, nothing is asserted about time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream_testkit::{Figures, KafkaHarness, Ledger, TestRecord, reader, skip_or_fail};
use millstream_wire::Codec;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Figure 5 of issue 4.
const RECOVERY_MAX: Duration = Duration::from_secs(2);
/// Batches from which on the figure counts.
const LONG_HISTORY: u64 = 10_000;
/// Where a run is made to die in the batch after the history: with the batch planned and nothing
/// done, executed, sealed, committed, half completed, and completed.
const POINTS: [&str; 6] =
    ["P4:after", "P8:after", "P9:after", "P11:after", "P13:inside", "P13:after"];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A topic whose records each become a batch, and what the runs on it leave behind.
struct Lab {
    kafka: KafkaHarness,
    directory: tempfile::TempDir,
    /// Batches whose files the checkpoint keeps.
    retain: u64,
    ledger: Ledger,
}

/// A run of the binary, and the batches it reports.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    begun: Instant,
}

/// One completed batch as a run reports it.
struct Reported {
    batch: u64,
    millis: i64,
    since_start: Duration,
}

impl Running {
    /// The next completed batch; `None` when the run has ended.
    fn next(&mut self) -> Option<Reported> {
        loop {
            let line = self.lines.next()?.expect("a line");
            let progress: Value = serde_json::from_str(&line).expect("a progress record");
            if progress["numInputRows"] == 0 {
                continue;
            }
            return Some(Reported {
                batch: progress["batchId"].as_u64().unwrap(),
                millis: progress["batchDuration"].as_i64().unwrap(),
                since_start: self.begun.elapsed(),
            });
        }
    }

    fn end(mut self) -> Option<i32> {
        while self.next().is_some() {}
        self.child.wait().unwrap().code()
    }
}

impl Lab {
    async fn new(retain: u64) -> Lab {
        let kafka = KafkaHarness::embedded();
        kafka.admin().await.create_topic("numbers", 1).await;
        let directory = tempfile::tempdir().unwrap();
        let brokers = kafka.bootstrap_servers();
        let pipeline = format!(
            "CREATE STREAMING TABLE t AS SELECT partition, offset FROM STREAM read_kafka(
               bootstrapServers => '{brokers}', subscribe => 'numbers',
               startingOffsets => 'earliest', maxOffsetsPerTrigger => 1);"
        );
        std::fs::write(directory.path().join("p.sql"), pipeline).unwrap();
        Lab { kafka, directory, retain, ledger: Ledger::new() }
    }

    async fn produce(&mut self, count: u64) {
        let mut producer = self.kafka.producer().await;
        let mut left = count;
        while left > 0 {
            let some = left.min(1_000);
            let records: Vec<TestRecord> =
                (0..some).map(|_| TestRecord::value(self.ledger.next(0).to_string())).collect();
            producer.produce("numbers", 0, &records, Codec::None).await;
            left -= some;
        }
    }

    fn start(&self, fault: Option<&str>) -> Running {
        let begun = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(["run", "p.sql", "--trigger", "available-now", "--progress", "json"]);
        command.args(["--log-level", "error", "--storage", "lake", "--set"]);
        command.arg(format!("spark.sql.streaming.minBatchesToRetain={}", self.retain));
        command.current_dir(self.directory.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        match fault {
            Some(point) => command.env("MILLSTREAM_FAULT", point).stderr(Stdio::null()),
            None => command.env_remove("MILLSTREAM_FAULT"),
        };
        let mut child = command.spawn().expect("the binary starts");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines, begun }
    }

    fn names(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path().join("lake").join(dir)).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The highest number in a log of the checkpoint.
    fn newest(&self, log: &str) -> Option<u64> {
        let names = self.names(&format!("_checkpoints/t/t/{log}"));
        names.iter().filter_map(|name| name.parse().ok()).max()
    }

    fn data_files(&self) -> u64 {
        self.names("t").iter().filter(|name| name.ends_with(".parquet")).count() as u64
    }

    fn table(&self) -> PathBuf {
        self.directory.path().join("lake/t")
    }
}

/// What one recovery cost.
struct Recovery {
    /// From the start of the process to the completion of the batch in doubt, if one was.
    settled: Option<Duration>,
    /// From the start of the process to its first completed batch.
    first: Duration,
}

/// Starts again after a kill and lets the run end. Nothing but the batch in doubt may be executed
/// again, and that once (I10).
fn recover(lab: &Lab) -> Recovery {
    let (newest, completed) = (lab.newest("offsets"), lab.newest("commits"));
    assert!(newest == completed || newest == completed.map_or(Some(0), |m| Some(m + 1)), "I5");
    let in_doubt = newest.filter(|_| newest != completed);
    let files = lab.data_files();
    let mut run = lab.start(None);
    let first = run.next().expect("a batch is left to do");
    let next = completed.map_or(0, |m| m + 1);
    assert_eq!(first.batch, next, "the batch after the newest completed one comes first");
    assert_eq!(run.end(), Some(0));
    let done = lab.newest("commits").unwrap() + 1 - next;
    let executed = lab.data_files() - files;
    let forward = u64::from(in_doubt.is_some());
    assert!(
        (done - forward..=done).contains(&executed),
        "{done} batches were completed and {executed} executed"
    );
    Recovery { settled: in_doubt.map(|_| first.since_start), first: first.since_start }
}

fn mean(millis: &[i64]) -> f64 {
    millis.iter().sum::<i64>() as f64 / millis.len().max(1) as f64
}

/// Makes the history, and says how its batches went.
fn history(lab: &Lab, batches: u64, label: &str, figures: &mut Figures) {
    let begun = Instant::now();
    let mut run = lab.start(None);
    let mut millis = Vec::new();
    while let Some(reported) = run.next() {
        millis.push(reported.millis);
    }
    assert_eq!(run.end(), Some(0));
    assert_eq!(millis.len() as u64, batches, "one record a batch");
    let rate = batches as f64 / begun.elapsed().as_secs_f64();
    // The first batches pay for opening everything.
    let tenth = millis.len() / 10;
    let (early, late) = (mean(&millis[tenth..2 * tenth]), mean(&millis[9 * tenth..]));
    figures.set(&format!("{label}_batches"), batches);
    figures.set(&format!("{label}_batches_per_second"), rate.round());
    figures.set(&format!("{label}_batch_ms_second_tenth"), (early * 10.0).round() / 10.0);
    figures.set(&format!("{label}_batch_ms_last_tenth"), (late * 10.0).round() / 10.0);
    figures.set(
        &format!("{label}_checkpoint_batches_kept"),
        lab.names("_checkpoints/t/t/commits").len(),
    );
    figures.set(&format!("{label}_table_versions"), {
        let log = lab.names("t/_delta_log");
        log.iter().filter(|name| name.ends_with(".json") && !name.starts_with(['.', '_'])).count()
    });
}

async fn campaign(label: &str, retain: u64, figures: &mut Figures) {
    let batches = number("MILLSTREAM_RECOVERY_BATCHES", 300);
    let mut lab = Lab::new(retain).await;
    lab.produce(batches).await;
    history(&lab, batches, label, figures);

    let mut slowest = Duration::ZERO;
    let mut recoveries = Vec::new();
    for point in POINTS {
        let next = lab.newest("commits").unwrap() + 1;
        lab.produce(3).await;
        let fault = format!("{point}:{next}");
        assert_ne!(lab.start(Some(&fault)).end(), Some(0), "{fault} is reached");
        let recovery = recover(&lab);
        assert_eq!(recovery.settled.is_none(), point == "P13:after", "{point}");
        figures.cell(format!("{label}, {point}"), format!("{} ms", recovery.first.as_millis()));
        recoveries.push(recovery);
    }
    let mut random = SmallRng::seed_from_u64(4);
    for kill in 0..number("MILLSTREAM_RECOVERY_KILLS", 5) {
        // More than a run gets done until it is killed, and one that is left in any case.
        lab.produce(40).await;
        let mut run = lab.start(None);
        run.next().expect("a first batch");
        tokio::time::sleep(Duration::from_micros(random.random_range(0..60_000))).await;
        run.child.kill().expect("SIGKILL");
        run.end();
        lab.produce(1).await;
        let recovery = recover(&lab);
        let what = if recovery.settled.is_some() { "in doubt" } else { "between batches" };
        let took = format!("{what}, {} ms", recovery.first.as_millis());
        figures.cell(format!("{label}, SIGKILL {kill}"), took);
        recoveries.push(recovery);
    }
    for recovery in &recoveries {
        slowest = slowest.max(recovery.first);
        if recovery.settled.is_some() {
            figures.count(&format!("{label}_batches_in_doubt"));
        }
        figures.count(&format!("{label}_recoveries"));
    }
    figures.set(&format!("{label}_slowest_recovery_ms"), slowest.as_millis() as u64);
    if batches >= LONG_HISTORY {
        assert!(slowest < RECOVERY_MAX, "{label}: the slowest recovery took {slowest:?}");
    }
    let rows = reader::pairs(&lab.table(), "partition", "offset").expect("the table is read");
    lab.ledger.audit(rows).assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_after_a_kill_redoes_at_most_one_batch_however_long_the_history() {
    if skip_or_fail("the deltalake reader", reader::python()).is_none() {
        return;
    }
    let mut figures = Figures::begin(
        "recovery",
        "Recovery after a kill, on long histories",
        "MILLSTREAM_RECOVERY_BATCHES=10000 MILLSTREAM_RECOVERY_KILLS=50 \
         MILLSTREAM_REPORT=proof/results/recovery.json \
         cargo test --release -p millstream-cli --test recovery_time",
    );
    campaign("default_retention", 100, &mut figures).await;
    campaign("everything_kept", 1_000_000, &mut figures).await;
    figures.finish();
}
