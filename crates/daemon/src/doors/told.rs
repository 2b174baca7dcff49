//! A reader of content whose length nobody but another host told, and whose consumer could not be kept waiting until a
//! piece had shown that it is right. If it fails, the next ask for the same goes to the origin first.

use std::{io, os::fd::OwnedFd, sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use gateway::{Proof, ReadError, SourceBytes, VerifiedReader};
use types::{ByteRange, Digest, TaskId};

use super::lately::Lately;

/// The reader.
pub(super) struct Told {
    pub(super) reader: Box<dyn VerifiedReader>,
    pub(super) task: TaskId,
    /// Where a failure is noted.
    pub(super) doubted: Arc<Lately<TaskId>>,
}

impl Told {
    fn note<T>(&self, outcome: Result<T, ReadError>) -> Result<T, ReadError> {
        if outcome.is_err() {
            self.doubted.note(self.task, Instant::now());
        }
        outcome
    }
}

impl VerifiedReader for Told {
    fn ready(&mut self, at: u64) -> BoxFuture<'_, Result<ByteRange, ReadError>> {
        async move {
            let ready = self.reader.ready(at).await;
            self.note(ready)
        }
        .boxed()
    }

    fn read(&mut self, range: ByteRange) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        self.reader.read(range)
    }

    fn finish(&mut self, proof: Proof) -> BoxFuture<'_, Result<Option<Digest>, ReadError>> {
        async move {
            let finished = self.reader.finish(proof).await;
            self.note(finished)
        }
        .boxed()
    }

    fn descriptor(&self) -> io::Result<OwnedFd> {
        self.reader.descriptor()
    }

    fn sources(&self) -> SourceBytes {
        self.reader.sources()
    }
}
