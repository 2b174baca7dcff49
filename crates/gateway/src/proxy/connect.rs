//! `CONNECT`: to hosts that are not ours to look into, a tunnel; to those that are, requests within.

use std::{net::SocketAddr, sync::Arc};

use ::http::{Method, Request, Response, Uri};
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use tokio::time::timeout;
use tracing::debug;

use super::{Shared, refusal, tally::Said, target::Target};
use crate::http::{Answer, BoxIo, Client, Handler, Tunnels, empty};

/// Answers `CONNECT`, whose form was checked.
pub(super) async fn answer(
    proxy: &Arc<Shared>,
    mut request: Request<Incoming>,
    client: Client,
) -> Answer {
    let authority = request.uri().authority().map(ToString::to_string);
    let target =
        authority.and_then(|authority| Target::of_url(&format!("https://{authority}/")).ok());
    let Some(target) = target else {
        return refusal::malformed("CONNECT names HOST:PORT");
    };
    let (host, port) = (target.host(), target.port());
    debug!(host, port, "asked for a tunnel");
    if let Some((at, _)) = proxy.rules.refusal(host, port) {
        proxy.tally.request(Said::Refuse);
        return refusal::by_rule(at);
    }
    proxy.tally.request(Said::Tunnel);
    let upgrade = hyper::upgrade::on(&mut request);
    let Client { peer, tunnels, .. } = client;
    let within = proxy.interceptor(host, port).map(|_| Within {
        proxy: Arc::clone(proxy),
        target: target.clone(),
    });
    match within {
        Some(within) => {
            let of_tunnel = tunnels.clone();
            tunnels.begin(upgrade, move |stream| {
                within.open(stream, (of_tunnel, peer))
            });
        }
        None => match proxy.outside.tunnel(host, port).await {
            Ok(origin) => {
                let of_tunnel = tunnels.clone();
                let origin = proxy.tally.tunnel(origin);
                tunnels.begin(upgrade, move |stream| async move {
                    of_tunnel.join(stream, origin).await;
                });
            }
            Err(error) => return refusal::closing(refusal::outside(&error)),
        },
    }
    Response::new(empty())
}

/// The requests within a client's TLS to one host.
struct Within {
    proxy: Arc<Shared>,
    target: Target,
}

impl Within {
    async fn open(self, stream: BoxIo, (tunnels, peer): (Tunnels, SocketAddr)) {
        let host = self.target.host().to_owned();
        let Some(interceptor) = self.proxy.interceptor(&host, self.target.port()).cloned() else {
            return;
        };
        let _open = self.proxy.tally.open();
        let accepted = timeout(tunnels.patience(), interceptor.accept(&host, stream)).await;
        match accepted {
            Ok(Ok(stream)) => tunnels.serve(stream, peer, Arc::new(self)).await,
            Ok(Err(error)) => debug!(host, %error, "a client took no certificate of ours"),
            Err(_) => debug!(host, "a client did not agree on TLS in time"),
        }
    }

    /// The request as a proxy gets it, if it is for this host.
    fn as_asked(&self, request: &Request<Incoming>) -> Option<Uri> {
        let uri = request.uri();
        let path = uri
            .path_and_query()
            .filter(|path| path.as_str().starts_with('/'))?;
        if request.method() == Method::CONNECT {
            return None;
        }
        // Whoever writes the whole URL here writes this host's.
        let base = self.target.url.as_str().trim_end_matches('/');
        if let Some(authority) = uri.authority() {
            let other = Target::of_url(&format!("{}://{authority}/", uri.scheme_str()?)).ok()?;
            if other != self.target {
                return None;
            }
        }
        format!("{base}{path}").parse().ok()
    }
}

impl Handler for Within {
    fn answer<'a>(
        &'a self,
        mut request: Request<Incoming>,
        client: Client,
    ) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let answer = match self.as_asked(&request) {
                Some(uri) => {
                    *request.uri_mut() = uri;
                    let from = (&client.names, client.peer);
                    self.proxy.answer(request, from).await
                }
                None => refusal::malformed("this tunnel leads to another host"),
            };
            self.proxy.tally.judged(answer)
        })
    }
}
