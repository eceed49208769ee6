//! Files of the broker: append-only segments of a partition, and small state files.
//!
//! A segment is the record batches one after the other, nothing between or around them, in a file
//! named by its first offset. Writes go to the page cache: they survive the death of the process,
//! not of the machine. State files are replaced as a whole.

use bytes::Bytes;
use millstream_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The open segments of one partition, by first offset. Batches are appended to the last one.
#[derive(Debug)]
pub(crate) struct Segments {
    dir: PathBuf,
    open: BTreeMap<i64, Segment>,
    segment_bytes: u64,
}

#[derive(Debug)]
struct Segment {
    file: File,
    len: u64,
}

/// Where a batch lies in a partition's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilePlace {
    pub segment: i64,
    pub position: u64,
    pub size: usize,
}

impl Segments {
    /// Opens a partition's directory, creating it where needed, without reading its batches.
    pub(crate) fn open(dir: &Path, segment_bytes: u64) -> io::Result<Segments> {
        fs::create_dir_all(dir)?;
        let mut open = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let Some(base) = segment_base(&path) else { continue };
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let len = file.metadata()?.len();
            open.insert(base, Segment { file, len });
        }
        Ok(Segments { dir: dir.to_path_buf(), open, segment_bytes })
    }

    /// First offsets and lengths of the segments, in order.
    pub(crate) fn list(&self) -> Vec<(i64, u64)> {
        self.open.iter().map(|(base, s)| (*base, s.len)).collect()
    }

    pub(crate) fn path(&self, base: i64) -> PathBuf {
        self.dir.join(format!("{base:020}.log"))
    }

    /// Appends a batch whose first offset is `base`. After an error the file is as it was.
    pub(crate) fn append(&mut self, base: i64, batch: &[u8]) -> io::Result<FilePlace> {
        let full = match self.open.last_key_value() {
            None => true,
            Some((_, s)) => s.len > 0 && s.len + batch.len() as u64 > self.segment_bytes,
        };
        if full {
            let options =
                OpenOptions::new().read(true).write(true).create(true).truncate(true).clone();
            let file = options.open(self.path(base))?;
            self.open.insert(base, Segment { file, len: 0 });
        }
        let Some(mut entry) = self.open.last_entry() else {
            return Err(io::Error::other("no segment to append to"));
        };
        let (segment, s) = (*entry.key(), entry.get_mut());
        if let Err(error) = s.file.write_all_at(batch, s.len) {
            // A torn batch would hide everything behind it from the next start.
            s.file.set_len(s.len)?;
            return Err(error);
        }
        let place = FilePlace { segment, position: s.len, size: batch.len() };
        s.len += batch.len() as u64;
        Ok(place)
    }

    /// Bytes of one segment.
    pub(crate) fn read(&self, segment: i64, position: u64, size: usize) -> io::Result<Bytes> {
        let s = self.open.get(&segment).ok_or_else(|| io::Error::other("segment is gone"))?;
        let mut out = vec![0; size];
        s.file.read_exact_at(&mut out, position)?;
        Ok(Bytes::from(out))
    }

    /// Cuts `segment` to `len` bytes and removes the segments behind it.
    pub(crate) fn cut(&mut self, segment: i64, len: u64) -> io::Result<()> {
        if let Some(s) = self.open.get_mut(&segment) {
            s.file.set_len(len)?;
            s.len = len;
        }
        let behind: Vec<i64> = self.open.keys().copied().filter(|base| *base > segment).collect();
        for base in behind {
            self.remove(base)?;
        }
        Ok(())
    }

    /// Removes the segments in front of `segment`; all of them for `None`.
    pub(crate) fn drop_before(&mut self, segment: Option<i64>) -> io::Result<()> {
        let before: Vec<i64> =
            self.open.keys().copied().filter(|base| segment.is_none_or(|s| *base < s)).collect();
        for base in before {
            self.remove(base)?;
        }
        Ok(())
    }

    fn remove(&mut self, base: i64) -> io::Result<()> {
        self.open.remove(&base);
        fs::remove_file(self.path(base))
    }

    /// Asks the system to put everything on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.open.values().try_for_each(|s| s.file.sync_data())
    }
}

fn segment_base(path: &Path) -> Option<i64> {
    path.file_name()?.to_str()?.strip_suffix(".log")?.parse().ok()
}

/// Replaces a state file as a whole.
pub(crate) fn save<T: Serialize>(path: &Path, state: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(state).map_err(io::Error::other)?;
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, bytes)?;
    File::open(&temporary)?.sync_data()?;
    fs::rename(&temporary, path)
}

/// Reads a state file; `None` where there is none.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(dir_error(path, error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        Error::corrupt(
            "BROKER_STATE_CORRUPT",
            format!("State file '{}' of the broker cannot be read.", path.display()),
        )
        .caused_by(error)
        .cure("Remove the broker's directory; it holds development data only.")
    })
}

/// The error for a path of the broker's directory that cannot be used.
pub(crate) fn dir_error(path: &Path, error: io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "BROKER_DIR",
        format!("The broker cannot use '{}'.", path.display()),
    )
    .caused_by(error)
    .cure("Check that the directory exists, is writable and has free space.")
}
