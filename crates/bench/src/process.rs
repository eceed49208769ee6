//! A process and its descendants: how long, how much processor, how much memory.
//!
//! Read from `/proc`, which needs no privilege: the processor time of the dead process with those of
//! its children that it has waited for, and the sum of the resident sets while it runs.

use std::fs;
use std::io;
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime};

/// How often the tree is looked at. What the memory does in between is seen by the kernel's own high
/// mark of each process.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Processor time in `/proc/PID/stat` counts in hundredths of a second on Linux (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// When it was started.
    pub begun: SystemTime,
    /// From start to end.
    pub wall: Duration,
    /// User and system time of the process and of the children it has waited for, in seconds.
    pub cpu_seconds: f64,
    /// Largest sum of the high marks of the processes that lived at one time.
    pub peak_rss_bytes: u64,
}

/// Runs a command to its end.
///
/// # Errors
/// It does not start, or its exit status says failure.
pub fn run(command: &mut Command) -> io::Result<Usage> {
    let (begun, start) = (SystemTime::now(), Instant::now());
    let mut child = command.spawn()?;
    let (cpu_seconds, peak_rss_bytes) = watch(&child);
    let status = child.wait()?;
    let wall = start.elapsed();
    if !status.success() {
        return Err(io::Error::other(format!("{command:?} ended with {status}")));
    }
    Ok(Usage { begun, wall, cpu_seconds, peak_rss_bytes })
}

/// Looks at `child` until it is dead and not yet waited for: processor seconds and peak of the memory.
fn watch(child: &Child) -> (f64, u64) {
    let pid = child.id();
    let mut peak = 0;
    loop {
        let Some((state, cpu)) = stat(pid) else { return (0.0, peak) };
        if state == 'Z' {
            return (cpu, peak);
        }
        peak = peak.max(tree_rss(pid));
        std::thread::sleep(LOOK_EVERY);
    }
}

/// State and processor seconds of a process, its dead children included.
fn stat(pid: u32) -> Option<(char, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split(' ').collect();
    let state = fields.first()?.chars().next()?;
    let ticks: f64 = fields.get(11..15)?.iter().filter_map(|f| f.parse::<f64>().ok()).sum();
    Some((state, ticks / TICKS_PER_SECOND))
}

fn tree_rss(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse().ok());
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children: u64 = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|pids| pids.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|pid| pid.parse().ok())
        .map(tree_rss)
        .sum();
    kib.unwrap_or(0) * 1024 + children
}
