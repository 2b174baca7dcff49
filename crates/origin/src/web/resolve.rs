//! Looks at content without reading it: length, version, who may have it.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::FutureExt;
use http::{HeaderValue, Method, StatusCode, header as name};
use sha2::{Digest as _, Sha256};
use types::{ByteCount, Validator, Visibility};

use super::request::Request;
use crate::{
    ask::{Answer, AskError},
    flight::Flights,
    header,
    origins::{Inner, Origins},
    shown::ShownUrl,
};

/// What an origin says of content. `Debug` shows no query of its URL.
#[derive(Clone)]
pub struct Resolved {
    /// The canonical URL, which names the content.
    pub canonical_url: String,
    /// Its length, if the origin knows it.
    pub length: Option<ByteCount>,
    /// Its version: strong validators only. Without one nothing may be shared, nor read in parts.
    pub validator: Option<Validator>,
    /// The media type, verbatim.
    pub content_type: Option<String>,
    /// Public, if a request that identified nobody got it.
    pub visibility: Visibility,
    pub(crate) request: Request,
}

impl fmt::Debug for Resolved {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Resolved")
            .field("request", &self.request)
            .field("length", &self.length)
            .field("validator", &self.validator)
            .field("visibility", &self.visibility)
            .finish_non_exhaustive()
    }
}

/// Why content could not be looked at.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// No usable answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The origin only has a compressed variant to offer.
    #[error("{url} answers with a compressed variant, which is not the content itself")]
    Encoded {
        /// What was asked.
        url: ShownUrl,
    },
}

impl ResolveError {
    /// Whether looking again would fare the same.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Ask(ask) => ask.is_permanent(),
            Self::Encoded { .. } => true,
        }
    }

    /// How long the origin wants to be left alone, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Ask(ask) => ask.retry_after(),
            Self::Encoded { .. } => None,
        }
    }
}

/// Looks under way: by canonical URL, and by who asks, since one caller's answer is not another's.
pub(crate) type Resolves = Flights<(String, [u8; 32]), Result<Resolved, ResolveError>>;

impl Origins {
    /// Looks at content with HEAD, or with a GET for its first byte where HEAD is refused. Equal requests made at the
    /// same time share one look. Dropped early, the others who wait go on.
    pub async fn resolve(&self, request: &Request) -> Result<Resolved, ResolveError> {
        let canonical = request.canonical_url(&self.0.dropped_parameters);
        let key = (canonical.clone(), fingerprint(request));
        let (inner, request) = (Arc::clone(&self.0), request.clone());
        let look = move || async move { look(&inner, &request, canonical).await }.boxed();
        self.0.resolves.join(key, look).await
    }
}

impl Origins {
    /// The name under which hosts may share what an origin says to `request`: its canonical URL. None if the answer may be
    /// this caller's alone.
    pub fn shared_name(&self, request: &Request) -> Option<String> {
        let canonical = request.canonical_url(&self.0.dropped_parameters);
        request.is_everybodys(&canonical).then_some(canonical)
    }

    /// What somebody else learnt of the content that `request` asks for. It counts for as much as who told it:
    /// reading it finds out whether it is true.
    pub fn learnt(
        &self,
        request: &Request,
        (length, validator): (ByteCount, Option<Validator>),
    ) -> Resolved {
        Resolved {
            canonical_url: request.canonical_url(&self.0.dropped_parameters),
            length: Some(length),
            validator,
            content_type: None,
            visibility: request.visibility(),
            request: request.clone(),
        }
    }
}

fn fingerprint(request: &Request) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in request.parts() {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

async fn look(
    inner: &Inner,
    request: &Request,
    canonical: String,
) -> Result<Resolved, ResolveError> {
    let mut tries = inner.tries();
    loop {
        let failed = match look_once(inner, request, canonical.clone()).await {
            Ok(resolved) => return Ok(resolved),
            Err(failed) if failed.is_permanent() => return Err(failed),
            Err(failed) => failed,
        };
        let Some(pause) = tries.after_failure(failed.retry_after()) else {
            return Err(failed);
        };
        tokio::time::sleep(pause).await;
    }
}

async fn look_once(
    inner: &Inner,
    request: &Request,
    canonical_url: String,
) -> Result<Resolved, ResolveError> {
    let (answer, length) = told(inner, request).await?;
    if header::is_encoded(&answer.headers) {
        let url = ShownUrl::of(&answer.url);
        return Err(ResolveError::Encoded { url });
    }
    Ok(Resolved {
        canonical_url,
        length: length.map(ByteCount),
        validator: header::validator(&answer.headers, length),
        content_type: header::single(&answer.headers, &name::CONTENT_TYPE).map(str::to_owned),
        visibility: request.visibility(),
        request: request.clone(),
    })
}

/// The answer that describes the content, and the length it tells.
async fn told(inner: &Inner, request: &Request) -> Result<(Answer, Option<u64>), AskError> {
    let answer = inner.ask(request.ask(Method::HEAD)).await?;
    match answer.status {
        StatusCode::OK => {
            let length = header::content_length(&answer.headers);
            return Ok((answer, length));
        }
        // Signed URLs are often good for one method only, and some servers know no HEAD.
        StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {}
        _ => return Err(answer.as_error()),
    }
    drop(answer);
    let mut ask = request.ask(Method::GET);
    ask.headers
        .insert(name::RANGE, HeaderValue::from_static("bytes=0-0"));
    let answer = inner.ask(ask).await?;
    let length = match answer.status {
        StatusCode::OK => header::content_length(&answer.headers),
        StatusCode::PARTIAL_CONTENT => {
            header::content_range(&answer.headers).and_then(|told| told.total)
        }
        // Empty content has no first byte.
        StatusCode::RANGE_NOT_SATISFIABLE
            if header::unsatisfied_total(&answer.headers) == Some(0) =>
        {
            Some(0)
        }
        _ => return Err(answer.as_error()),
    };
    Ok((answer, length))
}
