//! Answers for blobs: `HEAD`, `GET`, and `GET` of one range.

use ::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tracing::debug;
use types::{ByteCount, ByteRange, Digest, RegistryHost, RepoName};

use super::{
    Asked, refusal,
    writer::{self, Blob},
};
use crate::{
    AskedRange, Class, ContentAsk, ContentReader, OpenError, Opened, OriginHeaders, Proof, Wanted,
    http::{Answer, empty},
};

/// Answers a request for a blob.
pub(super) async fn answer(
    content: &dyn ContentReader,
    asked: Asked,
    (registry, repository, digest): (RegistryHost, RepoName, Digest),
) -> Answer {
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
        proof: Proof::Sealed,
    };
    let headers = headers(digest, etag);
    let answered = if asked.is_head {
        content
            .describe(&ask)
            .await
            .map(|description| with_length(Response::new(empty()), headers, description.length))
    } else {
        match content.open(&ask).await {
            Ok(opened) => Ok(get(opened, range, headers).await),
            Err(error) => Err(error),
        }
    };
    answered.unwrap_or_else(|error: OpenError| {
        debug!(%digest, error = &error as &dyn std::error::Error, "blob not opened");
        refusal::open(error)
    })
}

async fn get(mut opened: Opened, range: Option<AskedRange>, headers: HeaderMap) -> Answer {
    let length = opened.description.length;
    let whole = ByteRange::whole(length);
    let (rest, status) = match range {
        None => (whole, StatusCode::OK),
        Some(range) => match range.within(length) {
            Some(range) => (range, StatusCode::PARTIAL_CONTENT),
            None => return unsatisfiable(headers, length),
        },
    };
    if whole.is_empty()
        && let Err(error) = opened.reader.finish(Proof::Sealed).await
    {
        // There will be no byte to hold back: the proof comes before the head, or not at all.
        debug!(
            error = &error as &dyn std::error::Error,
            "empty blob not proved"
        );
        return refusal::open(OpenError::Unavailable(error.into()));
    }
    let mut answer = Response::new(writer::body(Blob {
        reader: opened.reader,
        task: opened.description.task,
        is_whole: rest == whole,
        ready: rest.start(),
        rest,
    }));
    *answer.status_mut() = status;
    let mut answer = with_length(answer, headers, rest.length());
    if status == StatusCode::PARTIAL_CONTENT {
        let place = format!("bytes {}-{}/{}", rest.start(), rest.end() - 1, length.0);
        insert(&mut answer, header::CONTENT_RANGE, place);
    }
    answer
}

fn unsatisfiable(headers: HeaderMap, length: ByteCount) -> Answer {
    let mut answer = with_length(Response::new(empty()), headers, ByteCount::ZERO);
    *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    insert(
        &mut answer,
        header::CONTENT_RANGE,
        format!("bytes */{}", length.0),
    );
    answer
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

fn with_length(mut answer: Answer, headers: HeaderMap, length: ByteCount) -> Answer {
    *answer.headers_mut() = headers;
    answer
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length.0));
    refusal::version(answer)
}

fn insert(answer: &mut Answer, name: header::HeaderName, value: String) {
    let value = HeaderValue::try_from(value).expect("digits and punctuation");
    answer.headers_mut().insert(name, value);
}
