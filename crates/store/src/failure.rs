//! Errors of the operating system as errors with a code and a cure.

use millstream_core::{Error, ErrorKind};
use std::io;
use std::path::Path;

/// What was being done when the operating system refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading or listing.
    Read,
    /// Creating, writing, renaming or deleting.
    Write,
    /// Forcing to the disk.
    Sync,
    /// Locking.
    Lock,
}

/// The error for `source`, naming `path`.
///
/// Codes: `STORE_FULL`, `STORE_UNWRITABLE`, `STORE_UNREADABLE`, `STORE_NOT_A_DIRECTORY`,
/// `STORE_UNSUITABLE`, `STORE_SYNC_FAILED` and, for everything else, `STORE_IO`.
pub fn io_error(operation: Operation, path: &Path, source: io::Error) -> Error {
    use io::ErrorKind as Io;
    let at = path.display();
    let error = match (source.kind(), operation) {
        // Whatever the reason, a full disk included: the kernel may have dropped what it could not
        // write.
        (_, Operation::Sync) => Error::unavailable(
            "STORE_SYNC_FAILED",
            format!("`{at}` could not be forced to the disk."),
        )
        .cure("Check the disk and its free space and start again; syncing is not tried twice, because a second try may succeed without the data."),
        (Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge, _) => Error::new(
            ErrorKind::Exhausted,
            "STORE_FULL",
            format!("The disk or quota is full: `{at}` could not be written."),
        )
        .cure("Free space and start again; nothing that was complete has changed."),
        (Io::PermissionDenied | Io::ReadOnlyFilesystem, Operation::Read) => {
            Error::invalid("STORE_UNREADABLE", format!("`{at}` may not be read."))
                .cure("Give this user the right to read it.")
        }
        (Io::PermissionDenied | Io::ReadOnlyFilesystem, _) => {
            Error::invalid("STORE_UNWRITABLE", format!("`{at}` may not be written."))
                .cure("Give this user the right to write there, or choose another place.")
        }
        (Io::NotADirectory | Io::IsADirectory, _) => Error::invalid(
            "STORE_NOT_A_DIRECTORY",
            format!("`{at}` is a file where a directory is needed, or the other way round."),
        )
        .cure("Choose another place, or move what is in the way."),
        (Io::Unsupported, _) => Error::invalid(
            "STORE_UNSUITABLE",
            format!("The file system of `{at}` cannot do what safety needs here."),
        )
        .cure("Use a local file system with hard links and locks."),
        _ => Error::unavailable("STORE_IO", format!("`{at}` could not be used.")),
    };
    error.caused_by(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file_and_say_what_to_do() {
        let cases = [
            (io::ErrorKind::StorageFull, Operation::Write, "STORE_FULL", ErrorKind::Exhausted),
            (
                io::ErrorKind::StorageFull,
                Operation::Sync,
                "STORE_SYNC_FAILED",
                ErrorKind::Unavailable,
            ),
            (io::ErrorKind::Other, Operation::Sync, "STORE_SYNC_FAILED", ErrorKind::Unavailable),
            (
                io::ErrorKind::PermissionDenied,
                Operation::Write,
                "STORE_UNWRITABLE",
                ErrorKind::Invalid,
            ),
            (
                io::ErrorKind::PermissionDenied,
                Operation::Read,
                "STORE_UNREADABLE",
                ErrorKind::Invalid,
            ),
            (
                io::ErrorKind::NotADirectory,
                Operation::Write,
                "STORE_NOT_A_DIRECTORY",
                ErrorKind::Invalid,
            ),
            (io::ErrorKind::TimedOut, Operation::Read, "STORE_IO", ErrorKind::Unavailable),
        ];
        for (source, operation, code, kind) in cases {
            let error = io_error(operation, Path::new("/d/f"), io::Error::from(source));
            assert_eq!((error.code(), error.kind()), (code, kind));
            assert!(error.message().contains("/d/f"));
        }
    }
}
