//! The trait of places that keep files.

use crate::lock::FileLock;
use async_trait::async_trait;
use millstream_core::Result;

/// What came of an exclusive creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Created {
    /// This call made the file, and it is durable.
    Created,
    /// The path was taken. Its content may be anybody's: read it to learn.
    Exists,
}

/// What came of asking for a lock.
#[derive(Debug)]
#[must_use]
pub enum Locked {
    /// Held until the guard is dropped or the process dies.
    Held(FileLock),
    /// Another process (or another guard of this one) holds it.
    Busy {
        /// What the holder wrote about itself; empty if it could not be read.
        holder: String,
    },
    /// This kind of store has no locks; safety never depends on them.
    Unsupported,
}

/// A place that keeps files under `/`-separated relative paths (see [`crate::check_path`]).
///
/// Every method that changes something, except [`Store::forget`], is durable when it returns `Ok`. After an `Err` the change
/// may or may not have happened: look before trying again. Dropping a future does not undo what
/// it began.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Where it is, for messages: `/data/checkpoints/orders`.
    fn describe(&self) -> String;

    /// Creates `path` with `bytes` unless it exists. Parents are made as needed. Of several
    /// creators exactly one gets [`Created::Created`].
    async fn create(&self, path: &str, bytes: &[u8]) -> Result<Created>;

    /// Creates or replaces `path`; readers see the old bytes or the new ones, never a mix.
    async fn replace(&self, path: &str, bytes: &[u8]) -> Result<()>;

    /// All bytes of `path`, or an error; `None` if there is no such file.
    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>>;

    /// The names of the files and directories in `dir`, sorted; empty if there is no such
    /// directory. Leftovers of interrupted creations are not listed.
    async fn list(&self, dir: &str) -> Result<Vec<String>>;

    /// Deletes a file; `false` if there was none.
    async fn delete(&self, path: &str) -> Result<bool>;

    /// Deletes a file that nobody needs any more; a power failure may bring it back.
    async fn forget(&self, path: &str) -> Result<bool> {
        self.delete(path).await
    }

    /// Deletes an empty directory; `false` if there was none or it was not empty.
    async fn delete_dir(&self, dir: &str) -> Result<bool>;

    /// Whether `path` is a file.
    async fn exists(&self, path: &str) -> Result<bool>;

    /// Makes an existing file durable. A process that dies inside [`Store::create`] may leave a
    /// file that everybody can read and that a power failure would still take away; whoever goes
    /// on from such a file calls this first.
    async fn settle(&self, path: &str) -> Result<()>;

    /// Deletes leftovers of interrupted creations in `dir` and returns how many there were. Only
    /// for the holder of the lock: another process may be writing one.
    async fn sweep(&self, dir: &str) -> Result<usize>;

    /// Takes the lock of this name without waiting.
    async fn try_lock(&self, path: &str) -> Result<Locked>;
}
