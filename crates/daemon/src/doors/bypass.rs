//! Whether consumers are sent straight to the origin. An operator's decision: it outlives the process.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// The switch. It is on while its file is there.
pub(super) struct Bypass {
    file: PathBuf,
    is_on: AtomicBool,
}

impl Bypass {
    /// As it was left in `data_dir`.
    pub(super) fn load(data_dir: &Path) -> io::Result<Self> {
        let file = data_dir.join("bypass");
        let is_on = AtomicBool::new(file.try_exists()?);
        Ok(Self { file, is_on })
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Switches, durably: an error changes nothing for consumers. Blocks.
    pub(super) fn switch(&self, is_on: bool) -> io::Result<()> {
        if is_on {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(false);
            options.mode(0o600).open(&self.file)?.sync_all()?;
        } else if let Err(error) = fs::remove_file(&self.file)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let directory = self.file.parent().expect("a file in the data directory");
        File::open(directory)?.sync_all()?;
        self.is_on.store(is_on, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_bypass_outlives_the_process() {
        let dir = tempfile::tempdir().expect("a directory");
        let load = || Bypass::load(dir.path()).expect("loads");
        let bypass = load();
        assert!(!bypass.is_on());
        bypass.switch(true).expect("switches on");
        assert!(bypass.is_on() && load().is_on());
        let mode = fs::metadata(dir.path().join("bypass")).expect("a file");
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
        bypass.switch(true).expect("stays on");
        bypass.switch(false).expect("switches off");
        bypass.switch(false).expect("stays off");
        assert!(!bypass.is_on() && !load().is_on());
    }
}
