//! What the store knows while it runs: an entry for every content, and more of those that somebody holds.
//!
//! Locks, in the order they are taken: `Shared::committing`, `Shared::entries`, `Live::state`, `Shared::ledger`. None is
//! held while a piece is written or hashed; only `committing` is held while the index commits.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use parking_lot::{Mutex, MutexGuard};
use types::{ByteCount, Digest, HostId, Layout, PieceIndex, Seal, Segment, TaskId, Visibility};

use crate::{
    boot::BootId,
    content::Content,
    directory::Directory,
    fault::{DiskError, Limit},
    index::{Index, IndexError, Loaded, Meta},
    ledger::Ledger,
    marks::Marks,
    record::{RecordError, TaskRecord},
    scrub::Cursor,
};

/// Everything that the handles of one store share.
pub(crate) struct Shared {
    pub(crate) directory: Arc<Directory>,
    pub(crate) index: Index,
    pub(crate) boot: BootId,
    pub(crate) generation: u64,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) entries: Mutex<Entries>,
    /// Held by whoever writes the index or changes which content files there are.
    pub(crate) committing: Mutex<()>,
    pub(crate) closed: AtomicBool,
    /// A sync failed: what this boot wrote is not to be believed by the next start.
    pub(crate) doubted: AtomicBool,
    pub(crate) scrub: Mutex<Cursor>,
    pub(crate) written: AtomicU64,
    pub(crate) rehashed: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    pub(crate) commits: AtomicU64,
}

/// Every content by its names.
#[derive(Default)]
pub(crate) struct Entries {
    by_task: BTreeMap<TaskId, Entry>,
    by_digest: BTreeSet<(Digest, TaskId)>,
    /// How often a content was loaded or created.
    loads: u64,
}

/// One content.
pub(crate) struct Entry {
    pub(crate) record: TaskRecord,
    /// The index has another record than this.
    pub(crate) dirty: bool,
    /// Being removed: not to be handed out or written to the index.
    pub(crate) going: bool,
    pub(crate) live: Option<Arc<Live>>,
    /// Which loading of the whole store was its last: tells a loader that another came and went meanwhile.
    loaded: u64,
}

/// A content that somebody holds, or whose marks wait for the next commit.
pub(crate) struct Live {
    pub(crate) task: TaskId,
    pub(crate) layout: Layout,
    pub(crate) file: File,
    /// The same file, opened to read only, once somebody asked for it.
    pub(crate) reader: OnceLock<Arc<File>>,
    /// Handles that exist. Leaves zero only under the lock of the entries.
    pub(crate) handles: AtomicUsize,
    pub(crate) state: Mutex<State>,
}

/// What of a live content changes.
pub(crate) struct State {
    pub(crate) marks: Marks,
    /// Pieces that a writer, or whoever voids them, has for itself.
    pub(crate) claimed: BTreeSet<PieceIndex>,
    /// Pieces whose mark was taken back, but not yet in the index: their bytes must not change before it is.
    pub(crate) unsettled: BTreeSet<PieceIndex>,
    pub(crate) segments: BTreeMap<u32, Segment>,
    pub(crate) segments_dirty: BTreeSet<u32>,
    pub(crate) seal: Option<Seal>,
    pub(crate) seal_dirty: bool,
    /// Changes were taken for a commit that is not over: the index does not have them yet, so nothing may be loaded
    /// from it in place of this.
    pub(crate) in_flight: bool,
    /// Bytes set aside for pieces to come. Given back with the last handle.
    pub(crate) reserved: ByteCount,
    /// How often a mark was taken back: tells a reader that what it just read may be a hole.
    pub(crate) voids: u64,
    /// How often everything was voided: tells a writer that its piece belongs to a table that failed.
    pub(crate) age: u64,
}

impl State {
    pub(crate) fn is_dirty(&self) -> bool {
        self.marks.is_dirty() || !self.segments_dirty.is_empty() || self.seal_dirty
    }

    /// Who signed the segments, which may overlap, if they leave no piece out; else nobody. None of too many.
    fn vouchers(&self) -> Option<Vec<HostId>> {
        let next = (self.segments.values()).try_fold(0, |next: u64, segment| {
            let run = segment.run();
            (u64::from(run.first.0) <= next).then(|| next.max(run.end()))
        });
        if next.is_none_or(|next| next < u64::from(self.marks.layout().piece_count())) {
            return Some(Vec::new());
        }
        let signers = self.segments.values().map(|segment| segment.signer);
        let signers: BTreeSet<HostId> = signers.collect();
        (signers.len() <= TaskRecord::VOUCHERS_MAX).then(|| signers.into_iter().collect())
    }
}

impl Live {
    pub(crate) fn new(task: TaskId, file: File, loaded: Loaded) -> Self {
        let segments = loaded.segments.into_iter();
        Self {
            task,
            layout: loaded.marks.layout(),
            file,
            reader: OnceLock::new(),
            handles: AtomicUsize::new(0),
            state: Mutex::new(State {
                marks: loaded.marks,
                claimed: BTreeSet::new(),
                unsettled: BTreeSet::new(),
                segments: segments.map(|segment| (segment.first.0, segment)).collect(),
                segments_dirty: BTreeSet::new(),
                seal: loaded.seal,
                seal_dirty: false,
                in_flight: false,
                reserved: ByteCount::ZERO,
                voids: 0,
                age: 0,
            }),
        }
    }
}

impl Entry {
    pub(crate) fn new(record: TaskRecord) -> Self {
        Self {
            record,
            dirty: false,
            going: false,
            live: None,
            loaded: 0,
        }
    }

    pub(crate) fn is_in_use(&self) -> bool {
        self.live
            .as_ref()
            .is_some_and(|live| live.handles.load(Ordering::Acquire) > 0)
    }

    /// Whether it is of no use: nobody holds it, and not one byte of it came.
    pub(crate) fn is_empty(&self) -> bool {
        !self.is_in_use()
            && self.record.layout.length() > ByteCount::ZERO
            && self.held() == ByteCount::ZERO
    }

    /// Forgets what is in memory beside the record, if nobody needs it.
    pub(crate) fn unload_if_idle(&mut self) {
        let Some(live) = &self.live else { return };
        let state = live.state.lock();
        let idle =
            live.handles.load(Ordering::Acquire) == 0 && !state.is_dirty() && !state.in_flight;
        drop(state);
        if idle && !self.going {
            self.live = None;
        }
    }

    /// Marked bytes.
    pub(crate) fn held(&self) -> ByteCount {
        match &self.live {
            Some(live) => live.state.lock().marks.held(),
            None => self.record.held,
        }
    }

    /// Brings the record up to what the marks and segments say.
    pub(crate) fn refresh(&mut self, state: &State) {
        self.record.held = state.marks.held();
        self.record.pieces = state.marks.have().len();
        self.record.vouchers = state.vouchers();
    }
}

impl Entries {
    pub(crate) fn get(&self, task: TaskId) -> Option<&Entry> {
        self.by_task.get(&task)
    }

    pub(crate) fn get_mut(&mut self, task: TaskId) -> Option<&mut Entry> {
        self.by_task.get_mut(&task)
    }

    pub(crate) fn insert(&mut self, task: TaskId, mut entry: Entry) {
        self.loads += 1;
        entry.loaded = self.loads;
        self.by_digest
            .extend(entry.record.digest.map(|digest| (digest, task)));
        self.by_task.insert(task, entry);
    }

    pub(crate) fn remove(&mut self, task: TaskId) -> Option<Entry> {
        let entry = self.by_task.remove(&task)?;
        if let Some(digest) = entry.record.digest {
            self.by_digest.remove(&(digest, task));
        }
        Some(entry)
    }

    /// Gives `task` the second name `digest`.
    pub(crate) fn name(&mut self, task: TaskId, digest: Digest) {
        if let Some(entry) = self.by_task.get_mut(&task) {
            if let Some(old) = entry.record.digest.replace(digest) {
                self.by_digest.remove(&(old, task));
            }
            entry.dirty = true;
            self.by_digest.insert((digest, task));
        }
    }

    /// The public contents with this digest: those that a local check confirmed come first.
    pub(crate) fn named(&self, digest: Digest) -> Option<TaskId> {
        let first = (digest, TaskId::from_bytes([0; 32]));
        let last = (digest, TaskId::from_bytes([0xff; 32]));
        self.by_digest
            .range(first..=last)
            .filter_map(|(_, task)| self.by_task.get_key_value(task))
            .filter(|(_, entry)| !entry.going && entry.record.visibility == Visibility::Public)
            .max_by_key(|(_, entry)| (entry.record.complete, entry.record.held))
            .map(|(task, _)| *task)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (TaskId, &mut Entry)> {
        self.by_task.iter_mut().map(|(task, entry)| (*task, entry))
    }

    pub(crate) fn iter_from(&self, task: TaskId) -> impl Iterator<Item = (TaskId, &Entry)> {
        self.by_task
            .range(task..)
            .map(|(task, entry)| (*task, entry))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_task.len()
    }
}

impl Shared {
    /// A store that holds nothing yet, and has no room.
    pub(crate) fn new(directory: Arc<Directory>, index: Index, meta: Meta) -> Self {
        Self {
            directory,
            index,
            boot: meta.boot,
            generation: meta.generation,
            ledger: Mutex::new(Ledger::new(Some(ByteCount::ZERO), ByteCount::ZERO)),
            entries: Mutex::default(),
            committing: Mutex::default(),
            closed: AtomicBool::new(false),
            doubted: AtomicBool::new(false),
            scrub: Mutex::default(),
            written: AtomicU64::new(0),
            rehashed: AtomicU64::new(0),
            corrupt: AtomicU64::new(0),
            commits: AtomicU64::new(0),
        }
    }

    /// Errors: `Closed`.
    pub(crate) fn check_open(&self) -> Result<(), DiskError> {
        if self.closed.load(Ordering::Acquire) {
            Err(DiskError::Closed)
        } else {
            Ok(())
        }
    }

    /// Sets `bytes` aside.
    pub(crate) fn reserve(&self, bytes: ByteCount) -> Result<(), DiskError> {
        let free = self.directory.free()?;
        self.reserve_of(bytes, free)
    }

    fn reserve_of(&self, wanted: ByteCount, free: ByteCount) -> Result<(), DiskError> {
        let reserved = self.ledger.lock().reserve(wanted, free);
        reserved.map_err(|limit: Limit| DiskError::NoSpace { wanted, limit })
    }

    /// A handle on a content that is there. A content whose marks or file cannot be understood is removed.
    pub(crate) fn handle(self: &Arc<Self>, task: TaskId) -> Result<Option<Content>, DiskError> {
        loop {
            let (layout, loaded) = {
                let entries = self.entries.lock();
                match entries.get(task) {
                    None => return Ok(None),
                    Some(entry) if entry.going => return Ok(None),
                    Some(Entry {
                        live: Some(live), ..
                    }) => {
                        return Ok(Some(Content::handle(self, live)));
                    }
                    Some(entry) => (entry.record.layout, entry.loaded),
                }
            };
            let live = match self.load(task, layout) {
                Ok(live) => Arc::new(live),
                Err(IndexError::Disk(error)) if !is_lost(&error) => return Err(error),
                Err(IndexError::Record(error @ RecordError::Newer { .. })) => {
                    return Err(DiskError::Newer(error));
                }
                Err(error) => {
                    if self
                        .entries
                        .lock()
                        .get(task)
                        .is_some_and(|entry| entry.loaded == loaded)
                    {
                        tracing::warn!(%task, error = &error as &dyn std::error::Error, "content removed");
                        self.remove(&[task])?;
                    }
                    continue;
                }
            };
            let mut entries = self.entries.lock();
            let next = entries.loads + 1;
            // Another may have loaded it, written and unloaded it meanwhile: then ours is stale.
            if let Some(entry) = entries.get_mut(task).filter(|entry| entry.loaded == loaded) {
                if entry.record.vouchers.is_none() {
                    // An older release wrote the record: from now on it tells.
                    entry.refresh(&live.state.lock());
                    entry.dirty = true;
                }
                entry.live = Some(Arc::clone(&live));
                entry.loaded = next;
                entries.loads = next;
                return Ok(Some(Content::handle(self, &live)));
            }
        }
    }

    fn load(&self, task: TaskId, layout: Layout) -> Result<Live, IndexError> {
        let loaded = self.index.load(task, layout, self.generation)?;
        let file = self.directory.content(task)?;
        Ok(Live::new(task, file, loaded))
    }

    /// A handle of `live` goes, which was the last one when it looked.
    pub(crate) fn released(&self, live: &Arc<Live>) {
        let mut entries = self.entries.lock();
        if live.handles.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let unused = std::mem::take(&mut live.state.lock().reserved);
        self.ledger.lock().release(unused);
        if let Some(entry) = entries.get_mut(live.task) {
            entry.unload_if_idle();
        }
    }

    /// Runs `change` on the record of `task`, to be written with the next commit.
    pub(crate) fn change_record(&self, task: TaskId, change: impl FnOnce(&mut TaskRecord)) {
        if let Some(entry) = self.entries.lock().get_mut(task) {
            change(&mut entry.record);
            entry.dirty = true;
        }
    }

    pub(crate) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock()
    }
}

/// Whether a content file is gone or is no file any more.
fn is_lost(error: &DiskError) -> bool {
    use rustix::io::Errno;
    let DiskError::Io { cause, .. } = error else {
        return false;
    };
    let errno = cause.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOENT | Errno::LOOP | Errno::ISDIR))
}

/// Seconds since 1970, the unit in which records remember their use.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_secs())
}
