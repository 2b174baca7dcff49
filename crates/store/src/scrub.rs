//! The slow look at everything: disks lose bits without saying so.

use std::num::NonZeroU64;

use types::{ByteCount, PieceIndex, TaskId};

use crate::{content::Content, fault::DiskError, read::ReadError, store::Store};

/// Where the next step goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor(Option<(TaskId, PieceIndex)>);

/// What a step found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes that were hashed again.
    pub bytes: ByteCount,
    /// Pieces that were.
    pub pieces: u32,
    /// Pieces that were corrupt and are forgotten now.
    pub corrupt: Vec<(TaskId, PieceIndex)>,
    /// Whether the end was reached: the next step begins anew.
    pub finished: bool,
}

impl Store {
    /// Hashes stored pieces again, as read from the disk where the kernel allows it, until `bytes_max` were hashed (at
    /// least one piece is) or the end is reached. The owner of the store sets the pace.
    ///
    /// Errors: the disk failed otherwise than by a piece that cannot be read; the next step goes on behind it.
    pub fn scrub_step(&self, bytes_max: ByteCount) -> Result<Scrubbed, DiskError> {
        let shared = &self.shared;
        let mut cursor = shared.scrub.lock();
        let mut done = Scrubbed::default();
        loop {
            let (task, from) = cursor
                .0
                .unwrap_or((TaskId::from_bytes([0; 32]), PieceIndex(0)));
            let next = shared
                .entries()
                .iter_from(task)
                .find(|(_, entry)| !entry.going)
                .map(|(task, _)| task);
            let Some(found) = next else {
                cursor.0 = None;
                done.finished = true;
                return Ok(done);
            };
            let from = if found == task { from } else { PieceIndex(0) };
            if let Some(content) = self.content(found)? {
                while let Some(piece) = next_marked(&content, cursor_piece(&cursor, found, from)) {
                    if done.pieces > 0 && done.bytes >= bytes_max {
                        return Ok(done);
                    }
                    cursor.0 = Some((found, PieceIndex(piece.0.saturating_add(1))));
                    done.look_at(&content, piece)?;
                }
            }
            cursor.0 = after(found).map(|task| (task, PieceIndex(0)));
            if cursor.0.is_none() {
                done.finished = true;
                return Ok(done);
            }
        }
    }
}

impl Scrubbed {
    fn look_at(&mut self, content: &Content, piece: PieceIndex) -> Result<(), DiskError> {
        let range = content.layout().range_of(piece);
        // Only clean pages go, and only from the cache; without this the disk itself would not be looked at.
        let length = NonZeroU64::new(range.length().0);
        if length.is_some() {
            let _ = rustix::fs::fadvise(
                &content.live.file,
                range.start(),
                length,
                rustix::fs::Advice::DontNeed,
            );
        }
        self.pieces += 1;
        self.bytes = self.bytes.saturating_add(range.length());
        match content.verify(piece) {
            Ok(()) | Err(ReadError::OutOfRange { .. }) => Ok(()),
            Err(ReadError::Missing(_)) => {
                self.corrupt.push((content.task(), piece));
                Ok(())
            }
            Err(ReadError::Disk(error)) => Err(error),
        }
    }
}

fn cursor_piece(cursor: &Cursor, task: TaskId, otherwise: PieceIndex) -> PieceIndex {
    match cursor.0 {
        Some((at, piece)) if at == task => piece,
        _ => otherwise,
    }
}

fn next_marked(content: &Content, from: PieceIndex) -> Option<PieceIndex> {
    let state = content.live.state.lock();
    (from.0..content.layout().piece_count())
        .map(PieceIndex)
        .find(|piece| state.marks.have().contains(*piece))
}

/// The least task above `task`.
fn after(task: TaskId) -> Option<TaskId> {
    let mut bytes = *task.as_bytes();
    for byte in bytes.iter_mut().rev() {
        let (next, wrapped) = byte.overflowing_add(1);
        *byte = next;
        if !wrapped {
            return Some(TaskId::from_bytes(bytes));
        }
    }
    None
}
