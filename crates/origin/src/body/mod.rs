//! Bodies that are what was asked for: each answer is judged before its first byte, and counted to its last.
//!
//! An origin, or something between it and us, may ignore ranges, change its mind half way, send an error page with a
//! 200, compress, or stop early. Each of these is an error or a variant here, never a wrong byte.

mod error;
mod judge;
mod stream;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use types::ByteRange;

use crate::{
    ask::{Answer, AskError},
    retry::Tries,
    shown::ShownUrl,
};

pub use error::ReadError;
pub(crate) use judge::Expected;
use judge::{Judged, judge};
pub use stream::BodyStream;
use stream::Reading;

/// What a body turned out to be.
#[derive(Debug)]
pub enum Body {
    /// Exactly the range that was asked for.
    Range(BodyStream),
    /// The origin ignores ranges and sends everything from the start: the caller goes on with this one stream.
    Whole(BodyStream),
}

/// Where a body comes from: asks once, without judging.
pub(crate) trait Source: Send + Sync {
    /// Asks for `range`, or for everything.
    fn open(&self, range: Option<ByteRange>) -> BoxFuture<'_, Result<Answer, AskError>>;
    /// What may be shown of it.
    fn shown(&self) -> ShownUrl;
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

#[cfg(test)]
mod tests;
