//! The HTTP server under the mirror, the proxy and the admin door: HTTP/1.1 and HTTP/2 on one port, bounded in every
//! direction.
//!
//! - [`serve`]: accepting, the bound on connections, leaving;
//! - [`patience`]: deadlines for clients that neither read nor write;
//! - [`place`]: the bound on running answers, bodies included;
//! - [`heads`], [`strict`], [`guard`]: requests whose meaning two parsers could disagree on are refused;
//! - [`tunnel`]: what a connection becomes after `CONNECT`.

mod guard;
mod heads;
mod patience;
mod place;
mod serve;
mod strict;
mod tunnel;

use std::{error::Error, net::SocketAddr};

use ::http::{HeaderValue, header};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body, Incoming};

pub use self::{
    guard::Names,
    place::Places,
    serve::{Limits, ServeError, bind},
    tunnel::{BoxIo, Io},
};
pub(crate) use self::{
    guard::{Form, check},
    place::hold,
    serve::serve,
    tunnel::Tunnels,
};

/// Why an answer's body broke off. It reaches the client as a reset.
pub(crate) type BodyError = Box<dyn Error + Send + Sync>;

/// The body of an answer.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, BodyError>;

/// An answer.
pub(crate) type Answer = ::http::Response<AnswerBody>;

/// Who sent a request, by what names he may call this host, and what its connection may become.
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    pub(crate) names: Names,
    pub(crate) tunnels: Tunnels,
}

/// What answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one request; the body of an answer to `HEAD` is left out by the server. Dropped when the client goes
    /// away first.
    fn answer<'a>(
        &'a self,
        request: ::http::Request<Incoming>,
        client: Client,
    ) -> BoxFuture<'a, Answer>;
}

/// A body of these bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> AnswerBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The answer to `HEAD`: what `GET` would say, without its body.
fn head_only(answer: Answer) -> Answer {
    let length = answer
        .body()
        .size_hint()
        .exact()
        .filter(|length| *length > 0);
    let mut answer = answer.map(|_| empty());
    if let Some(length) = length {
        let headers = answer.headers_mut().entry(header::CONTENT_LENGTH);
        headers.or_insert(HeaderValue::from(length));
    }
    answer
}

/// No body.
pub(crate) fn empty() -> AnswerBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
