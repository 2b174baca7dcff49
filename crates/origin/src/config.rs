//! What the door to the outside is set up with.

use std::{path::PathBuf, time::Duration};

use types::RegistryHost;

use crate::{
    allowed::AllowedOrigin,
    budget::Budget,
    dialer::{HostCa, Names, Network, UpstreamProxy},
    registry::TokenRealm,
    retry::RetryPolicy,
};

/// Everything [`crate::Origins`] needs to know.
#[derive(Clone, Debug, Default)]
pub struct OriginConfig {
    /// Origins that are listed by name: see [`crate::DialPolicy`].
    pub origins: Vec<AllowedOrigin>,
    /// Whether nothing but the listed origins may be asked.
    pub listed_only: bool,
    /// Where the cluster has its inner services: addresses that are dialled only when listed themselves.
    pub service_ranges: Vec<Network>,
    /// PEM files with further certificate authorities.
    pub ca_files: Vec<PathBuf>,
    /// Authorities of some hosts, which alone count for them.
    pub host_cas: Vec<HostCa>,
    /// Somebody else's proxy, through which all else is reached.
    pub proxy: Option<UpstreamProxy>,
    /// Whose certificates count beside `ca_files`.
    pub roots: Roots,
    /// Where names are looked up; none: as the system is configured to.
    pub names: Option<Names>,
    /// How long nothing may happen.
    pub patience: Patience,
    /// What each origin is asked at most.
    pub budget: Budget,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Further URL parameters that only prove who asks.
    pub dropped_parameters: Vec<String>,
    /// A docker `config.json` with registry credentials, or the names of helpers that hold them.
    pub docker_config: Option<PathBuf>,
    /// Registries whose stored credentials callers act with who show none of their own.
    pub lent: Vec<RegistryHost>,
    /// Registries whose stored credentials this host reads private content with for others.
    pub imports: Vec<RegistryHost>,
    /// Hosts that registries may send their stored credentials to, beside themselves.
    pub realms: Vec<TokenRealm>,
}

/// Whose certificates count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// The system's and those in the configured files.
    #[default]
    System,
    /// Only those in the configured files.
    Files,
}

/// How long nothing may happen before somebody is taken for gone. There is no limit for a whole transfer: what moves
/// may take its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a name lookup, for each connection attempt, for a TLS handshake.
    pub connect: Duration,
    /// For an answer to begin, and between two chunks of a body.
    pub progress: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            progress: Duration::from_secs(20),
        }
    }
}
