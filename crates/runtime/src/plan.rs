//! What is to be written, and what is not: pure, from the bytes that were found.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use serde::Serialize;

use crate::{containerd, docker, podman};

/// The first line of every file of ours that may hold comments.
pub(crate) const MARK: &str =
    "# Written by `pantala runtime apply`; `pantala runtime undo` removes it. Do not edit.";

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where the mirror listens. On loopback, a mirror that is gone refuses at once and the engine goes on alone.
    pub mirror: SocketAddr,
    /// Registries, or `_default` for all.
    pub registries: Vec<String>,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum File {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// A folder.
    Folder,
    /// It cannot be read, or a link leads elsewhere.
    Foreign(String),
}

/// What was found on the host: absolute paths, as the engines see them.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Everything that exists and matters.
    pub files: BTreeMap<String, File>,
    /// What the record says that we wrote.
    pub owned: BTreeSet<String>,
}

impl Found {
    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// The text of `path`, without a byte order mark; `None` if it is not there.
    pub(crate) fn text(&self, path: &str) -> Option<Result<&str, String>> {
        Some(match self.files.get(path)? {
            File::Bytes(bytes) => std::str::from_utf8(bytes)
                .map(|text| text.trim_start_matches('\u{feff}'))
                .map_err(|_| format!("{path} is not UTF-8")),
            File::Folder => Err(format!("{path} is a folder")),
            File::Foreign(why) => Err(format!("{path}: {why}")),
        })
    }

    /// Parsed as TOML.
    pub(crate) fn toml(&self, path: &str) -> Option<Result<toml::Table, String>> {
        Some(self.text(path)?.and_then(|text| {
            text.parse().map_err(|error: toml::de::Error| {
                format!("{path} is not TOML: {}", error.message())
            })
        }))
    }
}

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// containerd, alone or under Kubernetes.
    Containerd,
    /// The Docker daemon.
    Docker,
    /// Podman, Buildah, skopeo and CRI-O, which read the same files.
    Containers,
}

impl Engine {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Docker => "docker",
            Self::Containers => "podman, cri-o",
        }
    }
}

/// A file of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owned {
    /// Where.
    pub path: String,
    /// All of it.
    pub content: String,
    /// Permissions.
    pub mode: u32,
}

/// What is so for one engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Which.
    pub engine: Engine,
    /// Its configuration, as far as it was understood.
    pub config: String,
    /// Files to have.
    pub files: Vec<Owned>,
    /// What stands against it, and why something is not touched.
    pub conflicts: Vec<String>,
    /// What the operator has to do: file and line.
    pub next: Vec<String>,
}

impl Report {
    pub(crate) fn new(engine: Engine, config: impl Into<String>) -> Self {
        Self {
            engine,
            config: config.into(),
            files: Vec::new(),
            conflicts: Vec::new(),
            next: Vec::new(),
        }
    }

    /// Plans a file of ours with `content`, unless somebody else's is there.
    pub(crate) fn own(&mut self, found: &Found, path: String, content: String) -> bool {
        let is_ours = match found.files.get(&path) {
            None => true,
            Some(File::Bytes(_)) if found.owned.contains(&path) => true,
            // Ours by its mark, and just what would be written: the record was lost.
            Some(File::Bytes(bytes)) => *bytes == content.as_bytes() && content.starts_with(MARK),
            Some(File::Folder | File::Foreign(_)) => false,
        };
        if is_ours {
            self.files.push(Owned {
                path,
                content,
                mode: 0o644,
            });
        } else {
            self.conflicts.push(format!(
                "{path} is there and not ours, so it is not touched"
            ));
        }
        is_ours
    }
}

/// What would be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// One for each engine that was found.
    pub engines: Vec<Report>,
}

impl Plan {
    /// All files.
    pub fn files(&self) -> impl Iterator<Item = &Owned> {
        self.engines.iter().flat_map(|engine| &engine.files)
    }
}

/// The plan for what was `found`.
pub fn plan(found: &Found, wanted: &Wanted) -> Plan {
    let engines = [
        containerd::report(found, wanted),
        docker::report(found, wanted),
        podman::report(found, wanted),
    ];
    Plan {
        engines: engines.into_iter().flatten().collect(),
    }
}
