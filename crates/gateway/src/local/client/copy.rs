//! Copies a range from the content file to another: shared blocks where the file system can, within the kernel where the
//! two file systems differ, through a buffer otherwise. Blocking.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt},
};

use rustix::{
    fs::copy_file_range,
    io::{Errno, pread},
};
use types::ByteRange;

/// Bytes of the buffer: larger ones measure no faster, smaller ones cost system calls.
const BUFFER: usize = 256 << 10;

/// Copies `range` of `content` to the offset `to.1` of `to.0`. An error may leave a part written.
pub(super) fn range(content: &OwnedFd, range: ByteRange, to: (&File, u64)) -> io::Result<()> {
    let (file, mut target) = to;
    let mut at = range.start();
    while at < range.end() {
        let length = usize::try_from(range.end() - at).unwrap_or(usize::MAX >> 1);
        // On XFS and btrfs this shares blocks when offsets are aligned (Linux 5.19).
        match copy_file_range(content, Some(&mut at), file, Some(&mut target), length) {
            Ok(0) => break,
            Ok(_) => {}
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    // What the kernel would not copy. It also says 0 for some file systems' files that are not empty.
    let mut buffer = vec![0; if at < range.end() { BUFFER } else { 0 }];
    while at < range.end() {
        let length = usize::try_from(range.end() - at).map_or(BUFFER, |left| left.min(BUFFER));
        let part = &mut buffer[..length];
        fill(content, at, part)?;
        file.write_all_at(part, target)?;
        at += length as u64;
        target += length as u64;
    }
    Ok(())
}

/// The bytes of a short range.
pub(super) fn read(content: &OwnedFd, range: ByteRange) -> io::Result<Vec<u8>> {
    let length = usize::try_from(range.length().0).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    fill(content, range.start(), &mut bytes)?;
    Ok(bytes)
}

fn fill(content: &OwnedFd, at: u64, bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match pread(content, &mut bytes[filled..], at + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn ranges_arrive_within_and_across_file_systems() {
        let bytes: Vec<u8> = (0..600_000usize).map(|at| (at % 251) as u8).collect();
        let mut source = tempfile::tempfile().expect("a file");
        source.write_all(&bytes).expect("written");
        let source = OwnedFd::from(source);
        let same = tempfile::tempfile().expect("a file");
        let other = File::from(memfd_create("target", MemfdFlags::CLOEXEC).expect("a memfd"));
        for target in [same, other] {
            let part = ByteRange::new(1000, 500_001).expect("a range");
            range(&source, part, (&target, 3)).expect("copied");
            let mut copied = vec![0; 499_001];
            target.read_exact_at(&mut copied, 3).expect("read");
            assert!(copied == bytes[1000..500_001]);
            let beyond = ByteRange::new(599_999, 600_001).expect("a range");
            assert!(range(&source, beyond, (&target, 0)).is_err());
        }
    }
}
