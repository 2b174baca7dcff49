//! What a scheduler is told.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use identity::ExpiryGrace;
use swarm::schedule::Policy;
use types::ClusterId;

/// Whether hosts may advertise an address although they call from another one.
pub type MayAdvertise = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// What a scheduler is told. See [`SchedulerConfig::new`] for the usual values.
#[derive(Clone)]
pub struct SchedulerConfig {
    /// The authority's directory; the scheduler's own key lies in `host` below it. Made if there is none.
    pub ca_dir: PathBuf,
    /// The cluster.
    pub cluster: ClusterId,
    /// Where to listen.
    pub listen: SocketAddr,
    /// How long the certificates are good for that it makes; 72 hours at most.
    pub certificate_lifetime: Duration,
    /// How long after their expiry certificates are still taken.
    pub expiry_grace: ExpiryGrace,
    /// What the brain decides by.
    pub policy: Policy,
    /// How long after a start unknown tasks wait for hosts to tell of them.
    pub restart_wait: Duration,
    /// What is not allowed is replaced by the address that the host is seen at.
    pub may_advertise: MayAdvertise,
    /// Messages that may wait for one host; beyond, it is dropped.
    pub outbox: usize,
    /// Links at once.
    pub links_max: usize,
    /// How long a stop may take.
    pub stop_timeout: Duration,
}

impl SchedulerConfig {
    /// The usual values.
    pub fn new(ca_dir: PathBuf, cluster: ClusterId, listen: SocketAddr) -> Self {
        Self {
            ca_dir,
            cluster,
            listen,
            certificate_lifetime: Duration::from_secs(72 * 3600),
            expiry_grace: ExpiryGrace::default(),
            policy: Policy::default(),
            restart_wait: Duration::from_secs(1),
            may_advertise: Arc::new(|_| false),
            outbox: 4096,
            links_max: 60_000,
            stop_timeout: Duration::from_secs(2),
        }
    }
}
