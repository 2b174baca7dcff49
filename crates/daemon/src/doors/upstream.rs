//! Passes requests of clients on to their registry.
//!
//! Challenges and tokens stay between client and registry. There is one exception: a client that looked for a challenge
//! at `/v2/` only, and got none from us, shows nothing later either. When a manifest is refused to a client without
//! credentials, it is read as an anonymous client would: what anybody may have, this one may have too. Where this host lends
//! its own credentials nobody is asked for any.

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use gateway::{Upstream, UpstreamBody, UpstreamError, UpstreamRequest, UpstreamResponse};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use origin::{AskError, PassMethod, PassRequest, Reference, RegistryClient, Scheme};
use std::io;
use types::{ByteCount, Digest, RegistryHost, RepoName};

use super::Doors;

impl Upstream for Doors {
    fn pass(
        &self,
        request: UpstreamRequest,
    ) -> BoxFuture<'_, Result<UpstreamResponse, UpstreamError>> {
        async move {
            let client = self.resolver.origins.registry(&request.registry);
            let method = if request.head {
                PassMethod::Head
            } else {
                PassMethod::Get
            };
            let shows_nothing = !request.headers.contains_key(header::AUTHORIZATION);
            let pass = PassRequest::new(method, &request.path_and_query, request.headers.clone())
                .map_err(|error| UpstreamError::Policy(error.to_string()))?;
            let answer = client.pass(&pass).await;
            let answer = answer.map_err(|error| refused(error, client.is_away()))?;
            if answer.status == StatusCode::UNAUTHORIZED && shows_nothing {
                if is_base(&request.path_and_query) && client.is_for_somebody() {
                    return Ok(welcome());
                }
                if let Some(public) = anonymous(&client.anonymous(), &request).await {
                    return Ok(public);
                }
            }
            Ok(UpstreamResponse {
                status: answer.status,
                headers: answer.headers,
                body: answer.body.map_err(io::Error::other).boxed(),
            })
        }
        .boxed()
    }

    fn is_plain(&self, registry: &RegistryHost) -> bool {
        let client = self.resolver.origins.registry(registry);
        client.origin().scheme() == Scheme::Http
    }
}

/// Whether it only asks what it takes to be let in.
fn is_base(path_and_query: &str) -> bool {
    let path = path_and_query.split('?').next().unwrap_or_default();
    path.trim_end_matches('/') == "/v2"
}

/// Who acts with this host's credentials is let in as he is: a challenge would send him for a token of his own.
fn welcome() -> UpstreamResponse {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (
            header::HeaderName::from_static("docker-distribution-api-version"),
            "registry/2.0",
        ),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    UpstreamResponse {
        status: StatusCode::OK,
        headers: HeaderMap::from_iter(headers),
        body: stream::once(async { Ok(Bytes::from_static(b"{}")) }).boxed(),
    }
}

fn refused(error: AskError, is_failing: bool) -> UpstreamError {
    match &error {
        AskError::Refused(refused) => UpstreamError::Policy(refused.to_string()),
        AskError::Paused { .. } | AskError::Crowded { .. } => UpstreamError::Busy {
            retry_after: error.retry_after(),
            is_failing,
        },
        AskError::Auth(_) => UpstreamError::Unauthorized(error.into()),
        _ => UpstreamError::Unreachable(error.into()),
    }
}

/// The manifest that the request names, if anybody may have it.
async fn anonymous(client: &RegistryClient, request: &UpstreamRequest) -> Option<UpstreamResponse> {
    let (repository, reference) = manifest_of(&request.path_and_query)?;
    let accept: Vec<HeaderValue> = request
        .headers
        .get_all(header::ACCEPT)
        .into_iter()
        .cloned()
        .collect();
    let (told, body): (Told, UpstreamBody) = if request.head {
        let head = client.manifest_head(&repository, &reference, &accept).await;
        let head = head.ok()?;
        let told = Told {
            digest: head.digest,
            media_type: head.media_type,
            length: head.length,
        };
        (told, stream::empty().boxed())
    } else {
        let read = client.manifest(&repository, &reference, &accept).await;
        let manifest = read.ok()?;
        let told = Told {
            digest: Some(manifest.digest),
            media_type: manifest.media_type,
            length: Some(ByteCount(manifest.bytes.len() as u64)),
        };
        (
            told,
            stream::once(async move { Ok(manifest.bytes) }).boxed(),
        )
    };
    Some(UpstreamResponse {
        status: StatusCode::OK,
        headers: told.headers(),
        body,
    })
}

/// What a registry said of a manifest.
struct Told {
    digest: Option<Digest>,
    media_type: Option<String>,
    length: Option<ByteCount>,
}

impl Told {
    fn headers(self) -> HeaderMap {
        let length = self.length.map(|length| HeaderValue::from(length.0));
        let digest = self.digest.map(|digest| digest.to_string());
        let text = |text: Option<String>| HeaderValue::try_from(text?).ok();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::CONTENT_LENGTH, length),
            (header::CONTENT_TYPE, text(self.media_type)),
            (
                header::HeaderName::from_static("docker-content-digest"),
                text(digest),
            ),
        ] {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        headers
    }
}

/// The manifest of `/v2/REPOSITORY/manifests/REFERENCE`.
fn manifest_of(path_and_query: &str) -> Option<(RepoName, Reference)> {
    let path = path_and_query.split('?').next()?;
    let (repository, reference) = path.strip_prefix("/v2/")?.rsplit_once("/manifests/")?;
    let reference = match reference.parse() {
        Ok(digest) => Reference::Digest(digest),
        Err(_) => Reference::Tag(reference.parse().ok()?),
    };
    Some((repository.parse().ok()?, reference))
}
