//! `millstream-campaign`: runs campaigns whole and keeps what they found.
//!
//! usage: millstream-campaign --binary PATH [--results DIR] [--repeat N] [--stride N] CAMPAIGN ..
//!        millstream-campaign render RESULTS REPORT GUARANTEES
#![allow(clippy::disallowed_methods, clippy::expect_used)]

use millstream_campaign::disk::Disk;
use millstream_campaign::report::{Report, page, results, with_figures};
use millstream_campaign::{Topic, Workplace, damage, kills, order, planted, syscalls, zombies};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: millstream-campaign --binary PATH [--results DIR] [--repeat N] \
                     [--stride N] CAMPAIGN ..\n       millstream-campaign render RESULTS REPORT GUARANTEES";

/// How long a zombie is stopped.
const STOPPED: Duration = Duration::from_secs(10);

struct Arguments {
    binary: PathBuf,
    results: PathBuf,
    repeat: usize,
    stride: usize,
    campaigns: Vec<String>,
}

fn arguments() -> Option<Arguments> {
    let mut given = std::env::args().skip(1);
    let mut found = Arguments {
        binary: PathBuf::new(),
        results: PathBuf::from("proof/results"),
        repeat: 1,
        stride: 1,
        campaigns: Vec::new(),
    };
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--binary" => found.binary = given.next()?.into(),
            "--results" => found.results = given.next()?.into(),
            "--repeat" => found.repeat = given.next()?.parse().ok().filter(|n| *n > 0)?,
            "--stride" => found.stride = given.next()?.parse().ok().filter(|n| *n > 0)?,
            name => found.campaigns.push(name.to_owned()),
        }
    }
    (!found.campaigns.is_empty()).then_some(found)
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if let [word, directory, report, guarantees] = arguments.campaigns.as_slice()
        && word == "render"
    {
        let results = results(Path::new(directory));
        std::fs::write(report, page(&results)).expect("the page is written");
        let text = std::fs::read_to_string(guarantees).expect("the guarantees");
        std::fs::write(guarantees, with_figures(&text, &results)).expect("the page is written");
        return ExitCode::SUCCESS;
    }
    let topic = Topic::start().await;
    let place = Workplace::new(&arguments.binary, &topic).expect("what the campaigns need");
    let mut broken = 0;
    for name in &arguments.campaigns {
        let command = format!("bash scripts/prove.sh {name}");
        let Some(report) = run(name, &place, &arguments, &command) else {
            eprintln!("There is no campaign `{name}`.\n{USAGE}");
            return ExitCode::from(2);
        };
        for cell in report.broken() {
            println!("{}: {}", cell.cell, cell.outcome);
        }
        let cells = report.cells.len();
        println!("{name}: {cells} cells, {} violations, {} s", report.violations, report.seconds);
        broken += report.violations;
        report.write(&arguments.results);
    }
    ExitCode::from(u8::from(broken > 0))
}

fn run(name: &str, place: &Workplace, arguments: &Arguments, command: &str) -> Option<Report> {
    let disk = || Disk::compile().expect("the library that counts calls");
    match name {
        "kill-matrix" => Some(kills::run(place, &kills::matrix(), arguments.repeat, command)),
        "syscalls" => {
            let disk = disk();
            let cells = syscalls::matrix(place, &disk, arguments.stride);
            Some(syscalls::run(place, &disk, &cells, command))
        }
        "zombies" => Some(zombies::run(place, &zombies::matrix(STOPPED), command)),
        "durability-order" => Some(order::run(place, &disk(), command)),
        "planted-mistakes" => Some(planted::run(place, &disk(), command)),
        "damage" => Some(damage::run(place, damage::Part::Whole, None, command)),
        "damage-part" => Some(damage::run(place, damage::Part::Fixed, None, command)),
        _ => {
            let state = name.strip_prefix("damage:")?;
            Some(damage::run(place, damage::Part::Whole, Some(state), command))
        }
    }
}
