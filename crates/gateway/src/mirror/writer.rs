//! Sends the bytes of a blob: the one place between a verified reader and a connection.
//!
//! It holds one frame at a time and asks for the next only when the connection took the last, so a slow client slows its
//! reader and nobody else. When the connection ends, the body and with it the reader are dropped, which withdraws the
//! demand. A reader's error becomes the body's, which the server turns into a reset.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tracing::debug;
use types::{ByteRange, TaskId};

use crate::{
    Proof, ReadError, VerifiedReader,
    http::{AnswerBody, BodyError},
};

/// Bytes of one frame: large enough that a copy and a wakeup per frame do not count, small enough for a thousand clients.
const FRAME: u64 = 256 << 10;

/// What is left to send.
pub(super) struct Blob {
    /// Where the bytes come from.
    pub(super) reader: Box<dyn VerifiedReader>,
    /// What it reads, for the log.
    pub(super) task: TaskId,
    /// The bytes still to send.
    pub(super) rest: ByteRange,
    /// Whether the answer holds the whole content: then its end waits for the proof of the whole.
    pub(super) is_whole: bool,
    /// How far bytes are verified.
    pub(super) ready: u64,
}

/// Why a blob's bytes broke off.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("reading a blob broke off")]
    Read(#[from] ReadError),
    #[error("the reader gave {got} bytes for {wanted}")]
    Short { wanted: ByteRange, got: usize },
    #[error("the reader said {said} is ready, byte {at} was asked for")]
    Elsewhere { said: ByteRange, at: u64 },
}

/// The body of an answer.
pub(super) fn body(blob: Blob) -> AnswerBody {
    let frames = stream::try_unfold(blob, |mut blob| async move {
        match blob.next().await {
            Ok(Some(bytes)) => Ok(Some((Frame::data(bytes), blob))),
            Ok(None) => Ok(None),
            Err(error) => {
                debug!(task = %blob.task, error = &error as &dyn std::error::Error, "blob transfer broke off");
                Err(BodyError::from(error))
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Blob {
    async fn next(&mut self) -> Result<Option<Bytes>, WriteError> {
        let (at, end) = (self.rest.start(), self.rest.end());
        if at == end {
            return Ok(None);
        }
        if at >= self.ready {
            let said = self.reader.ready(at).await?;
            if said.start() > at || said.end() <= at {
                return Err(WriteError::Elsewhere { said, at });
            }
            self.ready = said.end().min(end);
        }
        let stop = self.ready.min(at.saturating_add(FRAME));
        let wanted = ByteRange::new(at, stop).expect("at is below ready");
        let bytes = self.reader.read(wanted).await?;
        if bytes.len() as u64 != wanted.length().0 {
            let got = bytes.len();
            return Err(WriteError::Short { wanted, got });
        }
        if stop == end && self.is_whole {
            self.reader.finish(Proof::Sealed).await?;
        }
        self.rest = ByteRange::new(stop, end).expect("stop is at most end");
        Ok(Some(bytes))
    }
}
