//! The peer port: links that other hosts of the cluster open to this one.

use identity::{Accepted, Role};
use listen::{Listening, Untaken};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::debug;
use wire::settle::Direction;

use crate::{
    core::{Event, Events},
    greeting::Greeting,
};

/// Accepts links until stopped.
#[derive(Clone)]
pub(crate) struct Acceptor {
    pub(crate) greeting: Greeting,
    pub(crate) events: Events,
    /// Counts the connections that could not be taken.
    pub(crate) untaken: Untaken,
}

/// Handshakes that may be under way: strangers beyond it wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 256;

impl Acceptor {
    /// Takes connections from `listener`. A stranger costs one bounded handshake and nothing else.
    pub(crate) async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let listening = Listening::new("peer port", listener, &self.untaken);
        let greet = |tcp, _| self.clone().greet(tcp);
        drop(listening.each(HANDSHAKES_MAX, &stop, greet).await);
    }

    async fn greet(self, tcp: TcpStream) {
        if let Err(cause) = wire::link::tune(&tcp) {
            debug!(
                error = &cause as &dyn std::error::Error,
                "socket options were refused"
            );
        }
        let link = match self.greeting.links().accept(tcp).await {
            Ok(Accepted::Host(link)) => link,
            Ok(Accepted::Joiner(_)) => {
                return debug!("a joiner knocked at a daemon: only a scheduler enrols");
            }
            Err(cause) => {
                return debug!(
                    error = &cause as &dyn std::error::Error,
                    "a peer was refused"
                );
            }
        };
        let remote = link.remote();
        let host = remote.host;
        if host == self.greeting.links().identity().host() {
            return debug!("this host dialled itself");
        }
        match self.greeting.start(link).await {
            Ok(link) => {
                let event = Event::LinkUp {
                    host,
                    is_seed: remote.roles.contains(Role::Seed),
                    direction: Direction::Incoming,
                    link: Box::new(link),
                };
                self.events.tell(event).await;
            }
            Err(cause) => {
                debug!(%host, error = &cause as &dyn std::error::Error, "a peer's hello failed")
            }
        }
    }
}
