//! Requests for content: through the swarm where it is everybody's, else on as they are.
//!
//! The origin is asked for the head first, with the client's own words. So its status, headers and conditions are the
//! origin's, and the bytes are of the very version that it spoke of. Whatever stands in the way, the request goes on as
//! it came: a proxy is never a reason to fail.

use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::{Instant, timeout};
use tracing::debug;
use types::{ByteRange, Secret};

use super::{
    Asked, Shared, dragonfly, judge,
    outside::{OutsideAnswer, OutsideError, PassedBody},
    pass::{self, FirstByte},
    refusal, registry,
    rule::Traits,
    tally::Way,
};
use crate::{
    Caller, ContentAsk, Opened, OriginHeaders, Proof, Seen, Wanted, content,
    http::{Answer, hold},
};

/// How long an origin may think about what it is asked first: some make all of an answer for a `HEAD`, or never answer
/// one. The client waits.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// What an origin says of content before it is asked for all of it.
enum Look {
    /// The version of what everybody may have, and its head.
    Everybodys(OutsideAnswer, Seen),
    /// What the client is to be told.
    Answer(OutsideAnswer),
    /// Nothing: it cannot be reached. Somebody may hold it.
    Away,
    /// Only what the client asked for itself will do.
    Nothing,
}

/// Answers a request for content with these traits.
pub(super) async fn answer(
    proxy: &Shared,
    (asked, body): (Asked, PassedBody),
    traits: &Traits,
) -> Answer {
    if let Some(answer) = registry::blob(proxy, &asked).await {
        return answer;
    }
    if !judge::may_ask(&asked.method, &asked.headers) {
        return pass::answer(proxy, asked, body).await;
    }
    let looked = match look(proxy, &asked).await {
        Ok(Look::Everybodys(head, seen)) => Some((head, seen)),
        Ok(Look::Answer(answer)) => return pass::back(&proxy.tally, answer),
        Ok(Look::Away) => None,
        Ok(Look::Nothing) => return pass::answer(proxy, asked, body).await,
        Err(error) => return refusal::outside(&error),
    };
    match through(proxy, &asked, (looked, traits)).await {
        Some(answer) => answer,
        None => pass::answer(proxy, asked, body).await,
    }
}

/// Asks for the head, or for the first byte of who answers no `HEAD`. Errors: the policy refuses the origin.
async fn look(proxy: &Shared, asked: &Asked) -> Result<Look, OutsideError> {
    let origin = asked.target.origin();
    if !proxy.headless.has(&origin, Instant::now()) {
        let head = pass::head(&*proxy.outside, asked);
        match timeout(LOOK_PATIENCE, head).await {
            Ok(Ok(head)) if is_for_no_head(head.status) => {
                if head.status != StatusCode::FORBIDDEN {
                    proxy.headless.note(origin, Instant::now());
                }
            }
            Ok(Ok(head)) if head.status == StatusCode::NOT_MODIFIED => {
                return Ok(Look::Answer(head));
            }
            Ok(Ok(head)) => return Ok(everybodys(asked, head)),
            Ok(Err(error)) => return away(error),
            Err(_) => {
                debug!(origin, "the origin gave no head in time");
                proxy.headless.note(origin, Instant::now());
            }
        }
    }
    match timeout(LOOK_PATIENCE, pass::first_byte(&*proxy.outside, asked)).await {
        Ok(Ok(FirstByte::Head(head))) => Ok(everybodys(asked, head)),
        Ok(Ok(FirstByte::Whole(answer))) => {
            let is_for_part = asked.headers.contains_key(header::RANGE);
            Ok(match judge::everybodys(&asked.headers, &answer) {
                // What is on its way is given up for what the swarm brings.
                Some(seen) => Look::Everybodys(answer, seen),
                None if is_for_part => Look::Nothing,
                None => Look::Answer(answer),
            })
        }
        Ok(Ok(FirstByte::Nothing)) => Ok(Look::Nothing),
        Ok(Err(error)) => away(error),
        Err(_) => Ok(Look::Nothing),
    }
}

/// Signed URLs are often good for one method only, and some servers know no `HEAD`.
fn is_for_no_head(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
    )
}

fn everybodys(asked: &Asked, head: OutsideAnswer) -> Look {
    match judge::everybodys(&asked.headers, &head) {
        Some(seen) => Look::Everybodys(head, seen),
        None => Look::Nothing,
    }
}

fn away(error: OutsideError) -> Result<Look, OutsideError> {
    match error {
        OutsideError::Unreachable(cause) => {
            debug!(%cause, "the origin was not asked for a head");
            Ok(Look::Away)
        }
        error @ OutsideError::Policy(_) => Err(error),
    }
}

/// The answer through the swarm; none if something is in its way.
async fn through(
    proxy: &Shared,
    asked: &Asked,
    (looked, traits): (Option<(OutsideAnswer, Seen)>, &Traits),
) -> Option<Answer> {
    let place = proxy.places.take()?;
    let (headers, seen) = match looked {
        Some((head, seen)) => (head.headers, Some(seen)),
        None => (HeaderMap::new(), None),
    };
    let range = judge::range(&asked.headers, &headers);
    let ask = ContentAsk {
        wanted: Wanted::Url {
            url: Secret::new(asked.target.url.to_string()),
            digest: None,
            tag: traits.name(),
            ignored: traits.ignored.clone(),
            seen,
        },
        range,
        caller: Caller::Tcp(asked.peer),
        headers: OriginHeaders::default(),
        class: traits.class,
        prefetch: traits.prefetch,
        proof: Proof::Sealed,
    };
    let opened = match proxy.backends.content.open(&ask).await {
        Ok(opened) => opened,
        Err(error) => {
            debug!(
                error = &error as &dyn std::error::Error,
                "not through the swarm"
            );
            return None;
        }
    };
    let headers = told(headers, &opened);
    let (task, is_here) = (opened.description.task, is_here(&opened, range));
    let answer = content::answer(opened, range, headers).await;
    let mut answer = answer
        .inspect_err(|error| debug!(error = error as &dyn std::error::Error, "not proved"))
        .ok()?;
    dragonfly::tell_task(&mut answer, task, is_here);
    Some(hold(proxy.tally.counting(Way::Swarm, answer), place))
}

/// The headers of an answer: the origin's, or what is known without it.
fn told(mut headers: HeaderMap, opened: &Opened) -> HeaderMap {
    if headers.is_empty()
        && let Some(kind) = &opened.description.content_type
        && let Ok(kind) = HeaderValue::try_from(kind)
    {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers
}

/// Whether all that is asked for was here before.
fn is_here(opened: &Opened, range: Option<crate::AskedRange>) -> bool {
    let length = opened.description.length;
    let wanted = match range {
        Some(range) => range.within(length),
        None => Some(ByteRange::whole(length)),
    };
    wanted.is_some_and(|wanted| opened.reader.sources().local >= wanted.length().0)
}
