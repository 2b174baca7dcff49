//! The files below a root: read, written and taken back. What is written is recorded before it is.

use std::{
    collections::BTreeSet,
    fs::{self, File as Open},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use crate::{
    plan::{File, Found, MARK, Owned, Plan, Wanted, looks, plan},
    record::{self, Record, RecordError},
};

/// The folder of the record, which holds nothing else.
const RECORDS: &str = "/var/lib/pantala-runtime";
const TEMPORARY: &str = ".pantala-runtime-";
/// Above this a file is no configuration.
const LENGTH_MAX: u64 = 4 << 20;
/// More than any engine's files need: imports are looked up one after the other.
const ROUNDS_MAX: usize = 8;

/// Why files could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Somebody edited a file of ours.
    #[error("{0} was changed since it was written, so it is not touched")]
    Changed(String),
    /// The record names what is no file of ours.
    #[error("{0} does not begin with our mark, so it is not removed")]
    Unmarked(String),
    /// No record.
    #[error(transparent)]
    Record(#[from] RecordError),
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

/// How a file of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As it was written.
    Armed,
    /// Somebody removed it.
    Gone,
    /// Somebody edited it.
    Changed,
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
        let mut seen = BTreeSet::new();
        for _ in 0..ROUNDS_MAX {
            let new = &looks(&found, wanted) - &seen;
            if new.is_empty() {
                break;
            }
            for path in new {
                if let Some(file) = self.find(&path) {
                    found.files.insert(path.clone(), file);
                }
                seen.insert(path);
            }
        }
        // Links are followed where others' files are read, and not where ours would be written.
        for file in plan(&found, wanted).files() {
            if let Some(why) = self.obstacle(&file.path) {
                found.files.insert(file.path.clone(), File::Foreign(why));
            }
        }
        Ok(plan(&found, wanted))
    }

    fn find(&self, path: &str) -> Option<File> {
        let read = || {
            let at = self.resolve(&self.at(path))?;
            let found = fs::metadata(&at)?;
            if found.is_dir() {
                let names = fs::read_dir(&at)?
                    .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
                return names.collect::<io::Result<_>>().map(File::Folder);
            }
            if !found.is_file() || found.len() > LENGTH_MAX {
                return Err(io::Error::other("no configuration file"));
            }
            fs::read(&at).map(File::Bytes)
        };
        match read() {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(File::Foreign(format!("cannot be read ({error})"))),
        }
    }

    /// Follows links as the host would that has `root` for its root.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        let mut left: Vec<PathBuf> = parts(below);
        let (mut at, mut links) = (self.root.clone(), 0);
        while let Some(part) = left.pop() {
            if part.as_os_str() == ".." {
                if at != self.root {
                    at.pop();
                }
                continue;
            }
            let next = at.join(&part);
            if !fs::symlink_metadata(&next)?.is_symlink() {
                at = next;
                continue;
            }
            links += 1;
            if links > 16 {
                return Err(io::Error::other("too many links"));
            }
            let target = fs::read_link(&next)?;
            if target.is_absolute() {
                at.clone_from(&self.root);
            }
            left.extend(parts(&target));
        }
        Ok(at)
    }

    /// A link, or a file for a folder, on the way to `path` below the root.
    fn obstacle(&self, path: &str) -> Option<String> {
        let mut at = self.root.clone();
        let parts = parts(Path::new(path));
        for (left, part) in parts.iter().enumerate().rev() {
            at.push(part);
            match fs::symlink_metadata(&at) {
                Ok(it) if it.is_symlink() => return Some("has a link on its way".into()),
                Ok(it) if left > 0 && !it.is_dir() => {
                    return Some("has a file on its way".into());
                }
                _ => {}
            }
        }
        None
    }

    fn record(&self) -> Result<Record, ApplyError> {
        match fs::read(self.at(record::PATH)) {
            Ok(bytes) => Ok(Record::parse(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
            Err(cause) => Err(failed("reading", record::PATH)(cause)),
        }
    }

    /// The paths that the record names, and how each stands.
    pub fn standing(&self) -> Result<Vec<(String, Standing)>, ApplyError> {
        let record = self.record()?;
        let standing = record.files.keys().map(|path| {
            let how = match self.content(path)? {
                None => Standing::Gone,
                Some(bytes) if record.knows(path, &bytes) => Standing::Armed,
                Some(_) => Standing::Changed,
            };
            Ok((path.clone(), how))
        });
        standing.collect()
    }

    /// The bytes of a file of ours; none if it is not there.
    fn content(&self, path: &str) -> Result<Option<Vec<u8>>, ApplyError> {
        let at = self.at(path);
        let read = || match fs::symlink_metadata(&at)? {
            it if it.is_file() => fs::read(&at),
            // A link or a folder in its place is no content that we know.
            _ => Ok(Vec::new()),
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(failed("reading", path)(cause)),
        }
    }

    /// Makes the planned files, and removes those of ours that are planned no more; tells which paths changed. `force`
    /// gives up what others changed in files of ours. A crash in the middle is mended by doing it again, or by undoing.
    pub fn apply(&self, plan: &Plan, force: bool) -> Result<Vec<String>, ApplyError> {
        if plan.files().next().is_none() && self.record()?.files.is_empty() {
            return Ok(Vec::new());
        }
        // Ours, even if it is there already: a crash may have left it.
        let mut folders = BTreeSet::from([RECORDS.to_owned()]);
        self.missing_folders(RECORDS, &mut folders);
        let _alone = self.alone()?;
        let mut record = self.record()?;
        self.refuse_changed(&record, force)?;
        let before = record.bytes().map_err(failed("writing", record::PATH))?;
        record.folders.extend(folders);
        let mut todo: Vec<&Owned> = Vec::new();
        for file in plan.files() {
            if self.content(&file.path)?.as_deref() != Some(file.content.as_bytes()) {
                todo.push(file);
            }
            record.expect(&file.path, file.content.as_bytes());
            self.missing_folders(&file.path, &mut record.folders);
        }
        let planned: BTreeSet<&str> = plan.files().map(|it| it.path.as_str()).collect();
        let is_stale = |path: &&String| !planned.contains(path.as_str());
        let stale: Vec<String> = record.files.keys().filter(is_stale).cloned().collect();
        for path in record.files.keys() {
            self.sweep(path);
        }
        self.sweep(record::PATH);
        // After a crash the record names files that are not there yet, never the other way round.
        if record.bytes().ok().as_ref() != Some(&before) {
            self.write_record(&record)?;
        }
        let mut changed = Vec::new();
        for file in todo {
            self.write(&file.path, file.content.as_bytes(), file.mode)?;
            changed.push(file.path.clone());
        }
        for path in stale {
            if self.remove(&path, force)? {
                changed.push(path.clone());
            }
            record.files.remove(&path);
        }
        for file in plan.files() {
            record.settle(&file.path, file.content.as_bytes());
        }
        if record.bytes().ok().as_ref() != Some(&before) {
            self.write_record(&record)?;
        }
        Ok(changed)
    }

    /// Takes back all that was written; tells which paths were removed.
    pub fn undo(&self, force: bool) -> Result<Vec<String>, ApplyError> {
        if !self.at(RECORDS).is_dir() {
            return Ok(Vec::new());
        }
        let alone = self.alone()?;
        let record = self.record()?;
        self.refuse_changed(&record, force)?;
        let mut removed = Vec::new();
        for path in record.files.keys() {
            self.sweep(path);
            if self.remove(path, force)? {
                removed.push(path.clone());
            }
        }
        self.leave_folders(&record);
        self.sweep(record::PATH);
        match fs::remove_file(self.at(record::PATH)) {
            // A crash was before the first record, or after the last.
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(failed("removing", record::PATH)(cause));
            }
            _ => {}
        }
        drop(alone);
        let _ = fs::remove_dir(self.at(RECORDS));
        // Those that held it.
        self.leave_folders(&record);
        Ok(removed)
    }

    /// Waits until nobody else changes files here; for as long as it is kept.
    fn alone(&self) -> Result<Open, ApplyError> {
        if let Some(why) = self.obstacle(RECORDS) {
            let cause = io::Error::other(why);
            return Err(failed("making", RECORDS)(cause));
        }
        let lock = || {
            self.make_folder(&self.at(RECORDS))?;
            let folder = Open::open(self.at(RECORDS))?;
            folder.lock()?;
            Ok(folder)
        };
        lock().map_err(failed("making", RECORDS))
    }

    /// Removes the folders that were made, but those that others use by now. The innermost is the longest.
    fn leave_folders(&self, record: &Record) {
        let mut folders: Vec<&String> = record.folders.iter().collect();
        folders.sort_by_key(|path| std::cmp::Reverse(path.len()));
        for folder in folders {
            let _ = fs::remove_dir(self.at(folder));
        }
    }

    /// Removes what a write that was broken off left beside `path`.
    fn sweep(&self, path: &str) {
        let entries = self.at(path).parent().map(fs::read_dir);
        for entry in entries.into_iter().flatten().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn refuse_changed(&self, record: &Record, force: bool) -> Result<(), ApplyError> {
        for path in record.files.keys().filter(|_| !force) {
            let content = self.content(path)?;
            if content.is_some_and(|it| !record.knows(path, &it)) {
                return Err(ApplyError::Changed(path.clone()));
            }
        }
        Ok(())
    }

    fn missing_folders(&self, path: &str, folders: &mut BTreeSet<String>) {
        let parents = Path::new(path).ancestors().skip(1);
        let parents = parents.map(|it| it.to_string_lossy().into_owned());
        folders.extend(parents.filter(|it| !self.at(it).exists()));
    }

    /// With all above it, each open to readers whatever the umask says.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.exists() || folder == self.root {
            return Ok(());
        }
        if let Some(above) = folder.parent() {
            self.make_folder(above)?;
        }
        match fs::create_dir(folder) {
            // Somebody else was quicker.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && fs::symlink_metadata(folder)?.is_dir() =>
            {
                return Ok(());
            }
            made => made?,
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
    }

    fn write_record(&self, record: &Record) -> Result<(), ApplyError> {
        let bytes = record.bytes().map_err(failed("writing", record::PATH))?;
        self.write(record::PATH, &bytes, 0o644)
    }

    fn write(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), ApplyError> {
        let at = self.at(path);
        let folder = at.parent().expect("a file has a folder");
        let write = || {
            self.make_folder(folder)?;
            let mut file = tempfile::Builder::new()
                .prefix(TEMPORARY)
                .tempfile_in(folder)?;
            file.write_all(bytes)?;
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(mode))?;
            file.as_file().sync_all()?;
            file.persist(&at).map_err(|error| error.error)?;
            Open::open(folder)?.sync_all()
        };
        write().map_err(failed("writing", path))
    }

    /// Removes a file that has our mark; with `force` also one of which somebody took the mark.
    fn remove(&self, path: &str, force: bool) -> Result<bool, ApplyError> {
        let Some(bytes) = self.content(path)? else {
            return Ok(false);
        };
        if !force && !bytes.starts_with(MARK.as_bytes()) {
            return Err(ApplyError::Unmarked(path.to_owned()));
        }
        let at = self.at(path);
        let remove = || {
            fs::remove_file(&at)?;
            Open::open(at.parent().expect("a file has a folder"))?.sync_all()
        };
        remove().map_err(failed("removing", path))?;
        Ok(true)
    }
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().rev();
    let parts = parts.filter(|it| !matches!(it, Component::RootDir | Component::CurDir));
    parts.map(|it| PathBuf::from(it.as_os_str())).collect()
}

fn failed(doing: &'static str, path: &str) -> impl FnOnce(io::Error) -> ApplyError {
    let path = path.to_owned();
    move |cause| ApplyError::Io { doing, path, cause }
}
