//! What is asked of registries: manifests and blobs as the mirror gives them, all else on as it is.
//!
//! Tags are asked of the registry each time, with the client's own words; what only some may have, each shows his right to.
//! See [`crate::mirror`].

use ::http::{Method, header};
use tracing::debug;
use types::{Digest, RegistryHost, RepoName};

use super::{Asked, Shared, dragonfly, outside::PassedBody, pass, tally::Way};
use crate::{
    Caller,
    http::{Answer, hold},
    mirror::{self, AskManifest, Route},
};

/// Answers a request to a registry.
pub(super) async fn answer(proxy: &Shared, (asked, body): (Asked, PassedBody)) -> Answer {
    match through(proxy, &asked).await {
        Some(answer) => answer,
        None => pass::answer(proxy, asked, body).await,
    }
}

/// The answer for a manifest or a blob; none if it is no such request, or nothing but the registry's own answer will do.
async fn through(proxy: &Shared, asked: &Asked) -> Option<Answer> {
    let registry = registry(proxy, asked)?;
    match mirror::route_at(asked.target.url.path())? {
        Route::Blob { repository, digest } => {
            blob_of(proxy, asked, (registry, repository, digest)).await
        }
        Route::Manifest { repository, name } => {
            let place = proxy.places.take()?;
            let ask = AskManifest {
                registry,
                repository,
                name,
                query: asked.target.url.query(),
            };
            let answer = mirror::manifest(&proxy.backends, as_mirror(asked), ask).await;
            let answer = answer.inspect_err(|error| {
                debug!(
                    error = error as &dyn std::error::Error,
                    "not the mirror's way"
                )
            });
            Some(hold(proxy.tally.counting(Way::Swarm, answer.ok()?), place))
        }
        Route::Base | Route::Other(_) => None,
    }
}

/// The answer to a request for a registry's blob, which goes by its digest; none if it is no such request, or nothing
/// but the registry's own answer will do.
pub(super) async fn blob(proxy: &Shared, asked: &Asked) -> Option<Answer> {
    let (repository, digest) = mirror::blob_at(asked.target.url.path())?;
    let registry = registry(proxy, asked)?;
    blob_of(proxy, asked, (registry, repository, digest)).await
}

async fn blob_of(
    proxy: &Shared,
    asked: &Asked,
    name: (RegistryHost, RepoName, Digest),
) -> Option<Answer> {
    let digest = name.2;
    let place = proxy.places.take()?;
    match mirror::blob(&*proxy.backends.content, as_mirror(asked), name).await {
        Ok(answer) => Some(hold(proxy.tally.counting(Way::Swarm, answer), place)),
        Err(error) => {
            debug!(%digest, error = &error as &dyn std::error::Error, "not through the swarm");
            None
        }
    }
}

/// The registry that is read from, if it is the very server that the mirror would ask.
fn registry(proxy: &Shared, asked: &Asked) -> Option<RegistryHost> {
    let is_read = [Method::GET, Method::HEAD].contains(&asked.method);
    if !is_read || asked.headers.contains_key(header::COOKIE) {
        return None;
    }
    let registry = asked.target.registry().parse().ok()?;
    let is_same = proxy.backends.upstream.is_plain(&registry) != asked.target.is_tls();
    is_same.then_some(registry)
}

fn as_mirror(asked: &Asked) -> mirror::Asked {
    let mut headers = asked.headers.clone();
    dragonfly::strip(&mut headers);
    mirror::Asked {
        is_head: asked.method == Method::HEAD,
        headers,
        caller: Caller::Tcp(asked.peer),
    }
}
