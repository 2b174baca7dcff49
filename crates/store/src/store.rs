//! The store: which contents there are, how much they take, what goes.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use types::{ByteCount, Digest, HostId, Layout, PieceRun, Source, TaskId, Visibility};

use crate::{
    content::Content,
    entries::{Entry, Live, Shared, now},
    fault::{DiskError, Limit},
    index::Loaded,
    marks::Marks,
    record::TaskRecord,
    ticker::Ticker,
};

/// The most pieces of one content: 64 TiB in pieces of 16 MiB. Bounds the memory of a content.
const PIECES_MAX: u32 = 1 << 22;
/// The most contents of one store: bounds the memory of an idle store, some 300 bytes for each.
const CONTENTS_MAX: usize = 1 << 17;
/// The longest name for people that is kept.
const NAME_MAX: usize = 1024;

/// The content store of a host. Cheap to clone; it goes with its last clone, and with the last [`Content`].
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    _keeper: Arc<Keeper>,
}

/// Commits while a store lives, and once more when it goes.
pub(crate) struct Keeper {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ticker: Option<Ticker>,
}

/// How much is set aside when a content is created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reserve {
    /// Room for all that is missing: a download of the whole is refused before its first byte, or has its room.
    #[default]
    Whole,
    /// Room for what is missing of these pieces; for others piece by piece, as writers begin. For content of which a part
    /// is read.
    Run(PieceRun),
    /// Room piece by piece, as writers begin.
    EachPiece,
}

/// A content to be.
#[derive(Clone, Debug)]
pub struct NewContent {
    /// Whose content it is.
    pub task: TaskId,
    /// How it is cut.
    pub layout: Layout,
    /// What it was asked by, if that was a digest.
    pub digest: Option<Digest>,
    /// Where it can be read.
    pub source: Option<Source>,
    /// Who may have it.
    pub visibility: Visibility,
    /// What people call it; cut to 1 KiB.
    pub name: Option<String>,
    /// How much room to set aside.
    pub reserve: Reserve,
}

/// A content as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentInfo {
    /// Whose content it is.
    pub task: TaskId,
    /// How it is cut.
    pub layout: Layout,
    /// The digest it is known by.
    pub digest: Option<Digest>,
    /// Where it can be read.
    pub source: Option<Source>,
    /// What people call it.
    pub name: Option<String>,
    /// Bytes in marked pieces.
    pub held: ByteCount,
    /// Marked pieces.
    pub pieces: u32,
    /// Who may have it.
    pub visibility: Visibility,
    /// When it was last used, to the minute.
    pub last_used: SystemTime,
    /// Whether the whole digest was verified here, and every piece is still held.
    pub complete: bool,
    /// Who signed the kept segments, if they vouch for every piece; else nobody. None where the content has to be opened to
    /// tell: of an older release, or of many signers.
    pub vouchers: Option<Vec<HostId>>,
    /// Whether a handle on it exists.
    pub in_use: bool,
}

/// How much there is and may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The most that contents may take.
    pub quota: Option<ByteCount>,
    /// What marked pieces take.
    pub used: ByteCount,
    /// What is set aside for pieces to come.
    pub reserved: ByteCount,
    /// What the file system has left, for us and others.
    pub free: ByteCount,
}

/// What was done since the store was opened, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes of pieces that were written and marked; each was hashed once.
    pub written: ByteCount,
    /// Bytes that were hashed again, after an unclean boot or by the scrub.
    pub rehashed: ByteCount,
    /// Pieces that were found corrupt.
    pub corrupt: u64,
    /// Transactions of the index.
    pub commits: u64,
}

/// Why a content is not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// It is there already, cut otherwise.
    #[error("the content is stored with {} in pieces of {}, not as asked", .stored.length(), .stored.piece_length())]
    Layout {
        /// How it is stored.
        stored: Layout,
    },
    /// More pieces than the store can hold.
    #[error("content of {0} pieces is too long for the store: the limit is {PIECES_MAX}")]
    TooManyPieces(u32),
    /// No room, or the disk failed; the content can still be streamed past the store.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a content is not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is none.
    #[error("no content of this task is stored")]
    Unknown,
    /// Somebody holds it.
    #[error("the content is in use")]
    Busy,
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Store {
    pub(crate) fn new(shared: Arc<Shared>, ticker: Option<Ticker>) -> Self {
        let keeper = Arc::new(Keeper {
            shared: Arc::clone(&shared),
            ticker,
        });
        Self {
            shared,
            _keeper: keeper,
        }
    }

    /// The content of `new.task`, created if there is none. One that is there is given as it is: nothing of `new` but
    /// the layout is looked at, and room for what it lacks of the asked is set aside.
    pub fn create(&self, new: NewContent) -> Result<Content, CreateError> {
        let pieces = new.layout.piece_count();
        if pieces > PIECES_MAX {
            return Err(CreateError::TooManyPieces(pieces));
        }
        self.shared.check_open()?;
        loop {
            if let Some(content) = self.shared.handle(new.task)? {
                return existing(content, &new);
            }
            // From here on no removal of the same name is under way.
            let _one = self.shared.committing.lock();
            let mut entries = self.shared.entries();
            if entries.get(new.task).is_some() {
                continue;
            }
            if entries.len() >= CONTENTS_MAX {
                return Err(DiskError::NoSpace {
                    wanted: new.layout.length(),
                    limit: Limit::Contents,
                }
                .into());
            }
            let live = Arc::new(self.begin(&new)?);
            let content = Content::handle(&self.shared, &live);
            let mut entry = Entry::new(record(&new));
            entry.dirty = true;
            entry.live = Some(live);
            entries.insert(new.task, entry);
            return Ok(content);
        }
    }

    /// Sets room aside and makes the file.
    fn begin(&self, new: &NewContent) -> Result<Live, DiskError> {
        let length = new.layout.length();
        let reserved = match new.reserve {
            Reserve::Whole => length,
            Reserve::Run(run) => new.layout.range_of_run(run).length(),
            Reserve::EachPiece => ByteCount::ZERO,
        };
        self.shared.reserve(reserved)?;
        let created = self.shared.directory.create(new.task, length);
        let file = created.inspect_err(|_| self.shared.ledger.lock().release(reserved))?;
        let loaded = Loaded {
            marks: Marks::empty(new.layout),
            segments: Vec::new(),
            seal: None,
        };
        let live = Live::new(new.task, file, loaded);
        live.state.lock().reserved = reserved;
        Ok(live)
    }

    /// A handle on the content of `task`. One that was damaged beyond use is removed, and none.
    pub fn content(&self, task: TaskId) -> Result<Option<Content>, DiskError> {
        self.shared.handle(task)
    }

    /// The task whose public content has this digest: by first or second name. What is private is found by its task alone.
    pub fn task_of(&self, digest: Digest) -> Option<TaskId> {
        self.shared.entries().named(digest)
    }

    /// Every content.
    pub fn list(&self) -> Vec<ContentInfo> {
        self.infos(|_| true)
    }

    /// The content of `task`, as lists show it.
    pub fn info(&self, task: TaskId) -> Option<ContentInfo> {
        let mut entries = self.shared.entries();
        let entry = entries.get_mut(task).filter(|entry| !entry.going)?;
        Some(info(task, entry))
    }

    fn infos(&self, which: impl Fn(&Entry) -> bool) -> Vec<ContentInfo> {
        self.shared
            .entries()
            .iter_mut()
            .filter(|(_, entry)| !entry.going && which(entry))
            .map(|(task, entry)| info(task, entry))
            .collect()
    }

    /// Removes a content that nobody holds; gives the bytes it held.
    pub fn remove(&self, task: TaskId) -> Result<ByteCount, RemoveError> {
        let (freed, removed) = self.shared.remove(&[task])?;
        if !removed.is_empty() {
            return Ok(freed);
        }
        match self.shared.entries().get(task) {
            Some(_) => Err(RemoveError::Busy),
            None => Err(RemoveError::Unknown),
        }
    }

    /// How much there is and may be.
    pub fn usage(&self) -> Result<Usage, DiskError> {
        let free = self.shared.directory.free()?;
        let ledger = self.shared.ledger.lock();
        Ok(Usage {
            quota: ledger.quota(),
            used: ledger.used(),
            reserved: ledger.reserved(),
            free,
        })
    }

    /// What the disk has left for files beside the store: without what is promised to contents and what stays free.
    pub fn spare(&self) -> Result<ByteCount, DiskError> {
        let free = self.shared.directory.free()?;
        let ledger = self.shared.ledger.lock();
        Ok(free
            .saturating_sub(ledger.reserved())
            .saturating_sub(ledger.floor()))
    }

    /// Makes room for `wanted` bytes, if there is not enough: `choose` gets what nobody holds (pinned contents too) and
    /// how many bytes are short, and says what goes. With `wanted` zero, room is made where others filled the disk. Whatever was taken in use meanwhile stays. Gives the bytes that were freed; whether
    /// they are enough, the next reservation tells.
    pub fn make_room(
        &self,
        wanted: ByteCount,
        choose: impl FnOnce(&[ContentInfo], ByteCount) -> Vec<TaskId>,
    ) -> Result<ByteCount, DiskError> {
        let free = self.shared.directory.free()?;
        let short = self.shared.ledger.lock().shortfall(wanted, free);
        if short == ByteCount::ZERO {
            return Ok(ByteCount::ZERO);
        }
        let candidates = self.infos(|entry| !entry.is_in_use());
        let chosen = choose(&candidates, short);
        let (freed, removed) = self.shared.remove(&chosen)?;
        tracing::info!(
            wanted = wanted.0,
            short = short.0,
            freed = freed.0,
            contents = removed.len(),
            "evicted"
        );
        Ok(freed)
    }

    /// Writes all marks and records that changed to the index, durably, and forgets contents that have nothing. Called about
    /// each second by the store's own thread, unless that was switched off.
    pub fn commit(&self) -> Result<(), DiskError> {
        self.shared.commit()?;
        self.shared.forget_empty()
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        let shared = &self.shared;
        Counters {
            written: ByteCount(shared.written.load(Ordering::Relaxed)),
            rehashed: ByteCount(shared.rehashed.load(Ordering::Relaxed)),
            corrupt: shared.corrupt.load(Ordering::Relaxed),
            commits: shared.commits.load(Ordering::Relaxed),
        }
    }

    /// Commits, syncs every byte and notes so: the next start believes everything, whatever boot it is in. From here on
    /// reads still work, and changes fail with [`DiskError::Closed`]. A second call does nothing.
    pub fn close(&self) -> Result<(), DiskError> {
        self.shared.close()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "store of {} contents", self.shared.entries().len())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.ticker.take());
        match self.shared.commit() {
            Ok(()) | Err(DiskError::Closed) => {}
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the last marks are lost"
                );
            }
        }
    }
}

/// A content that was there: is it what is wanted, and is there room for the rest?
fn existing(content: Content, new: &NewContent) -> Result<Content, CreateError> {
    let stored = content.layout();
    if stored != new.layout {
        return Err(CreateError::Layout { stored });
    }
    if new.reserve != Reserve::EachPiece {
        let mut state = content.live.state.lock();
        let writing: u64 = state
            .claimed
            .iter()
            .map(|piece| stored.length_of(*piece).0)
            .sum();
        let promised = state
            .marks
            .held()
            .saturating_add(state.reserved)
            .saturating_add(ByteCount(writing));
        let lacking = stored.length().saturating_sub(promised);
        let missing = match new.reserve {
            Reserve::Whole | Reserve::EachPiece => lacking,
            // What others reserved may be theirs: at worst the whole is set aside.
            Reserve::Run(run) => {
                let wanted = (run.pieces())
                    .filter(|piece| !state.marks.have().contains(*piece))
                    .filter(|piece| !state.claimed.contains(piece));
                let wanted: u64 = wanted.map(|piece| stored.length_of(piece).0).sum();
                lacking.min(ByteCount(wanted))
            }
        };
        let reserved = content.shared.reserve(missing);
        if reserved.is_ok() {
            state.reserved = state.reserved.saturating_add(missing);
        }
        // The lock goes before the handle does: the last handle takes it.
        drop(state);
        reserved?;
    }
    Ok(content)
}

fn record(new: &NewContent) -> TaskRecord {
    let name = new.name.as_ref().map(|name| {
        let end = name.floor_char_boundary(NAME_MAX);
        name[..end].to_owned()
    });
    TaskRecord {
        layout: new.layout,
        digest: new.digest,
        source: new.source.clone(),
        visibility: new.visibility,
        name,
        last_used: now(),
        complete: false,
        held: ByteCount::ZERO,
        pieces: 0,
        vouchers: Some(Vec::new()),
    }
}

fn info(task: TaskId, entry: &mut Entry) -> ContentInfo {
    if let Some(live) = entry.live.clone() {
        entry.refresh(&live.state.lock());
    }
    let record = &entry.record;
    ContentInfo {
        task,
        layout: record.layout,
        digest: record.digest,
        source: record.source.clone(),
        name: record.name.clone(),
        held: record.held,
        pieces: record.pieces,
        visibility: record.visibility,
        last_used: SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(record.last_used))
            .unwrap_or(SystemTime::UNIX_EPOCH),
        complete: record.complete,
        vouchers: record.vouchers.clone(),
        in_use: entry.is_in_use(),
    }
}
