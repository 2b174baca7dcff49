//! Passes requests through to a registry and its answers back, unchanged but for what belongs to one connection.

use ::http::{Response, header};
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tracing::debug;
use types::{RegistryHost, end_to_end};

use super::{Asked, refusal};
use crate::{
    Upstream, UpstreamError, UpstreamRequest, UpstreamResponse,
    http::{Answer, BodyError},
};

/// Answers with what the registry says of `path`.
pub(super) async fn answer(
    upstream: &dyn Upstream,
    asked: Asked,
    (registry, path_and_query): (RegistryHost, String),
) -> Answer {
    let request = request(asked, registry, path_and_query);
    match upstream.pass(request).await {
        Ok(response) => stream(response),
        Err(error) => refused(error),
    }
}

/// Answers `/v2/`: the registry's own challenge, or a plain yes while it cannot be reached, since what is held here can be
/// served without it.
pub(super) async fn base(upstream: &dyn Upstream, asked: Asked, registry: RegistryHost) -> Answer {
    let request = request(asked, registry, "/v2/".into());
    match upstream.pass(request).await {
        Ok(response) => stream(response),
        Err(UpstreamError::Unreachable(_) | UpstreamError::Unauthorized(_)) => refusal::base(),
        Err(error) => refused(error),
    }
}

/// The request for upstream.
pub(super) fn request(
    asked: Asked,
    registry: RegistryHost,
    path_and_query: String,
) -> UpstreamRequest {
    let mut headers = end_to_end(&asked.headers);
    for name in [header::HOST, header::CONTENT_LENGTH, header::EXPECT] {
        headers.remove(name);
    }
    if let Some(value) = headers.get_mut(header::AUTHORIZATION) {
        value.set_sensitive(true);
    }
    UpstreamRequest {
        registry,
        head: asked.is_head,
        path_and_query,
        headers,
    }
}

/// The answer of a registry that could not be asked.
pub(super) fn refused(error: UpstreamError) -> Answer {
    debug!(
        error = &error as &dyn std::error::Error,
        "upstream not asked"
    );
    refusal::upstream(error)
}

/// The registry's answer, as it comes.
pub(super) fn stream(response: UpstreamResponse) -> Answer {
    let frames = response.body.map_ok(Frame::data).map_err(BodyError::from);
    let body = StreamBody::new(frames).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = response.status;
    *answer.headers_mut() = end_to_end(&response.headers);
    answer
}
