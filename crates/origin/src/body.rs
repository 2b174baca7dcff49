//! Bodies that are what was asked for: each answer is judged before its first byte, and counted to its last.
//!
//! An origin, or something between it and us, may ignore ranges, change its mind half way, send an error page with a
//! 200, compress, or stop early. Each of these is an error or a variant here, never a wrong byte (R-INT-2, SEC-41).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use http::StatusCode;
use types::{ByteRange, Validator};

use crate::{
    ask::{Answer, AnswerBody, AskError},
    header,
    retry::Tries,
    shown::ShownUrl,
};

/// Why content could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// No usable answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The content is no longer the one that was resolved.
    #[error("{url} changed since it was looked at; look again")]
    Changed {
        /// What was read.
        url: ShownUrl,
    },
    /// Another range than the one asked for, or none that can be understood.
    #[error("{url} answered bytes {wanted} with another range")]
    WrongRange {
        /// What was read.
        url: ShownUrl,
        /// What was asked for.
        wanted: ByteRange,
    },
    /// The range lies outside of the content.
    #[error("{url} has no bytes {wanted}")]
    OutOfRange {
        /// What was read.
        url: ShownUrl,
        /// What was asked for.
        wanted: ByteRange,
    },
    /// The told length is not the length it must have.
    #[error("{url} announced {told} bytes where {expected} were due")]
    WrongLength {
        /// What was read.
        url: ShownUrl,
        /// What the answer says.
        told: u64,
        /// What it must be.
        expected: u64,
    },
    /// The body ended early.
    #[error("{url} ended after {received} of {expected} bytes")]
    Short {
        /// What was read.
        url: ShownUrl,
        /// What came.
        received: u64,
        /// What was due.
        expected: u64,
    },
    /// The body went on after its end.
    #[error("{url} went on after the {expected} bytes that were due")]
    Long {
        /// What was read.
        url: ShownUrl,
        /// What was due.
        expected: u64,
    },
    /// The body is compressed although that was not asked for.
    #[error("{url} answered with a compressed variant, which is not the content itself")]
    Encoded {
        /// What was read.
        url: ShownUrl,
    },
    /// A part was asked of content that has neither digest nor strong validator.
    #[error("{url} has no strong validator: it can only be read whole, in one go")]
    Unpinned {
        /// What was read.
        url: ShownUrl,
    },
}

impl ReadError {
    /// Whether the same read would fare the same later.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Ask(ask) => ask.is_permanent(),
            Self::Short { .. } => false,
            _ => true,
        }
    }

    /// How long the origin wants to be left alone, if it said so.
    pub fn retry_after(&self) -> Option<std::time::Duration> {
        match self {
            Self::Ask(ask) => ask.retry_after(),
            _ => None,
        }
    }
}

/// What a body turned out to be.
#[derive(Debug)]
pub enum Body {
    /// Exactly the range that was asked for.
    Range(BodyStream),
    /// The origin ignores ranges and sends everything from the start: the caller goes on with this one stream.
    Whole(BodyStream),
}

/// What an answer must be to be the content.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) length: Option<u64>,
    pub(crate) validator: Option<Validator>,
    /// Content that is named by its digest is checked by that later on, and needs no validator.
    pub(crate) has_digest: bool,
}

/// Where a body comes from: asks once, without judging.
pub(crate) trait Source: Send + Sync {
    /// Asks for `range`, or for everything.
    fn open(&self, range: Option<ByteRange>) -> BoxFuture<'_, Result<Answer, AskError>>;
    /// What may be shown of it.
    fn shown(&self) -> ShownUrl;
}

/// A judged answer: the bytes it will give, as far as that is known.
struct Judged {
    is_whole: bool,
    start: u64,
    end: Option<u64>,
}

/// Judges an answer to a request for `wanted`, or for everything.
fn judge(
    answer: &Answer,
    wanted: Option<ByteRange>,
    expected: &Expected,
) -> Result<Judged, ReadError> {
    let url = ShownUrl::of(&answer.url);
    let headers = &answer.headers;
    let judged = match (answer.status, wanted) {
        (StatusCode::PARTIAL_CONTENT, Some(wanted)) => {
            let told = header::content_range(headers)
                .filter(|told| told.range == wanted)
                .ok_or_else(|| ReadError::WrongRange {
                    url: url.clone(),
                    wanted,
                })?;
            let is_other =
                matches!((told.total, expected.length), (Some(told), Some(was)) if told != was);
            if is_other || !is_same_version(answer, told.total.or(expected.length), expected) {
                return Err(ReadError::Changed { url });
            }
            Judged {
                is_whole: false,
                start: wanted.start(),
                end: Some(wanted.end()),
            }
        }
        (StatusCode::OK, _) => {
            let length = header::content_length(headers);
            if !is_same_version(answer, length.or(expected.length), expected) {
                return Err(ReadError::Changed { url });
            }
            Judged {
                is_whole: true,
                start: 0,
                end: expected.length.or(length),
            }
        }
        (StatusCode::RANGE_NOT_SATISFIABLE, Some(wanted)) => {
            return Err(ReadError::OutOfRange { url, wanted });
        }
        (StatusCode::PRECONDITION_FAILED, _) => return Err(ReadError::Changed { url }),
        _ => return Err(answer.as_error().into()),
    };
    if header::is_encoded(headers) {
        return Err(ReadError::Encoded { url });
    }
    match (header::content_length(headers), judged.end) {
        (Some(told), Some(end)) if told != end - judged.start => Err(ReadError::WrongLength {
            url,
            told,
            expected: end - judged.start,
        }),
        _ => Ok(judged),
    }
}

/// Whether the answer bears the validator that was resolved. None at all is as bad as another one: an error page has
/// none.
fn is_same_version(answer: &Answer, length: Option<u64>, expected: &Expected) -> bool {
    let Some(was) = &expected.validator else {
        return true;
    };
    // An origin that began to send entity tags still tells the old date, and the other way round.
    let now = match was {
        Validator::ETag(_) => header::validator(&answer.headers, None),
        Validator::Modified { .. } => {
            let mut only_date = answer.headers.clone();
            only_date.remove(http::header::ETAG);
            header::validator(&only_date, length)
        }
    };
    now.as_ref() == Some(was)
}

/// Opens `wanted` (or everything) at `source`, trying again as `tries` allows.
pub(crate) async fn open(
    source: Arc<dyn Source>,
    wanted: Option<ByteRange>,
    expected: Expected,
    mut tries: Tries,
) -> Result<Body, ReadError> {
    if wanted.is_some() && expected.validator.is_none() && !expected.has_digest {
        return Err(ReadError::Unpinned {
            url: source.shown(),
        });
    }
    if let (Some(wanted), Some(length)) = (wanted, expected.length)
        && wanted.end() > length
    {
        let url = source.shown();
        return Err(ReadError::OutOfRange { url, wanted });
    }
    if let Some(nothing) = wanted.filter(ByteRange::is_empty) {
        return Ok(Body::Range(BodyStream::empty(nothing)));
    }
    let (judged, answer) = loop {
        match open_once(source.as_ref(), wanted, &expected).await {
            Ok(opened) => break opened,
            Err(failed) => pause_or_give_up(&mut tries, failed).await?,
        }
    };
    let Judged {
        is_whole,
        start,
        end,
    } = judged;
    let reading = Reading {
        source,
        expected,
        tries,
        body: Some(answer.body),
        start,
        at: start,
        end,
    };
    let stream = BodyStream::new(reading);
    Ok(
        if is_whole && wanted.is_some_and(|wanted| !covers(&wanted, start, end)) || wanted.is_none()
        {
            Body::Whole(stream)
        } else {
            Body::Range(stream)
        },
    )
}

fn covers(wanted: &ByteRange, start: u64, end: Option<u64>) -> bool {
    wanted.start() == start && Some(wanted.end()) == end
}

async fn open_once(
    source: &dyn Source,
    wanted: Option<ByteRange>,
    expected: &Expected,
) -> Result<(Judged, Answer), ReadError> {
    let answer = source.open(wanted).await?;
    let judged = judge(&answer, wanted, expected)?;
    Ok((judged, answer))
}

/// Waits before the next try, or hands the error back.
async fn pause_or_give_up(tries: &mut Tries, failed: ReadError) -> Result<(), ReadError> {
    if failed.is_permanent() {
        return Err(failed);
    }
    let Some(pause) = tries.after_failure(failed.retry_after()) else {
        return Err(failed);
    };
    tracing::debug!(
        error = &failed as &dyn std::error::Error,
        ?pause,
        "an origin is asked again"
    );
    tokio::time::sleep(pause).await;
    Ok(())
}

/// The state of one body under way. Invariant: `start <= at`, and `at <= end` where the end is known.
struct Reading {
    source: Arc<dyn Source>,
    expected: Expected,
    tries: Tries,
    body: Option<AnswerBody>,
    start: u64,
    at: u64,
    end: Option<u64>,
}

impl Reading {
    /// The next chunk; none at the end that was due.
    async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            match self.next_of_this_answer().await {
                Err(failed) if self.can_resume() => {
                    pause_or_give_up(&mut self.tries, failed).await?;
                    self.resume().await?;
                }
                outcome => return outcome,
            }
        }
    }

    async fn next_of_this_answer(&mut self) -> Result<Option<Bytes>, ReadError> {
        let next = match &mut self.body {
            Some(body) => body.chunk().await.transpose()?,
            None => None,
        };
        match (next, self.end) {
            (Some(data), end) => {
                let after = self.at.saturating_add(data.len() as u64);
                if let Some(end) = end.filter(|end| after > *end) {
                    self.body = None;
                    let url = self.source.shown();
                    let expected = end - self.start;
                    return Err(ReadError::Long { url, expected });
                }
                self.at = after;
                self.tries.received(data.len() as u64);
                Ok(Some(data))
            }
            (None, Some(end)) if self.at < end => Err(ReadError::Short {
                url: self.source.shown(),
                received: self.at - self.start,
                expected: end - self.start,
            }),
            (None, _) => {
                // Gives the place in the budget back before the stream itself is dropped.
                self.body = None;
                Ok(None)
            }
        }
    }

    /// Going on in the middle needs to be sure that it is the same content.
    fn can_resume(&self) -> bool {
        self.end.is_some() && (self.expected.validator.is_some() || self.expected.has_digest)
    }

    /// Asks for the rest, from the exact offset. Everything that fails on the way counts as a try.
    async fn resume(&mut self) -> Result<(), ReadError> {
        self.body = None;
        let rest = self
            .end
            .and_then(|end| ByteRange::new(self.at, end))
            .filter(|rest| !rest.is_empty());
        let Some(rest) = rest else {
            return Ok(());
        };
        loop {
            match open_once(self.source.as_ref(), Some(rest), &self.expected).await {
                Ok((judged, answer)) if judged.start == self.at => {
                    self.body = Some(answer.body);
                    return Ok(());
                }
                Ok(_) => {
                    let (url, wanted) = (self.source.shown(), rest);
                    return Err(ReadError::WrongRange { url, wanted });
                }
                Err(failed) => pause_or_give_up(&mut self.tries, failed).await?,
            }
        }
    }
}

/// The bytes of one body, in order, each chunk as it came. Ends after exactly the bytes that were due, or with an error.
/// Dropped early, the request is cancelled.
pub struct BodyStream {
    chunks: BoxStream<'static, Result<Bytes, ReadError>>,
    range: (u64, Option<u64>),
    received: u64,
}

impl BodyStream {
    fn new(reading: Reading) -> Self {
        let range = (reading.start, reading.end);
        let chunks = stream::try_unfold(reading, |mut reading| async move {
            let next = reading.next().await?;
            Ok(next.map(|data| (data, reading)))
        });
        Self {
            chunks: chunks.boxed(),
            range,
            received: 0,
        }
    }

    fn empty(range: ByteRange) -> Self {
        Self {
            chunks: stream::empty().boxed(),
            range: (range.start(), Some(range.end())),
            received: 0,
        }
    }

    /// The offset of its first byte in the content.
    pub fn start(&self) -> u64 {
        self.range.0
    }

    /// How many bytes it will give in all, if that is known before its end.
    pub fn length(&self) -> Option<u64> {
        self.range.1.map(|end| end - self.range.0)
    }

    /// How many bytes it gave so far; at the end, the length.
    pub fn received(&self) -> u64 {
        self.received
    }
}

impl Stream for BodyStream {
    type Item = Result<Bytes, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.chunks.poll_next_unpin(cx);
        if let Poll::Ready(Some(Ok(data))) = &next {
            self.received += data.len() as u64;
        }
        next
    }
}

impl std::fmt::Debug for BodyStream {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("BodyStream")
            .field("range", &self.range)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}
