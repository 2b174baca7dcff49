//! Answers for manifests: held ones by digest, the registry's otherwise, checked against the digest before a byte is sent.
//!
//! A tag is always asked of the registry, with the client's own conditions. What was meant by a tag some time ago is only
//! served while the registry fails (no answer, or a 5xx), if an operator chose that, and says how old it is.

use ::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use tracing::{debug, warn};
use types::{Digest, DigestAlgorithm, RegistryHost, RepoName, end_to_end};

use super::{
    Asked, Backends, pass,
    refusal::{self, Code, refuse},
    route::{self, Name},
};
use crate::{
    HeldManifest, ManifestAsk, ManifestName, OriginHeaders, StaleManifest, UpstreamError,
    UpstreamResponse,
    http::{Answer, full},
    upstream::{MANIFEST_MAX, digest_of},
};

/// A request for a manifest.
pub(crate) struct Ask<'a> {
    pub(crate) registry: RegistryHost,
    pub(crate) repository: RepoName,
    pub(crate) name: Name,
    pub(crate) query: Option<&'a str>,
}

/// Answers a request for a manifest.
pub(super) async fn answer(backends: &Backends, asked: Asked, ask: Ask<'_>) -> Answer {
    manifest(backends, asked, ask)
        .await
        .unwrap_or_else(pass::refused)
}

/// The answer to a request for a manifest. Errors: the registry could not be asked, and nothing is held that may stand in.
pub(crate) async fn manifest(
    backends: &Backends,
    mut asked: Asked,
    ask: Ask<'_>,
) -> Result<Answer, UpstreamError> {
    let is_head = asked.is_head;
    let (name, last) = match ask.name {
        Name::Tag(tag) => (ManifestName::Tag(tag.clone()), tag.to_string()),
        Name::Digest(digest) => (ManifestName::Digest(digest), digest.to_string()),
    };
    let path = route::with_query(
        format!("/v2/{}/manifests/{last}", ask.repository),
        ask.query,
    );
    let manifest = ManifestAsk {
        registry: ask.registry.clone(),
        repository: ask.repository,
        name,
        caller: asked.caller.clone(),
        headers: OriginHeaders::only(header::AUTHORIZATION, &asked.headers),
    };
    if let ManifestName::Digest(digest) = manifest.name
        && let Some(held) = backends.manifests.held(&manifest).await
    {
        if digest_of(digest.algorithm(), &held.bytes) == digest {
            return Ok(send(&held));
        }
        warn!(%digest, "a held manifest does not match its digest and is not served");
    }
    // A manifest is read whole, to be checked: no part of it, and no encoding of it.
    asked.headers.remove(header::RANGE);
    asked.headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    let accepted: Vec<_> = asked
        .headers
        .get_all(header::ACCEPT)
        .iter()
        .cloned()
        .collect();
    let request = pass::request(asked, ask.registry, path);
    let answered = backends.upstream.pass(request).await;
    note(backends, &manifest, &answered);
    let is_failing = fails(&answered);
    if is_failing
        && let ManifestName::Tag(_) = manifest.name
        && let Some(stale) = backends.manifests.stale(&manifest).await
        && takes(&accepted, &stale.manifest.media_type)
    {
        return Ok(send_stale(&stale));
    }
    match answered {
        Ok(response) if response.status == StatusCode::OK && !is_head => {
            Ok(relay(backends, &manifest, response).await)
        }
        Ok(response) => Ok(pass::stream(response)),
        Err(error) => Err(error),
    }
}

type Answered = Result<UpstreamResponse, UpstreamError>;

/// Notes what the registry says that a tag means.
fn note(backends: &Backends, ask: &ManifestAsk, answered: &Answered) {
    let Ok(response) = answered else { return };
    match response.status {
        StatusCode::OK => {
            if let Some(digest) = said(&response.headers) {
                backends.manifests.said(ask, Some(digest));
            }
        }
        StatusCode::NOT_FOUND => backends.manifests.said(ask, None),
        _ => {}
    }
}

/// Whether the registry is at fault, and not the request (RFC 5861, 4).
fn fails(answered: &Answered) -> bool {
    match answered {
        Ok(response) => response.status.is_server_error(),
        Err(UpstreamError::Unreachable(_)) => true,
        Err(UpstreamError::Busy { is_failing, .. }) => *is_failing,
        Err(UpstreamError::Policy(_) | UpstreamError::Unauthorized(_)) => false,
    }
}

/// Whether a client that sent these `Accept` lines takes this media type; one that sent none takes anything.
fn takes(accepted: &[HeaderValue], media_type: &str) -> bool {
    let lines = accepted.iter().filter_map(|line| line.to_str().ok());
    let mut types = lines
        .flat_map(|line| line.split(','))
        .filter_map(|one| one.split(';').next())
        .map(str::trim);
    accepted.is_empty()
        || types.any(|one| {
            let major = one.strip_suffix("/*");
            one == "*/*" || one == media_type || media_type.split('/').next() == major
        })
}

/// The digest that a registry gives for its answer.
fn said(headers: &HeaderMap) -> Option<Digest> {
    headers
        .get("docker-content-digest")?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Why a registry's manifest is not passed on.
#[derive(Debug, thiserror::Error)]
enum ManifestError {
    #[error("the registry's manifest is larger than {MANIFEST_MAX} bytes")]
    TooLarge,
    #[error("the registry broke off")]
    Broken(#[source] std::io::Error),
    #[error("the registry gave another manifest than {expected}")]
    Other { expected: Digest },
}

async fn relay(backends: &Backends, ask: &ManifestAsk, response: UpstreamResponse) -> Answer {
    let (status, headers) = (response.status, end_to_end(&response.headers));
    let checked = collect(response).await.and_then(|(bytes, said)| {
        let expected = match &ask.name {
            ManifestName::Digest(digest) => Some(*digest),
            ManifestName::Tag(_) => said,
        };
        let algorithm = expected.map_or(DigestAlgorithm::Sha256, |digest| digest.algorithm());
        let digest = digest_of(algorithm, &bytes);
        match expected {
            Some(expected) if expected != digest => Err(ManifestError::Other { expected }),
            _ => Ok((bytes, digest)),
        }
    });
    let (bytes, digest) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            debug!(error = &error as &dyn std::error::Error, "manifest refused");
            let message = "the registry's manifest is broken, too large, or not what was asked for";
            return refuse(StatusCode::BAD_GATEWAY, Code::ManifestInvalid, message);
        }
    };
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if let Some(media_type) = media_type {
        let media_type = media_type.to_owned();
        let held = HeldManifest {
            digest,
            media_type,
            bytes: bytes.clone(),
        };
        backends.manifests.keep(ask, &held);
    }
    let mut answer = Response::new(full(bytes));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

/// The whole body, and the digest the registry gave for it.
async fn collect(response: UpstreamResponse) -> Result<(Bytes, Option<Digest>), ManifestError> {
    let length = response.headers.get(header::CONTENT_LENGTH).cloned();
    let said = said(&response.headers);
    let mut body = response.body;
    let mut bytes = BytesMut::new();
    while let Some(part) = body.try_next().await.map_err(ManifestError::Broken)? {
        if bytes.len() + part.len() > MANIFEST_MAX {
            return Err(ManifestError::TooLarge);
        }
        bytes.extend_from_slice(&part);
    }
    if length.is_some_and(|length| length != HeaderValue::from(bytes.len())) {
        let short = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        return Err(ManifestError::Broken(short));
    }
    Ok((bytes.freeze(), said))
}

fn send(held: &HeldManifest) -> Answer {
    let mut answer = Response::new(full(held.bytes.clone()));
    let headers = answer.headers_mut();
    let text = |text: String| HeaderValue::try_from(text).ok();
    for (name, value) in [
        (header::CONTENT_TYPE, text(held.media_type.clone())),
        (
            header::CONTENT_LENGTH,
            Some(HeaderValue::from(held.bytes.len())),
        ),
        (header::ETAG, text(format!("\"{}\"", held.digest))),
        (
            header::HeaderName::from_static("docker-content-digest"),
            text(held.digest.to_string()),
        ),
    ] {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    refusal::version(answer)
}

fn send_stale(stale: &StaleManifest) -> Answer {
    let held = &stale.manifest;
    if digest_of(held.digest.algorithm(), &held.bytes) != held.digest {
        warn!(digest = %held.digest, "a held manifest does not match its digest and is not served");
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Unavailable,
            "the registry cannot be reached",
        );
    }
    let mut answer = send(held);
    let headers = answer.headers_mut();
    headers.insert(header::AGE, HeaderValue::from(stale.age.as_secs()));
    headers.insert(
        header::WARNING,
        HeaderValue::from_static("111 pantala \"the registry fails\""),
    );
    answer
}
