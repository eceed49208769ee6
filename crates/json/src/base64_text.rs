//! Base64 as Spark's JSON parser reads it: padding is required, white space may stand between
//! groups, and groups may follow a padded one.

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
