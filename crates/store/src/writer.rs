//! Writing one piece: bytes go to the file and through the hash in one pass, and the mark comes last.
//!
//! Whoever writes a piece has it for himself, and a marked piece cannot be had: its bytes never change. Between `writer`
//! and `finish` nothing is locked and nothing is allocated.

use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use types::{ByteCount, ByteRange, PieceDigest, PieceHasher, PieceIndex};

use crate::{content::Content, directory::punch, fault::DiskError, read::ReadError};

/// Why a piece is not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The content has no such piece.
    #[error("the content has no {0}")]
    NoSuchPiece(PieceIndex),
    /// It is marked: there is nothing to do.
    #[error("{0} is held already")]
    Held(PieceIndex),
    /// Another writer has it: wait for its outcome.
    #[error("{0} is being written by another")]
    Busy(PieceIndex),
    /// The bytes do not make a whole piece; more would not have been written.
    #[error("{piece} has {expected} bytes, not {found}")]
    Length {
        /// Which.
        piece: PieceIndex,
        /// Its length.
        expected: ByteCount,
        /// What came.
        found: ByteCount,
    },
    /// The bytes are not those of the piece: whoever sent them is to blame.
    #[error("{piece} does not match its digest")]
    Digest {
        /// Which.
        piece: PieceIndex,
        /// What it should have been.
        expected: PieceDigest,
        /// What it was.
        found: PieceDigest,
    },
    /// The content was voided while the piece was written.
    #[error("{0} belongs to a table that was voided")]
    Voided(PieceIndex),
    /// The disk failed; the content can still be streamed past the store.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Writes one piece. Dropped before [`PieceWriter::finish`], nothing is marked and its room is given back. It holds a
/// handle on its content.
pub struct PieceWriter {
    content: Content,
    piece: PieceIndex,
    range: ByteRange,
    at: u64,
    hasher: PieceHasher,
    age: u64,
    marked: bool,
}

impl Content {
    /// Begins to write `piece`, after setting its room aside.
    ///
    /// After an unclean boot a marked piece is hashed first, and can be had if it is corrupt.
    pub fn writer(&self, piece: PieceIndex) -> Result<PieceWriter, WriteError> {
        if !self.live.layout.contains(piece) {
            return Err(WriteError::NoSuchPiece(piece));
        }
        self.shared.check_open()?;
        loop {
            let mut state = self.live.state.lock();
            if state.marks.is_sound(piece) {
                return Err(WriteError::Held(piece));
            }
            if state.marks.have().contains(piece) {
                drop(state);
                match self.verify(piece) {
                    Ok(()) | Err(ReadError::Missing(_)) => continue,
                    Err(ReadError::Disk(error)) => return Err(error.into()),
                    Err(ReadError::OutOfRange { .. }) => {
                        return Err(WriteError::NoSuchPiece(piece));
                    }
                }
            }
            if state.claimed.contains(&piece) {
                return Err(WriteError::Busy(piece));
            }
            if state.unsettled.contains(&piece) {
                drop(state);
                self.shared.commit()?;
                continue;
            }
            let range = self.live.layout.range_of(piece);
            let missing = range.length().saturating_sub(state.reserved);
            if missing > ByteCount::ZERO {
                self.shared.reserve(missing)?;
            }
            state.reserved = state
                .reserved
                .saturating_add(missing)
                .saturating_sub(range.length());
            state.claimed.insert(piece);
            let age = state.age;
            drop(state);
            return Ok(PieceWriter {
                content: self.clone(),
                piece,
                range,
                at: range.start(),
                hasher: PieceHasher::new(&self.live.layout, piece),
                age,
                marked: false,
            });
        }
    }
}

impl PieceWriter {
    /// Which piece.
    pub fn piece(&self) -> PieceIndex {
        self.piece
    }

    /// How many bytes are still to come.
    pub fn missing(&self) -> ByteCount {
        ByteCount(self.range.end() - self.at)
    }

    /// Writes the next bytes. More than the piece takes are refused before any is written; after an error of the disk
    /// the same bytes may be written again.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let length = bytes.len() as u64;
        if length > self.missing().0 {
            return Err(self.wrong_length(length));
        }
        self.content
            .live
            .file
            .write_all_at(bytes, self.at)
            .map_err(|cause| DiskError::io("writing a piece", cause).wanting(ByteCount(length)))?;
        self.hasher.update(bytes);
        self.at += length;
        Ok(())
    }

    /// Marks the piece, if it is whole and its digest is `expected` (where one is known), and gives the digest.
    ///
    /// From here on it may be read and served; the mark reaches the disk with the next commit.
    pub fn finish(mut self, expected: Option<PieceDigest>) -> Result<PieceDigest, WriteError> {
        if self.missing() > ByteCount::ZERO {
            return Err(self.wrong_length(0));
        }
        let found = self.hasher.finish();
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(WriteError::Digest {
                piece: self.piece,
                expected,
                found,
            });
        }
        let shared = &self.content.shared;
        shared.check_open()?;
        let mut state = self.content.live.state.lock();
        if state.age != self.age {
            return Err(WriteError::Voided(self.piece));
        }
        state.claimed.remove(&self.piece);
        state.marks.insert(self.piece, found);
        shared.ledger.lock().fill(self.range.length());
        drop(state);
        shared
            .written
            .fetch_add(self.range.length().0, Ordering::Relaxed);
        self.marked = true;
        Ok(found)
    }

    fn wrong_length(&self, more: u64) -> WriteError {
        WriteError::Length {
            piece: self.piece,
            expected: self.range.length(),
            found: ByteCount(self.at - self.range.start() + more),
        }
    }
}

impl std::fmt::Debug for PieceWriter {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "writer of {} of {:?}", self.piece, self.content)
    }
}

impl Drop for PieceWriter {
    fn drop(&mut self) {
        if self.marked {
            return;
        }
        let live = &self.content.live;
        if self.at > self.range.start() {
            punch(&live.file, self.range);
        }
        let mut state = live.state.lock();
        state.claimed.remove(&self.piece);
        // Kept for the next writer; given back with the last handle.
        state.reserved = state.reserved.saturating_add(self.range.length());
    }
}
