//! The stream to the scheduler: kept up, and handed to the core event by event.

use std::{net::SocketAddr, time::Duration};

use control::{Connector, ControlClient, Event as ControlEvent, Session, SessionConfig};
use identity::{Callee, LinkError, Links, Protocol, SecureLink};
use tokio::{net::lookup_host, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    core::{Event, Events},
    dial::first_answer,
};

/// How long the scheduler may take to hear a goodbye.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// Why there is no link to a scheduler.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerLinkError {
    /// The name has no address.
    #[error("looking up {name}")]
    Lookup {
        /// As configured: `host:port`.
        name: String,
        /// What the resolver said.
        #[source]
        cause: std::io::Error,
    },
    /// Nobody is there.
    #[error("nobody answers at {0}")]
    NoAnswer(String),
    /// Whoever is there proved nothing.
    #[error("proving who is at the other end")]
    Link(#[from] LinkError),
}

/// Makes links to schedulers.
pub(crate) struct SchedulerLinks(pub(crate) Links);

impl Connector for SchedulerLinks {
    type Link = SecureLink;
    type Error = SchedulerLinkError;

    async fn connect(&self, address: &str) -> Result<SecureLink, SchedulerLinkError> {
        let tcp = dial_scheduler(address).await?;
        Ok(self
            .0
            .connect(tcp, Callee::Scheduler, Protocol::Control)
            .await?)
    }
}

/// A connection to the scheduler at `name`, a `host:port`.
pub(crate) async fn dial_scheduler(
    name: &str,
) -> Result<tokio::net::TcpStream, SchedulerLinkError> {
    let found = lookup_host(name)
        .await
        .map_err(|cause| SchedulerLinkError::Lookup {
            name: name.to_owned(),
            cause,
        })?;
    let addresses: Vec<SocketAddr> = found.take(8).collect();
    first_answer(&addresses)
        .await
        .ok_or_else(|| SchedulerLinkError::NoAnswer(name.to_owned()))
}

/// The keeper of the stream.
pub(crate) struct ToScheduler {
    pub(crate) links: Links,
    pub(crate) schedulers: Vec<String>,
    pub(crate) events: Events,
    /// Where others find the way to the scheduler, while there is one.
    pub(crate) clients: watch::Sender<Option<ControlClient>>,
    pub(crate) seed: u64,
}

impl ToScheduler {
    /// Keeps the stream up until stopped; then waits a moment for what was said last to leave, if somebody closes the
    /// stream after it.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let config = SessionConfig::new(self.schedulers.clone(), self.seed);
        let mut session = Session::start(SchedulerLinks(self.links.clone()), config);
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => break,
                event = session.next_event() => event,
            };
            // Without a scheduler there is nothing to do.
            let Some(event) = event else {
                return stop.cancelled().await;
            };
            match &event {
                ControlEvent::Connected { client, .. } => {
                    self.clients.send_replace(Some(client.clone()));
                }
                ControlEvent::Disconnected { .. } => {
                    self.clients.send_replace(None);
                }
                ControlEvent::Message(_) => {}
            }
            self.events.tell(Event::Scheduler(event)).await;
        }
        if self.clients.borrow().is_some() {
            let closed = async {
                while let Some(event) = session.next_event().await {
                    if let ControlEvent::Disconnected { .. } = event {
                        return;
                    }
                }
            };
            if tokio::time::timeout(CLOSED_WITHIN, closed).await.is_err() {
                tracing::debug!("the scheduler did not close the stream");
            }
        }
    }
}
