//! The stores of a query under fire: a checkpoint's, and a table log's.

use super::fire::{Class, Fire, Outcome, Site, error, torn};
use async_trait::async_trait;
use futures::future::BoxFuture;
use millstream_core::Result;
use millstream_core::protocol::paths;
use millstream_delta::{LocalLog, LogFiles, Stamp};
use millstream_store::{Created, Locked, MemoryStore, Store};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Another run of the same query, without faults, to its end.
pub type Rival = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// A checkpoint's store in which one call goes wrong.
pub struct FiredStore {
    pub inner: MemoryStore,
    pub fire: Arc<Fire>,
    pub rival: Rival,
}

impl fmt::Debug for FiredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FiredStore").finish_non_exhaustive()
    }
}

const HERE: Site = Site::Checkpoint;

impl FiredStore {
    async fn meet(&self, class: Class) -> Option<Outcome> {
        if let Some((path, bytes)) = self.fire.due(HERE) {
            let _ = self.inner.create(&path, &bytes).await;
        }
        self.fire.meet(HERE, class)
    }

    /// A call that either happens or is an error.
    async fn plain(&self, class: Class) -> Result<()> {
        match self.meet(class).await {
            None => Ok(()),
            Some(outcome) => Err(error(outcome)),
        }
    }

    /// Deleting what a batch that is not complete may still need breaks I13.
    async fn allow_removal(&self, path: &str) {
        let Some(rest) = path.strip_prefix(paths::PREPARED) else { return };
        let Some(batch) = rest.split('/').nth(1) else { return };
        let completed = format!("{}/{batch}", paths::COMMITS);
        if !self.inner.exists(&completed).await.unwrap() {
            self.fire.violated(format!("`{path}` was deleted before its batch was complete"));
        }
    }

    async fn remove(&self, path: &str) -> Result<bool> {
        match self.meet(Class::Remove).await {
            None => {
                self.allow_removal(path).await;
                self.inner.delete(path).await
            }
            Some(outcome) => {
                if outcome == Outcome::Landed {
                    self.allow_removal(path).await;
                    self.inner.delete(path).await?;
                }
                Err(error(outcome))
            }
        }
    }
}

#[async_trait]
impl Store for FiredStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn create(&self, path: &str, bytes: &[u8]) -> Result<Created> {
        let met = self.meet(Class::Create).await;
        match met {
            None | Some(Outcome::Refused) => {
                if met.is_some() {
                    (self.rival)().await;
                }
                let created = self.inner.create(path, bytes).await?;
                if created == Created::Created {
                    self.fire.created(HERE, path);
                }
                Ok(created)
            }
            Some(Outcome::Lies) => {
                self.inner.replace(path, bytes).await?;
                Ok(Created::Created)
            }
            Some(Outcome::NothingThere) => Ok(Created::Exists),
            Some(outcome) => {
                match outcome {
                    Outcome::Landed | Outcome::OwnWrite => {
                        let _ = self.inner.create(path, bytes).await?;
                        self.fire.created(HERE, path);
                    }
                    Outcome::Late(calls) => self.fire.delay(HERE, path, bytes, calls),
                    _ => {}
                }
                if outcome == Outcome::OwnWrite { Ok(Created::Exists) } else { Err(error(outcome)) }
            }
        }
    }

    async fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.inner.replace(path, bytes).await
    }

    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let met = self.meet(Class::Read).await;
        let bytes = self.inner.read(path).await?;
        match met {
            None => Ok(bytes),
            Some(outcome @ (Outcome::Torn | Outcome::TornLine | Outcome::TornHead)) => {
                Ok(bytes.map(|bytes| torn(outcome, bytes)))
            }
            Some(outcome) => Err(error(outcome)),
        }
    }

    async fn list(&self, dir: &str) -> Result<Vec<String>> {
        let met = self.meet(Class::List).await;
        match met {
            None | Some(Outcome::LagOnce | Outcome::LagLong) => {
                Ok(self.fire.listed(HERE, dir, self.inner.list(dir).await?, met))
            }
            Some(outcome) => Err(error(outcome)),
        }
    }

    async fn delete(&self, path: &str) -> Result<bool> {
        self.remove(path).await
    }

    async fn delete_dir(&self, dir: &str) -> Result<bool> {
        self.plain(Class::Remove).await?;
        self.inner.delete_dir(dir).await
    }

    async fn exists(&self, path: &str) -> Result<bool> {
        self.plain(Class::Settle).await?;
        self.inner.exists(path).await
    }

    async fn settle(&self, path: &str) -> Result<()> {
        self.plain(Class::Settle).await?;
        self.inner.settle(path).await
    }

    async fn sweep(&self, dir: &str) -> Result<usize> {
        self.plain(Class::Remove).await?;
        self.inner.sweep(dir).await
    }

    async fn try_lock(&self, path: &str) -> Result<Locked> {
        self.plain(Class::Settle).await?;
        self.inner.try_lock(path).await
    }
}

/// A table's log in which one call goes wrong.
pub struct FiredLog {
    pub inner: LocalLog,
    pub site: Site,
    pub fire: Arc<Fire>,
    pub rival: Rival,
}

impl fmt::Debug for FiredLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FiredLog").field("site", &self.site).finish_non_exhaustive()
    }
}

impl FiredLog {
    fn meet(&self, class: Class) -> Option<Outcome> {
        if let Some((name, bytes)) = self.fire.due(self.site) {
            let _ = self.inner.create(&name, &bytes);
        }
        self.fire.meet(self.site, class)
    }
}

impl LogFiles for FiredLog {
    fn dir(&self) -> &Path {
        self.inner.dir()
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let met = self.meet(Class::Read);
        let bytes = self.inner.read(name)?;
        match met {
            None => Ok(bytes),
            Some(outcome @ (Outcome::Torn | Outcome::TornLine | Outcome::TornHead)) => {
                Ok(bytes.map(|bytes| torn(outcome, bytes)))
            }
            Some(outcome) => Err(error(outcome)),
        }
    }

    fn stamp(&self, name: &str) -> Result<Option<Stamp>> {
        match self.meet(Class::Settle) {
            None => self.inner.stamp(name),
            Some(outcome) => Err(error(outcome)),
        }
    }

    fn names(&self) -> Result<Option<Vec<String>>> {
        let met = self.meet(Class::List);
        let names = self.inner.names()?;
        match met {
            None | Some(Outcome::LagOnce | Outcome::LagLong) => {
                Ok(names.map(|names| self.fire.listed(self.site, "", names, met)))
            }
            Some(outcome) => Err(error(outcome)),
        }
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        let met = self.meet(Class::Create);
        match met {
            None | Some(Outcome::Refused | Outcome::Beaten) => {
                match met {
                    Some(Outcome::Refused) => {
                        tokio::runtime::Handle::current().block_on((self.rival)());
                    }
                    Some(_) => {
                        let foreign = b"{\"commitInfo\":{\"operation\":\"WRITE\"}}\n";
                        assert_eq!(self.inner.create(name, foreign)?, Created::Created);
                    }
                    None => {}
                }
                let created = self.inner.create(name, bytes)?;
                if created == Created::Created {
                    self.fire.created(self.site, name);
                }
                Ok(created)
            }
            Some(Outcome::NothingThere) => Ok(Created::Exists),
            Some(outcome) => {
                match outcome {
                    Outcome::Landed | Outcome::OwnWrite => {
                        let _ = self.inner.create(name, bytes)?;
                        self.fire.created(self.site, name);
                    }
                    Outcome::Late(calls) => self.fire.delay(self.site, name, bytes, calls),
                    _ => {}
                }
                if outcome == Outcome::OwnWrite { Ok(Created::Exists) } else { Err(error(outcome)) }
            }
        }
    }

    fn settle(&self, name: &str) -> Result<()> {
        match self.meet(Class::Settle) {
            None => self.inner.settle(name),
            Some(outcome) => Err(error(outcome)),
        }
    }
}
