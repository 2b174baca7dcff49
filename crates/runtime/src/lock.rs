//! One that changes files at a time: a lock that nobody but root can take.

use std::{
    fs::{self, File as Open, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::files::Files;

/// Who has it writes a few small files.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);

#[expect(
    clippy::disallowed_methods,
    reason = "the system knows no wait for a lock that ends"
)]
fn rest() {
    sleep(PAUSE);
}

/// Takes the lock at `path`, in a folder that may be made, and removed by who had it; none if another has it for too long.
pub(crate) fn take(files: &Files, path: &str) -> io::Result<Option<Open>> {
    let at = files.at(path);
    let folder = at.parent().expect("a file has a folder");
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        files.make_folder(folder)?;
        let mut options = OpenOptions::new();
        let opened = options
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&at);
        let lock = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        match lock.try_lock() {
            Ok(()) if is_at(&lock, &at)? => return Ok(Some(lock)),
            // It was removed by who had it before.
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => rest(),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

fn is_at(lock: &Open, at: &std::path::Path) -> io::Result<bool> {
    match fs::symlink_metadata(at) {
        Ok(there) => {
            let ours = lock.metadata()?;
            Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
