//! Typical mistakes in pipeline files, and what `millstream check` says about each, kept word for
//! word in `mistakes.txt`. `MILLSTREAM_BLESS=1` writes the answers anew; read the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::path::Path;
use std::process::{Command, Stdio};

/// Where one case ends and the next begins.
const CASE: &str = "\n====\n";
/// Between the pipeline and the answer.
const ANSWER: &str = "\n----\n";

fn check(text: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pipeline.sql");
    std::fs::write(&file, text).expect("the pipeline");
    let output = Command::new(env!("CARGO_BIN_EXE_millstream"))
        .args(["check", "pipeline.sql", "--log-level", "error"])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let status = output.status.code().unwrap_or(-1);
    format!("{}\nexit status {status}", said.trim_end())
}

#[test]
#[allow(clippy::disallowed_methods, reason = "asked for by whoever runs the test")]
fn every_mistake_is_named_with_its_place() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes.txt");
    let kept = std::fs::read_to_string(&path).expect("mistakes.txt");
    let mut anew = Vec::new();
    let mut wrong = Vec::new();
    for case in kept.trim_end().split(CASE) {
        let (pipeline, expected) = case.split_once(ANSWER).unwrap_or((case, ""));
        let answer = check(pipeline);
        assert!(answer.ends_with("exit status 2"), "no mistake was seen in:\n{pipeline}\n{answer}");
        if answer.trim() != expected.trim() {
            wrong.push(format!("{pipeline}\n-- expected:\n{expected}\n-- is:\n{answer}\n"));
        }
        anew.push(format!("{pipeline}{ANSWER}{}", answer.trim()));
    }
    assert!(anew.len() >= 30, "{} cases", anew.len());
    if std::env::var_os("MILLSTREAM_BLESS").is_some() {
        std::fs::write(&path, anew.join(CASE) + "\n").expect("mistakes.txt");
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
