//! The project's own rules as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use xtask::tidy::{self, Exceptions};
use xtask::workspace::{File, files, product_sources, root};
use xtask::{direction, documents, errors};

fn none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

fn exceptions() -> Exceptions {
    let text = std::fs::read_to_string(root().join("crates/xtask/tidy.allow")).unwrap();
    Exceptions::parse(&text).unwrap_or_else(|e| panic!("tidy.allow: {e}"))
}

fn document(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn everything() -> Vec<File> {
    let endings = [".rs", ".md", ".toml", ".sh", ".py", ".sql", ".xml", "run"];
    files(&root(), ".", &endings)
}

#[test]
fn dependencies_keep_their_direction() {
    let dependencies = direction::dependencies(&root()).unwrap();
    none(direction::violations(&dependencies), "a crate depends on what it must not know");
}

#[test]
fn functions_are_short() {
    let sources = product_sources(&root());
    let exceptions = exceptions();
    none(
        tidy::long_functions(&sources, &exceptions),
        "split these, or give a reason in tidy.allow",
    );
    let all = tidy::long_functions(&sources, &Exceptions::default()).len();
    let allowed = tidy::count_functions(&sources) * tidy::EXCEPTIONS_PER_CENT_MAX / 100;
    assert!(all <= allowed, "{all} long functions; {allowed} are allowed");
}

#[test]
fn files_are_one_room_each() {
    none(tidy::long_files(&product_sources(&root()), &exceptions()), "a file is two rooms in one");
}

#[test]
fn exceptions_are_needed() {
    none(exceptions().unused(&product_sources(&root())), "tidy.allow");
}

#[test]
fn modules_say_what_they_are_for() {
    none(tidy::missing_headers(&product_sources(&root())), "add a `//!` header");
}

#[test]
fn nothing_is_left_unfinished() {
    let sources = files(&root(), "crates", &[".rs"]);
    none(tidy::unfinished(&sources), "finish it or take it out");
}

#[test]
fn no_path_of_one_machine_is_named() {
    none(tidy::machine_paths(&everything()), "a path that exists on one machine only");
}

#[test]
fn promises_name_tests_that_exist() {
    let guarantees = document("GUARANTEES.md");
    none(tidy::broken_promises(&guarantees, &everything()), "GUARANTEES.md");
}

#[test]
fn error_codes_are_documented() {
    let codes = errors::codes(&product_sources(&root())).unwrap();
    assert!(codes.len() > 20, "the scan finds the codes");
    let page = document("docs/book/src/errors.md");
    none(errors::undocumented(&codes, &page), "run `cargo run -p xtask -- generate`");
}

#[test]
fn generated_documents_are_in_step() {
    documents::check_all(&root()).unwrap_or_else(|e| panic!("{e}"));
}
