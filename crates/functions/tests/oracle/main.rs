//! Every recorded answer of real Spark against this crate's functions, casts and operators.
//!
//! The SQL text goes through `millstream-sql`'s parser and the small lowering in `lower`; the
//! values are compared by `compare`. `tests/oracle/known_differences.txt` lists where we differ:
//! the test fails when an unlisted case differs, and when a listed one agrees.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod batch_time;
mod book;
mod compare;
mod evaluate;
mod lower;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

/// Where the recorded answers are.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle")
}

fn cases(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Case id to the reason why we differ.
fn known_differences() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(folder().join("known_differences.txt")).unwrap();
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (id, reason) = line.split_once(' ').expect("`id reason`");
            (id.to_owned(), reason.trim().to_owned())
        })
        .collect()
}

/// Runs one file of cases and answers how many agree.
fn check(file: &str) -> usize {
    let known = known_differences();
    let mut wrong = Vec::new();
    let mut agreeing = 0;
    let mut listed = 0;
    for case in cases(file) {
        let id = case["id"].as_str().unwrap();
        let outcome = compare::verdict(&case, evaluate::case(&case));
        match (outcome, known.get(id)) {
            (Ok(()), None) => agreeing += 1,
            (Err(_), Some(_)) => listed += 1,
            (Ok(()), Some(_)) => wrong.push(format!("{id} agrees now: take it off the list")),
            (Err(why), None) => wrong.push(format!("{id} {} => {why}", case["sql"])),
        }
    }
    println!("{file}: {agreeing} agree, {listed} known differences, {} wrong", wrong.len());
    if let Ok(path) = std::env::var("MILLSTREAM_ORACLE_REPORT") {
        std::fs::write(format!("{path}/{file}.txt"), wrong.join("\n")).unwrap();
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    agreeing
}

#[test]
fn casts_answer_as_spark_does() {
    assert!(check("casts.jsonl") > 500);
}

#[test]
fn functions_answer_as_spark_does() {
    assert!(check("functions.jsonl") > 400);
}

#[test]
fn from_json_answers_as_spark_does() {
    assert!(check("from_json.jsonl") > 200);
}
