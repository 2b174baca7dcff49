//! What the mirror needs beside blobs: the upstream registry's own words, and manifests that are held here.

use std::{error::Error, io, time::Duration};

use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};
use sha2::{Digest as _, Sha256};
use types::{Digest, DigestAlgorithm, RegistryHost, RepoName, Tag};

use crate::ask::{Caller, OriginHeaders};

/// The largest manifest that is passed on. The spec asks for at least 4 MiB; containerd takes no more than 8 MiB.
pub(crate) const MANIFEST_MAX: usize = 8 << 20;

/// What a manifest's bytes hash to.
pub(crate) fn digest_of(algorithm: DigestAlgorithm, bytes: &[u8]) -> Digest {
    match algorithm {
        DigestAlgorithm::Sha256 => Digest::sha256(Sha256::digest(bytes).into()),
        DigestAlgorithm::Blake3 => Digest::blake3(*blake3::hash(bytes).as_bytes()),
    }
}

/// Passes a request on to a registry and its answer back, both unchanged.
pub trait Upstream: Send + Sync {
    /// Sends the request through the guarded dialer. Redirects are the implementation's to follow.
    ///
    /// Any status is an `Ok`: it is the registry's word. Dropping the future or the body gives up.
    fn pass(
        &self,
        request: UpstreamRequest,
    ) -> BoxFuture<'_, Result<UpstreamResponse, UpstreamError>>;

    /// Whether it is spoken to in plain text.
    fn is_plain(&self, registry: &RegistryHost) -> bool;
}

/// A request without a body.
#[derive(Debug)]
pub struct UpstreamRequest {
    /// Whom to ask, as in an image's name.
    pub registry: RegistryHost,
    /// `HEAD` if set, else `GET`.
    pub head: bool,
    /// Starts with `/v2/`, holds no `ns`.
    pub path_and_query: String,
    /// The client's headers line by line, without those of its connection to us.
    pub headers: HeaderMap,
}

/// The bytes of an answer. An error means that it is incomplete.
pub type UpstreamBody = BoxStream<'static, Result<Bytes, io::Error>>;

/// The registry's answer.
pub struct UpstreamResponse {
    /// As it came.
    pub status: StatusCode,
    /// As they came.
    pub headers: HeaderMap,
    /// As it came: never decoded.
    pub body: UpstreamBody,
}

/// A small answer of an origin, kept whole so that it can be relayed as it came.
#[derive(Clone, Debug)]
pub struct OriginAnswer {
    /// 401 or 403, most often.
    pub status: StatusCode,
    /// With every `WWW-Authenticate` line.
    pub headers: HeaderMap,
    /// At most some KiB.
    pub body: Bytes,
}

/// Why there is no answer of the registry.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It could not be reached.
    #[error("the registry cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// This host's budget for the registry is used up.
    #[error("too many requests to the registry")]
    Busy {
        /// When to come again.
        retry_after: Option<Duration>,
        /// Whether its last answer was none, or an error of its own.
        is_failing: bool,
    },
    /// What this host has to show for it is not taken.
    #[error("the registry is not to be asked with what this host shows it")]
    Unauthorized(#[source] Box<dyn Error + Send + Sync>),
    /// A rule that an operator set forbids it.
    #[error("refused by policy: {0}")]
    Policy(String),
}

/// Manifests that this host holds. The implementation decides who may have which: what was read with credentials is
/// only for who proves access at the origin.
pub trait Manifests: Send + Sync {
    /// A manifest asked by digest, if it is held and the caller may have it. While the origin cannot be reached, only
    /// one whose whole closure for a platform is held.
    fn held<'a>(&'a self, ask: &'a ManifestAsk) -> BoxFuture<'a, Option<HeldManifest>>;

    /// What a tag meant when the origin was last heard. Called only while the origin cannot be reached or fails; `None` unless
    /// an operator chose to serve stale tags.
    fn stale<'a>(&'a self, ask: &'a ManifestAsk) -> BoxFuture<'a, Option<StaleManifest>>;

    /// The registry just said what the tag that is asked for means, or that there is none.
    fn said(&self, ask: &ManifestAsk, meaning: Option<Digest>);

    /// Offers a manifest that the registry just gave to this caller and whose digest was checked. Returns at once: the
    /// caller's answer waits for it.
    fn keep(&self, ask: &ManifestAsk, manifest: &HeldManifest);
}

/// A request for a manifest.
#[derive(Clone, Debug)]
pub struct ManifestAsk {
    /// The registry.
    pub registry: RegistryHost,
    /// The repository.
    pub repository: RepoName,
    /// Which one.
    pub name: ManifestName,
    /// Who asks.
    pub caller: Caller,
    /// What the caller shows the registry.
    pub headers: OriginHeaders,
}

/// How a manifest is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestName {
    /// By what it is called today.
    Tag(Tag),
    /// By what it is.
    Digest(Digest),
}

/// A manifest with its exact bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldManifest {
    /// What its bytes hash to.
    pub digest: Digest,
    /// The registry's `Content-Type`.
    pub media_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// What a tag meant some time ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleManifest {
    /// The manifest.
    pub manifest: HeldManifest,
    /// Since when the origin was not heard about it; shown to the client.
    pub age: Duration,
}
