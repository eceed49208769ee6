//! The common form of every file that is ours.

use super::{damaged, newer, strict, torn};
use crate::error::{Error, Result};
use crate::ids::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest record that is decoded.
const RECORD_BYTES_MAX: usize = 256 << 20;
const CHECKSUM_PREFIX: &str = "sha256:";
/// `sha256:`, 64 digits and a newline.
const CHECKSUM_LINE_BYTES: usize = CHECKSUM_PREFIX.len() + 64 + 1;

/// A record of ours.
///
/// ```text
/// millstream-intent v1
/// {"query":"..","batch":3,..}
/// sha256:<64 digits: SHA-256 of the two lines above, newlines included>
/// ```
/// The last line ends with a newline too, so that the loss of the last byte is noticed.
pub trait Record: Serialize + DeserializeOwned {
    /// Kind of the record as the header says it, for example `intent`.
    const KIND: &'static str;
    /// Version that [`Record::encode`] writes; all older ones are read.
    const VERSION: u64 = 1;

    /// The bytes of the file.
    ///
    /// # Errors
    /// `INTERNAL` if the record cannot be written as JSON.
    fn encode(&self) -> Result<Vec<u8>> {
        let json = serde_json::to_string(self).map_err(|e| {
            Error::internal(format!("A record of kind {} has no JSON form.", Self::KIND))
                .caused_by(e)
        })?;
        let mut text = format!("millstream-{} v{}\n{json}\n", Self::KIND, Self::VERSION);
        let digest = Digest::of(text.as_bytes());
        text.push_str(&format!("{CHECKSUM_PREFIX}{digest}\n"));
        Ok(text.into_bytes())
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// `CHECKPOINT_FILE_TORN`, `CHECKPOINT_FILE_DAMAGED`, `CHECKPOINT_VERSION_NEWER`.
    fn decode(bytes: &[u8]) -> Result<Self> {
        let (version, json) = open(bytes, Self::KIND)?;
        if version > Self::VERSION {
            return Err(newer(version, Self::VERSION));
        }
        let value = strict::parse(json).map_err(damaged)?;
        serde_json::from_value(value).map_err(damaged)
    }
}

/// Checks the checksum and the header; returns version and JSON line.
fn open<'a>(bytes: &'a [u8], kind: &str) -> Result<(u64, &'a str)> {
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(damaged("it is larger than any record"));
    }
    if bytes.is_empty() {
        return Err(torn("it is empty"));
    }
    // A cut leaves no checksum line at the end; so does a file whose tail was never written.
    let split = bytes.len().checked_sub(CHECKSUM_LINE_BYTES).ok_or_else(|| torn("it is cut"))?;
    let (body, trailer) = bytes.split_at(split);
    let trailer = std::str::from_utf8(trailer).map_err(|_| torn("its last line is missing"))?;
    let stated = trailer
        .strip_prefix(CHECKSUM_PREFIX)
        .and_then(|t| t.strip_suffix('\n'))
        .ok_or_else(|| torn("its last line is not a checksum"))?;
    // Compared as text: digits in capitals are not what was written.
    if stated != Digest::of(body).to_string() {
        return Err(damaged("its checksum does not match"));
    }
    let body = std::str::from_utf8(body).map_err(|_| damaged("it is not UTF-8"))?;
    let lines = body.strip_suffix('\n').and_then(|b| b.split_once('\n'));
    let (header, json) = lines.ok_or_else(|| damaged("it has no header line"))?;
    let version = header
        .strip_prefix("millstream-")
        .and_then(|h| h.strip_prefix(kind))
        .and_then(|h| h.strip_prefix(" v"))
        .and_then(|v| v.parse::<u64>().ok())
        .ok_or_else(|| damaged(format_args!("its header is `{header}`, not that of `{kind}`")))?;
    Ok((version, json))
}
