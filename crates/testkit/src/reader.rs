//! Tables read by an independent reader: the `deltalake` Python wheel, through
//! `tests/real/read_table.py`. Nothing of the product takes part.

use crate::setup::{cache_dir, missing, repository_root};
use millstream_core::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A count of rows and a digest of their values that does not depend on their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Rows of the table.
    pub rows: u64,
    /// Sum of the rows' hashes, in hexadecimal.
    pub digest: String,
    /// Version of the table.
    pub version: i64,
}

/// The Python interpreter that has the wheels.
///
/// # Errors
/// `TEST_PART_MISSING`.
pub fn python() -> Result<PathBuf> {
    let python = cache_dir().join("venv/bin/python");
    if python.exists() {
        return Ok(python);
    }
    Err(missing("The Python environment with the table readers is missing."))
}

/// All rows of a table as JSON values, one object per row, with these columns only (all: none).
///
/// # Errors
/// `TEST_PART_MISSING`, `INTERNAL` with what the reader said.
pub fn rows(table: &Path, columns: &[&str]) -> Result<Vec<serde_json::Value>> {
    let out = run("rows", table, columns)?;
    let wrong = |e| failed("it printed what is not JSON").caused_by(e);
    out.lines().map(|line| serde_json::from_str(line).map_err(wrong)).collect()
}

/// Two integer columns of a table, the quick way to a [`Ledger`](crate::Ledger)'s audit.
///
/// # Errors
/// `TEST_PART_MISSING`, `INTERNAL` with what the reader said.
pub fn pairs(table: &Path, first: &str, second: &str) -> Result<Vec<(i32, i64)>> {
    let out = run("pairs", table, &[first, second])?;
    let pair = |line: &str| {
        let (a, b) = line.split_once(',')?;
        Some((a.parse().ok()?, b.parse().ok()?))
    };
    out.lines()
        .map(|line| pair(line).ok_or_else(|| failed(format!("a row is not two integers: {line}"))))
        .collect()
}

/// Count and digest of a table's rows.
///
/// # Errors
/// `TEST_PART_MISSING`, `INTERNAL` with what the reader said.
pub fn digest(table: &Path, columns: &[&str]) -> Result<Digest> {
    let out = run("digest", table, columns)?;
    let value: serde_json::Value =
        serde_json::from_str(&out).map_err(|e| failed("it printed no JSON").caused_by(e))?;
    let field = |name: &str| value.get(name).cloned().unwrap_or_default();
    Ok(Digest {
        rows: field("rows").as_u64().ok_or_else(|| failed("no count"))?,
        digest: field("digest").as_str().ok_or_else(|| failed("no digest"))?.to_owned(),
        version: field("version").as_i64().ok_or_else(|| failed("no version"))?,
    })
}

fn run(command: &str, table: &Path, columns: &[&str]) -> Result<String> {
    let done = Command::new(python()?)
        .arg(repository_root().join("tests/real/read_table.py"))
        .arg(command)
        .arg(table)
        .args(columns)
        .output()
        .map_err(|e| failed("it does not run").caused_by(e))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        return Err(failed(format!("'{}': {}", table.display(), said.trim())));
    }
    String::from_utf8(done.stdout).map_err(|e| failed("it printed no UTF-8").caused_by(e))
}

fn failed(why: impl std::fmt::Display) -> Error {
    Error::internal(format!("The independent table reader failed: {why}"))
}
