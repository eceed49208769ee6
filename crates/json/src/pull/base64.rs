//! Base64 as Spark's JSON parser reads it: padding is required, white space may stand between
//! groups, and groups may follow a padded one.

use super::{Pull, Scan};

/// Part of a string of base64.
enum Symbol {
    Bits(u32),
    Padding,
    Blank,
    Quote,
}

const NOT_BASE64: &str = "the string is not base64";

impl Pull<'_> {
    /// The bytes of a string of base64.
    ///
    /// A string in double quotes is decoded while it is read. If that fails, the rest of the
    /// string is still to be read; where the failure was the closing quote itself, what follows
    /// in the document is taken for that rest.
    pub(crate) fn bytes(&mut self) -> Scan<Vec<u8>> {
        if !self.unread {
            return match decode(&self.text) {
                Some(bytes) => Ok(bytes),
                None => self.fail(NOT_BASE64),
            };
        }
        let mut out = Vec::new();
        loop {
            let mut bits = match self.symbol(true)? {
                Symbol::Blank => continue,
                Symbol::Quote => {
                    self.unread = false;
                    return Ok(out);
                }
                Symbol::Bits(bits) => bits,
                Symbol::Padding => return self.fail(NOT_BASE64),
            };
            let Symbol::Bits(second) = self.symbol(false)? else { return self.fail(NOT_BASE64) };
            bits = bits << 6 | second;
            let mut count = 2;
            while count < 4 {
                match self.symbol(false)? {
                    Symbol::Bits(next) => bits = bits << 6 | next,
                    Symbol::Padding if count == 3 => break,
                    Symbol::Padding => match self.symbol(false)? {
                        Symbol::Padding => break,
                        _ => return self.fail(NOT_BASE64),
                    },
                    _ => {
                        self.at -= 1;
                        return self.fail(NOT_BASE64);
                    }
                }
                count += 1;
            }
            let [_, bytes @ ..] = (bits << (6 * (4 - count))).to_be_bytes();
            out.extend(bytes.into_iter().take(count - 1));
        }
    }

    fn symbol(&mut self, first: bool) -> Scan<Symbol> {
        let byte = match self.take() {
            None => return self.fail("the string is not closed"),
            Some(b'"') => return Ok(Symbol::Quote),
            Some(b'\\') => u8::try_from(self.escape()?).unwrap_or(0xff),
            Some(byte) => byte,
        };
        match sextet(byte) {
            Some(bits) => Ok(Symbol::Bits(bits)),
            None if byte == b'=' => Ok(Symbol::Padding),
            None if byte <= b' ' && first => Ok(Symbol::Blank),
            None => self.fail(NOT_BASE64),
        }
    }
}

/// The bytes, or `None` if the text is not base64 in that form.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes().peekable();
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    loop {
        while bytes.peek().is_some_and(|b| *b <= b' ') {
            bytes.next();
        }
        let Some(first) = bytes.next() else { return Some(out) };
        let mut bits = sextet(first)?;
        bits = bits << 6 | sextet(bytes.next()?)?;
        let third = bytes.next()?;
        if third == b'=' {
            if bytes.next()? != b'=' {
                return None;
            }
            out.extend([low_byte(bits >> 4)]);
            continue;
        }
        bits = bits << 6 | sextet(third)?;
        let fourth = bytes.next()?;
        if fourth == b'=' {
            out.extend([low_byte(bits >> 10), low_byte(bits >> 2)]);
            continue;
        }
        bits = bits << 6 | sextet(fourth)?;
        out.extend([low_byte(bits >> 16), low_byte(bits >> 8), low_byte(bits)]);
    }
}

fn low_byte(bits: u32) -> u8 {
    (bits & 0xff) as u8
}

/// The six bits of a character.
fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}
