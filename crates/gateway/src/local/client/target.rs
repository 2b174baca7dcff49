//! A file that appears under its name complete and synced, or not at all. Blocking.
//!
//! It is written without a name where the file system can (`O_TMPFILE`): a killed process leaves nothing behind.
//! Elsewhere it has a random hidden name beside the target.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    hash::{BuildHasher, RandomState},
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, fchmod, fsync, linkat, openat, renameat,
        renameat_with, statat, unlinkat,
    },
    io::Errno,
};

/// Why a target was not written.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is there already, and nobody said that it may be replaced.
    #[error("{path} exists: choose another name, or allow overwriting")]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// It names no file.
    #[error("{path} does not name a file")]
    Name {
        /// The target.
        path: PathBuf,
    },
    /// Fewer or more bytes arrived than were asked for.
    #[error("{path} would have {got} bytes instead of {want}")]
    Length {
        /// The target.
        path: PathBuf,
        /// Bytes asked for.
        want: u64,
        /// Bytes written.
        got: u64,
    },
    /// The system said no.
    #[error("writing {path}")]
    Io {
        /// The target.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        cause: io::Error,
    },
}

/// A target that is being written. Dropped, nothing of it remains.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    name: OsString,
    folder: OwnedFd,
    file: Arc<File>,
    /// The name it has meanwhile, if it has one.
    temporary: Option<OsString>,
    overwrite: bool,
}

impl Target {
    /// Opens a file without a name beside `path`. Fails early if `path` exists and may not be replaced.
    pub(super) fn begin(path: &Path, overwrite: bool) -> Result<Self, TargetError> {
        let failed = |cause: Errno| TargetError::Io {
            path: path.to_owned(),
            cause: cause.into(),
        };
        let no_name = || TargetError::Name {
            path: path.to_owned(),
        };
        let name = path.file_name().ok_or_else(no_name)?.to_owned();
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = parent.unwrap_or(Path::new("."));
        let folder = openat(CWD, parent, flags, Mode::empty()).map_err(failed)?;
        match statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                return Err(no_name());
            }
            Ok(_) if !overwrite => {
                return Err(TargetError::Exists {
                    path: path.to_owned(),
                });
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(error)),
        }
        let (file, temporary) = create(&folder, &name).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            name,
            folder,
            file: Arc::new(file),
            temporary,
            overwrite,
        })
    }

    /// The file to write to.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Checks the length, syncs, and gives the file its name. The name is durable when this returns.
    pub(super) fn publish(mut self, length: u64) -> Result<(), TargetError> {
        let got = self
            .file
            .metadata()
            .map_err(|cause| self.failed(cause))?
            .len();
        if got != length {
            return Err(TargetError::Length {
                path: self.path.clone(),
                want: length,
                got,
            });
        }
        fchmod(&*self.file, final_mode()).map_err(|cause| self.failed(cause.into()))?;
        self.file.sync_all().map_err(|cause| self.failed(cause))?;
        match self.name_it() {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                return Err(TargetError::Exists {
                    path: self.path.clone(),
                });
            }
            Err(error) => return Err(self.failed(error.into())),
        }
        fsync(&self.folder).map_err(|cause| self.failed(cause.into()))
    }

    fn name_it(&mut self) -> Result<(), Errno> {
        if self.temporary.is_none() {
            if !self.overwrite {
                return self.link(&self.name);
            }
            // A link never replaces: a name for a moment, then a rename.
            self.temporary = Some(named(&self.name, |name| self.link(name))?.1);
        }
        let temporary = self.temporary.as_ref().expect("just given");
        if self.overwrite {
            renameat(&self.folder, temporary, &self.folder, &self.name)?;
        } else {
            let (from, to) = (&self.folder, &self.folder);
            match renameat_with(from, temporary, to, &self.name, RenameFlags::NOREPLACE) {
                // Not on this file system: a link does not replace either.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    linkat(from, temporary, to, &self.name, AtFlags::empty())?;
                    unlinkat(from, temporary, AtFlags::empty())?;
                }
                other => other?,
            }
        }
        self.temporary = None;
        Ok(())
    }

    fn link(&self, name: &OsStr) -> Result<(), Errno> {
        let unnamed = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(CWD, unnamed, &self.folder, name, AtFlags::SYMLINK_FOLLOW)
    }

    fn failed(&self, cause: io::Error) -> TargetError {
        TargetError::Io {
            path: self.path.clone(),
            cause,
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = unlinkat(&self.folder, temporary, AtFlags::empty());
        }
    }
}

/// Nobody but the owner reads what is not complete yet.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

fn create(folder: &OwnedFd, name: &OsStr) -> Result<(File, Option<OsString>), Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    // Without /proc, a file without a name could never be given one.
    if Path::new("/proc/self/fd").exists() {
        match openat(folder, ".", flags | OFlags::TMPFILE, PRIVATE) {
            Ok(file) => return Ok((file.into(), None)),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let (file, name) = named(name, |name| openat(folder, name, flags, PRIVATE))?;
    Ok((file.into(), Some(name)))
}

/// Tries `make` with random hidden names like `name` until one is free.
fn named<T>(
    name: &OsStr,
    make: impl Fn(&OsStr) -> Result<T, Errno>,
) -> Result<(T, OsString), Errno> {
    for attempt in 0..16 {
        // Keyed by the system's randomness: nobody can occupy the names beforehand.
        let chance = RandomState::new().hash_one(attempt);
        let mut temporary = OsString::from(".");
        // A name has at most 255 bytes.
        temporary.push(if name.len() <= 200 {
            name
        } else {
            OsStr::new("target")
        });
        temporary.push(format!(".{chance:016x}.partial"));
        match make(&temporary) {
            Ok(made) => return Ok((made, temporary)),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::EXIST)
}

/// What any new file of this process gets. Read, not set: setting the mask would disturb other threads.
fn final_mode() -> Mode {
    let mask = std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("Umask:"))?;
            u32::from_str_radix(line.trim(), 8).ok()
        });
    mask.map_or(PRIVATE, |mask| Mode::from_raw_mode(0o666 & !mask))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::FileExt};

    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        let found = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<_> = found
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    }

    /// As on a file system without unnamed files.
    fn with_a_name(mut target: Target) -> Target {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let (file, name) = named(&target.name, |name| {
            openat(&target.folder, name, flags, PRIVATE)
        })
        .expect("a file");
        target.file = Arc::new(file.into());
        target.temporary = Some(name);
        target
    }

    #[test]
    fn a_target_appears_complete_or_not_at_all() {
        for is_named in [false, true] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("f");
            let begin = |overwrite| {
                let target = Target::begin(&path, overwrite).expect("begun");
                if is_named {
                    with_a_name(target)
                } else {
                    target
                }
            };
            let target = begin(false);
            target.file().write_all_at(b"new", 0).expect("written");
            assert_eq!(names(folder.path()).len(), usize::from(is_named));
            assert!(!path.exists());
            assert!(matches!(target.publish(4), Err(TargetError::Length { .. })));
            assert!(names(folder.path()).is_empty());

            let (target, rival) = (begin(false), begin(false));
            target.file().write_all_at(b"new", 0).expect("written");
            target.publish(3).expect("published");
            assert!(matches!(rival.publish(0), Err(TargetError::Exists { .. })));
            assert_eq!(fs::read(&path).expect("read"), b"new");
            assert!(matches!(
                Target::begin(&path, false),
                Err(TargetError::Exists { .. })
            ));

            let target = begin(true);
            target.file().write_all_at(b"newer", 0).expect("written");
            target.publish(5).expect("published");
            assert_eq!(fs::read(&path).expect("read"), b"newer");
            drop(begin(true));
            assert_eq!(names(folder.path()), ["f"]);
        }
    }

    #[test]
    fn strange_targets_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("d")).expect("a folder");
        for name in ["..", "d", "missing/f"] {
            assert!(
                Target::begin(&folder.path().join(name), true).is_err(),
                "{name}"
            );
        }
        // A link that leads nowhere still occupies its name.
        std::os::unix::fs::symlink("/nowhere", folder.path().join("l")).expect("a link");
        assert!(Target::begin(&folder.path().join("l"), false).is_err());
    }
}
