//! The proof that the mirror serves, before any engine is pointed at it: what an engine would ask, over the same socket.

use std::{error::Error, net::SocketAddr, time::Duration};

use bytes::Bytes;
use gateway::{ImageName, ManifestName, mirror::SIGN};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use runtime::Wanted;
use sha2::{Digest as _, Sha256};
use tokio::{task::JoinSet, time::timeout};
use types::Digest;

use super::ALL;
use crate::{
    commands::get::plan::{self, Document, Platforms},
    dial::{PATIENCE, try_reach},
};

/// For an answer that may have to come from a registry.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// For a whole image's smallest parts.
const PROOF_MAX: Duration = Duration::from_secs(120);
const MANIFEST_MAX: usize = 4 << 20;
const KINDS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                     application/vnd.docker.distribution.manifest.list.v2+json, \
                     application/vnd.docker.distribution.manifest.v2+json";

/// Why the mirror is not to be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    /// Nobody is there.
    #[error("nobody listens at {0}")]
    Nobody(SocketAddr, #[source] std::io::Error),
    /// Something takes connections and is silent: an engine would wait for it at each pull.
    #[error("what listens at {0} does not answer")]
    Silent(SocketAddr),
    /// Something else is there.
    #[error("what listens at {0} is not the mirror ({1})")]
    Other(SocketAddr, String),
    /// No registry.
    #[error("the mirror reaches none of its registries: {0}")]
    Registries(String),
    /// A part of an image.
    #[error("the mirror answers {status} to {path}")]
    Status {
        /// What was asked.
        path: String,
        /// What came.
        status: StatusCode,
    },
    /// The answer broke off.
    #[error("asking the mirror for {path}")]
    Ask {
        /// What was asked.
        path: String,
        /// Why.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
    /// The bytes are not what was asked for.
    #[error("what the mirror gave for {0} is something else")]
    Corrupt(String),
}

impl ProbeError {
    /// What to do about it.
    pub(crate) fn next_step(&self) -> &'static str {
        match self {
            Self::Nobody(..) => "start the daemon, or see whether mirror.listen is another address",
            Self::Silent(_) | Self::Other(..) => {
                "see who it is (`ss -ltnp`) and stop it, or change mirror.listen; engines that were pointed there: \
                 `pantala runtime undo`"
            }
            Self::Registries(_) => {
                "see `pantala doctor`; where none can be asked without a login, name an image that can be pulled: --probe, \
                 runtime.probe"
            }
            Self::Status { .. } | Self::Ask { .. } | Self::Corrupt(_) => {
                "see whether the image can be pulled without the mirror, and the daemon's log"
            }
        }
    }
}

/// Asks the mirror, as an engine would: for `image`, whole but for its larger layers; else whether it is the mirror and
/// reaches one of the registries that are wanted by name.
pub(crate) async fn prove(wanted: &Wanted, image: Option<&ImageName>) -> Result<(), ProbeError> {
    sign(wanted.mirror).await?;
    let proof = async {
        match image {
            Some(image) => pull(wanted.mirror, image).await,
            None => reach(wanted).await,
        }
    };
    let proved = timeout(PROOF_MAX, proof).await;
    proved.unwrap_or(Err(ProbeError::Silent(wanted.mirror)))
}

/// Whether it is our mirror that listens at `mirror`; tells its version.
pub(crate) async fn sign(mirror: SocketAddr) -> Result<String, ProbeError> {
    let answer = timeout(PATIENCE, ask(mirror, "/v2/", |_| true)).await;
    let answer = answer.map_err(|_| ProbeError::Silent(mirror))?;
    let answer = match answer {
        Ok(answer) => answer,
        Err(ProbeError::Ask { cause, .. }) => {
            return Err(ProbeError::Other(mirror, cause.to_string()));
        }
        Err(error) => return Err(error),
    };
    answer.sign.ok_or_else(|| {
        let status = answer.status;
        ProbeError::Other(mirror, format!("it answers {status} to /v2/"))
    })
}

/// One of the named registries must answer through the mirror; its challenge is as good as its yes.
async fn reach(wanted: &Wanted) -> Result<(), ProbeError> {
    let mut asked = JoinSet::new();
    for registry in wanted.registries.iter().filter(|it| *it != ALL).cloned() {
        let mirror = wanted.mirror;
        asked.spawn(async move {
            let answer = ask(mirror, &format!("/v2/?ns={registry}"), |_| true).await;
            (registry, answer.map(|it| it.status))
        });
    }
    if asked.is_empty() {
        return Ok(());
    }
    let mut silent = Vec::new();
    while let Some(joined) = asked.join_next().await {
        match joined {
            Ok((_, Ok(StatusCode::OK | StatusCode::UNAUTHORIZED))) => return Ok(()),
            Ok((registry, Ok(status))) => silent.push(format!("{registry} gives {status}")),
            Ok((registry, Err(error))) => silent.push(format!("{registry}: {error}")),
            Err(error) => silent.push(error.to_string()),
        }
    }
    silent.sort();
    Err(ProbeError::Registries(silent.join(", ")))
}

/// The manifest for this platform, its configuration and its smallest layer, each held against its digest.
async fn pull(mirror: SocketAddr, image: &ImageName) -> Result<(), ProbeError> {
    let path = |kind: &str, name: &dyn std::fmt::Display| {
        let ImageName {
            registry,
            repository,
            ..
        } = image;
        format!("/v2/{repository}/{kind}/{name}?ns={registry}")
    };
    let first = match &image.name {
        ManifestName::Tag(tag) => path("manifests", &tag),
        ManifestName::Digest(digest) => path("manifests", &digest),
    };
    let mut bytes = body(mirror, &first, MANIFEST_MAX).await?;
    if let ManifestName::Digest(digest) = image.name {
        is(&first, &digest, &bytes)?;
    }
    let read = |path: &str, bytes: &[u8]| {
        plan::read(bytes)
            .map(|(document, _)| document)
            .map_err(|_| ProbeError::Corrupt(path.to_owned()))
    };
    let mut document = read(&first, &bytes)?;
    if let Document::Index(manifests) = &document {
        let Platforms::One(here) = Platforms::here() else {
            return Err(ProbeError::Corrupt(first));
        };
        let chosen = plan::choose(manifests, &here).or_else(|| manifests.first().cloned());
        let chosen = chosen.ok_or_else(|| ProbeError::Corrupt(first.clone()))?;
        let path = path("manifests", &chosen.digest);
        bytes = body(mirror, &path, MANIFEST_MAX).await?;
        is(&path, &chosen.digest, &bytes)?;
        document = read(&path, &bytes)?;
    }
    let Document::Image { config, layers } = document else {
        return Err(ProbeError::Corrupt(first));
    };
    let layer = layers.into_iter().min_by_key(|layer| layer.size);
    for part in std::iter::once(config).chain(layer) {
        let path = path("blobs", &part.digest);
        hash(mirror, &path, &part.digest).await?;
    }
    Ok(())
}

fn is(path: &str, digest: &Digest, bytes: &[u8]) -> Result<(), ProbeError> {
    let found = Digest::sha256(Sha256::digest(bytes).into());
    if found == *digest {
        Ok(())
    } else {
        Err(ProbeError::Corrupt(path.to_owned()))
    }
}

/// What came before the body.
struct Head {
    status: StatusCode,
    sign: Option<String>,
}

type Failure = Box<dyn Error + Send + Sync>;

/// One request on a connection of its own; `take` gets the body part by part, and says whether it wants more.
async fn ask(
    mirror: SocketAddr,
    path: &str,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<Head, ProbeError> {
    let stream = try_reach(&mirror.ip().to_string(), mirror.port()).await;
    let stream = stream.map_err(|error| ProbeError::Nobody(mirror, error))?;
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(path)
            .header(header::HOST, mirror.to_string())
            .header(header::ACCEPT, KINDS)
            .body(Empty::<Bytes>::new())?;
        let talk = async {
            let mut answer = timeout(ANSWER_MAX, sender.send_request(request)).await??;
            let sign = answer.headers().get(SIGN);
            let head = Head {
                status: answer.status(),
                sign: sign.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned()),
            };
            while let Some(frame) = answer.frame().await {
                let part = frame?.into_data();
                if part.is_ok_and(|part| !take(&part)) {
                    return Err("the answer is too long".into());
                }
            }
            Ok::<_, Failure>(head)
        };
        tokio::pin!(talk);
        tokio::select! {
            head = &mut talk => head,
            // What came with the end is still to be read.
            ended = connection => {
                ended?;
                talk.await
            }
        }
    };
    exchange.await.map_err(|cause: Failure| ProbeError::Ask {
        path: path.to_owned(),
        cause,
    })
}

/// The answer to `path`, which is `OK` and at most `length_max` long.
async fn body(mirror: SocketAddr, path: &str, length_max: usize) -> Result<Vec<u8>, ProbeError> {
    let mut bytes = Vec::new();
    let take = |part: &[u8]| {
        bytes.extend_from_slice(part);
        bytes.len() <= length_max
    };
    let head = ask(mirror, path, take).await?;
    good(path, &head)?;
    Ok(bytes)
}

/// The answer to `path` is `OK` and hashes to `digest`.
async fn hash(mirror: SocketAddr, path: &str, digest: &Digest) -> Result<(), ProbeError> {
    let mut hasher = Sha256::new();
    let take = |part: &[u8]| {
        hasher.update(part);
        true
    };
    let head = ask(mirror, path, take).await?;
    good(path, &head)?;
    match Digest::sha256(hasher.finalize().into()) {
        found if found == *digest => Ok(()),
        _ => Err(ProbeError::Corrupt(path.to_owned())),
    }
}

fn good(path: &str, head: &Head) -> Result<(), ProbeError> {
    match head.status {
        StatusCode::OK => Ok(()),
        status => Err(ProbeError::Status {
            path: path.to_owned(),
            status,
        }),
    }
}
