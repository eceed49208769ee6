//! Merges every mutant of a part into one build, see README.md.
//!
//! `millstream-mutants LIST TREE BUILD [NUMBER ..]`: reads what `cargo mutants --list --json` said,
//! takes the files from TREE and writes them into BUILD with all mutants but those that are named.
//! Says as JSON which mutants it wrote where, and which it could not.

mod merge;
mod places;

use merge::{Absent, Mutant, Written, merge};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::path::Path;

/// What was done with the mutants, by their place in the list.
#[derive(Debug, Default, Serialize)]
struct Answer {
    written: BTreeMap<usize, Written>,
    absent: BTreeMap<usize, Absent>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [list, tree, build, left_out @ ..] = arguments.as_slice() else {
        return Err("millstream-mutants LIST TREE BUILD [NUMBER ..]".into());
    };
    let left_out: HashSet<usize> = left_out.iter().map(|n| n.parse()).collect::<Result<_, _>>()?;
    let mutants: Vec<Mutant> = serde_json::from_str(&std::fs::read_to_string(list)?)?;
    let mut files: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
    for (number, mutant) in mutants.iter().enumerate() {
        let of_file = files.entry(&mutant.file).or_default();
        if !left_out.contains(&number) {
            of_file.push((number, mutant));
        }
    }
    let mut answer = Answer::default();
    for (file, mutants) in files {
        let text = std::fs::read_to_string(Path::new(tree).join(file))?;
        let merged = merge(&text, &mutants).map_err(|e| format!("{file}: {e}"))?;
        std::fs::write(Path::new(build).join(file), merged.text)?;
        answer.written.extend(merged.written);
        answer.absent.extend(merged.absent);
    }
    println!("{}", serde_json::to_string(&answer)?);
    Ok(())
}
