//! Relays a client's request to its registry, and the answer back, as they are.
//!
//! The client's own `Authorization` goes along and the registry's challenge comes back: token exchange stays between
//! the two. Only where this host holds credentials for the registry and the client shows none do we show ours.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use http::{HeaderMap, Method, StatusCode, header as name};
use types::{RepoName, Visibility, end_to_end};

use super::{
    authorize::AuthError,
    client::{Identity, RegistryClient, with},
};
use crate::{
    ask::{Answer, Ask, AskError},
    shown::SecretHeaders,
};

/// What may be relayed: reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassMethod {
    /// The content.
    Get,
    /// Only what is said of it.
    Head,
}

/// A client's request. `Debug` shows neither the query nor the values of its lines.
#[derive(Clone)]
pub struct PassRequest {
    method: PassMethod,
    path: String,
    headers: SecretHeaders,
}

/// Why a request is not relayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassError {
    /// Outside of the registry API, or not what it seems.
    #[error("the path is not below /v2/, or has parts that lead elsewhere")]
    Path,
}

impl PassRequest {
    /// A request for `path` (with its query), which begins with `/v2/`; `headers` are the client's lines, all of them.
    pub fn new(method: PassMethod, path: &str, headers: HeaderMap) -> Result<Self, PassError> {
        let bare = path.split('?').next().unwrap_or_default();
        let is_visible = path.bytes().all(|c| c.is_ascii_graphic()) && !path.contains(['#', '\\']);
        let is_below = (bare == "/v2" || bare.starts_with("/v2/")) && !bare.contains("//");
        let leads_elsewhere = bare.split('/').any(|part| {
            let part = part.to_ascii_lowercase().replace("%2e", ".");
            part == "." || part == ".." || part.contains("%2f") || part.contains("%5c")
        });
        if !is_visible || !is_below || leads_elsewhere {
            return Err(PassError::Path);
        }
        Ok(Self {
            method,
            path: path.to_owned(),
            headers: SecretHeaders::new(headers),
        })
    }

    /// The repository that the path speaks of.
    fn repository(&self) -> Option<RepoName> {
        let bare = self.path.split('?').next()?;
        let within = bare.strip_prefix("/v2/")?;
        ["/manifests/", "/blobs/", "/tags/", "/referrers/"]
            .iter()
            .find_map(|word| within.rfind(word))
            .and_then(|end| within[..end].parse().ok())
    }
}

impl std::fmt::Debug for PassRequest {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bare = self.path.split('?').next().unwrap_or_default();
        to.debug_struct("PassRequest")
            .field("method", &self.method)
            .field("path", &bare)
            .field("headers", &self.headers)
            .finish()
    }
}

/// A registry's answer, whatever it is.
#[derive(Debug)]
pub struct PassAnswer {
    /// The status.
    pub status: StatusCode,
    /// All lines but those that concern the connection alone.
    pub headers: HeaderMap,
    /// The body, as it comes.
    pub body: PassBody,
    /// Public, if the request identified nobody.
    pub visibility: Visibility,
}

impl RegistryClient {
    /// Relays `request`. Redirects are followed, without the client's credentials where they leave the registry.
    /// Every status is an answer; an error means that there was none.
    pub async fn pass(&self, request: &PassRequest) -> Result<PassAnswer, AskError> {
        let mut tries = self.inner.tries();
        loop {
            match self.pass_once(request).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => tries.pause_or(failed).await?,
            }
        }
    }

    async fn pass_once(&self, request: &PassRequest) -> Result<PassAnswer, AskError> {
        let mut headers = end_to_end(request.headers.expose());
        headers.remove(name::HOST);
        headers.remove(name::CONTENT_LENGTH);
        let method = match request.method {
            PassMethod::Get => Method::GET,
            PassMethod::Head => Method::HEAD,
        };
        let has_own = headers.contains_key(name::AUTHORIZATION);
        let ask = Ask::new(method, self.url_of(&request.path)?, headers);
        let is_ours = !has_own && matches!(self.identity, Identity::Host);
        let (answer, is_ours) = match request.repository().filter(|_| is_ours) {
            Some(repository) => match self.ask(&repository, with(&ask, None)).await {
                // What everybody gets needs no credentials.
                Err(AskError::Auth(AuthError::Helper { .. })) => {
                    (self.inner.ask(ask).await?, false)
                }
                answer => (answer?, true),
            },
            None => (self.inner.ask(ask).await?, false),
        };
        let visibility = if is_ours || request.headers.identifies_somebody() {
            Visibility::Private
        } else {
            Visibility::Public
        };
        Ok(PassAnswer {
            status: answer.status,
            headers: end_to_end(&answer.headers),
            body: PassBody::new(answer),
            visibility,
        })
    }
}

/// A body as it comes. Dropped early, the request is cancelled.
pub struct PassBody(BoxStream<'static, Result<Bytes, AskError>>);

impl PassBody {
    fn new(answer: Answer) -> Self {
        let chunks = stream::unfold(Some(answer.body), |body| async move {
            let mut body = body?;
            let chunk = body.chunk().await?;
            let rest = chunk.is_ok().then_some(body);
            Some((chunk, rest))
        });
        Self(chunks.boxed())
    }
}

impl Stream for PassBody {
    type Item = Result<Bytes, AskError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl std::fmt::Debug for PassBody {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("PassBody")
    }
}

#[cfg(test)]
mod paths {
    use super::*;

    fn request(path: &str) -> Result<PassRequest, PassError> {
        PassRequest::new(PassMethod::Get, path, HeaderMap::new())
    }

    #[test]
    fn only_the_registry_api_is_relayed() {
        for good in [
            "/v2",
            "/v2/",
            "/v2/a/b/manifests/1?ns=x",
            "/v2/_catalog?n=1&last=a/../b",
        ] {
            assert!(request(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "/v1/",
            "/v2x",
            "v2/",
            "/v2/../admin",
            "/v2/a/%2e%2E/b",
            "/v2//evil",
            "/v2/./a",
            "/v2/a b",
            "/v2/a\r\nb",
            "/v2/a#b",
            "/v2/a\\..\\b",
            "/v2/é",
            "/v2/a%2fb",
        ] {
            assert!(request(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_repository_is_what_stands_before_the_last_word() {
        let repository = |path: &str| request(path).unwrap().repository().map(|r| r.to_string());
        assert_eq!(repository("/v2/a/b/manifests/1").as_deref(), Some("a/b"));
        assert_eq!(
            repository("/v2/a/blobs/blobs/sha256:0").as_deref(),
            Some("a/blobs")
        );
        assert_eq!(repository("/v2/"), None);
        assert_eq!(repository("/v2/A/blobs/x"), None);
    }
}
