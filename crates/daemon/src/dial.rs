//! Dialling other hosts of the cluster: addresses that the scheduler named, or that are configured or remembered;
//! identities that TLS proves.

use std::{net::SocketAddr, time::Duration};

use identity::{Callee, Protocol, Role};
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
    #[error("this host itself answered")]
    Myself,
    #[error("proving who is at the other end")]
    Link(#[from] identity::LinkError),
    #[error("starting the link")]
    Handshake(#[from] HandshakeError),
}

impl Dialler {
    /// Dials `host` after `wait` and tells the core how it went.
    pub(crate) async fn dial(self, host: HostId, (addresses, wait): (Vec<SocketAddr>, Duration)) {
        sleep(wait).await;
        let event = match self.connect(Callee::Host(host), addresses).await {
            Ok((_, link_up)) => link_up,
            Err(cause) => {
                debug!(%host, error = &cause as &dyn std::error::Error, "dialling failed");
                Event::DialFailed { host }
            }
        };
        self.events.tell(event).await;
    }

    /// Dials whoever is at `address`, which must prove to be a host of the cluster, and hands the link to the core. Tells
    /// who answered, which may be this host.
    pub(crate) async fn find(self, address: SocketAddr) -> (SocketAddr, Option<HostId>) {
        let found = match self.connect(Callee::Daemon, vec![address]).await {
            Ok((host, link_up)) => {
                self.events.tell(link_up).await;
                Some(host)
            }
            Err(DialError::Myself) => Some(self.greeting.links().identity().host()),
            Err(cause) => {
                debug!(%address, error = &cause as &dyn std::error::Error, "nobody of the cluster was found");
                None
            }
        };
        (address, found)
    }

    /// A link to `callee`, as the core is told of it, and who that is.
    async fn connect(
        &self,
        callee: Callee,
        addresses: Vec<SocketAddr>,
    ) -> Result<(HostId, Event), DialError> {
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
        let secure = links.connect(tcp, callee, Protocol::Peer).await?;
        let remote = secure.remote();
        if remote.host == links.identity().host() {
            return Err(DialError::Myself);
        }
        let link = self.greeting.start(secure).await?;
        let link_up = Event::LinkUp {
            host: remote.host,
            is_seed: remote.roles.contains(Role::Seed),
            direction: Direction::Outgoing,
            link: Box::new(link),
        };
        Ok((remote.host, link_up))
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
