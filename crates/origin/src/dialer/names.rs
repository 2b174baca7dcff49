//! From host names to addresses.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hickory_resolver::{TokioResolver, config::LookupIpStrategy, net::NetError};

/// Where names are looked up.
#[derive(Clone, Debug)]
pub enum Names {
    /// `/etc/hosts`, then the servers of the system's resolver configuration.
    System(Arc<TokioResolver>),
    /// A fixed table, in place of any server.
    Table(Arc<NameTable>),
}

/// Why a name has no address.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LookupError {
    /// The system's resolver configuration is unusable.
    #[error("reading the system's resolver configuration")]
    Configuration(#[source] Arc<NetError>),
    /// Nobody knows the name, or nobody answered.
    #[error("looking up {host}")]
    Failed {
        /// The name.
        host: String,
        /// What the resolver met.
        #[source]
        cause: Arc<NetError>,
    },
    /// The name exists and has no address.
    #[error("{host} has no address")]
    Nowhere {
        /// The name.
        host: String,
    },
}

impl Names {
    /// Looks names up as the system is configured to, `/etc/hosts` first.
    pub fn system() -> Result<Self, LookupError> {
        let configuration = |cause| LookupError::Configuration(Arc::new(cause));
        let mut builder = TokioResolver::builder_tokio().map_err(configuration)?;
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        let resolver = builder.build().map_err(configuration)?;
        Ok(Self::System(Arc::new(resolver)))
    }

    /// All addresses of `host`, at least one. A literal address is itself.
    pub(crate) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        if let Ok(literal) = host.parse() {
            return Ok(vec![literal]);
        }
        if host == "localhost" {
            // RFC 6761: never asked of a server.
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let found: Vec<IpAddr> = match self {
            Self::System(resolver) => resolver
                .lookup_ip(host)
                .await
                .map_err(|cause| LookupError::Failed {
                    host: host.to_owned(),
                    cause: Arc::new(cause),
                })?
                .iter()
                .collect(),
            Self::Table(table) => table.next_answer(host),
        };
        if found.is_empty() {
            return Err(LookupError::Nowhere {
                host: host.to_owned(),
            });
        }
        Ok(found)
    }
}

/// Names and what each lookup of them answers: the last answer stays.
#[derive(Debug, Default)]
pub struct NameTable {
    names: BTreeMap<String, Answers>,
}

#[derive(Debug)]
struct Answers {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl NameTable {
    /// Adds a name whose first lookup gives the first of `answers`, and so on.
    pub fn with(mut self, host: &str, answers: Vec<Vec<IpAddr>>) -> Self {
        let asked = AtomicUsize::new(0);
        self.names
            .insert(host.to_owned(), Answers { answers, asked });
        self
    }

    /// How often `host` was looked up.
    pub fn lookups(&self, host: &str) -> usize {
        self.names
            .get(host)
            .map_or(0, |entry| entry.asked.load(Ordering::Relaxed))
    }

    fn next_answer(&self, host: &str) -> Vec<IpAddr> {
        let Some(entry) = self.names.get(host) else {
            return Vec::new();
        };
        let turn = entry.asked.fetch_add(1, Ordering::Relaxed);
        let last = entry.answers.len().saturating_sub(1);
        entry
            .answers
            .get(turn.min(last))
            .cloned()
            .unwrap_or_default()
    }
}
