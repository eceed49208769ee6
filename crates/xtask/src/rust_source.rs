//! A little lexing of Rust: enough to find functions, their lengths and test modules, without a
//! parser. Comments and literals are blanked first, so that braces in them do not count.

/// `source` with the content of comments, strings and characters replaced by spaces; lines and
/// columns stay where they are.
pub fn blank(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end > at {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// End of the comment or literal that starts at `at`; `at` itself where none starts there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = |n: usize| chars.get(at + n).copied().unwrap_or('\0');
    let after_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match (chars[at], next(1)) {
        ('/', '/') => find(chars, at, '\n'),
        ('/', '*') => block_comment_end(chars, at),
        ('"', _) => string_end(chars, at + 1),
        ('r', '"' | '#') if !after_word => raw_string_end(chars, at + 1).unwrap_or(at),
        ('b', 'r') if !after_word => raw_string_end(chars, at + 2).unwrap_or(at),
        ('\'', '\\') => char_end(chars, at + 3),
        ('\'', _) if next(2) == '\'' => at + 3,
        _ => at,
    }
}

fn find(chars: &[char], from: usize, wanted: char) -> usize {
    chars[from..].iter().position(|c| *c == wanted).map_or(chars.len(), |n| from + n)
}

fn char_end(chars: &[char], from: usize) -> usize {
    (find(chars, from.min(chars.len()), '\'') + 1).min(chars.len())
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars.get(at..)?.iter().take_while(|c| **c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let mut from = at + hashes + 1;
    loop {
        let quote = find(chars, from, '"');
        if quote >= chars.len() {
            return Some(chars.len());
        }
        let closing = chars[quote + 1..].iter().take(hashes).take_while(|c| **c == '#').count();
        if closing == hashes {
            return Some(quote + 1 + hashes);
        }
        from = quote + 1;
    }
}

fn block_comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') if depth == 1 => return at + 2,
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    chars.len()
}

/// `source` without its inline test modules; their lines become empty.
pub fn without_test_modules(source: &str) -> String {
    let blanked = blank(source);
    let mut keep = vec![true; source.lines().count()];
    let mut from = 0;
    while let Some(found) = blanked[from..].find("#[cfg(test)]") {
        let start = from + found;
        let end = item_end(&blanked, start);
        let (first, last) = (line_of(&blanked, start), line_of(&blanked, end));
        for slot in keep.iter_mut().take(last + 1).skip(first) {
            *slot = false;
        }
        from = end.max(start + 1);
    }
    source
        .lines()
        .zip(keep)
        .map(|(line, keep)| if keep { line } else { "" })
        .collect::<Vec<_>>()
        .join("\n")
}

/// A function and the number of lines from its `fn` to its closing brace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Line of its `fn`, from 1.
    pub line: usize,
    /// Lines it takes.
    pub lines: usize,
}

/// The functions with bodies in `source`.
pub fn functions(source: &str) -> Vec<Function> {
    let blanked = blank(source);
    let mut found = Vec::new();
    for (at, _) in blanked.match_indices("fn ") {
        let before = blanked[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let name: String =
            blanked[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name.is_empty() {
            continue;
        }
        let end = item_end(&blanked, at);
        if blanked.as_bytes().get(end) == Some(&b'}') {
            let (first, last) = (line_of(&blanked, at), line_of(&blanked, end));
            found.push(Function { name, line: first + 1, lines: last - first + 1 });
        }
    }
    found
}

/// Index of the `;` or of the closing `}` that ends the item starting at `start`.
fn item_end(blanked: &str, start: usize) -> usize {
    let (mut braces, mut parens) = (0i32, 0i32);
    for (n, c) in blanked[start..].char_indices() {
        match c {
            '{' => braces += 1,
            '(' | '[' => parens += 1,
            ')' | ']' => parens -= 1,
            '}' if braces == 1 => return start + n,
            '}' => braces -= 1,
            ';' if braces == 0 && parens == 0 => return start + n,
            _ => (),
        }
    }
    blanked.len().saturating_sub(1)
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_in_literals_and_comments_do_not_count() {
        let source = "fn a() { let _ = \"}\"; // }\n /* } /* } */ */ let _ = ('{', r#\"}\"#); }\n";
        let found = functions(source);
        assert_eq!(found, [Function { name: "a".into(), line: 1, lines: 2 }]);
    }

    #[test]
    fn lifetimes_are_no_characters() {
        let source = "fn a<'a>(x: &'a str) -> &'a str {\n x\n}\nfn b() {}\n";
        let names: Vec<_> = functions(source).into_iter().map(|f| (f.name, f.lines)).collect();
        assert_eq!(names, [("a".to_owned(), 3), ("b".to_owned(), 1)]);
    }

    #[test]
    fn declarations_have_no_length() {
        let source = "trait T { fn a(&self) -> [u8; 2]; fn b(&self) {\n}\n}";
        let names: Vec<_> = functions(source).into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["b"]);
    }

    #[test]
    fn test_modules_are_cut_out() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\nfn c() {}";
        let names: Vec<_> =
            functions(&without_test_modules(source)).into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["a", "c"]);
        let source = "#[cfg(test)]\nmod tests;\nfn c() {}";
        assert_eq!(without_test_modules(source), "\n\nfn c() {}");
    }
}
