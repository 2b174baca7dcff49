//! Several cores in one process: real stores, real TLS links, a real origin. Only the scheduler's words are put in here.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use control::{Introduce, Neighbour, SchedulerMessage, Term};
use identity::{Links, NodeKey, Role, testing::Cluster};
use origin::{OriginConfig, Origins};
use store::{Store, StoreConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use types::{ByteCount, Digest, Epoch, HostId, Moment, PieceIndex, PieceRun, Source, TaskId};

mod bounds;
mod doubt;
mod doubts;
mod explain;
mod lone;
mod pieces;
mod refused;
mod remote;
mod retire;
mod seals;
mod seeds;
mod stale;
mod trust;

use super::{Core, Event, Events, Parts};
use crate::{
    accept::Acceptor,
    access::Accesses,
    clock::Clock,
    config::Limits,
    dial::Dialler,
    greeting::Greeting,
    handle::{Fetch, Handle},
    import::Signer,
    keeper::Keeper,
    metrics::Metrics,
    reader::TaskReader,
    task::TaskSpec,
};

/// A web server of one file, with ranges and a strong tag, that counts what it sent.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    sent: Arc<std::sync::atomic::AtomicU64>,
    heads: Arc<std::sync::atomic::AtomicU64>,
    /// Answers are wrong until so many bytes were sent.
    wrong_until: Arc<std::sync::atomic::AtomicU64>,
    pub(crate) content: Arc<Vec<u8>>,
    refusal: Arc<parking_lot::Mutex<Option<&'static str>>>,
    _serving: JoinSet<()>,
}

impl Web {
    pub(crate) async fn serving(content: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (content, sent) = (
            Arc::new(content),
            Arc::new(std::sync::atomic::AtomicU64::new(0)),
        );
        let mut serving = JoinSet::new();
        let (body, counter) = (Arc::clone(&content), Arc::clone(&sent));
        let heads = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let looks = Arc::clone(&heads);
        let wrong_until = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let wrong = Arc::clone(&wrong_until);
        let refusal = Arc::default();
        let refuses = Arc::<parking_lot::Mutex<_>>::clone(&refusal);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut tcp, _)) = listener.accept().await {
                let (body, counter) = (Arc::clone(&body), Arc::clone(&counter));
                let (looks, refuses) = (Arc::clone(&looks), Arc::clone(&refuses));
                let wrong = Arc::clone(&wrong);
                connections.spawn(async move {
                    while let Some(head) = request(&mut tcp).await {
                        // Like other servers it gives what it has of a range that goes beyond its end.
                        let (start, end) = range(&head)
                            .map_or((0, body.len()), |(start, end)| (start, end.min(body.len())));
                        let is_head = head.starts_with("HEAD");
                        let refusal: Option<&str> = *refuses.lock();
                        if let Some(refusal) = refusal.filter(|_| !is_head) {
                            drop(tcp.write_all(refusal.as_bytes()).await);
                            continue;
                        }
                        let answer = answer(&head, (start, end), body.len());
                        looks.fetch_add(u64::from(is_head), std::sync::atomic::Ordering::Relaxed);
                        let mut part = body[start..end].to_vec();
                        part.truncate(if is_head { 0 } else { part.len() });
                        if counter.load(std::sync::atomic::Ordering::Relaxed)
                            < wrong.load(std::sync::atomic::Ordering::Relaxed)
                            && let Some(byte) = part.first_mut()
                        {
                            *byte = !*byte;
                        }
                        if tcp.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                        // Counted first: whoever has the bytes sees them counted.
                        for chunk in part.chunks(64 << 10) {
                            counter.fetch_add(
                                chunk.len() as u64,
                                std::sync::atomic::Ordering::Relaxed,
                            );
                            if tcp.write_all(chunk).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            sent,
            heads,
            wrong_until,
            content,
            refusal,
            _serving: serving,
        }
    }

    /// How often it was asked for the head alone.
    pub(crate) fn heads(&self) -> u64 {
        self.heads.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// From now on content is refused with these words; with none, nothing is ever answered.
    pub(crate) fn refuse(&self, answer: &'static str) {
        *self.refusal.lock() = Some(answer);
    }

    /// A door outside that leads nowhere but here.
    fn listed(&self) -> OriginConfig {
        let origin = format!("http://{}", self.address);
        OriginConfig {
            origins: vec![origin.parse().expect("an origin")],
            ..OriginConfig::default()
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/file", self.address)
    }
}

async fn request(tcp: &mut tokio::net::TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

fn range(head: &str) -> Option<(usize, usize)> {
    let line = head
        .lines()
        .find(|line| line.to_lowercase().starts_with("range:"))?;
    let (first, last) = line.split_once("bytes=")?.1.split_once('-')?;
    Some((first.parse().ok()?, last.parse::<usize>().ok()? + 1))
}

fn answer(head: &str, (start, end): (usize, usize), length: usize) -> String {
    let (status, more) = match range(head) {
        Some(_) => (
            "206 Partial Content",
            format!("Content-Range: bytes {start}-{}/{length}\r\n", end - 1),
        ),
        None => ("200 OK", String::new()),
    };
    format!(
        "HTTP/1.1 {status}\r\nETag: \"one\"\r\nAccept-Ranges: bytes\r\n{more}Content-Length: {}\r\n\r\n",
        end - start
    )
}

/// One host: its core, running.
pub(crate) struct Host {
    id: HostId,
    signer: Signer,
    links: Links,
    peer: SocketAddr,
    pub(crate) handle: Handle,
    pub(crate) store: Store,
    pub(crate) origins: Origins,
    pub(crate) accesses: Accesses,
    metrics: Metrics,
    events: Events,
    clock: Clock,
    stop: CancellationToken,
    dir: tempfile::TempDir,
    _running: JoinSet<()>,
}

impl Host {
    pub(crate) async fn new(cluster: &Cluster, web: &Web, is_scheduled: bool) -> Self {
        Self::within(cluster, web, (is_scheduled, Limits::default())).await
    }

    pub(crate) async fn within(
        cluster: &Cluster,
        web: &Web,
        (is_scheduled, limits): (bool, Limits),
    ) -> Self {
        Self::of((cluster, Role::Daemon), web, (is_scheduled, limits)).await
    }

    /// A seed that waits for a scheduler's word.
    async fn seed(cluster: &Cluster, web: &Web) -> Self {
        Self::of((cluster, Role::Seed), web, (true, patient())).await
    }

    async fn of(of: (&Cluster, Role), web: &Web, (is_scheduled, limits): (bool, Limits)) -> Self {
        let origins = Origins::new(web.listed()).expect("a door outside");
        let dir = tempfile::tempdir().expect("a directory");
        let config = disk(&dir);
        Self::over(of, origins, (is_scheduled, limits), (dir, config)).await
    }

    /// A host alone, whose store takes no more than `quota`.
    async fn with_quota(
        cluster: &Cluster,
        (one, other): (&Web, &Web),
        quota: Option<ByteCount>,
    ) -> Self {
        let mut listed = one.listed();
        listed.origins.extend(other.listed().origins);
        let origins = Origins::new(listed).expect("a door outside");
        let dir = tempfile::tempdir().expect("a directory");
        let config = StoreConfig {
            quota,
            ..disk(&dir)
        };
        let of = (cluster, Role::Daemon);
        Self::over(of, origins, (false, Limits::default()), (dir, config)).await
    }

    async fn over(
        (cluster, role): (&Cluster, Role),
        origins: Origins,
        (is_scheduled, limits): (bool, Limits),
        (dir, config): (tempfile::TempDir, StoreConfig),
    ) -> Self {
        let (store, _) = Store::open(config).expect("a store");
        let accesses = Accesses::new(origins.clone());
        let identity_dir = dir.path().join("identity");
        let key = NodeKey::load_or_create(&identity_dir).expect("a key");
        let identity = (cluster.ca)
            .identity_for(&key, role.into(), SystemTime::now())
            .expect("a certificate");
        let signer = Signer {
            key: identity.key().clone(),
            cluster: identity.cluster().clone(),
        };
        let (id, links) = (signer.key.host_id(), Links::new(identity));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let peer = listener.local_addr().expect("bound");
        let ((events_in, events), (commands_in, commands)) = (mpsc::channel(64), mpsc::channel(64));
        let (events_in, handle) = (Events::new(events_in), Handle::new(commands_in));
        let greeting = Greeting::new(links.clone(), peer.port(), limits.wire());
        let dialler = Dialler {
            greeting: greeting.clone(),
            events: events_in.clone(),
        };
        let acceptor = Acceptor {
            greeting,
            events: events_in.clone(),
            untaken: listen::Untaken::default(),
        };
        let keeper = Keeper {
            links: links.clone(),
            dir: identity_dir,
            clients: watch::channel(None).1,
            events: events_in.clone(),
            health: crate::doors::Health::default(),
            metrics: Metrics::default(),
            seed: 7,
        };
        let (clock, metrics) = (Clock::start(), Metrics::default());
        let parts = Parts {
            links: links.clone(),
            signer: signer.clone(),
            is_seed: role == Role::Seed,
            is_alone: !is_scheduled,
            dialler,
            outlook: watch::Sender::default(),
            join: join(peer),
            limits,
            store: store.clone(),
            accesses: accesses.clone(),
            metrics: metrics.clone(),
            health: crate::doors::Health::default(),
            clock,
            seed: 7,
        };
        let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
        let stops = (stop.clone(), CancellationToken::new());
        running.spawn(Core::new(parts, events_in.clone()).run(commands, events, stops));
        running.spawn(acceptor.run(listener, stop.child_token()));
        running.spawn(keeper.run(stop.child_token()));
        Self {
            id,
            signer,
            links,
            peer,
            handle,
            store,
            origins,
            accesses,
            metrics,
            events: events_in,
            clock,
            stop,
            dir,
            _running: running,
        }
    }

    async fn told(&self, message: SchedulerMessage) {
        self.events
            .tell(Event::Scheduler(control::Event::Message(message)))
            .await;
    }

    async fn spec(&self, web: &Web, digest: Option<Digest>) -> TaskSpec {
        let source = Source::Url(web.url());
        let key = match digest {
            Some(digest) => types::ContentKey::Digest(digest),
            None => types::ContentKey::Url {
                url: web.url(),
                tag: String::new(),
                validator: types::Validator::ETag("\"one\"".into()),
            },
        };
        self.accesses
            .for_source(key.task_id(), &source, digest)
            .await
            .expect("the origin is there")
            .0
    }

    async fn open(&self, spec: TaskSpec) -> TaskReader {
        self.open_as(spec, swarm::Class::Foreground).await
    }

    async fn open_as(&self, spec: TaskSpec, class: swarm::Class) -> TaskReader {
        let all = spec.layout.all();
        let fetch = Fetch {
            whole: true,
            class,
            ..Fetch::default()
        };
        let opened = self.handle.open(spec, all, fetch).await;
        opened.expect("a task")
    }

    /// What tells others that this one is a seed.
    fn certificate(&self) -> Vec<u8> {
        let certificate = self.links.certificate_of(&self.id);
        certificate.expect("it is a seed").as_ref().to_vec()
    }

    fn as_neighbour(&self) -> Neighbour {
        Neighbour {
            host: self.id,
            addresses: vec![self.peer],
            topology: types::Topology::default(),
        }
    }

    fn lease(&self, task: TaskId) -> SchedulerMessage {
        self.lease_of(task, Epoch(1))
    }

    fn lease_of(&self, task: TaskId, epoch: Epoch) -> SchedulerMessage {
        let term = Term {
            counted_from: self.clock.now(),
            valid_for: Duration::from_secs(600),
            margin: Duration::ZERO,
        };
        let run = PieceRun {
            first: PieceIndex(0),
            count: u32::MAX,
        };
        SchedulerMessage::Grant {
            task,
            lease: control::Lease { epoch, run, term },
        }
    }
}

/// Limits under which no reader turns to the origin by itself, however busy the machine.
fn patient() -> Limits {
    let mut limits = Limits::default();
    limits.download.head_wait_max = Duration::from_secs(600);
    limits
}

/// A store in `dir` that may fill the disk.
fn disk(dir: &tempfile::TempDir) -> StoreConfig {
    StoreConfig {
        free_floor: ByteCount::ZERO,
        ..StoreConfig::new(dir.path().join("store"))
    }
}

fn join(peer: SocketAddr) -> control::Join {
    let topology = types::Topology::default();
    control::Join {
        topology,
        is_seed: false,
        listen: vec![peer],
        capacity: 30,
        version: "0".into(),
    }
}

/// What the content's SHA-256 is.
fn digest_of(web: &Web) -> Digest {
    Digest::sha256(<sha2::Sha256 as sha2::Digest>::digest(&*web.content).into())
}

pub(crate) fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 % 251) as u8).collect()
}

async fn read_all(mut reader: TaskReader, web: &Web) {
    let mut at = 0;
    while at < web.content.len() as u64 {
        let range = reader.ready(at).await.expect("verified bytes");
        let mut bytes = vec![0; usize::try_from(range.length().0).expect("small")];
        reader
            .task()
            .content
            .read_at(range.start(), &mut bytes)
            .expect("verified bytes can be read");
        let (start, end) = (range.start() as usize, range.end() as usize);
        assert!(bytes == web.content[start..end], "bytes {range} differ");
        at = range.end();
    }
    reader.proven().await.expect("the whole is right");
}

fn sent(web: &Web) -> u64 {
    web.sent.load(std::sync::atomic::Ordering::Relaxed)
}

/// Verified bytes that these readers' hosts took from the origin. A server counts more: what it sends on a stream that is
/// given up, or that is read past.
fn imported(readers: &[TaskReader]) -> impl Fn() -> u64 + use<> {
    let task = |reader: &TaskReader| Arc::clone(reader.task());
    let tasks: Vec<_> = readers.iter().map(task).collect();
    move || tasks.iter().map(|task| task.bytes().2).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_alone_reads_the_origin_once() {
    let (cluster, web) = (Cluster::new("alone"), Web::serving(content(3 << 20)).await);
    let host = Host::new(&cluster, &web, false).await;
    let spec = host.spec(&web, None).await;
    let mut first = host.open(spec.clone()).await;
    first.proven().await.expect("the whole is right");
    assert_eq!(first.bytes(), (0, 0, 3 << 20));
    let second = host.open(spec).await;
    assert_eq!(second.bytes(), (3 << 20, 0, 0), "it was here already");
    read_all(second, &web).await;
    assert_eq!(sent(&web), 3 << 20);
    host.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swarm_takes_each_byte_from_the_origin_once() {
    let (cluster, web) = (
        Cluster::new("swarm"),
        Web::serving(content((5 << 20) + 17)).await,
    );
    let mut hosts = Vec::new();
    for _ in 0..4 {
        hosts.push(Host::within(&cluster, &web, (true, patient())).await);
    }
    let digest = digest_of(&web);
    let mut readers = Vec::new();
    for host in &hosts {
        let spec = host.spec(&web, Some(digest)).await;
        readers.push(host.open(spec).await);
    }
    let imported = imported(&readers);
    let task = readers[0].task().spec.task;
    introduce(&hosts, task).await;
    hosts[0].told(hosts[0].lease(task)).await;
    for reader in readers {
        read_all(reader, &web).await;
    }
    assert_eq!(imported(), web.content.len() as u64);
    hosts.iter().for_each(|host| host.stop.cancel());
}

/// Makes everybody everybody's neighbour, with the first as the importer.
async fn introduce(hosts: &[Host], task: TaskId) {
    for host in hosts {
        host.told(SchedulerMessage::Queued { task, layout: None })
            .await;
        host.told(SchedulerMessage::Importer {
            task,
            host: hosts[0].id,
        })
        .await;
        let add: Vec<Neighbour> = hosts
            .iter()
            .filter(|other| other.id != host.id)
            .map(Host::as_neighbour)
            .collect();
        host.told(SchedulerMessage::Introduce(Introduce {
            task,
            reset: false,
            add,
            remove: Vec::new(),
        }))
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_the_content_does_not_have_is_an_error_that_names_it() {
    let (cluster, web) = (Cluster::new("wrong"), Web::serving(content(300_000)).await);
    let host = Host::new(&cluster, &web, false).await;
    let spec = host.spec(&web, Some(Digest::sha256([1; 32]))).await;
    let mut reader = host.open(spec).await;
    let error = reader.proven().await.expect_err("the content is another");
    assert!(
        error.to_string().contains("does not match sha256:0101"),
        "{error}"
    );
    host.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_have_distinct_identities() {
    let (cluster, web) = (Cluster::new("ids"), Web::serving(content(1)).await);
    let hosts = [
        Host::new(&cluster, &web, false).await,
        Host::new(&cluster, &web, false).await,
    ];
    assert_eq!(
        hosts
            .iter()
            .map(|host| host.id)
            .collect::<BTreeSet<_>>()
            .len(),
        2
    );
    assert!(hosts[0].clock.now() > Moment::ZERO);
}
