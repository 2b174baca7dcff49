//! How a link between hosts begins: each says which cluster it is of and what it heard last of revocations.
//!
//! So a revocation reaches hosts whose scheduler is away, with the first link to anybody who knows of it.

use bytes::Bytes;
use identity::{Links, RevocationList, SecureLink, Seeds};
use tracing::{info, warn};
use wire::{
    Config, HandshakeError, Hello,
    codec::{CERTIFICATE_MAX, REVOCATIONS_MAX, VERSION},
};

/// The longest list fits a hello: none is ever left out.
const _: () = assert!(RevocationList::BYTES_MAX <= REVOCATIONS_MAX);
/// So does what tells of a seed its frame.
const _: () = assert!(Seeds::CERTIFICATE_MAX <= CERTIFICATE_MAX);

/// What every link of this host begins with.
#[derive(Clone)]
pub(crate) struct Greeting {
    links: Links,
    wire: Config,
    hello: Hello,
}

impl Greeting {
    /// Links of the host that `links` speaks for, which listens on `listen_port`.
    pub(crate) fn new(links: Links, listen_port: u16, wire: Config) -> Self {
        let hello = Hello {
            version: VERSION,
            cluster: links.identity().cluster().clone(),
            features: 0,
            lane: 0,
            listen_port,
            revocations: None,
        };
        Self { links, wire, hello }
    }

    /// What makes links.
    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    /// Exchanges hellos. Whether the remote was revoked, by what it or anybody else said, is looked at by who takes the
    /// link.
    pub(crate) async fn start(&self, link: SecureLink) -> Result<wire::Link, HandshakeError> {
        let host = link.remote().host;
        let known = self.links.revocations().borrow().clone();
        let mut hello = self.hello.clone();
        if known.number() > 0 {
            hello.revocations = Some(Bytes::copy_from_slice(known.as_bytes()));
        }
        let link = wire::Link::start(link, self.wire.clone(), hello).await?;
        if let Some(list) = &link.hello.revocations
            && **list != *known.as_bytes()
        {
            match self.links.learn_revocations(list) {
                Ok(true) => info!(%host, "a host passed on a newer list of revocations"),
                Ok(false) => {}
                Err(cause) => {
                    warn!(%host, error = &cause as &dyn std::error::Error, "a host passed on a bad list of revocations");
                }
            }
        }
        Ok(link)
    }
}
