//! Makes links: dials and accepts, and knows who was revoked and who is a seed.
//!
//! WebPKI decides in the handshake whether a certificate is genuine, valid, fit for its use and, when dialling, whose. Right
//! after it, before a link is handed out, we look again: does the certificate name the host whose key it has, is it of
//! our cluster, was the host revoked, may it serve what it was asked for.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{ClientConfig, ServerConfig, server::Acceptor};
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream};
use types::HostId;

use crate::{
    authority::Authority,
    certificate::Leaf,
    handshakes::Handshakes,
    host_identity::Identity,
    link::{Accepted, JoinerLink, Protocol, RemoteHost, SecureLink},
    link_error::LinkError,
    names,
    revocation::{RevocationError, RevocationList},
    role::Role,
    seeds::{PassedOnError, SeedCertificate, Seeds},
    tls::OwnSide,
};

/// Bounds of making links.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// How long a handshake may take from the first byte to the last.
    pub handshake: Duration,
    /// How many handshakes of strangers may be under way at once; more are refused at once.
    pub handshakes_max: usize,
    /// How many of those may come from one IPv4 address or IPv6 /64. This machine itself is exempt.
    pub handshakes_per_source_max: usize,
    /// How long after its expiry a certificate is still taken.
    pub expiry_grace: ExpiryGrace,
}

impl Default for LinkLimits {
    /// 5 s, 256, 32, no grace. An honest handshake takes a round trip or two and a millisecond of work.
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            handshakes_max: 256,
            handshakes_per_source_max: 32,
            expiry_grace: ExpiryGrace::default(),
        }
    }
}

/// How long expired certificates live on, for outages of the authority that outlast them: none unless configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpiryGrace(Duration);

/// A grace beyond [`ExpiryGrace::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("certificates may live on for 72 h after their expiry at most")]
pub struct GraceTooLong;

impl ExpiryGrace {
    /// As long as a certificate lives: certificates are dated back by this much, so that a late clock takes fresh ones.
    pub const MAX: Duration = Duration::from_secs(72 * 3600);

    /// How long it is.
    pub fn length(self) -> Duration {
        self.0
    }

    /// Checks a configured grace.
    pub fn new(grace: Duration) -> Result<Self, GraceTooLong> {
        if grace <= Self::MAX {
            Ok(Self(grace))
        } else {
            Err(GraceTooLong)
        }
    }
}

/// Who is to answer a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callee {
    /// This host and nobody else.
    Host(HostId),
    /// Any scheduler of the cluster: those are configured by address.
    Scheduler,
    /// Any daemon of the cluster, at an address that is configured or remembered: the link tells which.
    Daemon,
}

impl From<HostId> for Callee {
    fn from(host: HostId) -> Self {
        Self::Host(host)
    }
}

/// One handshake to make as a client.
pub(crate) struct Dial {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
    pub(crate) protocol: Protocol,
}

impl Dial {
    /// Makes a link as a client, within a time limit.
    pub(crate) async fn through(
        self,
        tcp: TcpStream,
        limit: Duration,
    ) -> Result<SecureLink, LinkError> {
        tcp.set_nodelay(true).map_err(LinkError::Io)?;
        let connected = TlsConnector::from(self.config).connect(self.name, tcp);
        let connected = timeout(limit, Box::pin(connected)).await;
        let stream = connected
            .map_err(|_| LinkError::TimedOut(limit))?
            .map_err(LinkError::of)?;
        let stream = TlsStream::from(stream);
        if negotiated(&stream)? != self.protocol {
            return Err(LinkError::NoProtocol);
        }
        let leaf = leaf_of(&stream)?;
        let (host, roles) = (leaf.host, leaf.roles);
        let remote = RemoteHost { host, roles };
        Ok(SecureLink::new(stream, remote, self.protocol))
    }
}

/// Makes and accepts links in the name of one identity. Clones share everything.
#[derive(Clone)]
pub struct Links(Arc<Shared>);

struct Shared {
    /// Replaced as a whole; links that live on keep what they began with.
    doors: watch::Sender<Arc<Doors>>,
    revocations: watch::Sender<Arc<RevocationList>>,
    seeds: watch::Sender<Arc<Seeds>>,
    handshakes: Handshakes,
    limits: LinkLimits,
}

/// Everything that follows from one certificate.
struct Doors {
    identity: Identity,
    peer: Arc<ClientConfig>,
    control: Arc<ClientConfig>,
    mutual: Arc<ServerConfig>,
    served: Vec<Protocol>,
    /// Only schedulers have a door for joiners.
    anonymous: Option<Arc<ServerConfig>>,
}

impl Doors {
    fn new(identity: Identity, limits: &LinkLimits) -> Self {
        let side = OwnSide {
            key: identity.key(),
            leaf: identity.leaf(),
            authority: identity.authority(),
            expiry_grace: limits.expiry_grace.0,
        };
        let may_serve = |protocol: &Protocol| identity.roles().contains(protocol.callee_role());
        let served = [Protocol::Peer, Protocol::Control];
        let served: Vec<_> = served.into_iter().filter(may_serve).collect();
        let anonymous = may_serve(&Protocol::Enrol).then(|| side.anonymous_server());
        Self {
            peer: side.client(Protocol::Peer),
            control: side.client(Protocol::Control),
            mutual: side.mutual_server(&served),
            anonymous,
            served,
            identity,
        }
    }

    /// How to handshake with a client that offers these ALPN ids: the first that we serve decides. Which one that is
    /// decides too whether a certificate is demanded, and the configuration chosen offers nothing else. With none that we
    /// serve, the mutual handshake says so in TLS's own words.
    fn server(&self, mut offered: impl Iterator<Item = Option<Protocol>>) -> Arc<ServerConfig> {
        let first = offered.find_map(|protocol| match protocol? {
            Protocol::Enrol => self.anonymous.clone(),
            known => self.served.contains(&known).then(|| self.mutual.clone()),
        });
        first.unwrap_or_else(|| self.mutual.clone())
    }
}

impl Links {
    /// Links in the name of `identity`, within the usual limits.
    pub fn new(identity: Identity) -> Self {
        Self::with_limits(identity, LinkLimits::default())
    }

    /// The same with other limits.
    pub fn with_limits(identity: Identity, limits: LinkLimits) -> Self {
        let revocations = Arc::new(identity.revocations().clone());
        let mut seeds = identity.seeds().clone();
        seeds.learn(identity.leaf());
        seeds.forget(|host| revocations.contains(host));
        Self(Arc::new(Shared {
            seeds: watch::Sender::new(Arc::new(seeds)),
            doors: watch::Sender::new(Arc::new(Doors::new(identity, &limits))),
            revocations: watch::Sender::new(revocations),
            handshakes: Handshakes::new(limits.handshakes_max, limits.handshakes_per_source_max),
            limits,
        }))
    }

    /// The identity that new links are made with, with the newest revocations and the seeds as they are known now.
    pub fn identity(&self) -> Identity {
        let newest = RevocationList::clone(&self.0.revocations.borrow());
        let seeds = Seeds::clone(&self.0.seeds.borrow());
        let identity = self.doors().identity.clone();
        identity.with_revocations(newest).with_seeds(seeds)
    }

    /// Makes new links with a renewed identity of the same host; links that exist go on undisturbed.
    ///
    /// `false`, and nothing changes, if it is the identity of another host or of another authority.
    #[must_use]
    pub fn adopt(&self, identity: Identity) -> bool {
        let current = self.identity();
        let same = identity.host() == current.host()
            && identity.authority().fingerprint() == current.authority().fingerprint();
        if same {
            self.learn(identity.revocations().clone());
            self.note(identity.leaf());
            let doors = Doors::new(identity, &self.0.limits);
            self.0.doors.send_replace(Arc::new(doors));
        }
        same
    }

    /// Dials: makes a link to `callee` out of `tcp`.
    ///
    /// TLS 1.3 lets a client finish first: a link may come although the other side refuses us, which the first read then
    /// tells. Errors: [`LinkError`]. Dropped early, the stream is closed.
    pub async fn connect(
        &self,
        tcp: TcpStream,
        callee: impl Into<Callee>,
        protocol: Protocol,
    ) -> Result<SecureLink, LinkError> {
        let doors = self.doors();
        let cluster = doors.identity.cluster();
        let name = match callee.into() {
            Callee::Host(host) => names::of_host(host, cluster),
            Callee::Scheduler => names::of_role(Role::Scheduler, cluster),
            Callee::Daemon => names::of_role(Role::Daemon, cluster),
        };
        let dial = Dial {
            config: match protocol {
                Protocol::Peer => doors.peer.clone(),
                Protocol::Control => doors.control.clone(),
                Protocol::Enrol => return Err(LinkError::NoProtocol),
            },
            name: names::to_verify(name),
            protocol,
        };
        let link = dial.through(tcp, self.0.limits.handshake).await?;
        self.judge(&link.remote(), protocol, Some(protocol.callee_role()))?;
        self.note(&leaf_of(link.stream())?);
        Ok(link)
    }

    /// Answers: makes a link out of a stream that somebody opened. Run it beside the loop that accepts streams, not in it:
    /// a slow stranger takes its time.
    ///
    /// Errors: [`LinkError`]. Dropped early, the stream is closed.
    pub async fn accept(&self, tcp: TcpStream) -> Result<Accepted, LinkError> {
        let limits = &self.0.limits;
        let from = tcp.peer_addr().map_err(LinkError::Io)?.ip();
        let _place = self.0.handshakes.begin(from).ok_or(LinkError::Crowded)?;
        let accepted = timeout(limits.handshake, Box::pin(self.shake_hands(tcp))).await;
        accepted.map_err(|_| LinkError::TimedOut(limits.handshake))?
    }

    async fn shake_hands(&self, tcp: TcpStream) -> Result<Accepted, LinkError> {
        tcp.set_nodelay(true).map_err(LinkError::Io)?;
        let hello = LazyConfigAcceptor::new(Acceptor::default(), tcp)
            .await
            .map_err(LinkError::of)?;
        let doors = self.doors();
        let config = match hello.client_hello().alpn() {
            Some(ids) => doors.server(ids.map(Protocol::of_alpn)),
            None => return Err(LinkError::NoProtocol),
        };
        let stream = hello.into_stream(config).await.map_err(LinkError::of)?;
        let stream = TlsStream::from(stream);
        match negotiated(&stream)? {
            Protocol::Enrol => Ok(Accepted::Joiner(JoinerLink::new(stream))),
            protocol => {
                let remote = remote_of(&stream, doors.identity.authority())?;
                self.judge(&remote, protocol, protocol.caller_role())?;
                self.note(&leaf_of(&stream)?);
                Ok(Accepted::Host(SecureLink::new(stream, remote, protocol)))
            }
        }
    }

    fn judge(
        &self,
        remote: &RemoteHost,
        protocol: Protocol,
        needed: Option<Role>,
    ) -> Result<(), LinkError> {
        let RemoteHost { host, roles } = *remote;
        match needed {
            _ if self.is_revoked(host) => Err(LinkError::Revoked(host)),
            Some(role) if !roles.contains(role) => Err(LinkError::WrongRole {
                host,
                role,
                protocol,
            }),
            _ => Ok(()),
        }
    }

    /// Whether `host` was thrown out, as far as this host has heard.
    pub fn is_revoked(&self, host: HostId) -> bool {
        self.0.revocations.borrow().contains(host)
    }

    /// Takes in a list that a peer or the scheduler passed on. `true` if it was news: then save it and drop the links of
    /// those in it.
    pub fn learn_revocations(&self, bytes: &[u8]) -> Result<bool, RevocationError> {
        let list = RevocationList::verified(bytes, self.doors().identity.authority())?;
        Ok(self.learn(list))
    }

    fn learn(&self, list: RevocationList) -> bool {
        let is_news = self.0.revocations.send_if_modified(|current| {
            let is_news = list.is_newer_than(current);
            if is_news {
                *current = Arc::new(list);
            }
            is_news
        });
        if is_news {
            let is_gone = |host| self.is_revoked(host);
            self.change_seeds(|seeds| seeds.forget(is_gone));
        }
        is_news
    }

    /// Whether `host` is a seed, as far as this host has heard: genuine certificates say so, and it was not thrown out.
    pub fn is_seed(&self, host: &HostId) -> bool {
        // Of too many seeds its own certificate may be forgotten first.
        let is_own = || {
            let identity = &self.doors().identity;
            identity.host() == *host && identity.leaf().roles.contains(Role::Seed)
        };
        let is_known = self.0.seeds.borrow().is_seed(host, self.late());
        (is_known || is_own()) && !self.is_revoked(*host)
    }

    /// The clock of who accepts certificates for a grace after they expired.
    fn late(&self) -> SystemTime {
        SystemTime::now() - self.0.limits.expiry_grace.0
    }

    /// Takes in a certificate that somebody passed on. `true` if it was news on who is a seed.
    pub fn learn_certificate(&self, certificate: &[u8]) -> Result<bool, PassedOnError> {
        if self.0.seeds.borrow().has(certificate) {
            return Ok(false);
        }
        let leaf = Leaf::read(certificate).map_err(PassedOnError::Unfit)?;
        // Before its signature is looked at, which costs a hundred times as much.
        if !self.0.seeds.borrow().is_news(&leaf) {
            return Ok(false);
        }
        let doors = self.doors();
        let authority = doors.identity.authority();
        if leaf.cluster != *authority.cluster() || !authority.vouches_for(&leaf, self.late()) {
            return Err(PassedOnError::Foreign);
        }
        if self.is_revoked(leaf.host) {
            return Err(PassedOnError::Revoked(leaf.host));
        }
        Ok(self.note(&leaf))
    }

    /// Takes in a genuine certificate.
    fn note(&self, leaf: &Leaf) -> bool {
        let is_news = self.0.seeds.borrow().is_news(leaf);
        is_news
            && self.change_seeds(|seeds| {
                seeds.forget_expired(self.late());
                !self.is_revoked(leaf.host) && seeds.learn(leaf)
            })
    }

    fn change_seeds(&self, change: impl FnOnce(&mut Seeds) -> bool) -> bool {
        (self.0.seeds).send_if_modified(|current| change(Arc::make_mut(current)))
    }

    /// The certificate that tells that `host` is, or was, a seed, to be passed on with its word while it is valid.
    pub fn certificate_of(&self, host: &HostId) -> Option<SeedCertificate> {
        let seeds = self.0.seeds.borrow();
        seeds.valid_certificate_of(host, self.late())
    }

    /// The hosts that are seeds now, as [`Links::is_seed`] has it.
    pub fn all_seeds(&self) -> BTreeSet<HostId> {
        self.0.seeds.borrow().all(self.late())
    }

    /// The seeds as they are known now, and a wake-up whenever that changes.
    pub fn seeds(&self) -> watch::Receiver<Arc<Seeds>> {
        self.0.seeds.subscribe()
    }

    /// The newest list, and a wake-up for each newer one: whoever holds links waits on it to drop those of the revoked.
    pub fn revocations(&self) -> watch::Receiver<Arc<RevocationList>> {
        self.0.revocations.subscribe()
    }

    fn doors(&self) -> Arc<Doors> {
        self.0.doors.borrow().clone()
    }
}

fn negotiated(stream: &TlsStream<TcpStream>) -> Result<Protocol, LinkError> {
    let id = stream.get_ref().1.alpn_protocol();
    id.and_then(Protocol::of_alpn).ok_or(LinkError::NoProtocol)
}

/// The other side's certificate, which WebPKI has verified, read by our own rules.
fn leaf_of(stream: &TlsStream<TcpStream>) -> Result<Leaf, LinkError> {
    let chain = stream.get_ref().1.peer_certificates();
    let first = chain.and_then(<[_]>::first);
    let first = first.ok_or(LinkError::NoCertificate)?;
    Leaf::read(first).map_err(LinkError::UnfitCertificate)
}

/// A client's certificate: unlike a server's, WebPKI compared its names with nothing.
fn remote_of(
    stream: &TlsStream<TcpStream>,
    authority: &Authority,
) -> Result<RemoteHost, LinkError> {
    let leaf = leaf_of(stream)?;
    if leaf.cluster != *authority.cluster() {
        return Err(LinkError::ForeignCertificate);
    }
    let (host, roles) = (leaf.host, leaf.roles);
    Ok(RemoteHost { host, roles })
}

#[cfg(test)]
mod tests;
