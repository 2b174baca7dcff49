//! Reading runs of pieces from the origin into the store.
//!
//! The importer that the scheduler named, and a seed on its own, sign each piece's digest: other hosts check what they
//! get by it. Bytes go from the socket through the hash into the file, once.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use control::OriginFailure;
use futures_util::StreamExt;
use identity::NodeKey;
use origin::{AskError, Body, BodyStream, Place, ResolveError};
use store::{PieceWriter, WriteError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use types::{ByteCount, ClusterId, Epoch, Layout, PieceDigest, PieceIndex, PieceRun, Segment};

use crate::{
    access::{AccessError, Accesses},
    core::{Event, Events},
    metrics::Metrics,
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

/// One run to import, and what one request to the origin may cover if there must be a new one: the run, and what will
/// most likely be imported after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) run: PieceRun,
    pub(crate) reach: PieceRun,
}

/// One import: runs of a task, read one after the other.
///
/// Runs that follow each other come from one open stream; between two runs it is not read, so that the origin sends no
/// more than the connection holds.
pub(crate) struct Import {
    pub(crate) task: Arc<Task>,
    pub(crate) accesses: Accesses,
    /// The lease under which it reads; `None` for a blocked reader without one.
    pub(crate) epoch: Option<Epoch>,
    /// Signs what is imported, if this host may.
    pub(crate) signer: Option<Signer>,
    /// What is read is counted.
    pub(crate) metrics: Metrics,
}

/// Bytes that were read and are of no use yet. Dropped with them, they are counted as wasted.
struct Unused<'a> {
    bytes: u64,
    metrics: &'a Metrics,
}

impl Drop for Unused<'_> {
    fn drop(&mut self) {
        self.metrics.wasted(ByteCount(self.bytes));
    }
}

/// A body of the origin under way.
struct Open {
    body: BodyStream,
    /// What came of the piece at `at` and was not used yet.
    chunk: Bytes,
    at: PieceIndex,
    /// The index after the last piece that it brings.
    end: u64,
    /// The origin gives no parts: what lies ahead is only reached by reading up to it.
    is_whole: bool,
}

/// Where the bytes of a piece go.
enum Way {
    Stored(Box<PieceWriter>),
    /// Nowhere: it is here already.
    Held,
    /// Nowhere: another brings it.
    Busy,
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
    #[error("{piece} is being written by another import")]
    Busy { piece: PieceIndex },
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

    /// Whether the origin gave other bytes than somebody had vouched for.
    pub(crate) fn disagrees(&self) -> bool {
        let Self::Store { cause, .. } = self else {
            return false;
        };
        matches!(cause, WriteError::Digest { .. })
    }

    /// Whether another try makes no sense.
    pub(crate) fn is_permanent(&self) -> bool {
        match self {
            Self::Origin(cause) => cause.is_permanent(),
            Self::Access(cause) => cause.is_permanent(),
            Self::Short { .. } | Self::Busy { .. } => false,
            // It belongs to a table that is void; the next one is read again.
            Self::Store { cause, .. } => !matches!(cause, WriteError::Voided(_)),
        }
    }

    /// What the store said, if it is the store that failed.
    pub(crate) fn of_store(self: &Arc<Self>) -> Option<Arc<dyn std::error::Error + Send + Sync>> {
        let is_stores = matches!(&**self, Self::Store { .. });
        is_stores.then(|| Arc::<Self>::clone(self) as _)
    }

    /// Why the origin gave no usable answer, if that is what went wrong.
    fn ask(&self) -> Option<&AskError> {
        match self {
            Self::Origin(origin::ReadError::Ask(cause))
            | Self::Access(
                AccessError::Ask(cause) | AccessError::Resolve(ResolveError::Ask(cause)),
            ) => Some(cause),
            _ => None,
        }
    }

    /// Whether this host's own policy forbids the origin: others may fare better.
    pub(crate) fn is_own_policy(&self) -> bool {
        matches!(self.ask(), Some(AskError::Refused(_)))
    }

    /// The failure in the scheduler's words. What is permanent and not the origin's own answer is `Forbidden` by this host
    /// or `Unreachable` from it, and says nothing about other hosts.
    pub(crate) fn for_scheduler(&self) -> OriginFailure {
        match (self, self.ask()) {
            (_, Some(AskError::Status { status, .. })) => match status.as_u16() {
                404 | 410 => OriginFailure::NotFound,
                429 | 503 => OriginFailure::Overloaded,
                _ if self.is_permanent() => OriginFailure::Denied,
                _ => OriginFailure::Unreachable,
            },
            (_, Some(AskError::Auth(_))) => OriginFailure::Denied,
            (_, Some(AskError::Refused(_))) => OriginFailure::Forbidden,
            (Self::Access(AccessError::Other { .. }), None) => OriginFailure::Mismatch,
            (Self::Origin(cause), None) if cause.is_permanent() => OriginFailure::Mismatch,
            _ => OriginFailure::Unreachable,
        }
    }

    /// How long to wait before another try; none if that makes no sense.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        /// When the origin named no time: the import itself already retried with a growing pause.
        const PAUSE: Duration = Duration::from_millis(500);
        /// Whatever the origin asks for, as its gate has it (`origin::Budget::pause_max`).
        const PAUSE_MAX: Duration = Duration::from_secs(60);
        let asked = match self {
            _ if self.is_permanent() => return None,
            Self::Origin(cause) => cause.retry_after(),
            Self::Access(_) | Self::Short { .. } | Self::Busy { .. } | Self::Store { .. } => None,
        };
        Some(asked.unwrap_or(PAUSE).min(PAUSE_MAX))
    }

    /// Whether it says nothing of the origin: another import has the piece, or we wait as the origin asked before, if
    /// `is_repeated`.
    pub(crate) fn is_silent(&self, is_repeated: bool) -> bool {
        let waits = matches!(
            self.ask(),
            Some(AskError::Paused { .. } | AskError::Crowded { .. })
        );
        matches!(self, Self::Busy { .. }) || (waits && is_repeated)
    }
}

impl Open {
    /// Pieces of at most so many bytes are read past to get to the next run: about what the connection holds of them
    /// already.
    const GAP_MAX: ByteCount = ByteCount::mib(1);
    /// Bytes that are hashed and written at a time: leaving and entering the runtime costs as much as hashing some 50 KiB.
    const BATCH: usize = 1 << 20;

    /// The next chunks, a batch or what is `left` of the piece; none at the end of the body.
    async fn batch(&mut self, left: u64) -> Result<Vec<Bytes>, ImportError> {
        let mut room = usize::try_from(left).map_or(Self::BATCH, |left| left.min(Self::BATCH));
        let mut parts = Vec::new();
        while room > 0 {
            if self.chunk.is_empty() {
                self.chunk = self.body.next().await.transpose()?.unwrap_or_default();
                if self.chunk.is_empty() {
                    break;
                }
            }
            let part = self.chunk.split_to(room.min(self.chunk.len()));
            room -= part.len();
            parts.push(part);
        }
        Ok(parts)
    }

    /// Whether `piece` is what comes next, or nearly.
    fn leads_to(&self, piece: PieceIndex, layout: &Layout) -> bool {
        let is_ahead = self.at <= piece && u64::from(piece.0) < self.end;
        is_ahead && {
            let count = piece.0 - self.at.0;
            let gap = PieceRun {
                first: self.at,
                count,
            };
            self.is_whole || count == 0 || layout.range_of_run(gap).length() <= Self::GAP_MAX
        }
    }
}

/// Waits until an open stream is not worth its connection any more: it was idle for long, or somebody else waits for its
/// place in the origin's budget.
async fn spent(place: Option<Place>) {
    /// Far longer than the pause between two runs of an import that moves, and shorter than origins' own patience.
    const IDLE_MAX: Duration = Duration::from_secs(10);
    match place {
        Some(place) => drop(tokio::time::timeout(IDLE_MAX, place.wanted()).await),
        None => tokio::time::sleep(IDLE_MAX).await,
    }
}

impl Import {
    /// Imports what is ordered until nothing more can be, telling the core of each piece, or how a run failed.
    /// Cancelled, it stops at once; pieces that are stored by then stay.
    pub(crate) async fn run(
        self,
        mut orders: mpsc::Receiver<Order>,
        events: Events,
        stop: CancellationToken,
    ) {
        let mut open: Option<Open> = None;
        let work = async {
            loop {
                let place = open.as_ref().and_then(|open| open.body.place());
                let order = tokio::select! {
                    biased;
                    order = orders.recv() => order,
                    () = spent(place), if open.is_some() => {
                        debug!(task = ?self.task.spec.task, "an idle stream of the origin is dropped");
                        open = None;
                        continue;
                    }
                };
                let Some(order) = order else { return };
                if let Err(cause) = self.carry_out(&order, &mut open, &events).await {
                    open = None;
                    self.failed(order.run, cause, &events).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    async fn carry_out(
        &self,
        order: &Order,
        open: &mut Option<Open>,
        events: &Events,
    ) -> Result<(), ImportError> {
        let layout = &self.task.spec.layout;
        let mut next = order.run.first;
        while u64::from(next.0) < order.run.end() {
            if !open
                .as_ref()
                .is_some_and(|open| open.leads_to(next, layout))
            {
                // What is left of the old one goes first: it holds a place in the origin's budget.
                *open = None;
                let end = u32::try_from(order.reach.end()).unwrap_or(u32::MAX);
                let count = end.saturating_sub(next.0).max(1);
                *open = Some(self.open(PieceRun { first: next, count }).await?);
            }
            if let Some(stream) = open {
                self.piece(stream, order.run, events).await?;
                next = next.max(stream.at);
                if u64::from(stream.at.0) >= stream.end {
                    *open = None;
                }
            }
        }
        Ok(())
    }

    async fn open(&self, run: PieceRun) -> Result<Open, ImportError> {
        let layout = &self.task.spec.layout;
        let range = layout.range_of_run(run);
        debug!(task = ?self.task.spec.task, %run, %range, epoch = ?self.epoch, "the origin is read");
        // Looked up anew for a task that an earlier process began.
        let read = self.accesses.read(&self.task.spec, range).await?;
        let (body, brings, is_whole) = match read? {
            Body::Range(body) => (body, run, false),
            // The origin ignores ranges: what comes before the run is taken too, once, instead of being thrown away.
            Body::Whole(body) => (body, layout.all(), true),
        };
        Ok(Open {
            body,
            chunk: Bytes::new(),
            at: brings.first,
            end: brings.end(),
            is_whole,
        })
    }

    /// Reads the next piece of `open`, and stores it unless it is here. Of each piece of `ordered` the core hears.
    async fn piece(
        &self,
        open: &mut Open,
        ordered: PieceRun,
        events: &Events,
    ) -> Result<(), ImportError> {
        let piece = open.at;
        let is_ordered = ordered.contains(piece);
        let mut left = self.task.spec.layout.length_of(piece).0;
        let mut writer = self.writer(piece, is_ordered)?;
        let mut unused = Unused {
            bytes: 0,
            metrics: &self.metrics,
        };
        while left > 0 {
            let batch = open.batch(left).await?;
            if batch.is_empty() {
                return Err(ImportError::Short { piece });
            }
            let came = batch.iter().map(|part| part.len() as u64).sum::<u64>();
            (left, unused.bytes) = (left - came, unused.bytes + came);
            if self.epoch.is_none() {
                self.metrics.unleased(ByteCount(came));
            }
            if let Way::Stored(writer) = &mut writer {
                tokio::task::block_in_place(|| {
                    batch.iter().try_for_each(|part| writer.write(part))
                })
                .map_err(|cause| ImportError::Store { piece, cause })?;
            }
        }
        open.at = PieceIndex(piece.0 + 1);
        match writer {
            Way::Stored(writer) => {
                self.finish(*writer, piece, events).await?;
                unused.bytes = 0;
            }
            _ if !is_ordered => {}
            Way::Held => {
                let task = self.task.spec.task;
                events.tell(Event::ImportHeld { task, piece }).await;
            }
            Way::Busy => {
                self.failed(PieceRun::one(piece), ImportError::Busy { piece }, events)
                    .await;
            }
        }
        Ok(())
    }

    /// The way into the file. An ordered piece is taken from a host that is sending it: nothing came from hosts for so
    /// long that the origin is read. What is just read past leaves it to the host.
    fn writer(&self, piece: PieceIndex, is_ordered: bool) -> Result<Way, ImportError> {
        let content = &self.task.content;
        let writer = tokio::task::block_in_place(|| match content.writer(piece) {
            Err(WriteError::Busy(_)) if is_ordered => {
                self.task.awaited.displace(piece);
                content.writer(piece)
            }
            other => other,
        });
        match writer {
            Ok(writer) => Ok(Way::Stored(Box::new(writer))),
            Err(WriteError::Held(_)) => Ok(Way::Held),
            Err(WriteError::Busy(_)) => Ok(Way::Busy),
            Err(cause) => Err(ImportError::Store { piece, cause }),
        }
    }

    /// Nothing more of `run` comes by this order.
    async fn failed(&self, run: PieceRun, cause: ImportError, events: &Events) {
        let (task, epoch) = (self.task.spec.task, self.epoch);
        let cause = Arc::new(cause);
        events
            .tell(Event::ImportFailed {
                task,
                run,
                epoch,
                cause,
            })
            .await;
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

#[cfg(test)]
mod tests;
