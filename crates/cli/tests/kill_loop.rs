//! The real binary against a real broker, both killed with SIGKILL at random moments while records
//! keep coming, then audited: every record that Kafka's own consumer finds in the log is in the
//! table or in the dead letters, once.
//!
//! Every so many kills the broker is killed as well: in the middle of a run, with a second run
//! started before it is back on the same data. A broker that is killed leaves what it has
//! acknowledged in the page cache; the producer sends each batch until it is acknowledged, under
//! one sequence number. What counts is what the log holds in the end, which is read back whole.
//!
//! `MILLSTREAM_KILLS`: kills of the binary (25 without it, as in CI). `MILLSTREAM_BROKER_KILLS`: at
//! every so many of them the broker is killed too (10; 0 for never). `MILLSTREAM_SEED`: the moments.
//! `MILLSTREAM_REPORT`: a file for the result, relative to the repository.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream_testkit::{
    Admin, Audit, Ledger, RealKafka, StubbornProducer, TestRecord, kafka_tool, reader,
    repository_root, skip_or_fail,
};
use millstream_wire::Codec;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 4;
/// Records of one produced batch, and the pause between rounds over the partitions: about what the
/// binary can read in the time that it lives.
const BATCH: usize = 50;
const PAUSE: Duration = Duration::from_millis(60);
/// One record in so many is malformed, one in so many a tombstone.
const MALFORMED: u64 = 50;
const TOMBSTONE: u64 = 97;
/// Rows listed of each table that are not what was produced.
const ALTERED_LISTED_MAX: usize = 20;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn pipeline(bootstrap: &str) -> String {
    format!(
        "CREATE OR REFRESH STREAMING TABLE orders AS
         SELECT data.order_id, data.amount, data.event_time, partition, offset
         FROM (
           SELECT from_json(CAST(value AS STRING),
                            'order_id STRING, amount DOUBLE, event_time TIMESTAMP') AS data,
                  partition, offset
           FROM STREAM read_kafka(
             bootstrapServers => '{bootstrap}',
             subscribe => '{TOPIC}',
             startingOffsets => 'earliest',
             maxOffsetsPerTrigger => 3000,
             deadLetter => 'orders_dead_letters'));\n"
    )
}

fn start(directory: &Path, trigger: Option<&str>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.arg("run").arg(directory.join("pipeline.sql"));
    command.arg("--storage").arg(directory.join("lake"));
    command.args(["--progress", "none", "--log-level", "warn"]);
    if let Some(trigger) = trigger {
        command.args(["--trigger", trigger]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("the binary starts")
}

fn record(partition: i32, number: u64) -> TestRecord {
    let id = number * 16 + u64::try_from(partition).unwrap_or(0);
    // Kafka forgets the sequence numbers of a producer whose records are old.
    let at = chrono::Utc::now().timestamp_millis();
    let key = format!("customer-{}", id % 1000);
    if id % MALFORMED == 3 {
        return TestRecord::value(format!("{{\"order_id\": \"{id}\", \"amount\": "))
            .key(key)
            .at(at);
    }
    if id % TOMBSTONE == 5 {
        return TestRecord { value: None, ..TestRecord::default().key(key).at(at) };
    }
    let amount = (id % 10_000) as f64 / 100.0;
    let json = format!(
        "{{\"order_id\":\"o-{id}\",\"amount\":{amount:?},\"event_time\":\"2026-01-02T03:04:05.123Z\"}}"
    );
    TestRecord::value(json).key(key).at(at)
}

/// Produces until told to stop; returns what was acknowledged, and how many batches had to be sent
/// again.
async fn produce(mut producer: StubbornProducer, stop: Arc<AtomicBool>) -> (Ledger, u64) {
    let mut ledger = Ledger::new();
    let codecs = [Codec::None, Codec::Lz4, Codec::Zstd, Codec::Gzip, Codec::Snappy];
    for codec in codecs.into_iter().cycle() {
        for partition in 0..PARTITIONS {
            let records: Vec<TestRecord> =
                (0..BATCH).map(|_| record(partition, ledger.next(partition))).collect();
            producer.produce(partition, &records, codec).await;
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    (ledger, producer.repeated())
}

/// A run of the binary that is not meant to end by itself.
struct Run {
    child: Child,
    number: u64,
}

impl Run {
    fn start(directory: &Path, number: u64) -> Run {
        Run { child: start(directory, None), number }
    }

    fn kill(mut self) {
        let ended = self.child.try_wait().expect("the child can be waited for");
        assert!(ended.is_none(), "run {} ended by itself: {ended:?}", self.number);
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("the child is gone");
    }
}

/// Kills the binary at `kills` random moments, and the broker at every `every`th of them. Returns
/// how often the broker was killed.
async fn kill_at_random_moments(
    directory: &Path,
    kafka: &mut RealKafka,
    (kills, every): (u64, u64),
    seed: u64,
) -> u64 {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut broker_kills = 0;
    for number in 0..kills {
        let run = Run::start(directory, number);
        tokio::time::sleep(Duration::from_millis(random.random_range(20..900))).await;
        if every > 0 && number % every == every - 1 {
            broker_kills += 1;
            kafka.kill(0);
            tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
            run.kill();
            // The next run starts without a broker, and is there when it comes back.
            let run = Run::start(directory, number);
            tokio::task::block_in_place(|| kafka.restart(0)).expect("the broker comes back");
            tokio::time::sleep(Duration::from_millis(random.random_range(0..900))).await;
            run.kill();
        } else {
            run.kill();
        }
    }
    broker_kills
}

/// Partition and offset of every row of a table, and the first few rows that are not what was
/// produced there, or belong to the other table.
fn rows(table: &Path, is_letters: bool) -> (Vec<(i32, i64)>, Vec<String>) {
    let values: &[&str] = if is_letters { &["value"] } else { &["order_id", "amount"] };
    let columns = [&["partition", "offset"], values].concat();
    let rows = reader::rows(table, &columns).expect("the independent reader reads the table");
    let (mut places, mut altered) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        let partition = row["partition"].as_i64().and_then(|n| i32::try_from(n).ok());
        let (partition, offset) = (partition.expect("a partition"), row["offset"].as_i64());
        let offset = offset.expect("an offset");
        places.push((partition, offset));
        let expected = expected(partition, offset, is_letters);
        let is_right = expected.as_ref().is_some_and(|expected| {
            values.iter().zip(expected).all(|(name, value)| row[*name] == *value)
        });
        if !is_right && altered.len() < ALTERED_LISTED_MAX {
            altered.push(format!("{row} where {expected:?} was produced"));
        }
    }
    (places, altered)
}

/// The values of the row of one record, in the table for good rows or in the one for dead letters;
/// `None` where it does not belong. What is produced is a function of partition and offset.
fn expected(partition: i32, offset: i64, is_letters: bool) -> Option<Vec<Value>> {
    let record = record(partition, offset.unsigned_abs());
    let Some(value) = record.value else {
        return (!is_letters).then(|| vec![Value::Null, Value::Null]);
    };
    match (serde_json::from_slice::<Value>(&value), is_letters) {
        (Ok(order), false) => Some(vec![order["order_id"].clone(), order["amount"].clone()]),
        (Err(_), true) => {
            Some(vec![Value::String(value.iter().map(|byte| format!("{byte:02x}")).collect())])
        }
        _ => None,
    }
}

/// Partition and offset of every record in the log, as Kafka's own consumer reads it.
fn log_of(kafka: &RealKafka, records: u64) -> Vec<(i32, i64)> {
    let output = kafka_tool("org.apache.kafka.tools.consumer.ConsoleConsumer")
        .expect("Kafka's tools")
        .args(["--bootstrap-server", &kafka.bootstrap_servers(), "--topic", TOPIC])
        .args(["--from-beginning", "--timeout-ms", "20000"])
        .args(["--max-messages", &records.to_string()])
        .args(["--formatter-property", "print.partition=true"])
        .args(["--formatter-property", "print.offset=true"])
        .args(["--formatter-property", "print.value=false"])
        .output()
        .expect("Kafka's consumer runs");
    let said = String::from_utf8(output.stdout).expect("text");
    let pair = |line: &str| {
        let (partition, offset) = line.split_once('\t')?;
        let partition = partition.strip_prefix("Partition:")?.parse().ok()?;
        Some((partition, offset.strip_prefix("Offset:")?.parse().ok()?))
    };
    said.lines().map(|line| pair(line).unwrap_or_else(|| panic!("what is this: {line}"))).collect()
}

/// A ledger of what the log holds: no hole below its end in any partition.
async fn ledger_of_log(kafka: &RealKafka) -> Ledger {
    let mut admin = Admin::connect(&kafka.bootstrap_servers()).await;
    let mut ends = BTreeMap::new();
    for partition in 0..PARTITIONS {
        ends.insert(partition, admin.end_offset(TOPIC, partition).await);
    }
    let ledger = Ledger::of_ends(ends);
    ledger.audit(log_of(kafka, ledger.len())).assert_clean();
    ledger
}

struct Outcome {
    kills: u64,
    broker_kills: u64,
    seed: u64,
    seconds: u64,
    acknowledged: u64,
    repeated: u64,
    letters: usize,
    audit: Audit,
    altered: Vec<String>,
}

impl Outcome {
    fn report(&self, every: u64) -> serde_json::Value {
        let Outcome { kills, broker_kills, seed, seconds, acknowledged, .. } = self;
        let Outcome { repeated, letters, audit, altered, .. } = self;
        let said = |program: &str, arguments: &[&str]| {
            let run = Command::new(program).args(arguments).current_dir(repository_root()).output();
            run.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
        };
        let command = format!(
            "MILLSTREAM_KILLS={kills} MILLSTREAM_BROKER_KILLS={every} MILLSTREAM_SEED={seed} \
             cargo test --release -p millstream-cli --test kill_loop"
        );
        serde_json::json!({
            "name": "kill-loop",
            "title": "The real binary and Apache Kafka killed with SIGKILL at random moments",
            "command": command,
            "commit": said("git", &["rev-parse", "HEAD"]),
            "date": said("date", &["-u", "+%F"]),
            "machine": format!("{} cores, {}", said("nproc", &[]), said("uname", &["-sm"])),
            "seconds": seconds,
            "violations": audit.lost + audit.duplicated + audit.phantom + altered.len() as u64,
            "figures": {
                // Where the broker was killed, two runs were.
                "kills": kills + broker_kills,
                "broker_kills": broker_kills,
                "records_acknowledged": acknowledged,
                "records_in_log": audit.expected,
                "rows": audit.rows,
                "dead_letters": letters,
                "produce_batches_repeated": repeated,
                "lost": audit.lost,
                "duplicated": audit.duplicated,
                "phantom": audit.phantom,
                // Of those that are listed: the first few of each table.
                "altered": altered.len(),
            },
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_kills_lose_nothing_and_double_nothing_on_real_kafka() {
    let Some(mut kafka) = skip_or_fail("Apache Kafka", RealKafka::start()) else { return };
    if skip_or_fail("the deltalake reader", reader::python()).is_none() {
        return;
    }
    let began = Instant::now();
    let directory = tempfile::tempdir().expect("a directory");
    let brokers = kafka.bootstrap_servers();
    Admin::connect(&brokers).await.create_topic(TOPIC, PARTITIONS).await;
    std::fs::write(directory.path().join("pipeline.sql"), pipeline(&brokers))
        .expect("the pipeline file");
    let stop = Arc::new(AtomicBool::new(false));
    let producer = StubbornProducer::connect(&brokers, TOPIC).await;
    let producing = tokio::spawn(produce(producer, stop.clone()));
    let (kills, every) = (number("MILLSTREAM_KILLS", 25), number("MILLSTREAM_BROKER_KILLS", 10));
    let seed = number("MILLSTREAM_SEED", 1);
    println!("{kills} kills, the broker's at every {every}th, seed {seed}");
    let broker_kills =
        kill_at_random_moments(directory.path(), &mut kafka, (kills, every), seed).await;
    stop.store(true, Ordering::Relaxed);
    let (acknowledged, repeated) = producing.await.expect("the producer");

    let status = start(directory.path(), Some("available-now")).wait().expect("the last run");
    assert!(status.success(), "the last run failed: {status}");

    let in_log = ledger_of_log(&kafka).await;
    for partition in 0..PARTITIONS {
        let (found, least) = (in_log.len_of(partition), acknowledged.len_of(partition));
        assert!(found >= least, "{found} records in partition {partition}, {least} acknowledged");
    }
    let lake = directory.path().join("lake");
    let (good, mut altered) = rows(&lake.join("orders"), false);
    let (letters, altered_letters) = rows(&lake.join("orders_dead_letters"), true);
    altered.extend(altered_letters);
    assert!(!letters.is_empty(), "malformed records must become dead letters");
    let (seconds, count) = (began.elapsed().as_secs(), letters.len());
    let audit = in_log.audit(good.into_iter().chain(letters));
    let acknowledged = acknowledged.len();
    let outcome = Outcome {
        acknowledged,
        kills,
        broker_kills,
        seed,
        seconds,
        repeated,
        letters: count,
        audit,
        altered,
    };
    let report = outcome.report(every);
    println!("kill-loop {report}");
    if let Some(file) = std::env::var_os("MILLSTREAM_REPORT") {
        let text = serde_json::to_string_pretty(&report).expect("a report");
        let file = repository_root().join(file);
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("its directory");
        std::fs::write(file, text + "\n").expect("the report is written");
    }
    outcome.audit.assert_clean();
    assert!(outcome.altered.is_empty(), "rows that nobody produced: {:#?}", outcome.altered);
}
