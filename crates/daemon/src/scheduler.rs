//! The stream to the scheduler: kept up, renewed certificates and all, and handed to the core event by event.

use std::{net::SocketAddr, path::PathBuf, time::SystemTime};

use control::{Connector, ControlClient, Event as ControlEvent, Session, SessionConfig};
use identity::{Callee, EnrolAnswer, LinkError, Links, Protocol, SecureLink};
use tokio::net::lookup_host;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    core::{Event, Events},
    dial::first_answer,
};

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
    pub(crate) identity_dir: PathBuf,
    pub(crate) schedulers: Vec<String>,
    pub(crate) events: Events,
    pub(crate) seed: u64,
}

impl ToScheduler {
    /// Keeps the stream up until stopped.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let config = SessionConfig::new(self.schedulers.clone(), self.seed);
        let mut session = Session::start(SchedulerLinks(self.links.clone()), config);
        let mut client = None;
        loop {
            let renewal = self
                .links
                .identity()
                .renew_at()
                .duration_since(SystemTime::now())
                .unwrap_or_default();
            let event = tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(renewal), if client.is_some() => {
                    if let Some(client) = client.take() {
                        self.renew(&client).await;
                    }
                    continue;
                }
                event = session.next_event() => event,
            };
            let Some(event) = event else { return };
            if let ControlEvent::Connected { client: new, .. } = &event {
                client = Some(new.clone());
            }
            self.events.tell(Event::Scheduler(event)).await;
        }
    }

    /// Gets the next certificate over the stream's link. Live links go on; new handshakes show the new one. A failure
    /// is tried again with the next connection: a certificate outlives its renewal by two days.
    async fn renew(&self, client: &ControlClient) {
        let answer = match client.renew().await {
            Ok(answer) => answer,
            Err(cause) => {
                return warn!(
                    error = &cause as &dyn std::error::Error,
                    "renewing the certificate failed"
                );
            }
        };
        let answer = EnrolAnswer {
            certificate: answer.certificate,
            authority: answer.authority,
            revocations: answer.revocations,
        };
        match self.links.identity().renewed(&answer, SystemTime::now()) {
            Ok(identity) => {
                if let Err(cause) =
                    tokio::task::block_in_place(|| identity.save(&self.identity_dir))
                {
                    warn!(
                        error = &cause as &dyn std::error::Error,
                        "the renewed certificate was not saved"
                    );
                }
                info!(until = ?identity.expires_at(), "the certificate is renewed");
                if !self.links.adopt(identity) {
                    warn!("the renewed certificate is for another host or cluster: it is not used");
                }
            }
            Err(cause) => warn!(
                error = &cause as &dyn std::error::Error,
                "the renewed certificate was refused"
            ),
        }
    }
}
