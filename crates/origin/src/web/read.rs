//! Reads content that was resolved.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Method, header as name};
use types::{ByteRange, Validator};

use super::{request::Request, resolve::Resolved};
use crate::{
    ask::{Answer, AskError},
    body::{self, Body, BodyStream, Expected, ReadError, Source},
    origins::{Inner, Origins},
    shown::ShownUrl,
};

impl Origins {
    /// Reads `range` of content as it was resolved. May be called for several ranges at once; the budget bounds them.
    ///
    /// Content without a strong validator is only read whole, in one request; ask for all of it, or [`spool`] it.
    /// Under a strong validator a body that breaks off is resumed at the exact offset.
    /// Dropped early, the request is cancelled.
    ///
    /// [`spool`]: Self::spool
    pub async fn read(&self, resolved: &Resolved, range: ByteRange) -> Result<Body, ReadError> {
        let length = resolved.length.map(|length| length.0);
        let is_whole = range.start() == 0 && Some(range.end()) == length;
        let is_pinned = resolved.validator.is_some();
        let wanted = (is_pinned || !is_whole || range.is_empty()).then_some(range);
        let opened = body::open(
            self.source(resolved),
            wanted,
            expected(resolved),
            self.0.tries(),
        )
        .await?;
        Ok(match opened {
            // It was asked for whole because nothing pins it: whole is the range.
            Body::Whole(stream) if wanted.is_none() => Body::Range(stream),
            opened => opened,
        })
    }

    /// Reads content to its end, whatever its length: at the end, `received` of the stream is the length.
    pub async fn spool(&self, resolved: &Resolved) -> Result<BodyStream, ReadError> {
        let source = self.source(resolved);
        match body::open(source, None, expected(resolved), self.0.tries()).await? {
            Body::Range(stream) | Body::Whole(stream) => Ok(stream),
        }
    }

    fn source(&self, resolved: &Resolved) -> Arc<dyn Source> {
        Arc::new(Url {
            inner: Arc::clone(&self.0),
            request: resolved.request.clone(),
            validator: resolved.validator.clone(),
        })
    }
}

fn expected(resolved: &Resolved) -> Expected {
    Expected {
        length: resolved.length.map(|length| length.0),
        validator: resolved.validator.clone(),
        has_digest: false,
    }
}

/// A URL as a source. It is asked from the start each time, since the place it redirects to may be signed for minutes.
struct Url {
    inner: Arc<Inner>,
    request: Request,
    validator: Option<Validator>,
}

impl Source for Url {
    fn open(&self, range: Option<ByteRange>) -> BoxFuture<'_, Result<Answer, AskError>> {
        let mut ask = self.request.ask(Method::GET);
        if let Some(range) = range {
            ask.headers.insert(name::RANGE, range_value(range));
            let condition = match &self.validator {
                Some(Validator::ETag(tag)) => Some(tag),
                Some(Validator::Modified { at, .. }) => Some(at),
                None => None,
            };
            if let Some(Ok(value)) = condition.map(|text| HeaderValue::from_str(text)) {
                ask.headers.insert(name::IF_RANGE, value);
            }
        }
        self.inner.ask(ask).boxed()
    }

    fn shown(&self) -> ShownUrl {
        ShownUrl::of(self.request.url())
    }
}

/// `bytes=FIRST-LAST`, for a range that is not empty.
pub(crate) fn range_value(range: ByteRange) -> HeaderValue {
    let text = format!("bytes={}-{}", range.start(), range.end().saturating_sub(1));
    HeaderValue::try_from(text).expect("digits are ASCII")
}
