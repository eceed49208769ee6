//! Writes the first inputs of every target, made of real data in this repository: Spark's recorded
//! answers, its checkpoint and table files, and answers of every version from the encoders of
//! `kafka-protocol`. What they become by fuzzing is kept, minimised, under `corpus/`.
//!
//! `seeds DIRECTORY`

// Defines what the instrumentation calls.
use libfuzzer_sys as _;

mod kafka;
mod records;
mod tables;
mod texts;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Inputs by target.
#[derive(Default)]
pub struct Seeds(BTreeMap<&'static str, Vec<Vec<u8>>>);

impl Seeds {
    /// Adds an input: choices in front, then data.
    pub fn add(&mut self, target: &'static str, choices: &[u8], data: impl AsRef<[u8]>) {
        self.0.entry(target).or_default().push([choices, data.as_ref()].concat());
    }
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn main() {
    let directory = std::env::args().nth(1).expect("seeds DIRECTORY");
    let mut seeds = Seeds::default();
    records::add(&mut seeds);
    kafka::add(&mut seeds);
    tables::add(&mut seeds);
    texts::add(&mut seeds);
    for (target, inputs) in seeds.0 {
        let directory = Path::new(&directory).join(target);
        fs::create_dir_all(&directory).unwrap();
        for (at, input) in inputs.iter().enumerate() {
            fs::write(directory.join(format!("seed-{at:04}")), input).unwrap();
        }
        println!("{target}: {} inputs", inputs.len());
    }
}
