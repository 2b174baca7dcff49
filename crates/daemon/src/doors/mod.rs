//! What the doors of this host need: consumers' requests become tasks of the core, or go past it.
//!
//! * `resolve`: what a request is about, and whether it may be shared; `lately`: what need not be found out again; `look`: asking
//!   the cluster before the origin; `told`: going on with its word.
//! * `private`: who may have what needs credentials; `proofs`: what callers have shown lately.
//! * `content`: readers for what was found; `direct`, `stream_through`: for what is not shared, without and with a file;
//!   `incoming`: what both have in common; `sturdy`: from a task to them when the disk fails; `fill`: the rest of what is read in
//!   parts.
//! * `bypass`: the operator's switch past everything.
//! * `upstream`, `manifests`, `closure`, `tags`: what the mirror needs beside blobs.
//! * `outside`: what the proxy sends on as it is.
//! * `local`, `vitals`: what people and their monitoring ask; `explain`: what tasks cost, in words.
//! * `refusal`: what a consumer is told when it fails.

mod bypass;
mod closure;
mod content;
mod direct;
mod explain;
mod fill;
mod incoming;
mod lately;
mod local;
mod look;
mod manifests;
mod outside;
mod private;
mod proofs;
pub(crate) mod refusal;
mod resolve;
mod stream_through;
mod sturdy;
mod tags;
mod told;
mod upstream;
mod vitals;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use bypass::Bypass;
use fill::Fills;
use look::Cluster;
use manifests::Held;
use origin::Origins;
pub(crate) use outside::Interceptor;
use parking_lot::Mutex;
use private::Rights;
pub use proofs::ProofPolicy;
use resolve::Resolver;
use store::Store;
use tags::Tags;
use types::ByteCount;
pub use vitals::{Health, Severity};

use crate::{access::Accesses, config::Started, handle::Handle, metrics::Metrics};

/// What the doors work with.
pub struct DoorsParts {
    /// The way to the core.
    pub handle: Handle,
    /// The way outside.
    pub origins: Origins,
    /// What this host holds.
    pub store: Store,
    /// Shared with the core, which imports by it.
    pub accesses: Accesses,
    /// What is counted.
    pub metrics: Metrics,
    /// What the parts of the daemon report of themselves.
    pub health: Health,
}

/// How the doors behave.
#[derive(Clone, Debug)]
pub struct DoorsConfig {
    /// The store's directory: the bypass is kept in it, and what is streamed goes through it.
    pub data_dir: PathBuf,
    /// Whether a request for a part of a blob has the rest fetched behind it.
    pub fill: bool,
    /// What the mirror's manifests may take of the memory.
    pub manifests_max: ByteCount,
    /// How old a tag's meaning may be that is served while its registry fails; none: it never is.
    pub stale_if_error: Option<Duration>,
    /// How long what callers have shown counts.
    pub proofs: ProofPolicy,
    /// Ports beside 443 that clients of the proxy may have tunnels to.
    pub tunnel_ports: Vec<u16>,
    /// Whether there is a scheduler that may know what other hosts saw.
    pub is_scheduled: bool,
    /// This host, for people.
    pub host: String,
    /// Its cluster, for people.
    pub cluster: String,
    /// The version of this program.
    pub version: String,
    /// How it was started.
    pub started: Started,
}

/// Everything that the doors of the gateway ask the daemon for.
pub struct Doors {
    handle: Handle,
    resolver: Resolver,
    bypass: Arc<Bypass>,
    manifests: Held,
    tags: Mutex<Tags>,
    fills: Fills,
    metrics: Metrics,
    health: Health,
    config: DoorsConfig,
}

impl Doors {
    /// Doors to `parts`. An error means that the data directory can't be read.
    pub fn new(parts: DoorsParts, config: DoorsConfig) -> io::Result<Self> {
        Ok(Self {
            bypass: Arc::new(Bypass::load(&config.data_dir)?),
            manifests: Held::new(config.manifests_max),
            fills: Fills::default(),
            tags: Mutex::new(Tags::new(config.stale_if_error)),
            resolver: Resolver {
                origins: parts.origins,
                store: parts.store,
                accesses: parts.accesses,
                rights: Rights::new(config.proofs),
                doubted: Arc::default(),
                cluster: Cluster::new(config.is_scheduled.then(|| parts.handle.clone())),
            },
            handle: parts.handle,
            metrics: parts.metrics,
            health: parts.health,
            config,
        })
    }
}
