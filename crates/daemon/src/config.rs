//! What a daemon is told when it starts. Checked values only: nothing here is parsed again.

use std::{net::SocketAddr, path::PathBuf};

use gateway::{local::Access, mirror::Registries};
use identity::Identity;
use origin::OriginConfig;
use store::StoreConfig;
use swarm::{
    download::DownloadPolicy,
    upload::{RateLimit, UploadPolicy, Uploads},
};
use types::{ByteCount, Moment, Topology};
use wire::link::{BufferPool, Intake};

use crate::doors::DoorsConfig;

/// Frames that may be on their way into sockets at once, over all links.
const SEND_BUFFERS: usize = 64;

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
    /// Bytes a second of it that are checked again in the background; none: nothing is.
    pub scrub_rate: Option<ByteCount>,
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
    /// Addresses that peers find it at; empty: the one that the scheduler sees.
    pub advertise: Vec<SocketAddr>,
    /// What people call it.
    pub name: String,
}

impl Config {
    /// What the scheduler is told first, once the peer port is open at `peer`.
    pub(crate) fn join(&self, peer: SocketAddr) -> control::Join {
        let listen = if self.advertise.is_empty() {
            vec![peer]
        } else {
            self.advertise.clone()
        };
        control::Join {
            topology: self.topology.clone(),
            is_seed: self.is_seed,
            listen,
            capacity: u16::try_from(self.limits.connections).unwrap_or(u16::MAX),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// How the doors behave.
    pub(crate) fn doors(&self) -> DoorsConfig {
        DoorsConfig {
            data_dir: self.store.dir.clone(),
            ranges_whole: false,
            is_scheduled: !self.schedulers.is_empty(),
            host: self.name.clone(),
            cluster: self.identity.cluster().to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }
}

/// The registry mirror.
pub struct Mirror {
    /// Where it listens: loopback, unless an operator chose otherwise.
    pub listen: SocketAddr,
    /// Which registries a request may mean.
    pub registries: Registries,
}

/// The local socket.
pub struct Local {
    /// Its path.
    pub path: PathBuf,
    /// The group that may connect, by number.
    pub group: Option<u32>,
    /// Who may do what.
    pub access: Access,
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
    /// Bytes a second from other hosts, over all links.
    pub download_rate: Option<ByteCount>,
    /// Connections to other hosts.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upload: UploadPolicy::default(),
            download: DownloadPolicy::default(),
            upload_rate: None,
            download_rate: None,
            connections: 256,
        }
    }
}

impl Limits {
    /// How links behave.
    pub(crate) fn wire(&self) -> wire::Config {
        wire::Config {
            intake: Intake::new(self.download_rate),
            ..wire::Config::new(BufferPool::new(SEND_BUFFERS))
        }
    }

    pub(crate) fn uploads(&self, now: Moment) -> Uploads {
        Uploads::new(self.upload, RateLimit::new(self.upload_rate, now))
    }
}
