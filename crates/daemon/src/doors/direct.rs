//! Reads past store, swarm and disk: the origin's stream goes to its consumer as it comes.
//!
//! For consumers that read in order and never again: those of the mirror. It works on a disk that is full, broken or
//! read-only. Beside what the consumer reads now, nothing is held; the whole is hashed on its way, and the consumer holds
//! its last bytes back until that hash is known.

use std::{io, os::fd::OwnedFd};

use bytes::{Buf, Bytes};
use futures_util::{FutureExt, future::BoxFuture};
use gateway::{Proof, ReadError, SourceBytes, VerifiedReader};
use origin::Body;
use types::{ByteCount, ByteRange, Digest};

use super::incoming::{BrokenStream, Hasher, Incoming};
use crate::{access::Access, metrics::Metrics};

/// A reader of one stream.
pub(super) struct Direct {
    incoming: Incoming,
    /// What came last, from the offset `at` on.
    held: Bytes,
    at: u64,
    /// The length of the whole content.
    length: u64,
    digest: Option<Digest>,
    hasher: Hasher,
}

impl Direct {
    /// Opens `range` of content of `length` bytes that must hash to `digest`.
    pub(super) async fn open(
        access: &Access,
        (length, range): (ByteCount, ByteRange),
        digest: Option<Digest>,
        metrics: Metrics,
    ) -> Result<Self, origin::ReadError> {
        let is_whole = range == ByteRange::whole(length);
        let stream = if is_whole {
            access.all().await?
        } else {
            match access.read(range).await? {
                Body::Range(stream) | Body::Whole(stream) => stream,
            }
        };
        let incoming = Incoming::new(stream, metrics);
        Ok(Self {
            at: incoming.start(),
            incoming,
            held: Bytes::new(),
            length: length.0,
            digest,
            hasher: Hasher::of(digest.filter(|_| is_whole), false),
        })
    }

    /// The offset after the last byte that came.
    fn end(&self) -> u64 {
        self.at + self.held.len() as u64
    }

    /// Lets go of what is held and takes what comes next; false at the end. Dropped early, nothing is lost.
    async fn pull(&mut self) -> Result<bool, ReadError> {
        let Some(bytes) = self.incoming.next().await? else {
            return Ok(false);
        };
        self.at = self.end();
        if self.at + bytes.len() as u64 > self.length {
            self.incoming.end();
            return Err(BrokenStream::Longer(self.length).into());
        }
        self.hasher.update(&bytes);
        self.held = bytes;
        Ok(true)
    }

    async fn ready_at(&mut self, at: u64) -> Result<ByteRange, ReadError> {
        if at < self.at {
            return Err(BrokenStream::Part.into());
        }
        while self.end() <= at {
            if !self.pull().await? {
                return Err(BrokenStream::Over(self.end()).into());
            }
        }
        let by = usize::try_from(at - self.at).expect("less than what is held");
        self.held.advance(by);
        self.at = at;
        Ok(ByteRange::new(at, self.end()).expect("at is below what came"))
    }

    fn part(&self, range: ByteRange) -> io::Result<Bytes> {
        let from = |offset: u64| {
            let within = offset.checked_sub(self.at)?;
            usize::try_from(within).ok()
        };
        match (from(range.start()), from(range.end())) {
            (Some(start), Some(end)) if end <= self.held.len() => Ok(self.held.slice(start..end)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    async fn proof(&mut self) -> Result<Option<Digest>, ReadError> {
        if self.incoming.start() != 0 {
            return Err(BrokenStream::Part.into());
        }
        while self.pull().await? {}
        if self.end() != self.length {
            return Err(BrokenStream::Over(self.end()).into());
        }
        self.hasher.proof(self.digest)
    }
}

impl VerifiedReader for Direct {
    fn ready(&mut self, at: u64) -> BoxFuture<'_, Result<ByteRange, ReadError>> {
        self.ready_at(at).boxed()
    }

    fn read(&mut self, range: ByteRange) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        let part = self.part(range).map_err(ReadError::Store);
        async move { part }.boxed()
    }

    /// Both proofs are the same here: what has a digest was hashed on its way.
    fn finish(&mut self, _proof: Proof) -> BoxFuture<'_, Result<Option<Digest>, ReadError>> {
        self.proof().boxed()
    }

    /// There is no file.
    fn descriptor(&self) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sources(&self) -> SourceBytes {
        SourceBytes {
            origin: self.end() - self.incoming.start(),
            ..SourceBytes::default()
        }
    }
}
