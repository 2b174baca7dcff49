//! Answers for blobs: `HEAD`, `GET`, and `GET` of one range.

use ::http::{HeaderMap, HeaderValue, Response, header};
use tracing::debug;
use types::{Digest, RegistryHost, RepoName};

use super::{Asked, refusal};
use crate::{
    AskedRange, Class, ContentAsk, ContentReader, OpenError, OriginHeaders, Proof, Wanted, content,
    http::{Answer, empty},
};

/// Answers a request for a blob.
pub(super) async fn answer(
    reader: &dyn ContentReader,
    asked: Asked,
    name: (RegistryHost, RepoName, Digest),
) -> Answer {
    let digest = name.2;
    blob(reader, asked, name).await.unwrap_or_else(|error| {
        debug!(%digest, error = &error as &dyn std::error::Error, "blob not opened");
        refusal::open(error)
    })
}

/// The answer to a request for a blob. Errors: there is none but the registry's own.
pub(crate) async fn blob(
    reader: &dyn ContentReader,
    asked: Asked,
    (registry, repository, digest): (RegistryHost, RepoName, Digest),
) -> Result<Answer, OpenError> {
    let etag = HeaderValue::try_from(format!("\"{digest}\"")).expect("a digest is visible ASCII");
    // Range is defined for GET only (RFC 9110, 14.2).
    let range = (!asked.is_head)
        .then(|| AskedRange::of_request(&asked.headers, &etag))
        .flatten();
    let ask = ContentAsk {
        wanted: Wanted::Blob {
            registry,
            repository,
            digest,
        },
        range,
        headers: OriginHeaders::only(header::AUTHORIZATION, &asked.headers),
        caller: asked.caller,
        class: Class::Waiting,
        prefetch: false,
        proof: Proof::Sealed,
    };
    let headers = headers(digest, etag);
    if asked.is_head {
        let length = reader.describe(&ask).await?.length;
        let answer = content::with_length(Response::new(empty()), headers, length);
        return Ok(refusal::version(answer));
    }
    let opened = reader.open(&ask).await?;
    match content::answer(opened, range, headers).await {
        Ok(answer) => Ok(refusal::version(answer)),
        Err(error) => Err(OpenError::Unavailable(error.into())),
    }
}

/// What every answer for a blob says: the same for `GET` and `HEAD`.
fn headers(digest: Digest, etag: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        "docker-content-digest",
        HeaderValue::try_from(digest.to_string()).expect("a digest is visible ASCII"),
    );
    headers.insert(header::ETAG, etag);
    headers
}
