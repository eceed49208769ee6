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

/// The segments of one partition: first offset and length. Batches are appended to the last one.
/// Files are opened for each access, so that thousands of partitions need no file handles.
#[derive(Debug)]
pub(crate) struct Segments {
    dir: PathBuf,
    lens: BTreeMap<i64, u64>,
    segment_bytes: u64,
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
        let mut lens = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if let Some(base) = segment_base(&path) {
                lens.insert(base, fs::metadata(&path)?.len());
            }
        }
        Ok(Segments { dir: dir.to_path_buf(), lens, segment_bytes })
    }

    /// First offsets and lengths of the segments, in order.
    pub(crate) fn list(&self) -> Vec<(i64, u64)> {
        self.lens.iter().map(|(base, len)| (*base, *len)).collect()
    }

    pub(crate) fn path(&self, base: i64) -> PathBuf {
        self.dir.join(format!("{base:020}.log"))
    }

    /// Appends a batch whose first offset is `base`. After an error the log is as it was.
    pub(crate) fn append(&mut self, base: i64, batch: &[u8]) -> io::Result<FilePlace> {
        let room = |len: u64| len == 0 || len + batch.len() as u64 <= self.segment_bytes;
        let last = self.lens.last_key_value().filter(|(_, len)| room(**len));
        let (segment, position) = last.map_or((base, 0), |(base, len)| (*base, *len));
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(self.path(segment))?;
        if let Err(error) = file.write_all_at(batch, position) {
            // A torn batch would hide everything behind it from the next start.
            file.set_len(position)?;
            return Err(error);
        }
        self.lens.insert(segment, position + batch.len() as u64);
        Ok(FilePlace { segment, position, size: batch.len() })
    }

    /// Bytes of one segment.
    pub(crate) fn read(&self, segment: i64, position: u64, size: usize) -> io::Result<Bytes> {
        let mut out = vec![0; size];
        File::open(self.path(segment))?.read_exact_at(&mut out, position)?;
        Ok(Bytes::from(out))
    }

    /// Cuts `segment` to `len` bytes and removes the segments behind it.
    pub(crate) fn cut(&mut self, segment: i64, len: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path(segment))?.set_len(len)?;
        self.lens.insert(segment, len);
        self.remove_where(|base| base > segment)
    }

    /// Removes the segments in front of `segment`; all of them for `None`.
    pub(crate) fn drop_before(&mut self, segment: Option<i64>) -> io::Result<()> {
        self.remove_where(|base| segment.is_none_or(|s| base < s))
    }

    fn remove_where(&mut self, gone: impl Fn(i64) -> bool) -> io::Result<()> {
        let gone: Vec<i64> = self.lens.keys().copied().filter(|base| gone(*base)).collect();
        for base in gone {
            self.lens.remove(&base);
            fs::remove_file(self.path(base))?;
        }
        Ok(())
    }

    /// Asks the system to put everything on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.lens.keys().try_for_each(|base| File::open(self.path(*base))?.sync_data())
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
