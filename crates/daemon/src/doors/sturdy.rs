//! A reader of a task that does without the store if the disk fails before the consumer has got anything, and without the
//! swarm if that does not bring what this consumer himself can read at the origin.

use std::{io, os::fd::OwnedFd, sync::Arc};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use gateway::{Proof, ReadError, SourceBytes, VerifiedReader};
use types::{ByteRange, Digest};

use super::direct::Direct;
use crate::{
    access::{Access, Accesses},
    metrics::Metrics,
    task::TaskSpec,
};

/// The way past the store.
pub(super) struct PastStore {
    pub(super) accesses: Accesses,
    /// How the consumer reads what is private.
    pub(super) own: Option<Arc<Access>>,
    pub(super) spec: TaskSpec,
    pub(super) range: ByteRange,
    pub(super) metrics: Metrics,
}

impl PastStore {
    fn helps_with(&self, cause: &ReadError) -> bool {
        match cause {
            ReadError::Store(_) => true,
            // It may have been read with the credentials of others, which were worth nothing any more.
            ReadError::NoSource(_) => self.own.is_some(),
            _ => false,
        }
    }

    async fn open(&self) -> Result<Direct, ReadError> {
        let spec = &self.spec;
        let access = match &self.own {
            Some(own) => Arc::clone(own),
            None => {
                (self.accesses.of(spec).await).map_err(|error| ReadError::NoSource(error.into()))?
            }
        };
        let place = (spec.layout.length(), self.range);
        Direct::open(&access, place, spec.digest, self.metrics.clone())
            .await
            .map_err(|error| ReadError::NoSource(error.into()))
    }
}

/// The reader. Bytes that went out already cannot be taken back or hashed again: from then on it is the task or nothing.
pub(super) struct Sturdy {
    reader: Box<dyn VerifiedReader>,
    past: Option<Arc<PastStore>>,
}

impl Sturdy {
    pub(super) fn new(reader: Box<dyn VerifiedReader>, past: PastStore) -> Self {
        Self {
            reader,
            past: Some(Arc::new(past)),
        }
    }

    async fn ready_at(&mut self, at: u64) -> Result<ByteRange, ReadError> {
        match (self.reader.ready(at).await, self.past.clone()) {
            (Err(cause), Some(past)) if past.helps_with(&cause) => {
                tracing::warn!(task = %past.spec.task, error = &cause as &dyn std::error::Error, "streamed past the store");
                self.reader = Box::new(past.open().await?);
                self.past = None;
                self.reader.ready(at).await
            }
            (ready, _) => ready,
        }
    }
}

impl VerifiedReader for Sturdy {
    fn ready(&mut self, at: u64) -> BoxFuture<'_, Result<ByteRange, ReadError>> {
        self.ready_at(at).boxed()
    }

    fn read(&mut self, range: ByteRange) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        self.past = None;
        self.reader.read(range)
    }

    fn finish(&mut self, proof: Proof) -> BoxFuture<'_, Result<Option<Digest>, ReadError>> {
        self.reader.finish(proof)
    }

    fn descriptor(&self) -> io::Result<OwnedFd> {
        self.reader.descriptor()
    }

    fn sources(&self) -> SourceBytes {
        self.reader.sources()
    }
}
