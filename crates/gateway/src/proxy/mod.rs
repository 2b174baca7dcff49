//! A forward proxy for clients that know no mirror: apt, pip, git, runtimes with `HTTP_PROXY`.
//!
//! - [`rule`], [`path`]: what an operator wants done with which requests; [`target`], [`spelling`]: what a request is for
//!   (pure);
//! - [`shared`]: content through the swarm; [`judge`]: what may go through it (pure); [`headless`]: who answers no `HEAD` (pure);
//! - [`registry`]: manifests and blobs as the mirror gives them;
//! - [`pass`]: all else, on as it is; [`connect`]: tunnels, and requests within those of listed hosts;
//! - [`outside`]: what it needs of the daemon; [`dragonfly`]: the headers of Dragonfly's clients (pure);
//! - [`refusal`]: our own errors; [`tally`]: what is counted.
//!
//! No open proxy: clients are listed by address, origins and ports go through the guarded dialer, and a request that two
//! parsers could read in two ways is refused.

mod connect;
mod dragonfly;
mod headless;
mod judge;
mod outside;
mod pass;
mod path;
mod refusal;
mod registry;
mod rule;
mod shared;
mod spelling;
mod tally;
mod target;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ::http::{HeaderMap, Method, Request};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use types::HostPattern;

use self::{dragonfly::Wishes, headless::Headless, tally::Said};
pub use self::{
    outside::{Intercept, Outside, OutsideAnswer, OutsideError, OutsideRequest, PassedBody},
    rule::{Action, Kind, ParseRuleError, Rule, Rules, Traits},
    tally::Tally,
    target::{ParseTargetError, Target},
};
use crate::{
    Limits, Names, Places,
    http::{self, Answer, BodyError, Client, Form, Handler},
    mirror::Backends,
};

/// Whether an address may ask.
pub type Admits = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// What a proxy stands on, and what it may do.
pub struct Parts {
    /// Content, and registries.
    pub backends: Backends,
    /// Everything else.
    pub outside: Arc<dyn Outside>,
    /// Speaks for the hosts of `intercepted`; none: nobody's TLS is opened.
    pub interceptor: Option<Arc<dyn Intercept>>,
    /// Hosts whose tunnels are opened.
    pub intercepted: Vec<HostPattern>,
    /// What is done with which requests.
    pub rules: Rules,
    /// Who may ask.
    pub admits: Admits,
    /// Answers with content at once; when all are taken, requests go on as they are.
    pub places: Places,
    /// Counts what is done.
    pub tally: Tally,
}

/// The forward proxy.
pub struct Proxy(Arc<Shared>);

/// What all its connections share.
struct Shared {
    backends: Backends,
    outside: Arc<dyn Outside>,
    interceptor: Option<Arc<dyn Intercept>>,
    intercepted: Vec<HostPattern>,
    rules: Rules,
    admits: Admits,
    places: Places,
    headless: Headless,
    tally: Tally,
}

/// A request that may be answered.
struct Asked {
    method: Method,
    target: Target,
    headers: HeaderMap,
    peer: SocketAddr,
}

impl Proxy {
    /// A proxy on `parts`.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared {
            backends: parts.backends,
            outside: parts.outside,
            interceptor: parts.interceptor,
            intercepted: parts.intercepted,
            rules: parts.rules,
            admits: parts.admits,
            places: parts.places,
            headless: Headless::default(),
            tally: parts.tally,
        }))
    }

    /// Answers requests on `listener` until `stop`, then lets running transfers end for [`Limits::grace`].
    pub async fn serve(self, listener: TcpListener, limits: Limits, stop: CancellationToken) {
        http::serve(("proxy", listener), Arc::new(self), limits, stop).await;
    }
}

impl Shared {
    fn interceptor(&self, host: &str, port: u16) -> Option<&Arc<dyn Intercept>> {
        let is_listed = self
            .intercepted
            .iter()
            .any(|hosts| hosts.matches(host, port));
        self.interceptor.as_ref().filter(|_| is_listed)
    }

    /// Answers any request but `CONNECT`.
    async fn answer(
        &self,
        request: Request<Incoming>,
        (names, peer): (&Names, SocketAddr),
    ) -> Answer {
        if let Err(error) = http::check(Form::Proxy, names, &request) {
            return refusal::malformed(&error.to_string());
        }
        let (head, body) = request.into_parts();
        let wishes = Wishes::of(&head.headers);
        let target = match (head.uri.authority(), &wishes.registry) {
            (Some(_), _) => Target::of_uri(&head.uri),
            (None, Some(base)) => Target::of_url(&format!("{base}{}", head.uri)),
            (None, None) => return refusal::malformed("this is a proxy: ask it for whole URLs"),
        };
        let Ok(target) = target else {
            return refusal::malformed("the URL means nothing here");
        };
        debug!(host = target.host(), path = target.path(), "proxy request");
        let is_registrys = head.uri.authority().is_none();
        let asked = Asked {
            method: head.method,
            target,
            headers: head.headers,
            peer,
        };
        let body: PassedBody = body.map_err(BodyError::from).boxed_unsync();
        let (said, traits) = match self.rules.find(&asked.target) {
            Some((at, rule)) => match rule.action() {
                Action::Refuse => {
                    self.tally.request(Said::Refuse);
                    return refusal::by_rule(at);
                }
                Action::Registry => {
                    self.tally.request(Said::Registry);
                    return registry::answer(self, (asked, body)).await;
                }
                Action::Direct => (Said::Direct, None),
                Action::Content(traits) => (Said::Content, Some(wishes.over(traits))),
            },
            None => {
                let is_content = wishes.is_content || is_registrys;
                let traits = is_content.then(|| wishes.over(&Traits::default()));
                (Said::Nothing, traits)
            }
        };
        self.tally.request(said);
        match traits {
            Some(traits) => shared::answer(self, (asked, body), &traits).await,
            None => pass::answer(self, asked, body).await,
        }
    }
}

impl Proxy {
    async fn answer(&self, request: Request<Incoming>, client: Client) -> Answer {
        if !(self.0.admits)(client.peer.ip()) {
            return refusal::stranger();
        }
        if request.method() != Method::CONNECT {
            return self.0.answer(request, (&client.names, client.peer)).await;
        }
        match http::check(Form::Proxy, &client.names, &request) {
            Ok(()) => connect::answer(&self.0, request, client).await,
            Err(error) => refusal::malformed(&error.to_string()),
        }
    }
}

impl Handler for Proxy {
    fn answer<'a>(&'a self, request: Request<Incoming>, client: Client) -> BoxFuture<'a, Answer> {
        Box::pin(async move { self.0.tally.judged(self.answer(request, client).await) })
    }
}
