//! What a daemon is told when it starts. Checked values only: nothing here is parsed again.

use std::{net::SocketAddr, path::PathBuf};

use identity::Identity;
use origin::OriginConfig;
use store::StoreConfig;
use swarm::{
    download::DownloadPolicy,
    upload::{RateLimit, UploadPolicy, Uploads},
};
use types::{ByteCount, Moment, RegistryHost, Topology};

/// One daemon.
pub struct Config {
    /// Who it is, in which cluster.
    pub identity: Identity,
    /// Where its identity is kept, for renewals.
    pub identity_dir: PathBuf,
    /// Prefer it for reading origins.
    pub is_seed: bool,
    /// Where it stands.
    pub topology: Topology,
    /// The peer port.
    pub peer: SocketAddr,
    /// Schedulers, the first live one is used; none: it works alone.
    pub schedulers: Vec<String>,
    /// Its store.
    pub store: StoreConfig,
    /// The door to the outside.
    pub origin: OriginConfig,
    /// The registry mirror.
    pub mirror: Option<Mirror>,
    /// `/metrics`, `/healthz`, `/readyz`.
    pub status: Option<SocketAddr>,
    /// The local socket.
    pub local: Option<Local>,
    /// Rates and slots.
    pub limits: Limits,
}

/// The registry mirror.
pub struct Mirror {
    /// Where it listens: loopback, unless an operator chose otherwise.
    pub listen: SocketAddr,
    /// Registries that may be named in a path.
    pub registries: Vec<RegistryHost>,
    /// The registry for clients that name none.
    pub default_registry: Option<RegistryHost>,
    /// Whether clients may name any registry by `ns`.
    pub any: bool,
}

/// The local socket.
pub struct Local {
    /// Its path.
    pub path: PathBuf,
    /// The group that may use it, by number.
    pub group: Option<u32>,
}

/// How much this host gives and takes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Running uploads, and requests in line.
    pub upload: UploadPolicy,
    /// How downloads behave.
    pub download: DownloadPolicy,
    /// Bytes a second to other hosts.
    pub upload_rate: Option<ByteCount>,
    /// Connections to other hosts.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upload: UploadPolicy::default(),
            download: DownloadPolicy::default(),
            upload_rate: None,
            connections: 256,
        }
    }
}

impl Limits {
    pub(crate) fn uploads(&self, now: Moment) -> Uploads {
        Uploads::new(self.upload, RateLimit::new(self.upload_rate, now))
    }
}
