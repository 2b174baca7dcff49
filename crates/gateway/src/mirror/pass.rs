//! Passes requests through to a registry and its answers back, unchanged but for what belongs to one connection.

use ::http::{HeaderMap, Response, header};
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tracing::debug;
use types::RegistryHost;

use super::{Asked, refusal};
use crate::{
    Upstream, UpstreamError, UpstreamRequest, UpstreamResponse,
    http::{Answer, BodyError},
};

/// Header lines that belong to one connection (RFC 9110, 7.6.1).
const OF_ONE_CONNECTION: [header::HeaderName; 7] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

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
        Err(UpstreamError::Unreachable(_)) => refusal::base(),
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

/// `headers` without those of one connection, line by line and in order.
pub(super) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let is_hop = OF_ONE_CONNECTION.contains(name)
            || matches!(name.as_str(), "keep-alive" | "proxy-connection")
            || named.iter().any(|named| named == name.as_str());
        if !is_hop {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;

    use super::*;

    #[test]
    fn only_headers_of_the_connection_are_dropped() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("accept", "a"),
            ("connection", "close, X-Mine"),
            ("accept", "b"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("keep-alive", "5"),
            ("authorization", "Bearer t"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let kept = end_to_end(&headers);
        let accepts: Vec<_> = kept.get_all("accept").iter().collect();
        assert_eq!(accepts, ["a", "b"]);
        assert_eq!(
            kept.get("authorization").map(HeaderValue::as_bytes),
            Some(&b"Bearer t"[..])
        );
        assert_eq!(kept.len(), 3);
    }
}
