//! Who takes part, and how each is started on a topic.

use crate::bound::Stage;
use crate::orders::{LEAST_AMOUNT, SCHEMA};
use millstream_testkit::{cache_dir, repository_root};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One of the programs that do the same job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// By hand, without an engine, up to a stage.
    Bound(Stage),
    /// The release binary.
    Millstream,
    /// confluent-kafka, pyarrow and the `deltalake` wheel.
    PythonLoop,
    /// Apache Spark in two threads.
    Spark,
}

impl Contender {
    /// What results call it.
    pub fn name(self) -> &'static str {
        match self {
            Contender::Bound(Stage::Consume) => "bound: consume",
            Contender::Bound(Stage::Decode) => "bound: consume, decode",
            Contender::Bound(Stage::Table) => "bound: consume, decode, table",
            Contender::Millstream => "Millstream",
            Contender::PythonLoop => "Python loop",
            Contender::Spark => "Spark, tuned",
        }
    }
}

/// One job of one contender.
#[derive(Debug)]
pub struct Job<'a> {
    /// Addresses of the brokers.
    pub bootstrap: &'a str,
    /// The topic, read from its beginning to the end that it has.
    pub topic: &'a str,
    /// An empty directory of its own; the table comes to be under it.
    pub lake: &'a Path,
    /// Records of a batch.
    pub batch_rows: u64,
    /// Whether malformed records are kept aside (Millstream only).
    pub has_dead_letters: bool,
    /// The release binary.
    pub millstream: &'a Path,
}

impl Job<'_> {
    /// Where the table comes to be.
    pub fn table(&self) -> PathBuf {
        self.lake.join("orders")
    }

    /// The command that does the job; what it prints goes to a file beside the table.
    ///
    /// # Errors
    /// Files that cannot be written; parts that are missing.
    pub fn command(&self, contender: Contender) -> io::Result<Command> {
        self.command_until(contender, true)
    }

    /// The same, batch after batch as fast as possible, until it is killed.
    ///
    /// # Errors
    /// As [`Job::command`]; a contender that only knows ends.
    pub fn endless(&self, contender: Contender) -> io::Result<Command> {
        match contender {
            Contender::Millstream | Contender::Spark => self.command_until(contender, false),
            Contender::Bound(_) | Contender::PythonLoop => {
                Err(io::Error::other(format!("{} ends with its topic", contender.name())))
            }
        }
    }

    fn command_until(&self, contender: Contender, is_to_end: bool) -> io::Result<Command> {
        let (batch_rows, least) = (self.batch_rows.to_string(), LEAST_AMOUNT.to_string());
        let contenders = repository_root().join("benches/contenders");
        let mut command = match contender {
            Contender::Bound(stage) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["bound", "--stage", stage_name(stage)]);
                command.args(["--bootstrap", self.bootstrap, "--topic", self.topic]);
                command.arg("--table").arg(self.table()).args(["--batch-rows", &batch_rows]);
                command
            }
            Contender::Millstream => {
                let pipeline = self.lake.join("orders.sql");
                fs::write(&pipeline, self.pipeline())?;
                let mut command = Command::new(self.millstream);
                command.arg("run").arg(pipeline).arg("--storage").arg(self.lake);
                command.args(["--progress", "json"]);
                command.args(is_to_end.then_some(["--trigger", "available-now"]).iter().flatten());
                command
            }
            Contender::PythonLoop => {
                let mut command = Command::new(python("bench-venv"));
                command.arg(contenders.join("python_loop.py"));
                command.args([self.bootstrap, self.topic]).arg(self.table());
                command.args([&batch_rows, &least]);
                command
            }
            Contender::Spark => {
                let mut command = Command::new(python("spark-venv"));
                command.arg(contenders.join("spark_job.py")).arg(cache_dir().join("spark-4.2.0"));
                command.args([self.bootstrap, self.topic]).arg(self.lake);
                command.args([&batch_rows, &least, SCHEMA]);
                command.arg(if is_to_end { "available-now" } else { "endless" });
                command
            }
        };
        command.stdout(File::create(self.lake.join("stdout"))?);
        command.stderr(File::create(self.lake.join("stderr"))?);
        command.stdin(Stdio::null());
        Ok(command)
    }

    fn pipeline(&self) -> String {
        let (bootstrap, topic, batch_rows) = (self.bootstrap, self.topic, self.batch_rows);
        let dead_letters =
            if self.has_dead_letters { ",\n    deadLetter => 'orders_dead_letters'" } else { "" };
        format!(
            "CREATE OR REFRESH STREAMING TABLE orders AS\n\
             SELECT o.order_id, o.customer_id, o.amount, o.status, o.event_time FROM (\n  \
               SELECT from_json(CAST(value AS STRING), '{SCHEMA}') AS o\n  \
               FROM STREAM read_kafka(\n    \
                 bootstrapServers => '{bootstrap}',\n    \
                 subscribe => '{topic}',\n    \
                 startingOffsets => 'earliest',\n    \
                 maxOffsetsPerTrigger => {batch_rows}{dead_letters})\n\
             ) WHERE o.amount >= {LEAST_AMOUNT};\n"
        )
    }
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Consume => "consume",
        Stage::Decode => "decode",
        Stage::Table => "table",
    }
}

/// The Python of an environment that `benches/run.sh` or `scripts/setup-tests.sh` has set up.
pub fn python(environment: &str) -> PathBuf {
    cache_dir().join(environment).join("bin/python")
}
