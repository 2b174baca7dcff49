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
    /// It names what is not below the root.
    #[error("{PATH} names {0:?}, which is no plain path")]
    Path(String),
}

/// What was written.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// Nothing stood where we wrote: a path has the digests that its file may have, two while it is being replaced.
    pub(crate) files: BTreeMap<String, Vec<String>>,
    /// Folders made for them.
    pub(crate) folders: BTreeSet<String>,
    /// The mirror that they point at.
    #[serde(default)]
    pub(crate) mirror: Option<String>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            version: VERSION,
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
            mirror: None,
        }
    }
}

impl Record {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(bytes).map_err(RecordError::Broken)?;
        if record.version != VERSION {
            return Err(RecordError::Version(record.version));
        }
        let mut paths = record.files.keys().chain(&record.folders);
        match paths.find(|path| !is_plain(path)) {
            Some(path) => Err(RecordError::Path(path.clone())),
            None => Ok(record),
        }
    }

    pub(crate) fn text(&self) -> io::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
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

/// Absolute, and without detours.
fn is_plain(path: &str) -> bool {
    let parts = path.strip_prefix('/').map(|it| it.split('/'));
    parts.is_some_and(|mut parts| parts.all(|part| !matches!(part, "" | "." | "..")))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |all, byte| format!("{all}{byte:02x}"))
}
