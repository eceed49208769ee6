//! Documents that are generated from the code, and the check that they are in step.
//!
//! A page may be generated in parts: what stands between `<!-- generated: NAME -->` and
//! `<!-- end -->` is replaced, the rest is written by hand.

use crate::errors;
use crate::workspace::product_sources;
use millstream::session::SETTINGS;
use millstream::{DELTA_OPTIONS, WRITER_OPTIONS};
use millstream_core::options::OptionSpec;
use millstream_json::{FROM_JSON_OPTIONS, TO_JSON_OPTIONS};
use millstream_kafka::{CLIENT_KEYS, SOURCE_OPTIONS};
use std::path::Path;

/// A generated part of a page.
struct Part {
    page: &'static str,
    name: &'static str,
    text: String,
}

fn parts(root: &Path) -> Result<Vec<Part>, String> {
    let codes = errors::codes(&product_sources(root))?;
    let tables = [
        ("kafka source", SOURCE_OPTIONS),
        ("kafka client", CLIENT_KEYS),
        ("from_json", FROM_JSON_OPTIONS),
        ("to_json", TO_JSON_OPTIONS),
        ("writer", WRITER_OPTIONS),
        ("delta writer", DELTA_OPTIONS),
        ("settings", SETTINGS),
    ];
    let mut parts: Vec<Part> = tables
        .map(|(name, specs)| Part {
            page: "docs/book/src/options.md",
            name,
            text: option_table(specs),
        })
        .into();
    let text = errors::table(&codes);
    parts.push(Part { page: "docs/book/src/errors.md", name: "codes", text });
    Ok(parts)
}

fn option_table(specs: &[OptionSpec]) -> String {
    let mut out = String::from("| option | where | default | meaning |\n|---|---|---|---|\n");
    for spec in specs {
        let default =
            if spec.default.is_empty() { String::new() } else { format!("`{}`", spec.default) };
        let meaning = escaped(spec.meaning);
        let secret = if spec.secret { " A secret: never stored or printed." } else { "" };
        out.push_str(&format!(
            "| `{}` | {} | {default} | {meaning}{secret} |\n",
            spec.name, spec.scope
        ));
    }
    out
}

/// Text for a table cell. Between backticks a page shows what is written.
fn escaped(text: &str) -> String {
    let part = |(at, part): (usize, &str)| match at % 2 {
        0 => part.replace('|', "\\|").replace('<', "&lt;"),
        _ => part.replace('|', "\\|"),
    };
    text.split('`').enumerate().map(part).collect::<Vec<_>>().join("`")
}

/// Writes every generated part.
///
/// # Errors
/// A sentence where a page cannot be read or written.
pub fn write_all(root: &Path) -> Result<(), String> {
    for part in parts(root)? {
        let path = root.join(part.page);
        let old = read(&path)?;
        let new = with_part(&old, &part)?;
        if new != old {
            std::fs::write(&path, new).map_err(|e| format!("{}: {e}", part.page))?;
        }
    }
    Ok(())
}

/// Compares every generated part with the code.
///
/// # Errors
/// The names of those that differ.
pub fn check_all(root: &Path) -> Result<(), String> {
    let mut stale = Vec::new();
    for part in parts(root)? {
        let page = read(&root.join(part.page))?;
        if with_part(&page, &part)? != page {
            stale.push(format!("{} ({})", part.page, part.name));
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!("out of step: {}; run `cargo run -p xtask -- generate`", stale.join(", ")))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn with_part(page: &str, part: &Part) -> Result<String, String> {
    let missing = || format!("{} has no place for `{}`", part.page, part.name);
    let open = format!("<!-- generated: {} -->\n", part.name);
    let start = page.find(&open).ok_or_else(missing)? + open.len();
    let end = start + page[start..].find("<!-- end -->").ok_or_else(missing)?;
    Ok(format!("{}\n{}\n{}", &page[..start], part.text, &page[end..]))
}
