//! Simulates seeds and prints figures, or one seed and its trace.
//!
//! `cargo run --release -p millstream-core --features sim --example simulate -- FIRST COUNT`

use millstream_core::sim::{Stats, simulate};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<u64>());
    let (Some(Ok(first)), count) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: simulate FIRST_SEED [COUNT]");
        return ExitCode::from(2);
    };
    let Some(Ok(count)) = count else {
        let outcome = simulate(first, None);
        print!("{}", outcome.trace);
        return ExitCode::from(u8::from(outcome.violation.is_some()));
    };
    let started = Instant::now();
    let mut stats = Stats::default();
    for seed in first..first.saturating_add(count) {
        let outcome = simulate(seed, None);
        if let Some(violation) = outcome.violation {
            print!("{}", outcome.trace);
            eprintln!("seed {seed}: {violation}");
            return ExitCode::FAILURE;
        }
        stats += outcome.stats;
    }
    println!("{count} seeds in {:?}: {stats:?}", started.elapsed());
    ExitCode::SUCCESS
}
