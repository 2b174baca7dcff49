//! A content in somebody's hands: the handle on it, its names, what was signed about it.

use std::{
    fs::File,
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
};

use types::{
    Digest, HostId, Layout, PieceDigest, PieceIndex, PieceSet, PieceTable, Seal, Segment, TaskId,
    Visibility,
};

use crate::{
    entries::{Live, Shared, now},
    fault::DiskError,
};

/// A handle on one content, cheap to clone. While any exists, the content is not removed.
pub struct Content {
    pub(crate) live: Arc<Live>,
    pub(crate) shared: Arc<Shared>,
}

/// Why a segment or seal is not kept.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// It speaks of another task, another layout, or of pieces that there are not.
    #[error("what was signed is not about this content")]
    Foreign,
    /// More segments overlap than honest importers make.
    #[error("too many segments overlap")]
    TooMany,
}

/// Why a content is not complete.
#[derive(Debug, thiserror::Error)]
pub enum CompleteError {
    /// Not every piece is held.
    #[error("{0} is missing")]
    Missing(PieceIndex),
    /// The content is known by another digest.
    #[error("the content is known as {known}, not as {found}")]
    Digest {
        /// What it was asked by.
        known: Digest,
        /// What was to be set.
        found: Digest,
    },
}

impl Content {
    /// The caller holds the lock of the entries, so that no removal comes between.
    pub(crate) fn handle(shared: &Arc<Shared>, live: &Arc<Live>) -> Self {
        live.handles.fetch_add(1, Ordering::AcqRel);
        Self {
            live: Arc::clone(live),
            shared: Arc::clone(shared),
        }
    }

    /// Whose content it is.
    pub fn task(&self) -> TaskId {
        self.live.task
    }

    /// How it is cut.
    pub fn layout(&self) -> Layout {
        self.live.layout
    }

    /// The marked pieces, as of now. After an unclean boot they may still fail their check at the first use.
    pub fn have(&self) -> PieceSet {
        self.live.state.lock().marks.have().clone()
    }

    /// Whether every piece is marked.
    pub fn has_all(&self) -> bool {
        self.live.state.lock().marks.have().is_full()
    }

    /// Whether every marked piece is believed: each was written or hashed since the last unclean boot.
    pub fn is_sound(&self) -> bool {
        self.live.state.lock().marks.is_all_sound()
    }

    /// How far pieces go on from `first` that may be read from the file at once: marked and believed. Gives the first
    /// one that may not.
    pub fn sound_until(&self, first: PieceIndex) -> PieceIndex {
        let doubtful = self.live.state.lock().marks.first_unsound(first);
        doubtful.unwrap_or(PieceIndex(self.live.layout.piece_count()))
    }

    /// The digest of a marked piece.
    pub fn digest_of(&self, piece: PieceIndex) -> Option<PieceDigest> {
        self.live.state.lock().marks.digest_of(piece)
    }

    /// The table of the whole content, once every piece is marked. It folds to the content's BLAKE3 hash.
    pub fn table(&self) -> Option<PieceTable> {
        self.live.state.lock().marks.table()
    }

    /// The digest the content is known by.
    pub fn digest(&self) -> Option<Digest> {
        self.shared.entries().get(self.live.task)?.record.digest
    }

    /// Whether the whole digest was verified here, and every piece is still held.
    pub fn is_complete(&self) -> bool {
        self.shared
            .entries()
            .get(self.live.task)
            .is_some_and(|entry| entry.record.complete)
    }

    /// Keeps a segment of the piece table, whose signature the caller has checked. False if a segment that outranks it says as
    /// much already: if one alone matches every marked piece, else by its signer, if `is_first` says so of one alone, else by
    /// its epoch, where the same will do. Reaches the disk with the next commit.
    pub fn put_segment(
        &self,
        segment: Segment,
        is_first: impl Fn(&HostId) -> bool,
    ) -> Result<bool, SegmentError> {
        let fits = segment.task == self.live.task
            && segment.layout == self.live.layout
            && segment.is_well_formed();
        if !fits {
            return Err(SegmentError::Foreign);
        }
        // Asked of few: there are as many segments as pieces, and writers wait for the lock.
        let spans = |a: &Segment, b: &Segment| a.first <= b.first && a.run().end() >= b.run().end();
        let mut state = self.live.state.lock();
        let state = &mut *state;
        let marks = &state.marks;
        let rank = |of: &Segment| {
            let mut words = of.run().pieces().zip(&of.digests);
            let fits = |(piece, word): (PieceIndex, &PieceDigest)| {
                marks.digest_of(piece).is_none_or(|held| held == *word)
            };
            (words.all(fits), is_first(&of.signer), of.epoch)
        };
        let own = rank(&segment);
        let is_known = |known: &Segment| {
            (spans(known, &segment) && rank(known) >= own)
                || (known.first == segment.first && rank(known) > own)
        };
        if state.segments.values().any(is_known) {
            return Ok(false);
        }
        let covered: Vec<u32> = state
            .segments
            .iter()
            .filter(|(first, known)| {
                **first == segment.first.0 || (spans(&segment, known) && own >= rank(known))
            })
            .map(|(first, _)| *first)
            .collect();
        let rest: usize = state
            .segments
            .values()
            .filter(|known| !covered.contains(&known.first.0))
            .map(|known| known.digests.len())
            .sum();
        // Honest importers overlap where a lease moved; four times over is not honest.
        if rest + segment.digests.len() > 4 * self.live.layout.piece_count() as usize {
            return Err(SegmentError::TooMany);
        }
        for first in covered {
            state.segments.remove(&first);
            state.segments_dirty.insert(first);
        }
        state.segments_dirty.insert(segment.first.0);
        state.segments.insert(segment.first.0, segment);
        Ok(true)
    }

    /// The kept segments, by their first piece. They may overlap.
    pub fn segments(&self) -> Vec<Segment> {
        self.live.state.lock().segments.values().cloned().collect()
    }

    /// Keeps a seal, whose signature the caller has checked. Reaches the disk with the next commit.
    pub fn put_seal(&self, seal: Seal) -> Result<(), SegmentError> {
        if seal.task != self.live.task || seal.layout != self.live.layout {
            return Err(SegmentError::Foreign);
        }
        let mut state = self.live.state.lock();
        if state.seal.as_ref() != Some(&seal) {
            state.seal = Some(seal);
            state.seal_dirty = true;
        }
        Ok(())
    }

    /// Drops the kept seal, which turned out wrong. Reaches the disk with the next commit.
    pub fn forget_seal(&self) {
        let mut state = self.live.state.lock();
        state.seal_dirty |= state.seal.take().is_some();
    }

    /// The kept seal.
    pub fn seal(&self) -> Option<Seal> {
        self.live.state.lock().seal.clone()
    }

    /// Gives the content a second name. A digest of the same function is never changed: that would be other content.
    pub fn set_digest(&self, digest: Digest) -> Result<(), CompleteError> {
        let mut entries = self.shared.entries();
        let Some(entry) = entries.get(self.live.task) else {
            return Ok(());
        };
        match entry.record.digest {
            Some(known) if known == digest => {}
            Some(known) if known.algorithm() == digest.algorithm() => {
                return Err(CompleteError::Digest {
                    known,
                    found: digest,
                });
            }
            // Asked for by the other function's digest: that stays its name.
            Some(_) => {}
            None => entries.name(self.live.task, digest),
        }
        Ok(())
    }

    /// Notes that the caller hashed the whole content to `digest`, which becomes its name if it had none.
    pub fn set_complete(&self, digest: Digest) -> Result<(), CompleteError> {
        if let Some(missing) = self
            .live
            .state
            .lock()
            .marks
            .have()
            .first_missing(PieceIndex(0))
        {
            return Err(CompleteError::Missing(missing));
        }
        self.set_digest(digest)?;
        self.shared
            .change_record(self.live.task, |record| record.complete = true);
        Ok(())
    }

    /// For noting completion later, without a handle: a content that is removed meanwhile is simply not noted.
    pub fn noting(&self) -> Noting {
        Noting {
            live: Arc::clone(&self.live),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Notes that the content was used now. Remembered to the minute.
    pub fn touch(&self) {
        let now = now();
        let mut entries = self.shared.entries();
        if let Some(entry) = entries.get_mut(self.live.task)
            && entry.record.last_used.abs_diff(now) >= 60
        {
            entry.record.last_used = now;
            entry.dirty = true;
        }
    }

    /// Who may have it. Only an anonymous answer of the origin makes private content public.
    pub fn set_visibility(&self, visibility: Visibility) {
        self.shared
            .change_record(self.live.task, |record| record.visibility = visibility);
    }

    /// The content's file, opened to read only and shared by all who ask, for sendfile. Only pieces that
    /// [`Content::verify_run`] confirmed may be read from it, and only while a handle on the content is held. A piece
    /// that is found corrupt meanwhile becomes a hole below such a reader: whoever receives the bytes checks them.
    pub fn file(&self) -> Result<Arc<File>, DiskError> {
        if let Some(file) = self.live.reader.get() {
            return Ok(Arc::clone(file));
        }
        let opened = File::from(self.open_read_only()?);
        Ok(Arc::clone(
            self.live.reader.get_or_init(|| Arc::new(opened)),
        ))
    }

    /// A fresh descriptor of the content's file that can only read, with an offset of its own: fit to be passed to
    /// another process. Errors: as [`Content::file`], the file cannot be opened.
    pub fn open_read_only(&self) -> Result<OwnedFd, DiskError> {
        self.shared.directory.content_read_only(self.live.task)
    }

    /// Brings the bytes written so far to the disk, then their marks: what is to be done before a user is told that a
    /// content is kept. If the bytes cannot be synced, none of this content is believed until it is hashed again.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.shared.check_open()?;
        if let Err(cause) = self.live.file.sync_data() {
            self.shared.doubt(&self.live);
            return Err(DiskError::io("syncing a content file", cause));
        }
        self.shared.directory.sync_names()?;
        self.shared.commit()
    }

    /// Takes the mark of a corrupt piece back, durably: it is missing from now on. False if it was not marked. An error
    /// leaves it missing too, but it cannot be written again before the index knows.
    pub fn forget(&self, piece: PieceIndex) -> Result<bool, DiskError> {
        let voided = self.unmark(|marked| marked == piece);
        self.shared.settle(&self.live, &voided)?;
        Ok(!voided.is_empty())
    }

    /// Takes every mark, segment and seal back, durably, for a content whose whole digest was wrong. Writers that are
    /// under way cannot finish. Errors: as [`Content::forget`].
    pub fn void_all(&self) -> Result<(), DiskError> {
        {
            let mut state = self.live.state.lock();
            state.age += 1;
            let segments = std::mem::take(&mut state.segments);
            state.segments_dirty.extend(segments.into_keys());
            state.seal_dirty |= state.seal.take().is_some();
        }
        let voided = self.unmark(|_| true);
        self.shared.settle(&self.live, &voided)
    }

    /// Unmarks and claims the marked pieces that `which` picks.
    fn unmark(&self, which: impl Fn(PieceIndex) -> bool) -> Vec<PieceIndex> {
        let mut state = self.live.state.lock();
        let voided: Vec<PieceIndex> = state
            .marks
            .have()
            .iter()
            .filter(|piece| which(*piece))
            .collect();
        let before = state.marks.held();
        state.voids += u64::from(!voided.is_empty());
        for piece in &voided {
            state.marks.remove(*piece);
            state.claimed.insert(*piece);
            state.unsettled.insert(*piece);
        }
        let freed = before.saturating_sub(state.marks.held());
        drop(state);
        self.shared.ledger.lock().freed(freed);
        if !voided.is_empty() {
            self.shared
                .change_record(self.live.task, |record| record.complete = false);
        }
        voided
    }
}

/// A content whose completion is to be noted once its bytes are on the disk. It does not keep the content.
pub struct Noting {
    live: Arc<Live>,
    shared: Arc<Shared>,
}

impl Noting {
    /// Brings the bytes to the disk, then notes that the whole hashed to `digest`: a mark of completion never outlives
    /// what it speaks of. False if the content was removed or unloaded meanwhile.
    ///
    /// Errors: the disk failed; or as [`Content::set_complete`].
    pub fn complete(self, digest: Digest) -> Result<bool, NoteError> {
        self.shared.check_open()?;
        if let Err(cause) = self.live.file.sync_data() {
            self.shared.doubt(&self.live);
            return Err(DiskError::io("syncing a content file", cause).into());
        }
        self.shared.directory.sync_names()?;
        let content = {
            let entries = self.shared.entries();
            let entry = entries.get(self.live.task).filter(|entry| !entry.going);
            let live = entry.and_then(|entry| entry.live.as_ref());
            match live.filter(|live| Arc::ptr_eq(live, &self.live)) {
                Some(live) => Content::handle(&self.shared, live),
                None => return Ok(false),
            }
        };
        content.set_complete(digest)?;
        Ok(true)
    }
}

/// Why completion is not noted.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// The bytes did not reach the disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The content is not what it was.
    #[error(transparent)]
    Complete(#[from] CompleteError),
}

impl Clone for Content {
    fn clone(&self) -> Self {
        // There is a handle already, so no removal can come between.
        Self::handle(&self.shared, &self.live)
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        // From one to none only under the lock of the entries, so that a removal sees either a handle or none.
        let last = self
            .live
            .handles
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |handles| {
                (handles > 1).then(|| handles - 1)
            });
        if last.is_err() {
            self.shared.released(&self.live);
        }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "content of task {:?}", self.live.task)
    }
}
