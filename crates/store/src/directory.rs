//! The data directory: refused unless it is ours alone, and never left through a link.
//!
//! Everything is opened relative to descriptors of the checked directories, with `O_NOFOLLOW` and `O_CLOEXEC`, files
//! 0600 and directories 0700. A name in `content/` is the 64 digits of a task and nothing else.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags},
    io::Errno,
};
use types::{ByteCount, TaskId};

use crate::fault::DiskError;

const DIRECTORY_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const ALWAYS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// Why a data directory is not safe to use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeDirectory {
    /// It is a link, or no directory at all.
    #[error("{path} is not a directory itself (a link is not followed): name the real directory")]
    NotADirectory {
        /// Which.
        path: PathBuf,
    },
    /// Somebody else owns it.
    #[error(
        "{path} belongs to user {owner}, not to us ({us}): chown it or choose another directory"
    )]
    Owner {
        /// Which.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// Others may write into it.
    #[error("{path} has mode {mode:03o}, so that others may write into it: chmod it to 700")]
    Mode {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds something of ours that is no plain file of ours.
    #[error("{path} is no plain file of ours with mode 600: remove it")]
    File {
        /// Which.
        path: PathBuf,
    },
}

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error(transparent)]
    Unsafe(#[from] UnsafeDirectory),
    #[error("another process uses it")]
    Locked,
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A checked and locked data directory. Dropping it unlocks it.
#[derive(Debug)]
pub(crate) struct Directory {
    root: OwnedFd,
    content: OwnedFd,
    path: PathBuf,
    _lock: OwnedFd,
}

/// A content file as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) length: ByteCount,
    /// Bytes of disk it takes; less than its length where it is sparse.
    pub(crate) allocated: ByteCount,
}

impl Directory {
    /// Opens `path`, creating it (but not its parents) where there is nothing.
    pub(crate) fn open(path: &Path) -> Result<Self, DirectoryError> {
        make(path).map_err(|errno| DiskError::io("creating the data directory", errno))?;
        let root = fs::open(path, OFlags::DIRECTORY | ALWAYS, Mode::empty());
        let root = checked(root, path)?;
        let content_path = path.join("content");
        match fs::mkdirat(&root, "content", DIRECTORY_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(DiskError::io("creating the content directory", errno).into()),
        }
        let content = fs::openat(&root, "content", OFlags::DIRECTORY | ALWAYS, Mode::empty());
        let content = checked(content, &content_path)?;
        let lock = plain(&root, "lock", path)?;
        match fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(DirectoryError::Locked),
            Err(errno) => return Err(DiskError::io("locking the data directory", errno).into()),
        }
        Ok(Self {
            root,
            content,
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The index file, opened to read and write, created where there is none.
    pub(crate) fn index(&self) -> Result<File, DirectoryError> {
        plain(&self.root, "index.redb", &self.path).map(File::from)
    }

    /// A new, empty file for `task`, in place of whatever had its name.
    pub(crate) fn create(&self, task: TaskId, length: ByteCount) -> Result<File, DiskError> {
        const DOING: &str = "creating a content file";
        self.remove(task)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | ALWAYS;
        let file = fs::openat(&self.content, task.to_string(), flags, FILE_MODE)
            .map_err(|errno| DiskError::io(DOING, errno))?;
        if let Err(errno) = fs::ftruncate(&file, length.0) {
            // Left behind, it would be an orphan until the next start.
            let _ = self.remove(task);
            return Err(DiskError::io(DOING, errno).wanting(length));
        }
        Ok(file.into())
    }

    /// The file of `task`, to read and write.
    pub(crate) fn content(&self, task: TaskId) -> Result<File, DiskError> {
        self.open_content(task, OFlags::RDWR).map(File::from)
    }

    /// The file of `task`, to read only: fit to be handed to somebody else.
    pub(crate) fn content_read_only(&self, task: TaskId) -> Result<OwnedFd, DiskError> {
        self.open_content(task, OFlags::RDONLY)
    }

    fn open_content(&self, task: TaskId, flags: OFlags) -> Result<OwnedFd, DiskError> {
        fs::openat(
            &self.content,
            task.to_string(),
            flags | ALWAYS,
            Mode::empty(),
        )
        .map_err(|errno| DiskError::io("opening a content file", errno))
    }

    /// Removes the file of `task`, if there is one.
    pub(crate) fn remove(&self, task: TaskId) -> Result<(), DiskError> {
        match fs::unlinkat(&self.content, task.to_string(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(DiskError::io("removing a content file", errno)),
        }
    }

    /// Every task that has a name in `content/`, and what that is: none if it is no plain file of ours.
    pub(crate) fn contents(&self) -> Result<Vec<(TaskId, Option<Found>)>, DiskError> {
        const DOING: &str = "listing the content directory";
        let mut contents = Vec::new();
        for entry in fs::Dir::read_from(&self.content).map_err(|e| DiskError::io(DOING, e))? {
            let entry = entry.map_err(|e| DiskError::io(DOING, e))?;
            let name = entry.file_name();
            let Some(task) = name.to_str().ok().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let stat = fs::statat(&self.content, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| DiskError::io(DOING, e))?;
            let found = is_ours(&stat).then(|| Found {
                length: ByteCount(u64::try_from(stat.st_size).unwrap_or(0)),
                allocated: ByteCount(
                    u64::try_from(stat.st_blocks)
                        .unwrap_or(0)
                        .saturating_mul(512),
                ),
            });
            contents.push((task, found));
        }
        Ok(contents)
    }

    /// Bytes that the file system would still give us.
    pub(crate) fn free(&self) -> Result<ByteCount, DiskError> {
        let stat = fs::fstatvfs(&self.content)
            .map_err(|errno| DiskError::io("asking for free space", errno))?;
        Ok(ByteCount(stat.f_bavail.saturating_mul(stat.f_frsize)))
    }

    /// Brings everything on this file system to the disk.
    pub(crate) fn sync_all(&self) -> Result<(), DiskError> {
        fs::syncfs(&self.content).map_err(|errno| DiskError::io("syncing the file system", errno))
    }

    /// Brings the names of new content files to the disk.
    pub(crate) fn sync_names(&self) -> Result<(), DiskError> {
        fs::fsync(&self.content)
            .map_err(|errno| DiskError::io("syncing the content directory", errno))
    }
}

fn make(path: &Path) -> rustix::io::Result<()> {
    match fs::mkdir(path, DIRECTORY_MODE) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        // On a read-only file system an existing directory may say either; opening it tells.
        Err(Errno::ROFS) if path.symlink_metadata().is_ok() => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether a directory is ours alone; one that others may only read is closed to them.
fn checked(opened: rustix::io::Result<OwnedFd>, path: &Path) -> Result<OwnedFd, DirectoryError> {
    const DOING: &str = "opening the data directory";
    let directory = match opened {
        Ok(directory) => directory,
        Err(Errno::LOOP | Errno::NOTDIR) => {
            return Err(UnsafeDirectory::NotADirectory { path: path.into() }.into());
        }
        Err(errno) => return Err(DiskError::io(DOING, errno).into()),
    };
    let stat = fs::fstat(&directory).map_err(|errno| DiskError::io(DOING, errno))?;
    let us = rustix::process::geteuid().as_raw();
    if stat.st_uid != us {
        return Err(UnsafeDirectory::Owner {
            path: path.into(),
            owner: stat.st_uid,
            us,
        }
        .into());
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o022 != 0 {
        return Err(UnsafeDirectory::Mode {
            path: path.into(),
            mode,
        }
        .into());
    }
    if mode != DIRECTORY_MODE.as_raw_mode() {
        fs::fchmod(&directory, DIRECTORY_MODE).map_err(|errno| DiskError::io(DOING, errno))?;
    }
    Ok(directory)
}

/// Opens or creates one of our own plain files next to `content/`.
fn plain(root: &OwnedFd, name: &str, path: &Path) -> Result<OwnedFd, DirectoryError> {
    const DOING: &str = "opening a file of the data directory";
    let strange = || UnsafeDirectory::File {
        path: path.join(name),
    };
    // Without O_NONBLOCK, opening somebody's FIFO would wait for its other end.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK | ALWAYS;
    let file = match fs::openat(root, name, flags, FILE_MODE) {
        Ok(file) => file,
        Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Err(strange().into()),
        Err(errno) => return Err(DiskError::io(DOING, errno).into()),
    };
    let stat = fs::fstat(&file).map_err(|errno| DiskError::io(DOING, errno))?;
    if is_ours(&stat) {
        Ok(file)
    } else {
        Err(strange().into())
    }
}

fn is_ours(stat: &fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_uid == rustix::process::geteuid().as_raw()
        && stat.st_mode & 0o077 == 0
}

/// Gives the blocks below `start..end` of `file` back; where the file system cannot, the bytes stay until they are
/// written again.
pub(crate) fn punch(file: &File, range: types::ByteRange) {
    use fs::FallocateFlags as Flags;
    if range.is_empty() {
        return;
    }
    let flags = Flags::PUNCH_HOLE | Flags::KEEP_SIZE;
    if let Err(errno) = fs::fallocate(file, flags, range.start(), range.length().0) {
        tracing::debug!(error = &io::Error::from(errno) as &dyn std::error::Error, %range, "no hole punched");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata()
            .expect("exists")
            .permissions()
            .mode()
            & 0o7777
    }

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("ours");
    }

    fn refusal(path: &Path) -> UnsafeDirectory {
        match Directory::open(path) {
            Err(DirectoryError::Unsafe(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn unsafe_directories_are_refused() {
        let outer = tempfile::tempdir().expect("a directory");
        let real = outer.path().join("real");
        std::fs::create_dir(&real).expect("made");
        for bad in [0o777, 0o770, 0o702, 0o1777, 0o722] {
            chmod(&real, bad);
            assert!(matches!(refusal(&real), UnsafeDirectory::Mode { mode, .. } if mode == bad));
        }
        chmod(&real, 0o755);
        let link = outer.path().join("link");
        symlink(&real, &link).expect("linked");
        assert!(matches!(
            refusal(&link),
            UnsafeDirectory::NotADirectory { .. }
        ));
        let file = outer.path().join("file");
        std::fs::write(&file, "").expect("written");
        assert!(matches!(
            refusal(&file),
            UnsafeDirectory::NotADirectory { .. }
        ));
        std::fs::create_dir(real.join("content")).expect("made");
        chmod(&real.join("content"), 0o777);
        assert!(matches!(refusal(&real), UnsafeDirectory::Mode { .. }));
        std::fs::remove_dir(real.join("content")).expect("removed");
        symlink(outer.path(), real.join("content")).expect("linked");
        assert!(matches!(
            refusal(&real),
            UnsafeDirectory::NotADirectory { .. }
        ));
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let outer = tempfile::tempdir().expect("a directory");
        if std::os::unix::fs::chown(outer.path(), Some(12_345), None).is_err() {
            eprintln!("SKIPPED: only root may give a directory away");
            return;
        }
        assert!(matches!(
            refusal(outer.path()),
            UnsafeDirectory::Owner { owner: 12_345, .. }
        ));
    }

    #[test]
    fn strange_files_in_our_place_are_refused() {
        for name in ["lock", "index.redb"] {
            let outer = tempfile::tempdir().expect("a directory");
            let victim = outer.path().join("victim");
            std::fs::write(&victim, "precious").expect("written");
            let data = outer.path().join("data");
            std::fs::create_dir(&data).expect("made");
            symlink(&victim, data.join(name)).expect("linked");
            let opened = Directory::open(&data).and_then(|data| data.index().map(|_| ()));
            assert!(matches!(
                opened,
                Err(DirectoryError::Unsafe(UnsafeDirectory::File { .. }))
            ));
            assert_eq!(std::fs::read(&victim).expect("still there"), b"precious");
        }
    }

    #[test]
    fn modes_are_closed_and_the_second_owner_is_told() {
        let outer = tempfile::tempdir().expect("a directory");
        chmod(outer.path(), 0o755);
        let directory = Directory::open(outer.path()).expect("opened");
        let task = TaskId::from_bytes([7; 32]);
        directory.create(task, ByteCount(10)).expect("created");
        directory.index().expect("created");
        assert_eq!(mode(outer.path()), 0o700);
        assert_eq!(mode(&outer.path().join("content")), 0o700);
        for file in ["lock", "index.redb", &format!("content/{task}")] {
            assert_eq!(mode(&outer.path().join(file)), 0o600, "{file}");
        }
        assert!(matches!(
            Directory::open(outer.path()),
            Err(DirectoryError::Locked)
        ));
        drop(directory);
        assert!(Directory::open(outer.path()).is_ok());
    }

    #[test]
    fn a_link_with_the_name_of_a_task_is_never_followed() {
        let outer = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(&outer.path().join("data")).expect("opened");
        let victim = outer.path().join("victim");
        std::fs::write(&victim, "precious").expect("written");
        let task = TaskId::from_bytes([7; 32]);
        symlink(&victim, outer.path().join(format!("data/content/{task}"))).expect("linked");
        assert_eq!(directory.contents().expect("listed"), [(task, None)]);
        assert!(directory.content(task).is_err());
        directory.create(task, ByteCount(3)).expect("in its place");
        assert_eq!(std::fs::read(&victim).expect("still there"), b"precious");
    }
}
