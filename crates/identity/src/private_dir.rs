//! A directory that only we can read, and files in it that are whole or absent.
//!
//! Everything goes through a descriptor of the directory, never through its path again, and no symbolic link is followed
//! at its end or inside it: whoever can write beside us must not choose what we read. Writers take an exclusive lock on
//! the directory, which holds between threads and between processes, so that a command line and a running scheduler may
//! change the same tokens.

use std::{
    fs::{DirBuilder, File},
    io::{Read, Write},
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat},
    io::{Errno, retry_on_intr},
};
use zeroize::Zeroizing;

use crate::load_error::{LoadError, LoadFault};

/// Longer than any file of ours: ten thousand tokens or revocations are some 2 MiB.
const FILE_LENGTH_MAX: u64 = 8 << 20;

/// An open directory, checked to be ours alone.
pub(crate) struct PrivateDir {
    dir: OwnedFd,
    path: PathBuf,
}

/// The right to write into a [`PrivateDir`], until dropped.
pub(crate) struct Locked<'a> {
    dir: &'a PrivateDir,
    /// A descriptor of its own: `flock` holds per open file, and closing it lets go.
    _lock: OwnedFd,
}

impl PrivateDir {
    /// Opens the directory, or makes it with mode 0700.
    pub(crate) fn open_or_create(path: &Path) -> Result<Self, LoadError> {
        let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
        created.map_err(|cause| {
            let doing = "making";
            LoadFault::Io { doing, cause }.at(path)
        })?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir =
            fs::open(path, flags, Mode::empty()).map_err(|errno| open_fault(errno).at(path))?;
        check(&dir, FileType::Directory).map_err(|fault| fault.at(path))?;
        Ok(Self {
            dir,
            path: path.to_owned(),
        })
    }

    /// The path of a file in it, for messages.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The contents of a file; `None` if there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, LoadError> {
        self.read_checked(name)
            .map_err(|fault| fault.at(self.path_of(name)))
    }

    fn read_checked(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, LoadFault> {
        // Non-blocking, or a pipe put in the file's place would hold us for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match fs::openat(&self.dir, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened.map_err(open_fault)?,
        };
        let stat = check(&file, FileType::RegularFile)?;
        let length = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if length > FILE_LENGTH_MAX {
            return Err(LoadFault::TooLong);
        }
        // Room for all of it at once: a key must not be left behind by a growing buffer.
        let room = usize::try_from(length).map_err(|_| LoadFault::TooLong)? + 1;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        let read = File::from(file)
            .take(FILE_LENGTH_MAX)
            .read_to_end(&mut bytes);
        let doing = "reading";
        read.map_err(|cause| LoadFault::Io { doing, cause })?;
        Ok(Some(bytes))
    }

    /// Waits for other writers, for as long as one takes to write a file.
    pub(crate) fn lock(&self) -> Result<Locked<'_>, LoadError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let locked = fs::openat(&self.dir, ".", flags, Mode::empty()).and_then(|own| {
            retry_on_intr(|| fs::flock(&own, FlockOperation::LockExclusive)).map(|()| own)
        });
        Ok(Locked {
            dir: self,
            _lock: locked.map_err(|errno| LoadFault::io("locking")(errno).at(&self.path))?,
        })
    }
}

impl Locked<'_> {
    /// Puts `bytes` under `name`: after a crash at any point, the file is the old one or the new one.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), LoadError> {
        let draft = format!(".{name}.new");
        let written = self.write_draft(&draft, bytes).and_then(|()| {
            let dir = &self.dir.dir;
            fs::renameat(dir, draft.as_str(), dir, name).map_err(LoadFault::io("naming"))
        });
        if written.is_err() {
            // The first failure is the one to report; a draft that stays is replaced by the next writer.
            let _ = fs::unlinkat(&self.dir.dir, draft.as_str(), AtFlags::empty());
        }
        written
            .and_then(|()| fs::fsync(&self.dir.dir).map_err(LoadFault::io("syncing")))
            .map_err(|fault| fault.at(self.dir.path_of(name)))
    }

    fn write_draft(&self, draft: &str, bytes: &[u8]) -> Result<(), LoadFault> {
        match fs::unlinkat(&self.dir.dir, draft, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(LoadFault::io("clearing a draft of")(errno)),
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.dir.dir, draft, flags, Mode::RUSR | Mode::WUSR)
            .map_err(LoadFault::io("making"))?;
        let mut file = File::from(file);
        let doing = "writing";
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(|cause| LoadFault::Io { doing, cause })
    }
}

fn open_fault(errno: Errno) -> LoadFault {
    match errno {
        // What NOFOLLOW and DIRECTORY answer to a link or to something else.
        Errno::LOOP | Errno::NOTDIR | Errno::NXIO => LoadFault::WrongKind,
        errno => LoadFault::io("opening")(errno),
    }
}

/// Of the right kind, ours, and closed to everybody else.
fn check(file: &OwnedFd, kind: FileType) -> Result<Stat, LoadFault> {
    let stat = fs::fstat(file).map_err(LoadFault::io("examining"))?;
    if FileType::from_raw_mode(stat.st_mode) != kind {
        Err(LoadFault::WrongKind)
    } else if stat.st_uid != rustix::process::geteuid().as_raw() {
        Err(LoadFault::WrongOwner(stat.st_uid))
    } else if stat.st_mode & 0o077 != 0 {
        Err(LoadFault::NotPrivate(stat.st_mode & 0o7777))
    } else {
        Ok(stat)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self as std_fs, Permissions},
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    fn fresh() -> (tempfile::TempDir, PrivateDir) {
        let place = tempfile::tempdir().expect("a temporary directory");
        let dir = PrivateDir::open_or_create(&place.path().join("keys")).expect("a directory");
        (place, dir)
    }

    fn write(dir: &PrivateDir, name: &str, bytes: &[u8]) {
        let lock = dir.lock().expect("a lock");
        lock.write(name, bytes).expect("a written file");
    }

    #[test]
    fn what_is_written_is_private_and_reads_back() {
        let (_place, dir) = fresh();
        assert!(dir.read("a").expect("no fault").is_none());
        write(&dir, "a", b"one");
        write(&dir, "a", b"two");
        assert_eq!(**dir.read("a").expect("no fault").expect("a file"), *b"two");
        let mode = |path: &Path| std_fs::metadata(path).expect("it is there").mode_bits();
        assert_eq!(mode(&dir.path), 0o700);
        assert_eq!(mode(&dir.path_of("a")), 0o600);
        let names = std_fs::read_dir(&dir.path).expect("a directory").count();
        assert_eq!(names, 1, "no draft stays behind");
    }

    trait ModeBits {
        fn mode_bits(&self) -> u32;
    }

    impl ModeBits for std_fs::Metadata {
        fn mode_bits(&self) -> u32 {
            self.permissions().mode() & 0o7777
        }
    }

    #[test]
    fn a_draft_left_by_a_crash_is_replaced() {
        let (_place, dir) = fresh();
        std_fs::write(dir.path_of(".a.new"), b"half").expect("a draft");
        write(&dir, "a", b"whole");
        assert_eq!(
            **dir.read("a").expect("no fault").expect("a file"),
            *b"whole"
        );
    }

    #[test]
    fn a_directory_open_to_others_or_behind_a_link_is_refused() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let open = place.path().join("open");
        std_fs::create_dir(&open).expect("a directory");
        std_fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("its mode");
        let refused = |path: &Path| {
            PrivateDir::open_or_create(path)
                .err()
                .expect("refused")
                .fault
        };
        assert!(matches!(refused(&open), LoadFault::NotPrivate(0o777)));

        let real = place.path().join("real");
        std_fs::create_dir(&real).expect("a directory");
        std_fs::set_permissions(&real, Permissions::from_mode(0o700)).expect("its mode");
        let link = place.path().join("link");
        symlink(&real, &link).expect("a link");
        assert!(matches!(refused(&link), LoadFault::WrongKind));

        let file = place.path().join("file");
        std_fs::write(&file, b"").expect("a file");
        assert!(matches!(refused(&file), LoadFault::Io { .. }));
    }

    #[test]
    fn files_that_are_links_directories_pipes_or_open_to_others_are_refused() {
        let (_place, dir) = fresh();
        let refused = |name: &str| dir.read(name).expect_err("refused").fault;
        write(&dir, "real", b"x");
        symlink(dir.path_of("real"), dir.path_of("link")).expect("a link");
        assert!(matches!(refused("link"), LoadFault::WrongKind));
        std_fs::create_dir(dir.path_of("sub")).expect("a directory");
        assert!(matches!(refused("sub"), LoadFault::WrongKind));
        let mode = Mode::RUSR | Mode::WUSR;
        fs::mknodat(&dir.dir, "pipe", FileType::Fifo, mode, 0).expect("a pipe");
        assert!(matches!(refused("pipe"), LoadFault::WrongKind));
        std_fs::set_permissions(dir.path_of("real"), Permissions::from_mode(0o640))
            .expect("a mode");
        assert!(matches!(refused("real"), LoadFault::NotPrivate(0o640)));
        let long = File::create(dir.path_of("long")).expect("a file");
        long.set_len(FILE_LENGTH_MAX + 1).expect("a length");
        long.set_permissions(Permissions::from_mode(0o600))
            .expect("a mode");
        assert!(matches!(refused("long"), LoadFault::TooLong));
    }
}
