//! The four compression codecs, with a limit on what comes out.

use crate::{Result, WireError};
use std::io::{Read, Write};
use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

/// Front of snappy data in the framing of `xerial/snappy-java`, which Java clients write.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Magic, version and oldest compatible version.
const XERIAL_HEADER: usize = 16;
/// Block size of the xerial framing, as Kafka's Java client uses it.
const XERIAL_BLOCK: usize = 32 * 1024;
/// First size of the output buffer, and its growth step at least.
const CHUNK: usize = 64 * 1024;

/// Compression of a batch's records. The numbers are those of the batch attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// None.
    None = 0,
    /// gzip.
    Gzip = 1,
    /// snappy; read raw or in xerial framing, written in xerial framing as Java does.
    Snappy = 2,
    /// lz4 frames.
    Lz4 = 3,
    /// Zstandard.
    Zstd = 4,
}

impl Codec {
    /// All codecs.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec with this number.
    pub fn from_id(id: u8) -> Option<Codec> {
        Self::ALL.into_iter().find(|c| *c as u8 == id)
    }

    /// The name in Kafka's `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    /// Compresses `plain`.
    pub(crate) fn compress(self, plain: &[u8]) -> Result<Vec<u8>, String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        match self {
            Codec::None => Ok(plain.to_vec()),
            Codec::Gzip => {
                let level = flate2::Compression::default();
                let mut out = flate2::write::GzEncoder::new(Vec::new(), level);
                out.write_all(plain).and_then(|()| out.finish()).map_err(|e| text(&e))
            }
            Codec::Snappy => compress_xerial(plain),
            Codec::Lz4 => {
                let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
                out.write_all(plain).map_err(|e| text(&e))?;
                out.finish().map_err(|e| text(&e))
            }
            Codec::Zstd => zstd::bulk::compress(plain, 3).map_err(|e| text(&e)),
        }
    }
}

fn compress_xerial(plain: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = XERIAL_MAGIC.to_vec();
    out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    for block in plain.chunks(XERIAL_BLOCK) {
        let packed = snap::raw::Encoder::new().compress_vec(block).map_err(|e| e.to_string())?;
        let len = u32::try_from(packed.len()).map_err(|e| e.to_string())?;
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(out)
}

/// Decompresses batches into one reused buffer of limited size.
pub struct Decompressor {
    limit: usize,
    out: Vec<u8>,
    zstd: Option<ZstdDecoder<'static>>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Why a codec gave up.
enum Failure {
    TooLarge,
    Codec(String),
}

impl<E: std::fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Codec(error.to_string())
    }
}

impl Decompressor {
    /// A decompressor that refuses batches of more than `limit` plain bytes.
    pub fn new(limit: usize) -> Self {
        Decompressor { limit, out: Vec::new(), zstd: None }
    }

    /// Bytes the buffer holds on to.
    pub fn capacity(&self) -> usize {
        self.out.capacity()
    }

    /// Gives memory beyond `keep` bytes back, so that one huge batch does not stay for ever.
    pub fn shrink(&mut self, keep: usize) {
        if self.out.capacity() > keep {
            self.out = Vec::new();
        }
    }

    /// The plain bytes: `data` itself without a codec, else this decompressor's buffer.
    pub(crate) fn decompress<'b>(
        &'b mut self,
        codec: Codec,
        data: &'b [u8],
        offset: i64,
    ) -> Result<&'b [u8]> {
        let limit = self.limit;
        if codec == Codec::None {
            let fits = data.len() <= limit;
            return fits.then_some(data).ok_or(WireError::TooLarge { offset, limit });
        }
        self.out.clear();
        let outcome = match codec {
            Codec::None => Ok(()),
            Codec::Gzip => self.drain(flate2::bufread::MultiGzDecoder::new(data)),
            Codec::Snappy => self.snappy(data),
            Codec::Lz4 => self.lz4(data),
            Codec::Zstd => self.zstd(data),
        };
        match outcome {
            Ok(()) => Ok(&self.out),
            Err(Failure::TooLarge) => Err(WireError::TooLarge { offset, limit }),
            Err(Failure::Codec(why)) => {
                Err(WireError::Decompress { offset, codec: codec.name(), why })
            }
        }
    }

    /// Reads to the end, one byte beyond the limit at most.
    fn drain(&mut self, reader: impl Read) -> Result<(), Failure> {
        let room = (self.limit - self.out.len()) as u64;
        reader.take(room.saturating_add(1)).read_to_end(&mut self.out)?;
        if self.out.len() > self.limit { Err(Failure::TooLarge) } else { Ok(()) }
    }

    fn snappy(&mut self, data: &[u8]) -> Result<(), Failure> {
        if !data.starts_with(&XERIAL_MAGIC) {
            return self.snappy_block(data);
        }
        let mut rest = data.get(XERIAL_HEADER..).ok_or("its framing header is cut off")?;
        while let Some((len, after)) = rest.split_first_chunk::<4>() {
            let len = u32::from_be_bytes(*len) as usize;
            let (block, after) = after.split_at_checked(len).ok_or("a block is cut off")?;
            self.snappy_block(block)?;
            rest = after;
        }
        if rest.is_empty() { Ok(()) } else { Err("a block length is cut off".into()) }
    }

    fn snappy_block(&mut self, block: &[u8]) -> Result<(), Failure> {
        let plain = snap::raw::decompress_len(block)?;
        let start = self.out.len();
        let end = start.saturating_add(plain);
        if end > self.limit {
            return Err(Failure::TooLarge);
        }
        self.out.resize(end, 0);
        let target = self.out.get_mut(start..).unwrap_or_default();
        let written = snap::raw::Decoder::new().decompress(block, target)?;
        self.out.truncate(start + written);
        Ok(())
    }

    fn lz4(&mut self, mut data: &[u8]) -> Result<(), Failure> {
        // Frames may follow one another.
        while !data.is_empty() {
            let mut decoder = lz4_flex::frame::FrameDecoder::new(data);
            self.drain(&mut decoder)?;
            data = decoder.into_inner();
        }
        Ok(())
    }

    fn zstd(&mut self, data: &[u8]) -> Result<(), Failure> {
        let mut decoder = match self.zstd.take() {
            Some(mut used) => {
                used.reinit()?;
                used
            }
            None => ZstdDecoder::new()?,
        };
        let mut input = InBuffer::around(data);
        let mut hint = 1;
        // A frame that ends exactly with the input may still hold output: go on until the hint
        // says that the frame is complete.
        while input.pos() < data.len() || hint != 0 {
            if self.out.len() > self.limit {
                return Err(Failure::TooLarge);
            }
            if self.out.capacity() == self.out.len() {
                let step = self.out.len().max(CHUNK);
                self.out.reserve(step.min(self.limit.saturating_add(1) - self.out.len()));
            }
            let (before_in, before_out) = (input.pos(), self.out.len());
            let mut output = OutBuffer::around_pos(&mut self.out, before_out);
            hint = decoder.run(&mut input, &mut output)?;
            if input.pos() == before_in && self.out.len() == before_out && hint != 0 {
                return Err("the frame is cut off".into());
            }
        }
        self.zstd = Some(decoder);
        if self.out.len() > self.limit { Err(Failure::TooLarge) } else { Ok(()) }
    }
}
