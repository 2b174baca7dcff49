//! The configuration: from flags, environment and a TOML file to one checked structure.
//!
//! - `key`, `keys`: every key once, with its kind, default and meaning;
//! - `file`, `layers`: what was written, where, and which of it counts (flags over environment over file over default);
//! - `check`: turns it into [`Config`], or says everything that is wrong at once;
//! - `units`, `hint`, `fault`: durations, "did you mean", what a fault is;
//! - `reference`: the reference page and the default file.
//!
//! Values are collected by key with their place, rather than into structs that serde fills: serde stops at the first
//! fault and forgets where a value stood. Checked structs hold no text that somebody must parse again; each component
//! takes the part that is its own.

mod check;
mod fault;
mod file;
mod hint;
mod key;
mod keys;
mod layers;
mod read;
pub(crate) mod reference;
#[cfg(test)]
mod tests;
mod units;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use gateway::{ImageName, proxy::Rule};
use identity::ExpiryGrace;
use origin::{AllowedOrigin, HostCa, Network, TokenRealm, UpstreamProxy};
use types::{ByteCount, ClusterId, HostPattern, RegistryHost, Topology};

#[cfg(test)]
pub(crate) use self::keys::KEYS;
pub(crate) use self::{
    fault::{Fault, Faults, Place},
    keys::find,
    layers::{ReadFileError, Settings, Sources, Value},
    read::Endpoint,
    units::duration,
};

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) host: HostConfig,
    pub(crate) peer: PeerConfig,
    pub(crate) control: ControlConfig,
    pub(crate) store: StoreLimits,
    pub(crate) origin: OriginLimits,
    pub(crate) mirror: MirrorConfig,
    pub(crate) runtime: RuntimeConfig,
    pub(crate) proxy: ProxyConfig,
    pub(crate) status: Option<SocketAddr>,
    pub(crate) local: LocalConfig,
    /// What buffers may take together.
    pub(crate) memory_budget: ByteCount,
    pub(crate) scheduler: SchedulerConfig,
    pub(crate) log: LogConfig,
    /// What somebody set, for people.
    pub(crate) stated: Vec<Stated>,
}

/// A key that somebody set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stated {
    pub(crate) key: &'static str,
    /// As it would stand in a file.
    pub(crate) value: String,
    pub(crate) place: Place,
}

/// This host.
#[derive(Clone, Debug)]
pub(crate) struct HostConfig {
    pub(crate) data_dir: PathBuf,
    pub(crate) topology: Topology,
    pub(crate) seed: bool,
    /// None of them means every name.
    pub(crate) names: Vec<HostPattern>,
    pub(crate) stop_timeout: Duration,
}

/// Exchanging pieces. Rates are bytes per second.
#[derive(Clone, Debug)]
pub(crate) struct PeerConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: Option<SocketAddr>,
    pub(crate) connections_max: usize,
    pub(crate) slots: u8,
    pub(crate) upload_rate: Option<ByteCount>,
    pub(crate) download_rate: Option<ByteCount>,
}

/// Finding and joining a cluster.
#[derive(Clone, Debug)]
pub(crate) struct ControlConfig {
    pub(crate) schedulers: Vec<Endpoint>,
    pub(crate) join_token_file: Option<PathBuf>,
    pub(crate) peers: Vec<Endpoint>,
    pub(crate) expiry_grace: ExpiryGrace,
}

/// Content on disk.
#[derive(Clone, Debug)]
pub(crate) struct StoreLimits {
    pub(crate) quota: Option<ByteCount>,
    pub(crate) free_floor: ByteCount,
    /// Bytes per second; none: no scrubbing.
    pub(crate) scrub_rate: Option<ByteCount>,
}

/// The door to the outside.
#[derive(Clone, Debug)]
pub(crate) struct OriginLimits {
    pub(crate) allow: Vec<AllowedOrigin>,
    pub(crate) listed_only: bool,
    pub(crate) service_ranges: Vec<Network>,
    pub(crate) ca_files: Vec<PathBuf>,
    pub(crate) host_cas: Vec<HostCa>,
    pub(crate) proxy: Option<UpstreamProxy>,
    pub(crate) docker_config: Option<PathBuf>,
    pub(crate) lent: Vec<RegistryHost>,
    pub(crate) imports: Vec<RegistryHost>,
    pub(crate) proof_lifetime: Duration,
    pub(crate) realms: Vec<TokenRealm>,
    pub(crate) dropped_parameters: Vec<String>,
    pub(crate) concurrency: usize,
    pub(crate) requests_per_second: Option<u64>,
    pub(crate) bytes_per_second: Option<ByteCount>,
    pub(crate) connect_timeout: Duration,
    pub(crate) progress_timeout: Duration,
}

/// The registry mirror.
#[derive(Clone, Debug)]
pub(crate) struct MirrorConfig {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) registries: Vec<RegistryHost>,
    pub(crate) default_registry: Option<RegistryHost>,
    pub(crate) any_registry: bool,
    pub(crate) fill: bool,
    pub(crate) stale_if_error: Option<Duration>,
}

/// Container engines.
#[derive(Clone, Debug)]
pub(crate) struct RuntimeConfig {
    pub(crate) manage: bool,
    pub(crate) root: PathBuf,
    /// Empty: those of the mirror.
    pub(crate) registries: Vec<String>,
    pub(crate) digests_only: bool,
    pub(crate) probe: Option<ImageName>,
}

/// The forward proxy.
#[derive(Clone, Debug)]
pub(crate) struct ProxyConfig {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) clients: Vec<Network>,
    pub(crate) ports: Vec<u16>,
    pub(crate) tunnel_idle: Duration,
    /// Each has a name or an address.
    pub(crate) intercept: Vec<HostPattern>,
}

/// The local socket.
#[derive(Clone, Debug)]
pub(crate) struct LocalConfig {
    pub(crate) socket: PathBuf,
    /// The number of the group; looked up already.
    pub(crate) group: Option<u32>,
    /// Empty: whoever can connect.
    pub(crate) allow_uids: Vec<u32>,
    pub(crate) manage_uids: Vec<u32>,
}

/// For the scheduler.
#[derive(Clone, Debug)]
pub(crate) struct SchedulerConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) advertised: Vec<Network>,
    pub(crate) status: Option<SocketAddr>,
    pub(crate) ca_dir: PathBuf,
    pub(crate) cluster: ClusterId,
    pub(crate) certificate_lifetime: Duration,
}

/// Logs.
#[derive(Clone, Debug)]
pub(crate) struct LogConfig {
    pub(crate) format: LogFormat,
    /// A filter that `EnvFilter` takes.
    pub(crate) level: String,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file.
    #[error(transparent)]
    Read(#[from] ReadFileError),
    /// Its content, or that of the environment or flags.
    #[error(transparent)]
    Check(#[from] Faults),
}

impl Config {
    /// The configuration that `sources` give, and warnings.
    pub(crate) fn load(sources: &Sources) -> Result<(Self, Vec<String>), ConfigError> {
        let settings = Settings::gather(sources)?;
        let warnings = settings.warnings.clone();
        Ok((check::check(settings)?, warnings))
    }

    /// What `set` alone gives, whatever this machine has.
    #[cfg(test)]
    pub(crate) fn of_flags(set: &[(&str, &str)]) -> Self {
        let flag = |(key, value): &(&str, &str)| {
            ((*key).to_owned(), (*value).to_owned(), "--set".to_owned())
        };
        let sources = Sources {
            file: Some("/dev/null".into()),
            flags: set.iter().map(flag).collect(),
            ..Sources::default()
        };
        Self::load(&sources).expect("a configuration").0
    }

    /// What somebody set `key` to, if anybody did.
    pub(crate) fn stated(&self, key: &str) -> Option<&Stated> {
        self.stated.iter().find(|stated| stated.key == key)
    }
}
