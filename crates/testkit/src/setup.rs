//! Where the parts lie that a test run needs, and what to do when they are missing.

use millstream_core::Error;
use std::path::PathBuf;

/// The cache of jars and wheels: `MILLSTREAM_CACHE`, or `.cache/millstream` in the home directory.
pub fn cache_dir() -> PathBuf {
    match std::env::var_os("MILLSTREAM_CACHE").filter(|v| !v.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => {
            let home = std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into());
            PathBuf::from(home).join(".cache/millstream")
        }
    }
}

/// The root of the source tree.
pub fn repository_root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the crate lies two levels below the root").to_path_buf()
}

/// Whether a missing real part is a failure.
pub fn require_real() -> bool {
    let set = |name: &str, value: &str| std::env::var(name).is_ok_and(|v| v == value);
    set("MILLSTREAM_REQUIRE_REAL", "1") || set("CI", "true")
}

/// The value, or a loud SKIP and `None`; panics where real parts are required.
pub fn skip_or_fail<T>(what: &str, found: Result<T, Error>) -> Option<T> {
    match found {
        Ok(value) => Some(value),
        Err(error) if error.code() != "TEST_PART_MISSING" || require_real() => {
            panic!("{what}: {error}")
        }
        Err(error) => {
            eprintln!("\n*** SKIP: {what} is not tested here ***\n    {error}\n");
            None
        }
    }
}

pub(crate) fn missing(what: impl Into<String>) -> Error {
    Error::unavailable("TEST_PART_MISSING", what).cure("Run scripts/setup-tests.sh.")
}
