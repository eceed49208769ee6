//! Walking the batches of a fetch answer, and one batch of it.

use crate::header::CRC_START;
use crate::{BatchHeader, Decompressor, HEADER_LEN, Records, Result, WireError};

/// One whole batch: its header and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch<'a> {
    /// The parsed header.
    pub header: BatchHeader,
    data: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The batch as it came, header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.data
    }

    /// Checks the CRC32C.
    ///
    /// # Errors
    /// [`WireError::Checksum`].
    pub fn verify(&self) -> Result<()> {
        let actual = crc32c::crc32c(self.data.get(CRC_START..).unwrap_or_default());
        if actual == self.header.crc {
            return Ok(());
        }
        let (offset, expected) = (self.header.base_offset, self.header.crc);
        Err(WireError::Checksum { offset, expected, actual })
    }

    /// The records: slices of the batch, or of `decompressor`'s buffer where it is compressed.
    ///
    /// # Errors
    /// [`WireError`] where the records do not decompress within the decompressor's limit.
    pub fn records<'b>(&self, decompressor: &'b mut Decompressor) -> Result<Records<'b>>
    where
        'a: 'b,
    {
        let body = self.data.get(HEADER_LEN..).unwrap_or_default();
        let codec = self.header.codec()?;
        let plain = decompressor.decompress(codec, body, self.header.base_offset)?;
        Ok(Records::new(&self.header, plain))
    }
}

/// The batches of a fetch answer in order. The broker cuts the last one where the byte limit
/// falls; iteration ends in front of it.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> Batches<'a> {
    /// The batches of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Batches { rest: data, failed: false }
    }

    /// What is left: empty, or the cut batch.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Full size of the cut batch in front of which iteration ended, if its header is there: what
    /// a fetch must allow to get it whole.
    pub fn cut_batch_len(&self) -> Option<usize> {
        BatchHeader::parse(self.rest).ok().flatten().map(|h| h.length)
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match BatchHeader::parse(self.rest) {
            Ok(None) => None,
            Ok(Some(header)) => {
                let (data, rest) = self.rest.split_at_checked(header.length)?;
                self.rest = rest;
                Some(Ok(Batch { header, data }))
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
