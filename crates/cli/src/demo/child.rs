//! The pipeline as a child process: the same binary, started, killed without warning, started
//! again.

use millstream_core::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How the pipeline is started.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The SQL file.
    pub file: PathBuf,
    /// Directory of tables and checkpoints.
    pub storage: PathBuf,
    /// The broker's address.
    pub brokers: String,
    /// Where the child's output goes.
    pub log: PathBuf,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// We killed it, after this long.
    Killed(Duration),
    /// It finished, after this long.
    Finished(Duration),
}

impl Pipeline {
    /// Runs the pipeline until `deadline` has passed, then kills it with SIGKILL.
    ///
    /// # Errors
    /// `DEMO_PIPELINE_FAILED` where the child ends by itself with an error.
    pub async fn run_and_kill(&self, deadline: Duration) -> Result<Ended> {
        let started = Instant::now();
        let mut child = self.start(&[])?;
        match tokio::time::timeout(deadline, child.wait()).await {
            Ok(status) => {
                self.check(status)?;
                Ok(Ended::Finished(started.elapsed()))
            }
            Err(_) => {
                child.kill().await.map_err(|e| failed("could not be killed").caused_by(e))?;
                Ok(Ended::Killed(started.elapsed()))
            }
        }
    }

    /// Runs the pipeline until it has read everything that is there.
    ///
    /// # Errors
    /// `DEMO_PIPELINE_FAILED` where the child ends with an error.
    pub async fn run_to_the_end(&self) -> Result<Duration> {
        let started = Instant::now();
        let mut child = self.start(&["--trigger", "available-now"])?;
        self.check(child.wait().await)?;
        Ok(started.elapsed())
    }

    fn start(&self, more: &[&str]) -> Result<Child> {
        let program = std::env::current_exe().map_err(|e| failed("has no program").caused_by(e))?;
        let log = || {
            std::fs::File::options()
                .create(true)
                .append(true)
                .open(&self.log)
                .map_err(|e| failed("has no log").caused_by(e))
        };
        Command::new(program)
            .arg("run")
            .arg(&self.file)
            .arg("--storage")
            .arg(&self.storage)
            .arg("--set")
            .arg(format!("brokers={}", self.brokers))
            .args(["--progress", "plain", "--log-level", "info"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(log()?)
            .stderr(log()?)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed("could not be started").caused_by(e))
    }

    fn check(&self, status: std::io::Result<std::process::ExitStatus>) -> Result<()> {
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(failed(&format!("ended with {status}"))
                .cure(format!("The last it said:\n{}", last_lines(&self.log)))),
            Err(e) => Err(failed("could not be awaited").caused_by(e)),
        }
    }
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

fn failed(what: &str) -> Error {
    Error::new(ErrorKind::Internal, "DEMO_PIPELINE_FAILED", format!("The pipeline {what}."))
}
