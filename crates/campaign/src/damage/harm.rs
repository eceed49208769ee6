//! What is done to a file.

use super::stage::{File, Stage, remove, write};
use millstream_core::ids::Digest;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// One way to damage a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Harm {
    /// Only so many bytes are left.
    Cut(usize),
    /// This bit is flipped.
    Flip(usize),
    /// Only zeros, as long as the file was.
    Zeros,
    /// Something follows.
    Longer(&'static str),
    /// It is gone.
    Missing,
    /// The file of the batch before, or after, has this name.
    Swapped,
    /// The same file of another query has this name.
    Foreign,
    /// A directory has this name.
    Directory,
    /// Nobody may read it.
    Forbidden,
    /// Its header names a version that does not exist yet; otherwise it is whole.
    Newer,
    /// Its header names a version that never existed; otherwise it is whole.
    Unknown,
}

/// What is done to every file once.
pub(super) const STRUCTURAL: &[Harm] = &[
    Harm::Zeros,
    Harm::Longer("\n"),
    Harm::Longer("x"),
    Harm::Longer("\0\0\0\0"),
    Harm::Missing,
    Harm::Swapped,
    Harm::Foreign,
    Harm::Directory,
    Harm::Forbidden,
    Harm::Newer,
    Harm::Unknown,
];

impl Harm {
    /// Its name in summaries.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Harm::Cut(_) => "every prefix",
            Harm::Flip(_) => "every flipped bit",
            Harm::Zeros => "zeros",
            Harm::Longer(_) => "something after its end",
            Harm::Missing => "missing",
            Harm::Swapped => "that of a neighbouring batch",
            Harm::Foreign => "that of another query",
            Harm::Directory => "a directory in its place",
            Harm::Forbidden => "not readable",
            Harm::Newer => "a newer version",
            Harm::Unknown => "an unknown version",
        }
    }

    /// Does it; `false` where it cannot be done to this file, or changes nothing.
    pub(super) fn apply(
        self,
        stage: &Stage<'_>,
        file: &File,
        foreign: &BTreeMap<String, Vec<u8>>,
    ) -> bool {
        let path = stage.lake.storage().join(&file.path);
        let changed = match self {
            Harm::Cut(length) => file.bytes.get(..length).map(<[u8]>::to_vec),
            Harm::Flip(bit) => flipped(&file.bytes, bit),
            Harm::Zeros => Some(vec![0; file.bytes.len()]),
            Harm::Longer(what) => Some([&file.bytes, what.as_bytes()].concat()),
            Harm::Swapped => neighbour(stage, file),
            Harm::Foreign => foreign.get(&file.role).cloned(),
            Harm::Newer => with_version(file, 9),
            Harm::Unknown => with_version(file, 0),
            Harm::Missing => {
                remove(&path);
                return true;
            }
            Harm::Directory => {
                remove(&path);
                fs::create_dir(&path).expect("the directory");
                return true;
            }
            Harm::Forbidden => {
                forbid(&path);
                return true;
            }
        };
        let Some(bytes) = changed.filter(|bytes| *bytes != file.bytes) else { return false };
        write(&path, &bytes);
        true
    }
}

fn flipped(bytes: &[u8], bit: usize) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    *bytes.get_mut(bit / 8)? ^= 1 << (bit % 8);
    Some(bytes)
}

/// The same file of the batch before or, for the oldest, of the batch after.
fn neighbour(stage: &Stage<'_>, file: &File) -> Option<Vec<u8>> {
    let at = file.role.find(|c: char| c.is_ascii_digit())?;
    let end =
        file.role[at..].find(|c: char| !c.is_ascii_digit()).map_or(file.role.len(), |n| at + n);
    let number: u64 = file.role[at..end].parse().ok()?;
    let named = |n: u64| {
        let width = end - at;
        format!("{}{n:0width$}{}", &file.role[..at], &file.role[end..])
    };
    let before = number.checked_sub(1).and_then(|n| stage.file(&named(n)));
    before.or_else(|| stage.file(&named(number + 1))).map(|other| other.bytes.clone())
}

/// What not even the superuser may read: the kernel gives a sysctl no more than its mode.
const UNREADABLE: &str = "/proc/sys/vm/compact_memory";

/// Takes the right to read away. Modes mean nothing to the superuser, whose file is exchanged for
/// something that is refused to all.
fn forbid(path: &Path) {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("the permissions");
    if fs::read(path).is_ok() {
        remove(path);
        symlink(UNREADABLE, path).expect("the link");
    }
    let answer = fs::read(path).map_err(|e| e.kind());
    assert_eq!(answer, Err(ErrorKind::PermissionDenied), "nothing was forbidden");
}

/// The file with another version in its header; one of ours with the checksum that belongs to it.
fn with_version(file: &File, version: u32) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(&file.bytes).ok()?;
    let (header, rest) = text.split_once('\n')?;
    let (kind, old) = header.rsplit_once('v')?;
    if old.parse::<u32>().is_err() {
        return None;
    }
    let body = format!("{kind}v{version}\n{rest}");
    let Some((body, _)) = body.rsplit_once("sha256:") else { return Some(body.into_bytes()) };
    Some(format!("{body}sha256:{}\n", Digest::of(body.as_bytes())).into_bytes())
}
