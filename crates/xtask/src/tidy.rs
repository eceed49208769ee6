//! Style as checks: each returns one sentence for each place that breaks a rule.

use crate::rust_source::{blank, functions, without_test_modules};
use crate::workspace::File;
use regex::Regex;
use std::collections::BTreeMap;

/// Longest function without an exception.
pub const FUNCTION_LINES_MAX: usize = 70;
/// Longest file of product lines without an exception.
pub const FILE_LINES_MAX: usize = 600;
/// Share of functions that may be exceptions.
pub const EXCEPTIONS_PER_CENT_MAX: usize = 1;

/// Exceptions with reasons: `path` or `path::function`, to the reason.
#[derive(Debug, Default)]
pub struct Exceptions(BTreeMap<String, String>);

impl Exceptions {
    /// Reads `tidy.allow`: one `place: reason` on a line, `#` starts a comment.
    ///
    /// # Errors
    /// A sentence for a line without a reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut map = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            match line.split_once(": ") {
                Some((place, reason)) if !reason.trim().is_empty() => {
                    map.insert(place.trim().to_owned(), reason.trim().to_owned());
                }
                _ => return Err(format!("`{line}` gives no reason")),
            }
        }
        Ok(Exceptions(map))
    }

    fn allows(&self, place: &str) -> bool {
        self.0.contains_key(place)
    }

    /// Exceptions that nothing needs.
    pub fn unused(&self, files: &[File]) -> Vec<String> {
        let strict = Exceptions::default();
        let needed: Vec<String> =
            long_functions(files, &strict).into_iter().chain(long_files(files, &strict)).collect();
        self.0
            .keys()
            .filter(|place| !needed.iter().any(|n| n.starts_with(&format!("{place} "))))
            .map(|place| format!("{place} needs no exception"))
            .collect()
    }
}

/// Functions that are too long.
pub fn long_functions(files: &[File], exceptions: &Exceptions) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for function in functions(&without_test_modules(&file.text)) {
            let place = format!("{}::{}", file.path, function.name);
            if function.lines > FUNCTION_LINES_MAX && !exceptions.allows(&place) {
                found.push(format!("{place} takes {} lines", function.lines));
            }
        }
    }
    found
}

/// Number of functions with bodies.
pub fn count_functions(files: &[File]) -> usize {
    files.iter().map(|f| functions(&without_test_modules(&f.text)).len()).sum()
}

/// Files whose product lines are too many.
pub fn long_files(files: &[File], exceptions: &Exceptions) -> Vec<String> {
    let too_long = |file: &File| {
        let lines =
            without_test_modules(&file.text).lines().filter(|l| !l.trim().is_empty()).count();
        (lines > FILE_LINES_MAX && !exceptions.allows(&file.path))
            .then(|| format!("{} has {lines} product lines", file.path))
    };
    files.iter().filter_map(too_long).collect()
}

/// Files without a `//!` header before their first item.
pub fn missing_headers(files: &[File]) -> Vec<String> {
    let headed = |text: &str| {
        text.lines()
            .map(str::trim)
            .find(|l| !l.is_empty() && !l.starts_with("#!["))
            .is_some_and(|l| l.starts_with("//!"))
    };
    let missing = files.iter().filter(|f| !headed(&f.text));
    missing.map(|f| format!("{} has no module header", f.path)).collect()
}

/// Unfinished or unreachable work, and tests that are switched off.
pub fn unfinished(files: &[File]) -> Vec<String> {
    // Split, so that this file does not name what it looks for.
    let words: Vec<String> = [("TO", "DO"), ("FIX", "ME"), ("#[ign", "ore"), ("todo", "!(")]
        .iter()
        .chain(&[("unimplemented", "!(")])
        .map(|(a, b)| format!("{a}{b}"))
        .collect();
    places(files, |line| words.iter().find(|w| line.contains(w.as_str())).cloned())
}

/// Paths that exist on one machine only.
pub fn machine_paths(files: &[File]) -> Vec<String> {
    let Ok(pattern) = Regex::new(r#"(^|[\s"'`(=])/(home|root|work|Users)/[\w.]"#) else {
        return vec!["the pattern of machine paths cannot be read".to_owned()];
    };
    places(files, |line| pattern.find(line).map(|m| m.as_str().trim().to_owned()))
}

fn places(files: &[File], test: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(what) = test(line) {
                found.push(format!("{}:{}: {what}", file.path, number + 1));
            }
        }
    }
    found
}

/// Promises of GUARANTEES.md without a test, and tests it names that do not exist.
///
/// A promise is a table row; it names tests as `` `path/to/file.rs::function` ``, or a script by its
/// path alone.
pub fn broken_promises(guarantees: &str, sources: &[File]) -> Vec<String> {
    let Ok(named) = Regex::new(r"`([\w./-]+\.(?:rs|py|sh))(?:::(\w+))?`") else {
        return vec!["the pattern of test names cannot be read".to_owned()];
    };
    let rows = guarantees.lines().filter(|l| l.starts_with("| G"));
    let mut found = Vec::new();
    for row in rows {
        let label = row.split('|').nth(1).unwrap_or_default().trim();
        let mut tests = 0;
        for test in named.captures_iter(row) {
            tests += 1;
            let (path, function) = (&test[1], test.get(2).map(|m| m.as_str()));
            if !test_exists(sources, path, function) {
                found.push(format!("{label} names {}, which is no test", &test[0]));
            }
        }
        if tests == 0 {
            found.push(format!("{label} names no test"));
        }
    }
    found
}

/// In Rust, a function that the test runner calls; in Python and in the shell, a function that is
/// defined, or a whole script where those of tests and campaigns lie.
fn test_exists(sources: &[File], path: &str, function: Option<&str>) -> bool {
    let Some(file) = sources.iter().find(|f| f.path == path) else { return false };
    let is_rust = path.ends_with(".rs");
    match function {
        None => !is_rust && (path.starts_with("tests/") || path.starts_with("scripts/")),
        Some(function) if is_rust => is_rust_test(&blank(&file.text), function),
        Some(function) => {
            let forms = [format!("def {function}("), format!("{function}() {{")];
            file.text.lines().any(|line| forms.iter().any(|f| line.starts_with(f.as_str())))
        }
    }
}

/// Whether `code`, without comments and literals, defines `function` under `#[test]` or
/// `#[tokio::test]`. In `proptest!` such an attribute stands above each function as well.
fn is_rust_test(code: &str, function: &str) -> bool {
    let definition = format!("fn {function}(");
    let mut places = code.match_indices(definition.as_str());
    places.any(|(at, _)| attributes_before(&code[..at]).any(is_test_attribute))
}

fn is_test_attribute(attribute: &str) -> bool {
    let path = attribute.split('(').next().unwrap_or_default().trim();
    path == "test" || path == "tokio::test"
}

/// What stands in the attributes `#[..]` at the end of `code`, before the words in front of a `fn`.
fn attributes_before(code: &str) -> impl Iterator<Item = &str> {
    let mut rest = code.trim_end();
    for word in ["async", "pub"] {
        rest = rest.strip_suffix(word).unwrap_or(rest).trim_end();
    }
    std::iter::from_fn(move || {
        let inside = rest.strip_suffix(']')?;
        let start = inside.rfind("#[")?;
        rest = rest[..start].trim_end();
        Some(&inside[start + 2..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    #[test]
    fn a_long_function_is_named_unless_excepted() {
        let body = "x();\n".repeat(70);
        let files = [file("a.rs", &format!("fn long() {{\n{body}}}\nfn short() {{}}\n"))];
        assert_eq!(long_functions(&files, &Exceptions::default()), ["a.rs::long takes 72 lines"]);
        let excepted = Exceptions::parse("# c\na.rs::long: a table").unwrap();
        assert!(long_functions(&files, &excepted).is_empty());
        assert!(excepted.unused(&files).is_empty());
        let useless = Exceptions::parse("a.rs::short: a table").unwrap();
        assert_eq!(useless.unused(&files), ["a.rs::short needs no exception"]);
        assert!(Exceptions::parse("a.rs::long").is_err());
    }

    #[test]
    fn headers_may_follow_attributes() {
        let files = [file("a.rs", "#![allow(x)]\n//! A.\n"), file("b.rs", "use a;\n//! B.\n")];
        assert_eq!(missing_headers(&files), ["b.rs has no module header"]);
    }

    #[test]
    fn promises_need_tests_that_exist() {
        let text = "\
            #[test]\nfn holds() {}\n// #[test] fn commented() {}\n\
            #[tokio::test(flavor = \"multi_thread\", worker_threads = 2)]\n\
            #[allow(clippy::panic)]\nasync fn waits() {}\n\
            proptest! { #![proptest_config(with_cases(8))]\n\
            /// Any.\n#[test]\nfn any(x in 0..9) {}\n}\n\
            fn helper() { called(); }\n#[test]\nfn other() {}\nfn behind_a_test() {}\n\
            #[cfg(test)]\nfn seldom() {}\n";
        let script = "walk() { :; }\n  walk\n";
        let sources = [file("t/a.rs", text), file("tests/all.sh", script), file("a.sh", script)];
        let found = |named: &str| broken_promises(&format!("| G1 | x | {named} |\n"), &sources);
        for named in ["`t/a.rs::holds`", "`t/a.rs::waits`", "`t/a.rs::any`", "`tests/all.sh`"] {
            assert!(found(named).is_empty(), "{named}");
        }
        assert!(found("`tests/all.sh::walk`").is_empty());
        for function in ["commented", "called", "helper", "behind_a_test", "seldom", "gone"] {
            let named = format!("`t/a.rs::{function}`");
            assert_eq!(found(&named), [format!("G1 names {named}, which is no test")]);
        }
        for named in ["`t/a.rs`", "`a.sh`", "`tests/gone.sh`", "`tests/all.sh::run`"] {
            assert_eq!(found(named), [format!("G1 names {named}, which is no test")]);
        }
        assert_eq!(found(""), ["G1 names no test"]);
    }
}
