//! Putting one daemon together, and taking it apart in order.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use control::ControlClient;
use gateway::{
    Limits as HttpLimits, Places, ServeError,
    admin::Admin,
    local::{LocalDoor, LocalSocket, SocketError},
    mirror::{Backends, Mirror},
    proxy::{self, Proxy, Tally},
};
use identity::{Interception, InterceptionError, LinkLimits, Links};
use origin::{OriginSetupError, Origins};
use store::{OpenError, Store};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    accept::Acceptor,
    access::Accesses,
    clock::Clock,
    config::{self, Config},
    core::{Core, Events, Parts},
    dial::Dialler,
    doors::{Doors, DoorsParts, Health, Interceptor},
    find::{Finder, Outlook},
    greeting::Greeting,
    handle::Handle,
    import::Signer,
    keeper::Keeper,
    metrics::Metrics,
    scheduler::ToScheduler,
    scrub::Scrub,
    watched::{EndedEarly, Watched},
};

/// Events and commands that may wait for the core; who brings more waits.
const QUEUE: usize = 1024;

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
    /// The data directory.
    #[error("reading the data directory")]
    Data(#[from] io::Error),
    /// The local socket.
    #[error("opening the local socket")]
    Local(#[from] SocketError),
    /// The authority in whose name the proxy speaks for listed hosts.
    #[error("opening the proxy's authority")]
    Interception(#[from] InterceptionError),
    /// The store.
    #[error("opening the store")]
    Store(#[from] OpenError),
    /// The door to the outside.
    #[error("setting up the way to origins")]
    Origin(#[from] OriginSetupError),
}

/// What everything else stands on.
struct Ground {
    store: Store,
    origins: Origins,
    accesses: Accesses,
    metrics: Metrics,
    health: Health,
}

impl Ground {
    fn open(config: &Config) -> Result<Self, StartError> {
        let (store, recovery) = tokio::task::block_in_place(|| Store::open(config.store.clone()))?;
        info!(
            contents = recovery.contents,
            held = recovery.held.0,
            unclean = recovery.unclean,
            "the store is open"
        );
        let origins = Origins::new(config.origin.clone())?;
        Ok(Self {
            store,
            accesses: Accesses::new(origins.clone()),
            origins,
            metrics: config.metrics.clone(),
            health: Health::default(),
        })
    }

    /// What the core takes of it.
    fn core(
        &self,
        config: &Config,
        (links, dialler, peer): (Links, Dialler, SocketAddr),
        outlook: watch::Sender<Outlook>,
    ) -> Parts {
        Parts {
            links,
            signer: Signer {
                key: config.identity.key().clone(),
                cluster: config.identity.cluster().clone(),
            },
            is_seed: config.is_seed,
            is_alone: config.is_alone(),
            dialler,
            outlook,
            join: config.join(peer),
            limits: config.limits.clone(),
            store: self.store.clone(),
            accesses: self.accesses.clone(),
            metrics: self.metrics.clone(),
            health: self.health.clone(),
            clock: Clock::start(),
            seed: rand::random(),
        }
    }

    /// The keeper of the stream, and the way to other calls over its link.
    fn to_scheduler(
        &self,
        config: &Config,
        links: &Links,
        events: &Events,
    ) -> (watch::Receiver<Option<ControlClient>>, ToScheduler) {
        let (clients_in, clients) = watch::channel(None);
        let session = ToScheduler {
            links: links.clone(),
            schedulers: config.schedulers.clone(),
            events: events.clone(),
            clients: clients_in,
            seed: rand::random(),
        };
        (clients, session)
    }

    /// The keeper of the identity.
    fn keeper(
        &self,
        config: &Config,
        (links, clients): (Links, watch::Receiver<Option<ControlClient>>),
        events: &Events,
    ) -> Keeper {
        Keeper {
            links,
            dir: config.identity_dir.clone(),
            clients,
            events: events.clone(),
            health: self.health.clone(),
            metrics: self.metrics.clone(),
            seed: rand::random(),
        }
    }

    /// What the doors take of it.
    fn doors(&self, handle: &Handle) -> DoorsParts {
        DoorsParts {
            handle: handle.clone(),
            origins: self.origins.clone(),
            store: self.store.clone(),
            accesses: self.accesses.clone(),
            metrics: self.metrics.clone(),
            health: self.health.clone(),
        }
    }
}

/// A running daemon.
pub struct Daemon {
    peer: SocketAddr,
    mirror: Option<SocketAddr>,
    proxy: Option<SocketAddr>,
    status: Option<SocketAddr>,
    handle: Handle,
    store: Store,
    origins: Origins,
    stops: Stops,
    /// Doors of local consumers.
    doors: Watched,
    /// What decides.
    core: Watched,
    /// What brings the core its news and carries its words away: it goes on until the core has said goodbye.
    around: Watched,
}

/// What ends which part, in this order.
#[derive(Default)]
struct Stops {
    accepting: CancellationToken,
    doors: CancellationToken,
    core: CancellationToken,
    /// Running uploads are cut off.
    hurry: CancellationToken,
    around: CancellationToken,
}

impl Daemon {
    /// Opens the store and every listener, then runs. Any failure ends the start: a daemon is never half there.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let ground = Ground::open(&config)?;
        let on_peer = |cause| StartError::Peer {
            address: config.peer,
            cause,
        };
        let listener = TcpListener::bind(config.peer).await.map_err(on_peer)?;
        let peer = listener.local_addr().map_err(on_peer)?;

        let (events_in, events) = mpsc::channel(QUEUE);
        let (commands_in, commands) = mpsc::channel(QUEUE);
        let (events_in, handle) = (Events::new(events_in), Handle::new(commands_in));
        let limits = LinkLimits {
            expiry_grace: config.expiry_grace,
            ..LinkLimits::default()
        };
        let links = Links::with_limits(config.identity.clone(), limits);
        let greeting = Greeting::new(links.clone(), peer.port(), config.limits.wire());
        let dialler = Dialler {
            greeting: greeting.clone(),
            events: events_in.clone(),
        };
        let acceptor = Acceptor {
            greeting,
            events: events_in.clone(),
            untaken: ground.metrics.untaken().clone(),
        };
        let (outlook, outlooks) = watch::channel(Outlook::default());
        let finder = finder(&config, dialler.clone(), outlooks);
        let parts = ground.core(&config, (links.clone(), dialler, peer), outlook);
        let (clients, session) = ground.to_scheduler(&config, &links, &events_in);
        let keeper = ground.keeper(&config, (links, clients), &events_in);
        let scrub = config.scrub_rate.map(|rate| Scrub {
            store: ground.store.clone(),
            rate,
            events: events_in.clone(),
            metrics: ground.metrics.clone(),
        });
        let doors = Arc::new(Doors::new(ground.doors(&handle), config.doors())?);
        let (store, origins, metrics) = (ground.store, ground.origins, ground.metrics);
        let mut daemon = Self {
            peer,
            mirror: None,
            proxy: None,
            status: None,
            handle,
            store,
            origins,
            stops: Stops::default(),
            doors: Watched::default(),
            core: Watched::default(),
            around: Watched::default(),
        };
        daemon.open_doors(&doors, (&config, &metrics)).await?;
        let stops = (daemon.stops.core.clone(), daemon.stops.hurry.clone());
        let core = Core::new(parts, events_in).run(commands, events, stops);
        daemon.core.spawn("the core", core);
        let accepting = acceptor.run(listener, daemon.stops.accepting.child_token());
        let around = || daemon.stops.around.child_token();
        let (session, finder) = (session.run(around()), finder.run(around()));
        let keeper = keeper.run(around());
        let scrub = scrub.map(|scrub| scrub.run(around()));
        daemon.around.spawn("the peer port", accepting);
        daemon.around.spawn("the stream to the scheduler", session);
        daemon.around.spawn("the care for the certificate", keeper);
        if !config.is_alone() {
            daemon.around.spawn("the search for hosts", finder);
        }
        if let Some(scrub) = scrub {
            daemon.around.spawn("the check of the store", scrub);
        }
        let host = config.identity.host();
        info!(%host, %peer, mirror = daemon.mirror.map(display), proxy = daemon.proxy.map(display), status = daemon.status.map(display), "the daemon runs");
        Ok(daemon)
    }

    /// Opens what is configured; the first listener that fails ends the start.
    async fn open_doors(
        &mut self,
        doors: &Arc<Doors>,
        (config, metrics): (&Config, &Metrics),
    ) -> Result<(), StartError> {
        let untaken = metrics.untaken();
        let limits = HttpLimits {
            names: config.names.clone(),
            untaken: untaken.clone(),
            ..HttpLimits::default()
        };
        // Of mirror and proxy together: each holds a frame of content.
        let answers = Places::new(config.limits.memory.answers);
        if let Some(mirror) = &config.mirror {
            let listener = bind("registry mirror", mirror.listen).await?;
            self.mirror = listener.local_addr().ok();
            let registries = mirror.registries.clone();
            let stop = self.stops.doors.child_token();
            let mirror = Mirror::new(backends(doors), registries).serve(
                listener,
                HttpLimits {
                    answers: answers.clone(),
                    ..limits.clone()
                },
                stop,
            );
            self.doors.spawn("the registry mirror", mirror);
        }
        if let Some(proxy) = &config.proxy {
            let listener = bind("proxy", proxy.listen).await?;
            self.proxy = listener.local_addr().ok();
            let limits = HttpLimits {
                // Most of its answers are other servers' and hold no frame.
                answers: Places::new(limits.connections_max),
                tunnel_idle: proxy.tunnel_idle,
                ..limits.clone()
            };
            let stop = self.stops.doors.child_token();
            let interceptor = interceptor(proxy)?;
            if let Some(interceptor) = interceptor.clone() {
                let care = interceptor.care((metrics.clone(), stop.clone()));
                self.doors.spawn("the care for the proxy's authority", care);
            }
            let tally = metrics.proxy().clone();
            let parts = parts_of_proxy(proxy, (doors, interceptor), (answers, tally));
            let proxy = Proxy::new(parts);
            let proxy = proxy.serve(listener, limits, stop);
            self.doors.spawn("the proxy", proxy);
        }
        if let Some(status) = config.status {
            let listener = bind("status page", status).await?;
            self.status = listener.local_addr().ok();
            let stop = self.stops.doors.child_token();
            let admin = Admin::new(Arc::clone(doors));
            let page = admin.serve(listener, limits, stop);
            self.doors.spawn("the status page", page);
        }
        if let Some(local) = &config.local {
            let socket = LocalSocket::bind(&local.path, local.group)?;
            let door = LocalDoor::new(Arc::clone(doors), local.access.clone());
            let door = door.counting(untaken.clone());
            let served = door.serve(socket, self.stops.doors.child_token());
            self.doors.spawn("the local socket", served);
        }
        Ok(())
    }

    /// Where peers find it.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Where the mirror listens.
    pub fn mirror(&self) -> Option<SocketAddr> {
        self.mirror
    }

    /// Where the proxy listens.
    pub fn proxy(&self) -> Option<SocketAddr> {
        self.proxy
    }

    /// Where the status page listens.
    pub fn status(&self) -> Option<SocketAddr> {
        self.status
    }

    /// The way to its tasks.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs until `stop`, then leaves in order: no new links and readers, running uploads ended, goodbye to scheduler and
    /// peers, the store last. Takes at most `patience`, and each step a part of it, so that the store is closed in time;
    /// what is not done by then is cut off.
    ///
    /// Errors: [`EndedEarly`] if a part that a daemon cannot be without ended by itself. The rest is then ended too.
    pub async fn until_stopped(
        mut self,
        stop: CancellationToken,
        patience: Duration,
    ) -> Result<(), EndedEarly> {
        let early = tokio::select! {
            () = stop.cancelled() => None,
            early = self.doors.ended() => Some(early),
            early = self.core.ended() => Some(early),
            early = self.around.ended() => Some(early),
        };
        match &early {
            None => info!("stopping"),
            Some(cause) => error!(
                error = cause as &dyn std::error::Error,
                "stopping, since a part of the daemon is gone"
            ),
        }
        self.leave(patience).await;
        early.map_or(Ok(()), Err)
    }

    async fn leave(mut self, patience: Duration) {
        let step = patience / 10;
        self.stops.accepting.cancel();
        self.stops.doors.cancel();
        let mut in_time = self.doors.finish(step * 4).await;
        self.stops.core.cancel();
        let hurry = self.stops.hurry.clone();
        let hurry = async {
            tokio::time::sleep(step * 2).await;
            hurry.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            finished = self.core.finish(step * 3) => in_time &= finished,
            () = hurry => {}
        }
        self.stops.around.cancel();
        in_time &= self.around.finish(step).await;
        let closed = tokio::time::timeout(step, self.origins.close()).await;
        if !in_time || closed.is_err() {
            warn!("some work did not end in time and was cut off");
        }
        if let Err(cause) = tokio::task::block_in_place(|| self.store.close()) {
            warn!(
                error = &cause as &dyn std::error::Error,
                "the store was not closed cleanly"
            );
        }
    }
}

async fn bind(door: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    gateway::bind(address)
        .await
        .map_err(|cause| StartError::Door { door, cause })
}

fn backends(doors: &Arc<Doors>) -> Backends {
    Backends {
        content: Arc::clone(doors) as _,
        upstream: Arc::clone(doors) as _,
        manifests: Arc::clone(doors) as _,
    }
}

fn interceptor(config: &config::Proxy) -> Result<Option<Interceptor>, StartError> {
    if config.intercepted.is_empty() {
        return Ok(None);
    }
    let (dir, hosts) = (&config.interception_dir, &config.intercepted);
    let opened = tokio::task::block_in_place(|| Interception::open(dir, hosts))?;
    Ok(Some(Interceptor::new(opened)))
}

fn parts_of_proxy(
    config: &config::Proxy,
    (doors, interceptor): (&Arc<Doors>, Option<Interceptor>),
    (places, tally): (Places, Tally),
) -> proxy::Parts {
    proxy::Parts {
        backends: backends(doors),
        outside: Arc::clone(doors) as _,
        interceptor: interceptor.map(|interceptor| Arc::new(interceptor) as _),
        intercepted: config.intercepted.clone(),
        rules: config.rules.clone(),
        admits: Arc::clone(&config.admits),
        places,
        tally,
    }
}

/// Who looks for hosts while no scheduler is there.
fn finder(config: &Config, dialler: Dialler, outlook: watch::Receiver<Outlook>) -> Finder {
    Finder {
        peers: config.peers.clone(),
        me: config.identity.host(),
        cluster: config.identity.cluster().clone(),
        path: config.identity_dir.with_file_name("members.json"),
        dialler,
        outlook,
        clock: Clock::start(),
        seed: rand::random(),
    }
}
