//! Opening: what the last owner left, and what of it is believed.

use std::{path::PathBuf, sync::Arc, time::Duration};

use types::{ByteCount, PieceSet, TaskId};

use crate::{
    boot::BootId,
    directory::{Directory, DirectoryError, Found, UnsafeDirectory, punch},
    entries::{Entries, Entry, Shared},
    fault::DiskError,
    index::{Batch, Index, IndexError, Meta},
    ledger::Ledger,
    record::{RecordError, TaskRecord},
    store::Store,
    ticker::Ticker,
};

/// What a store is opened with.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The data directory; created (without its parents) where there is none.
    pub dir: PathBuf,
    /// The most that contents may take; without one, only the floor limits them.
    pub quota: Option<ByteCount>,
    /// What is to stay free on the file system.
    pub free_floor: ByteCount,
    /// The boot we are in; none where that cannot be known.
    pub boot: Option<BootId>,
    /// How often the store's own thread commits; none if the owner calls [`Store::commit`].
    pub commit_every: Option<Duration>,
}

impl StoreConfig {
    /// A store in `dir` without a quota, that leaves 1 GiB free and commits each second.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            quota: None,
            free_floor: ByteCount::gib(1),
            boot: BootId::current(),
            commit_every: Some(Duration::from_secs(1)),
        }
    }
}

/// What was found at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Contents that are there.
    pub contents: usize,
    /// The bytes that they hold.
    pub held: ByteCount,
    /// The last owner did not close the store: up to its last second of marks is lost.
    pub unclean: bool,
    /// The machine went down with it (or a sync failed): every piece is hashed again before its first use.
    pub recheck: bool,
    /// Content files that no record speaks of, removed.
    pub orphan_files: usize,
    /// Records whose file is missing, is no plain file of ours or has another length, removed with it.
    pub lost_files: usize,
    /// Records that cannot be understood, removed with their files.
    pub damaged_records: usize,
}

/// Why a store is not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is not ours alone.
    #[error(transparent)]
    Unsafe(#[from] UnsafeDirectory),
    /// Another process has it.
    #[error(
        "the data directory {dir} is in use by another process: stop it, or choose another directory"
    )]
    Locked {
        /// Which.
        dir: PathBuf,
    },
    /// A newer release wrote it, or its own record is damaged.
    #[error("the index of the store cannot be read")]
    Record(#[from] RecordError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl From<DirectoryError> for OpenError {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Unsafe(why) => Self::Unsafe(why),
            DirectoryError::Locked => Self::Locked {
                dir: PathBuf::new(),
            },
            DirectoryError::Disk(error) => Self::Disk(error),
        }
    }
}

impl From<IndexError> for OpenError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Record(error) => Self::Record(error),
            IndexError::Disk(error) => Self::Disk(error),
        }
    }
}

impl Store {
    /// Opens the store in a directory that is ours alone, and cleans up what a crash left.
    ///
    /// Errors leave everything as it was, but for a directory that was created.
    pub fn open(config: StoreConfig) -> Result<(Self, Recovery), OpenError> {
        let directory = Directory::open(&config.dir).map_err(|error| match error {
            DirectoryError::Locked => OpenError::Locked {
                dir: config.dir.clone(),
            },
            other => other.into(),
        })?;
        let directory = Arc::new(directory);
        let index = Index::open(Arc::clone(&directory))?;
        let mut recovery = Recovery::default();
        let meta = begin(index.meta()?, config.boot, &mut recovery);
        let tidied = tidy(&directory, &index, &mut recovery)?;
        // Only now may files go: the index no longer speaks of them.
        index.write(&Batch {
            meta: Some(meta),
            removed: tidied.records,
            changes: Vec::new(),
        })?;
        for task in tidied.files {
            if let Err(error) = directory.remove(task) {
                tracing::warn!(%task, error = &error as &dyn std::error::Error, "an orphan stays");
            }
        }
        let mut ledger = Ledger::new(config.quota, config.free_floor);
        let mut entries = Entries::default();
        for (task, record, found) in tidied.kept {
            if recovery.unclean && has_more_than_marked(&record, found) {
                trim(&directory, &index, task, &record);
            }
            recovery.contents += 1;
            recovery.held = recovery.held.saturating_add(record.held);
            ledger.found(record.held);
            entries.insert(task, Entry::new(record));
        }
        let shared = Shared::new(directory, index, meta);
        *shared.ledger.lock() = ledger;
        *shared.entries() = entries;
        let shared = Arc::new(shared);
        let ticker = config
            .commit_every
            .map(|every| ticker(&shared, every))
            .transpose()?;
        Ok((Self::new(shared, ticker), recovery))
    }
}

/// What the index is to say of itself from now on, given what it said `last`.
fn begin(last: Option<Meta>, boot: Option<BootId>, recovery: &mut Recovery) -> Meta {
    let generation = last.map_or(0, |last| {
        recovery.unclean = !last.clean;
        recovery.recheck = !last.clean && boot != Some(last.boot);
        last.generation + u64::from(recovery.recheck)
    });
    Meta {
        boot: boot.unwrap_or(BootId::NONE),
        clean: false,
        generation,
    }
}

fn ticker(shared: &Arc<Shared>, every: Duration) -> Result<Ticker, DiskError> {
    let shared = Arc::clone(shared);
    let mut failing = false;
    Ticker::start(every, move || {
        let committed = shared.commit().and_then(|()| shared.forget_empty());
        match &committed {
            Ok(()) if failing => tracing::info!("the index of the store takes marks again"),
            Err(error) if !failing && !matches!(error, DiskError::Closed) => {
                tracing::warn!(
                    error = error as &dyn std::error::Error,
                    "marks wait for the index of the store"
                );
            }
            _ => {}
        }
        failing = committed.is_err();
    })
    .map_err(|cause| DiskError::io("starting the committing thread", cause))
}

/// What stays and what goes.
#[derive(Default)]
struct Tidied {
    kept: Vec<(TaskId, TaskRecord, Found)>,
    records: Vec<TaskId>,
    files: Vec<TaskId>,
}

/// Compares the records with the files. Errors: a record of a newer version; nothing was changed.
fn tidy(
    directory: &Directory,
    index: &Index,
    recovery: &mut Recovery,
) -> Result<Tidied, OpenError> {
    let mut files = directory.contents()?;
    files.sort_unstable_by_key(|(task, _)| *task);
    let file_of = |task| {
        let at = files.binary_search_by_key(&task, |(task, _)| *task).ok()?;
        Some(files[at].1)
    };
    let mut tidied = Tidied::default();
    let mut known = Vec::new();
    for (task, record) in index.tasks()? {
        known.push(task);
        let file = file_of(task);
        match (record, file) {
            (Err(error @ RecordError::Newer { .. }), _) => return Err(error.into()),
            (Ok(record), Some(Some(found))) if found.length == record.layout.length() => {
                tidied.kept.push((task, record, found));
                continue;
            }
            (Ok(_), _) => recovery.lost_files += 1,
            (Err(_), _) => recovery.damaged_records += 1,
        }
        tidied.records.push(task);
        tidied.files.extend(file.map(|_| task));
    }
    // The index lists its records in order.
    for (task, _) in &files {
        if known.binary_search(task).is_err() {
            recovery.orphan_files += 1;
            tidied.files.push(*task);
        }
    }
    Ok(tidied)
}

/// Whether a file takes visibly more than its marked pieces: a killed writer, or marks that were never committed.
fn has_more_than_marked(record: &TaskRecord, found: Found) -> bool {
    /// Blocks at both ends of a piece, and what the file system keeps for itself.
    const SLACK: u64 = 64 << 10;
    let rounding = u64::from(record.pieces) * 8192 + SLACK;
    record.held < record.layout.length()
        && found.allocated.0 > record.held.0.saturating_add(rounding)
}

/// Gives back what unmarked pieces of `task` take, so that the ledger is right about the disk. Where that fails, whoever
/// asks for the content will find out.
fn trim(directory: &Directory, index: &Index, task: TaskId, record: &TaskRecord) {
    let (Ok(loaded), Ok(file)) = (index.load(task, record.layout, 0), directory.content(task))
    else {
        return;
    };
    let have = loaded.marks.have();
    let mut missing = PieceSet::full(have.piece_count());
    for piece in have.iter() {
        missing.remove(piece);
    }
    for run in missing.runs() {
        punch(&file, record.layout.range_of_run(run));
    }
}
