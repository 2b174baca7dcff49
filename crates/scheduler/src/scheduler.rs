//! Starting and stopping.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use identity::{ClusterCa, IssueError, LinkLimits, Links, LoadError, NodeKey, Role, Roles};
use swarm::schedule::{Restart, Schedule};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use types::Epoch;

use crate::{
    config::SchedulerConfig,
    door::{self, Door},
    folder,
    metrics::Metrics,
    office::Office,
    owner::Owner,
};

/// Messages of all hosts that wait for the brain; beyond, hosts wait.
const INPUTS: usize = 4096;

/// Why a scheduler did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The authority's directory, or the scheduler's key in it.
    #[error("loading the authority of the cluster failed")]
    Load(#[from] LoadError),
    /// Its own certificate.
    #[error("making the scheduler's own certificate failed")]
    Issue(#[from] IssueError),
    /// The port.
    #[error("listening on {address} failed")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The runtime is going down.
    #[error("the runtime is stopping")]
    Runtime,
}

/// A part of the scheduler has ended, although nobody told it to.
#[derive(Debug, thiserror::Error)]
pub enum EndedEarly {
    /// It returned.
    #[error("a part of the scheduler ended by itself")]
    Returned,
    /// It panicked.
    #[error("a part of the scheduler broke off")]
    Broke(#[source] tokio::task::JoinError),
}

/// A scheduler that runs. Dropped, it ends at once; [`Scheduler::stop`] ends it in order.
#[derive(Debug)]
pub struct Scheduler {
    address: SocketAddr,
    metrics: Metrics,
    ca: Arc<ClusterCa>,
    stop: CancellationToken,
    cut: CancellationToken,
    stop_timeout: Duration,
    tasks: JoinSet<()>,
}

impl Scheduler {
    /// Loads or makes the cluster's authority, listens, and begins to schedule.
    pub async fn start(config: SchedulerConfig) -> Result<Self, StartError> {
        let (dir, cluster) = (config.ca_dir.clone(), config.cluster.clone());
        let lifetime = config.certificate_lifetime;
        let loaded = spawn_blocking(move || -> Result<_, StartError> {
            let ca = ClusterCa::load_or_create(&dir, &cluster)?.with_lifetime(lifetime);
            let own = dir.join("host");
            let key = NodeKey::load_or_create(&own)?;
            let roles = Roles::from(Role::Scheduler);
            let identity = ca.identity_for(&key, roles, SystemTime::now())?;
            Ok((Arc::new(ca), identity.with_seeds_in(&own)?))
        });
        let (ca, identity) = loaded.await.map_err(|_| StartError::Runtime)??;
        let address = config.listen;
        let failed = |cause| StartError::Listen { address, cause };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let office = Office {
            ca: ca.clone(),
            links: Links::with_limits(
                identity,
                LinkLimits {
                    expiry_grace: config.expiry_grace,
                    ..LinkLimits::default()
                },
            ),
        };
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let metrics = Metrics::default();
        let mut tasks = JoinSet::new();
        let (inputs, taken) = mpsc::channel(INPUTS);
        let (closings, closed) = mpsc::channel(config.links_max.max(1));
        let owner = owner(&config, &office, metrics.clone());
        tasks.spawn(owner.run(taken, closed, stop.clone()));
        tasks.spawn(door::keep_identity(
            office.clone(),
            metrics.clone(),
            stop.clone(),
        ));
        let dir = config.ca_dir.join("host");
        tasks.spawn(folder::keep_seeds(office.clone(), dir, stop.clone()));
        let dir = config.ca_dir.clone();
        tasks.spawn(folder::watch(office.clone(), dir, stop.clone()));
        let door = Door {
            office,
            inputs,
            closings,
            outbox: config.outbox.max(1),
            links_max: config.links_max,
            metrics: metrics.clone(),
            cut: cut.clone(),
        };
        tasks.spawn(door::accept(door, listener, stop.clone()));
        tracing::info!(%address, cluster = %config.cluster, "the scheduler listens");
        Ok(Self {
            address,
            metrics,
            ca,
            stop,
            cut,
            stop_timeout: config.stop_timeout,
            tasks,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The cluster's authority: for `pantala up`, which makes its daemon's certificate and its first token here.
    pub fn authority(&self) -> &Arc<ClusterCa> {
        &self.ca
    }

    /// Waits until a part of it ends by itself, which nothing but a fault brings about; for ever if none does.
    pub async fn ended(&mut self) -> EndedEarly {
        match self.tasks.join_next().await {
            None | Some(Ok(())) => EndedEarly::Returned,
            Some(Err(cause)) => EndedEarly::Broke(cause),
        }
    }

    /// Stops: no new links, streams closed in order, then, after the configured time, links cut.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(self.stop_timeout, ended).await.is_err() {
            self.cut.cancel();
            while self.tasks.join_next().await.is_some() {}
        }
    }
}

fn owner(config: &SchedulerConfig, office: &Office, metrics: Metrics) -> Owner {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since_1970 = since_1970.unwrap_or_default();
    let instance = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
    let restart = Restart {
        wait: config.restart_wait,
        epoch_floor: Epoch(u64::try_from(since_1970.as_micros()).unwrap_or(0)),
    };
    let policy = config.policy.clone();
    Owner {
        brain: Schedule::rebuilding(types::Moment::ZERO, policy, instance, restart),
        began: Instant::now(),
        cluster: config.cluster.clone(),
        instance,
        links: office.links.clone(),
        may_advertise: Arc::clone(&config.may_advertise),
        metrics,
    }
}
