//! Two ends of a real loopback connection, and content to send.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use types::{ByteCount, ByteRange, Layout, PieceIndex, PieceRun, TaskId};
use wire::{
    Config, Event, Hello, Inventory, Link, LinkEnd, LinkReceiver, Message, Runs, TaskNo, codec,
    link::{BufferPool, PieceSource, ReadFuture, Upload},
};

pub(crate) const TASK: TaskId = TaskId::from_bytes([7; 32]);
pub(crate) const NO: TaskNo = TaskNo(1);

pub(crate) fn layout(mib: u64) -> Layout {
    Layout::of(ByteCount::mib(mib)).expect("a layout")
}

pub(crate) fn config() -> Config {
    Config::new(BufferPool::new(2))
}

pub(crate) fn hello(cluster: &str) -> Hello {
    Hello {
        version: codec::VERSION,
        cluster: cluster.parse().expect("a name"),
        features: 0,
        lane: 0,
        listen_port: 4001,
        revocations: Some(Bytes::from_static(b"a signed list")),
    }
}

pub(crate) fn open(layout: Layout) -> Message {
    Message::Open {
        no: NO,
        task: TASK,
        layout,
        have: Inventory::Full,
        importer: false,
    }
}

pub(crate) fn runs(first: u32, count: u32) -> Runs {
    Runs::one(PieceRun {
        first: PieceIndex(first),
        count,
    })
    .expect("a run")
}

pub(crate) async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (dialled, accepted) = (
        dialled.expect("a connection"),
        accepted.expect("a connection").0,
    );
    wire::link::tune(&dialled).expect("socket options");
    wire::link::tune(&accepted).expect("socket options");
    (dialled, accepted)
}

pub(crate) async fn links() -> (Link, Link) {
    let (a, b) = sockets().await;
    let (a, b) = tokio::join!(
        Link::start(a, config(), hello("prod")),
        Link::start(b, config(), hello("prod"))
    );
    (a.expect("a link"), b.expect("a link"))
}

/// A link, and the raw socket of a remote that has said hello properly.
pub(crate) async fn link_and_raw(config: Config) -> (Link, TcpStream) {
    let (ours, mut raw) = sockets().await;
    let greeting = codec::encode(&Message::Hello(hello("prod")));
    raw.write_all(&greeting).await.expect("sent");
    let link = Link::start(ours, config, hello("prod"))
        .await
        .expect("a link");
    raw.read_exact(&mut vec![0; greeting.len()])
        .await
        .expect("their hello");
    (link, raw)
}

/// Takes events up to the end, and gives both.
pub(crate) async fn drain(receiver: &mut LinkReceiver) -> (Vec<Event>, LinkEnd) {
    let mut events = Vec::new();
    loop {
        match receiver.next().await {
            Ok(event) => events.push(event),
            Err(end) => return (events, end),
        }
    }
}

pub(crate) async fn message(receiver: &mut LinkReceiver) -> Message {
    match receiver.next().await {
        Ok(Event::Message { message, .. }) => message,
        other => panic!("no message: {other:?}"),
    }
}

pub(crate) fn byte_at(offset: u64) -> u8 {
    (offset * 31 % 251) as u8
}

/// Content that is computed; reads past `limit` fail.
pub(crate) struct Computed {
    pub(crate) limit: u64,
}

impl PieceSource for Computed {
    fn read<'a>(&'a self, range: ByteRange, into: &'a mut BytesMut) -> ReadFuture<'a> {
        Box::pin(async move {
            if range.end() > self.limit {
                return Err(io::Error::other("the disk is broken"));
            }
            into.extend((range.start()..range.end()).map(byte_at));
            Ok(())
        })
    }
}

pub(crate) fn upload(layout: Layout, piece: u32) -> Upload {
    let piece = PieceIndex(piece);
    let source = Arc::new(Computed { limit: u64::MAX });
    Upload {
        no: NO,
        piece,
        range: layout.range_of(piece),
        source,
    }
}

pub(crate) const SOON: Duration = Duration::from_millis(50);
