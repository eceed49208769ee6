//! `millstream demo`: the whole story on one machine. A broker, a stream of orders with all that
//! goes wrong in life, a pipeline that is killed without warning again and again, and an audit of
//! what it wrote against a ledger that it has never seen.

mod audit;
mod child;
mod ledger;
mod orders;
mod producer;

use crate::args::DemoArgs;
use crate::commands::report::say;
use child::{Ended, Pipeline};
use ledger::{Findings, Ledger};
use millstream_broker::{Broker, BrokerConfig};
use millstream_core::env::{Env, SystemEnv};
use millstream_core::{Error, ErrorKind, Result};
use orders::{Generator, Record};
use producer::Producer;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The pipeline that the demo runs: one of the examples, as it is.
const PIPELINE: &str = include_str!("../../../../examples/orders.sql");
const TOPIC: &str = "orders";
const PARTITIONS: i32 = 4;
/// Records of one produce request.
const REQUEST_RECORDS: u64 = 250;
/// Time that the pipeline lives between kills, at least and at most.
const LIFE_MS: std::ops::RangeInclusive<u64> = 250..=1_500;
/// Kills that may pass without the table moving before the demo says that something is wrong.
const KILLS_WITHOUT_PROGRESS_MAX: u32 = 30;

/// Where everything lies.
struct Layout {
    root: PathBuf,
}

impl Layout {
    fn broker(&self) -> PathBuf {
        self.root.join("broker")
    }
    fn storage(&self) -> PathBuf {
        self.root.join("tables")
    }
    fn pipeline(&self) -> PathBuf {
        self.root.join("pipeline.sql")
    }
    fn log(&self) -> PathBuf {
        self.root.join("pipeline.log")
    }
    fn ledger(&self) -> PathBuf {
        self.root.join("ledger.csv")
    }
    fn orders(&self) -> PathBuf {
        self.storage().join("orders")
    }
    fn letters(&self) -> PathBuf {
        self.storage().join("orders_dead_letters")
    }
}

/// Tells the story.
///
/// # Errors
/// What kept it from being told; a damaged table is no error but exit status 1.
pub async fn run(args: &DemoArgs, stop: CancellationToken) -> Result<ExitCode> {
    tokio::select! {
        outcome = story(args) => outcome,
        () = stop.cancelled() => {
            Err(Error::new(ErrorKind::Invalid, "DEMO_INTERRUPTED", "The demo was interrupted."))
        }
    }
}

async fn story(args: &DemoArgs) -> Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let layout = prepare(args, seed)?;
    say(&format!("millstream demo: {} orders, {} kills, seed {seed}", args.records, args.kills));
    let broker = Broker::start(BrokerConfig {
        dir: Some(layout.broker()),
        topics: vec![(TOPIC.to_owned(), PARTITIONS)],
        ..BrokerConfig::default()
    })?;
    let address = broker.bootstrap_servers();
    say(&format!("broker    {address}, embedded; topic `{TOPIC}` with {PARTITIONS} partitions"));
    say(&format!("pipeline  {}\n", layout.pipeline().display()));
    for line in PIPELINE.lines().filter(|l| !l.trim_start().starts_with("--")) {
        say(&format!("    {line}"));
    }
    say("");
    let pipeline = Pipeline {
        file: layout.pipeline(),
        storage: layout.storage(),
        brokers: address.clone(),
        log: layout.log(),
    };
    // Spread over the kills, so that every life of the pipeline has something to do.
    let pace = Duration::from_millis(args.kills.max(1).into()) * 900;
    let produced = tokio::spawn(produce(address, args.records, seed, pace));
    let killed = kill_again_and_again(&pipeline, &layout, args.kills, seed).await;
    let ledger = match killed {
        Ok(()) => produced.await.map_err(|e| Error::internal(format!("the producer: {e}")))??,
        Err(error) => {
            produced.abort();
            return Err(error);
        }
    };
    let took = pipeline.run_to_the_end().await?;
    say(&format!("finish    run to the end of the topic, {:.1} s", took.as_secs_f64()));
    broker.stop();
    write(&layout.ledger(), &ledger.to_csv())?;
    let clean = audit(&layout, &ledger)?;
    if !args.keep {
        // The log has served its purpose; a failure to delete it harms nobody.
        let _ = std::fs::remove_dir_all(layout.broker());
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Makes the directory and writes the pipeline into it.
fn prepare(args: &DemoArgs, seed: u64) -> Result<Layout> {
    let root = match &args.dir {
        Some(dir) => dir.clone(),
        None => std::env::temp_dir().join(format!("millstream-demo-{}-{seed}", std::process::id())),
    };
    if root.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::invalid(
            "DEMO_DIR_NOT_EMPTY",
            format!("`{}` is not empty.", root.display()),
        )
        .cure("Name a new directory with --dir."));
    }
    let made = std::fs::create_dir_all(&root).and_then(|()| root.canonicalize());
    let root = made.map_err(|e| unusable(&root).caused_by(e))?;
    let layout = Layout { root };
    write(&layout.pipeline(), PIPELINE)?;
    Ok(layout)
}

/// Produces the orders over about `time`, and remembers what each of them was.
async fn produce(address: String, records: u64, seed: u64, time: Duration) -> Result<Ledger> {
    let mut producer = Producer::connect(&address, TOPIC).await?;
    let mut generator = Generator::new(seed);
    let mut ledger = Ledger::default();
    let started = Instant::now();
    let mut done = 0;
    let mut reported = 0;
    while done < records {
        let due = time.mul_f64(done as f64 / records as f64);
        tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        let count = REQUEST_RECORDS.min(records - done);
        let batch: Vec<Record> = (0..count).map(|_| generator.record()).collect();
        let partition =
            i32::try_from((done / REQUEST_RECORDS) % u64::from(PARTITIONS.unsigned_abs()))
                .unwrap_or(0);
        let first = producer.send(partition, &batch, SystemEnv.now_ms()).await?;
        for (offset, record) in (first..).zip(batch) {
            ledger.note((partition, offset), record.fate);
        }
        done += count;
        if done * 5 / records > reported {
            reported = done * 5 / records;
            say(&format!("produce   {done} of {records} orders"));
        }
    }
    Ok(ledger)
}

/// Lets the pipeline live for random whiles and kills it, `kills` times.
async fn kill_again_and_again(
    pipeline: &Pipeline,
    layout: &Layout,
    kills: u32,
    seed: u64,
) -> Result<()> {
    // Its own stream of chance: the moments must not follow the orders.
    let mut random = SmallRng::seed_from_u64(seed.wrapping_add(1));
    let (mut count, mut without_progress, mut version) = (0, 0, None);
    while count < kills {
        let life = Duration::from_millis(random.random_range(LIFE_MS));
        match pipeline.run_and_kill(life).await? {
            Ended::Killed(after) => {
                count += 1;
                let newest = newest_version(&layout.orders());
                let state = match newest {
                    Some(v) => format!("table at version {v}"),
                    None => "no table yet".to_owned(),
                };
                say(&format!(
                    "kill {count:<4} SIGKILL after {:.2} s, {state}",
                    after.as_secs_f64()
                ));
                without_progress = if newest == version { without_progress + 1 } else { 0 };
                version = newest;
            }
            Ended::Finished(_) => {
                return Err(Error::internal("the pipeline ended although it should go on"));
            }
        }
        if without_progress > KILLS_WITHOUT_PROGRESS_MAX {
            return Err(Error::new(
                ErrorKind::Internal,
                "DEMO_NO_PROGRESS",
                "The pipeline does not get anywhere between the kills.",
            )
            .cure(format!("See `{}`.", layout.log().display())));
        }
    }
    Ok(())
}

/// Newest entry of a table's log, by its file name.
fn newest_version(table: &Path) -> Option<u64> {
    let entries = table.join("_delta_log").read_dir().ok()?;
    let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter_map(|name| name.strip_suffix(".json").and_then(|v| v.parse().ok())).max()
}

/// Compares both tables with the ledger and prints the verdict.
fn audit(layout: &Layout, ledger: &Ledger) -> Result<bool> {
    let (expected_rows, expected_letters) = ledger.expected();
    let orders = audit::orders(&layout.orders())?;
    say(&format!(
        "audit     orders: {} rows in {} files, version {}; the ledger has {expected_rows}",
        orders.rows.len(),
        orders.files,
        orders.version
    ));
    let rows = ledger.audit_rows(orders.rows.into_iter());
    let letters = audit::letters(&layout.letters())?;
    say(&format!(
        "audit     orders_dead_letters: {} rows in {} files, version {}; the ledger has {expected_letters}",
        letters.rows.len(),
        letters.files,
        letters.version
    ));
    let found = rows.plus(ledger.audit_letters(letters.rows.into_iter()));
    let tombstones = ledger.len() - expected_rows - expected_letters;
    say(&format!(
        "audit     {tombstones} tombstones were filtered out; ledger.csv tells every record"
    ));
    let Findings { lost, duplicated, phantom } = found;
    say(&format!(
        "lost {lost}, duplicated {duplicated}, phantom {phantom}; the table is {}",
        layout.orders().display()
    ));
    Ok(found.is_clean())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|e| unusable(path).caused_by(e))
}

fn unusable(path: &Path) -> Error {
    Error::new(
        ErrorKind::Exhausted,
        "DEMO_DIR_UNUSABLE",
        format!("`{}` cannot be written.", path.display()),
    )
    .cure("Name another directory with --dir.")
}
