//! Hadoop's `.name.crc` files: whether one still belongs to its file. Spark refuses a file whose
//! twin does not match.

use millstream_core::Result;
use millstream_core::protocol::paths;
use millstream_store::Store;

/// `crc` and a zero byte.
const MAGIC: [u8; 4] = *b"crc\0";

/// Paths of twins in Spark's directories whose file is gone or differs.
pub(super) async fn stale(store: &dyn Store) -> Result<Vec<String>> {
    let mut dirs = vec![String::new(), paths::OFFSETS.to_owned(), paths::COMMITS.to_owned()];
    let sources = store.list(paths::SOURCES).await?;
    dirs.extend(sources.iter().map(|source| format!("{}/{source}", paths::SOURCES)));
    let mut found = Vec::new();
    for dir in dirs {
        let at =
            |name: &str| if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
        for twin in store.list(&dir).await? {
            let Some(name) = twin.strip_prefix('.').and_then(|t| t.strip_suffix(".crc")) else {
                continue;
            };
            let file = store.read(&at(name)).await?;
            let sums = store.read(&at(&twin)).await?;
            if let Some(sums) = sums
                && !file.is_some_and(|file| belongs(&sums, &file))
            {
                found.push(at(&twin));
            }
        }
    }
    Ok(found)
}

/// Whether `sums` is the twin of `file`: magic, chunk size, and one CRC-32 a chunk, big-endian.
fn belongs(sums: &[u8], file: &[u8]) -> bool {
    let Some((head, sums)) = sums.split_first_chunk::<8>() else { return false };
    let [m0, m1, m2, m3, c0, c1, c2, c3] = *head;
    let chunk = u32::from_be_bytes([c0, c1, c2, c3]) as usize;
    if [m0, m1, m2, m3] != MAGIC || chunk == 0 {
        return false;
    }
    let computed: Vec<u8> = file.chunks(chunk).flat_map(|c| crc32(c).to_be_bytes()).collect();
    computed == sums
}

/// CRC-32 as in gzip. Files are small and this runs in a repair tool: bit by bit is fast enough.
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
        let mut twin = MAGIC.to_vec();
        twin.extend(512u32.to_be_bytes());
        // The sum that Spark wrote.
        twin.extend(0xF32A_BFDDu32.to_be_bytes());
        assert!(belongs(&twin, FILE));
        assert!(!belongs(&twin, b"v1\n{\"nextBatchWatermarkMs\":1}"));
        assert!(!belongs(&twin[..7], FILE));
        assert!(!belongs(b"", FILE));
    }
}
