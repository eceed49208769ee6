//! Where the parts lie that a test run needs, and what to do when they are missing.

use millstream_core::Error;
use std::path::{Path, PathBuf};

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

/// The program that Cargo made of an example of the package in `manifest_dir`. It lies beside the
/// test that runs: Cargo builds examples together with all tests of their package, and not for one
/// test that is picked with `--test`.
///
/// # Errors
/// `TEST_PART_MISSING` where it was not built since the example was changed.
pub fn example_binary(manifest_dir: &str, name: &str) -> Result<PathBuf, Error> {
    let test = std::env::current_exe().unwrap_or_default();
    let profile = test.ancestors().nth(2).unwrap_or(Path::new("."));
    let program = profile.join("examples").join(name);
    let source = Path::new(manifest_dir).join("examples").join(name).with_extension("rs");
    let changed = |path: &Path| path.metadata().and_then(|m| m.modified());
    match (changed(&program), changed(&source)) {
        (Ok(built), Ok(written)) if built >= written => Ok(program),
        _ => Err(missing(format!("The example `{name}` was not built since it was changed."))
            .cure("Run `cargo test` without `--test`, or build the example.")),
    }
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
