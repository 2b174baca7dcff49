//! The index on disk: one redb file with everything known about the contents.
//!
//! Written in batches, each one durable transaction. redb refuses all work after a failed write; the index then closes
//! it and opens it again for the next batch, so that a disk that was full for a while is not full for ever.

use std::sync::Arc;

use parking_lot::RwLock;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use types::{Layout, Seal, Segment, TaskId};

use crate::{
    boot::BootId,
    directory::{Directory, DirectoryError},
    fault::DiskError,
    marks::{GroupRecord, Marks},
    record::{Reader, RecordError, TaskRecord, Writer},
    signed,
};

/// Memory for pages of the index.
const CACHE: usize = 8 << 20;

type Id = &'static [u8; 32];
const META: TableDefinition<(), &[u8]> = TableDefinition::new("meta");
const TASKS: TableDefinition<Id, &[u8]> = TableDefinition::new("tasks");
const MARKS: TableDefinition<(Id, u32), &[u8]> = TableDefinition::new("marks");
const SEGMENTS: TableDefinition<(Id, u32), &[u8]> = TableDefinition::new("segments");
const SEALS: TableDefinition<Id, &[u8]> = TableDefinition::new("seals");

/// What the index says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The boot it was last opened in.
    pub(crate) boot: BootId,
    /// Whether it was closed with all bytes on the disk.
    pub(crate) clean: bool,
    /// Grows by one at each unclean boot; see [`Marks`].
    pub(crate) generation: u64,
}

impl Meta {
    const VERSION: u8 = 1;

    fn encode(&self) -> Vec<u8> {
        let mut to = Writer::new(Self::VERSION);
        to.bytes(self.boot.as_bytes());
        to.u8(u8::from(self.clean));
        to.u64(self.generation);
        to.0
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut from = Reader::new(bytes, Self::VERSION)?;
        let meta = Self {
            boot: BootId::from_bytes(from.array()?),
            clean: from.u8()? == 1,
            generation: from.u64()?,
        };
        from.end()?;
        Ok(meta)
    }
}

/// What one transaction changes. Contents in `removed` go first.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) meta: Option<Meta>,
    pub(crate) removed: Vec<TaskId>,
    pub(crate) changes: Vec<Change>,
}

/// What changes of one content.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) task: TaskId,
    pub(crate) record: Vec<u8>,
    pub(crate) groups: Vec<GroupRecord>,
    pub(crate) segments: Vec<(u32, Option<Vec<u8>>)>,
    pub(crate) seal: Option<Option<Vec<u8>>>,
}

/// What the index has of one content beside its record.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) marks: Marks,
    pub(crate) segments: Vec<Segment>,
    pub(crate) seal: Option<Seal>,
}

/// A task and what its record says, or why that cannot be understood.
pub(crate) type TaskRow = (TaskId, Result<TaskRecord, RecordError>);

/// Why the index cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

pub(crate) struct Index {
    directory: Arc<Directory>,
    /// None after a failed write, until the next use.
    database: RwLock<Option<Database>>,
}

impl Index {
    pub(crate) fn open(directory: Arc<Directory>) -> Result<Self, DirectoryError> {
        let index = Self {
            database: RwLock::new(Some(open(&directory)?)),
            directory,
        };
        index.write(&Batch::default())?;
        Ok(index)
    }

    /// Runs `work` on the database, opened again if the last write failed.
    fn with<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, DiskError> {
        loop {
            let database = self.database.read();
            if let Some(database) = &*database {
                return work(database).map_err(|cause| DiskError::index(doing, cause));
            }
            drop(database);
            let mut database = self.database.write();
            if database.is_none() {
                *database = Some(open(&self.directory).map_err(|error| match error {
                    DirectoryError::Disk(error) => error,
                    other => DiskError::io(doing, std::io::Error::other(other)),
                })?);
            }
        }
    }

    /// One durable transaction. After an error it may or may not have happened; writing it again is harmless.
    pub(crate) fn write(&self, batch: &Batch) -> Result<(), DiskError> {
        let written = self.with("committing to the index", |database| write(database, batch));
        if written.is_err() {
            *self.database.write() = None;
        }
        written
    }

    pub(crate) fn meta(&self) -> Result<Option<Meta>, IndexError> {
        let bytes = self.with("reading the index", |database| {
            let table = database.begin_read()?.open_table(META)?;
            Ok(table.get(())?.map(|bytes| bytes.value().to_vec()))
        })?;
        Ok(bytes.map(|bytes| Meta::decode(&bytes)).transpose()?)
    }

    /// Every record; a damaged one as the error it gave.
    pub(crate) fn tasks(&self) -> Result<Vec<TaskRow>, DiskError> {
        self.with("reading the index", |database| {
            let table = database.begin_read()?.open_table(TASKS)?;
            table
                .iter()?
                .map(|entry| {
                    let (task, bytes) = entry?;
                    let task = TaskId::from_bytes(*task.value());
                    Ok((task, TaskRecord::decode(bytes.value())))
                })
                .collect()
        })
    }

    /// The marks, segments and seal of `task`. Marks of another `generation` are not sound.
    pub(crate) fn load(
        &self,
        task: TaskId,
        layout: Layout,
        generation: u64,
    ) -> Result<Loaded, IndexError> {
        self.with("reading the index", |database| {
            let read = database.begin_read()?;
            let id = task.as_bytes();
            let mut marks = Marks::empty(layout);
            for entry in read.open_table(MARKS)?.range((id, 0)..=(id, u32::MAX))? {
                let (key, bytes) = entry?;
                if let Err(error) = marks.load(key.value().1, bytes.value(), generation) {
                    return Ok(Err(error));
                }
            }
            let mut segments = Vec::new();
            for entry in read.open_table(SEGMENTS)?.range((id, 0)..=(id, u32::MAX))? {
                match signed::decode_segment(entry?.1.value()) {
                    Ok(segment) => segments.push(segment),
                    Err(error) => return Ok(Err(error)),
                }
            }
            let seal = read.open_table(SEALS)?.get(id)?;
            let seal = seal
                .map(|bytes| signed::decode_seal(bytes.value()))
                .transpose();
            Ok(seal.map(|seal| Loaded {
                marks,
                segments,
                seal,
            }))
        })?
        .map_err(IndexError::from)
    }
}

fn open(directory: &Directory) -> Result<Database, DirectoryError> {
    const DOING: &str =
        "opening the index (if it is damaged, remove the data directory to begin anew)";
    let file = directory.index()?;
    let failed = |cause: redb::DatabaseError| DiskError::index(DOING, cause);
    let backend = redb::backends::FileBackend::new(file).map_err(failed)?;
    // The check makes a damaged file an error where redb would otherwise trust it and may panic.
    let database = redb::Builder::new()
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true)
        .create_with_backend(backend)
        .map_err(failed)?;
    Ok(database)
}

fn write(database: &Database, batch: &Batch) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    // Names and URLs come from outside: a commit in one phase could, in a crash, be mistaken by who chose its bytes.
    transaction.set_two_phase_commit(true);
    {
        let mut meta = transaction.open_table(META)?;
        let mut tasks = transaction.open_table(TASKS)?;
        let mut marks = transaction.open_table(MARKS)?;
        let mut segments = transaction.open_table(SEGMENTS)?;
        let mut seals = transaction.open_table(SEALS)?;
        if let Some(value) = &batch.meta {
            meta.insert((), value.encode().as_slice())?;
        }
        for task in &batch.removed {
            let id = task.as_bytes();
            tasks.remove(id)?;
            seals.remove(id)?;
            marks.retain_in((id, 0)..=(id, u32::MAX), |_, _| false)?;
            segments.retain_in((id, 0)..=(id, u32::MAX), |_, _| false)?;
        }
        for change in &batch.changes {
            let id = change.task.as_bytes();
            tasks.insert(id, change.record.as_slice())?;
            for (group, bytes) in &change.groups {
                match bytes {
                    Some(bytes) => marks.insert((id, *group), bytes.as_slice())?,
                    None => marks.remove((id, *group))?,
                };
            }
            for (first, bytes) in &change.segments {
                match bytes {
                    Some(bytes) => segments.insert((id, *first), bytes.as_slice())?,
                    None => segments.remove((id, *first))?,
                };
            }
            match &change.seal {
                Some(Some(bytes)) => drop(seals.insert(id, bytes.as_slice())?),
                Some(None) => drop(seals.remove(id)?),
                None => {}
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_meta_is_refused() {
        let meta = Meta {
            boot: BootId::from_bytes([3; 16]),
            clean: true,
            generation: 9,
        };
        let mut bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes), Ok(meta));
        for cut in 0..bytes.len() {
            assert!(Meta::decode(&bytes[..cut]).is_err());
        }
        bytes[0] = 2;
        assert_eq!(
            Meta::decode(&bytes),
            Err(RecordError::Newer { found: 2, known: 1 })
        );
    }

    #[test]
    fn a_file_that_is_no_index_is_an_error() {
        let outer = tempfile::tempdir().expect("a directory");
        let directory = Arc::new(Directory::open(&outer.path().join("data")).expect("opened"));
        drop(directory.index().expect("created"));
        std::fs::write(outer.path().join("data/index.redb"), vec![0x5a; 9000]).expect("written");
        assert!(Index::open(directory).is_err());
    }
}
