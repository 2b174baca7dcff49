//! From memory to the index: commits in batches, removals, and the clean end.

use std::sync::{Arc, atomic::Ordering};

use types::{ByteCount, TaskId};

use crate::{
    boot::BootId,
    directory::punch,
    entries::{Entry, Live, Shared},
    fault::DiskError,
    index::{Batch, Change, Meta},
    signed,
};

impl Shared {
    /// Writes everything that changed since the last commit to the index, durably.
    pub(crate) fn commit(&self) -> Result<(), DiskError> {
        let _one = self.committing.lock();
        self.check_open()?;
        self.commit_batch(Batch::default())
    }

    /// Removes contents that nobody holds and that have nothing: what was asked for and never came.
    pub(crate) fn forget_empty(&self) -> Result<(), DiskError> {
        let mut entries = self.entries();
        let empty = entries.iter_mut().filter(|(_, entry)| entry.is_empty());
        let empty: Vec<TaskId> = empty.map(|(task, _)| task).collect();
        drop(entries);
        self.remove(&empty).map(drop)
    }

    /// The same with more to write. The caller holds `committing`.
    fn commit_batch(&self, mut batch: Batch) -> Result<(), DiskError> {
        let mut settled = Vec::new();
        for (task, entry) in self.entries().iter_mut().filter(|(_, entry)| !entry.going) {
            let (change, live) = take_change(task, entry, self.generation);
            batch.changes.extend(change);
            settled.extend(live);
        }
        if batch.changes.is_empty() && batch.removed.is_empty() && batch.meta.is_none() {
            return Ok(());
        }
        let written = self.index.write(&batch);
        match written {
            Ok(()) => {
                self.commits.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => self.give_back(&batch),
        }
        for (live, unsettled) in settled {
            let mut state = live.state.lock();
            state.in_flight = false;
            if written.is_ok() {
                state.unsettled.retain(|piece| !unsettled.contains(piece));
            }
        }
        let mut entries = self.entries();
        for change in &batch.changes {
            if let Some(entry) = entries.get_mut(change.task) {
                entry.unload_if_idle();
            }
        }
        written
    }

    /// Notes that `batch` is still to be written.
    fn give_back(&self, batch: &Batch) {
        let mut entries = self.entries();
        for change in &batch.changes {
            let Some(entry) = entries.get_mut(change.task) else {
                continue;
            };
            entry.dirty = true;
            if let Some(live) = &entry.live {
                let mut state = live.state.lock();
                state
                    .marks
                    .give_back(change.groups.iter().map(|(group, _)| *group));
                state
                    .segments_dirty
                    .extend(change.segments.iter().map(|(first, _)| *first));
                state.seal_dirty |= change.seal.is_some();
            }
        }
    }

    /// Removes those of `tasks` that are there and that nobody holds; gives the bytes that they held and who they were.
    ///
    /// The index forgets them before their files go: a crash between the two leaves an orphan, never a mark on the
    /// bytes of a later file of the same name.
    pub(crate) fn remove(&self, tasks: &[TaskId]) -> Result<(ByteCount, Vec<TaskId>), DiskError> {
        let _one = self.committing.lock();
        self.check_open()?;
        let mut removed = Vec::new();
        {
            let mut entries = self.entries();
            for task in tasks {
                if let Some(entry) = entries.get_mut(*task)
                    && !entry.is_in_use()
                    && !entry.going
                {
                    entry.going = true;
                    removed.push(*task);
                }
            }
        }
        if removed.is_empty() {
            return Ok((ByteCount::ZERO, removed));
        }
        let committed = self.commit_batch(Batch {
            removed: removed.clone(),
            ..Batch::default()
        });
        if let Err(error) = committed {
            let mut entries = self.entries();
            for task in removed {
                if let Some(entry) = entries.get_mut(task) {
                    // The commit may have happened all the same: write everything of it again.
                    entry.going = false;
                    entry.dirty = true;
                    if let Some(live) = &entry.live {
                        live.state.lock().marks.touch_all();
                    }
                }
            }
            return Err(error);
        }
        let mut freed = ByteCount::ZERO;
        for task in &removed {
            if let Err(error) = self.directory.remove(*task) {
                tracing::warn!(%task, error = &error as &dyn std::error::Error, "content file left behind until the next start");
            }
            if let Some(entry) = self.entries().remove(*task) {
                let held = entry.held();
                self.ledger.lock().freed(held);
                freed = freed.saturating_add(held);
            }
        }
        Ok((freed, removed))
    }

    /// Takes back the marks of `pieces`, which the caller has claimed and unmarked in memory, and gives their room back.
    /// They stay claimed while the index does not know; the claim ends here.
    pub(crate) fn settle(
        &self,
        live: &Live,
        pieces: &[types::PieceIndex],
    ) -> Result<(), DiskError> {
        let committed = self.commit();
        if committed.is_ok() {
            for piece in pieces {
                punch(&live.file, live.layout.range_of(*piece));
            }
        }
        let mut state = live.state.lock();
        for piece in pieces {
            state.claimed.remove(piece);
        }
        committed
    }

    /// Commits, syncs all bytes and notes that it was so. Nothing can be changed afterwards.
    pub(crate) fn close(&self) -> Result<(), DiskError> {
        let _one = self.committing.lock();
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let synced = self.directory.sync_all();
        let sound = synced.is_ok() && !self.doubted.load(Ordering::Acquire);
        self.commit_batch(Batch {
            meta: Some(Meta {
                boot: if sound { self.boot } else { BootId::NONE },
                clean: sound,
                generation: self.generation,
            }),
            ..Batch::default()
        })?;
        synced
    }

    /// A sync failed: what the kernel had of `live` may be gone while it looks well in memory. Its pieces are hashed
    /// again before their next use, and those of all contents once this process ends.
    pub(crate) fn doubt(&self, live: &Live) {
        let _one = self.committing.lock();
        self.doubted.store(true, Ordering::Release);
        live.state.lock().marks.doubt_all();
        let noted = self.check_open().and_then(|()| {
            self.commit_batch(Batch {
                meta: Some(Meta {
                    boot: BootId::NONE,
                    clean: false,
                    generation: self.generation,
                }),
                ..Batch::default()
            })
        });
        if let Err(error) = noted {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a sync failed, and so did noting it: scrub this store after the next start"
            );
        }
    }
}

type Settled = (Arc<Live>, Vec<types::PieceIndex>);

fn take_change(
    task: TaskId,
    entry: &mut Entry,
    generation: u64,
) -> (Option<Change>, Option<Settled>) {
    let live = entry.live.clone();
    let mut state = live.as_ref().map(|live| live.state.lock());
    if !entry.dirty && !state.as_ref().is_some_and(|state| state.is_dirty()) {
        return (None, None);
    }
    entry.dirty = false;
    let mut change = Change {
        task,
        record: Vec::new(),
        groups: Vec::new(),
        segments: Vec::new(),
        seal: None,
    };
    let mut unsettled = Vec::new();
    if let Some(state) = &mut state {
        entry.refresh(state);
        change.groups = state.marks.take_dirty(generation);
        for first in std::mem::take(&mut state.segments_dirty) {
            let bytes = state.segments.get(&first).map(signed::encode_segment);
            change.segments.push((first, bytes));
        }
        if std::mem::take(&mut state.seal_dirty) {
            change.seal = Some(state.seal.as_ref().map(signed::encode_seal));
        }
        state.in_flight = true;
        unsettled.extend(state.unsettled.iter().copied());
    }
    drop(state);
    change.record = entry.record.encode();
    (Some(change), live.map(|live| (live, unsettled)))
}
