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
    /// The port is another user's.
    #[error("user {1} listens at {0}, and the daemon is user {2}'s")]
    Stranger(SocketAddr, u32, u32),
    /// The system does not tell.
    #[error("whose socket listens at {0} cannot be seen")]
    Hidden(SocketAddr, #[source] std::io::Error),
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
            Self::Hidden(..) => {
                "run it where the daemon runs: in its network namespace, with /proc"
            }
            Self::Silent(_) | Self::Other(..) | Self::Stranger(..) => {
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

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        io::{Read, Write},
        net::TcpListener,
    };

    use super::*;

    const SIGNED: &str = "200 OK\r\npantala-mirror: 0";

    fn digest(bytes: &str) -> String {
        Digest::sha256(Sha256::digest(bytes).into()).to_string()
    }

    /// An image of two layers at registry.corp, by what is asked: status with headers, and body.
    fn image() -> BTreeMap<String, (String, String)> {
        let part = |bytes: &str| {
            format!(
                "{{\"digest\":\"{}\",\"size\":{}}}",
                digest(bytes),
                bytes.len()
            )
        };
        let manifest = format!(
            "{{\"schemaVersion\":2,\"config\":{},\"layers\":[{},{}]}}",
            part("{}"),
            part("a large layer"),
            part("small")
        );
        let index = format!(
            "{{\"schemaVersion\":2,\"manifests\":[{}]}}",
            part(&manifest)
        );
        let blob = |bytes: &str| format!("/v2/a/blobs/{}?ns=registry.corp", digest(bytes));
        let answers = [
            ("/v2/".to_owned(), SIGNED, "{}"),
            ("/v2/?ns=registry.corp".into(), "401 Unauthorized", ""),
            (
                "/v2/a/manifests/v1?ns=registry.corp".into(),
                "200 OK",
                &index,
            ),
            (
                format!("/v2/a/manifests/{}?ns=registry.corp", digest(&manifest)),
                "200 OK",
                &manifest,
            ),
            (blob("{}"), "200 OK", "{}"),
            (blob("small"), "200 OK", "small"),
        ];
        answers
            .map(|(path, status, body)| (path, (status.to_owned(), body.to_owned())))
            .into()
    }

    /// What is proved of a mirror that answers so, and `404` to everything else.
    async fn check(
        answers: BTreeMap<String, (String, String)>,
        name: Option<&str>,
    ) -> Result<(), ProbeError> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mirror = listener.local_addr().expect("an address");
        // It ends with the process: a test asks as often as it likes.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|it| it == 1)
                {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default();
                let missing = ("404 Not Found".to_owned(), String::new());
                let (status, body) = answers.get(path).unwrap_or(&missing);
                let length = body.len();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let wanted = Wanted {
            mirror,
            registries: vec![ALL.into(), "registry.corp".into()],
            default: None,
            in_paths: Vec::new(),
            digests_only: false,
        };
        let name = name.map(|name| name.parse().expect("an image"));
        prove(&wanted, name.as_ref()).await
    }

    const IMAGE: Option<&str> = Some("registry.corp/a:v1");

    #[tokio::test]
    async fn an_image_that_comes_whole_is_a_proof_and_its_larger_layer_is_not_asked_for() {
        check(image(), IMAGE).await.expect("proved");
        let absent = Some("registry.corp/a:v2");
        assert!(matches!(
            check(image(), absent).await,
            Err(ProbeError::Status { .. })
        ));
    }

    #[tokio::test]
    async fn one_wrong_byte_is_none() {
        for path in image().into_keys().filter(|path| path.contains("sha256")) {
            let mut answers = image();
            answers.get_mut(&path).expect("it is there").1.push(' ');
            let proved = check(answers, IMAGE).await;
            assert!(
                matches!(proved, Err(ProbeError::Corrupt(_))),
                "{path}: {proved:?}"
            );
        }
        let pinned = format!("registry.corp/a@{}", digest("another"));
        let mut answers = image();
        let index = answers["/v2/a/manifests/v1?ns=registry.corp"].clone();
        answers.insert(
            format!("/v2/a/manifests/{}?ns=registry.corp", digest("another")),
            index,
        );
        let proved = check(answers, Some(&pinned)).await;
        assert!(matches!(proved, Err(ProbeError::Corrupt(_))), "{proved:?}");
    }

    #[tokio::test]
    async fn without_an_image_a_registry_must_answer_through_the_mirror() {
        check(image(), None).await.expect("proved");
        let mut answers = image();
        let registry = answers
            .get_mut("/v2/?ns=registry.corp")
            .expect("it is there");
        registry.0 = "502 Bad Gateway".into();
        let proved = check(answers, None).await;
        assert!(
            matches!(&proved, Err(ProbeError::Registries(told)) if told.contains("502")),
            "{proved:?}"
        );
    }

    #[tokio::test]
    async fn another_registry_is_not_the_mirror() {
        let mut answers = image();
        answers.get_mut("/v2/").expect("it is there").0 = "200 OK".into();
        for name in [None, IMAGE] {
            let proved = check(answers.clone(), name).await;
            assert!(matches!(proved, Err(ProbeError::Other(..))), "{proved:?}");
        }
    }
}
