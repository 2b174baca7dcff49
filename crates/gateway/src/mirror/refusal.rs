//! Our own errors, in the words of the distribution spec: `{"errors":[{"code","message"}]}`.
//!
//! They never hold a path, a cause or another caller's content: causes go to the log.

use std::time::Duration;

use ::http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::route::RouteError;
use crate::{
    OpenError, OriginAnswer, UpstreamError,
    http::{Answer, full},
};

/// Error codes of the distribution spec.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Code {
    BlobUnknown,
    Denied,
    DigestInvalid,
    ManifestInvalid,
    NameInvalid,
    NameUnknown,
    TagInvalid,
    TooManyRequests,
    Unavailable,
    Unsupported,
}

impl Code {
    const fn name(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::Denied => "DENIED",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::TagInvalid => "TAG_INVALID",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unsupported => "UNSUPPORTED",
        }
    }
}

/// A refusal with a body.
pub(crate) fn refuse(status: StatusCode, code: Code, message: &str) -> Answer {
    let body = json!({ "errors": [{ "code": code.name(), "message": message }] }).to_string();
    let mut answer = Response::new(full(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    version(answer)
}

/// Adds the header that says which API this is.
pub(crate) fn version(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(
        "docker-distribution-api-version",
        HeaderValue::from_static("registry/2.0"),
    );
    answer
}

/// The answer to `/v2/` when no registry can be asked: yes, this is one. The doctor, and who points engines here, know by
/// [`SIGN`](super::SIGN) that nobody else has the port.
pub(crate) fn base() -> Answer {
    let mut answer = Response::new(full("{}"));
    answer.headers_mut().insert(
        super::SIGN,
        HeaderValue::from_static(env!("CARGO_PKG_VERSION")),
    );
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    version(answer)
}

/// The answer to everything that would write.
pub(crate) fn read_only() -> Answer {
    let mut answer = refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        Code::Unsupported,
        "this mirror only reads: push to the registry itself",
    );
    answer
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    // A body may follow that nobody will read.
    closing(answer)
}

/// Ends the connection after the answer.
pub(crate) fn closing(mut answer: Answer) -> Answer {
    answer
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// A request that names nothing.
pub(crate) fn route(error: &RouteError) -> Answer {
    let (status, code) = match error {
        RouteError::Malformed => (StatusCode::BAD_REQUEST, Code::Unsupported),
        RouteError::Unknown => (StatusCode::NOT_FOUND, Code::Unsupported),
        RouteError::Repository => (StatusCode::BAD_REQUEST, Code::NameInvalid),
        RouteError::Tag => (StatusCode::BAD_REQUEST, Code::TagInvalid),
        RouteError::Digest => (StatusCode::BAD_REQUEST, Code::DigestInvalid),
        RouteError::Registry => (StatusCode::NOT_FOUND, Code::NameUnknown),
    };
    refuse(status, code, &error.to_string())
}

/// A blob that could not be opened. A client with a registry behind its mirror goes on there by itself.
pub(crate) fn open(error: OpenError) -> Answer {
    match error {
        OpenError::Denied(answer) => relay(*answer),
        OpenError::NotFound(_) => refuse(
            StatusCode::NOT_FOUND,
            Code::BlobUnknown,
            "the registry does not have this blob",
        ),
        OpenError::OriginBusy { retry_after, .. } => busy(retry_after),
        OpenError::Unavailable(_) => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Unavailable,
            "neither the registry nor another host can be reached",
        ),
        OpenError::NoRoom(_) => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Unavailable,
            "this host's disk cannot take it",
        ),
        OpenError::Policy(reason) => refuse(StatusCode::FORBIDDEN, Code::Denied, &reason),
    }
}

/// A registry that gave no answer.
pub(crate) fn upstream(error: UpstreamError) -> Answer {
    match error {
        UpstreamError::Unreachable(_) | UpstreamError::Unauthorized(_) => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Unavailable,
            "the registry cannot be reached",
        ),
        UpstreamError::Busy { retry_after, .. } => busy(retry_after),
        UpstreamError::Policy(reason) => refuse(StatusCode::FORBIDDEN, Code::Denied, &reason),
    }
}

fn busy(retry_after: Option<Duration>) -> Answer {
    let mut answer = refuse(
        StatusCode::TOO_MANY_REQUESTS,
        Code::TooManyRequests,
        "the registry asks for patience",
    );
    if let Some(wait) = retry_after {
        // Whole seconds, rounded up: never an invitation to come early.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        answer
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

fn relay(origin: OriginAnswer) -> Answer {
    let mut answer = Response::new(full(origin.body));
    *answer.status_mut() = origin.status;
    *answer.headers_mut() = types::end_to_end(&origin.headers);
    // The body is here, whatever the origin said of its length (nothing, for a HEAD).
    answer.headers_mut().remove(header::CONTENT_LENGTH);
    answer
}
