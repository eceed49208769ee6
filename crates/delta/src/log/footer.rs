//! A look at the footer of a Parquet file before the library decodes it. What the library skips
//! there may claim to be two thousand million booleans, which take no byte each: a file of twenty
//! bytes keeps it busy for seconds, one of a thousand for hours.

use std::io::{self, Read, Seek, SeekFrom};

/// What follows the footer: its length and the magic bytes.
const END: usize = 8;
const MAGIC: &[u8] = b"PAR1";
/// Structures in structures; the library refuses less.
const DEPTH_MAX: usize = 80;

/// Why a footer is looked at no further.
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
