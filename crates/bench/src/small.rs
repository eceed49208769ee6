//! Small batches: how long each takes, early and late, and beside many live files.

use crate::Result;
use crate::contenders::{Contender, Job};
use crate::orders::{self, Topic};
use crate::place::Place;
use crate::process;
use crate::record::{Quantiles, SmallBatches, write};
use crate::table::{self, Commit};
use millstream_testkit::{RealKafka, RealKafkaConfig};
use millstream_wire::Codec;
use serde_json::json;
use std::fs;
use std::path::Path;

/// Commits at the start that are not counted: the first 100 find nothing cached.
const WARMING: usize = 100;
/// Commits of one figure.
const WINDOW: usize = 1_000;

/// What to run.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    #[command(flatten)]
    place: Place,
    /// Batches.
    #[arg(long, default_value_t = 10_000)]
    batches: u64,
    /// Records of a batch.
    #[arg(long, default_value_t = 100)]
    batch_rows: u64,
    /// Files that somebody else adds to the table before the second part.
    #[arg(long, default_value_t = 100_000)]
    live_files: usize,
    /// Batches of the second part.
    #[arg(long, default_value_t = 1_200)]
    later_batches: u64,
    /// Batches of Spark, at most; 0 leaves it out.
    #[arg(long, default_value_t = 40)]
    spark_batches: u64,
}

/// Runs the bench and writes its record.
///
/// # Errors
/// A contender that fails.
pub fn run(settings: &Settings) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let kafka = RealKafka::start_with(&RealKafkaConfig::default())?;
    let bootstrap = kafka.bootstrap_servers();
    let topic = |name: &str, batches: u64| {
        let (name, records) = (name.to_owned(), batches * settings.batch_rows);
        Topic { name, records, codec: Codec::None, malformed_one_in: 0 }
    };
    runtime.block_on(orders::fill(&bootstrap, &topic("orders", settings.batches)));
    runtime.block_on(orders::fill(&bootstrap, &topic("spark", settings.spark_batches)));
    let lakes = settings.place.lakes()?;
    let mut record = SmallBatches::begin(settings.batch_rows);
    let turn = |contender: Contender, lake: &Path, topic: &str| -> Result<f64> {
        let job = Job {
            bootstrap: &bootstrap,
            topic,
            lake,
            batch_rows: settings.batch_rows,
            has_dead_letters: false,
            millstream: &settings.place.millstream,
        };
        Ok(process::run(&mut job.command(contender)?)?.cpu_seconds)
    };

    let lake = lakes.path().join("millstream");
    fs::create_dir(&lake)?;
    let cpu = turn(Contender::Millstream, &lake, "orders")?;
    let commits = table::commits(&lake.join("orders"))?;
    record.add("Millstream, from commit 100 on", window(&commits, WARMING));
    record
        .add("Millstream, the last 1,000", window(&commits, commits.len().saturating_sub(WINDOW)));
    record.cpu_ms_of_a_batch = cpu * 1e3 / settings.batches as f64;

    add_files(&lake.join("orders"), settings.live_files)?;
    runtime.block_on(orders::send(&bootstrap, &topic("orders", settings.later_batches)));
    turn(Contender::Millstream, &lake, "orders")?;
    let after = table::commits(&lake.join("orders"))?;
    let name = format!("Millstream, beside {} live files", settings.live_files);
    record.add(&name, window(&after, commits.len() + 1 + WARMING));

    if settings.spark_batches > 0 {
        let lake = lakes.path().join("spark");
        fs::create_dir(&lake)?;
        turn(Contender::Spark, &lake, "spark")?;
        let commits = table::commits(&lake.join("orders"))?;
        record.add("Spark, tuned, second half", window(&commits, commits.len() / 2));
    }
    write(&record, &settings.place.result)?;
    print!("{}", record.page());
    Ok(())
}

/// Milliseconds from commit to commit, of the window that begins at commit `from`.
fn window(commits: &[Commit], from: usize) -> Quantiles {
    let commits = commits.get(from..).unwrap_or_default();
    let commits = commits.get(..commits.len().min(WINDOW + 1)).unwrap_or_default();
    let pauses = commits.windows(2).filter_map(|pair| {
        let pause = pair[1].at.duration_since(pair[0].at).ok()?;
        Some(pause.as_secs_f64() * 1e3)
    });
    Quantiles::of(pauses.collect())
}

/// Another writer's append of many files, as one log entry.
fn add_files(table: &Path, files: usize) -> Result<()> {
    if files == 0 {
        return Ok(());
    }
    let last = table::last_version(table)?;
    let mut text = format!("{}\n", json!({"commitInfo": {"operation": "WRITE"}}));
    for n in 0..files {
        let add = json!({"add": {
            "path": format!("another-writers-{n:06}.parquet"), "partitionValues": {},
            "size": 1_000_000, "modificationTime": 1_767_225_600_000_i64, "dataChange": true,
            "stats": "{\"numRecords\":10000}",
        }});
        text += &format!("{add}\n");
    }
    fs::write(table.join("_delta_log").join(format!("{:020}.json", last + 1)), text)?;
    Ok(())
}
