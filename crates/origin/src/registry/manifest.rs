//! Manifests: small, whole, and checked against their digest before anybody sees them.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header as name};
use sha2::{Digest as _, Sha256};
use types::{ByteCount, Digest, DigestAlgorithm, RepoName, Tag, Visibility};

use super::client::{RegistryClient, plain_headers};
use crate::{
    ask::{Answer, Ask, AskError},
    header,
    shown::ShownUrl,
};

/// The distribution spec asks registries to take manifests of at least 4 MiB; nobody makes larger ones.
const MANIFEST_MAX: usize = 4 << 20;

/// What an image's name ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A name that may move.
    Tag(Tag),
    /// The content itself.
    Digest(Digest),
}

impl fmt::Display for Reference {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(to),
            Self::Digest(digest) => digest.fmt(to),
        }
    }
}

/// A manifest whose bytes have this digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Its media type, verbatim.
    pub media_type: Option<String>,
    /// The exact bytes.
    pub bytes: Bytes,
    /// Public, if nobody in particular may have it.
    pub visibility: Visibility,
}

/// What a registry says of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// What the reference points at now, if the registry tells.
    pub digest: Option<Digest>,
    /// Its media type, verbatim.
    pub media_type: Option<String>,
    /// Its length, if the registry tells.
    pub length: Option<ByteCount>,
    /// Public, if nobody in particular may have it.
    pub visibility: Visibility,
}

/// Why there is no manifest.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ManifestError {
    /// No usable answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The bytes are not those that were asked for, or that the registry announced.
    #[error("{url} gave {found} where {expected} was due")]
    Corrupt {
        /// What was asked.
        url: ShownUrl,
        /// What the bytes are.
        found: Digest,
        /// What they must be.
        expected: Digest,
    },
    /// More bytes than a manifest has.
    #[error("{url} gave more than the {MANIFEST_MAX} bytes that a manifest may have")]
    TooLong {
        /// What was asked.
        url: ShownUrl,
    },
}

impl ManifestError {
    /// Whether asking again would fare the same.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Ask(ask) => ask.is_permanent(),
            Self::Corrupt { .. } => false,
            Self::TooLong { .. } => true,
        }
    }

    /// How long the registry wants to be left alone, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Ask(ask) => ask.retry_after(),
            _ => None,
        }
    }
}

impl RegistryClient {
    /// Reads a manifest. `accept` lists the media types that the caller understands, each as one line.
    pub async fn manifest(
        &self,
        repository: &RepoName,
        reference: &Reference,
        accept: &[HeaderValue],
    ) -> Result<Manifest, ManifestError> {
        let mut tries = self.inner.tries();
        loop {
            let failed = match self.manifest_once(repository, reference, accept).await {
                Ok(manifest) => return Ok(manifest),
                Err(ManifestError::Ask(failed)) => failed,
                Err(other) => return Err(other),
            };
            tries.pause_or(failed).await?;
        }
    }

    /// Looks at a manifest: what a tag points at now.
    pub async fn manifest_head(
        &self,
        repository: &RepoName,
        reference: &Reference,
        accept: &[HeaderValue],
    ) -> Result<ManifestHead, AskError> {
        let mut tries = self.inner.tries();
        loop {
            let asked = self
                .ask_manifest(Method::HEAD, (repository, reference), accept)
                .await;
            match asked {
                Ok(answer) => {
                    return Ok(ManifestHead {
                        digest: told_digest(&answer.headers),
                        media_type: media_type(&answer.headers),
                        length: header::content_length(&answer.headers).map(ByteCount),
                        visibility: self.visibility(),
                    });
                }
                Err(failed) => tries.pause_or(failed).await?,
            }
        }
    }

    async fn manifest_once(
        &self,
        repository: &RepoName,
        reference: &Reference,
        accept: &[HeaderValue],
    ) -> Result<Manifest, ManifestError> {
        let answer = self
            .ask_manifest(Method::GET, (repository, reference), accept)
            .await?;
        let url = ShownUrl::of(&answer.url);
        let media_type = media_type(&answer.headers);
        let told = told_digest(&answer.headers);
        let bytes = answer.body.collect(MANIFEST_MAX).await?;
        let Some(bytes) = bytes else {
            return Err(ManifestError::TooLong { url });
        };
        let digest = Digest::sha256(Sha256::digest(&bytes).into());
        let asked = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => None,
        };
        for expected in asked.into_iter().chain(told) {
            // Registries name content by SHA-256; another function's value cannot be compared here.
            if expected.algorithm() == DigestAlgorithm::Sha256 && expected != digest {
                let found = digest;
                return Err(ManifestError::Corrupt {
                    url,
                    found,
                    expected,
                });
            }
        }
        Ok(Manifest {
            digest,
            media_type,
            bytes,
            visibility: self.visibility(),
        })
    }

    async fn ask_manifest(
        &self,
        method: Method,
        (repository, reference): (&RepoName, &Reference),
        accept: &[HeaderValue],
    ) -> Result<Answer, AskError> {
        let url = self.url(repository, &format!("manifests/{reference}"))?;
        let mut headers = plain_headers();
        for line in accept {
            headers.append(name::ACCEPT, line.clone());
        }
        let answer = self.ask(repository, Ask::new(method, url, headers)).await?;
        if answer.status == StatusCode::OK {
            Ok(answer)
        } else {
            Err(answer.as_error())
        }
    }
}

fn told_digest(headers: &HeaderMap) -> Option<Digest> {
    let name = http::HeaderName::from_static("docker-content-digest");
    header::single(headers, &name)?.parse().ok()
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    header::single(headers, &name::CONTENT_TYPE).map(str::to_owned)
}
