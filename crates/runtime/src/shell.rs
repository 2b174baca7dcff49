//! A host's engines: what is so, armed and taken back. What is written is recorded before it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    files::{Files, Over},
    lock,
    plan::{File, Found, MARK, Owned, Plan, Wanted, looks, plan},
    podman,
    record::{self, Record, RecordError},
};

/// The folder of the record, which holds nothing else but the lock.
const RECORDS: &str = "/var/lib/pantala-runtime";
const LOCK: &str = "/var/lib/pantala-runtime/lock";
/// Where CRI-O has its configuration.
const CRIO: [&str; 2] = ["/etc/crio", "/etc/crio.conf"];
/// More than any engine's files need: imports are looked up one after the other, folder by folder.
const ROUNDS_MAX: usize = 32;

/// Why a file, or all of them, could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Somebody edited a file of ours.
    #[error("{0} was changed since it was written, so it is not touched")]
    Changed(String),
    /// The record names what is no file of ours.
    #[error("{0} does not begin with our mark, so it is not removed")]
    Unmarked(String),
    /// The record was lost, or is another root's.
    #[error("{0} has our mark and is not in our record, so it is not removed")]
    Unrecorded(String),
    /// A link, or a file for a folder.
    #[error("{0} {1}, so it is not touched")]
    Obstacle(String, String),
    /// Not to be given up as it is.
    #[error("{0} begins with our mark still, so it is ours")]
    Marked(String),
    /// Nothing of ours.
    #[error("{0} is not in our record")]
    Stranger(String),
    /// They are not what was to be taken back.
    #[error("the files point engines at {0}, which is another mirror")]
    OtherMirror(String),
    /// Somebody has the lock.
    #[error("another one is changing these files ({LOCK} is locked)")]
    Busy,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// As it is planned.
    Armed,
    /// As it was written, for another address.
    Elsewhere,
    /// As it was written, and planned otherwise by now.
    Outdated,
    /// As it was written, and planned no more.
    Unplanned,
    /// Ours by its mark; the record does not know it.
    Unrecorded,
    /// Somebody removed it.
    Gone,
    /// Somebody edited it.
    Changed,
}

/// What was done.
#[derive(Debug)]
pub struct Applied {
    /// The plan, as it was carried out.
    pub plan: Plan,
    /// Paths that were written or removed.
    pub changed: Vec<String>,
    /// Files that were left as they are.
    pub left: Vec<ApplyError>,
}

/// What is to be taken back.
#[derive(Clone, Debug, Default)]
pub struct Undo {
    /// Removes files of ours that were edited or that the record does not know, too.
    pub force: bool,
    /// Only what points at that mirror.
    pub of: Option<SocketAddr>,
    /// Files that stay and are not ours any more.
    pub forget: Vec<String>,
}

/// What was taken back.
#[derive(Debug, Default)]
pub struct Undone {
    /// Paths that were removed.
    pub removed: Vec<String>,
    /// Files that stay.
    pub left: Vec<ApplyError>,
    /// What the operator has to do.
    pub next: Vec<String>,
}

/// A host's files below a root.
#[derive(Clone, Debug)]
pub struct Host {
    files: Files,
}

impl Host {
    /// The host whose files are below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            files: Files::new(root.into()),
        }
    }

    /// The plan for this host.
    pub fn plan(&self, wanted: &Wanted) -> Result<Plan, ApplyError> {
        Ok(self.plan_for(wanted, &self.record()?))
    }

    fn plan_for(&self, wanted: &Wanted, record: &Record) -> Plan {
        let mut found = self.found(wanted);
        found.owned = record.files.keys().cloned().collect();
        // Links are followed where others' files are read, and not where ours would be written.
        for file in plan(&found, wanted).files() {
            if let Some(why) = self.files.obstacle(&file.path) {
                found.files.insert(file.path.clone(), File::Foreign(why));
            }
        }
        plan(&found, wanted)
    }

    fn found(&self, wanted: &Wanted) -> Found {
        let (mut found, mut seen) = (Found::default(), BTreeSet::new());
        for _ in 0..ROUNDS_MAX {
            let new = &looks(&found, wanted) - &seen;
            if new.is_empty() {
                break;
            }
            for path in new {
                if let Some(file) = self.files.find(&path) {
                    found.files.insert(path.clone(), file);
                }
                seen.insert(path);
            }
        }
        found
    }

    fn record(&self) -> Result<Record, ApplyError> {
        match fs::read(self.files.at(record::PATH)) {
            Ok(bytes) => Ok(Record::parse(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
            Err(cause) => Err(failed("reading", record::PATH)(cause)),
        }
    }

    /// The mirror that what was written points at; none where nothing was written, or by a release that did not say.
    pub fn mirror(&self) -> Result<Option<SocketAddr>, ApplyError> {
        let mirror = self.record()?.mirror;
        Ok(mirror.and_then(|it| it.parse().ok()))
    }

    /// Files that have our mark and that the record does not know.
    fn strays(&self, record: &Record) -> Vec<String> {
        let found = self.found(&Wanted::nothing());
        let is_stray = |(path, file): &(&String, &File)| {
            let is_ours = matches!(file, File::Bytes(it) if it.starts_with(MARK.as_bytes()));
            is_ours && !record.files.contains_key(*path) && self.files.obstacle(path).is_none()
        };
        let strays = found.files.iter().filter(is_stray);
        strays.map(|(path, _)| path.clone()).collect()
    }

    /// The paths of ours, planned, recorded or found, and how each stands.
    pub fn standing(
        &self,
        plan: &Plan,
        wanted: &Wanted,
    ) -> Result<BTreeMap<String, Standing>, ApplyError> {
        let record = self.record()?;
        let planned: BTreeMap<&str, &Owned> =
            plan.files().map(|it| (it.path.as_str(), it)).collect();
        let mirror = wanted.mirror.to_string();
        let mut all = BTreeMap::new();
        for path in self.strays(&record) {
            all.insert(path, Standing::Unrecorded);
        }
        for path in record.files.keys() {
            let plan = planned.get(path.as_str()).map(|it| it.content.as_bytes());
            let how = match (self.content(path)?, plan) {
                (None, None) => continue,
                (None, Some(_)) => Standing::Gone,
                (Some(bytes), Some(plan)) if bytes == plan => Standing::Armed,
                (Some(bytes), _) if !record.knows(path, &bytes) => Standing::Changed,
                (Some(_), None) => Standing::Unplanned,
                (Some(bytes), _) if String::from_utf8_lossy(&bytes).contains(&mirror) => {
                    Standing::Outdated
                }
                _ => Standing::Elsewhere,
            };
            all.insert(path.clone(), how);
        }
        Ok(all)
    }

    fn content(&self, path: &str) -> Result<Option<Vec<u8>>, ApplyError> {
        self.files.content(path).map_err(failed("reading", path))
    }

    /// Makes the files that are planned once nobody else changes any, and removes those of ours that are planned no more.
    /// What others edited is left, unless `force` gives it up. A crash in the middle is mended by doing it again, or by
    /// undoing.
    pub fn apply(&self, wanted: &Wanted, force: bool) -> Result<Applied, ApplyError> {
        let (plan, record) = (self.plan(wanted)?, self.record()?);
        let has_any = plan.files().next().is_some() || !record.files.is_empty();
        if !has_any && (!force || self.strays(&record).is_empty()) {
            return Ok(Applied {
                plan,
                changed: Vec::new(),
                left: Vec::new(),
            });
        }
        let (_alone, folders) = self.alone()?;
        let mut record = self.record()?;
        record.folders.extend(folders);
        if force {
            for path in self.strays(&record) {
                record.files.insert(path, Vec::new());
            }
        }
        let plan = self.plan_for(wanted, &record);
        record.mirror = Some(wanted.mirror.to_string());
        self.carry_out(plan, record, force)
    }

    fn carry_out(
        &self,
        mut plan: Plan,
        mut record: Record,
        force: bool,
    ) -> Result<Applied, ApplyError> {
        let (mut changed, mut left, mut todo) = (Vec::new(), Vec::new(), Vec::new());
        let (mut settled, mut others) = (Vec::new(), Vec::new());
        for path in record
            .files
            .keys()
            .map(String::as_str)
            .chain([record::PATH])
        {
            self.sweep(path);
        }
        for file in plan.files() {
            let content = self.content(&file.path)?;
            let is_as_planned = content.as_deref() == Some(file.content.as_bytes());
            let is_ours = |bytes: &Vec<u8>| is_as_planned || record.knows(&file.path, bytes);
            if !content.as_ref().is_none_or(is_ours) {
                if !record.files.contains_key(&file.path) {
                    others.push(file.path.clone());
                    continue;
                } else if !force {
                    left.push(ApplyError::Changed(file.path.clone()));
                    continue;
                }
            }
            if !is_as_planned {
                let over = content.map_or(Over::Nothing, |_| Over::Ours);
                todo.push((file.clone(), over));
            }
            settled.push(file.clone());
            record.expect(&file.path, file.content.as_bytes());
            self.files.missing_folders(&file.path, &mut record.folders);
        }
        // After a crash the record names files that are not there yet, never the other way round.
        self.write_record(&record)?;
        for (file, over) in todo {
            if self.write(&file, over)? {
                changed.push(file.path);
            } else {
                record.files.remove(&file.path);
                others.push(file.path);
            }
        }
        others.iter().for_each(|path| plan.give_up(path));
        for file in settled {
            if record.files.contains_key(&file.path) {
                record.settle(&file.path, file.content.as_bytes());
            }
        }
        let planned: BTreeSet<String> = plan.files().map(|it| it.path.clone()).collect();
        let stale: BTreeSet<String> = record.files.keys().cloned().collect();
        for path in &stale - &planned {
            match self.take_back(&mut record, &path, force) {
                Ok(true) => changed.push(path),
                Ok(false) => {}
                Err(error) => left.push(error),
            }
        }
        self.write_record(&record)?;
        Ok(Applied {
            plan,
            changed,
            left,
        })
    }

    /// Whether `file` is there now; not if somebody else's has come where nothing was.
    fn write(&self, file: &Owned, over: Over) -> Result<bool, ApplyError> {
        match self.files.write(file, over) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && over == Over::Nothing => {
                Ok(self.content(&file.path)?.as_deref() == Some(file.content.as_bytes()))
            }
            Err(cause) => Err(failed("writing", &file.path)(cause)),
        }
    }

    /// Takes back what was written, as far as it is as it was written; the rest stays in the record.
    pub fn undo(&self, undo: &Undo) -> Result<Undone, ApplyError> {
        let has_record = self.files.at(RECORDS).is_dir();
        if !has_record && self.strays(&Record::default()).is_empty() {
            return match undo.forget.first() {
                Some(path) => Err(ApplyError::Stranger(path.clone())),
                None => Ok(Undone::default()),
            };
        }
        let (alone, folders) = self.alone()?;
        let mut record = self.record()?;
        record.folders.extend(folders);
        if let (Some(of), Some(mirror)) = (undo.of, &record.mirror)
            && of.to_string() != *mirror
        {
            return Err(ApplyError::OtherMirror(mirror.clone()));
        }
        for path in &undo.forget {
            self.forget(&mut record, path)?;
        }
        let mut undone = Undone::default();
        let recorded: Vec<String> = record.files.keys().cloned().collect();
        for path in recorded {
            match self.take_back(&mut record, &path, undo.force) {
                Ok(true) => undone.removed.push(path),
                Ok(false) => {}
                Err(error) => undone.left.push(error),
            }
        }
        for path in self.strays(&record) {
            // What the record keeps is no stray.
            if !undo.force {
                undone.left.push(ApplyError::Unrecorded(path));
                continue;
            }
            self.files
                .remove(&path)
                .map_err(failed("removing", &path))?;
            if let Some((folder, "hosts.toml")) = path.rsplit_once('/') {
                self.files.leave_folder(folder);
            }
            undone.removed.push(path);
        }
        self.leave_folders(&mut record, |_| true);
        if record.files.is_empty() {
            self.leave_record(alone, record)?;
        } else {
            self.write_record(&record)?;
        }
        let has_crio = || CRIO.iter().any(|it| self.files.find(it).is_some());
        if undone.removed.iter().any(|it| it == podman::OURS) && has_crio() {
            undone.next.push(
                "`systemctl reload crio`: it has read the file, and asks the mirror until then"
                    .into(),
            );
        }
        Ok(undone)
    }

    /// Gives a file up to whoever edited it.
    fn forget(&self, record: &mut Record, path: &str) -> Result<(), ApplyError> {
        if !record.files.contains_key(path) {
            return Err(ApplyError::Stranger(path.to_owned()));
        }
        if self
            .content(path)?
            .is_some_and(|it| it.starts_with(MARK.as_bytes()))
        {
            return Err(ApplyError::Marked(path.to_owned()));
        }
        record.files.remove(path);
        Ok(())
    }

    /// Removes a recorded file, and the folders that were made for it; whether it was there. Errors leave it in the record.
    fn take_back(&self, record: &mut Record, path: &str, force: bool) -> Result<bool, ApplyError> {
        if let Some(why) = self.files.obstacle(path) {
            return Err(ApplyError::Obstacle(path.to_owned(), why));
        }
        self.files.sweep(path);
        let content = self.content(path)?;
        if let Some(bytes) = &content {
            if !force && !record.knows(path, bytes) {
                return Err(ApplyError::Changed(path.to_owned()));
            }
            if !force && !bytes.starts_with(MARK.as_bytes()) {
                return Err(ApplyError::Unmarked(path.to_owned()));
            }
            self.files.remove(path).map_err(failed("removing", path))?;
        }
        record.files.remove(path);
        // An empty folder of one registry would hide what counts for all.
        self.leave_folders(record, |folder| Path::new(path).starts_with(folder));
        Ok(content.is_some())
    }

    /// Removes the folders that were made, but those that others use by now. The innermost is the longest.
    fn leave_folders(&self, record: &mut Record, which: impl Fn(&str) -> bool) {
        let mut folders: Vec<String> = record.folders.iter().cloned().collect();
        folders.sort_by_key(|path| std::cmp::Reverse(path.len()));
        for folder in folders.iter().filter(|it| which(it)) {
            if self.files.leave_folder(folder) {
                record.folders.remove(folder);
            }
        }
    }

    fn leave_record(&self, alone: fs::File, mut record: Record) -> Result<(), ApplyError> {
        self.sweep(record::PATH);
        for path in [record::PATH, LOCK] {
            match fs::remove_file(self.files.at(path)) {
                // A crash was before the first record, or after the last.
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("removing", path)(cause));
                }
                _ => {}
            }
        }
        drop(alone);
        self.files.leave_folder(RECORDS);
        // Those that held it.
        self.leave_folders(&mut record, |_| true);
        Ok(())
    }

    fn sweep(&self, path: &str) {
        if self.files.obstacle(path).is_none() {
            self.files.sweep(path);
        }
    }

    /// Nobody else changes files here for as long as that is kept; with the folders that are made for it. They are ours even
    /// if the innermost is there already: a crash may have left it.
    fn alone(&self) -> Result<(fs::File, BTreeSet<String>), ApplyError> {
        if let Some(why) = self.files.obstacle(LOCK) {
            return Err(ApplyError::Obstacle(LOCK.to_owned(), why));
        }
        let mut folders = BTreeSet::from([RECORDS.to_owned()]);
        self.files.missing_folders(RECORDS, &mut folders);
        let lock = lock::take(&self.files, LOCK).map_err(failed("locking", LOCK))?;
        Ok((lock.ok_or(ApplyError::Busy)?, folders))
    }

    /// Writes the record, unless it is so already.
    fn write_record(&self, record: &Record) -> Result<(), ApplyError> {
        let content = record.text().map_err(failed("writing", record::PATH))?;
        if fs::read(self.files.at(record::PATH)).is_ok_and(|it| it == content.as_bytes()) {
            return Ok(());
        }
        let file = Owned {
            path: record::PATH.to_owned(),
            content,
            mode: 0o644,
        };
        let written = self.files.write(&file, Over::Ours);
        written.map_err(failed("writing", record::PATH))
    }
}

fn failed(doing: &'static str, path: &str) -> impl FnOnce(io::Error) -> ApplyError {
    let path = path.to_owned();
    move |cause| ApplyError::Io { doing, path, cause }
}

#[cfg(test)]
mod tests;
