//! An OCI image layout in a folder that appears complete and synced, or not at all. Blocking, but for short writes only.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;
use types::Digest;

use super::plan::blob_path;
use crate::problem::{Exit, Problem};

/// A layout under way, in a hidden folder beside its place. Dropped, nothing of it remains; what remains of one whose
/// process was killed goes when the same is written again.
pub(super) struct Folder {
    path: PathBuf,
    parent: PathBuf,
    temporary: TempDir,
    /// Tells others that somebody writes there.
    _lock: File,
    overwrite: bool,
}

/// How the names of such folders end, after six letters of chance.
const SUFFIX: &str = ".partial";
const CHANCE: usize = 6;

fn failed(path: &Path, cause: io::Error) -> Problem {
    Problem::of(Exit::Failed, &format!("writing {}", path.display()), cause)
        .next("check the folder, its permissions and the space left")
}

fn is_layout(path: &Path) -> bool {
    path.join("oci-layout").is_file()
}

/// Whether a layout may be written at `path`: early, before anything is fetched.
pub(super) fn check(path: &Path, overwrite: bool) -> Result<(), Problem> {
    let exists = |next: &str| {
        let message = format!("{} exists", path.display());
        Err(Problem::new(Exit::Failed, message).next(next.to_owned()))
    };
    match fs::symlink_metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(failed(path, cause)),
        Ok(found) if !found.is_dir() => exists("choose another name"),
        Ok(_) => {
            let mut entries = fs::read_dir(path).map_err(|cause| failed(path, cause))?;
            match (entries.next().is_none(), overwrite) {
                (true, _) => Ok(()),
                (false, true) if is_layout(path) => Ok(()),
                (false, true) => {
                    exists("it is no image layout and is not replaced: choose another name")
                }
                (false, false) => exists("choose another name, or pass --overwrite"),
            }
        }
    }
}

/// A new hidden folder, and its lock.
fn hidden(parent: &Path, prefix: &str) -> io::Result<(TempDir, File)> {
    loop {
        let mut new = tempfile::Builder::new();
        new.prefix(prefix).suffix(SUFFIX).rand_bytes(CHANCE);
        let folder = new.tempdir_in(parent)?;
        let lock = File::open(folder.path())?;
        // Who sweeps may take it before it is locked: then there is another. Not every file system has locks.
        let is_taken = matches!(lock.try_lock(), Err(TryLockError::WouldBlock));
        if !is_taken && folder.path().exists() {
            return Ok((folder, lock));
        }
    }
}

/// Removes hidden folders of that name whose writer is gone: nobody holds their lock.
fn sweep(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_str().and_then(|name| name.strip_prefix(prefix));
        let chance = name.and_then(|name| name.strip_suffix(SUFFIX));
        let is_hidden = chance.is_some_and(|chance| {
            chance.len() == CHANCE && chance.bytes().all(|c| c.is_ascii_alphanumeric())
        });
        if is_hidden
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(folder) = File::open(entry.path())
            && folder.try_lock().is_ok()
        {
            // What cannot be removed does no harm.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Folder {
    pub(super) fn begin(path: &Path, overwrite: bool) -> Result<Self, Problem> {
        check(path, overwrite)?;
        let name = path.file_name().ok_or_else(|| {
            Problem::new(Exit::Usage, format!("{} names no folder", path.display()))
                .next("name a new one, such as ./image")
        })?;
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
            .to_owned();
        let prefix = format!(".{}.", name.to_string_lossy());
        sweep(&parent, &prefix);
        let begun = hidden(&parent, &prefix).map_err(|cause| failed(path, cause));
        let (temporary, lock) = begun?;
        Ok(Self {
            path: parent.join(name),
            parent,
            temporary,
            _lock: lock,
            overwrite,
        })
    }

    /// Where a blob is to be written.
    pub(super) fn place_of(&self, digest: &Digest) -> Result<PathBuf, Problem> {
        let path = self.temporary.path().join(blob_path(digest));
        self.make_parent(&path)?;
        Ok(path)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Problem> {
        let path = self.temporary.path().join(name);
        self.make_parent(&path)?;
        let write = || {
            let mut file = File::create_new(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|cause| failed(&path, cause))
    }

    fn make_parent(&self, path: &Path) -> Result<(), Problem> {
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.map_err(|cause| failed(path, cause))
    }

    /// Gives it its name. It is durable when this returns.
    pub(super) fn publish(self) -> Result<(), Problem> {
        let made = self.temporary.path();
        let publish = || {
            for folder in fs::read_dir(made.join("blobs"))? {
                File::open(folder?.path())?.sync_all()?;
            }
            File::open(made.join("blobs"))?.sync_all()?;
            fs::set_permissions(made, Permissions::from_mode(0o755))?;
            File::open(made)?.sync_all()?;
            match fs::rename(made, &self.path) {
                Err(cause)
                    if cause.kind() == io::ErrorKind::DirectoryNotEmpty && self.overwrite =>
                {
                    // The old one takes the temporary name, and goes with it: unless what came there since is no layout.
                    let exchange =
                        || renameat_with(CWD, made, CWD, &self.path, RenameFlags::EXCHANGE);
                    exchange()?;
                    if !is_layout(made) {
                        exchange()?;
                        return Err(io::Error::other("what is there is no image layout"));
                    }
                }
                other => other?,
            }
            File::open(&self.parent)?.sync_all()
        };
        publish().map_err(|cause| failed(&self.path, cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, overwrite: bool, text: &str) -> Result<(), Problem> {
        let folder = Folder::begin(path, overwrite)?;
        let blob = folder.place_of(&Digest::sha256([1; 32]))?;
        fs::write(blob, text).expect("written");
        folder.write("oci-layout", b"{}")?;
        folder.publish()
    }

    #[test]
    fn a_layout_appears_whole_and_replaces_nothing_but_another() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("image");
        let blob = path.join(blob_path(&Digest::sha256([1; 32])));
        write(&path, false, "one").expect("written");
        assert_eq!(fs::read_to_string(&blob).expect("a blob"), "one");
        assert!(write(&path, false, "two").is_err());
        write(&path, true, "two").expect("replaced");
        assert_eq!(fs::read_to_string(&blob).expect("a blob"), "two");

        let other = home.path().join("photos");
        fs::create_dir(&other).expect("a folder");
        write(&other, false, "three").expect("an empty folder is filled");
        fs::remove_file(other.join("oci-layout")).expect("removed");
        assert!(write(&other, true, "four").is_err(), "it may be anything");
        fs::write(home.path().join("file"), "").expect("a file");
        assert!(write(&home.path().join("file"), true, "five").is_err());

        let late = home.path().join("late");
        let folder = Folder::begin(&late, true).expect("nothing is there yet");
        folder.write("oci-layout", b"{}").expect("written");
        folder.place_of(&Digest::sha256([1; 32])).expect("a place");
        fs::create_dir(&late).expect("a folder");
        fs::write(late.join("photo"), "mine").expect("a file");
        assert!(folder.publish().is_err(), "it came while blobs did");
        assert_eq!(
            fs::read_to_string(late.join("photo")).expect("kept"),
            "mine"
        );
        fs::remove_dir_all(&late).expect("removed");

        drop(Folder::begin(&home.path().join("left"), false).expect("begun"));
        let killed = home.path().join(".image.aB3dE6.partial");
        fs::create_dir(&killed).expect("a folder");
        fs::write(killed.join("blob"), "half").expect("a file");
        let running = Folder::begin(&path, true).expect("begun");
        drop(Folder::begin(&path, true).expect("begun"));
        assert!(!killed.exists(), "its writer is gone");
        assert!(running.temporary.path().exists(), "its writer is not");
        drop(running);
        let mut names: Vec<_> = fs::read_dir(home.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["file", "image", "photos"]);
    }
}
