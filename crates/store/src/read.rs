//! Reading what is marked, and hashing again what an unclean boot put in doubt.

use std::{io::ErrorKind, os::unix::fs::FileExt, sync::atomic::Ordering};

use types::{ByteCount, ByteRange, PieceHasher, PieceIndex, PieceRun};

use crate::{content::Content, fault::DiskError};

/// How much is read at once to be hashed again.
const BUFFER: usize = 256 << 10;

/// Why bytes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The first piece that is not held, or turned out corrupt just now.
    #[error("{0} is missing")]
    Missing(PieceIndex),
    /// The range ends after the content.
    #[error("{range} lies outside a content of {length}")]
    OutOfRange {
        /// What was asked for.
        range: ByteRange,
        /// What there is.
        length: ByteCount,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Content {
    /// Fills `to` with the bytes from `start` on. All of them lie in marked pieces, or nothing is promised about `to`.
    pub fn read_at(&self, start: u64, to: &mut [u8]) -> Result<(), ReadError> {
        let length = self.live.layout.length();
        let end = start.saturating_add(to.len() as u64);
        let range = ByteRange::new(start, end).expect("a sum is not below its part");
        if end > length.0 {
            return Err(ReadError::OutOfRange { range, length });
        }
        let Some(run) = self.live.layout.pieces_of(range) else {
            return Ok(());
        };
        loop {
            let voids = self.live.state.lock().voids;
            self.verify_run(run)?;
            if let Err(cause) = self.live.file.read_exact_at(to, start) {
                if is_damage(&cause) {
                    // Which piece is gone? It is missing from now on, and can be had from elsewhere.
                    run.pieces().try_for_each(|piece| self.verify(piece))?;
                }
                return Err(DiskError::io("reading a piece", cause).into());
            }
            // A piece voided meanwhile may have been read as the hole that it left.
            if self.live.state.lock().voids == voids {
                return Ok(());
            }
        }
    }

    /// Makes sure that every piece of `run` may be read from the file: it is marked, and believed or hashed again now.
    pub fn verify_run(&self, run: PieceRun) -> Result<(), ReadError> {
        let mut from = run.first.0;
        loop {
            let doubtful = {
                let state = self.live.state.lock();
                let mut rest = (from..run.first.0.saturating_add(run.count)).map(PieceIndex);
                if let Some(missing) = rest
                    .clone()
                    .find(|piece| !state.marks.have().contains(*piece))
                {
                    return Err(ReadError::Missing(missing));
                }
                rest.find(|piece| !state.marks.is_sound(*piece))
            };
            let Some(piece) = doubtful else { return Ok(()) };
            self.verify(piece)?;
            from = piece.0;
        }
    }

    /// Hashes a marked piece again. One that is not what its mark says, or cannot be read, is forgotten and `Missing`.
    pub(crate) fn verify(&self, piece: PieceIndex) -> Result<(), ReadError> {
        let expected = self.digest_of(piece).ok_or(ReadError::Missing(piece))?;
        let range = self.live.layout.range_of(piece);
        let mut hasher = PieceHasher::new(&self.live.layout, piece);
        let size = BUFFER.min(usize::try_from(range.length().0).unwrap_or(BUFFER));
        let mut buffer = vec![0; size];
        let mut at = range.start();
        let mut readable = true;
        while at < range.end() && readable {
            let step = usize::try_from(range.end() - at).map_or(size, |rest| rest.min(size));
            match self.live.file.read_exact_at(&mut buffer[..step], at) {
                Ok(()) => hasher.update(&buffer[..step]),
                Err(cause) if is_damage(&cause) => readable = false,
                Err(cause) => return Err(DiskError::io("hashing a piece again", cause).into()),
            }
            at += step as u64;
        }
        self.shared
            .rehashed
            .fetch_add(range.length().0, Ordering::Relaxed);
        if readable && hasher.finish() == expected {
            self.live.state.lock().marks.confirm(piece);
            return Ok(());
        }
        self.shared.corrupt.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(task = ?self.live.task, %piece, readable, "a stored piece is corrupt and is forgotten");
        self.forget(piece)?;
        Err(ReadError::Missing(piece))
    }
}

/// Whether the bytes themselves are gone: the file is shorter, or the device cannot read this place (EIO).
fn is_damage(cause: &std::io::Error) -> bool {
    cause.kind() == ErrorKind::UnexpectedEof
        || cause.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}
