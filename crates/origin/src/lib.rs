//! The only door to the outside: every byte that Pantala reads from an origin comes through here.
//!
//! [`Origins`] is the door. Behind it:
//! - `dialer` opens connections, and nothing else does: [`DialPolicy`] is asked before a name is looked up and again
//!   about the very address that is dialled.
//! - `ask` sends one request: budget, redirects, counting. Every request of our own passes it.
//! - `web` looks at and reads content behind URLs; `registry` speaks to OCI registries; `body` judges what comes.
//! - `relay` sends on what local clients of the proxy ask themselves.
//! - `budget` bounds what each origin is asked, `retry` says when to try again.
//!
//! What is absent: no other way to a socket, no switch that turns certificate checks off, no credential or query
//! string in any error, log or `Debug`, no task without an owner. See ARCHITECTURE.md, "What is absent".

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, reason = "tests use small numbers")
)]

mod allowed;
mod ask;
mod base64;
mod body;
mod bucket;
mod budget;
mod canonical;
mod config;
mod dialer;
mod flight;
mod header;
mod origins;
mod redirect;
mod registry;
mod relay;
mod retry;
mod shelf;
mod shown;
mod stats;
mod web;

#[cfg(test)]
mod testing;

pub use allowed::{AllowedOrigin, ParseOriginError, Scheme};
pub use ask::AskError;
pub use body::{Body, BodyStream, ReadError};
pub use budget::{Budget, Place};
pub use canonical::canonical_url;
pub use config::{OriginConfig, Patience, Roots};
pub use dialer::{
    Bypass, DialPolicy, HostCa, LookupError, NameTable, Names, Network, ParseHostCaError,
    ParseNetworkError, ParseProxyError, ProxyCredentialsError, ProxyProblem, Refused, RootsError,
    UpstreamProxy,
};
pub use origins::{OriginSetupError, Origins};
pub use redirect::RedirectProblem;
pub use registry::{
    AuthError, BlobHead, CredentialsError, HelperError, Manifest, ManifestError, ManifestHead,
    ParseRealmError, PassAnswer, PassBody, PassError, PassMethod, PassRequest, Reference,
    RegistryClient, TokenRealm,
};
pub use relay::{Relay, RelayBody, Relayed, Tunnel, TunnelStream};
pub use retry::RetryPolicy;
pub use shown::{SecretHeaders, SecretUrl, ShownUrl};
pub use stats::OriginStats;
pub use web::{Request, RequestError, ResolveError, Resolved};
