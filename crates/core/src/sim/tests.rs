use super::*;
use std::collections::BTreeSet;
use std::thread;
use std::time::Instant;

/// Seeds that unbugged code must survive; `MILLSTREAM_SEEDS` asks for another number.
const SEEDS: u64 = 10_000;
/// Seeds within which each planted bug must be found.
const SEEDS_PER_BUG: u64 = 4_000;
const THREADS: u64 = 2;

/// Branches of the decision that no world leads to, in the order of the source: sinks that forget,
/// an exact copy of a run that wins one of two sinks, or a late write that finds the place of an
/// entry free, another engine beside several sinks, state.
const NOT_SIMULATED: [&str; 7] = [
    "two attempts of the completed batch",
    "a mark has expired",
    "two attempts",
    "with and without our mark",
    "in some sinks, by an attempt without a name",
    "in every sink, by an attempt without a name, with state",
    "in every sink, unsealed, with state",
];

#[allow(clippy::disallowed_methods)]
fn seeds() -> u64 {
    std::env::var("MILLSTREAM_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap())
}

#[test]
fn ten_thousand_seeds_without_a_violation() {
    let seeds = seeds();
    let started = Instant::now();
    let workers: Vec<_> = (0..THREADS)
        .map(|worker| {
            thread::spawn(move || {
                let mut stats = Stats::default();
                for seed in (worker..seeds).step_by(THREADS as usize) {
                    let outcome = check(seed, None);
                    if let Some(violation) = outcome.violation {
                        panic!("seed {seed}: {violation}\n{}", outcome.trace);
                    }
                    stats += outcome.stats;
                }
                (stats, branches_reached())
            })
        })
        .collect();
    let mut stats = Stats::default();
    let mut branches = BTreeSet::new();
    for worker in workers {
        let (counted, reached) = worker.join().unwrap();
        stats += counted;
        branches.extend(reached);
    }
    println!("{seeds} seeds in {:?}: {stats:?}", started.elapsed());
    // The worlds are worth surviving: many batches, many faults, few given up.
    assert!(stats.batches > seeds * 10, "{stats:?}");
    assert!(stats.faults.total() > seeds * 10, "{stats:?}");
    assert!(stats.rolled_forward > seeds / 20, "{stats:?}");
    assert!(stats.foreign_batches > seeds / 6, "{stats:?}");
    assert!(stats.given_up < seeds / 10, "{stats:?}");
    if seeds < SEEDS {
        return;
    }
    for (kind, count) in stats.faults.by_kind() {
        assert!(count > seeds / 40, "{kind} are rare: {stats:?}");
    }
    let missed: Vec<_> = marks::all().filter(|branch| !branches.contains(branch)).collect();
    assert_eq!(missed, NOT_SIMULATED);
}

#[test]
fn every_planted_bug_is_found() {
    for bug in PlantedBug::ALL {
        let found = (0..SEEDS_PER_BUG.min(seeds()))
            .find_map(|seed| check(seed, Some(bug)).violation.map(|why| (seed, why)));
        match found {
            Some((seed, why)) => println!("{bug:?}: seed {seed}: {why}"),
            None => panic!("nobody finds {bug:?}"),
        }
    }
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in 0..50 {
        let traced = simulate(seed, None);
        assert_eq!(traced, simulate(seed, None));
        let checked = check(seed, None);
        assert_eq!((checked.violation, checked.stats), (traced.violation, traced.stats));
        let broken = check(seed, Some(PlantedBug::IgnoreDigest));
        assert_eq!(broken.violation.is_some(), !broken.trace.is_empty());
    }
    assert_ne!(simulate(1, None).trace, simulate(2, None).trace);
}
