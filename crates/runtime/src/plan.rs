//! What is to be written, and what is not: pure, from the bytes that were found.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use serde::Serialize;

use crate::{containerd, docker, managed, podman};

/// The first line of every file of ours.
pub(crate) const MARK: &str =
    "# Written by `pantala runtime apply`; `pantala runtime undo` removes it. Do not edit.";
/// All registries that have no folder of their own.
pub(crate) const ALL: &str = "_default";

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where the mirror listens. On loopback, a mirror that is gone refuses at once and the engine goes on alone.
    pub mirror: SocketAddr,
    /// Registries, or `_default` for all.
    pub registries: Vec<String>,
    /// The registry that the mirror takes when a client names none.
    pub default: Option<String>,
    /// Registries that a path may begin with at the mirror.
    pub in_paths: Vec<String>,
    /// Whether tags are asked of the registries themselves: whoever takes the mirror's port can then give no other image.
    pub digests_only: bool,
}

impl Wanted {
    /// No registry: what is looked at then is what is so anyway.
    pub(crate) fn nothing() -> Self {
        Self {
            mirror: SocketAddr::from(([127, 0, 0, 1], 0)),
            registries: Vec::new(),
            default: None,
            in_paths: Vec::new(),
            digests_only: false,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.mirror)
    }
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum File {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// The names in a folder.
    Folder(BTreeSet<String>),
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

    /// The names in the folder at `path`; none if there is no such folder.
    pub(crate) fn names(&self, path: &str) -> impl Iterator<Item = &str> {
        let names = match self.files.get(path) {
            Some(File::Folder(names)) => Some(names),
            _ => None,
        };
        names.into_iter().flatten().map(String::as_str)
    }

    /// The text of `path`, without a byte order mark; `None` if it is not there.
    pub(crate) fn text(&self, path: &str) -> Option<Result<&str, String>> {
        Some(match self.files.get(path)? {
            File::Bytes(bytes) => std::str::from_utf8(bytes)
                .map(|text| text.trim_start_matches('\u{feff}'))
                .map_err(|_| format!("{path} is not UTF-8")),
            File::Folder(_) => Err(format!("{path} is a folder")),
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
    /// Whether the operator's own files name the mirror already.
    pub is_named: bool,
    /// Files to have.
    pub files: Vec<Owned>,
    /// What stands against it, and why something is not touched.
    pub conflicts: Vec<String>,
    /// What the operator has to do: file and line.
    pub next: Vec<String>,
    /// What is worth knowing, and needs nothing done.
    pub notes: Vec<String>,
}

impl Report {
    pub(crate) fn new(engine: Engine, config: impl Into<String>) -> Self {
        Self {
            engine,
            config: config.into(),
            is_named: false,
            files: Vec::new(),
            conflicts: Vec::new(),
            next: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// What cannot be read stands against everything.
    pub(crate) fn not_understood(engine: Engine, why: String) -> Self {
        let mut report = Self::new(engine, "not understood");
        report.conflicts.push(why);
        report.next.push("mend that file, then try again".into());
        report
    }

    /// Asks the operator for it, once.
    pub(crate) fn ask_for(&mut self, what: String) {
        if !self.next.contains(&what) {
            self.next.push(what);
        }
    }

    /// Plans a file of ours with `content`, unless somebody else's is there.
    pub(crate) fn own(&mut self, found: &Found, path: String, content: String) -> bool {
        let why = match found.files.get(&path) {
            None => None,
            Some(File::Bytes(_)) if found.owned.contains(&path) => None,
            // Ours by its mark, and just what would be written: the record was lost.
            Some(File::Bytes(bytes)) if *bytes == content.as_bytes() => None,
            Some(File::Bytes(bytes)) if bytes.starts_with(MARK.as_bytes()) => {
                Some("has our mark and is not in our record")
            }
            Some(File::Foreign(why)) => Some(why.as_str()),
            Some(_) => Some("is there and not ours"),
        };
        match why {
            None => self.files.push(Owned {
                path,
                content,
                mode: 0o644,
            }),
            Some(why) => {
                self.conflicts
                    .push(format!("{path} {why}, so it is not touched"));
                return false;
            }
        }
        true
    }
}

/// What would be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// One for each engine that was found.
    pub engines: Vec<Report>,
}

impl Plan {
    /// Leaves out a file in whose place somebody else's has come.
    pub(crate) fn give_up(&mut self, path: &str) {
        for report in &mut self.engines {
            let count = report.files.len();
            report.files.retain(|it| it.path != path);
            if report.files.len() < count {
                report.conflicts.push(format!(
                    "{path} is there and not ours, so it is not touched"
                ));
            }
        }
    }

    /// All files.
    pub fn files(&self) -> impl Iterator<Item = &Owned> {
        self.engines.iter().flat_map(|engine| &engine.files)
    }
}

/// Which paths matter, as far as `found` tells: to be called again with what was found there.
pub fn looks(found: &Found, wanted: &Wanted) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    managed::looks(found, &mut paths);
    containerd::looks(found, wanted, &mut paths);
    docker::looks(found, &mut paths);
    podman::looks(found, &mut paths);
    paths
}

/// The plan for what was `found`.
pub fn plan(found: &Found, wanted: &Wanted) -> Plan {
    let mut engines = Vec::new();
    match managed::report(found, wanted) {
        // There is no other containerd where the system makes its files.
        Some((report, managed::Alone::Yes)) => engines.push(report),
        Some((report, managed::Alone::No)) => {
            engines.push(report);
            engines.extend(containerd::report(found, wanted));
        }
        None => engines.extend(containerd::report(found, wanted)),
    }
    engines.extend(docker::report(found, wanted));
    engines.extend(podman::report(found, wanted));
    Plan { engines }
}
