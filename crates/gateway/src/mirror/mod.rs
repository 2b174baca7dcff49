//! A registry mirror for container runtimes: `hosts.toml` of containerd, mirrors of Podman and Docker.
//!
//! - [`route`]: what a path and query name (pure);
//! - [`blob`]: blobs through the [`ContentReader`];
//! - [`manifest`]: manifests, checked by digest and offered to the store;
//! - [`pass`]: everything else, passed through unchanged;
//! - [`refusal`]: our own errors, in the words of the distribution spec.
//!
//! A mirror changes nothing: blobs and manifests are never re-encoded, challenges and statuses are the registry's own.
//! It has no write side at all: pushes go direct.

mod blob;
mod manifest;
mod pass;
mod refusal;
mod route;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc};

use ::http::{Method, Request, StatusCode, request::Parts};
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use types::RegistryHost;

pub(crate) use self::{
    blob::blob,
    manifest::{Ask as AskManifest, manifest},
    route::{Route, blob_at, route_at},
};
use self::{
    refusal::{Code, refuse},
    route::Target,
};
use crate::{
    Caller, ContentReader, Limits, Manifests, Upstream,
    http::{self, Answer, Client, Handler},
};

/// The header by which the mirror's own answer to `/v2/` tells whose it is.
pub const SIGN: &str = "pantala-mirror";

/// Which registries a request may mean.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    /// Registries that a path may begin with: `/v2/HOST/NAME/...`.
    pub known: Vec<RegistryHost>,
    /// The registry of clients that name none, such as Docker's `registry-mirrors`, which only ever mean `docker.io`.
    pub default: Option<RegistryHost>,
    /// Whether `?ns=` may name a registry that is not `known`: containerd's `_default`. The dialer's rules hold anyway.
    pub any: bool,
}

/// What a mirror stands on.
#[derive(Clone)]
pub struct Backends {
    /// Blobs.
    pub content: Arc<dyn ContentReader>,
    /// The registries themselves.
    pub upstream: Arc<dyn Upstream>,
    /// Manifests that this host holds.
    pub manifests: Arc<dyn Manifests>,
}

/// The registry mirror.
pub struct Mirror {
    backends: Backends,
    registries: Registries,
}

impl Mirror {
    /// A mirror of `registries`.
    pub fn new(backends: Backends, registries: Registries) -> Self {
        Self {
            backends,
            registries,
        }
    }

    /// Answers requests on `listener` until `stop`, then lets running transfers end for [`Limits::grace`].
    pub async fn serve(self, listener: TcpListener, limits: Limits, stop: CancellationToken) {
        http::serve(("registry mirror", listener), Arc::new(self), limits, stop).await;
    }

    async fn answer_head(&self, head: Parts, peer: SocketAddr) -> Answer {
        if ![Method::GET, Method::HEAD].contains(&head.method) {
            return refusal::read_only();
        }
        let target = match Target::parse(head.uri.path(), head.uri.query(), &self.registries) {
            Ok(target) => target,
            Err(error) => return refusal::route(&error),
        };
        debug!(registry = %target.registry_shown(), path = head.uri.path(), "mirror request");
        let asked = Asked {
            is_head: head.method == Method::HEAD,
            headers: head.headers,
            caller: Caller::Tcp(peer),
        };
        match target {
            Target::Unnamed(Some(registry)) if is_docker(&asked.headers) => {
                pass::base(&*self.backends.upstream, asked, registry).await
            }
            Target::Unnamed(_) => refusal::base(),
            Target::At {
                registry,
                query,
                route,
            } => match route {
                Route::Blob { repository, digest } => {
                    blob::answer(
                        &*self.backends.content,
                        asked,
                        (registry, repository, digest),
                    )
                    .await
                }
                Route::Manifest { repository, name } => {
                    let query = query.as_deref();
                    let ask = manifest::Ask {
                        registry,
                        repository,
                        name,
                        query,
                    };
                    manifest::answer(&self.backends, asked, ask).await
                }
                Route::Base => pass::base(&*self.backends.upstream, asked, registry).await,
                Route::Other(path) => {
                    let path = route::with_query(path, query.as_deref());
                    pass::answer(&*self.backends.upstream, asked, (registry, path)).await
                }
            },
        }
    }
}

/// Whether the client only ever means the default registry.
///
/// Docker learns from `/v2/` where to fetch tokens. Podman and skopeo ask the same question before they name a registry
/// in a path: the default registry's challenge would send them for tokens that are worth nothing at theirs.
fn is_docker(headers: &::http::HeaderMap) -> bool {
    let agent = headers.get(::http::header::USER_AGENT);
    agent.is_some_and(|agent| agent.as_bytes().starts_with(b"docker/"))
}

/// What a request says beside what it names.
pub(crate) struct Asked {
    pub(crate) is_head: bool,
    pub(crate) headers: ::http::HeaderMap,
    pub(crate) caller: Caller,
}

impl Handler for Mirror {
    fn answer<'a>(&'a self, request: Request<Incoming>, client: Client) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            if let Err(error) = http::check(http::Form::Own, &client.names, &request) {
                let code = match error.status() {
                    StatusCode::BAD_REQUEST => Code::Unsupported,
                    _ => Code::Denied,
                };
                return refusal::closing(refuse(error.status(), code, &error.to_string()));
            }
            let (head, _body) = request.into_parts();
            self.answer_head(head, client.peer).await
        })
    }
}
