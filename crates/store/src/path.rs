//! Relative paths that cannot leave the root.

use millstream_core::{Error, Result};

/// Longest path accepted, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// Checks a `/`-separated relative path: no empty part, no `.` or `..`, no backslash, no control
/// character, no leading or trailing slash. The empty path is the root directory and is allowed
/// where `directory` is.
///
/// # Errors
/// `STORE_PATH_INVALID`.
pub fn check_path(path: &str) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::invalid("STORE_PATH_INVALID", format!("`{}` {why}.", path.escape_debug())))
    };
    if path.len() > PATH_BYTES_MAX {
        return refuse("is too long for a path");
    }
    for part in path.split('/') {
        if part.is_empty() {
            return refuse("has an empty part");
        }
        if part == "." || part == ".." {
            return refuse("leaves its directory");
        }
        if part.chars().any(|c| c == '\\' || c.is_control()) {
            return refuse("has a character that paths must not have");
        }
    }
    Ok(())
}

/// As [`check_path`], with the root itself allowed as the empty path.
pub(crate) fn check_dir(dir: &str) -> Result<()> {
    if dir.is_empty() { Ok(()) } else { check_path(dir) }
}

/// The name under which a file is written before it gets its own; recognised by
/// [`is_temporary`].
// Nothing is ever found again by this id, so it needs no door of its own.
#[allow(clippy::disallowed_methods)]
pub(crate) fn temporary_name(name: &str) -> String {
    format!(".{name}.{}.tmp", uuid::Uuid::new_v4())
}

/// Whether `name` is a leftover of an interrupted creation: a dot, a name, a UUID and `.tmp`.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.strip_prefix('.')
        .and_then(|n| n.strip_suffix(".tmp"))
        .and_then(|n| n.rsplit_once('.'))
        .is_some_and(|(_, id)| uuid::Uuid::try_parse(id).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for good in ["metadata", "offsets/0", "sources/0/0", "offsets/.0.crc", "a b/ü"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        let long = "x".repeat(PATH_BYTES_MAX + 1);
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\\b", "a\nb", "a\0", &long] {
            assert_eq!(check_path(bad).unwrap_err().code(), "STORE_PATH_INVALID", "{bad:?}");
        }
        assert!(check_dir("").is_ok());
    }

    #[test]
    fn temporary_names_are_recognised_and_nothing_else() {
        assert!(is_temporary(&temporary_name("0")));
        assert!(is_temporary(&temporary_name("a.b")));
        for other in [".0.crc", "0.tmp", ".0.tmp", ".0.x.tmp", "0"] {
            assert!(!is_temporary(other), "{other}");
        }
    }
}
