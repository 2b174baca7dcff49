//! The door itself: what all operations share.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{body::Body, rt::Executor};
use hyper_util::{client::legacy::Client, rt::TokioTimer};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use types::{ByteCount, RegistryHost};

use crate::{
    allowed::AllowedOrigin,
    budget::{Budgets, Dice},
    config::{OriginConfig, Patience, Roots},
    dialer::{
        DialPolicy, Dialer, LookupError, Names, ProxyCredentialsError, Reach, RootsError, Trust,
        Via,
    },
    registry::{CredentialsError, RegistryClient, Uses, Vault},
    relay::RelayBody,
    retry::{RetryPolicy, Tries},
    stats::OriginStats,
    web::{Request, Resolves},
};

/// The only door to the outside. Cheap to clone; all clones share connections, budgets, tokens and counters.
#[derive(Clone)]
pub struct Origins(pub(crate) Arc<Inner>);

/// Why the door cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OriginSetupError {
    /// The certificates to trust.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The resolver.
    #[error(transparent)]
    Names(#[from] LookupError),
    /// The credentials for the proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyCredentialsError),
    /// The registry credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

pub(crate) struct Inner {
    pub(crate) reach: Arc<Reach>,
    pub(crate) client: Client<Dialer, Full<Bytes>>,
    /// For what local clients send themselves.
    pub(crate) clients: Arc<Reach>,
    pub(crate) relays: Client<Dialer, RelayBody>,
    pub(crate) budgets: Budgets,
    pub(crate) patience: Patience,
    pub(crate) vault: Vault,
    pub(crate) resolves: Resolves,
    pub(crate) dropped_parameters: Vec<String>,
    retry: RetryPolicy,
    dice: Dice,
    connections: Connections,
}

impl Origins {
    /// Sets the door up: reads the CA files, the system's roots and resolver configuration, and the credentials.
    pub fn new(config: OriginConfig) -> Result<Self, OriginSetupError> {
        let names = match config.names {
            Some(names) => names,
            None => Names::system()?,
        };
        let reach = Arc::new(Reach {
            policy: DialPolicy::new(config.origins, config.listed_only)
                .with_service_ranges(config.service_ranges),
            names,
            trust: Arc::new(Trust::read(
                &config.ca_files,
                config.roots == Roots::System,
                config.host_cas,
            )?),
            via: config.proxy.map(Via::open).transpose()?.map(Arc::new),
            patience: config.patience.connect,
        });
        let clients = Arc::new(Reach {
            policy: reach.policy.for_clients(),
            names: reach.names.clone(),
            trust: Arc::clone(&reach.trust),
            via: reach.via.clone(),
            patience: reach.patience,
        });
        let connections = Connections::default();
        Ok(Self(Arc::new(Inner {
            client: http_client(Dialer(Arc::clone(&reach)), connections.clone()),
            relays: http_client(Dialer(Arc::clone(&clients)), connections.clone()),
            clients,
            reach,
            budgets: Budgets::new(config.budget),
            patience: config.patience,
            vault: Vault::new(
                config.docker_config.as_deref(),
                config.realms,
                Uses {
                    lent: config.lent,
                    imports: config.imports,
                },
            )?,
            resolves: Resolves::new(),
            dropped_parameters: config.dropped_parameters,
            retry: config.retry,
            dice: Dice::new(),
            connections,
        })))
    }

    /// Talks to a registry for a caller that shows nothing: with this host's credentials, if they are lent to callers.
    pub fn registry(&self, host: &RegistryHost) -> RegistryClient {
        RegistryClient::new(Arc::clone(&self.0), host)
    }

    /// The canonical URL of what `request` asks for, under this door's rules.
    pub fn canonical_url(&self, request: &Request) -> String {
        request.canonical_url(&self.0.dropped_parameters)
    }

    /// What was asked of each origin, and how it answered.
    pub fn stats(&self) -> Vec<(AllowedOrigin, OriginStats)> {
        self.0.budgets.stats()
    }

    /// Closes every connection and waits until the last one is gone. Requests in flight fail; later ones too.
    pub async fn close(&self) {
        self.0.connections.stop.cancel();
        self.0.connections.tasks.close();
        self.0.connections.tasks.wait().await;
    }
}

impl Inner {
    pub(crate) fn tries(&self) -> Tries {
        Tries::new(self.retry.clone(), self.dice.chance())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.connections.stop.cancel();
    }
}

/// Owns the tasks that drive connections: hyper hands them over, and they end when the door closes.
#[derive(Clone, Default)]
struct Connections {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl<F> Executor<F> for Connections
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        let stop = self.stop.clone();
        self.tasks
            .spawn(async move { stop.run_until_cancelled(task).await.map(drop) });
    }
}

fn http_client<B>(dialer: Dialer, connections: Connections) -> Client<Dialer, B>
where
    B: Body<Data: Send> + Send,
{
    let window = u32::try_from(ByteCount::mib(4).0).expect("4 MiB fit 32 bits");
    Client::builder(connections)
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(16)
        // Header floods end here: hyper's own defaults are four times as much.
        .http1_max_headers(128)
        .http1_max_buf_size(256 << 10)
        .http2_max_header_list_size(64 << 10)
        // The HTTP/2 default of 64 KiB would cap a stream at 64 KiB per round trip. A body that nobody reads may fill its
        // window: as much as the kernel lets wait on an HTTP/1 connection.
        .http2_initial_stream_window_size(window)
        .http2_initial_connection_window_size(window * 4)
        .build(dialer)
}
