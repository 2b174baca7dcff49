//! What a certificate says, and when it is to be renewed.
//!
//! Whether a certificate is genuine and valid is for WebPKI to say. This file reads what the genuine ones of our authority
//! say about a host, and insists that they say it in one way only: the key is the host id is the name.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use rustls_pki_types::CertificateDer;
use types::{ClusterId, HostId};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, oid_registry::OID_SIG_ED25519,
    prelude::FromDer,
};

use crate::{links::ExpiryGrace, names::Name, role::Roles};

/// How long a certificate is good for at most, and unless its authority is told otherwise: a host that is thrown out and
/// not revoked is out after this.
pub(crate) const LIFETIME: Duration = Duration::from_secs(72 * 3600);
/// Clocks of two hosts may differ by this.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(3600);
/// Renewals of hosts that enrolled together spread over this share of a lifetime, two hours of 72, so that they do not come
/// together.
const RENEWAL_SPREAD: u32 = 36;
/// How much earlier than it is made a certificate begins: by the skew of clocks, and by the longest grace, since
/// verifiers with a grace run their clocks late.
pub(crate) const DATED_BACK: Duration = CLOCK_SKEW.saturating_add(ExpiryGrace::MAX);

/// Why a certificate is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// Not a DER-encoded X.509 certificate.
    #[error("it is not a readable certificate")]
    Unreadable,
    /// Some other algorithm or length.
    #[error("its key is not an Ed25519 key")]
    NotEd25519,
    /// The name says one host, the key another.
    #[error("it names the host {named}, but its key is that of {key}")]
    OtherKey {
        /// From the name.
        named: HostId,
        /// From the key.
        key: HostId,
    },
    /// A name that no certificate of ours has, or one of another cluster.
    #[error("it has a name that does not belong there")]
    ForeignName,
    /// No name of the host, no role, or no cluster.
    #[error("it lacks the name of a host, a role or a cluster")]
    NameMissing,
    /// An authority's certificate without the right to sign, or a host's with it.
    #[error("it is an authority's where a host's is meant, or the other way round")]
    WrongKind,
}

/// A host's certificate, read.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) host: HostId,
    pub(crate) roles: Roles,
    pub(crate) cluster: ClusterId,
    pub(crate) issued_at: SystemTime,
    pub(crate) expires_at: SystemTime,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "Leaf({:?} {:?} of {})",
            self.host, self.roles, self.cluster
        )
    }
}

impl Leaf {
    /// Reads a host's certificate. It says nothing about who signed it.
    pub(crate) fn read(der: &[u8]) -> Result<Self, CertificateFault> {
        let parsed = parse(der)?;
        if parsed.is_ca() {
            return Err(CertificateFault::WrongKind);
        }
        let key = HostId::from_bytes(public_key(&parsed)?);
        let (mut host, mut roles, mut clusters) = (None, Roles::default(), Vec::new());
        for name in names(&parsed)? {
            match name {
                Name::Host(named, cluster) if host.is_none() => {
                    host = Some(named);
                    clusters.push(cluster);
                }
                Name::Role(role, cluster) => {
                    roles = roles.with(role);
                    clusters.push(cluster);
                }
                Name::Host(..) | Name::Cluster(_) => return Err(CertificateFault::ForeignName),
            }
        }
        let named = host.ok_or(CertificateFault::NameMissing)?;
        let cluster = clusters.pop().ok_or(CertificateFault::NameMissing)?;
        if roles.is_empty() {
            Err(CertificateFault::NameMissing)
        } else if clusters.iter().any(|other| *other != cluster) {
            Err(CertificateFault::ForeignName)
        } else if named != key {
            Err(CertificateFault::OtherKey { named, key })
        } else {
            Ok(Self {
                der: der.to_vec().into(),
                host: key,
                roles,
                cluster,
                issued_at: issued_at(&parsed)?,
                expires_at: moment(parsed.validity().not_after.timestamp())?,
            })
        }
    }

    /// When its host should ask for the next one.
    pub(crate) fn renew_at(&self) -> SystemTime {
        renew_at(self.issued_at, self.expires_at, self.host)
    }
}

/// A third of the lifetime after issue, less a share of it that depends on the host. Pure.
fn renew_at(issued_at: SystemTime, expires_at: SystemTime, host: HostId) -> SystemTime {
    let lifetime = expires_at.duration_since(issued_at).unwrap_or_default();
    let share = u32::from(u16::from_le_bytes([host.as_bytes()[0], host.as_bytes()[1]]));
    let early = lifetime / RENEWAL_SPREAD * share / u32::from(u16::MAX);
    issued_at + (lifetime / 3).saturating_sub(early)
}

/// Reads an authority's certificate: its cluster and its public key.
pub(crate) fn read_authority(der: &[u8]) -> Result<(ClusterId, [u8; 32]), CertificateFault> {
    let parsed = parse(der)?;
    if !parsed.is_ca() {
        return Err(CertificateFault::WrongKind);
    }
    let key = public_key(&parsed)?;
    match <[Name; 1]>::try_from(names(&parsed)?) {
        Ok([Name::Cluster(cluster)]) => Ok((cluster, key)),
        Ok(_) => Err(CertificateFault::ForeignName),
        Err(_) => Err(CertificateFault::NameMissing),
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateFault> {
    match X509Certificate::from_der(der) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(CertificateFault::Unreadable),
    }
}

fn public_key(parsed: &X509Certificate<'_>) -> Result<[u8; 32], CertificateFault> {
    let info = parsed.public_key();
    if info.algorithm.algorithm != OID_SIG_ED25519 {
        return Err(CertificateFault::NotEd25519);
    }
    let key = info.subject_public_key.data.as_ref().try_into();
    key.map_err(|_| CertificateFault::NotEd25519)
}

/// All its names; one that is not ours spoils it.
fn names(parsed: &X509Certificate<'_>) -> Result<Vec<Name>, CertificateFault> {
    let extension = parsed
        .subject_alternative_name()
        .map_err(|_| CertificateFault::Unreadable)?
        .ok_or(CertificateFault::NameMissing)?;
    let read = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(text) => Name::parse(text),
        _ => None,
    };
    let names = extension.value.general_names.iter().map(read);
    names
        .collect::<Option<_>>()
        .ok_or(CertificateFault::ForeignName)
}

/// When the authority made it.
fn issued_at(parsed: &X509Certificate<'_>) -> Result<SystemTime, CertificateFault> {
    let begins = moment(parsed.validity().not_before.timestamp())?;
    (begins.checked_add(DATED_BACK)).ok_or(CertificateFault::Unreadable)
}

fn moment(since_1970: i64) -> Result<SystemTime, CertificateFault> {
    u64::try_from(since_1970)
        .ok()
        .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .ok_or(CertificateFault::Unreadable)
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::Cluster;

    /// A host's and an authority's, made once.
    fn certificates() -> &'static [Vec<u8>; 2] {
        static MADE: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
        MADE.get_or_init(|| {
            let cluster = Cluster::new("a");
            let host = cluster.host(crate::Role::Daemon);
            [
                host.leaf().der.to_vec(),
                cluster.ca.authority().der().to_vec(),
            ]
        })
    }

    proptest! {
        #[test]
        fn renewal_comes_at_a_third_and_never_late(first: u8, second: u8, seconds in 1..=LIFETIME.as_secs()) {
            let mut bytes = [0; 32];
            (bytes[0], bytes[1]) = (first, second);
            let issued = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
            let lifetime = Duration::from_secs(seconds);
            let at = renew_at(issued, issued + lifetime, HostId::from_bytes(bytes));
            prop_assert!(at <= issued + lifetime / 3);
            prop_assert!(at >= issued + lifetime / 3 - lifetime / RENEWAL_SPREAD);
        }

        #[test]
        fn hostile_bytes_do_not_panic(der in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = (Leaf::read(&der), read_authority(&der));
        }

        #[test]
        fn damaged_certificates_do_not_panic(at: prop::sample::Index, flip in 1u8..) {
            for der in certificates() {
                let mut der = der.clone();
                let at = at.index(der.len());
                der[at] ^= flip;
                let _ = (Leaf::read(&der), read_authority(&der));
                let _ = (Leaf::read(&der[..at]), read_authority(&der[..at]));
            }
        }
    }
}
