//! A cluster's authority: the one key that says who belongs.
//!
//! Its directory is the only state of a cluster that must be backed up: the key with its certificate in one file (so that
//! there is no moment at which one exists without the other), the join tokens, and the revocations. It is made on first
//! start; a directory in which only a part is left is an error, since a new authority would orphan every host.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyUsagePurpose, NameConstraints, SerialNumber,
};
use types::{ClusterId, HostId};

use crate::{
    authority::{Authority, CaFingerprint},
    ca::ledger::Ledger,
    certificate::{DATED_BACK, LIFETIME, Leaf},
    host_identity::Identity,
    load_error::{LoadError, LoadFault},
    names,
    node_key::NodeKey,
    pem,
    private_dir::PrivateDir,
    revocation::RevocationList,
    role::Roles,
    signer::{PublicKey, Signer},
    token_store::{TOKENS_FILE, TokenStore},
};

mod ledger;

const CA_FILE: &str = "ca.pem";
/// Longer than clusters live; changing an authority means that every host joins anew.
const CA_LIFETIME: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The authority of a cluster, with its private key. Only schedulers hold one.
pub struct ClusterCa {
    dir: PathBuf,
    signer: Signer,
    authority: Authority,
    lifetime: Duration,
}

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The host was thrown out.
    #[error("the host {0} was revoked; it may join again under a new key")]
    Revoked(HostId),
    /// The list of revocations could not be used.
    #[error("looking up revocations failed")]
    Store(#[from] LoadError),
}

/// Why a host was not thrown out.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The list is as long as hosts pass on.
    #[error(
        "{} hosts were revoked within days; found a new cluster for those that are left",
        RevocationList::HOSTS_MAX
    )]
    TooMany,
    /// The list could not be used.
    #[error("keeping the revocation failed")]
    Store(#[from] LoadError),
}

impl ClusterCa {
    /// The authority in `dir`, made there (with the directory) for `cluster` if there is none yet.
    ///
    /// Errors: all of [`LoadFault`]; another cluster's directory, or one from which the key is gone, is never overwritten.
    pub fn load_or_create(dir: &Path, cluster: &ClusterId) -> Result<Self, LoadError> {
        let opened = PrivateDir::open_or_create(dir)?;
        let lock = opened.lock()?;
        let at = |fault: LoadFault| fault.at(opened.path_of(CA_FILE));
        let (signer, authority) = match opened.read(CA_FILE)? {
            Some(text) => read(&text).map_err(at)?,
            None => {
                for orphan in [TOKENS_FILE, ledger::LEDGER_FILE] {
                    if opened.read(orphan)?.is_some() {
                        return Err(at(LoadFault::KeyMissing));
                    }
                }
                let (signer, authority) = create(cluster);
                let mut text = signer.to_pem();
                text.push_str(&pem::write("CERTIFICATE", authority.der()));
                lock.write(CA_FILE, text.as_bytes())?;
                (signer, authority)
            }
        };
        if authority.cluster() != cluster {
            return Err(at(LoadFault::OtherCluster(authority.cluster().to_string())));
        }
        Ok(Self {
            dir: dir.to_owned(),
            signer,
            authority,
            lifetime: LIFETIME,
        })
    }

    /// Which cluster the authority in `dir` is of; none if there is no authority. Nothing is made.
    pub fn cluster_in(dir: &Path) -> Result<Option<ClusterId>, LoadError> {
        if !dir.exists() {
            return Ok(None);
        }
        let opened = PrivateDir::open_or_create(dir)?;
        let Some(text) = opened.read(CA_FILE)? else {
            return Ok(None);
        };
        let found = read(&text).map_err(|fault: LoadFault| fault.at(opened.path_of(CA_FILE)));
        Ok(Some(found?.1.cluster().clone()))
    }

    /// This authority, with certificates that are good for `lifetime` instead of 72 hours, which are the longest.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime.min(LIFETIME);
        self
    }

    /// Its public half.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What join tokens pin.
    pub fn fingerprint(&self) -> CaFingerprint {
        self.authority.fingerprint()
    }

    /// The join tokens.
    pub fn tokens(&self) -> TokenStore {
        TokenStore::new(self.dir.clone(), self.fingerprint())
    }

    /// Throws `host` out, for good: its key never gets a certificate again. Returns the list to pass on; throwing out
    /// twice changes nothing.
    pub fn revoke(&self, host: HostId, now: SystemTime) -> Result<RevocationList, RevokeError> {
        let ledger = Ledger::revoke(&self.dir, host, now)?;
        Ok(self.sign(&ledger))
    }

    /// Everybody who was ever thrown out, in that order, and when.
    pub fn revoked(&self) -> Result<Vec<(HostId, SystemTime)>, LoadError> {
        Ok(Ledger::load(&self.dir)?.revoked())
    }

    /// The newest list.
    pub fn revocations(&self) -> Result<RevocationList, LoadError> {
        Ok(self.sign(&Ledger::load(&self.dir)?))
    }

    fn sign(&self, ledger: &Ledger) -> RevocationList {
        match ledger.number() {
            0 => RevocationList::default(),
            number => self.signed_list(number, ledger.still_dangerous()),
        }
    }

    pub(crate) fn signed_list(&self, number: u64, hosts: Vec<HostId>) -> RevocationList {
        RevocationList::signed(number, hosts, self.authority.cluster(), &self.signer)
    }

    /// The identity of the host that holds this authority, which needs no token: its operator made both.
    pub fn identity_for(
        &self,
        key: &NodeKey,
        roles: Roles,
        now: SystemTime,
    ) -> Result<Identity, IssueError> {
        let leaf = self.issue(key.host_id(), roles, now)?;
        let revocations = self.revocations()?;
        Ok(Identity::new(
            key.clone(),
            leaf,
            self.authority.clone(),
            revocations,
        ))
    }

    /// A certificate for a host whose key was proven, built from nothing that the host said but that key.
    pub(crate) fn issue(
        &self,
        host: HostId,
        roles: Roles,
        now: SystemTime,
    ) -> Result<Leaf, IssueError> {
        self.refuse_revoked(host)?;
        Ok(self.make_leaf(host, roles, now))
    }

    pub(crate) fn refuse_revoked(&self, host: HostId) -> Result<(), IssueError> {
        if Ledger::load(&self.dir)?.contains(host) {
            Err(IssueError::Revoked(host))
        } else {
            Ok(())
        }
    }

    pub(crate) fn make_leaf(&self, host: HostId, roles: Roles, now: SystemTime) -> Leaf {
        let cluster = self.authority.cluster();
        let mut names = vec![names::of_host(host, cluster)];
        names.extend(roles.iter().map(|role| names::of_role(role, cluster)));
        let mut params = params(names, &format!("pantala host {host:?}"));
        params.not_before = (now - DATED_BACK).into();
        params.not_after = (now + self.lifetime).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial());
        let issuer = Issuer::from_ca_cert_der(&self.authority.certificate(), &self.signer);
        let issuer = issuer.expect("our own certificate was read before");
        let certificate = params.signed_by(&PublicKey(*host.as_bytes()), &issuer);
        let certificate = certificate.expect("checked names and an Ed25519 key make a certificate");
        Leaf::read(certificate.der()).expect("we made it the way it is read")
    }
}

impl fmt::Debug for ClusterCa {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "ClusterCa({:?})", self.authority)
    }
}

fn read(text: &[u8]) -> Result<(Signer, Authority), LoadFault> {
    let blocks = pem::read(text)?;
    let (key, certificate) = match (&blocks.keys[..], &blocks.certificates[..]) {
        ([key], [certificate]) => (key, certificate),
        ([], []) => return Err(LoadFault::Garbage),
        ([], _) => return Err(LoadFault::KeyMissing),
        (_, []) => return Err(LoadFault::CertificateMissing),
        _ => return Err(LoadFault::TooMany),
    };
    let signer = Signer::from_pkcs8(key)?;
    let authority = Authority::from_der(certificate).map_err(LoadFault::BadCertificate)?;
    if authority.key().0 == signer.public().0 {
        Ok((signer, authority))
    } else {
        Err(LoadFault::OtherKey)
    }
}

/// A new key and its certificate, good for names of this cluster only.
fn create(cluster: &ClusterId) -> (Signer, Authority) {
    let signer = Signer::generate();
    let name = names::of_cluster(cluster);
    let mut params = params(vec![name.clone()], &format!("pantala cluster {cluster}"));
    let now = SystemTime::now();
    params.not_before = (now - DATED_BACK).into();
    params.not_after = (now + CA_LIFETIME).into();
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(name)],
        excluded_subtrees: Vec::new(),
    });
    let certificate = params.self_signed(&signer);
    let certificate = certificate.expect("a checked name and an Ed25519 key make a certificate");
    let authority = Authority::from_der(certificate.der());
    (signer, authority.expect("we made it the way it is read"))
}

/// Random, since the library's own would be the same for every certificate of one key. Positive: the top bit is off.
fn serial() -> SerialNumber {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has entropy, or the library aborts");
    bytes[0] = bytes[0] & 0x3f | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn params(names: Vec<String>, title: &str) -> CertificateParams {
    let mut params = CertificateParams::new(names).expect("labels of ASCII letters make names");
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, title);
    params
}

#[cfg(test)]
mod tests;
