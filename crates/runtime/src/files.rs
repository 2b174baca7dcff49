//! Single files and folders below a root: found, written and removed. Links are followed where others' files are read, as
//! the host would follow them, and never where ours are.

use std::{
    collections::BTreeSet,
    fs::{self, File as Open},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use crate::plan::{File, Owned};

const TEMPORARY: &str = ".pantala-runtime-";
/// Above this a file is no configuration.
const LENGTH_MAX: u64 = 4 << 20;

/// A host's files below a root.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    root: PathBuf,
}

/// What may stand where a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// Ours, as it was looked at just now.
    Ours,
    /// Nothing.
    Nothing,
}

impl Files {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(crate) fn find(&self, path: &str) -> Option<File> {
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
    pub(crate) fn obstacle(&self, path: &str) -> Option<String> {
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

    /// The bytes of a file of ours; none if it is not there. What is reached by a link, or is none, has no content that we
    /// know.
    pub(crate) fn content(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        if self.obstacle(path).is_some() {
            return Ok(Some(Vec::new()));
        }
        let at = self.at(path);
        let read = || match fs::symlink_metadata(&at)? {
            it if it.is_file() => fs::read(&at),
            _ => Ok(Vec::new()),
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Removes what a write that was broken off left beside `path`.
    pub(crate) fn sweep(&self, path: &str) {
        let entries = self.at(path).parent().map(fs::read_dir);
        for entry in entries.into_iter().flatten().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    pub(crate) fn missing_folders(&self, path: &str, folders: &mut BTreeSet<String>) {
        let parents = Path::new(path).ancestors().skip(1);
        let parents = parents.map(|it| it.to_string_lossy().into_owned());
        folders.extend(parents.filter(|it| !self.at(it).exists()));
    }

    /// With all above it, each open to readers whatever the umask says, and there after a crash.
    pub(crate) fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.exists() || folder == self.root {
            return Ok(());
        }
        let above = folder.parent();
        if let Some(above) = above {
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
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        above.map_or(Ok(()), |above| Open::open(above)?.sync_all())
    }

    /// Removes an empty folder; whether it is not there any more.
    pub(crate) fn leave_folder(&self, path: &str) -> bool {
        self.obstacle(path).is_none()
            && match fs::remove_dir(self.at(path)) {
                Ok(()) => true,
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            }
    }

    /// Writes a file at once. Errors: `AlreadyExists` where nothing was to be there and something is.
    pub(crate) fn write(&self, owned: &Owned, over: Over) -> io::Result<()> {
        let at = self.at(&owned.path);
        let folder = at.parent().expect("a file has a folder");
        self.make_folder(folder)?;
        let mut file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(folder)?;
        file.write_all(owned.content.as_bytes())?;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(owned.mode))?;
        file.as_file().sync_all()?;
        let persisted = match over {
            Over::Ours => file.persist(&at),
            Over::Nothing => file.persist_noclobber(&at),
        };
        persisted.map_err(|error| error.error)?;
        Open::open(folder)?.sync_all()
    }

    pub(crate) fn remove(&self, path: &str) -> io::Result<()> {
        let at = self.at(path);
        fs::remove_file(&at)?;
        Open::open(at.parent().expect("a file has a folder"))?.sync_all()
    }
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().rev();
    let parts = parts.filter(|it| !matches!(it, Component::RootDir | Component::CurDir));
    parts.map(|it| PathBuf::from(it.as_os_str())).collect()
}
