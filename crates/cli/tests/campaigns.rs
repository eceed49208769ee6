//! The fixed part of the campaigns of faults that every test run takes; `bash scripts/prove.sh` runs
//! them whole.
//!
//! | campaign | here |
//! |---|---|
//! | kill matrix | every cell, once |
//! | syscalls | every 61st call of every state and deed; every unclear commit |
//! | zombies | every 7th cell, stopped as long as the successor takes |
//! | durability order | whole |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream_campaign::disk::Disk;
use millstream_campaign::report::Report;
use millstream_campaign::{Topic, Workplace, kills, order, syscalls, zombies};
use millstream_testkit::skip_or_fail;
use std::time::Duration;

/// Calls between two that are hurt.
const SYSCALL_STRIDE: usize = 61;
/// Cells between two zombies.
const ZOMBIE_STRIDE: usize = 7;

async fn workplace() -> Option<(Topic, Workplace)> {
    let topic = Topic::start().await;
    let place = Workplace::new(env!("CARGO_BIN_EXE_millstream"), &topic);
    let place = skip_or_fail("the campaigns of faults", place)?;
    Some((topic, place))
}

fn disk() -> Option<Disk> {
    skip_or_fail("faults of the disk", Disk::compile())
}

fn assert_held(report: &Report) {
    println!("{}: {} cells in {} s", report.name, report.cells.len(), report.seconds);
    assert!(!report.cells.is_empty());
    assert!(report.violations == 0, "{:#?}", report.broken());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_fault_point_a_stream_goes_on_exactly_once() {
    let Some((_topic, place)) = workplace().await else { return };
    assert_held(&kills::run(&place, &kills::matrix(), 1, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_call_to_the_disk_fails_or_is_the_last_nothing_is_lost_or_doubled() {
    let Some((_topic, place)) = workplace().await else { return };
    let Some(disk) = disk() else { return };
    let cells = syscalls::matrix(&place, &disk, SYSCALL_STRIDE);
    assert_held(&syscalls::run(&place, &disk, &cells, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_process_that_goes_on_beside_its_successor_harms_nothing() {
    let Some((_topic, place)) = workplace().await else { return };
    let cells: Vec<_> =
        zombies::matrix(Duration::ZERO).into_iter().step_by(ZOMBIE_STRIDE).collect();
    assert_held(&zombies::run(&place, &cells, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_durable_before_something_builds_on_it() {
    let Some((_topic, place)) = workplace().await else { return };
    let Some(disk) = disk() else { return };
    assert_held(&order::run(&place, &disk, ""));
}
