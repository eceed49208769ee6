//! What a long campaign measured, as one JSON object that `proof/` keeps.

use crate::setup::repository_root;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// The figures of one campaign; written where `MILLSTREAM_REPORT` says, if it says anything.
#[derive(Debug)]
pub struct Figures {
    name: &'static str,
    title: &'static str,
    command: &'static str,
    begun: Instant,
    figures: Map<String, Value>,
    cells: Vec<Value>,
}

impl Figures {
    /// Begins the measurement. `command` is how the whole campaign is run again.
    pub fn begin(name: &'static str, title: &'static str, command: &'static str) -> Figures {
        let (figures, cells) = (Map::new(), Vec::new());
        Figures { name, title, command, begun: Instant::now(), figures, cells }
    }

    /// Sets one number.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Adds one to a number.
    pub fn count(&mut self, name: &str) {
        let now = self.figures.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.set(name, now + 1);
    }

    /// Notes what came of one cell.
    pub fn cell(&mut self, cell: impl Into<String>, outcome: impl Into<String>) {
        self.cells.push(json!({"cell": cell.into(), "outcome": outcome.into()}));
    }

    /// Prints the numbers, and writes the report where one is asked for. A campaign that found a
    /// violation has panicked before it gets here.
    pub fn finish(self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        println!("{}: {} ({seconds:.1} s)", self.name, Value::Object(self.figures.clone()));
        let Some(path) = std::env::var_os("MILLSTREAM_REPORT").filter(|path| !path.is_empty())
        else {
            return;
        };
        let report = json!({
            "name": self.name,
            "title": self.title,
            "command": self.command,
            "commit": said("git", &["rev-parse", "HEAD"]),
            "date": said("date", &["-u", "+%Y-%m-%d"]),
            "machine": machine(),
            "seconds": (seconds * 10.0).round() / 10.0,
            "violations": 0,
            "figures": self.figures,
            "cells": self.cells,
        });
        let text = serde_json::to_string_pretty(&report).expect("plain JSON") + "\n";
        // Relative paths are meant from the root of the tree, wherever Cargo runs the test.
        let path = repository_root().join(PathBuf::from(path));
        std::fs::write(&path, text).expect("the report can be written");
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).current_dir(repository_root()).output();
    let text = done.map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned());
    text.unwrap_or_default()
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().split(' ').next()?.parse().ok())
        .unwrap_or(0);
    format!("{cores} cores, {} GiB, {}", kib >> 20, said("uname", &["-sr"]))
}
