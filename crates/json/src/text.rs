//! JSON strings as Spark writes them, and the UTF-16 units of their escapes.

/// Which characters are written as `\uXXXX`, beyond those that JSON requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escapes {
    None,
    /// Those that UTF-16 writes as two units: what one of Spark's two writers does.
    Supplementary,
    NonAscii,
}

/// Appends `text` in double quotes.
pub(crate) fn push_quoted(text: &str, escapes: Escapes, out: &mut String) {
    out.push('"');
    let mut clean = 0;
    for (at, c) in text.char_indices() {
        let escape = match c {
            '"' => Some("\\\""),
            '\\' => Some("\\\\"),
            '\u{8}' => Some("\\b"),
            '\t' => Some("\\t"),
            '\n' => Some("\\n"),
            '\u{c}' => Some("\\f"),
            '\r' => Some("\\r"),
            c if c < ' ' => None,
            c if c.is_ascii() || escapes == Escapes::None => continue,
            c if escapes == Escapes::Supplementary && c <= '\u{ffff}' => continue,
            _ => None,
        };
        out.push_str(text.get(clean..at).unwrap_or_default());
        clean = at + c.len_utf8();
        match escape {
            Some(escape) => out.push_str(escape),
            None => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04X}"));
                }
            }
        }
    }
    out.push_str(text.get(clean..).unwrap_or_default());
    out.push('"');
}

/// Puts UTF-16 units together. A surrogate without its partner becomes a question mark, as when
/// Java encodes it.
#[derive(Default)]
pub(crate) struct Units {
    high: Option<u32>,
}

impl Units {
    pub(crate) fn push(&mut self, unit: u32, text: &mut String) {
        match (self.high, unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                self.high = None;
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (unit - 0xdc00);
                text.push(char::from_u32(code).unwrap_or('?'));
            }
            (_, 0xd800..=0xdbff) => {
                self.flush(text);
                self.high = Some(unit);
            }
            _ => {
                self.flush(text);
                text.push(char::from_u32(unit).unwrap_or('?'));
            }
        }
    }

    pub(crate) fn flush(&mut self, text: &mut String) {
        if self.high.take().is_some() {
            text.push('?');
        }
    }
}
