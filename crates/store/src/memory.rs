//! Files in memory, for tests and for queries whose checkpoint nobody needs again.

use crate::path::{check_dir, check_path};
use crate::store::{Created, Locked, Store};
use async_trait::async_trait;
use millstream_core::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// A [`Store`] in memory. Clones share the files; they die with the last clone.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T) -> T {
        work(&mut self.files.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    async fn create(&self, path: &str, bytes: &[u8]) -> Result<Created> {
        check_path(path)?;
        Ok(self.with(|files| {
            if files.contains_key(path) {
                return Created::Exists;
            }
            files.insert(path.to_owned(), bytes.to_vec());
            Created::Created
        }))
    }

    async fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        check_path(path)?;
        self.with(|files| files.insert(path.to_owned(), bytes.to_vec()));
        Ok(())
    }

    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        check_path(path)?;
        Ok(self.with(|files| files.get(path).cloned()))
    }

    async fn list(&self, dir: &str) -> Result<Vec<String>> {
        check_dir(dir)?;
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let names: BTreeSet<String> = self.with(|files| {
            files
                .keys()
                .filter_map(|path| path.strip_prefix(&prefix))
                .filter_map(|rest| rest.split('/').next())
                .map(str::to_owned)
                .collect()
        });
        Ok(names.into_iter().collect())
    }

    async fn delete(&self, path: &str) -> Result<bool> {
        check_path(path)?;
        Ok(self.with(|files| files.remove(path).is_some()))
    }

    async fn delete_dir(&self, dir: &str) -> Result<bool> {
        check_path(dir)?;
        Ok(false)
    }

    async fn exists(&self, path: &str) -> Result<bool> {
        check_path(path)?;
        Ok(self.with(|files| files.contains_key(path)))
    }

    async fn settle(&self, path: &str) -> Result<()> {
        check_path(path)
    }

    async fn sweep(&self, dir: &str) -> Result<usize> {
        check_dir(dir)?;
        Ok(0)
    }

    async fn try_lock(&self, path: &str) -> Result<Locked> {
        check_path(path)?;
        Ok(Locked::Unsupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_conforms() {
        crate::conformance::check(Arc::new(MemoryStore::new())).await.unwrap();
    }
}
