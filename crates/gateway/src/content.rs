//! Answers with content, whole or a range: the one place between a verified reader and a connection.
//!
//! It holds one frame at a time and asks for the next only when the connection took the last, so a slow client slows its
//! reader and nobody else. When the connection ends, the body and with it the reader are dropped, which withdraws the
//! demand. A reader's error becomes the body's, which the server turns into a reset.

use ::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tracing::debug;
use types::{ByteCount, ByteRange, TaskId};

use crate::{
    AskedRange, Opened, Proof, ReadError, VerifiedReader,
    http::{Answer, AnswerBody, BodyError, empty},
};

/// Bytes of one frame: large enough that a copy and a wakeup per frame do not count, small enough for a thousand clients.
const FRAME: u64 = 256 << 10;

/// The answer to `GET`: 200, or 206 and 416 for a range, with these headers and those that a range needs.
///
/// Errors: the proof of content that has no byte to hold back.
pub(crate) async fn answer(
    mut opened: Opened,
    range: Option<AskedRange>,
    headers: HeaderMap,
) -> Result<Answer, ReadError> {
    let length = opened.description.length;
    let whole = ByteRange::whole(length);
    let (rest, status) = match range {
        None => (whole, StatusCode::OK),
        Some(range) => match range.within(length) {
            Some(range) => (range, StatusCode::PARTIAL_CONTENT),
            None => return Ok(unsatisfiable(headers, length)),
        },
    };
    if whole.is_empty() {
        // There will be no byte to hold back: the proof comes before the head, or not at all.
        opened.reader.finish(Proof::Sealed).await?;
    }
    let mut answer = Response::new(body(Sending {
        reader: opened.reader,
        task: opened.description.task,
        is_whole: rest == whole,
        ready: rest.start(),
        rest,
    }));
    *answer.status_mut() = status;
    let mut answer = with_length(answer, headers, rest.length());
    if status == StatusCode::PARTIAL_CONTENT {
        let place = format!("bytes {}-{}/{}", rest.start(), rest.end() - 1, length.0);
        place_in(&mut answer, place);
    }
    Ok(answer)
}

fn unsatisfiable(headers: HeaderMap, length: ByteCount) -> Answer {
    let mut answer = with_length(Response::new(empty()), headers, ByteCount::ZERO);
    *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    place_in(&mut answer, format!("bytes */{}", length.0));
    answer
}

/// `answer` with `headers` and the length of its body.
pub(crate) fn with_length(mut answer: Answer, headers: HeaderMap, length: ByteCount) -> Answer {
    *answer.headers_mut() = headers;
    answer
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length.0));
    answer
}

fn place_in(answer: &mut Answer, place: String) {
    let place = HeaderValue::try_from(place).expect("digits and punctuation");
    answer.headers_mut().insert(header::CONTENT_RANGE, place);
}

/// What is left to send.
struct Sending {
    /// Where the bytes come from.
    reader: Box<dyn VerifiedReader>,
    /// What it reads, for the log.
    task: TaskId,
    /// The bytes still to send.
    rest: ByteRange,
    /// Whether the answer holds the whole content: then its end waits for the proof of the whole.
    is_whole: bool,
    /// How far bytes are verified.
    ready: u64,
}

/// Why the bytes broke off.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("reading content broke off")]
    Read(#[from] ReadError),
    #[error("the reader gave {got} bytes for {wanted}")]
    Short { wanted: ByteRange, got: usize },
    #[error("the reader said {said} is ready, byte {at} was asked for")]
    Elsewhere { said: ByteRange, at: u64 },
}

fn body(sending: Sending) -> AnswerBody {
    let frames = stream::try_unfold(sending, |mut sending| async move {
        match sending.next().await {
            Ok(Some(bytes)) => Ok(Some((Frame::data(bytes), sending))),
            Ok(None) => Ok(None),
            Err(error) => {
                debug!(task = %sending.task, error = &error as &dyn std::error::Error, "transfer broke off");
                Err(BodyError::from(error))
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Sending {
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
