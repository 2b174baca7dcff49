//! A remote host that a test plays itself, on a real link.

use std::io;

use bytes::BytesMut;
use identity::{NodeKey, Protocol};
use tokio::net::TcpStream;
use types::{ByteRange, ClusterId, Layout, PieceHasher, PieceSet, Segment};
use wire::{
    Config as WireConfig, Inventory, Link, Message, Runs, TaskNo,
    link::{BufferPool, Intake, PieceSource, ReadFuture, Upload},
};

use super::*;

/// Connects to `host` as a member of the cluster that reads at most `rate` bytes of content a second.
pub(super) async fn remote(cluster: &Cluster, host: &Host, rate: Option<ByteCount>) -> Link {
    link(cluster.host(Role::Daemon), host, rate).await
}

async fn link(identity: identity::Identity, host: &Host, rate: Option<ByteCount>) -> Link {
    let config = WireConfig {
        intake: Intake::new(rate),
        ..WireConfig::new(BufferPool::new(1))
    };
    let link = dial(Links::new(identity), host, config).await;
    link.expect("both are of the cluster")
}

/// A link to `host`, of the host that `links` speaks for.
pub(super) async fn dial(
    links: Links,
    host: &Host,
    config: WireConfig,
) -> Result<Link, anyhow::Error> {
    let tcp = TcpStream::connect(host.peer).await?;
    let link = links.connect(tcp, host.id, Protocol::Peer).await?;
    Ok(Greeting::new(links, 1, config).start(link).await?)
}

/// Takes part in a task, with nothing, and waits until the host answers.
pub(super) async fn join(link: &mut Link, (task, layout): (TaskId, Layout)) {
    open(link, (task, layout), &PieceSet::empty(layout.piece_count()));
    let is_answer = |event: &_| {
        matches!(
            event,
            wire::Event::Message {
                message: Message::Open { .. },
                ..
            }
        )
    };
    while !is_answer(&link.receiver.next().await.expect("the link stays")) {}
}

/// Asks for all pieces and waits until the first bytes come.
pub(super) async fn fetch(link: &mut Link, (task, layout): (TaskId, Layout)) {
    open(link, (task, layout), &PieceSet::empty(layout.piece_count()));
    let want = Message::Want {
        no: TaskNo(1),
        runs: Runs::one(layout.all()).expect("pieces"),
        urgent: false,
        background: false,
    };
    loop {
        match link.receiver.next().await.expect("the link stays") {
            wire::Event::Message {
                message: Message::Open { .. },
                ..
            } => link.sender.try_send(&want).expect("room"),
            wire::Event::Data { .. } => return,
            _ => {}
        }
    }
}

/// Takes part in a task, with these pieces.
pub(super) fn open(link: &Link, (task, layout): (TaskId, Layout), have: &PieceSet) {
    let open = Message::Open {
        no: TaskNo(1),
        task,
        layout,
        have: Inventory::of(have).0,
        importer: false,
    };
    link.sender.try_send(&open).expect("room");
}

/// A parent that has everything and vouches for it.
pub(super) struct Parent {
    pub(super) id: HostId,
    key: NodeKey,
    cluster: ClusterId,
    link: Link,
    of: (TaskId, Layout),
    source: Arc<Held>,
}

struct Held {
    content: Arc<Vec<u8>>,
    /// Stops in the middle of each piece, for ever.
    stalls: Option<Layout>,
}

impl PieceSource for Held {
    fn read<'a>(&'a self, range: ByteRange, into: &'a mut BytesMut) -> ReadFuture<'a> {
        Box::pin(async move {
            let length = self.stalls.map(|layout| layout.piece_length().0);
            if length.is_some_and(|length| !range.start().is_multiple_of(length)) {
                std::future::pending::<()>().await;
            }
            let range = usize::try_from(range.start()).map_err(io::Error::other)?
                ..usize::try_from(range.end()).map_err(io::Error::other)?;
            into.extend_from_slice(&self.content[range]);
            Ok(())
        })
    }
}

impl Parent {
    /// Connects to `host`, which is told that its word counts for the task.
    pub(super) async fn new(
        cluster: &Cluster,
        (host, web): (&Host, &Web),
        of: (TaskId, Layout),
        stalls: bool,
    ) -> Self {
        let identity = cluster.host(Role::Daemon);
        let (task, id) = (of.0, identity.host());
        host.told(SchedulerMessage::Importer { task, host: id })
            .await;
        Self::unnamed(identity, (host, web), of, stalls).await
    }

    /// Connects to `host`, which does not know that it vouches for anything.
    pub(super) async fn unnamed(
        identity: identity::Identity,
        (host, web): (&Host, &Web),
        of: (TaskId, Layout),
        stalls: bool,
    ) -> Self {
        let (key, name) = (identity.key().clone(), identity.cluster().clone());
        let (id, layout) = (key.host_id(), of.1);
        let link = link(identity, host, None).await;
        open(&link, of, &PieceSet::full(layout.piece_count()));
        Self {
            id,
            key,
            cluster: name,
            link,
            of,
            source: Arc::new(Held {
                content: Arc::clone(&web.content),
                stalls: stalls.then_some(layout),
            }),
        }
    }

    /// Sends what is asked for until the link ends, or until a request came if `once`.
    pub(super) async fn serve(&mut self, once: bool) {
        while let Ok(event) = self.link.receiver.next().await {
            let wire::Event::Message { message, .. } = event else {
                continue;
            };
            match message {
                Message::Want { runs, .. } => {
                    let runs = runs.as_slice().iter();
                    runs.flat_map(|run| run.pieces())
                        .for_each(|piece| self.send(piece));
                    if once {
                        return;
                    }
                }
                Message::Cancel { runs, .. } => {
                    let runs = runs.as_slice().iter();
                    runs.for_each(|run| self.link.sender.cancel(TaskNo(1), *run));
                }
                _ => {}
            }
        }
    }

    fn send(&self, piece: PieceIndex) {
        let (task, layout) = self.of;
        let range = layout.range_of(piece);
        let mut hasher = PieceHasher::new(&layout, piece);
        hasher.update(&self.source.content[range.start() as usize..range.end() as usize]);
        let mut segment = Segment {
            task,
            layout,
            epoch: Epoch(1),
            first: piece,
            digests: vec![hasher.finish()],
            signer: self.id,
            signature: [0; 64],
        };
        segment.signature = self.key.sign(&segment.statement(&self.cluster));
        let no = TaskNo(1);
        let sender = &self.link.sender;
        let vouched = Message::Segment { no, segment };
        sender.try_send(&vouched).expect("room");
        let upload = Upload {
            no,
            piece,
            range,
            source: Arc::clone(&self.source) as _,
        };
        sender.send_piece(upload).expect("a place");
    }
}
