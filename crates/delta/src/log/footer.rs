//! A look at the footer and the page headers of a Parquet file before the library decodes them. What
//! the library skips there may claim to be two thousand million booleans, which take no byte each: a
//! file of twenty bytes keeps it busy for seconds, one of a thousand for hours.

use std::io::{self, Read, Seek, SeekFrom};

/// What follows the footer: its length and the magic bytes.
const END: usize = 8;
const MAGIC: &[u8] = b"PAR1";
/// Structures in structures; the library refuses less.
const DEPTH_MAX: usize = 80;

/// The field of a page header that says how many bytes follow it (`compressed_page_size`).
const PAGE_SIZE_FIELD: i64 = 3;
/// Thrift's 32-bit integer.
const I32: u8 = 5;
/// Bytes that a page header is looked for in, at first and at last. Statistics make some long.
const HEADER_WINDOWS: [u64; 2] = [8 << 10, 1 << 20];

/// Why what is there is looked at no further.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// The library will say what is wrong.
    Malformed,
    /// More booleans than bytes.
    Endless,
}

/// Whether the work of decoding the footer of `file` is bounded by its length. Damage of any
/// other kind is left to the library. The file is at its start afterwards.
pub(crate) fn is_bounded(file: &mut (impl Read + Seek)) -> io::Result<bool> {
    let length = file.seek(SeekFrom::End(0))?;
    let footer = read_footer(file, length)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(footer.is_none_or(|footer| {
        let mut walk = Walk { rest: &footer, booleans: footer.len() as u64 };
        walk.structure(DEPTH_MAX) != Err(Stop::Endless)
    }))
}

/// Whether the headers of the pages that begin at `start` and take `length` bytes are whole. The library
/// skips what it does not know past the end of the file without noticing, as often as a list says.
pub(crate) fn are_pages_whole(
    file: &mut (impl Read + Seek),
    start: u64,
    length: u64,
) -> io::Result<bool> {
    let (mut at, end) = (start, start.saturating_add(length));
    while at < end {
        let mut next = Err(Stop::Malformed);
        for most in HEADER_WINDOWS {
            // The library does not stop at the end of the column, either.
            file.seek(SeekFrom::Start(at))?;
            let mut window = Vec::new();
            file.take(most).read_to_end(&mut window)?;
            let mut walk = Walk { rest: &window, booleans: window.len() as u64 };
            next = walk.page().map(|size| (window.len() - walk.rest.len()) as u64 + size);
            if next != Err(Stop::Malformed) || (window.len() as u64) < most {
                break;
            }
        }
        match next {
            // A header has a byte at least.
            Ok(bytes) => at = at.saturating_add(bytes),
            Err(Stop::Endless | Stop::Malformed) => return Ok(false),
        }
    }
    Ok(true)
}

fn read_footer(file: &mut (impl Read + Seek), length: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(before_end) = length.checked_sub(END as u64) else { return Ok(None) };
    file.seek(SeekFrom::Start(before_end))?;
    let mut end = [0; END];
    file.read_exact(&mut end)?;
    let (size, magic) = end.split_at(4);
    let size: [u8; 4] = size.try_into().unwrap_or_default();
    let size = u32::from_le_bytes(size);
    let start = match before_end.checked_sub(size.into()) {
        Some(start) if magic == MAGIC => start,
        _ => return Ok(None),
    };
    file.seek(SeekFrom::Start(start))?;
    let mut footer = vec![0; size as usize];
    file.read_exact(&mut footer)?;
    Ok(Some(footer))
}

/// Thrift's compact protocol, without any meaning.
struct Walk<'a> {
    rest: &'a [u8],
    /// How many booleans collections may still claim.
    booleans: u64,
}

impl Walk<'_> {
    fn byte(&mut self) -> Result<u8, Stop> {
        let (first, rest) = self.rest.split_first().ok_or(Stop::Malformed)?;
        self.rest = rest;
        Ok(*first)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Stop> {
        let bytes = usize::try_from(bytes).map_err(|_| Stop::Malformed)?;
        self.rest = self.rest.get(bytes..).ok_or(Stop::Malformed)?;
        Ok(())
    }

    fn number(&mut self) -> Result<u64, Stop> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Stop::Malformed)
    }

    fn signed(&mut self) -> Result<i64, Stop> {
        let number = self.number()?;
        // Zigzag: the sign is the lowest bit.
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A page header: how many bytes of the page follow it.
    fn page(&mut self) -> Result<u64, Stop> {
        let (mut field, mut size) = (0_i64, None);
        loop {
            let header = self.byte()?;
            let kind = header & 0x0f;
            if kind == 0 {
                return size.ok_or(Stop::Malformed);
            }
            field = match header >> 4 {
                0 => self.signed()?,
                step => field.saturating_add(step.into()),
            };
            if (field, kind) == (PAGE_SIZE_FIELD, I32) {
                let bytes = self.signed()?;
                size = Some(u64::try_from(bytes).map_err(|_| Stop::Malformed)?);
            } else {
                self.value(kind, DEPTH_MAX)?;
            }
        }
    }

    /// Fields up to the end of a structure.
    fn structure(&mut self, depth: usize) -> Result<(), Stop> {
        loop {
            let header = self.byte()?;
            if header & 0x0f == 0 {
                return Ok(());
            }
            // The number of a field that is no small step from the one before.
            if header >> 4 == 0 {
                self.number()?;
            }
            self.value(header & 0x0f, depth)?;
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Result<(), Stop> {
        let depth = depth.checked_sub(1).ok_or(Stop::Malformed)?;
        match kind {
            1 | 2 => Ok(()),
            3 => self.skip(1),
            4..=6 => self.number().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.number()?;
                self.skip(length)
            }
            9 | 10 => {
                let header = self.byte()?;
                let count = match header >> 4 {
                    15 => self.number()?,
                    count => count.into(),
                };
                self.elements(&[header & 0x0f], count, depth)
            }
            11 => match self.number()? {
                0 => Ok(()),
                count => {
                    let kinds = self.byte()?;
                    self.elements(&[kinds >> 4, kinds & 0x0f], count, depth)
                }
            },
            12 => self.structure(depth),
            13 => self.skip(16),
            _ => Err(Stop::Malformed),
        }
    }

    /// `count` times a value of each of `kinds`.
    fn elements(&mut self, kinds: &[u8], count: u64, depth: usize) -> Result<(), Stop> {
        if kinds.iter().all(|kind| matches!(kind, 1 | 2)) {
            // They take no bytes, to the library.
            self.booleans = self.booleans.checked_sub(count).ok_or(Stop::Endless)?;
            return Ok(());
        }
        for _ in 0..count {
            for kind in kinds {
                self.value(*kind, depth)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn is_bounded_footer(footer: &[u8]) -> bool {
        let size = u32::try_from(footer.len()).unwrap().to_le_bytes();
        let mut file = Cursor::new([MAGIC, footer, &size, MAGIC].concat());
        let bounded = is_bounded(&mut file).unwrap();
        assert_eq!(file.position(), 0);
        bounded
    }

    #[test]
    fn booleans_without_end_are_noticed_wherever_they_are() {
        let endless = [0xf9, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07];
        assert!(!is_bounded_footer(&[&endless[..], &[0]].concat()));
        // As a set, as a map, in a list of structures, behind fields of every other kind.
        assert!(!is_bounded_footer(&[0xfa, 0xf2, 0xff, 0xff, 0x07, 0]));
        assert!(!is_bounded_footer(&[0xfb, 0xff, 0xff, 0x07, 0x12, 0]));
        assert!(!is_bounded_footer(&[&[0x19, 0x2c, 0x15, 0x02, 0x00], &endless[..]].concat()));
        let others = [
            &[0x11, 0x12, 0x13, 0x55, 0x14, 0x80, 0x01, 0x05, 0x02, 0x02][..],
            &[0x17, 1, 2, 3, 4, 5, 6, 7, 8, 0x18, 2, b'a', b'b', 0x19, 0x00, 0x1b, 0x00],
            &[0x1b, 0x01, 0x58, 0x02, 0x01, b'a', 0x1c, 0x11, 0x00, 0x1d],
            &[0; 16],
        ]
        .concat();
        assert!(!is_bounded_footer(&[&others, &endless[..]].concat()));
        assert!(is_bounded_footer(&[&others, &[0][..]].concat()));
        // Many small ones are as much.
        let small: Vec<u8> = [0x19, 0xe1].repeat(100);
        assert!(!is_bounded_footer(&small));
        assert!(is_bounded_footer(&[0x19, 0x21, 0]));
    }

    #[test]
    fn page_headers_are_followed_to_the_end_of_their_column() {
        // Type 0, 9 bytes uncompressed, 3 bytes here; then a structure that nobody needs.
        let sound =
            [&[0x15, 0x00, 0x15, 0x12, 0x15, 0x06, 0x2c, 0x15, 0x02, 0, 0][..], b"abc"].concat();
        // In a field that the library does not know: a list of booleans without end.
        let endless = [0x15, 0x00, 0x15, 0x12, 0x15, 0x06, 0x69, 0xf1, 0xff, 0xff, 0x07, 0];
        let pages = |parts: &[&[u8]], length: Option<u64>| {
            let bytes = [&[MAGIC], parts].concat().concat();
            let length = length.unwrap_or(bytes.len() as u64 - 4);
            are_pages_whole(&mut Cursor::new(bytes), 4, length).unwrap()
        };
        assert!(pages(&[&sound, &sound], None));
        assert!(!pages(&[&endless], None));
        assert!(!pages(&[&sound, &sound, &endless], None));
        // Behind the column's end nobody looks.
        assert!(pages(&[&sound, &endless], Some(sound.len() as u64)));
        // Field numbers that are no small steps, and a header that is longer than the first look.
        let long = vec![b'x'; 20_000];
        let text = [&[0x08, 0x16, 0xa0, 0x9c, 0x01][..], &long].concat();
        let late = [&text[..], &[0x05, 0x06, 0x06, 0], b"abc"].concat();
        assert!(pages(&[&late, &late], None));
        assert!(!pages(&[&late, &endless], None));
        // Headers that are cut, have no size or one below zero, or hold what is no type.
        for other in [&[0x15][..], &[0x15, 0x00, 0], &[0x05, 0x06, 0x05, 0], &[0x1f]] {
            assert!(!pages(&[other], None), "{other:?}");
        }
        // Numbers of eight bytes, far more of them than the file has.
        assert!(!pages(
            &[&[0x15, 0x00, 0x15, 0x12, 0x15, 0x06, 0x69, 0xf7, 0xff, 0xff, 0x07]],
            None
        ));
        assert!(pages(&[], None));
    }

    #[test]
    fn other_damage_is_left_to_the_library() {
        let deep = [0x1c; 100_000];
        for footer in [&b""[..], &[0x1f], &[0x18, 9, 1], &[0x19, 0xfc, 0xff, 0xff, 0x07], &deep] {
            assert!(is_bounded_footer(footer));
        }
        for file in [&b""[..], b"PAR1", b"\xff\xff\xff\xffPAR1", b"\0\0\0\0PARE"] {
            assert!(is_bounded(&mut Cursor::new(file)).unwrap());
        }
    }
}
