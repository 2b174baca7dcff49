//! Reads past store and swarm: the origin's stream, spooled into a file without a name.
//!
//! For consumers that are handed a descriptor, and for content that does not tell its length: private content, content
//! without a version, all content while the bypass is on or where the store has no room. Nobody else sees the file and it
//! goes with its reader; it takes no more than the store leaves. What a consumer is done with is given back to the disk
//! as it goes, unless it was handed a descriptor.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, fd::OwnedFd, unix::fs::FileExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, future::BoxFuture};
use gateway::{Proof, ReadError, SourceBytes, VerifiedReader};
use origin::{Body, BodyStream};
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate};
use types::{ByteCount, ByteRange, Digest};

use super::incoming::{BrokenStream, Hasher, Incoming};
use crate::{access::Access, metrics::Metrics};

/// How much is given back to the disk at once at least.
const PUNCH_MIN: u64 = 1 << 20;

/// What a stream-through is opened with.
pub(super) struct Spooling<'a> {
    /// The way to the bytes.
    pub(super) access: &'a Access,
    /// What they must hash to.
    pub(super) digest: Option<Digest>,
    /// Whether the consumer asks what that is.
    pub(super) is_digest_asked: bool,
    /// Where the file lies.
    pub(super) dir: &'a Path,
    /// How much may lie there.
    pub(super) room: ByteCount,
    /// What is read is counted.
    pub(super) metrics: Metrics,
}

/// Why content is not spooled.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpoolError {
    #[error(transparent)]
    Origin(#[from] origin::ReadError),
    #[error("making a file to stream through")]
    File(#[source] io::Error),
    #[error("reading content of unknown length")]
    Read(#[from] ReadError),
    #[error("content of unknown length went on after {0}, which is all that the disk has left")]
    Endless(ByteCount),
    #[error("no room to stream {wanted} through: the disk has {left} left for it")]
    NoRoom { wanted: ByteCount, left: ByteCount },
}

/// A reader of one stream.
pub(super) struct Through {
    spool: Arc<Mutex<Spool>>,
    file: Arc<File>,
    incoming: Incoming,
    /// Taken from the stream, perhaps not written yet.
    pending: Option<Bytes>,
    start: u64,
    /// The offset after the last byte that is in the file.
    at: u64,
    length: Option<u64>,
    digest: Option<Digest>,
    /// Where the consumer stands: what lies before is no longer wanted.
    done: u64,
    is_shown: AtomicBool,
}

impl Through {
    /// Opens `range` of content of `length` bytes.
    pub(super) async fn open(
        spooling: Spooling<'_>,
        length: ByteCount,
        range: ByteRange,
    ) -> Result<Self, SpoolError> {
        let (wanted, left) = (range.length(), spooling.room);
        if wanted > left {
            return Err(SpoolError::NoRoom { wanted, left });
        }
        let stream = if range == ByteRange::whole(length) {
            spooling.access.all().await?
        } else {
            match spooling.access.read(range).await? {
                Body::Range(stream) | Body::Whole(stream) => stream,
            }
        };
        Self::new(spooling, stream, Some(length.0)).await
    }

    /// Reads content of unknown length to its end, which tells the length.
    pub(super) async fn open_all(spooling: Spooling<'_>) -> Result<(Self, ByteCount), SpoolError> {
        let limit = spooling.room;
        let stream = spooling.access.all().await?;
        let mut through = Self::new(spooling, stream, None).await?;
        while through.pull().await? {
            if through.at > limit.0 {
                return Err(SpoolError::Endless(limit));
            }
        }
        through.length = Some(through.at);
        let length = ByteCount(through.at);
        Ok((through, length))
    }

    async fn new(
        spooling: Spooling<'_>,
        stream: BodyStream,
        length: Option<u64>,
    ) -> Result<Self, SpoolError> {
        let dir = spooling.dir.to_owned();
        let file = blocking(move || tempfile::tempfile_in(dir)).await;
        let file = Arc::new(file.map_err(SpoolError::File)?);
        let start = stream.start();
        Ok(Self {
            spool: Arc::new(Mutex::new(Spool {
                file: Arc::clone(&file),
                hasher: Hasher::of(spooling.digest, spooling.is_digest_asked),
                end: start,
                punched: start,
            })),
            file,
            incoming: Incoming::new(stream, spooling.metrics),
            pending: None,
            start,
            at: start,
            length,
            digest: spooling.digest,
            done: start,
            is_shown: AtomicBool::new(false),
        })
    }

    /// Brings the next bytes of the stream into the file; false at its end. Dropped early, nothing is lost: bytes taken
    /// from the stream wait here, and writing them twice is writing them once.
    async fn pull(&mut self) -> Result<bool, ReadError> {
        if self.pending.is_none() {
            self.pending = self.incoming.next().await?;
        }
        let Some(bytes) = self.pending.clone() else {
            return Ok(false);
        };
        let length = bytes.len() as u64;
        let end = self.at + length;
        if let Some(due) = self.length.filter(|due| end > *due) {
            self.incoming.end();
            return Err(BrokenStream::Longer(due).into());
        }
        let (spool, at) = (Arc::clone(&self.spool), self.at);
        let done = (!self.is_shown.load(Ordering::Acquire)).then_some(self.done);
        let written = blocking(move || spool.lock().append(at, &bytes, done)).await;
        written.map_err(ReadError::Store)?;
        self.pending = None;
        self.at = end;
        Ok(true)
    }

    async fn ready_at(&mut self, at: u64) -> Result<ByteRange, ReadError> {
        self.done = self.done.max(at);
        while self.at <= at {
            if !self.pull().await? {
                return Err(BrokenStream::Over(self.at).into());
            }
        }
        if at < self.start {
            return Err(BrokenStream::Part.into());
        }
        Ok(ByteRange::new(at, self.at).expect("at is below what came"))
    }

    async fn proof(&mut self) -> Result<Option<Digest>, ReadError> {
        while self.pull().await? {}
        if self.length != Some(self.at) {
            return Err(BrokenStream::Over(self.at).into());
        }
        if self.start != 0 {
            return Err(BrokenStream::Part.into());
        }
        self.spool.lock().hasher.proof(self.digest)
    }
}

impl VerifiedReader for Through {
    fn ready(&mut self, at: u64) -> BoxFuture<'_, Result<ByteRange, ReadError>> {
        self.ready_at(at).boxed()
    }

    fn read(&mut self, range: ByteRange) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        let file = Arc::clone(&self.file);
        let read = move || {
            let length = usize::try_from(range.length().0).map_err(io::Error::other)?;
            let mut bytes = BytesMut::zeroed(length);
            file.read_exact_at(&mut bytes, range.start())?;
            Ok(bytes.freeze())
        };
        async move { blocking(read).await.map_err(ReadError::Store) }.boxed()
    }

    /// Both proofs are the same here: what has a digest, or is asked for it, was hashed on its way.
    fn finish(&mut self, _proof: Proof) -> BoxFuture<'_, Result<Option<Digest>, ReadError>> {
        self.proof().boxed()
    }

    fn descriptor(&self) -> io::Result<OwnedFd> {
        self.is_shown.store(true, Ordering::Release);
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(File::open(path)?.into())
    }

    fn sources(&self) -> SourceBytes {
        SourceBytes {
            origin: self.at - self.start,
            ..SourceBytes::default()
        }
    }
}

/// The file and the hash of what was written to it.
struct Spool {
    file: Arc<File>,
    hasher: Hasher,
    end: u64,
    punched: u64,
}

impl Spool {
    /// Appends what lies at `at`, if it is not there yet, and gives back what lies before `done`.
    fn append(&mut self, at: u64, bytes: &[u8], done: Option<u64>) -> io::Result<()> {
        if at == self.end {
            self.file.write_all_at(bytes, at)?;
            self.hasher.update(bytes);
            self.end += bytes.len() as u64;
        }
        let done = done.unwrap_or(self.punched).min(self.end);
        if done.saturating_sub(self.punched) >= PUNCH_MIN {
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // A file system that can't do it keeps the bytes until the file goes.
            if fallocate(&self.file, how, self.punched, done - self.punched).is_ok() {
                self.punched = done;
            }
        }
        Ok(())
    }
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}
