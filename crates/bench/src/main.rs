//! Dev-only: the benches. `benches/run.sh` runs them; see `benches/README.md`.
//!
//! Contenders take turns on one machine and one broker, so that what disturbs one disturbs all, and
//! figures are given as ratios of one run.
#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod bound;
mod contenders;
mod job;
mod latency;
mod orders;
mod place;
mod process;
mod record;
mod small;
mod table;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Whatever ends a bench is told to a person.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Debug, Parser)]
#[command(name = "millstream-bench", about = "The benches of Millstream")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The whole job: orders from Kafka through JSON and a filter into a Delta table.
    Job(job::Settings),
    /// Small batches, early and late, and beside many live files.
    Small(small::Settings),
    /// From sending to the table.
    Latency(latency::Settings),
    /// The same by hand (a contender of `job`).
    Bound(bound::Bound),
    /// Writes the tables of README.md from the newest results.
    Render {
        /// Where results lie.
        results: PathBuf,
        /// The page.
        page: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Job(settings) => job::run(&settings),
        Command::Small(settings) => small::run(&settings),
        Command::Latency(settings) => latency::run(&settings),
        Command::Bound(bound) => bound.run(),
        Command::Render { results, page } => record::render(&results, &page),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
