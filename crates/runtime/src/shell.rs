//! The files below a root: read, written and taken back. What was written is recorded before it is.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    containerd, docker,
    plan::{File, Found, Owned, Plan, Wanted, plan},
    podman,
};

const RECORD: &str = "/var/lib/pantala/runtime.json";
const TEMPORARY: &str = ".pantala-runtime-";
/// Above this a file is no configuration.
const LENGTH_MAX: u64 = 4 << 20;

/// Why files could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Somebody edited a file of ours.
    #[error("{0} was changed since it was written, so it is not touched")]
    Changed(String),
    /// The record is of a later release, or broken.
    #[error("the record {RECORD} is not understood")]
    Record(#[source] Option<serde_json::Error>),
    /// The system said no.
    #[error("{doing} {path}")]
    Io {
        /// What was done.
        doing: &'static str,
        /// To what.
        path: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    version: u32,
    /// What we write stood nowhere before: a path has the digests that its file may have, two while it is being replaced.
    files: BTreeMap<String, Vec<String>>,
    /// Folders made for them, the outermost first.
    folders: Vec<String>,
}

/// A host's files below a root.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// The host whose files are below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The plan for this host.
    pub fn plan(&self, wanted: &Wanted) -> Result<Plan, ApplyError> {
        let mut found = Found {
            owned: self.record()?.files.into_keys().collect(),
            ..Found::default()
        };
        let mut paths: Vec<String> = vec![
            "/etc/os-release".into(),
            "/etc/containerd".into(),
            "/etc/containers".into(),
            "/etc/docker".into(),
            containerd::CONFIG.into(),
            docker::CONFIG.into(),
            podman::CONFIG.into(),
        ];
        paths.extend(
            containerd::RANCHER
                .iter()
                .flat_map(|(_, it)| [(*it).into(), format!("{it}/registries.yaml")]),
        );
        let entries = fs::read_dir(self.at(podman::FOLDER))
            .into_iter()
            .flatten()
            .flatten();
        paths.extend(
            entries.map(|it| format!("{}/{}", podman::FOLDER, it.file_name().to_string_lossy())),
        );
        for path in paths {
            self.find(&mut found, path);
        }
        // Where the files go depends on what the engines say: those that are planned are looked at, then planned again.
        let first = plan(&found, wanted);
        for file in first.files() {
            self.find(&mut found, file.path.clone());
            if let Some(why) = self.obstacle(&file.path) {
                found.files.insert(file.path.clone(), File::Foreign(why));
            }
        }
        Ok(plan(&found, wanted))
    }

    fn find(&self, found: &mut Found, path: String) {
        let at = match self.resolve(&self.at(&path)) {
            Ok(at) => at,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                found.files.insert(path, File::Foreign(error.to_string()));
                return;
            }
        };
        let file = match fs::metadata(&at) {
            Ok(it) if it.is_dir() => File::Folder,
            Ok(it) if !it.is_file() || it.len() > LENGTH_MAX => {
                File::Foreign("no configuration file".into())
            }
            Ok(_) => {
                fs::read(&at).map_or_else(|error| File::Foreign(error.to_string()), File::Bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => File::Foreign(error.to_string()),
        };
        found.files.insert(path, file);
    }

    /// Follows a link as the host would that has `root` for its root.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let mut path = path.to_owned();
        for _ in 0..8 {
            if !fs::symlink_metadata(&path)?.is_symlink() {
                return Ok(path);
            }
            let target = fs::read_link(&path)?;
            path = match target.strip_prefix("/") {
                Ok(inner) => self.root.join(inner),
                Err(_) => path.with_file_name("").join(target),
            };
        }
        Err(io::Error::other("too many links"))
    }

    /// A link, or a file for a folder, on the way to `path` below the root.
    fn obstacle(&self, path: &str) -> Option<String> {
        let mut at = self.root.clone();
        let parts: Vec<_> = Path::new(path)
            .components()
            .filter(|it| *it != Component::RootDir)
            .collect();
        for (index, part) in parts.iter().enumerate() {
            at.push(part);
            match fs::symlink_metadata(&at) {
                Ok(it) if it.is_symlink() => return Some("a link is on its way".into()),
                Ok(it) if index + 1 < parts.len() && !it.is_dir() => {
                    return Some("a file is on its way".into());
                }
                _ => {}
            }
        }
        None
    }

    fn record(&self) -> Result<Record, ApplyError> {
        match fs::read(self.at(RECORD)) {
            Ok(bytes) => {
                let record: Record = serde_json::from_slice(&bytes)
                    .map_err(|error| ApplyError::Record(Some(error)))?;
                if record.version == 1 {
                    Ok(record)
                } else {
                    Err(ApplyError::Record(None))
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record {
                version: 1,
                ..Record::default()
            }),
            Err(cause) => Err(failed("reading", RECORD)(cause)),
        }
    }

    /// The paths that the record names, and how each stands: `armed`, `gone` or `changed`.
    pub fn standing(&self) -> Result<Vec<(String, &'static str)>, ApplyError> {
        let record = self.record()?;
        let standing = record.files.iter().map(|(path, digests)| {
            let how = match self.digest(path)? {
                None => "gone",
                Some(digest) if digests.contains(&digest) => "armed",
                Some(_) => "changed",
            };
            Ok((path.clone(), how))
        });
        standing.collect()
    }

    fn digest(&self, path: &str) -> Result<Option<String>, ApplyError> {
        match fs::symlink_metadata(self.at(path)) {
            Ok(it) if !it.is_file() => Ok(Some("no file".into())),
            Ok(_) => Ok(Some(digest(
                &fs::read(self.at(path)).map_err(failed("reading", path))?,
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(failed("reading", path)(cause)),
        }
    }

    /// Makes the planned files, and removes those of ours that are planned no more; tells which paths changed.
    pub fn apply(&self, plan: &Plan, force: bool) -> Result<Vec<String>, ApplyError> {
        let mut record = self.record()?;
        if !force {
            self.refuse_changed(&record)?;
        }
        let mut changed = Vec::new();
        let todo: Vec<&Owned> = plan
            .files()
            .filter(|it| fs::read(self.at(&it.path)).ok().as_deref() != Some(it.content.as_bytes()))
            .collect();
        // The record comes first: after a crash it names files that are not there yet, never the other way round.
        for file in plan.files() {
            let digests = record.files.entry(file.path.clone()).or_default();
            let new = digest(file.content.as_bytes());
            if !digests.contains(&new) {
                digests.push(new);
            }
            self.note_folders(&file.path, &mut record.folders);
        }
        self.note_folders(RECORD, &mut record.folders);
        let stale: Vec<String> = record
            .files
            .keys()
            .filter(|path| plan.files().all(|it| it.path != **path))
            .cloned()
            .collect();
        if plan.files().next().is_none() && stale.is_empty() {
            return Ok(changed);
        }
        self.write_record(&record)?;
        for path in record.files.keys() {
            self.sweep(path);
        }
        for file in todo {
            self.write(&file.path, file.content.as_bytes(), file.mode)?;
            changed.push(file.path.clone());
        }
        for path in stale {
            self.remove(&path)?;
            record.files.remove(&path);
            changed.push(path);
        }
        for file in plan.files() {
            record
                .files
                .insert(file.path.clone(), vec![digest(file.content.as_bytes())]);
        }
        self.write_record(&record)?;
        Ok(changed)
    }

    /// Takes back all that was written; tells which paths were removed.
    pub fn undo(&self, force: bool) -> Result<Vec<String>, ApplyError> {
        let record = self.record()?;
        if !force {
            self.refuse_changed(&record)?;
        }
        let mut removed = Vec::new();
        for path in record.files.keys() {
            self.sweep(path);
            if self.remove(path)? {
                removed.push(path.clone());
            }
        }
        self.leave_folders(&record);
        match fs::remove_file(self.at(RECORD)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(failed("removing", RECORD)(cause));
            }
            _ => {}
        }
        // Those that held the record.
        self.leave_folders(&record);
        Ok(removed)
    }

    /// Removes the folders that were made, but those that others use by now.
    fn leave_folders(&self, record: &Record) {
        for folder in record.folders.iter().rev() {
            let _ = fs::remove_dir(self.at(folder));
        }
    }

    /// Removes what a write that was broken off left beside `path`.
    fn sweep(&self, path: &str) {
        let folder = self.at(path);
        let entries = folder.parent().map(fs::read_dir);
        for entry in entries.into_iter().flatten().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn refuse_changed(&self, record: &Record) -> Result<(), ApplyError> {
        for (path, digests) in &record.files {
            if self.digest(path)?.is_some_and(|it| !digests.contains(&it)) {
                return Err(ApplyError::Changed(path.clone()));
            }
        }
        Ok(())
    }

    fn note_folders(&self, path: &str, folders: &mut Vec<String>) {
        let parents: Vec<&Path> = Path::new(path).ancestors().skip(1).collect();
        for parent in parents.into_iter().rev() {
            let text = parent.to_string_lossy().into_owned();
            if !self.at(&text).exists() && !folders.contains(&text) {
                folders.push(text);
            }
        }
    }

    fn write_record(&self, record: &Record) -> Result<(), ApplyError> {
        let mut bytes = serde_json::to_vec_pretty(record).expect("a record always becomes JSON");
        bytes.push(b'\n');
        self.write(RECORD, &bytes, 0o644)
    }

    fn write(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), ApplyError> {
        let at = self.at(path);
        let folder = at.parent().expect("a file has a folder");
        let write = || {
            fs::create_dir_all(folder)?;
            let mut file = tempfile::Builder::new()
                .prefix(TEMPORARY)
                .tempfile_in(folder)?;
            file.write_all(bytes)?;
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(mode))?;
            file.as_file().sync_all()?;
            file.persist(&at).map_err(|error| error.error)?;
            fs::File::open(folder)?.sync_all()
        };
        write().map_err(failed("writing", path))
    }

    fn remove(&self, path: &str) -> Result<bool, ApplyError> {
        match fs::remove_file(self.at(path)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(failed("removing", path)(cause)),
        }
    }
}

fn failed(doing: &'static str, path: &str) -> impl FnOnce(io::Error) -> ApplyError {
    let path = path.to_owned();
    move |cause| ApplyError::Io { doing, path, cause }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |all, byte| format!("{all}{byte:02x}"))
}
