//! A real origin on loopback and doors over a real store, for tests.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use gateway::{Caller, Class, ContentAsk, Opened, OriginHeaders, Wanted};
use http::{HeaderName, HeaderValue};
use origin::{OriginConfig, Origins, RetryPolicy, Roots};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use store::{Store, StoreConfig};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use types::{ByteCount, ByteRange, Digest, Layout, RegistryHost, Source, TaskId, Visibility};

use super::{Doors, DoorsConfig, DoorsParts, Health};
use crate::{
    access::Accesses,
    handle::{Command, Handle},
    metrics::Metrics,
    task::TaskSpec,
};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) lines: Vec<(String, String)>,
}

impl Seen {
    pub(crate) fn line(&self, name: &str) -> Option<&str> {
        let line = self.lines.iter().find(|(one, _)| one == name)?;
        Some(&line.1)
    }
}

/// An answer: the status, header lines, the body.
pub(crate) type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

type Answers = dyn Fn(&Seen) -> Answer + Send + Sync;

/// An origin that answers each connection once.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    accepting: Mutex<JoinSet<()>>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (record, answer): (_, Arc<Answers>) = (Arc::clone(&seen), Arc::new(answer));
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (record, answer) = (Arc::clone(&record), Arc::clone(&answer));
                // A client may hang up at any time; tests look at what it got.
                connections.spawn(async move { drop(converse(stream, &record, &*answer).await) });
            }
        });
        Self {
            address,
            seen,
            accepting: Mutex::new(accepting),
        }
    }

    /// Answers nobody from now on.
    pub(crate) async fn stop(&self) {
        let mut accepting = std::mem::take(&mut *self.accepting.lock());
        accepting.shutdown().await;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

async fn converse(
    mut stream: TcpStream,
    record: &Mutex<Vec<Seen>>,
    answer: &Answers,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut rows = text.split("\r\n");
    let mut first = rows.next().unwrap_or_default().split(' ');
    let mut word = || first.next().unwrap_or_default().to_owned();
    let seen = Seen {
        method: word(),
        target: word(),
        lines: rows
            .filter_map(|row| row.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
    };
    record.lock().push(seen.clone());
    let (status, lines, body) = answer(&seen);
    let mut head = format!("HTTP/1.1 {status} Test\r\nconnection: close\r\n");
    if !lines.iter().any(|(name, _)| *name == "x-no-length") {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in lines {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    if seen.method != "HEAD" {
        stream.write_all(&body).await?;
    }
    stream.shutdown().await
}

/// Doors over a real store; the test answers for the core.
pub(super) struct World {
    pub(super) doors: Doors,
    pub(super) store: Store,
    pub(super) accesses: Accesses,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) server: Server,
    _dir: TempDir,
}

/// Doors over that store and what they keep beside it, whose core is whoever gets the commands.
pub(super) fn doors(
    core: mpsc::Sender<Command>,
    (store, data_dir): (Store, PathBuf),
    (origins, accesses): (Origins, Accesses),
    is_scheduled: bool,
) -> Doors {
    let parts = DoorsParts {
        handle: Handle::new(core),
        origins,
        store,
        accesses,
        metrics: Metrics::default(),
        health: Health::default(),
    };
    let config = DoorsConfig {
        data_dir,
        fill: false,
        manifests_max: ByteCount::mib(8),
        stale_if_error: Some(std::time::Duration::from_secs(60)),
        proofs: super::ProofPolicy::default(),
        tunnel_ports: Vec::new(),
        is_scheduled,
        host: "host".into(),
        cluster: "cluster".into(),
        version: "0".into(),
        started: crate::config::Started::default(),
    };
    Doors::new(parts, config).expect("doors")
}

impl World {
    pub(super) async fn new(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::with(answer, false).await
    }

    /// With `is_scheduled`, the doors ask what the cluster knows before they look themselves.
    pub(super) async fn with(
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
        is_scheduled: bool,
    ) -> Self {
        Self::of(answer, (is_scheduled, None), |_, _| {}).await
    }

    /// A world with a second origin.
    pub(super) async fn beside(
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
        other: &Server,
    ) -> Self {
        Self::of(answer, (false, Some(other.address)), |_, _| {}).await
    }

    /// A world whose host lends its credentials, ann's password, to everybody.
    pub(super) async fn lending(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_owned();
        let lend = |config: &mut OriginConfig, registry: &RegistryHost| {
            // ann:s3cret
            let auth = format!(r#"{{"auths":{{"{registry}":{{"auth":"YW5uOnMzY3JldA=="}}}}}}"#);
            std::fs::write(&path, auth).expect("written");
            (config.docker_config, config.lent) = (Some(path), vec![registry.clone()]);
        };
        // The file is read at once.
        Self::of(answer, (false, None), lend).await
    }

    async fn of(
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
        (is_scheduled, other): (bool, Option<SocketAddr>),
        shape: impl FnOnce(&mut OriginConfig, &RegistryHost),
    ) -> Self {
        let server = Server::start(answer).await;
        let dir = tempfile::tempdir().expect("a directory");
        let data_dir = dir.path().join("data");
        let config = StoreConfig {
            free_floor: ByteCount::ZERO,
            ..StoreConfig::new(&data_dir)
        };
        let (store, _) = Store::open(config).expect("a store");
        let listed = [server.address].into_iter().chain(other);
        let listed = listed.map(|address| format!("http://{address}").parse());
        let mut config = OriginConfig {
            origins: listed.collect::<Result<_, _>>().expect("origins"),
            roots: Roots::Files,
            retry: RetryPolicy::never(),
            ..OriginConfig::default()
        };
        let registry = server.address.to_string().parse().expect("a registry");
        shape(&mut config, &registry);
        let origins = Origins::new(config).expect("a door outside");
        let accesses = Accesses::new(origins.clone());
        let (sender, commands) = mpsc::channel(8);
        let outside = (origins, accesses.clone());
        Self {
            doors: doors(sender, (store.clone(), data_dir), outside, is_scheduled),
            store,
            accesses,
            commands,
            server,
            _dir: dir,
        }
    }

    /// The blob of `digest` in `team/app` of this registry, as `task`.
    pub(super) fn spec_of(
        &self,
        task: TaskId,
        (digest, length): (Digest, usize),
        visibility: Visibility,
    ) -> TaskSpec {
        let registry = self.server.address.to_string();
        TaskSpec {
            task,
            layout: Layout::of(ByteCount(length as u64)).expect("a layout"),
            digest: Some(digest),
            source: Source::Blob {
                registry: registry.parse().expect("a registry"),
                repository: "team/app".parse().expect("a repository"),
                digest,
            },
            visibility,
        }
    }

    /// An ask for the blob of `digest`.
    pub(super) fn blob(&self, digest: Digest, authorization: Option<&str>) -> ContentAsk {
        self.blob_in("team/app", digest, authorization)
    }

    /// An ask for the blob of `digest` in `repository`.
    pub(super) fn blob_in(
        &self,
        repository: &str,
        digest: Digest,
        authorization: Option<&str>,
    ) -> ContentAsk {
        blob_at(
            &format!("{}/{repository}", self.server.address),
            digest,
            authorization,
        )
    }

    /// An ask for what lies at `path`.
    pub(super) fn url(&self, path: &str, authorization: Option<&str>) -> ContentAsk {
        let url = format!("http://{}{path}", self.server.address);
        ask(url.parse().expect("a URL"), authorization)
    }
}

/// An ask for a blob of a repository, which is written with its registry.
pub(super) fn blob_at(repository: &str, digest: Digest, authorization: Option<&str>) -> ContentAsk {
    let name = format!("{repository}@{digest}");
    ask(name.parse().expect("a blob's name"), authorization)
}

fn ask(wanted: Wanted, authorization: Option<&str>) -> ContentAsk {
    let mut headers = OriginHeaders::default();
    if let Some(value) = authorization {
        let value = HeaderValue::from_str(value).expect("a value");
        assert!(headers.push(HeaderName::from_static("authorization"), &value));
    }
    ContentAsk {
        wanted,
        range: None,
        caller: Caller::Tcp(([127, 0, 0, 1], 1).into()),
        headers,
        class: Class::Waiting,
        prefetch: false,
        proof: gateway::Proof::Sealed,
    }
}

/// Some bytes, and what they hash to.
pub(crate) fn content(length: usize) -> (Vec<u8>, Digest) {
    let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
    let digest = Digest::sha256(Sha256::digest(&bytes).into());
    (bytes, digest)
}

/// All bytes of `range`, read as a door does.
pub(super) async fn read(opened: &mut Opened, range: ByteRange) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut at = range.start();
    while at < range.end() {
        let ready = opened.reader.ready(at).await.expect("bytes");
        let end = ready.end().min(range.end()).min(at + (256 << 10));
        let part = ByteRange::new(at, end).expect("not empty");
        bytes.extend_from_slice(&opened.reader.read(part).await.expect("reads"));
        at = end;
    }
    bytes
}
