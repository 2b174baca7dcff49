//! What the proxy needs beside content: the way outside, and certificates in the name of others.

use std::{error::Error, io};

use ::http::{HeaderMap, Method, StatusCode};
use futures_util::future::BoxFuture;
use url::Url;

use crate::{
    Seen,
    http::{AnswerBody, BoxIo},
};

/// The body of a message that is passed on. An error means that it is incomplete.
pub type PassedBody = AnswerBody;

/// The guarded way to origins, for what clients send themselves.
pub trait Outside: Send + Sync {
    /// Sends a request on and gives the origin's answer, whatever its status. Redirects are the client's to follow.
    ///
    /// Dropping the future or the body gives up.
    fn relay(&self, request: OutsideRequest) -> BoxFuture<'_, Result<OutsideAnswer, OutsideError>>;

    /// A connection to `host` (a name, or an address without brackets) for bytes that are not looked at.
    fn tunnel<'a>(&'a self, host: &'a str, port: u16)
    -> BoxFuture<'a, Result<BoxIo, OutsideError>>;
}

/// A client's request.
pub struct OutsideRequest {
    /// Any.
    pub method: Method,
    /// Of an origin.
    pub url: Url,
    /// Line by line, without those of the client's connection to us.
    pub headers: HeaderMap,
    /// As it comes.
    pub body: PassedBody,
}

/// An origin's answer.
pub struct OutsideAnswer {
    /// As it came.
    pub status: StatusCode,
    /// Line by line, without those of our connection to the origin.
    pub headers: HeaderMap,
    /// As it comes: never decoded.
    pub body: PassedBody,
    /// Which version of which content it speaks of, if it says so strongly; of the whole, where the answer is a part.
    pub seen: Option<Seen>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// The origin could not be reached.
    #[error("the origin cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// A rule that an operator set forbids it.
    #[error("refused by policy: {0}")]
    Policy(String),
}

/// Speaks TLS to clients in the name of listed hosts, which they trust it for.
pub trait Intercept: Send + Sync {
    /// The client's TLS stream. Errors: it wants another host, or does not trust the certificate.
    fn accept<'a>(&'a self, host: &'a str, stream: BoxIo) -> BoxFuture<'a, io::Result<BoxIo>>;
}
