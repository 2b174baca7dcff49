//! A body under way: counted to its last byte, resumed where it breaks off.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use types::ByteRange;

use super::{Source, error::ReadError, judge::Expected, open_once, pause_or_give_up};
use crate::{ask::AnswerBody, budget::Place, retry::Tries};

/// The state of one body under way. Invariant: `start <= at`, and `at <= end` where the end is known.
pub(super) struct Reading {
    pub(super) source: Arc<dyn Source>,
    pub(super) expected: Expected,
    pub(super) tries: Tries,
    pub(super) body: Option<AnswerBody>,
    pub(super) start: u64,
    pub(super) at: u64,
    pub(super) end: Option<u64>,
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
    place: Option<Place>,
}

impl BodyStream {
    pub(super) fn new(reading: Reading) -> Self {
        let range = (reading.start, reading.end);
        let place = reading.body.as_ref().map(AnswerBody::place);
        let chunks = stream::try_unfold(reading, |mut reading| async move {
            let next = reading.next().await?;
            Ok(next.map(|data| (data, reading)))
        });
        Self {
            chunks: chunks.boxed(),
            range,
            received: 0,
            place,
        }
    }

    pub(super) fn empty(range: ByteRange) -> Self {
        Self {
            chunks: stream::empty().boxed(),
            range: (range.start(), Some(range.end())),
            received: 0,
            place: None,
        }
    }

    /// The place that it holds in its origin's budget, for who keeps it open without reading; none if it is empty.
    pub fn place(&self) -> Option<Place> {
        self.place.clone()
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
