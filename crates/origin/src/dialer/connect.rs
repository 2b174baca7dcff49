//! Dials: policy, lookup, policy again, staggered attempts, TLS.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use http::{HeaderValue, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{
    link::Link,
    names::{LookupError, Names},
    policy::{DialPolicy, Refused},
    tls::Trust,
    via::{ProxyProblem, Via},
};
use crate::allowed::{AllowedOrigin, Scheme};

/// A second address is tried when the first is silent for so long (RFC 8305, "Connection Attempt Delay").
const STAGGER: Duration = Duration::from_millis(250);

/// So many addresses of one name are tried at most.
const ADDRESSES_MAX: usize = 8;

/// Why an origin was not reached. Cheap to copy: hyper hands it around inside its own errors.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("{origin} was not reached within {waited:?}")]
    Silent {
        origin: AllowedOrigin,
        waited: Duration,
    },
    #[error("connecting to {origin}")]
    Connect {
        origin: AllowedOrigin,
        #[source]
        cause: Arc<io::Error>,
    },
    #[error("agreeing on TLS with {origin}")]
    Tls {
        origin: AllowedOrigin,
        /// What its certificate must follow from, if that is a file of its own.
        own: Option<PathBuf>,
        #[source]
        cause: Arc<io::Error>,
    },
    #[error("reaching {origin} through the proxy {proxy}")]
    Proxy {
        origin: AllowedOrigin,
        proxy: AllowedOrigin,
        #[source]
        cause: Arc<ProxyProblem>,
    },
}

/// What the dialer works with.
pub(crate) struct Reach {
    pub(crate) policy: DialPolicy,
    pub(crate) names: Names,
    pub(crate) trust: Arc<Trust>,
    /// Somebody else's proxy, if there is one between us and the outside.
    pub(crate) via: Option<Arc<Via>>,
    /// For the lookup, each connection attempt and the TLS handshake, each by itself.
    pub(crate) patience: Duration,
}

/// The dialer: hyper's client asks it for every connection.
#[derive(Clone)]
pub(crate) struct Dialer(pub(crate) Arc<Reach>);

impl tower::Service<Uri> for Dialer {
    type Response = TokioIo<Link>;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let reach = Arc::clone(&self.0);
        Box::pin(async move { reach.dial(&target).await.map(TokioIo::new) })
    }
}

impl Reach {
    async fn dial(&self, target: &Uri) -> Result<Link, DialError> {
        let origin = origin_of(target)?;
        match origin.scheme() {
            Scheme::Http => {
                let link = match self.way(&origin)? {
                    None => Link::Plain,
                    Some(_) => Link::Proxied,
                };
                Ok(link(self.begin(&origin).await?))
            }
            Scheme::Https => {
                let stream = self.connect(&origin).await?;
                self.secure(&origin, stream).await
            }
        }
    }

    /// A connection whose other end is where the policy lets `origin` be, without TLS of ours.
    pub(crate) async fn connect(&self, origin: &AllowedOrigin) -> Result<TcpStream, DialError> {
        let mut stream = self.begin(origin).await?;
        if let Some(via) = self.way(origin)? {
            // The proxy looks the name up and connects meanwhile.
            let tunnel = timeout(self.patience * 2, via.tunnel(&mut stream, origin)).await;
            let tunnel = tunnel.unwrap_or(Err(ProxyProblem::Silent));
            tunnel.map_err(|cause| DialError::Proxy {
                origin: origin.clone(),
                proxy: via.proxy.clone(),
                cause: Arc::new(cause),
            })?;
        }
        Ok(stream)
    }

    /// What a proxy is shown by who asks it for a plain URL of `origin`; none if no proxy is asked, or it wants nothing.
    pub(crate) fn authorization(&self, origin: &AllowedOrigin) -> Option<&HeaderValue> {
        let via = self.via.as_ref().filter(|via| via.leads_to(origin))?;
        via.authorization()
            .filter(|_| origin.scheme() == Scheme::Http)
    }

    /// The proxy that leads to `origin`; none if it is dialled itself. Errors: it is not to be asked for.
    fn way(&self, origin: &AllowedOrigin) -> Result<Option<&Via>, Refused> {
        self.policy.check_origin(origin)?;
        let via = self.via.as_deref().filter(|via| via.leads_to(origin));
        if via.is_some() {
            self.policy.check_behind(origin)?;
        }
        Ok(via)
    }

    /// A connection to `origin`, or to the proxy that leads there.
    async fn begin(&self, origin: &AllowedOrigin) -> Result<TcpStream, DialError> {
        let (policy, end) = match self.way(origin)? {
            None => (&self.policy, origin),
            Some(via) => (&via.policy, &via.proxy),
        };
        let lookup = self.names.addresses(end.host());
        let found = timeout(self.patience, lookup)
            .await
            .map_err(|_| self.silent(end))??;
        let stream = self.first_to_answer(policy, end, &found).await?;
        // Failing to set these costs latency or a while, nothing else.
        if let Err(cause) = stream.set_nodelay(true) {
            tracing::debug!(%end, %cause, "a connection keeps its Nagle delay");
        }
        if let Err(cause) = listen::keep_alive(&stream) {
            tracing::debug!(%end, %cause, "a connection is not watched by the kernel");
        }
        Ok(stream)
    }

    /// Tries the allowed addresses, the next one each time `STAGGER` passes or an attempt fails. The attempts that lose
    /// are dropped and their sockets closed.
    async fn first_to_answer(
        &self,
        policy: &DialPolicy,
        origin: &AllowedOrigin,
        found: &[std::net::IpAddr],
    ) -> Result<TcpStream, DialError> {
        let mut waiting: VecDeque<SocketAddr> = VecDeque::new();
        let mut refusal = None;
        for address in in_turns(found) {
            match policy.check_address(origin, address) {
                Ok(()) => waiting.push_back(SocketAddr::new(address, origin.port())),
                Err(refused) => refusal = refusal.or(Some(refused)),
            }
        }
        waiting.truncate(ADDRESSES_MAX);
        let mut attempts = FuturesUnordered::new();
        let mut failure = refusal.map_or_else(|| self.silent(origin), DialError::Refused);
        loop {
            match waiting.pop_front() {
                Some(address) => attempts.push(self.attempt(origin, address)),
                None if attempts.is_empty() => return Err(failure),
                None => {}
            }
            let has_more = !waiting.is_empty();
            tokio::select! {
                Some(outcome) = attempts.next() => match outcome {
                    Ok(stream) => return Ok(stream),
                    Err(cause) => failure = cause,
                },
                () = sleep(STAGGER), if has_more => {}
            }
        }
    }

    async fn attempt(
        &self,
        origin: &AllowedOrigin,
        address: SocketAddr,
    ) -> Result<TcpStream, DialError> {
        timeout(self.patience, TcpStream::connect(address))
            .await
            .map_err(|_| self.silent(origin))?
            .map_err(|cause| DialError::Connect {
                origin: origin.clone(),
                cause: Arc::new(cause),
            })
    }

    async fn secure(&self, origin: &AllowedOrigin, stream: TcpStream) -> Result<Link, DialError> {
        let (config, own) = self.trust.of(origin);
        let tls = |cause| DialError::Tls {
            origin: origin.clone(),
            own: own.map(Path::to_owned),
            cause: Arc::new(cause),
        };
        let name = ServerName::try_from(origin.host().to_owned())
            .map_err(|cause| tls(io::Error::other(cause)))?;
        let handshake = TlsConnector::from(config).connect(name, stream);
        let stream = timeout(self.patience, handshake)
            .await
            .map_err(|_| self.silent(origin))?
            .map_err(tls)?;
        Ok(Link::Tls(Box::new(stream)))
    }

    fn silent(&self, origin: &AllowedOrigin) -> DialError {
        DialError::Silent {
            origin: origin.clone(),
            waited: self.patience,
        }
    }
}

/// The origin hyper asks for. It got the URI from a checked URL, so this only fails if hyper changed it.
fn origin_of(target: &Uri) -> Result<AllowedOrigin, DialError> {
    url::Url::parse(&target.to_string())
        .ok()
        .and_then(|url| AllowedOrigin::of(&url).ok())
        .ok_or_else(|| {
            LookupError::Nowhere {
                host: target.host().unwrap_or_default().to_owned(),
            }
            .into()
        })
}

/// Families take turns, beginning with the first address's (RFC 8305, section 4).
fn in_turns(found: &[std::net::IpAddr]) -> Vec<std::net::IpAddr> {
    let Some(first) = found.first() else {
        return Vec::new();
    };
    let (mut same, mut other): (VecDeque<_>, VecDeque<_>) = found
        .iter()
        .copied()
        .partition(|address| address.is_ipv6() == first.is_ipv6());
    let mut turns = Vec::with_capacity(found.len());
    while !(same.is_empty() && other.is_empty()) {
        turns.extend(same.pop_front());
        turns.extend(other.pop_front());
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let found: Vec<std::net::IpAddr> = ["::1", "::2", "1.0.0.1", "::3", "1.0.0.2"]
            .map(|text| text.parse().unwrap())
            .into();
        let turns: Vec<String> = in_turns(&found).iter().map(ToString::to_string).collect();
        assert_eq!(turns, ["::1", "1.0.0.1", "::2", "1.0.0.2", "::3"]);
    }
}
