//! A scheduler on a real port, and hosts with real certificates.

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use control::{
    Ask, CallError, CanImport, ControlClient, ControlReceiver, ControlSender, Found, Have,
    HostMessage, Inventory, Join, LeaseClaim, Progress, SchedulerMessage,
};
use identity::{
    Bootstrap, Callee, Identity, Links, NodeKey, Protocol, Role, SecureLink, testing::Cluster,
};
use tokio::net::TcpStream;
use types::{
    ByteCount, ContentKey, Digest, Epoch, HostId, Layout, Moment, Source, TaskId, Validator,
    Visibility,
};

use crate::{Scheduler, SchedulerConfig};

mod places;
mod seeds;
mod told;

/// What names the content of [`task`].
const DIGEST: Digest = Digest::sha256([7; 32]);

fn task() -> TaskId {
    ContentKey::Digest(DIGEST).task_id()
}

async fn start(cluster: &Cluster, listen: &str) -> Scheduler {
    let config = config(cluster, listen);
    Scheduler::start(config).await.expect("a scheduler")
}

fn config(cluster: &Cluster, listen: &str) -> SchedulerConfig {
    let mut config = SchedulerConfig::new(
        cluster.place().join("ca"),
        cluster.ca.authority().cluster().clone(),
        listen.parse().expect("an address"),
    );
    config.restart_wait = Duration::from_millis(50);
    config.outbox = 64;
    config
}

async fn link(identity: &Identity, address: SocketAddr) -> SecureLink {
    let tcp = TcpStream::connect(address).await.expect("tcp");
    let links = Links::new(identity.clone());
    let link = links.connect(tcp, Callee::Scheduler, Protocol::Control);
    link.await.expect("a link")
}

/// Whether a host comes no further than its first word: in TLS 1.3 the refusal may come with the handshake or after it.
async fn is_shut_out(identity: &Identity, scheduler: &Scheduler) -> bool {
    let tcp = TcpStream::connect(scheduler.address()).await.expect("tcp");
    let links = Links::new(identity.clone());
    let Ok(link) = links
        .connect(tcp, Callee::Scheduler, Protocol::Control)
        .await
    else {
        return true;
    };
    let Ok(client) = ControlClient::connect(link).await else {
        return true;
    };
    let Ok((_sender, mut receiver)) = client.open().await else {
        return true;
    };
    !matches!(receiver.next().await, Ok(Some(_)))
}

struct Host {
    client: ControlClient,
    sender: ControlSender,
    receiver: ControlReceiver,
    clock: u64,
}

impl Host {
    async fn open(identity: &Identity, scheduler: SocketAddr) -> Result<Self, CallError> {
        let client = ControlClient::connect(link(identity, scheduler).await).await?;
        let (sender, receiver) = client.open().await?;
        Ok(Self {
            client,
            sender,
            receiver,
            clock: 1,
        })
    }

    async fn join(identity: &Identity, scheduler: &Scheduler, inventory: Inventory) -> Self {
        Self::join_at(identity, (scheduler.address(), "0.0.0.0:4242"), inventory).await
    }

    /// A host that calls the scheduler at an address of its choice, and says where it listens.
    async fn join_at(
        identity: &Identity,
        (scheduler, listen): (SocketAddr, &str),
        inventory: Inventory,
    ) -> Self {
        let mut host = Self::open(identity, scheduler).await.expect("a stream");
        host.say(HostMessage::Join(Join {
            topology: "eu/a/r".parse().expect("a place"),
            is_seed: true,
            listen: vec![listen.parse().expect("an address")],
            capacity: 30,
            version: "1".to_owned(),
        }))
        .await;
        host.say(HostMessage::Inventory(inventory)).await;
        host.until(|m| matches!(m, SchedulerMessage::Welcome { .. }))
            .await;
        host
    }

    async fn say(&mut self, message: HostMessage) {
        self.clock += 1;
        let sent = self.sender.send(Moment(self.clock), message);
        sent.await.expect("a stream");
    }

    async fn ask(&mut self) {
        self.say(HostMessage::Ask(ask())).await;
    }

    /// The next message that fits; others are passed over.
    async fn until(&mut self, fits: impl Fn(&SchedulerMessage) -> bool) -> SchedulerMessage {
        loop {
            let message = self.receiver.next().await.expect("a message");
            let message = message.expect("the stream goes on");
            if fits(&message) {
                return message;
            }
        }
    }

    async fn granted(&mut self) -> Epoch {
        let is_grant = |m: &SchedulerMessage| matches!(m, SchedulerMessage::Grant { .. });
        match self.until(is_grant).await {
            SchedulerMessage::Grant { lease, .. } => lease.epoch,
            _ => unreachable!("only a grant fits"),
        }
    }

    async fn ended(&mut self) {
        while let Ok(Some(_)) = self.receiver.next().await {}
    }
}

fn ask() -> Ask {
    Ask {
        task: task(),
        source: Some(Source::Url("https://origin.example/file".to_owned())),
        layout: None,
        can_import: CanImport::Anonymous,
        have: Have::None,
        visibility: Visibility::Public,
        digest: Some(DIGEST),
    }
}

#[tokio::test]
async fn three_hosts_are_introduced_and_one_imports() {
    let cluster = Cluster::new("three");
    let scheduler = start(&cluster, "127.0.0.1:0").await;
    let identities: Vec<_> = (0..3).map(|_| cluster.host(Role::Daemon)).collect();
    let mut hosts = Vec::new();
    for identity in &identities {
        hosts.push(Host::join(identity, &scheduler, Inventory::default()).await);
    }
    hosts[0].ask().await;
    let before = hosts[0].granted().await;
    for host in &mut hosts[1..] {
        host.ask().await;
    }
    let met = hosts[1]
        .until(|m| matches!(m, SchedulerMessage::Introduce(news) if !news.add.is_empty()))
        .await;
    let SchedulerMessage::Introduce(news) = met else {
        unreachable!("only an introduction fits");
    };
    let expected = "127.0.0.1:4242".parse().expect("an address");
    assert_eq!(news.add[0].addresses, [expected]);
    // The importer goes: somebody else gets the lease when its time is over, with a larger epoch.
    drop(hosts.remove(0));
    let (first, second) = hosts.split_at_mut(1);
    tokio::select! {
        epoch = first[0].granted() => assert!(epoch > before),
        epoch = second[0].granted() => assert!(epoch > before),
    }
    scheduler.stop().await;
}

#[tokio::test]
async fn a_lease_outlives_the_scheduler_and_epochs_grow() {
    let cluster = Cluster::new("again");
    let scheduler = start(&cluster, "127.0.0.1:0").await;
    let address = scheduler.address();
    let identity = cluster.host(Role::Daemon);
    let mut host = Host::join(&identity, &scheduler, Inventory::default()).await;
    host.ask().await;
    let epoch = host.granted().await;
    scheduler.stop().await;
    host.ended().await;

    let scheduler = start(&cluster, &address.to_string()).await;
    let claim = LeaseClaim {
        task: task(),
        epoch,
        remaining: Duration::from_secs(2),
    };
    let inventory = Inventory {
        leases: vec![claim],
        running: vec![ask()],
        holdings: vec![],
    };
    let mut host = Host::join(&identity, &scheduler, inventory).await;
    let renewed = host
        .until(|m| matches!(m, SchedulerMessage::Renew { .. }))
        .await;
    assert!(matches!(renewed, SchedulerMessage::Renew { epoch: of, .. } if of == epoch));
    host.say(HostMessage::LeaseReturned {
        task: task(),
        epoch,
    })
    .await;
    assert!(host.granted().await > epoch);
    scheduler.stop().await;
}

/// Content behind a URL: `digest` is what a host says of it, and does not name the task.
fn ask_by_url(digest: Option<Digest>) -> Ask {
    let task = TaskId::from_bytes([9; 32]);
    Ask {
        task,
        digest,
        ..ask()
    }
}

#[tokio::test]
async fn what_no_digest_names_is_imported_by_who_is_certified_as_a_seed() {
    let cluster = Cluster::new("seeds");
    let scheduler = start(&cluster, "127.0.0.1:0").await;
    let (daemon, seed) = (cluster.host(Role::Daemon), cluster.host(Role::Seed));
    // It says that it is a seed, and that a digest names the content.
    let mut daemon = Host::join(&daemon, &scheduler, Inventory::default()).await;
    for digest in [None, Some(DIGEST)] {
        daemon.say(HostMessage::Ask(ask_by_url(digest))).await;
        let told = daemon.until(|m| {
            let is_answer = |m: &_| matches!(m, SchedulerMessage::Fail { .. });
            is_answer(m) || matches!(m, SchedulerMessage::Grant { .. })
        });
        let told = told.await;
        assert!(matches!(told, SchedulerMessage::Fail { .. }), "{told:?}");
    }
    let mut seed = Host::join(&seed, &scheduler, Inventory::default()).await;
    daemon.say(HostMessage::Ask(ask_by_url(None))).await;
    let is_recruited = |m: &SchedulerMessage| matches!(m, SchedulerMessage::Recruit { .. });
    seed.until(is_recruited).await;
    seed.say(HostMessage::Ask(ask_by_url(None))).await;
    seed.granted().await;
    scheduler.stop().await;
}

#[tokio::test]
async fn a_token_admits_as_often_as_it_says() {
    let cluster = Cluster::new("joiners");
    let scheduler = start(&cluster, "127.0.0.1:0").await;
    let ttl = Duration::from_secs(60);
    let minted = cluster.ca.tokens().mint(Role::Seed, NonZeroU32::MIN, ttl);
    let text = minted.expect("a token").text;
    let enrol = async |key: NodeKey| {
        let bootstrap = Bootstrap::new(text.expose().parse().expect("a token"), key);
        let tcp = TcpStream::connect(scheduler.address()).await.expect("tcp");
        let limits = identity::LinkLimits::default();
        let link = bootstrap.connect(tcp, &limits).await.expect("a link");
        let client = ControlClient::connect(link).await;
        let client = client.expect("a client");
        assert!(client.open().await.is_err(), "a joiner opened a stream");
        assert!(client.view_hosts().await.is_err(), "a joiner saw hosts");
        let request = bootstrap.request();
        let answer = client.enrol(control::EnrolRequest {
            host: request.host,
            token: request.token,
            nonce: request.nonce,
            proof: request.proof,
        });
        let answer = answer.await?;
        let answer = identity::EnrolAnswer {
            certificate: answer.certificate,
            authority: answer.authority,
            revocations: answer.revocations,
        };
        let identity = bootstrap.accept(&answer, std::time::SystemTime::now());
        Ok::<_, CallError>(identity.expect("a good answer"))
    };
    let key = |name: &str| NodeKey::load_or_create(&cluster.place().join(name)).expect("a key");
    let identity = enrol(key("first")).await.expect("admitted");
    let host = Host::join(&identity, &scheduler, Inventory::default()).await;
    assert!(host.client.renew().await.is_ok());
    let refused = enrol(key("second")).await.expect_err("used up");
    assert!(refused.to_string().contains("used up"), "{refused}");
    scheduler.stop().await;
}

#[tokio::test]
async fn only_a_schedulers_certificate_calls_what_is_for_administrators() {
    let cluster = Cluster::new("offices");
    let scheduler = start(&cluster, "127.0.0.1:0").await;
    let daemon = cluster.host(Role::Daemon);
    let host = Host::join(&daemon, &scheduler, Inventory::default()).await;
    assert!(host.client.view_hosts().await.is_err());
    let administrator = cluster.host(Role::Scheduler);
    let client = ControlClient::connect(link(&administrator, scheduler.address()).await).await;
    let client = client.expect("a client");
    let hosts = client.view_hosts().await.expect("a view");
    assert_eq!(hosts.len(), 1);
    // A daemon that calls itself a seed is none.
    assert!(!hosts[0].is_seed);
    // And the second stream of one link is refused.
    let refused = match host.client.open().await {
        Err(_) => true,
        // The refusal may also come as the end of a stream that was opened.
        Ok((_sender, mut receiver)) => !matches!(receiver.next().await, Ok(Some(_))),
    };
    assert!(refused);
    scheduler.stop().await;
}

#[tokio::test]
async fn a_host_that_is_revoked_in_the_authoritys_folder_is_out_at_once_and_the_others_are_told() {
    let cluster = Cluster::new("folder");
    let scheduler = start(&cluster, "127.0.0.1:0").await;
    let (bad, good) = (cluster.host(Role::Daemon), cluster.host(Role::Daemon));
    let mut outcast = Host::join(&bad, &scheduler, Inventory::default()).await;
    let mut host = Host::join(&good, &scheduler, Inventory::default()).await;
    // As another process does it.
    let revoked = cluster.ca.revoke(bad.host(), std::time::SystemTime::now());
    assert!(revoked.expect("kept").contains(bad.host()));
    outcast.ended().await;
    host.until(|m| matches!(m, SchedulerMessage::Revocations(_)))
        .await;
    assert!(is_shut_out(&bad, &scheduler).await);
    scheduler.stop().await;
}

#[tokio::test]
async fn a_foreign_cluster_is_refused() {
    let cluster = Cluster::new("home");
    let scheduler = start(&cluster, "127.0.0.1:0").await;
    let foreigner = Cluster::new("home").host(Role::Daemon);
    let tcp = TcpStream::connect(scheduler.address()).await.expect("tcp");
    let link = Links::new(foreigner);
    let link = link.connect(tcp, Callee::Scheduler, Protocol::Control);
    assert!(link.await.is_err());
    scheduler.stop().await;
}

#[tokio::test]
async fn a_host_that_does_not_read_is_dropped_and_others_go_on() {
    let cluster = Cluster::new("silent");
    let scheduler = start(&cluster, "127.0.0.1:0").await;
    let (mute, other) = (cluster.host(Role::Daemon), cluster.host(Role::Daemon));
    let silent = Host::join(&mute, &scheduler, Inventory::default()).await;
    let mut host = Host::join(&other, &scheduler, Inventory::default()).await;
    let mut clock = 100;
    let mut pinged = 0_u32;
    while pinged < 5_000_000 {
        clock += 1;
        pinged += 1;
        let sent = silent.sender.send(Moment(clock), HostMessage::Ping);
        if sent.await.is_err() {
            break;
        }
    }
    assert!(pinged < 5_000_000, "the silent host was never dropped");
    host.ask().await;
    let epoch = host.granted().await;
    host.say(HostMessage::Progress(Progress {
        task: task(),
        have: 1,
        lease: Some(epoch),
        imported: 1,
        left: 1,
    }))
    .await;
    host.until(|m| matches!(m, SchedulerMessage::Renew { .. }))
        .await;
    scheduler.stop().await;
}

#[tokio::test]
async fn a_seed_is_recruited_and_a_flood_of_asks_is_bounded() {
    let cluster = Cluster::new("seeds");
    let scheduler = start(&cluster, "127.0.0.1:0").await;
    let (one, two) = (cluster.host(Role::Seed), cluster.host(Role::Daemon));
    let mut seed = Host::join(&one, &scheduler, Inventory::default()).await;
    let mut host = Host::join(&two, &scheduler, Inventory::default()).await;
    host.ask().await;
    let wanted = seed
        .until(|m| matches!(m, SchedulerMessage::Recruit(_)))
        .await;
    let SchedulerMessage::Recruit(wanted) = wanted else {
        unreachable!("only a recruit fits");
    };
    assert_eq!(Some(wanted.source), ask().source);
    seed.ask().await;
    seed.granted().await;
    let Host {
        sender,
        mut receiver,
        ..
    } = host;
    let flood = async {
        for clock in 1000..6000 {
            let asked = sender.send(Moment(clock), HostMessage::Ask(ask()));
            if asked.await.is_err() {
                return; // Its answers piled up: a host that floods may lose its stream.
            }
        }
        std::future::pending::<()>().await;
    };
    let refusal = async {
        while let Ok(Some(message)) = receiver.next().await {
            if matches!(message, SchedulerMessage::Refused { .. }) {
                return;
            }
        }
    };
    tokio::select! {
        () = flood => {}
        () = refusal => {}
    }
    scheduler.stop().await;
}

#[tokio::test]
async fn one_host_looks_at_an_origin_for_all() {
    let cluster = Cluster::new("look");
    let scheduler = start(&cluster, "127.0.0.1:0").await;
    let mut hosts = Vec::new();
    for _ in 0..3 {
        let identity = cluster.host(Role::Daemon);
        hosts.push(Host::join(&identity, &scheduler, Inventory::default()).await);
    }
    let source = Source::Url("https://origin.example/file".to_owned());
    let look = || HostMessage::Look {
        source: source.clone(),
    };
    let is_look = |m: &SchedulerMessage| matches!(m, SchedulerMessage::Look { .. });
    let is_told = |m: &SchedulerMessage| matches!(m, SchedulerMessage::Looked { .. });
    hosts[0].say(look()).await;
    hosts[0].until(is_look).await;
    hosts[1].say(look()).await;
    hosts[1].say(HostMessage::Ping).await;
    let is_answer = |m: &SchedulerMessage| {
        is_look(m) || is_told(m) || matches!(m, SchedulerMessage::Pong { .. })
    };
    let first = hosts[1].until(is_answer).await;
    assert!(!is_look(&first) && !is_told(&first), "it waits: {first:?}");
    let seen = Found::of(ByteCount(5), Some(Validator::ETag("\"one\"".to_owned())));
    hosts[0]
        .say(HostMessage::Looked {
            source: source.clone(),
            found: seen.clone(),
        })
        .await;
    hosts[2].say(look()).await;
    for host in &mut hosts[1..] {
        let SchedulerMessage::Looked { found, .. } = host.until(is_answer).await else {
            panic!("it is known");
        };
        assert_eq!(Some(found), seen);
    }
}

#[tokio::test]
async fn the_length_of_a_blob_that_is_a_task_is_known_to_all() {
    let cluster = Cluster::new("length");
    let scheduler = start(&cluster, "127.0.0.1:0").await;
    let identity = cluster.host(Role::Daemon);
    let mut host = Host::join(&identity, &scheduler, Inventory::default()).await;
    let digest = Digest::sha256([9; 32]);
    let source = Source::Blob {
        registry: "registry.example".parse().expect("a registry"),
        repository: "team/app".parse().expect("a repository"),
        digest,
    };
    let length = ByteCount::mib(3);
    host.say(HostMessage::Ask(Ask {
        task: ContentKey::Digest(digest).task_id(),
        source: Some(source.clone()),
        layout: Layout::of(length).ok(),
        digest: Some(digest),
        ..ask()
    }))
    .await;
    let is_answer = |m: &SchedulerMessage| {
        matches!(
            m,
            SchedulerMessage::Look { .. } | SchedulerMessage::Looked { .. }
        )
    };
    for is_known in [true, false] {
        host.say(HostMessage::Look {
            source: source.clone(),
        })
        .await;
        let answer = host.until(is_answer).await;
        let is_right =
            matches!(&answer, SchedulerMessage::Looked { found, .. } if found.length == length);
        assert_eq!(is_right, is_known, "{answer:?}");
        // Another word on it: neither is believed from now on.
        host.say(HostMessage::Looked {
            source: source.clone(),
            found: Found::of(ByteCount(1), None),
        })
        .await;
    }
}
