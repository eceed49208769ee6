//! The book's list of functions is made from the catalogue.

use std::fmt::Write;
use std::path::PathBuf;

use millstream_functions::{FunctionInfo, documentation};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/book/src/functions.md")
}

fn page(functions: &[FunctionInfo]) -> String {
    let mut page = String::from(
        "# Functions\n\n\
         The scalar functions of Millstream SQL. Names, arguments and answers are Spark's; where \
         an answer is known to differ, `tests/oracle/known_differences.txt` says so.\n\n\
         This page is generated from the catalogue in `crates/functions`. To write it anew: \
         `MILLSTREAM_WRITE_BOOK=1 cargo test --release -p millstream-functions --test oracle book`.\n",
    );
    let mut group = "";
    for function in functions {
        if function.group != group {
            group = function.group;
            let _ = write!(page, "\n## {group}\n\n");
        }
        let _ = write!(page, "- `{}`", function.name);
        if !function.aliases.is_empty() {
            let names: Vec<String> = function.aliases.iter().map(|a| format!("`{a}`")).collect();
            let _ = write!(page, " (also {})", names.join(", "));
        }
        page.push('\n');
    }
    page
}

#[test]
fn book_lists_every_function() {
    let wanted = page(&documentation());
    if std::env::var_os("MILLSTREAM_WRITE_BOOK").is_some() {
        std::fs::write(path(), &wanted).unwrap();
    }
    let written = std::fs::read_to_string(path()).unwrap();
    assert_eq!(written, wanted, "docs/book/src/functions.md is not in step with the catalogue");
}
