//! What was written: which files, which digests they may have, which folders were made for them.
//!
//! It is in a folder of root's own and not in the daemon's: who undoes removes what it names, with the rights of root.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Where it is, below the root.
pub(crate) const PATH: &str = "/var/lib/pantala-runtime/written.json";
const VERSION: u32 = 1;

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is of a later release.
    #[error("{PATH} has version {0}, which this release does not know")]
    Version(u32),
    /// It is broken.
    #[error("{PATH} is not understood")]
    Broken(#[source] serde_json::Error),
}

/// What was written.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// Nothing stood where we wrote: a path has the digests that its file may have, two while it is being replaced.
    pub(crate) files: BTreeMap<String, Vec<String>>,
    /// Folders made for them.
    pub(crate) folders: BTreeSet<String>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            version: VERSION,
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
        }
    }
}

impl Record {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(bytes).map_err(RecordError::Broken)?;
        match record.version {
            VERSION => Ok(record),
            other => Err(RecordError::Version(other)),
        }
    }

    pub(crate) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Notes that `path` may get `content`, beside what it may hold now.
    pub(crate) fn expect(&mut self, path: &str, content: &[u8]) {
        let digests = self.files.entry(path.to_owned()).or_default();
        let new = digest(content);
        if !digests.contains(&new) {
            digests.push(new);
        }
    }

    /// Notes that `path` has `content` and nothing else.
    pub(crate) fn settle(&mut self, path: &str, content: &[u8]) {
        self.files.insert(path.to_owned(), vec![digest(content)]);
    }

    /// Whether `path` may have `content`.
    pub(crate) fn knows(&self, path: &str, content: &[u8]) -> bool {
        let digests = self.files.get(path);
        digests.is_some_and(|digests| digests.contains(&digest(content)))
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |all, byte| format!("{all}{byte:02x}"))
}
