//! A reader of tables that stays: one process of the independent `deltalake` wheel that answers
//! question after question, because starting it takes longer than reading a small table.

use millstream_testkit::{reader, repository_root};
use serde::de::DeserializeOwned;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

/// The process and its pipes.
#[derive(Debug)]
pub struct TableReader {
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    child: Child,
}

impl TableReader {
    /// Starts it.
    ///
    /// # Errors
    /// `TEST_PART_MISSING` where its environment is not installed.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start() -> millstream_core::Result<TableReader> {
        let mut child = Command::new(reader::python()?)
            .arg(repository_root().join("tests/real/read_table.py"))
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the table reader starts");
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Ok(TableReader { pipes: Mutex::new((stdin, stdout)), child })
    }

    /// These columns of every row of the table, bytes in hexadecimal; `Err` with what the reader says.
    ///
    /// # Errors
    /// The reader's own words, where it cannot read the table.
    ///
    /// # Panics
    /// If the reader is gone.
    pub fn rows<T: DeserializeOwned>(
        &self,
        table: &Path,
        columns: &[&str],
    ) -> Result<Vec<T>, String> {
        let question = serde_json::json!({ "table": table, "columns": columns });
        let mut pipes = self.pipes.lock().expect("no question has panicked");
        writeln!(pipes.0, "{question}").expect("the table reader listens");
        let mut line = String::new();
        pipes.1.read_line(&mut line).expect("the table reader answers");
        let answer: serde_json::Value = serde_json::from_str(&line)
            .unwrap_or_else(|e| panic!("the table reader said `{line}`: {e}"));
        match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
            None => {
                Ok(serde_json::from_value(answer["rows"].clone()).expect("rows of these types"))
            }
        }
    }
}

impl Drop for TableReader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
