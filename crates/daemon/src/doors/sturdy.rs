//! A reader of a task that does without the store if the disk fails before the consumer has got anything.

use std::{io, os::fd::OwnedFd, sync::Arc};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use gateway::{Proof, ReadError, SourceBytes, VerifiedReader};
use types::{ByteRange, Digest};

use super::direct::Direct;
use crate::{access::Accesses, metrics::Metrics, task::TaskSpec};

/// The way past the store.
pub(super) struct PastStore {
    pub(super) accesses: Accesses,
    pub(super) spec: TaskSpec,
    pub(super) range: ByteRange,
    pub(super) metrics: Metrics,
}

impl PastStore {
    async fn open(&self) -> Result<Direct, ReadError> {
        let spec = &self.spec;
        let access = self.accesses.of(spec).await;
        let access = access.map_err(|error| ReadError::NoSource(error.into()))?;
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
            (Err(ReadError::Store(cause)), Some(past)) => {
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
