//! Dialling other hosts of the cluster: addresses that the scheduler named, identities that TLS proves.

use std::{net::SocketAddr, time::Duration};

use identity::Protocol;
use tokio::{net::TcpStream, task::JoinSet, time::sleep};
use tracing::debug;
use types::HostId;
use wire::{HandshakeError, settle::Direction};

use crate::{
    core::{Event, Events},
    greeting::Greeting,
};

/// How long the first address has a head start before the next is tried beside it.
const HEAD_START: Duration = Duration::from_millis(100);
/// How long one address may take to answer: within a cluster more means that it is gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// What it takes to start a link.
#[derive(Clone)]
pub(crate) struct Dialler {
    pub(crate) greeting: Greeting,
    pub(crate) events: Events,
}

/// Why a dial came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("none of the addresses {0:?} answered")]
    NoAnswer(Vec<SocketAddr>),
    #[error("proving who is at the other end")]
    Link(#[from] identity::LinkError),
    #[error("starting the link")]
    Handshake(#[from] HandshakeError),
}

impl Dialler {
    /// Dials `host` after `wait` and tells the core how it went.
    pub(crate) async fn dial(self, host: HostId, (addresses, wait): (Vec<SocketAddr>, Duration)) {
        sleep(wait).await;
        let event = match self.connect(host, addresses).await {
            Ok(link) => Event::LinkUp {
                host,
                direction: Direction::Outgoing,
                link: Box::new(link),
            },
            Err(cause) => {
                debug!(%host, error = &cause as &dyn std::error::Error, "dialling failed");
                Event::DialFailed { host }
            }
        };
        self.events.tell(event).await;
    }

    async fn connect(
        &self,
        host: HostId,
        addresses: Vec<SocketAddr>,
    ) -> Result<wire::Link, DialError> {
        let tcp = first_answer(&addresses)
            .await
            .ok_or(DialError::NoAnswer(addresses))?;
        if let Err(cause) = wire::link::tune(&tcp) {
            debug!(
                error = &cause as &dyn std::error::Error,
                "socket options were refused"
            );
        }
        let links = self.greeting.links();
        let secure = links.connect(tcp, host, Protocol::Peer).await?;
        Ok(self.greeting.start(secure).await?)
    }
}

/// The first of `addresses` that answers, each tried a little after the one before.
pub(crate) async fn first_answer(addresses: &[SocketAddr]) -> Option<TcpStream> {
    let mut dials = JoinSet::new();
    for (at, address) in (0u32..).zip(addresses.iter().copied()) {
        dials.spawn(async move {
            sleep(HEAD_START * at).await;
            tokio::time::timeout(ANSWER_TIMEOUT, TcpStream::connect(address))
                .await
                .ok()?
                .ok()
        });
    }
    while let Some(dial) = dials.join_next().await {
        if let Ok(Some(stream)) = dial {
            return Some(stream);
        }
    }
    None
}
