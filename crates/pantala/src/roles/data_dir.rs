//! The data folder: ours alone, and not to be swapped by anybody else, before anything is put into it.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Others may write.
const OTHERS_WRITE: u32 = 0o022;
/// Everybody may write.
const ALL_WRITE: u32 = 0o002;
/// In such a folder everybody may rename only what is theirs, as in /tmp.
const STICKY: u32 = 0o1000;

/// Why the data folder is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    /// It is not there and cannot be made, or cannot be looked at.
    #[error("making the data folder {path}")]
    Make {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// A link, or no folder.
    #[error("the data folder {0} is a link or no folder")]
    NoFolder(PathBuf),
    /// Another user's.
    #[error("the data folder {path} belongs to user {owner}, and this process runs as user {us}")]
    Owner { path: PathBuf, owner: u32, us: u32 },
    /// Others may write into it.
    #[error("the data folder {path} has mode {mode:03o}: others may write into it")]
    Open { path: PathBuf, mode: u32 },
    /// Others may put another one in its place.
    #[error(
        "the data folder is in {parent}, which has mode {mode:03o}: anybody may put another folder in its place"
    )]
    Swappable { parent: PathBuf, mode: u32 },
}

impl DataDirError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> &'static str {
        match self {
            Self::Make { .. } => {
                "make it for the daemon's user with mode 700, or choose another host.data_dir"
            }
            Self::NoFolder(_) => "name the real folder in host.data_dir: a link is not followed",
            Self::Owner { .. } => {
                "run Pantala as that user, `chown` the folder, or choose another host.data_dir"
            }
            Self::Open { .. } => {
                "find out who wrote into it, then `chmod 700` it, or choose another host.data_dir"
            }
            Self::Swappable { .. } => "`chmod o-w` that folder, or choose another host.data_dir",
        }
    }
}

/// Makes the folder unless it is there, and refuses one that is not ours alone.
pub(crate) fn claim(path: &Path) -> Result<(), DataDirError> {
    let failed = |cause| {
        let path = path.to_owned();
        DataDirError::Make { path, cause }
    };
    // Looked at before it is made: making follows a link.
    match path.symlink_metadata() {
        Ok(found) if !found.is_dir() => return Err(DataDirError::NoFolder(path.to_owned())),
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(cause)),
        Ok(_) | Err(_) => {}
    }
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed)?;
    let found = path.symlink_metadata().map_err(failed)?;
    let us = rustix::process::geteuid().as_raw();
    if !found.is_dir() {
        return Err(DataDirError::NoFolder(path.to_owned()));
    }
    if found.uid() != us {
        let (path, owner) = (path.to_owned(), found.uid());
        return Err(DataDirError::Owner { path, owner, us });
    }
    if found.mode() & OTHERS_WRITE != 0 {
        let (path, mode) = (path.to_owned(), found.mode() & 0o7777);
        return Err(DataDirError::Open { path, mode });
    }
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        None => Ok(()),
        Some(parent) => not_swappable(parent, parent.metadata().map_err(failed)?.mode()),
    }
}

fn not_swappable(parent: &Path, mode: u32) -> Result<(), DataDirError> {
    if mode & ALL_WRITE != 0 && mode & STICKY == 0 {
        let (parent, mode) = (parent.to_owned(), mode & 0o7777);
        return Err(DataDirError::Swappable { parent, mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::Permissions,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    fn with_mode(path: &Path, mode: u32) -> &Path {
        fs::create_dir_all(path).expect("a folder");
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
        path
    }

    #[test]
    fn a_folder_of_our_own_is_taken_or_made() {
        let place = tempfile::tempdir().expect("a folder");
        let new = place.path().join("a/b");
        claim(&new).expect("made");
        assert_eq!(new.metadata().expect("there").mode() & 0o777, 0o700);
        claim(&new).expect("there");
        claim(with_mode(&place.path().join("shown"), 0o755)).expect("others may look");
        let shared = place.path().join("tmp");
        with_mode(&shared, 0o1777);
        claim(&shared.join("data")).expect("as in /tmp");
    }

    #[test]
    fn what_others_may_write_into_or_swap_is_refused() {
        let place = tempfile::tempdir().expect("a folder");
        for mode in [0o777, 0o770, 0o1777] {
            let open = place.path().join(format!("{mode:o}"));
            let refused = claim(with_mode(&open, mode));
            assert!(
                matches!(refused, Err(DataDirError::Open { .. })),
                "{mode:o}"
            );
        }
        let open = place.path().join("open");
        with_mode(&open, 0o777);
        let refused = claim(&open.join("data"));
        assert!(matches!(refused, Err(DataDirError::Swappable { .. })));
    }

    #[test]
    fn links_and_files_are_refused() {
        let place = tempfile::tempdir().expect("a folder");
        let (real, link, dangling) = (
            place.path().join("real"),
            place.path().join("link"),
            place.path().join("dangling"),
        );
        with_mode(&real, 0o700);
        symlink(&real, &link).expect("a link");
        symlink(place.path().join("nowhere"), &dangling).expect("a link");
        let file = place.path().join("file");
        fs::write(&file, b"").expect("a file");
        for path in [link, dangling, file] {
            assert!(matches!(claim(&path), Err(DataDirError::NoFolder(_))));
        }
        assert!(!place.path().join("nowhere").exists());
    }

    #[test]
    fn another_users_folder_is_refused() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("data");
        with_mode(&path, 0o700);
        if std::os::unix::fs::chown(&path, Some(12345), None).is_err() {
            return; // Only root may give a folder away.
        }
        assert!(matches!(
            claim(&path),
            Err(DataDirError::Owner { owner: 12345, .. })
        ));
    }
}
