use super::*;
use std::thread;
use std::time::Instant;

/// Seeds that unbugged code must survive.
const SEEDS: u64 = 10_000;
/// Seeds within which each planted bug must be found.
const SEEDS_PER_BUG: u64 = 4_000;
const THREADS: u64 = 2;

#[test]
fn ten_thousand_seeds_without_a_violation() {
    let started = Instant::now();
    let workers: Vec<_> = (0..THREADS)
        .map(|worker| {
            thread::spawn(move || {
                let mut stats = Stats::default();
                for seed in (worker..SEEDS).step_by(THREADS as usize) {
                    let outcome = simulate(seed, None);
                    if let Some(violation) = outcome.violation {
                        panic!("seed {seed}: {violation}\n{}", outcome.trace);
                    }
                    stats += outcome.stats;
                }
                stats
            })
        })
        .collect();
    let mut stats = Stats::default();
    for worker in workers {
        stats += worker.join().unwrap();
    }
    println!("{SEEDS} seeds in {:?}: {stats:?}", started.elapsed());
    // The worlds are worth surviving: many batches, many faults, few given up.
    assert!(stats.batches > SEEDS * 3, "{stats:?}");
    assert!(stats.faults > SEEDS * 3, "{stats:?}");
    assert!(stats.rolled_forward > SEEDS / 20, "{stats:?}");
    assert!(stats.given_up < SEEDS / 20, "{stats:?}");
}

#[test]
fn every_planted_bug_is_found() {
    for bug in PlantedBug::ALL {
        let found = (0..SEEDS_PER_BUG)
            .find_map(|seed| simulate(seed, Some(bug)).violation.map(|why| (seed, why)));
        match found {
            Some((seed, why)) => println!("{bug:?}: seed {seed}: {why}"),
            None => panic!("nobody finds {bug:?}"),
        }
    }
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in 0..50 {
        assert_eq!(simulate(seed, None), simulate(seed, None));
    }
    assert_ne!(simulate(1, None).trace, simulate(2, None).trace);
}
