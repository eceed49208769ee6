//! Checkpoints that are lost as a whole, at every step of a batch, and made anew from the tables.

use super::stage::rebuild;
use super::{Found, Part};
use crate::{Lake, Shape, Workplace, run_cells};
use std::fs;
use std::path::PathBuf;

/// Where the process is when its checkpoint is lost: in the first batch, in a later one, at the end.
const STEPS: [&str; 13] = [
    "P1:after",
    "P4:after:0",
    "P9:after:0",
    "P11:inside:0",
    "P11:after:0",
    "P15:after:0",
    "P4:after:2",
    "P9:after:2",
    "P11:inside:2",
    "P11:after:2",
    "P13:inside:2",
    "P15:after:2",
    "",
];

/// All of them, or those of the later batch.
pub(super) fn run(place: &Workplace, part: Part) -> Vec<Found> {
    let mut cells = Vec::new();
    for shape in Shape::ALL {
        for step in STEPS {
            if part == Part::Whole || step.ends_with(":2") {
                cells.push((shape, step));
            }
        }
    }
    run_cells(&cells, |(shape, step)| {
        let lake = place.lake(*shape);
        let step_name = if step.is_empty() { "the end" } else { step };
        Found {
            name: format!("{shape}: the checkpoint is lost at {step_name} and made anew"),
            group: "the whole checkpoint, made anew".to_owned(),
            outcome: check(&lake, *shape, step),
        }
    })
}

fn check(lake: &Lake<'_>, shape: Shape, step: &str) -> Result<String, String> {
    let ended = lake.run(Some(step).filter(|step| !step.is_empty()));
    if !(ended.was_killed() || step.is_empty() && ended.is_success()) {
        // One table is not committed between two.
        return match (shape, ended.is_success()) {
            (Shape::Table, true) => Ok("one table has no such step".to_owned()),
            _ => Err(ended.words()),
        };
    }
    fs::remove_dir_all(lake.checkpoint()).map_err(|e| e.to_string())?;
    let mut class = "made anew, goes on without loss or repeats";
    if let Err(why) = rebuild(lake) {
        if why.contains("REBUILD_SINKS_DISAGREE") {
            class = "made anew after the entry that it names was taken out, goes on";
            for file in named_files(&why)? {
                let name = file.file_name().map(PathBuf::from).unwrap_or_default();
                fs::rename(&file, lake.path("").join(name)).map_err(|e| e.to_string())?;
            }
            if let Err(why) = rebuild(lake) {
                begin_again(&why)?;
                class = "begins again after the entry that it names was taken out";
            }
        } else {
            begin_again(&why)?;
            class = "no table has a batch, begins again";
        }
    }
    let ended = lake.run(None);
    if !ended.is_success() {
        return Err(ended.words());
    }
    lake.audit_rows()?;
    Ok(class.to_owned())
}

/// Whether the tables have nothing to begin from, so that an empty checkpoint is right.
fn begin_again(why: &str) -> Result<(), String> {
    let codes = ["REBUILD_NO_TABLE", "REBUILD_NO_BATCH"];
    match codes.iter().any(|code| why.contains(code)) || why.contains("empty checkpoint") {
        true => Ok(()),
        false => Err(why.to_owned()),
    }
}

/// The files that the cure of `REBUILD_SINKS_DISAGREE` names.
fn named_files(text: &str) -> Result<Vec<PathBuf>, String> {
    let part = text.split_once("move `").and_then(|(_, cure)| cure.split_once(" out of the log"));
    let (files, _) = part.ok_or_else(|| format!("no files to move: {text}"))?;
    Ok(files.split('`').filter(|part| part.starts_with('/')).map(PathBuf::from).collect())
}
