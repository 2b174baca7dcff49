//! What the tests of the doors stand on: content in a real file whose verified part grows on command, and a registry
//! whose answers are scripted.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::PathBuf,
    sync::{Arc, Mutex},
};

use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use types::{ByteCount, ByteRange, Digest, RegistryHost, TaskId};

use crate::{
    ContentAsk, ContentReader, Description, HeldManifest, ManifestAsk, ManifestName, Manifests,
    OpenError, Opened, Proof, ReadError, SourceBytes, StaleManifest, Upstream, UpstreamError,
    UpstreamRequest, UpstreamResponse, VerifiedReader, Wanted,
};

/// How far a content is, and what happens there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    pub(crate) verified: u64,
    /// Reading beyond `verified` fails instead of waiting.
    pub(crate) is_broken: bool,
    /// What `finish` says; waits while `None`.
    pub(crate) proof: Option<bool>,
    /// Reads give one byte too few.
    pub(crate) is_short: bool,
}

/// One content, as a daemon would give it.
pub(crate) struct TestContent {
    _folder: tempfile::TempDir,
    path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) script: watch::Sender<Script>,
    pub(crate) readers: watch::Sender<usize>,
    pub(crate) proofs: Mutex<Vec<Proof>>,
    pub(crate) asks: Mutex<Vec<ContentAsk>>,
    pub(crate) refusal: Mutex<Option<OpenError>>,
    /// Descriptors may be written through: what a daemon must never do.
    pub(crate) leaks_writable: bool,
}

impl TestContent {
    pub(crate) fn of(length: usize) -> Self {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("content");
        std::fs::write(&path, &bytes).expect("a file");
        let script = Script {
            verified: length as u64,
            is_broken: false,
            proof: Some(true),
            is_short: false,
        };
        Self {
            _folder: folder,
            path,
            digest: Digest::sha256(Sha256::digest(&bytes).into()),
            bytes,
            script: watch::Sender::new(script),
            readers: watch::Sender::new(0),
            proofs: Mutex::default(),
            asks: Mutex::default(),
            refusal: Mutex::default(),
            leaks_writable: false,
        }
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Script)) {
        self.script.send_modify(change);
    }

    /// Waits until so many readers are open.
    pub(crate) async fn until_readers(&self, count: usize) {
        let mut readers = self.readers.subscribe();
        readers.wait_for(|now| *now == count).await.expect("lives");
    }

    fn find(&self, ask: &ContentAsk) -> Result<Description, OpenError> {
        self.asks.lock().expect("a lock").push(ask.clone());
        if let Some(refusal) = self.refusal.lock().expect("a lock").take() {
            return Err(refusal);
        }
        if matches!(&ask.wanted, Wanted::Blob { digest, .. } if *digest != self.digest) {
            return Err(OpenError::NotFound("/f answered 404".into()));
        }
        Ok(Description {
            task: TaskId::from_bytes([7; 32]),
            length: ByteCount(self.bytes.len() as u64),
            content_type: None,
        })
    }
}

/// A shared [`TestContent`].
pub(crate) struct Shared(pub(crate) Arc<TestContent>);

impl ContentReader for Shared {
    fn open<'a>(&'a self, ask: &'a ContentAsk) -> BoxFuture<'a, Result<Opened, OpenError>> {
        Box::pin(async move {
            let description = self.0.find(ask)?;
            self.0.readers.send_modify(|count| *count += 1);
            Ok(Opened {
                description,
                reader: Box::new(TestReader {
                    content: Arc::clone(&self.0),
                    file: File::open(&self.0.path).expect("a file"),
                }),
            })
        })
    }

    fn describe<'a>(
        &'a self,
        ask: &'a ContentAsk,
    ) -> BoxFuture<'a, Result<Description, OpenError>> {
        Box::pin(async move { self.0.find(ask) })
    }
}

struct TestReader {
    content: Arc<TestContent>,
    file: File,
}

impl Drop for TestReader {
    fn drop(&mut self) {
        self.content.readers.send_modify(|count| *count -= 1);
    }
}

impl VerifiedReader for TestReader {
    fn ready(&mut self, at: u64) -> BoxFuture<'_, Result<ByteRange, ReadError>> {
        Box::pin(async move {
            let mut script = self.content.script.subscribe();
            let now = *script
                .wait_for(|script| script.verified > at || script.is_broken)
                .await
                .expect("lives");
            if now.verified > at {
                Ok(ByteRange::new(at, now.verified).expect("a range"))
            } else {
                Err(ReadError::NoSource("scripted".into()))
            }
        })
    }

    fn read(&mut self, range: ByteRange) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        Box::pin(async move {
            let script = *self.content.script.borrow();
            assert!(range.end() <= script.verified, "read of unverified bytes");
            let length = range.length().0 as usize - usize::from(script.is_short);
            let mut bytes = vec![0; length];
            self.file
                .read_exact_at(&mut bytes, range.start())
                .map_err(ReadError::Store)?;
            Ok(bytes.into())
        })
    }

    fn finish(&mut self, proof: Proof) -> BoxFuture<'_, Result<Option<Digest>, ReadError>> {
        Box::pin(async move {
            self.content.proofs.lock().expect("a lock").push(proof);
            let mut script = self.content.script.subscribe();
            let now = *script
                .wait_for(|script| script.proof.is_some())
                .await
                .expect("lives");
            let expected = self.content.digest;
            match now.proof {
                Some(true) => Ok(Some(expected)),
                _ => Err(ReadError::Corrupt {
                    expected,
                    found: None,
                    origin: None,
                }),
            }
        })
    }

    fn descriptor(&self) -> io::Result<OwnedFd> {
        if self.content.leaks_writable {
            return Ok(File::options()
                .read(true)
                .write(true)
                .open(&self.content.path)?
                .into());
        }
        self.file.as_fd().try_clone_to_owned()
    }

    fn sources(&self) -> SourceBytes {
        SourceBytes {
            local: 1,
            peer: 2,
            origin: 3,
        }
    }
}

/// What a scripted registry answers: status, headers, body parts; `None` in the body breaks it off.
#[derive(Clone, Default)]
pub(crate) struct Scripted {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<Option<Bytes>>,
}

/// A registry and a store of manifests.
#[derive(Default)]
pub(crate) struct TestRegistry {
    /// By path and query; what is not here cannot be reached.
    pub(crate) answers: Mutex<BTreeMap<String, Scripted>>,
    pub(crate) seen: Mutex<Vec<UpstreamRequest>>,
    pub(crate) held: Mutex<Vec<HeldManifest>>,
    pub(crate) stale: Mutex<Option<StaleManifest>>,
    pub(crate) said: Mutex<Vec<(String, Option<Digest>)>>,
}

impl TestRegistry {
    pub(crate) fn script(&self, path: &str, answer: Scripted) {
        let mut answers = self.answers.lock().expect("a lock");
        answers.insert(path.to_owned(), answer);
    }
}

impl Upstream for TestRegistry {
    fn pass(
        &self,
        request: UpstreamRequest,
    ) -> BoxFuture<'_, Result<UpstreamResponse, UpstreamError>> {
        let answer = self
            .answers
            .lock()
            .expect("a lock")
            .get(&request.path_and_query)
            .cloned();
        self.seen.lock().expect("a lock").push(request);
        Box::pin(async move {
            let answer = answer.ok_or_else(|| UpstreamError::Unreachable("scripted".into()))?;
            let mut headers = HeaderMap::new();
            for (name, value) in answer.headers {
                headers.append(name, value.parse().expect("a header value"));
            }
            let parts = answer.body.into_iter().map(|part| {
                part.ok_or_else(|| io::Error::new(io::ErrorKind::ConnectionReset, "scripted"))
            });
            Ok(UpstreamResponse {
                status: StatusCode::from_u16(answer.status).expect("a status"),
                headers,
                body: stream::iter(parts).boxed(),
            })
        })
    }

    fn is_plain(&self, registry: &RegistryHost) -> bool {
        !registry.as_str().contains(':')
    }
}

impl Manifests for TestRegistry {
    fn held<'a>(&'a self, ask: &'a ManifestAsk) -> BoxFuture<'a, Option<HeldManifest>> {
        Box::pin(async move {
            let held = self.held.lock().expect("a lock");
            held.iter()
                .find(|held| ask.name == ManifestName::Digest(held.digest))
                .cloned()
        })
    }

    fn stale<'a>(&'a self, _ask: &'a ManifestAsk) -> BoxFuture<'a, Option<StaleManifest>> {
        Box::pin(async move { self.stale.lock().expect("a lock").clone() })
    }

    fn said(&self, ask: &ManifestAsk, meaning: Option<Digest>) {
        if let ManifestName::Tag(tag) = &ask.name {
            let said = (tag.to_string(), meaning);
            self.said.lock().expect("a lock").push(said);
        }
    }

    fn keep(&self, _ask: &ManifestAsk, manifest: &HeldManifest) {
        self.held.lock().expect("a lock").push(manifest.clone());
    }
}
