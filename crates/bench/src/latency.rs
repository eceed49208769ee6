//! Latency: from the moment at which a producer sends a record to the moment at which the table's log
//! names its row.

use crate::Result;
use crate::contenders::{Contender, Job};
use crate::orders;
use crate::place::Place;
use crate::record::{Latency, Quantiles, write};
use crate::table::{self, Commit};
use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::TimestampMicrosecondType;
use millstream_testkit::{Admin, Producer, RealKafka, RealKafkaConfig, TestRecord};
use millstream_wire::Codec;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Records are sent this often, so that a second's records are not one burst.
const SEND_EVERY: Duration = Duration::from_millis(4);
const TOPIC: &str = "orders";
/// How long the rows may take to come after the last one was sent.
const GIVE_UP: Duration = Duration::from_secs(120);

/// What to run.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    #[command(flatten)]
    place: Place,
    /// Records a second.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Seconds that count.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Seconds before them that do not.
    #[arg(long, default_value_t = 10)]
    warming: u64,
    /// Leaves Spark out.
    #[arg(long)]
    no_spark: bool,
}

/// Runs the bench and writes its record.
///
/// # Errors
/// A contender that fails.
pub fn run(settings: &Settings) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let lakes = settings.place.lakes()?;
    let mut record = Latency::begin(settings.rate, settings.seconds);
    let mut contenders = vec![Contender::Millstream];
    contenders.extend((!settings.no_spark).then_some(Contender::Spark));
    for contender in contenders {
        let kafka = RealKafka::start_with(&RealKafkaConfig::default())?;
        let bootstrap = kafka.bootstrap_servers();
        runtime.block_on(async {
            Admin::connect(&bootstrap).await.create_topic(TOPIC, orders::PARTITIONS).await
        });
        let lake = lakes.path().join(format!("{contender:?}"));
        std::fs::create_dir(&lake)?;
        let job = Job {
            bootstrap: &bootstrap,
            topic: TOPIC,
            lake: &lake,
            batch_rows: 1_000_000,
            has_dead_letters: false,
            millstream: &settings.place.millstream,
        };
        let mut running = Running(job.endless(contender)?.spawn()?);
        let (begun, sent) = runtime.block_on(produce(settings, &bootstrap));
        let commits = all_rows(&job.table(), sent, &mut running)?;
        drop(running);
        let counted = begun + Duration::from_secs(settings.warming);
        let quantiles = Quantiles::of(latencies(&commits, counted)?);
        record.add(contender.name(), quantiles);
    }
    write(&record, &settings.place.result)?;
    print!("{}", record.page());
    Ok(())
}

/// Killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("pkill").args(["-KILL", "-P", &self.0.id().to_string()]).status();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends records at the rate that is asked for: when it began, and how many.
async fn produce(settings: &Settings, bootstrap: &str) -> (SystemTime, u64) {
    let mut producer = Producer::connect(bootstrap).await;
    let (begun, start) = (SystemTime::now(), Instant::now());
    let all = settings.rate * (settings.warming + settings.seconds);
    let (mut sent, mut turn) = (0, 0);
    while sent < all {
        let due = (start.elapsed().as_secs_f64() * settings.rate as f64) as u64;
        let due = due.min(all);
        if due > sent {
            let now = SystemTime::now();
            let records: Vec<TestRecord> =
                (sent..due).map(|n| TestRecord::value(orders::order_at(n, now))).collect();
            let partition = turn % orders::PARTITIONS;
            producer.produce(TOPIC, partition, &records, Codec::None).await;
            (sent, turn) = (due, turn + 1);
        }
        tokio::time::sleep(SEND_EVERY).await;
    }
    (begun, sent)
}

/// The commits, as soon as they hold all rows.
fn all_rows(table: &Path, sent: u64, running: &mut Running) -> Result<Vec<Commit>> {
    let start = Instant::now();
    loop {
        let commits = table::commits(table).unwrap_or_default();
        if commits.iter().map(|commit| commit.rows).sum::<u64>() >= sent {
            return Ok(commits);
        }
        if let Some(status) = running.0.try_wait()? {
            return Err(format!("it ended with {status}").into());
        }
        if start.elapsed() > GIVE_UP {
            return Err("the rows do not come".into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Milliseconds of every row that was sent at `from` or later.
fn latencies(commits: &[Commit], from: SystemTime) -> Result<Vec<f64>> {
    let micros = |time: SystemTime| time.duration_since(UNIX_EPOCH).map(|d| d.as_micros() as i64);
    let from = micros(from)?;
    let mut latencies = Vec::new();
    for commit in commits {
        let at = micros(commit.at)?;
        for file in &commit.files {
            let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?;
            let mask = ProjectionMask::columns(builder.parquet_schema(), ["event_time"]);
            for batch in builder.with_projection(mask).build()? {
                let batch = batch?;
                let sent = batch.column(0).as_primitive_opt::<TimestampMicrosecondType>();
                let sent = sent.ok_or("event_time is no timestamp in microseconds")?;
                let counted = sent.values().iter().filter(|sent| **sent >= from);
                latencies.extend(counted.map(|sent| (at - sent) as f64 / 1e3));
                debug_assert_eq!(sent.null_count(), 0);
            }
        }
    }
    Ok(latencies)
}
