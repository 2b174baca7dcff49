//! A keeper with a real authority whose certificates are short, over real links.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use control::{
    Answer, Caller, Denied, Event as ControlEvent, Handler, HostView, Incoming, SchedulerMessage,
};
use identity::{Accepted, Identity, NodeKey, RemoteHost, Role, testing::Cluster};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use super::*;
use crate::scheduler::ToScheduler;

/// A scheduler that renews and does nothing else. It fails at first.
struct Office {
    cluster: Arc<Cluster>,
    remote: RemoteHost,
    asked: AtomicU32,
    /// Told of each certificate that was made.
    renewed: mpsc::Sender<()>,
    /// Streams end when these are dropped.
    streams: mpsc::Sender<mpsc::Sender<SchedulerMessage>>,
}

fn not_asked<T: Send + 'static>() -> Answer<T> {
    Box::pin(async { Err(Denied::Busy) })
}

impl Handler for Office {
    fn open(&self, _: Caller, _: Incoming) -> Answer<mpsc::Receiver<SchedulerMessage>> {
        let (sender, receiver) = mpsc::channel(1);
        let streams = self.streams.clone();
        Box::pin(async move {
            streams.send(sender).await.map_err(|_| Denied::Busy)?;
            Ok(receiver)
        })
    }

    fn renew(&self, _: Caller) -> Answer<control::EnrolAnswer> {
        let is_first = self.asked.fetch_add(1, Ordering::Relaxed) == 0;
        let answer = self.cluster.ca.renew(self.remote, SystemTime::now());
        let renewed = self.renewed.clone();
        Box::pin(async move {
            if is_first {
                return Err(Denied::Busy);
            }
            let answer = answer.map_err(|cause| Denied::Failed(cause.to_string()))?;
            renewed.send(()).await.map_err(|_| Denied::Busy)?;
            Ok(control::EnrolAnswer {
                certificate: answer.certificate,
                authority: answer.authority,
                revocations: answer.revocations,
            })
        })
    }

    fn view_hosts(&self) -> Answer<Vec<HostView>> {
        not_asked()
    }
}

/// Serves every link that comes.
async fn serve(cluster: Arc<Cluster>, listener: TcpListener, renewed: mpsc::Sender<()>) {
    let links = Links::new(cluster.host(Role::Scheduler));
    let (streams, mut opened) = mpsc::channel(1);
    let mut served = JoinSet::new();
    served.spawn(async move {
        let mut kept = Vec::new();
        while let Some(stream) = opened.recv().await {
            kept.push(stream);
        }
    });
    while let Ok((tcp, _)) = listener.accept().await {
        let Ok(Accepted::Host(link)) = links.accept(tcp).await else {
            continue;
        };
        let remote = link.remote();
        let caller = Caller {
            host: remote.host,
            is_seed: false,
            is_administrator: false,
            observed: std::net::Ipv4Addr::LOCALHOST.into(),
            reached: std::net::Ipv4Addr::LOCALHOST.into(),
        };
        let office = Office {
            cluster: Arc::clone(&cluster),
            remote,
            asked: AtomicU32::new(0),
            renewed: renewed.clone(),
            streams: streams.clone(),
        };
        served.spawn(control::serve_host(link, caller, Arc::new(office)));
    }
}

/// A host of `cluster` that keeps its identity on disk.
fn saved(cluster: &Cluster, dir: &std::path::Path) -> Identity {
    let key = NodeKey::load_or_create(dir).expect("a key");
    let identity = cluster
        .ca
        .identity_for(&key, Role::Seed.into(), SystemTime::now());
    let identity = identity.expect("a certificate");
    identity.save(dir).expect("saved");
    identity
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_again_and_again_over_one_stream_whatever_fails_once() {
    let mut cluster = Cluster::new("short");
    // Renewed after a second.
    cluster.ca = cluster.reopened().with_lifetime(Duration::from_secs(3));
    let cluster = Arc::new(cluster);
    let dir = cluster.place().join("host");
    let identity = saved(&cluster, &dir);
    let began_with = identity.expires_at();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let scheduler = listener.local_addr().expect("bound").to_string();
    let (renewed_in, mut renewed) = mpsc::channel(8);
    let mut running = JoinSet::new();
    running.spawn(serve(Arc::clone(&cluster), listener, renewed_in));

    let links = Links::new(identity);
    let (events_in, mut events) = mpsc::channel(64);
    let (clients_in, clients) = watch::channel(None);
    let stop = CancellationToken::new();
    let session = ToScheduler {
        links: links.clone(),
        schedulers: vec![scheduler],
        events: Events::new(events_in.clone()),
        clients: clients_in,
        seed: 7,
    };
    let keeper = Keeper {
        links: links.clone(),
        dir: dir.clone(),
        clients,
        events: Events::new(events_in),
        health: Health::default(),
        metrics: Metrics::default(),
        seed: 7,
    };
    let mut shown = links.seeds();
    running.spawn(session.run(stop.child_token()));
    running.spawn(keeper.run(stop.child_token()));
    shown.changed().await.expect("a newer certificate");
    let kept = Identity::load(&dir).expect("readable").expect("there");
    assert!(kept.expires_at() > began_with, "shown before it was kept");
    for _ in 0..3 {
        renewed.recv().await.expect("another certificate");
    }
    stop.cancel();
    let mut connected = 0;
    while let Ok(event) = events.try_recv() {
        let is_new = matches!(event, Event::Scheduler(ControlEvent::Connected { .. }));
        connected += u32::from(is_new);
    }
    assert_eq!(connected, 1, "all over one stream");
    // The first two are taken for sure: the third was asked for by the second one's date.
    let kept = Identity::load(&dir).expect("readable").expect("there");
    assert_eq!(kept.host(), links.identity().host());
    assert!(kept.expires_at() > began_with);
    running.abort_all();
}
