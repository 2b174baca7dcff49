//! Reading a run of pieces from the origin into the store.
//!
//! The importer that the scheduler named, and a seed on its own, sign each piece's digest: other hosts check what they
//! get by it. Bytes go from the socket through the hash into the file, once.

use std::sync::Arc;

use control::OriginFailure;
use futures_util::StreamExt;
use identity::NodeKey;
use origin::{AskError, Body, BodyStream};
use store::{PieceWriter, WriteError};
use tokio_util::sync::CancellationToken;
use types::{ClusterId, Epoch, PieceDigest, PieceIndex, PieceRun, Segment};

use crate::{
    access::{Access, AccessError, Accesses},
    core::{Event, Events},
    task::Task,
};

/// Who vouches for imported pieces.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) key: NodeKey,
    pub(crate) cluster: ClusterId,
}

impl Signer {
    /// The signed word for one piece of `task`.
    pub(crate) fn segment(
        &self,
        task: &Task,
        epoch: Epoch,
        (first, digest): (PieceIndex, PieceDigest),
    ) -> Segment {
        let mut segment = Segment {
            task: task.spec.task,
            layout: task.spec.layout,
            epoch,
            first,
            digests: vec![digest],
            signer: self.key.host_id(),
            signature: [0; 64],
        };
        segment.signature = self.key.sign(&segment.statement(&self.cluster));
        segment
    }
}

/// One run to import.
pub(crate) struct Import {
    pub(crate) task: Arc<Task>,
    pub(crate) accesses: Accesses,
    pub(crate) run: PieceRun,
    /// The lease under which it is read; `None` for a blocked reader without one.
    pub(crate) epoch: Option<Epoch>,
    /// Signs what is imported, if this host may.
    pub(crate) signer: Option<Signer>,
}

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("reading the origin")]
    Origin(#[from] origin::ReadError),
    #[error("looking at the origin again")]
    Access(#[from] AccessError),
    #[error("the origin's body ended before {piece} was whole")]
    Short { piece: PieceIndex },
    #[error("storing {piece}")]
    Store {
        piece: PieceIndex,
        #[source]
        cause: WriteError,
    },
}

impl ImportError {
    /// The cause as a task's failure tells it: what the origin said, if it said something.
    pub(crate) fn told(self: &Arc<Self>) -> Arc<dyn std::error::Error + Send + Sync> {
        match &**self {
            Self::Origin(cause) => Arc::new(cause.clone()),
            _ => Arc::<Self>::clone(self),
        }
    }

    /// Whether another try makes no sense.
    pub(crate) fn is_permanent(&self) -> bool {
        match self {
            Self::Origin(cause) => cause.is_permanent(),
            Self::Access(cause) => cause.is_permanent(),
            Self::Short { .. } => false,
            Self::Store { .. } => true,
        }
    }

    /// The failure in the scheduler's words.
    pub(crate) fn for_scheduler(&self) -> OriginFailure {
        match self {
            Self::Origin(origin::ReadError::Ask(AskError::Status { status, .. })) => {
                match status.as_u16() {
                    404 | 410 => OriginFailure::NotFound,
                    401 | 403 => OriginFailure::Denied,
                    429 | 503 => OriginFailure::Overloaded,
                    _ => OriginFailure::Unreachable,
                }
            }
            Self::Origin(origin::ReadError::Ask(AskError::Auth(_))) => OriginFailure::Denied,
            Self::Origin(origin::ReadError::Ask(AskError::Refused(_))) => OriginFailure::Forbidden,
            Self::Origin(cause) if cause.is_permanent() => OriginFailure::Mismatch,
            Self::Origin(_) | Self::Access(_) | Self::Short { .. } | Self::Store { .. } => {
                OriginFailure::Unreachable
            }
        }
    }

    /// How long the origin asked to wait.
    pub(crate) fn retry_after(&self) -> Option<std::time::Duration> {
        match self {
            Self::Origin(cause) => cause.retry_after(),
            Self::Access(_) | Self::Short { .. } | Self::Store { .. } => None,
        }
    }
}

impl Import {
    /// Imports the run, telling the core of each piece, or how it failed. Cancelled, it stops at once; pieces that are
    /// stored by then stay.
    pub(crate) async fn run(self, events: Events, stop: CancellationToken) {
        let result = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            result = self.read(&events) => result,
        };
        if let Err(cause) = result {
            let (task, run, epoch) = (self.task.spec.task, self.run, self.epoch);
            events
                .tell(Event::ImportFailed {
                    task,
                    run,
                    epoch,
                    cause: Arc::new(cause),
                })
                .await;
        }
    }

    async fn read(&self, events: &Events) -> Result<(), ImportError> {
        let range = self.task.spec.layout.range_of_run(self.run);
        match self.access().await?.read(range).await? {
            Body::Range(stream) => self.store(stream, self.run, events).await,
            // The origin ignores ranges: what comes before the run is taken too, once, instead of being thrown away.
            Body::Whole(stream) => {
                let count = u32::try_from(self.run.end()).unwrap_or(u32::MAX);
                self.store(
                    stream,
                    PieceRun {
                        first: PieceIndex(0),
                        count,
                    },
                    events,
                )
                .await
            }
        }
    }

    /// The way to the origin, looked up anew for a task that an earlier process began.
    async fn access(&self) -> Result<Arc<Access>, ImportError> {
        let spec = &self.task.spec;
        match self.accesses.get(&spec.task) {
            Some(access) => Ok(access),
            None => Ok(self
                .accesses
                .for_source(spec.task, &spec.source, spec.digest)
                .await?
                .1),
        }
    }

    async fn store(
        &self,
        mut stream: BodyStream,
        run: PieceRun,
        events: &Events,
    ) -> Result<(), ImportError> {
        let layout = self.task.spec.layout;
        let mut chunk = bytes::Bytes::new();
        for piece in run.pieces() {
            let mut left = layout.length_of(piece).0;
            let mut writer = self.writer(piece)?;
            while left > 0 {
                if chunk.is_empty() {
                    chunk = stream.next().await.transpose()?.unwrap_or_default();
                    if chunk.is_empty() {
                        return Err(ImportError::Short { piece });
                    }
                }
                let part =
                    chunk.split_to(usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len()));
                left -= part.len() as u64;
                if let Some(writer) = &mut writer {
                    tokio::task::block_in_place(|| writer.write(&part))
                        .map_err(|cause| ImportError::Store { piece, cause })?;
                }
            }
            if let Some(writer) = writer {
                self.finish(writer, piece, events).await?;
            }
        }
        Ok(())
    }

    /// A writer, unless the piece is here already or on its way from elsewhere.
    fn writer(&self, piece: PieceIndex) -> Result<Option<PieceWriter>, ImportError> {
        match self.task.content.writer(piece) {
            Ok(writer) => Ok(Some(writer)),
            Err(WriteError::Held { .. } | WriteError::Busy { .. }) => Ok(None),
            Err(cause) => Err(ImportError::Store { piece, cause }),
        }
    }

    async fn finish(
        &self,
        writer: PieceWriter,
        piece: PieceIndex,
        events: &Events,
    ) -> Result<(), ImportError> {
        let known = self.task.table.read().digest_of(piece);
        let digest = tokio::task::block_in_place(|| writer.finish(known))
            .map_err(|cause| ImportError::Store { piece, cause })?;
        if let (Some(signer), None) = (&self.signer, known) {
            let segment =
                signer.segment(&self.task, self.epoch.unwrap_or_default(), (piece, digest));
            self.task.keep_segment(Arc::new(segment));
        }
        events
            .tell(Event::Imported {
                task: self.task.spec.task,
                piece,
                leased: self.epoch.is_some(),
            })
            .await;
        Ok(())
    }
}
