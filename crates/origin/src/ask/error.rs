//! Why a request got no usable answer, and whether it is worth another.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::StatusCode;

use crate::{
    allowed::{AllowedOrigin, ParseOriginError},
    dialer::{DialError, LookupError, ProxyProblem, Refused},
    redirect::RedirectProblem,
    registry::AuthError,
    shown::ShownUrl,
};

/// Why a request got no usable answer. Messages hold neither query nor credential.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AskError {
    /// The URL is none that can be asked.
    #[error("asking {url}")]
    Url {
        /// The URL.
        url: ShownUrl,
        /// What is wrong with it.
        #[source]
        cause: ParseOriginError,
    },
    /// The URL parses, but not as a request target.
    #[error("{url} cannot be sent as a request")]
    Unsendable {
        /// The URL.
        url: ShownUrl,
    },
    /// The policy forbids it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The name has no address.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Nobody answered the dial.
    #[error("connecting to {origin}")]
    Connect {
        /// Who was dialled.
        origin: AllowedOrigin,
        /// What the dial met.
        #[source]
        cause: Arc<io::Error>,
    },
    /// The certificate or the handshake is bad.
    #[error("agreeing on TLS with {origin}, {}", trusted(.own.as_deref()))]
    Tls {
        /// Who was dialled.
        origin: AllowedOrigin,
        /// What its certificate must follow from, if that is a file of its own.
        own: Option<PathBuf>,
        /// What the handshake met.
        #[source]
        cause: Arc<io::Error>,
    },
    /// The proxy that leads there does not.
    #[error("reaching {origin} through the proxy {proxy} (origin.proxy)")]
    Proxy {
        /// Who was asked for.
        origin: AllowedOrigin,
        /// Which proxy.
        proxy: AllowedOrigin,
        /// What it did instead.
        #[source]
        cause: Arc<ProxyProblem>,
    },
    /// The connection broke, or what came over it was no HTTP.
    #[error("the exchange with {url} broke off")]
    Broken {
        /// What was asked.
        url: ShownUrl,
        /// What hyper met.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing came for too long.
    #[error("{url} made no progress for {waited:?}")]
    Stalled {
        /// What was asked.
        url: ShownUrl,
        /// How long nothing came.
        waited: Duration,
    },
    /// A redirect that is not followed.
    #[error("{url} leads nowhere: {problem}")]
    Redirect {
        /// Where the redirect came from.
        url: ShownUrl,
        /// What is wrong with it.
        problem: RedirectProblem,
    },
    /// The origin asked to be left alone.
    #[error("{origin} asked to be left alone for {left:?} more")]
    Paused {
        /// Who asked so.
        origin: AllowedOrigin,
        /// How long still.
        left: Duration,
    },
    /// Too many requests of ours wait for this origin already.
    #[error("too many requests wait for {origin}; its budget allows more if it can bear them")]
    Crowded {
        /// For whom they wait.
        origin: AllowedOrigin,
    },
    /// Others waited for a place at this origin while nobody read this body.
    #[error("{url} was not read for so long that it gave way to other requests")]
    GaveWay {
        /// What was read.
        url: ShownUrl,
    },
    /// A registry's challenge could not be answered.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// An answer that is no success.
    #[error("{url} answered {status}{}", later(*.retry_after))]
    Status {
        /// What was asked.
        url: ShownUrl,
        /// The answer.
        status: StatusCode,
        /// How long to stay away, if it said so.
        retry_after: Option<Duration>,
    },
}

fn trusted(own: Option<&Path>) -> String {
    match own {
        Some(file) => format!(
            "whose certificate must come from an authority in {} (origin.host_ca_files)",
            file.display()
        ),
        None => "whose certificate must come from a known authority; a private one belongs in origin.ca_files, or for \
                 these hosts alone in origin.host_ca_files"
            .to_owned(),
    }
}

fn later(retry_after: Option<Duration>) -> String {
    retry_after.map_or(String::new(), |wait| {
        format!(", to be asked again after {} s", wait.as_secs())
    })
}

impl AskError {
    /// Whether the same request would fare the same later.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Url { .. }
            | Self::Unsendable { .. }
            | Self::Refused(_)
            | Self::Redirect { .. }
            | Self::Auth(_)
            | Self::Lookup(LookupError::Configuration(_) | LookupError::Nowhere { .. }) => true,
            // A bad certificate is InvalidData; a connection that breaks in the handshake is not.
            Self::Tls { cause, .. } => cause.kind() == io::ErrorKind::InvalidData,
            Self::Proxy { cause, .. } => cause.is_permanent(),
            Self::Status { status, .. } => !matches!(
                status.as_u16(),
                408 | 425 | 429 | 500 | 502 | 503 | 504 | 520..=530
            ),
            Self::Lookup(LookupError::Failed { .. })
            | Self::Connect { .. }
            | Self::Broken { .. }
            | Self::Stalled { .. }
            | Self::Paused { .. }
            | Self::GaveWay { .. }
            | Self::Crowded { .. } => false,
        }
    }

    /// How long the origin wants to be left alone, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Paused { left, .. } => Some(*left),
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The status, if that is what went wrong.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl From<DialError> for AskError {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Refused(refused) => Self::Refused(refused),
            DialError::Lookup(cause) => Self::Lookup(cause),
            DialError::Silent { origin, waited } => Self::Connect {
                origin,
                cause: Arc::new(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no answer within {waited:?}"),
                )),
            },
            DialError::Connect { origin, cause } => Self::Connect { origin, cause },
            DialError::Tls { origin, own, cause } => Self::Tls { origin, own, cause },
            DialError::Proxy {
                origin,
                proxy,
                cause,
            } => Self::Proxy {
                origin,
                proxy,
                cause,
            },
        }
    }
}
