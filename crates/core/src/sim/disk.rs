//! The checkpoint store: files that may be visible without being durable.

use super::rng::Rng;
use crate::log::{LedgerEntry, Record as _};
use crate::protocol::{Scan, Want, paths};
use std::collections::BTreeMap;
use std::ops::Bound;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) durable: bool,
}

/// All files by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) files: BTreeMap<String, File>,
    /// Deletions that a power failure would undo: nothing was synced in their directory since.
    forgotten: Vec<(String, File)>,
}

fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

impl Disk {
    pub(super) fn read(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|file| file.bytes.as_slice())
    }

    pub(super) fn put(&mut self, path: &str, bytes: Vec<u8>, durable: bool) {
        self.files.insert(path.to_owned(), File { bytes, durable });
        if durable {
            self.sync_dir(dir_of(path));
        }
    }

    /// Deletes durably, as `Store::delete` does.
    pub(super) fn delete(&mut self, path: &str) {
        self.files.remove(path);
        self.sync_dir(dir_of(path));
    }

    /// Deletes without syncing, as `Store::forget` does: the next creation in the directory takes
    /// the deletion with it.
    pub(super) fn forget(&mut self, path: &str) {
        if let Some(file) = self.files.remove(path)
            && file.durable
        {
            self.forgotten.push((path.to_owned(), file));
        }
    }

    fn sync_dir(&mut self, dir: &str) {
        self.forgotten.retain(|(path, _)| dir_of(path) != dir);
    }

    pub(super) fn list(&self, dir: &str) -> Vec<String> {
        let prefix = format!("{dir}/");
        let mut names: Vec<String> = self
            .files
            .range(prefix.clone()..)
            .take_while(|(path, _)| path.starts_with(&prefix))
            .filter_map(|(path, _)| path.strip_prefix(&prefix)?.split('/').next())
            .map(str::to_owned)
            .collect();
        names.dedup();
        names
    }

    /// The largest of the numbers that name files of a directory.
    pub(super) fn largest_number(&self, dir: &str) -> Option<u64> {
        let from = (Bound::Included(dir), Bound::Unbounded);
        let names = self.files.range::<str, _>(from).map(|(path, _)| path);
        let names = names.map_while(|path| path.strip_prefix(dir)?.strip_prefix('/'));
        names.filter_map(|name| name.parse().ok()).max()
    }

    /// Makes a file durable and its directory with it, as `Store::settle` does.
    pub(super) fn settle(&mut self, path: &str) {
        if let Some(file) = self.files.get_mut(path) {
            file.durable = true;
            self.sync_dir(dir_of(path));
        }
    }

    /// What is not durable vanishes, stays or (where its content was never synced) is torn; what
    /// was deleted without a sync may be there again.
    pub(super) fn lose_power(&mut self, rng: &mut Rng, content_unsynced: bool) {
        for (path, file) in std::mem::take(&mut self.forgotten) {
            if rng.one_in(2) {
                self.files.entry(path).or_insert(file);
            }
        }
        self.files.retain(|_, file| {
            if file.durable {
                return true;
            }
            file.durable = true;
            if content_unsynced && rng.one_in(3) {
                file.bytes.truncate(rng.index(file.bytes.len()));
                return true;
            }
            rng.one_in(2)
        });
    }

    /// Everything that the decision about the newest batch needs. `look_past` says whether strays
    /// of purged batches are looked past.
    pub(super) fn scan(&self, look_past: bool) -> Scan {
        let mut scan = Scan::new();
        loop {
            let wants = scan.wants();
            if wants.is_empty() {
                if look_past {
                    self.set_strays_aside(&mut scan);
                }
                return scan;
            }
            for want in wants {
                match want {
                    Want::List(dir) => scan.supply_list(&dir, self.list(&dir)),
                    Want::Read(path) => {
                        let bytes = self.read(&path).map(<[u8]>::to_vec);
                        scan.supply_file(&path, bytes);
                    }
                }
            }
        }
    }
    fn set_strays_aside(&self, scan: &mut Scan) {
        for dir in [paths::OFFSETS, paths::COMMITS] {
            for batch in scan.below_the_last_hole(dir) {
                let done = self.read(&paths::ledger(batch)).map(LedgerEntry::decode);
                let Some(Ok(done)) = done else { continue };
                if scan.is_stray(dir, &done, self.read(&paths::offsets(batch))) {
                    scan.set_aside(dir, batch.0);
                }
            }
        }
    }
}
