//! The disk under the binary: every call that changes it, counted, and one of them made to fail or
//! to be the last (`shim/disk_faults.c`).

use millstream_core::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// SIGKILL instead of the call.
    KillBefore,
    /// SIGKILL right after it.
    KillAfter,
    /// Half of the bytes are written, then SIGKILL. As [`Deed::KillAfter`] for other calls.
    KillTorn,
    /// It fails with EIO, and nothing happens on the disk.
    Eio,
    /// It happens, and is answered with EIO.
    EioAfter,
    /// It fails with ENOSPC.
    Enospc,
    /// This and every later call that needs space fail with ENOSPC.
    EnospcFromHere,
    /// It fails with EACCES.
    Eacces,
    /// This and every later call but syncs fail with EROFS.
    ErofsFromHere,
}

impl Deed {
    /// All that end the process.
    pub const KILLS: [Deed; 3] = [Deed::KillBefore, Deed::KillAfter, Deed::KillTorn];
    /// Errors that every call may meet.
    pub const ERRORS: [Deed; 4] = [Deed::Eio, Deed::EioAfter, Deed::Enospc, Deed::EnospcFromHere];

    /// Errors of a disk that may not be written, and the calls that meet them: one of each kind, as
    /// "class:end of path", with the fault that a run before died of.
    pub fn refusals() -> impl Iterator<Item = (Deed, Option<&'static str>, &'static str)> {
        const CALLS: [(Option<&str>, &str); 12] = [
            (None, "mkdir:/millstream"),
            (None, "link:/metadata"),
            (None, "link:/millstream/lease/1"),
            (None, "link:/sources/0/0"),
            (None, "mkdir:/offsets"),
            (None, "link:/offsets/0"),
            (None, "create:.parquet"),
            (None, "link:/_delta_log/00000000000000000000.json"),
            (None, "link:/_delta_log/00000000000000000001.json"),
            (Some("P9:after:1"), "link:/_delta_log/00000000000000000001.json"),
            (Some("P11:after:1"), "link:/millstream/ledger/1"),
            (Some("P11:after:1"), "link:/commits/1"),
        ];
        let deeds = [Deed::Eacces, Deed::ErofsFromHere];
        deeds.into_iter().flat_map(|deed| CALLS.map(|(state, at)| (deed, state, at)))
    }

    /// As the library reads it.
    pub fn name(self) -> &'static str {
        match self {
            Deed::KillBefore => "kill-before",
            Deed::KillAfter => "kill-after",
            Deed::KillTorn => "kill-torn",
            Deed::Eio => "EIO",
            Deed::EioAfter => "EIO-after",
            Deed::Enospc => "ENOSPC",
            Deed::EnospcFromHere => "ENOSPC-from-here",
            Deed::Eacces => "EACCES",
            Deed::ErofsFromHere => "EROFS-from-here",
        }
    }
}

/// One counted call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// `create`, `write`, `sync`, `link`, `rename`, `unlink`, `mkdir` or `truncate`.
    pub class: String,
    /// The file or directory.
    pub path: PathBuf,
}

/// The library, compiled.
#[derive(Debug)]
pub struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// Compiles the library with the system's C compiler.
    ///
    /// # Errors
    /// `TEST_PART_MISSING` where there is no C compiler.
    ///
    /// # Panics
    /// If the library does not compile.
    pub fn compile() -> Result<Disk> {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = Disk { directory };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/disk_faults.c");
        let status = Command::new("cc")
            .args(["-O1", "-Wall", "-shared", "-fPIC", "-o"])
            .arg(disk.library())
            .arg(source)
            .status()
            .map_err(|e| {
                Error::unavailable("TEST_PART_MISSING", "There is no C compiler.").caused_by(e)
            })?;
        assert!(status.success(), "disk_faults.c does not compile");
        Ok(disk)
    }

    /// The library.
    pub fn library(&self) -> PathBuf {
        self.directory.path().join("disk_faults.so")
    }

    /// Puts `command` on this disk: calls under `root` are counted into `log`.
    pub fn under(&self, command: &mut Command, root: &Path, log: &Path) {
        command.env("LD_PRELOAD", self.library());
        command.env("DISK_FAULTS_ROOT", root).env("DISK_FAULTS_LOG", log);
    }
}

/// Makes the call `at` (a number, or `class:end of path`) go wrong.
pub fn arm(command: &mut Command, at: &str, deed: Deed) {
    command.env("DISK_FAULTS_AT", at).env("DISK_FAULTS_DO", deed.name());
}

/// The calls that a log holds, in their order.
pub fn calls(log: &Path) -> Vec<Call> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let mut found: Vec<(u64, Call)> = text
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ' ');
            let number = parts.next()?.parse().ok()?;
            let class = parts.next()?.to_owned();
            Some((number, Call { class, path: parts.next()?.into() }))
        })
        .collect();
    // Threads count and write their lines in two steps.
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, call)| call).collect()
}
