//! JSON strings as Spark writes them.

/// Appends `text` in double quotes, escaping what JSON requires and nothing else.
pub(crate) fn push_quoted(text: &str, out: &mut String) {
    push_escaped(text, false, out);
}

/// As [`push_quoted`], with characters outside ASCII as `\uXXXX` if `ascii` is set.
pub(crate) fn push_escaped(text: &str, ascii: bool, out: &mut String) {
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
            c if c < ' ' || (ascii && !c.is_ascii()) => None,
            _ => continue,
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
