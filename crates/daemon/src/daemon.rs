//! Putting one daemon together, and taking it apart in order.

use std::{io, net::SocketAddr, time::Duration};

use gateway::{
    admin::Admin,
    http::{Limits as HttpLimits, ServeError},
    local::{Access, LocalDoor, LocalSocket, SocketError},
    mirror::{Backends, Mirror, Registries},
};
use identity::Links;
use origin::{OriginSetupError, Origins};
use store::{OpenError, Store};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wire::{
    Config as WireConfig, Hello,
    codec::VERSION,
    link::BufferPool,
};

use crate::{
    accept::Acceptor,
    access::Accesses,
    clock::Clock,
    config::Config,
    core::{Core, Events, Parts},
    dial::Dialler,
    doors::Doors,
    handle::Handle,
    import::Signer,
    metrics::Metrics,
    scheduler::ToScheduler,
};

/// Events and commands that may wait for the core; who brings more waits.
const QUEUE: usize = 1024;
/// Frames that may be on their way into sockets at once, over all links.
const SEND_BUFFERS: usize = 64;

/// Why a daemon did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The peer port.
    #[error("listening for peers on {address}")]
    Peer {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// An HTTP door.
    #[error("opening the {door}")]
    Door {
        /// Which.
        door: &'static str,
        /// Why not.
        #[source]
        cause: ServeError,
    },
    /// The local socket.
    #[error("opening the local socket")]
    Local(#[from] SocketError),
    /// The store.
    #[error("opening the store")]
    Store(#[from] OpenError),
    /// The door to the outside.
    #[error("setting up the way to origins")]
    Origin(#[from] OriginSetupError),
}

/// A running daemon.
pub struct Daemon {
    peer: SocketAddr,
    mirror: Option<SocketAddr>,
    status: Option<SocketAddr>,
    handle: Handle,
    store: Store,
    origins: Origins,
    /// Ends the doors, then the core.
    doors_stop: CancellationToken,
    core_stop: CancellationToken,
    doors: JoinSet<()>,
    core: JoinSet<()>,
}

impl Daemon {
    /// Opens the store and every listener, then runs. Any failure ends the start: a daemon is never half there.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let Config { identity, is_seed, topology, peer, schedulers, store, origin, mirror, status, local, limits, .. } = config;
        let (store, recovery) = tokio::task::block_in_place(|| Store::open(store))?;
        info!(contents = recovery.contents, held = %recovery.held, unclean = recovery.unclean, "the store is open");
        let origins = Origins::new(origin)?;
        let accesses = Accesses::new(origins.clone());
        let metrics = Metrics::new();
        let listener = TcpListener::bind(peer).await.map_err(|cause| StartError::Peer { address: peer, cause })?;
        let peer = listener.local_addr().map_err(|cause| StartError::Peer { address: peer, cause })?;

        let (events_in, events) = mpsc::channel(QUEUE);
        let (commands_in, commands) = mpsc::channel(QUEUE);
        let (events_in, handle) = (Events::new(events_in), Handle::new(commands_in));
        let signer = Signer { key: identity.key().clone(), cluster: identity.cluster().clone() };
        let links = Links::new(identity);
        let wire = WireConfig::new(BufferPool::new(SEND_BUFFERS));
        let hello = Hello {
            version: VERSION,
            cluster: signer.cluster.clone(),
            features: 0,
            lane: 0,
            listen_port: peer.port(),
            revocations: None,
        };
        let dialler = Dialler { links: links.clone(), wire: wire.clone(), hello: hello.clone(), events: events_in.clone() };
        let acceptor = Acceptor { links: links.clone(), wire, hello, events: events_in.clone() };
        let parts = Parts {
            links: links.clone(),
            signer,
            is_seed,
            is_scheduled: !schedulers.is_empty(),
            dialler,
            limits,
            store: store.clone(),
            accesses: accesses.clone(),
            metrics: metrics.clone(),
            clock: Clock::start(),
            seed: rand::random(),
        };
        let clock = parts.clock;
        let doors = Doors::new(handle.clone(), origins.clone(), (store.clone(), accesses, metrics));
        let mut daemon = Self {
            peer,
            mirror: None,
            status: None,
            handle,
            store,
            origins,
            doors_stop: CancellationToken::new(),
            core_stop: CancellationToken::new(),
            doors: JoinSet::new(),
            core: JoinSet::new(),
        };
        daemon.open_doors(doors, (mirror, status, local)).await?;
        let stop = daemon.core_stop.clone();
        daemon.core.spawn(Core::new(parts, events_in.clone()).run(commands, events, stop));
        daemon.core.spawn(acceptor.run(listener, daemon.core_stop.child_token()));
        if !schedulers.is_empty() {
            let session = ToScheduler { links, schedulers, topology, is_seed, peer, clock, events: events_in };
            daemon.core.spawn(session.run(daemon.core_stop.child_token()));
        }
        info!(%peer, mirror = ?daemon.mirror, status = ?daemon.status, "the daemon runs");
        Ok(daemon)
    }

    /// Where peers find it.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Where the mirror listens.
    pub fn mirror(&self) -> Option<SocketAddr> {
        self.mirror
    }

    /// Where the status page listens.
    pub fn status(&self) -> Option<SocketAddr> {
        self.status
    }

    /// The way to its tasks.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs until `stop`, then leaves in order: no new readers, goodbye to peers and scheduler, the store last. What is
    /// not done after `patience` is ended.
    pub async fn until_stopped(mut self, stop: CancellationToken, patience: Duration) {
        stop.cancelled().await;
        info!("stopping");
        let leave = async {
            self.doors_stop.cancel();
            while self.doors.join_next().await.is_some() {}
            self.core_stop.cancel();
            while self.core.join_next().await.is_some() {}
            self.origins.close().await;
        };
        if tokio::time::timeout(patience, leave).await.is_err() {
            warn!("some work did not end in time and was cut off");
        }
        self.doors.abort_all();
        self.core.abort_all();
        if let Err(cause) = tokio::task::block_in_place(|| self.store.close()) {
            warn!(error = &cause as &dyn std::error::Error, "the store was not closed cleanly");
        }
    }
}
