//! Headers of a tar archive (POSIX ustar), as much as an OCI archive needs.

/// Everything in an archive comes in blocks of so many bytes.
const BLOCK: usize = 512;

/// The header of a file of `length` bytes. The bytes follow it, then [`padding`].
pub(in crate::commands) fn file(path: &str, length: u64) -> Vec<u8> {
    header(path, length, (b'0', b"0000644\0"))
}

/// The header of a folder.
pub(super) fn folder(path: &str) -> Vec<u8> {
    header(path, 0, (b'5', b"0000755\0"))
}

/// What fills the last block of a file.
pub(in crate::commands) fn padding(length: u64) -> Vec<u8> {
    let over = usize::try_from(length % BLOCK as u64).expect("below 512");
    vec![0; (BLOCK - over) % BLOCK]
}

/// What ends an archive.
pub(in crate::commands) fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}

fn header(path: &str, length: u64, (kind, mode): (u8, &[u8; 8])) -> Vec<u8> {
    assert!(path.len() <= 100, "paths of a layout are short");
    let mut block = vec![0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, path.as_bytes());
    put(100, mode);
    // Owner and group: nobody in particular is root. The time: 1970, so that the same image makes the same archive.
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    match length {
        0..0o100_000_000_000 => put(124, format!("{length:011o}\0").as_bytes()),
        // From 8 GiB on, as GNU tar and everybody since writes it: the first bit set, then a binary number.
        _ => {
            put(124, &[0x80]);
            put(128, &length.to_be_bytes());
        }
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn tar_reads_what_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.tar");
        let archive = [
            self::folder("blobs/"),
            file("blobs/b", 3),
            b"abc".to_vec(),
            padding(3),
            file("empty", 0),
            padding(0),
            end(),
        ];
        let archive = archive.concat();
        assert_eq!(archive.len() % BLOCK, 0);
        fs::write(&path, archive).expect("written");
        let listed = Command::new("tar")
            .args(["--numeric-owner", "--utc", "-tvf"])
            .arg(&path)
            .output()
            .expect("tar runs");
        let text = String::from_utf8(listed.stdout).expect("text");
        assert!(listed.status.success(), "{text}");
        let words: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(words[0][0], "drwxr-xr-x");
        assert_eq!((words[1][2], words[1][5]), ("3", "blobs/b"));
        assert_eq!((words[2][2], words[2][5]), ("0", "empty"));
    }

    #[test]
    fn files_of_any_length_have_a_header() {
        assert_eq!(&file("a", 0o77_777_777_777)[124..136], b"77777777777\0");
        let large = file("a", 8 << 30);
        assert_eq!(large[124], 0x80);
        assert_eq!(large[128..136], (8u64 << 30).to_be_bytes());
    }
}
