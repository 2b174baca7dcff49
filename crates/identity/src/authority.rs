//! The public half of a cluster's authority: what every host knows and measures others by.

use std::{fmt, str::FromStr, sync::Arc, time::SystemTime};

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
};
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest as _, Sha256};
use types::{ClusterId, hex};

use crate::{
    certificate::{self, CertificateFault, Leaf},
    names,
    signer::PublicKey,
    tls,
    token::ParseTokenError,
};

/// SHA-256 of an authority's certificate: by this a joiner knows the cluster it was invited to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaFingerprint(pub(crate) [u8; 32]);

impl CaFingerprint {
    pub(crate) fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl FromStr for CaFingerprint {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::decode(text).map(Self).ok_or(ParseTokenError)
    }
}

impl fmt::Display for CaFingerprint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for CaFingerprint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&hex::encode(&self.0[..5]))
    }
}

/// A cluster's authority as others see it: its certificate. Clones share it.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    der: CertificateDer<'static>,
    cluster: ClusterId,
    key: PublicKey,
    fingerprint: CaFingerprint,
    roots: Arc<RootCertStore>,
}

impl Authority {
    /// Reads an authority's certificate. Whether it is the right one, its fingerprint tells.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateFault> {
        let (cluster, key) = certificate::read_authority(der)?;
        let der = CertificateDer::from(der.to_vec());
        let mut roots = RootCertStore::empty();
        roots
            .add(der.clone())
            .map_err(|_| CertificateFault::Unreadable)?;
        Ok(Self(Arc::new(Inner {
            fingerprint: CaFingerprint::of(&der),
            der,
            cluster,
            key: PublicKey(key),
            roots: Arc::new(roots),
        })))
    }

    /// The cluster it speaks for.
    pub fn cluster(&self) -> &ClusterId {
        &self.0.cluster
    }

    /// What join tokens pin.
    pub fn fingerprint(&self) -> CaFingerprint {
        self.0.fingerprint
    }

    /// The certificate.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.0.der.clone()
    }

    pub(crate) fn key(&self) -> PublicKey {
        self.0.key
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        self.0.roots.clone()
    }

    /// rustls' own verifier with this authority as the only root.
    pub(crate) fn server_verifier(&self) -> Arc<WebPkiServerVerifier> {
        WebPkiServerVerifier::builder_with_provider(self.roots(), tls::provider())
            .build()
            .expect("there is one root and no revocation list to parse")
    }

    /// Whether WebPKI takes `leaf` for a certificate of this authority at a time.
    pub(crate) fn vouches_for(&self, leaf: &Leaf, at: SystemTime) -> bool {
        let Ok(since_epoch) = at.duration_since(SystemTime::UNIX_EPOCH) else {
            return false;
        };
        let name = names::to_verify(names::of_host(leaf.host, self.cluster()));
        let now = UnixTime::since_unix_epoch(since_epoch);
        let verdict = self
            .server_verifier()
            .verify_server_cert(&leaf.der, &[], &name, &[], now);
        verdict.is_ok()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Authority({} {:?})", self.0.cluster, self.0.fingerprint)
    }
}
