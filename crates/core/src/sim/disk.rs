//! The checkpoint store: files that may be visible without being durable.

use super::rng::Rng;
use crate::protocol::{Scan, Want};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) durable: bool,
}

/// All files by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) files: BTreeMap<String, File>,
}

impl Disk {
    pub(super) fn read(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|file| file.bytes.as_slice())
    }

    pub(super) fn put(&mut self, path: &str, bytes: Vec<u8>, durable: bool) {
        self.files.insert(path.to_owned(), File { bytes, durable });
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

    /// Makes a file durable, as `Store::settle` does.
    pub(super) fn settle(&mut self, path: &str) {
        if let Some(file) = self.files.get_mut(path) {
            file.durable = true;
        }
    }

    /// What is not durable vanishes, stays or (where its content was never synced) is torn.
    pub(super) fn lose_power(&mut self, rng: &mut Rng, content_unsynced: bool) {
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

    /// Everything that the decision about the newest batch needs.
    pub(super) fn scan(&self) -> Scan {
        let mut scan = Scan::new();
        loop {
            let wants = scan.wants();
            if wants.is_empty() {
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
}
