//! Simulates the batch protocol with faults until so many batches are complete, on all threads
//! asked for, and stops at the first violation; or one seed and its trace.
//!
//! `cargo run --release -p millstream-core --features sim --example simulate -- --batches 10000000`
//!
//! The figures depend on the arguments alone, not on the number of threads: seeds are counted in
//! their order. `--result FILE` keeps them as JSON.

use millstream_core::env::{Env as _, SystemEnv};
use millstream_core::sim::{Stats, check, simulate};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

const USAGE: &str = "usage: simulate --batches N [--first-seed N] [--threads N] [--result FILE]
       simulate --seed N";
/// Seeds that a thread takes at once.
const CHUNK: u64 = 500;
/// Chunks between two lines about how far it is.
const CHUNKS_A_LINE: u64 = 100;

#[derive(Default)]
struct Arguments {
    batches: Option<u64>,
    seed: Option<u64>,
    first_seed: u64,
    threads: u64,
    result: Option<String>,
}

impl Arguments {
    fn parse(words: impl Iterator<Item = String>) -> Option<Self> {
        let cores = thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let mut parsed = Arguments { threads: cores, ..Arguments::default() };
        let mut words = words;
        while let Some(word) = words.next() {
            let value = words.next()?;
            match word.as_str() {
                "--batches" => parsed.batches = Some(value.parse().ok()?),
                "--seed" => parsed.seed = Some(value.parse().ok()?),
                "--first-seed" => parsed.first_seed = value.parse().ok()?,
                "--threads" => parsed.threads = value.parse().ok().filter(|n| *n > 0)?,
                "--result" => parsed.result = Some(value),
                _ => return None,
            }
        }
        Some(parsed)
    }
}

/// What a chunk of seeds came to: counts, or the seed that broke something and what it broke.
type Chunk = Result<Stats, (u64, String)>;

/// All chunks up to the one that completes the batches, in the order of their seeds.
struct Total {
    stats: Stats,
    seeds: u64,
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match (arguments.seed, arguments.batches) {
        (Some(seed), None) => replay(seed),
        (None, Some(batches)) => campaign(&arguments, batches),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn replay(seed: u64) -> ExitCode {
    let outcome = simulate(seed, None);
    print!("{}", outcome.trace);
    ExitCode::from(u8::from(outcome.violation.is_some()))
}

fn campaign(arguments: &Arguments, batches: u64) -> ExitCode {
    let (started, commit) = (Instant::now(), said_by("git", &["rev-parse", "--short", "HEAD"]));
    let total = match run(arguments, batches) {
        Ok(total) => total,
        Err((seed, violation)) => {
            eprintln!("VIOLATION in seed {seed}: {violation}");
            eprintln!("Its trace: simulate --seed {seed}");
            return ExitCode::FAILURE;
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    let figures = figures(&total);
    for (name, figure) in &figures {
        println!("{name:>28} {figure}");
    }
    println!("{:>28} {}", "violations", 0);
    println!("{:>28} {seconds:.1}", "seconds");
    let Some(path) = &arguments.result else { return ExitCode::SUCCESS };
    let result = json!({
        "name": "simulation",
        "title": "Simulated batches with faults",
        "command": format!(
            "cargo run --release -p millstream-core --features sim --example simulate -- \
             --batches {batches} --first-seed {} --result proof/results/simulation.json",
            arguments.first_seed
        ),
        "commit": commit,
        "date": date(),
        "machine": machine(),
        "seconds": seconds.round(),
        "violations": 0,
        "figures": figures,
    });
    match std::fs::write(path, format!("{result:#}\n")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("`{path}` cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Simulates on every thread; the first violation in the order of seeds ends it.
fn run(arguments: &Arguments, batches: u64) -> Result<Total, (u64, String)> {
    let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        for _ in 0..arguments.threads {
            let (sender, next, over) = (sender.clone(), &next, &over);
            scope.spawn(move || work(arguments.first_seed, next, over, &sender));
        }
        drop(sender);
        let total = collect(&receiver, batches);
        over.store(true, Ordering::Relaxed);
        total
    })
}

fn work(first_seed: u64, next: &AtomicU64, over: &AtomicBool, sender: &Sender<(u64, Chunk)>) {
    while !over.load(Ordering::Relaxed) {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let first = first_seed + index * CHUNK;
        let mut stats = Stats::default();
        let broken = (first..first + CHUNK).find_map(|seed| {
            let outcome = check(seed, None);
            stats += outcome.stats;
            outcome.violation.map(|violation| (seed, violation))
        });
        if sender.send((index, broken.map_or(Ok(stats), Err))).is_err() {
            return;
        }
    }
}

fn collect(receiver: &Receiver<(u64, Chunk)>, batches: u64) -> Result<Total, (u64, String)> {
    let mut waiting = BTreeMap::new();
    let (mut stats, mut counted) = (Stats::default(), 0);
    for (index, chunk) in receiver {
        waiting.insert(index, chunk);
        while let Some(chunk) = waiting.remove(&counted) {
            stats += chunk?;
            counted += 1;
            if counted % CHUNKS_A_LINE == 0 {
                eprintln!("{} seeds, {} batches", counted * CHUNK, stats.batches);
            }
            if stats.batches >= batches {
                return Ok(Total { stats, seeds: counted * CHUNK });
            }
        }
    }
    Ok(Total { stats, seeds: counted * CHUNK })
}

fn figures(total: &Total) -> Map<String, Value> {
    let Total { stats, seeds } = total;
    let mut figures = Map::new();
    let mut add = |name: &str, figure: u64| figures.insert(name.to_owned(), figure.into());
    add("batches", stats.batches);
    add("batchesOfAnotherEngine", stats.foreign_batches);
    add("seeds", *seeds);
    add("runs", stats.runs);
    add("steps", stats.steps);
    add("faults", stats.faults.total());
    for (kind, count) in stats.faults.by_kind() {
        add(kind, count);
    }
    add("crashes", stats.faults.crashes());
    add("recoveries", stats.recoveries());
    add("executedAgain", stats.executed_again);
    add("rolledForward", stats.rolled_forward);
    add("foundComplete", stats.found_complete);
    add("refusalsAnswered", stats.refusals);
    add("worldsGivenUp", stats.given_up);
    figures
}

/// The first line that a program prints; nothing where there is no such program.
fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok();
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn machine() -> String {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{cores} cores, {} {}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Today as a civil date in UTC.
fn date() -> String {
    let days = SystemEnv.now_ms().div_euclid(86_400_000);
    // Years begin in March here, so that the leap day is the last of a year of the era.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
