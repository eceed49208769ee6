//! The real binary with a source under fire: what lies in the table in the end, read by an
//! independent reader, is what was written and not lost, once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream_testkit::{
    Admin, Fault, Ledger, Producer, Proxy, RealKafka, Rule, StubbornProducer, TestRecord, reader,
    skip_or_fail,
};
use millstream_wire::Codec;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a line is bad.
const BAD_TIME: Duration = Duration::from_secs(10);

fn parts() -> Option<String> {
    let kafka = RealKafka::shared()?;
    skip_or_fail("the deltalake reader", reader::python())?;
    Some(kafka.bootstrap_servers())
}

fn binary(directory: &Path, brokers: &str, topic: &str, more: &str) -> Command {
    let file = directory.join("pipeline.sql");
    let text = format!(
        "CREATE OR REFRESH STREAMING TABLE t AS
         SELECT CAST(value AS STRING) AS v, partition, offset
         FROM STREAM read_kafka(bootstrapServers => '{brokers}', subscribe => '{topic}',
                                startingOffsets => 'earliest', maxOffsetsPerTrigger => 400{more});"
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.arg("run").arg(file).arg("--storage").arg(directory.join("lake"));
    command.args(["--progress", "none", "--log-level", "error"]).stdin(Stdio::null());
    command
}

fn table(directory: &Path) -> PathBuf {
    directory.join("lake/t")
}

/// Runs until nothing is left; exit status and what was said.
fn available_now(mut binary: Command) -> (Option<i32>, String) {
    let output = binary.args(["--trigger", "available-now"]).output().expect("the binary runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
fn fine(answer: &(Option<i32>, String)) {
    assert_eq!(answer.0, Some(0), "{}", answer.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_line_to_the_broker_costs_time_and_no_record() {
    let Some(brokers) = parts() else { return };
    Admin::connect(&brokers).await.create_topic("bad-line", 2).await;
    let proxy = Proxy::start(&brokers).await;
    let directory = tempfile::tempdir().unwrap();
    let at = proxy.bootstrap_servers();
    let mut run = binary(directory.path(), &at, "bad-line", "").spawn().expect("the binary starts");
    let mut producer = StubbornProducer::connect(&brokers, "bad-line").await;
    let mut ledger = Ledger::new();
    let until = Instant::now() + BAD_TIME;
    for round in 0_u64.. {
        if Instant::now() > until {
            break;
        }
        for partition in 0..2 {
            let records: Vec<TestRecord> =
                (0..50).map(|_| TestRecord::value(ledger.next(partition).to_string())).collect();
            producer.produce(partition, &records, Codec::Zstd).await;
        }
        let fault = match round % 5 {
            0 => Fault::Cut,
            1 => Fault::CutInAnswer,
            2 => Fault::Delay(Duration::from_millis(150)),
            3 => Fault::Throttle(50_000),
            _ => Fault::FlipInRecords(61 * 8 + round * 97),
        };
        proxy.add(Rule::all(fault).after(round % 4).times(2));
        tokio::time::sleep(Duration::from_millis(50)).await;
        proxy.pass();
    }
    let ended = run.try_wait().unwrap();
    assert!(ended.is_none(), "the binary gave up: {ended:?}");
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(proxy.hits() >= 20, "{} faults", proxy.hits());
    fine(&available_now(binary(directory.path(), &at, "bad-line", "")));
    let rows = reader::pairs(&table(directory.path()), "partition", "offset").unwrap();
    ledger.audit(rows).assert_clean();
}

/// Values `<life>:<number>` of a topic's partition 0.
async fn produce(brokers: &str, topic: &str, life: u32, numbers: std::ops::Range<i64>) {
    let records: Vec<TestRecord> =
        numbers.map(|n| TestRecord::value(format!("{life}:{n}"))).collect();
    Producer::connect(brokers).await.produce(topic, 0, &records, Codec::None).await;
}

fn values(directory: &Path) -> Vec<String> {
    let rows = reader::rows(&table(directory), &["v"]).unwrap();
    let mut values: Vec<String> =
        rows.iter().map(|row| row["v"].as_str().unwrap().to_owned()).collect();
    values.sort();
    values
}

fn expected(parts: &[(u32, std::ops::Range<i64>)]) -> Vec<String> {
    let all = parts.iter().flat_map(|(life, n)| n.clone().map(move |n| format!("{life}:{n}")));
    let mut values: Vec<String> = all.collect();
    values.sort();
    values
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_records_stop_the_binary_or_leave_a_gap_and_nothing_twice() {
    let Some(brokers) = parts() else { return };
    let mut admin = Admin::connect(&brokers).await;
    admin.create_topic("lossy", 1).await;
    let directory = tempfile::tempdir().unwrap();
    let run = |more: &str| available_now(binary(directory.path(), &brokers, "lossy", more));
    const LENIENT: &str = ", failOnDataLoss => false";
    produce(&brokers, "lossy", 1, 0..50).await;
    fine(&run(""));
    produce(&brokers, "lossy", 1, 50..100).await;
    admin.delete_records("lossy", 0, 80).await;
    let answer = run("");
    assert!(answer.0 != Some(0) && answer.1.contains("COULD_NOT_READ_OFFSET_RANGE"), "{answer:?}");
    assert!(answer.1.contains("[50, 80)"), "{}", answer.1);
    assert_eq!(values(directory.path()), expected(&[(1, 0..50)]));
    fine(&run(LENIENT));
    assert_eq!(values(directory.path()), expected(&[(1, 0..50), (1, 80..100)]));

    // Shorter than where we are, as long, and longer.
    let mut kept = vec![(1, 0..50), (1, 80..100)];
    for (life, count) in [(2, 30), (3, 30), (4, 200)] {
        admin.recreate_topic("lossy").await;
        produce(&brokers, "lossy", life, 0..count).await;
        let answer = run("");
        assert!(answer.0 != Some(0) && answer.1.contains("TOPIC_RECREATED"), "{answer:?}");
        assert_eq!(values(directory.path()), expected(&kept));
        fine(&run(LENIENT));
        kept.push((life, 0..count));
        assert_eq!(values(directory.path()), expected(&kept));
        // Once more: nothing is new, and nothing comes again.
        fine(&run(LENIENT));
        assert_eq!(values(directory.path()), expected(&kept));
    }
}
