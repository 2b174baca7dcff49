//! A piece on its way out: read and sent frame by frame.

use std::{io, pin::Pin, sync::Arc};

use bytes::BytesMut;
use tokio::sync::mpsc::OwnedPermit;
use types::{ByteRange, PieceIndex, PieceRun};

use super::Event;
use crate::codec::TaskNo;

/// Content in one frame that we send, in bytes: large enough that frames cost little, small enough that the receiver
/// sees a piece of 128 KiB half way and asks for the next in time.
const SEND_MAX: u64 = 64 << 10;

/// The future of one read.
pub type ReadFuture<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>>;

/// Where content is read from, one frame at a time and only when the socket is ready for it.
pub trait PieceSource: Send + Sync {
    /// Appends exactly the bytes of `range` (offsets within the content, at most 256 KiB) to `into`, which has room
    /// for them. Dropped early, `into` is thrown away.
    fn read<'a>(&'a self, range: ByteRange, into: &'a mut BytesMut) -> ReadFuture<'a>;
}

/// A piece to send.
#[derive(Clone)]
pub struct Upload {
    /// Our number of the task, which we have opened.
    pub no: TaskNo,
    /// The piece.
    pub piece: PieceIndex,
    /// Its bytes within the content: `layout.range_of(piece)`.
    pub range: ByteRange,
    /// Where they are read from.
    pub source: Arc<dyn PieceSource>,
}

/// How an upload ended.
#[derive(Debug)]
pub enum UploadEnd {
    /// The connection took the whole piece.
    Sent,
    /// [`super::LinkSender::cancel`], a `Close` or a goodbye came first; some frames may have left.
    Cancelled,
    /// Reading failed; some frames may have left. The remote should be told `Missing`.
    Failed(io::Error),
}

/// Why an upload did not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// The link has ended.
    #[error("the link has ended")]
    Closed,
    /// As many uploads run, or wait to be taken as events, as the link allows.
    #[error("the link has no place for another upload")]
    Full,
    /// The number is not open on our side.
    #[error("{0} is not open")]
    NotOpen(TaskNo),
    /// The same piece is on its way.
    #[error("{0} is already on its way")]
    Running(PieceIndex),
}

/// A running upload, with the place of its last event.
pub(super) struct Transfer {
    pub(super) upload: Upload,
    /// Bytes of the piece that have left.
    pub(super) sent: u64,
    pub(super) outcome: OwnedPermit<Event>,
}

impl Transfer {
    pub(super) fn is(&self, no: TaskNo, run: PieceRun) -> bool {
        self.upload.no == no && run.contains(self.upload.piece)
    }

    /// The content of the next frame, and whether it is the last.
    pub(super) fn next_range(&self) -> (ByteRange, bool) {
        let start = self.upload.range.start() + self.sent;
        let end = self.upload.range.end().min(start + SEND_MAX);
        let range = ByteRange::new(start, end).expect("no more is sent than the piece has");
        (range, end == self.upload.range.end())
    }

    pub(super) fn end(self, end: UploadEnd) {
        let Upload { no, piece, .. } = self.upload;
        self.outcome.send(Event::Upload { no, piece, end });
    }
}
