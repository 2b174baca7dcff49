//! Creating the local socket without touching what is not ours.
//!
//! The socket is born in a folder that only we can enter, gets its mode there and is renamed into place: at no moment
//! can somebody connect whom its mode keeps out. A stale socket is replaced only if it is a socket, ours, and silent.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown},
        net::{UnixListener as StdListener, UnixStream as StdStream},
    },
    path::{Path, PathBuf},
    task::{Context, Poll},
};

use rustix::process::geteuid;
use tokio::net::{UnixListener, UnixStream, unix::SocketAddr};
use tokio_util::net::Listener;

/// The socket's mode: its owner and its group may connect.
const MODE: u32 = 0o660;

/// A listening socket; its name is removed when this is dropped, if it still is ours.
#[derive(Debug)]
pub struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

/// Why the socket was not created.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon answers there.
    #[error("another daemon answers at {path}")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has that name: it is left alone.
    #[error("{path} exists and is not a socket of ours")]
    Occupied {
        /// The name.
        path: PathBuf,
    },
    /// Others could replace the socket.
    #[error("the folder {folder} may be written by others: use one that only its owner can write")]
    Folder {
        /// The folder.
        folder: PathBuf,
    },
    /// The system said no.
    #[error("creating the socket {path}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        cause: io::Error,
    },
}

impl LocalSocket {
    /// Listens at `path`, for the daemon's user and `group` (the daemon's own when absent). Creates the last folder of
    /// the path if it is missing. Blocks for a few file operations; must be called within a runtime.
    pub fn bind(path: &Path, group: Option<u32>) -> Result<Self, SocketError> {
        let failed = |cause| SocketError::Io {
            path: path.to_owned(),
            cause,
        };
        let name = path
            .file_name()
            .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        check_folder(folder, &failed)?;
        check_free(path, &failed)?;
        let mut birthplace = std::ffi::OsString::from(".");
        birthplace.push(name);
        birthplace.push(format!(".{}", std::process::id()));
        let birthplace = folder.join(birthplace);
        DirBuilder::new()
            .mode(0o700)
            .create(&birthplace)
            .map_err(failed)?;
        let born = birthplace.join("s");
        let listener = (|| {
            let listener = StdListener::bind(&born)?;
            if group.is_some() {
                chown(&born, None, group)?;
            }
            fs::set_permissions(&born, Permissions::from_mode(MODE))?;
            listener.set_nonblocking(true)?;
            let inode = fs::symlink_metadata(&born)?.ino();
            fs::rename(&born, path)?;
            Ok((listener, inode))
        })();
        if listener.is_err() {
            let _ = fs::remove_file(&born);
        }
        let _ = fs::remove_dir(&birthplace);
        let (listener, inode) = listener.map_err(failed)?;
        Ok(Self {
            listener: UnixListener::from_std(listener).map_err(failed)?,
            path: path.to_owned(),
            inode,
        })
    }
}

impl Listener for LocalSocket {
    type Io = UnixStream;
    type Addr = SocketAddr;

    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(UnixStream, SocketAddr)>> {
        self.listener.poll_accept(context)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| found.ino() == self.inode && found.file_type().is_socket());
        if is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn check_folder(
    folder: &Path,
    failed: &impl Fn(io::Error) -> SocketError,
) -> Result<(), SocketError> {
    match DirBuilder::new().mode(0o755).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let found = fs::metadata(folder).map_err(failed)?;
    let is_trusted = found.uid() == geteuid().as_raw() || found.uid() == 0;
    // In a sticky folder such as /tmp, only owners rename and remove.
    let is_guarded = found.mode() & 0o022 == 0 || found.mode() & 0o1000 != 0;
    if found.is_dir() && is_trusted && is_guarded {
        Ok(())
    } else {
        Err(SocketError::Folder {
            folder: folder.to_owned(),
        })
    }
}

fn check_free(path: &Path, failed: &impl Fn(io::Error) -> SocketError) -> Result<(), SocketError> {
    let path_owned = || path.to_owned();
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    if !found.file_type().is_socket() || found.uid() != geteuid().as_raw() {
        return Err(SocketError::Occupied { path: path_owned() });
    }
    match StdStream::connect(path) {
        // Nobody listens: the rename replaces it.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(failed(error)),
        _ => Err(SocketError::InUse { path: path_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_for_its_owner_and_group_and_goes_with_the_daemon() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run/pantala.sock");
        let socket = LocalSocket::bind(&path, None).expect("a socket");
        let mode = fs::symlink_metadata(&path).expect("there").mode();
        assert_eq!(mode & 0o7777, MODE);
        assert!(matches!(
            LocalSocket::bind(&path, None),
            Err(SocketError::InUse { .. })
        ));
        drop(socket);
        let left = fs::read_dir(folder.path().join("run")).expect("a folder");
        assert_eq!(left.count(), 0);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_anything_else_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        drop(StdListener::bind(&path).expect("a stale socket"));
        let socket = LocalSocket::bind(&path, None).expect("replaced");
        // Another daemon took the name meanwhile: it stays.
        fs::remove_file(&path).expect("removed");
        let _other = StdListener::bind(&path).expect("another");
        drop(socket);
        assert!(path.exists());
        let file = folder.path().join("f");
        fs::write(&file, "precious").expect("a file");
        let link = folder.path().join("l");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        for occupied in [&file, &link] {
            assert!(matches!(
                LocalSocket::bind(occupied, None),
                Err(SocketError::Occupied { .. })
            ));
        }
        assert_eq!(fs::read_to_string(&link).expect("still there"), "precious");
    }

    #[tokio::test]
    async fn a_folder_that_others_write_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = folder.path().join("open");
        fs::create_dir(&open).expect("a folder");
        fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("a mode");
        assert!(matches!(
            LocalSocket::bind(&open.join("s"), None),
            Err(SocketError::Folder { .. })
        ));
    }
}
