//! One topic, one checkpoint and one table, on which both engines take turns, and the audit after
//! each turn.

use crate::spark::Spark;
use millstream_testkit::{Admin, Ledger, Producer, TestRecord, reader, repository_root};
use millstream_wire::Codec;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PARTITIONS: i32 = 3;
/// Offsets of one batch. What a turn finds is more than that, so that a turn has several batches.
const LIMIT: &str = "40";
const SIGABRT: i32 = 6;

/// Offsets by partition.
type Offsets = BTreeMap<i32, i64>;

/// An entry of the table's log that holds a batch of the query.
#[derive(Debug, Clone)]
pub struct Entry {
    pub version: u64,
    pub batch: u64,
    /// Whether Millstream committed it.
    pub ours: bool,
}

pub struct Lake {
    directory: tempfile::TempDir,
    pub topic: String,
    brokers: String,
    partitions: i32,
    ledger: Ledger,
}

impl Lake {
    pub async fn new(brokers: &str, topic: &str) -> Lake {
        Admin::connect(brokers).await.create_topic(topic, PARTITIONS).await;
        let lake = Lake {
            topic: topic.to_owned(),
            brokers: brokers.to_owned(),
            partitions: PARTITIONS,
            ledger: Ledger::new(),
            directory: tempfile::tempdir().unwrap(),
        };
        lake.write_pipeline();
        lake
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn table(&self) -> PathBuf {
        self.path("lake/t")
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.path("lake/_checkpoints/t/t")
    }

    /// Writes the flow's file: the query that Spark runs.
    fn write_pipeline(&self) {
        let rows = "CAST(value AS STRING) AS v, topic, partition, offset";
        let text = format!("SELECT {rows} FROM STREAM {}", self.read_kafka(""));
        self.write_flow(&text);
    }

    /// A flow with dead letters, whose table looks like that of the other.
    pub fn write_pipeline_with_dead_letters(&self) {
        let rows = "from_json(CAST(value AS STRING), 'v STRING') AS data, topic, partition, offset";
        let source = self.read_kafka(", deadLetter => 'letters'");
        let inner = format!("SELECT {rows} FROM STREAM {source}");
        self.write_flow(&format!("SELECT data.v, topic, partition, offset FROM ({inner})"));
    }

    fn read_kafka(&self, options: &str) -> String {
        format!(
            "read_kafka(bootstrapServers => '{}', subscribe => '{}', \
             startingOffsets => 'earliest', maxOffsetsPerTrigger => {LIMIT}{options})",
            self.brokers, self.topic
        )
    }

    fn write_flow(&self, query: &str) {
        let text = format!("CREATE OR REFRESH STREAMING TABLE t AS\n{query};\n");
        std::fs::write(self.path("pipeline.sql"), text).unwrap();
    }

    /// Writes records into every partition.
    pub async fn produce(&mut self, records: usize) {
        // Brokers close connections that nobody has used for ten minutes.
        let mut producer = Producer::connect(&self.brokers).await;
        for partition in 0..self.partitions {
            let ledger = &mut self.ledger;
            let records: Vec<TestRecord> = (0..records)
                .map(|_| {
                    let number = ledger.next(partition);
                    TestRecord::value(format!("{{\"v\": \"{partition}:{number}\"}}"))
                })
                .collect();
            producer.produce(&self.topic, partition, &records, Codec::None).await;
        }
    }

    pub async fn add_partition(&mut self) {
        self.partitions += 1;
        Admin::connect(&self.brokers).await.add_partitions(&self.topic, self.partitions).await;
    }

    /// What Spark is told, to run the same query.
    pub fn command(&self) -> Value {
        json!({
            "bootstrap": self.brokers, "topic": self.topic,
            "checkpoint": self.checkpoint(), "table": self.table(),
            "options": {"maxOffsetsPerTrigger": LIMIT},
        })
    }

    pub fn spark(&self, spark: &mut Spark) -> Vec<u64> {
        spark.turn(&self.command())
    }

    /// Runs Millstream to the end of the topic.
    pub fn millstream(&self) {
        let output = self.run(None);
        let said = said(&output);
        assert!(output.status.success(), "millstream: {}\n{said}", output.status);
    }

    /// Runs Millstream until it dies at a fault point.
    pub fn millstream_dies(&self, fault: &str) {
        let output = self.run(Some(fault));
        let said = said(&output);
        assert_eq!(output.status.signal(), Some(SIGABRT), "{fault}: {}\n{said}", output.status);
    }

    /// Runs Millstream once, whatever comes of it.
    pub fn run(&self, fault: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.arg("run").arg(self.path("pipeline.sql"));
        command.args(["--trigger", "available-now", "--log-level", "warn", "--storage"]);
        command.arg(self.path("lake")).stdin(Stdio::null());
        if let Some(fault) = fault {
            command.env("MILLSTREAM_FAULT", fault);
        }
        command.output().expect("the binary runs")
    }

    /// What `verify` says: exit status and text.
    pub fn verify(&self) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_millstream"))
            .arg("verify")
            .arg(self.path("pipeline.sql"))
            .arg("--storage")
            .arg(self.path("lake"))
            .args(["--bootstrap-servers", &self.brokers, "--log-level", "warn"])
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs");
        (output.status.code(), said(&output))
    }

    /// Every record is in the table once; each batch is in one entry of the log, and has exactly
    /// what `offsets/N` says.
    pub fn audit(&self, when: &str) {
        let rows = reader::pairs(&self.table(), "partition", "offset").unwrap();
        let audit = self.ledger.audit(rows);
        assert!(audit.is_clean(), "{when}: {audit}");
        self.audit_batches(when);
    }

    /// As [`Lake::audit`], without looking for what no batch has read yet.
    pub fn audit_batches(&self, when: &str) {
        let seen: Vec<u64> = self.entries().iter().map(|entry| entry.batch).collect();
        let each_once: Vec<u64> = (0..).take(seen.len()).collect();
        assert_eq!(seen, each_once, "{when}: batches of the table's entries");
        for (batch, mut rows) in self.rows_of_batches() {
            let Some(end) = self.offsets(batch) else { continue };
            let start = match batch.checked_sub(1) {
                None => Offsets::new(),
                Some(before) => match self.offsets(before) {
                    Some(start) => start,
                    None => continue,
                },
            };
            let mut wanted: Vec<(i32, i64)> = Vec::new();
            for (partition, end) in end {
                let from = start.get(&partition).copied().unwrap_or(0);
                wanted.extend((from..end).map(|offset| (partition, offset)));
            }
            wanted.sort_unstable();
            rows.sort_unstable();
            assert_eq!(rows, wanted, "{when}: batch {batch} is not what offsets/{batch} says");
        }
    }

    /// Rows of the table's batches, by its log and its files alone.
    fn rows_of_batches(&self) -> Vec<(u64, Vec<(i32, i64)>)> {
        let Some(query) = self.query().filter(|_| self.table().join("_delta_log").exists()) else {
            return Vec::new();
        };
        let output = Command::new(reader::python().unwrap())
            .arg(repository_root().join("tests/interop/batches.py"))
            .arg(self.table())
            .arg(query)
            .output()
            .expect("Python runs");
        assert!(output.status.success(), "{}", said(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        let row = |row: &Value| (row[0].as_i64().unwrap() as i32, row[1].as_i64().unwrap());
        let batch = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            let rows = line["rows"].as_array().unwrap().iter().map(row).collect();
            (line["batch"].as_u64().unwrap(), rows)
        };
        text.lines().map(batch).collect()
    }

    /// The table's entries with batches of the query, in the order of their versions.
    pub fn entries(&self) -> Vec<Entry> {
        let log = self.table().join("_delta_log");
        let names = std::fs::read_dir(&log).into_iter().flatten().flatten();
        let names = names.filter_map(|e| e.file_name().into_string().ok());
        let mut versions: Vec<u64> =
            names.filter_map(|n| n.strip_suffix(".json")?.parse().ok()).collect();
        versions.sort_unstable();
        let Some(query) = self.query() else { return Vec::new() };
        let entry = |version: u64| {
            let text = std::fs::read_to_string(log.join(format!("{version:020}.json"))).unwrap();
            let actions: Vec<Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let txn = actions.iter().find(|a| a["txn"]["appId"] == *query)?;
            let ours = actions.iter().any(|a| a["commitInfo"]["millstream"].is_object());
            Some(Entry { version, batch: txn["txn"]["version"].as_u64()?, ours })
        };
        versions.into_iter().filter_map(entry).collect()
    }

    fn query(&self) -> Option<String> {
        let text = std::fs::read(self.checkpoint().join("metadata")).ok()?;
        let metadata: Value = serde_json::from_slice(&text).unwrap();
        metadata["id"].as_str().map(str::to_owned)
    }

    /// Newest file of `offsets` and of `commits`.
    pub fn newest(&self) -> (Option<u64>, Option<u64>) {
        let newest = |dir: &str| {
            let names = std::fs::read_dir(self.checkpoint().join(dir)).ok()?;
            names.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).max()
        };
        (newest("offsets"), newest("commits"))
    }

    /// Bytes of `offsets/N`.
    pub fn planned(&self, batch: u64) -> Option<Vec<u8>> {
        std::fs::read(self.checkpoint().join(format!("offsets/{batch}"))).ok()
    }

    fn offsets(&self, batch: u64) -> Option<Offsets> {
        let text = String::from_utf8(self.planned(batch)?).unwrap();
        let source: Value = serde_json::from_str(text.lines().nth(2)?).unwrap();
        let of_topic = source[&self.topic].as_object()?;
        let pair = |(p, offset): (&String, &Value)| Some((p.parse().ok()?, offset.as_i64()?));
        of_topic.iter().map(pair).collect()
    }

    /// Takes the completion of a batch back, as if its engine had died right before.
    pub fn lose_completion(&self, batch: u64) {
        remove(&self.checkpoint().join("commits"), &batch.to_string());
    }

    /// Takes the table's newest entry back, as if its engine had died right before. Its data files
    /// stay, as they would.
    pub fn lose_newest_entry(&self, batch: u64) {
        let newest = self.entries().pop().unwrap();
        assert_eq!(newest.batch, batch, "the newest entry is another batch's");
        let log = self.table().join("_delta_log");
        let version = format!("{:020}", newest.version);
        let checkpoint = format!("{version}.checkpoint.parquet");
        assert!(!log.join(checkpoint).exists(), "the table has a checkpoint there");
        remove(&log, &format!("{version}.json"));
        // Delta's own checksum of the version.
        remove(&log, &format!("{version}.crc"));
    }

    /// Whether the newest version of the table is one at which Spark makes a checkpoint of it.
    pub fn is_at_table_checkpoint(&self) -> bool {
        self.entries().last().is_some_and(|b| b.version.is_multiple_of(10))
    }
}

/// Removes a file and its Hadoop twin.
fn remove(directory: &Path, name: &str) {
    for name in [name.to_owned(), format!(".{name}.crc")] {
        match std::fs::remove_file(directory.join(&name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => panic!("{name}: {e}"),
            _ => {}
        }
    }
}

pub fn said(output: &Output) -> String {
    let text = [&output.stdout, &output.stderr].map(|t| String::from_utf8_lossy(t).into_owned());
    text.concat()
}
