//! A place among the answers that may run at once. It is held until the last byte of the body is sent or dropped.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Answer, AnswerBody, BodyError, empty};

/// How many answers may run at once. Cheap to clone; doors that were given clones share the places.
#[derive(Clone, Debug)]
pub struct Places(Arc<Semaphore>);

impl Places {
    /// So many.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// One of them, until it is dropped; none if all are taken.
    pub(crate) fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}

/// A body with the place it takes.
struct Placed {
    body: AnswerBody,
    _place: OwnedSemaphorePermit,
}

/// Keeps `place` for as long as the answer lasts.
pub(crate) fn hold(answer: Answer, place: OwnedSemaphorePermit) -> Answer {
    answer.map(|body| {
        let placed = Placed {
            body,
            _place: place,
        };
        placed.boxed_unsync()
    })
}

/// The answer when there is no place: at once, so that the client goes on without us.
pub(super) fn full_house() -> Answer {
    let mut answer = Response::new(empty());
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let soon = HeaderValue::from_static("1");
    answer.headers_mut().insert(header::RETRY_AFTER, soon);
    answer
}

impl Body for Placed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
