//! Requests for content: through the swarm where it is everybody's, else on as they are.
//!
//! The origin is asked for the head first, with the client's own words. So its status, headers and conditions are the
//! origin's, and the bytes are of the very version that it spoke of. Whatever stands in the way, the request goes on as
//! it came: a proxy is never a reason to fail.

use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::time::timeout;
use tracing::debug;
use types::{ByteRange, Digest, RepoName, Secret};

use super::{
    Asked, Shared, dragonfly, judge,
    outside::{OutsideAnswer, OutsideError, PassedBody},
    pass, refusal,
    rule::Traits,
};
use crate::{
    Caller, ContentAsk, Opened, OriginHeaders, Proof, Seen, Wanted, content,
    http::{Answer, end_to_end, hold},
    mirror,
};

/// How long an origin may think about a `HEAD`: some make all of an answer for it, or never answer. The client waits.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);

/// Answers a request for content with these traits.
pub(super) async fn answer(
    proxy: &Shared,
    (asked, body): (Asked, PassedBody),
    traits: &Traits,
) -> Answer {
    if let Some(answer) = blob(proxy, &asked).await {
        return answer;
    }
    if !judge::may_ask(&asked.method, &asked.headers) {
        return pass::answer(&*proxy.outside, asked, body).await;
    }
    let head = timeout(HEAD_PATIENCE, pass::head(&*proxy.outside, &asked)).await;
    let Ok(head) = head else {
        debug!("the origin gave no head in time");
        return pass::answer(&*proxy.outside, asked, body).await;
    };
    let looked = match head {
        Ok(head) if head.status == StatusCode::NOT_MODIFIED => return pass::back(head),
        Ok(head) => match judge::everybodys(&asked.headers, &head) {
            Some(seen) => Some((head, seen)),
            None => return pass::answer(&*proxy.outside, asked, body).await,
        },
        // Somebody may hold it.
        Err(OutsideError::Unreachable(cause)) => {
            debug!(%cause, "the origin was not asked for a head");
            None
        }
        Err(error) => return refusal::outside(&error),
    };
    match through(proxy, &asked, (looked, traits)).await {
        Some(answer) => answer,
        None => pass::answer(&*proxy.outside, asked, body).await,
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
        Some((head, seen)) => (end_to_end(&head.headers), Some(seen)),
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
    let opened = match proxy.content.open(&ask).await {
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
    Some(hold(answer, place))
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

/// The answer to a request for a registry's blob, which goes by its digest; none if it is no such request, or nothing
/// but the registry's own answer will do.
async fn blob(proxy: &Shared, asked: &Asked) -> Option<Answer> {
    let is_read = [Method::GET, Method::HEAD].contains(&asked.method);
    if !is_read || asked.headers.contains_key(header::COOKIE) {
        return None;
    }
    let (repository, digest): (RepoName, Digest) = mirror::blob_at(asked.target.url.path())?;
    let registry = asked.target.registry().parse().ok()?;
    let place = proxy.places.take()?;
    let request = mirror::Asked {
        is_head: asked.method == Method::HEAD,
        headers: asked.headers.clone(),
        caller: Caller::Tcp(asked.peer),
    };
    let name = (registry, repository, digest);
    match mirror::blob(&*proxy.content, request, name).await {
        Ok(answer) => Some(hold(answer, place)),
        Err(error) => {
            debug!(%digest, error = &error as &dyn std::error::Error, "not through the swarm");
            None
        }
    }
}
