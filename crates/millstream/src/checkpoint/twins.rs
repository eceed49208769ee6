//! Hadoop's `.name.crc` files: whether one still belongs to its file. Spark refuses a file whose
//! twin does not match, and so does a run where nothing else repeats what Spark wrote.

use super::history;
use millstream_core::ids::{BatchId, Digest, QueryId};
use millstream_core::log::{Metadata, OffsetsFile, Rebuilt, Record as _, hadoop_twin};
use millstream_core::protocol::paths;
use millstream_core::{Error, Result};
use millstream_store::Store;

/// `crc` and a zero byte.
const MAGIC: [u8; 4] = *b"crc\0";

/// What a twin says about its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    /// Nothing: it is not there, or has not Hadoop's header. Hadoop reads over such a twin, too, and
    /// a power failure leaves empty ones: Spark does not sync what it writes.
    Nothing,
    /// These are the bytes that it was made of.
    Same,
    /// These are others.
    Other,
}

/// A twin that does not belong to the file beside it.
pub(super) struct Misfit {
    /// Its path.
    pub(super) path: String,
    /// The file, where a run refuses it.
    pub(super) refused: Option<String>,
    /// Whether the twin is to go: nothing is beside it, or what is there is right.
    pub(super) is_stale: bool,
}

/// Refuses `path`, which another engine wrote, where it has a twin that was made of other bytes.
///
/// No crash leaves such a pair. Hadoop renames the finished file first and its twin second, and
/// deletes the twin first; so that a file without a twin is whole, and an old twin never meets a new
/// file. Millstream deletes the twin before it creates a file of that name. What remains is a file
/// that somebody changed, or a disk that did; Spark refuses both.
///
/// # Errors
/// `CHECKPOINT_FILE_DAMAGED`; what the store says.
pub(super) async fn check(store: &dyn Store, path: &str, bytes: &[u8]) -> Result<()> {
    let twin = twin_of(path);
    match says(store.read(&twin).await?.as_deref(), bytes) {
        Says::Other => Err(damaged(&format!("{}/{path}", store.describe()), &twin)),
        Says::Same | Says::Nothing => Ok(()),
    }
}

/// That a file and its twin differ.
pub(super) fn damaged(file: &str, twin: &str) -> Error {
    Error::corrupt(
        "CHECKPOINT_FILE_DAMAGED",
        format!("`{file}` is damaged: its checksum file `{twin}` was made of other bytes."),
    )
    .cure(format!(
        "Restore the file from a backup; or delete `{twin}` yourself, if you know that what the \
         file says is right."
    ))
}

/// Every twin in Spark's directories that does not belong to the file beside it. Whether the file or
/// the twin is wrong, something else than the two must say: `batches_of` is the query of the batches.
///
/// # Errors
/// What the store says.
pub(super) async fn misfits(store: &dyn Store, batches_of: Option<QueryId>) -> Result<Vec<Misfit>> {
    let mut dirs = vec![String::new(), paths::OFFSETS.to_owned(), paths::COMMITS.to_owned()];
    let sources = store.list(paths::SOURCES).await?;
    dirs.extend(sources.iter().map(|source| format!("{}/{source}", paths::SOURCES)));
    let mut found = Vec::new();
    for dir in dirs {
        for twin in store.list(&dir).await? {
            let Some(name) = twin.strip_prefix('.').and_then(|t| t.strip_suffix(".crc")) else {
                continue;
            };
            let at = |name: &str| {
                if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
            };
            let (path, file) = (at(&twin), at(name));
            let Some(sums) = store.read(&path).await? else { continue };
            let Some(bytes) = store.read(&file).await? else {
                found.push(Misfit { path, refused: None, is_stale: true });
                continue;
            };
            let is_stale = match says(Some(&sums), &bytes) {
                Says::Same => continue,
                Says::Nothing => {
                    found.push(Misfit { path, refused: None, is_stale: true });
                    continue;
                }
                Says::Other => is_proved(store, &file, &bytes, batches_of).await?,
            };
            // A run knows its query by `metadata` before it reads what repeats it.
            let refused = Some(file).filter(|file| !is_stale || file == paths::METADATA);
            found.push(Misfit { path, refused, is_stale });
        }
    }
    Ok(found)
}

/// Whether something with a checksum of its own repeats what the file says.
async fn is_proved(
    store: &dyn Store,
    path: &str,
    bytes: &[u8],
    batches_of: Option<QueryId>,
) -> Result<bool> {
    if path == paths::METADATA {
        let named = Metadata::decode(bytes).ok().map(|metadata| metadata.id);
        return Ok(named.is_some() && named == batches_of);
    }
    let number = path.strip_prefix(paths::OFFSETS).and_then(|rest| rest.strip_prefix('/'));
    let Some(batch) = number.and_then(|number| number.parse().ok()).map(BatchId) else {
        return Ok(false);
    };
    // The intent that Millstream's own file names, and only that, is believed.
    let is_ours = OffsetsFile::decode(bytes).and_then(|file| file.intent());
    if is_ours.is_ok_and(|named| named.is_some()) {
        return Ok(true);
    }
    let rebuilt = store.read(paths::REBUILT).await?.and_then(|b| Rebuilt::decode(&b).ok());
    if rebuilt.is_some_and(|rebuilt| rebuilt.batch == batch) {
        return Ok(true);
    }
    let entry = history::entry(store, batch).await?;
    Ok(entry.is_some_and(|entry| entry.digest == Digest::of(bytes)))
}

/// The path of the twin of the file at `path`.
pub(super) fn twin_of(path: &str) -> String {
    match path.rsplit_once('/') {
        Some((dir, name)) => format!("{dir}/{}", hadoop_twin(name)),
        None => hadoop_twin(path),
    }
}

fn says(sums: Option<&[u8]>, file: &[u8]) -> Says {
    let Some((head, sums)) = sums.and_then(|sums| sums.split_first_chunk::<8>()) else {
        return Says::Nothing;
    };
    let [m0, m1, m2, m3, c0, c1, c2, c3] = *head;
    let chunk = u32::from_be_bytes([c0, c1, c2, c3]) as usize;
    if [m0, m1, m2, m3] != MAGIC || chunk == 0 {
        return Says::Nothing;
    }
    // Magic, chunk size, and one CRC-32 a chunk, big-endian.
    let computed: Vec<u8> = file.chunks(chunk).flat_map(|c| crc32(c).to_be_bytes()).collect();
    if computed == sums { Says::Same } else { Says::Other }
}

/// CRC-32 as in gzip. Files are small and few: bit by bit is fast enough.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
        }
    }
    !crc
}

/// The twin that Hadoop makes of these bytes.
#[cfg(test)]
pub(super) fn made_of(bytes: &[u8]) -> Vec<u8> {
    let sums = bytes.chunks(512).flat_map(|chunk| crc32(chunk).to_be_bytes());
    MAGIC.into_iter().chain(512u32.to_be_bytes()).chain(sums).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spark's own `commits/0` and its twin.
    const FILE: &[u8] = b"v1\n{\"nextBatchWatermarkMs\":0}";

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_twin_belongs_to_the_bytes_it_was_made_of() {
        let mut twin = made_of(FILE);
        // The sum that Spark wrote.
        assert_eq!(twin[8..], 0xF32A_BFDDu32.to_be_bytes());
        let says = |twin: &[u8], file| says(Some(twin), file);
        assert_eq!(says(&twin, FILE), Says::Same);
        assert_eq!(says(&twin, b"v1\n{\"nextBatchWatermarkMs\":1}"), Says::Other);
        for torn in 8..twin.len() {
            assert_eq!(says(&twin[..torn], FILE), Says::Other, "{torn} bytes");
        }
        // What Hadoop does not take for a twin.
        for torn in 0..8 {
            assert_eq!(says(&twin[..torn], FILE), Says::Nothing, "{torn} bytes");
        }
        twin[0] = b'x';
        assert_eq!(says(&twin, FILE), Says::Nothing);
    }

    #[test]
    fn twins_lie_beside_their_files() {
        assert_eq!(twin_of("metadata"), ".metadata.crc");
        assert_eq!(twin_of("sources/0/0"), "sources/0/.0.crc");
    }
}
