//! What a daemon is told when it starts. Checked values only: nothing here is parsed again.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use gateway::{
    Names,
    local::{Access, SettingReport},
    mirror::Registries,
    proxy::{Admits, Rules},
};
use identity::{ExpiryGrace, Identity};
use origin::OriginConfig;
use store::StoreConfig;
use swarm::{
    download::DownloadPolicy,
    upload::{RateLimit, UploadPolicy, Uploads},
};
use types::{ByteCount, HostPattern, Moment, Topology};
use wire::link::{BufferPool, Intake, ReceiveRoom};

use crate::{
    doors::{DoorsConfig, ProofPolicy},
    metrics::Metrics,
};

/// One daemon.
pub struct Config {
    /// Who it is, in which cluster.
    pub identity: Identity,
    /// Where its identity is kept, for renewals.
    pub identity_dir: PathBuf,
    /// How long after their expiry certificates of others are still taken.
    pub expiry_grace: ExpiryGrace,
    /// Prefer it for reading origins.
    pub is_seed: bool,
    /// Where it stands.
    pub topology: Topology,
    /// The peer port.
    pub peer: SocketAddr,
    /// Schedulers, the first live one is used; none: it works alone.
    pub schedulers: Vec<String>,
    /// Hosts of the cluster as `host:port`, dialled while no scheduler is there.
    pub peers: Vec<String>,
    /// Its store.
    pub store: StoreConfig,
    /// Bytes a second of it that are checked again in the background; none: nothing is.
    pub scrub_rate: Option<ByteCount>,
    /// The door to the outside.
    pub origin: OriginConfig,
    /// The registry mirror.
    pub mirror: Option<Mirror>,
    /// The forward proxy.
    pub proxy: Option<Proxy>,
    /// `/metrics`, `/healthz`, `/readyz`.
    pub status: Option<SocketAddr>,
    /// The local socket.
    pub local: Option<Local>,
    /// Rates and slots.
    pub limits: Limits,
    /// Addresses that peers find it at; empty: the one that the scheduler sees.
    pub advertise: Vec<SocketAddr>,
    /// What counts it.
    pub metrics: Metrics,
    /// What people call it.
    pub name: String,
    /// What clients of its HTTP doors may call it, beside its addresses and `localhost`.
    pub names: Names,
    /// How it was started, for people.
    pub started: Started,
}

/// How a daemon was started. It does nothing with it but tell.
#[derive(Clone, Debug, Default)]
pub struct Started {
    /// By which command.
    pub command: String,
    /// With what, beyond the defaults.
    pub settings: Vec<SettingReport>,
    /// The last lines that the process logged, if it keeps any.
    pub log: Option<fn() -> Vec<String>>,
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

    /// Whether this host has nobody to ask and nobody to find.
    pub(crate) fn is_alone(&self) -> bool {
        self.schedulers.is_empty() && self.peers.is_empty()
    }

    /// How the doors behave.
    pub(crate) fn doors(&self) -> DoorsConfig {
        DoorsConfig {
            data_dir: self.store.dir.clone(),
            fill: self.mirror.as_ref().is_some_and(|mirror| mirror.fill),
            manifests_max: self.limits.memory.manifests,
            stale_if_error: self
                .mirror
                .as_ref()
                .and_then(|mirror| mirror.stale_if_error),
            proofs: self.limits.proofs,
            tunnel_ports: self
                .proxy
                .as_ref()
                .map_or_else(Vec::new, |proxy| proxy.ports.clone()),
            is_scheduled: !self.schedulers.is_empty(),
            host: self.name.clone(),
            cluster: self.identity.cluster().to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            started: self.started.clone(),
        }
    }
}

/// The registry mirror.
pub struct Mirror {
    /// Where it listens: loopback, unless an operator chose otherwise.
    pub listen: SocketAddr,
    /// Which registries a request may mean.
    pub registries: Registries,
    /// Whether a request for a part of a blob has the rest fetched behind it.
    pub fill: bool,
    /// How old a tag's meaning may be that is served while its registry fails; none: it never is.
    pub stale_if_error: Option<Duration>,
}

/// The forward proxy.
pub struct Proxy {
    /// Where it listens: loopback, unless an operator chose otherwise.
    pub listen: SocketAddr,
    /// What is done with which requests.
    pub rules: Rules,
    /// Who may ask.
    pub admits: Admits,
    /// Ports beside 443 that tunnels may lead to.
    pub ports: Vec<u16>,
    /// How long a tunnel may carry nothing.
    pub tunnel_idle: Duration,
    /// Hosts whose tunnels are opened; empty: nobody's.
    pub intercepted: Vec<HostPattern>,
    /// Where the authority for them is kept.
    pub interception_dir: PathBuf,
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
    /// Memory for content on its way.
    pub memory: Memory,
    /// Connections to other hosts.
    pub connections: usize,
    /// How long a caller's right to private content counts once it was shown.
    pub proofs: ProofPolicy,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upload: UploadPolicy::default(),
            download: DownloadPolicy::default(),
            upload_rate: None,
            download_rate: None,
            memory: Memory::within(ByteCount::mib(96)),
            connections: 256,
            proofs: ProofPolicy::default(),
        }
    }
}

/// How much content may be in memory on its way through this host, in frames of 256 KiB, and manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Frames on their way into sockets of other hosts.
    pub send_frames: usize,
    /// Bytes of frames from other hosts that are being read or not yet in a file.
    pub receive_bytes: usize,
    /// Answers of the mirror that run at once, each with a frame.
    pub answers: usize,
    /// Public manifests that the mirror keeps.
    pub manifests: ByteCount,
    /// Bytes of signed words for pieces whose signers nobody named yet.
    pub words: usize,
}

impl Memory {
    const FRAME: u64 = 256 << 10;

    /// A quarter of `budget` for sending, a quarter for answers of the mirror, a twelfth for manifests, a little for
    /// words that wait for a name, the rest for receiving; each of the first two has room for one frame at least.
    pub fn within(budget: ByteCount) -> Self {
        let count = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let quarter = count(budget.0 / 4 / Self::FRAME).max(1);
        // 8 MiB of the default: a hundred images' at some 10 KiB each take one.
        let manifests = ByteCount(budget.0 / 12);
        // 1 MiB of the default.
        let words = count(budget.0 / 96);
        Self {
            send_frames: quarter,
            receive_bytes: count(budget.0 / 2 - manifests.0) - words,
            answers: quarter,
            manifests,
            words,
        }
    }
}

impl Limits {
    /// How links behave.
    pub(crate) fn wire(&self) -> wire::Config {
        wire::Config {
            intake: Intake::new(self.download_rate),
            room: ReceiveRoom::new(self.memory.receive_bytes),
            ..wire::Config::new(BufferPool::new(self.memory.send_frames))
        }
    }

    pub(crate) fn uploads(&self, now: Moment) -> Uploads {
        Uploads::new(self.upload, RateLimit::new(self.upload_rate, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_of_a_budget_are_the_budget() {
        for mib in [16, 96, 4096] {
            let budget = ByteCount::mib(mib);
            let memory = Memory::within(budget);
            let frames = (memory.send_frames + memory.answers) as u64 * Memory::FRAME;
            let rest = (memory.receive_bytes + memory.words) as u64 + memory.manifests.0;
            assert_eq!(frames + rest, budget.0);
        }
        assert_eq!(Memory::within(ByteCount::ZERO).send_frames, 1);
    }
}
