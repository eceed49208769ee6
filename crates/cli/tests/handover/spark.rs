//! Real Spark as a process that takes turns.

use millstream_core::Error;
use millstream_testkit::cache_dir;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Where Spark and its connectors lie.
pub struct SparkParts {
    python: PathBuf,
    jars: PathBuf,
}

impl SparkParts {
    /// # Errors
    /// `TEST_PART_MISSING`.
    pub fn find() -> Result<SparkParts, Error> {
        let python = cache_dir().join("spark-venv/bin/python");
        let jars = cache_dir().join("spark-4.2.0");
        if !python.exists() || !jars.join("spark-sql-kafka-0-10_2.13-4.2.0.jar").exists() {
            let (python, jars) = (python.display(), jars.display());
            return Err(Error::unavailable(
                "TEST_PART_MISSING",
                format!("{python}, or the connectors in {jars}, are not there."),
            ));
        }
        Ok(SparkParts { python, jars })
    }

    /// Starts Spark and waits until it takes commands.
    pub fn start(&self) -> Spark {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/spark_run.py");
        let mut child = Command::new(&self.python)
            .arg(script)
            .arg(&self.jars)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Python and Java are killed together.
            .process_group(0)
            .spawn()
            .expect("Spark starts");
        let (commands, answers) = (child.stdin.take(), child.stdout.take());
        let mut spark = Spark {
            child,
            commands: commands.expect("a pipe"),
            answers: BufReader::new(answers.expect("a pipe")),
        };
        let hello = spark.answer().expect("Spark comes up");
        assert!(hello["jvm"].is_u64(), "{hello}");
        spark
    }
}

/// One running Spark. It ends when it is dropped, or when the test's process ends.
pub struct Spark {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Spark {
    /// Lets a query read its topic to the end, and answers the batches it made.
    pub fn turn(&mut self, command: &Value) -> Vec<u64> {
        self.send(command);
        let answer = self.answer().expect("Spark answers");
        let batches = answer["batches"].as_array();
        let batches = batches.unwrap_or_else(|| panic!("Spark: {}", answer["error"]));
        batches.iter().filter_map(Value::as_u64).collect()
    }

    /// Sends a command without waiting for its end.
    pub fn send(&mut self, command: &Value) {
        writeln!(self.commands, "{command}").expect("Spark takes commands");
    }

    /// Kills Python and Java with SIGKILL, and waits until they are gone. Returns the answer, where
    /// the command had ended before.
    pub fn kill(mut self) -> Option<Value> {
        self.signal();
        let answer = self.answer();
        self.child.wait().expect("the process ends");
        answer
    }

    fn signal(&self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
    }

    /// `None` when Spark has ended.
    fn answer(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            // The pipe ends when the last process that holds it is gone.
            if self.answers.read_line(&mut line).ok()? == 0 {
                return None;
            }
            // Spark prints a line of its own now and then.
            if let Ok(answer) = serde_json::from_str(&line) {
                return Some(answer);
            }
        }
    }
}

impl Drop for Spark {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal();
            let _ = self.child.wait();
        }
    }
}
