//! Error codes, found where they are made.

use crate::rust_source::without_test_modules;
use crate::workspace::File;
use regex::Regex;
use std::collections::BTreeMap;

/// A code, the kind it is made with, and the crate that makes it.
pub type Codes = BTreeMap<String, String>;

/// Every error code that the product makes, with the name of its kind where the place says it.
///
/// # Errors
/// A sentence where a pattern cannot be read.
pub fn codes(sources: &[File]) -> Result<Codes, String> {
    let made = Regex::new(
        r#"(?:Error|Self)::(invalid|corrupt|unavailable|new)\(\s*(?:(?:\w+::)*ErrorKind::(\w+),\s*)?"([A-Z][A-Z0-9_.]+)""#,
    )
    .map_err(|e| e.to_string())?;
    let mut found = Codes::new();
    for file in sources {
        for place in made.captures_iter(&without_test_modules(&file.text)) {
            let kind = place.get(2).map_or(&place[1], |m| m.as_str()).to_ascii_lowercase();
            found.insert(place[3].to_owned(), kind);
        }
    }
    Ok(found)
}

/// The codes that `page` has no entry for; an entry is a table row or heading with the code in
/// backticks.
pub fn undocumented(codes: &Codes, page: &str) -> Vec<String> {
    codes.keys().filter(|code| !page.contains(&format!("`{code}`"))).cloned().collect()
}
