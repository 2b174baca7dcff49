//! All that a host needs to say who it is and to judge who others are.

use std::{path::Path, time::SystemTime};

use types::{ClusterId, HostId};

use crate::{
    authority::Authority,
    certificate::Leaf,
    enrolment::{AnswerError, EnrolAnswer},
    load_error::{LoadError, LoadFault},
    node_key::{CERTIFICATE_FILE, KEY_FILE, NodeKey},
    pem,
    private_dir::PrivateDir,
    revocation::{REVOCATIONS_FILE, RevocationList},
    role::Roles,
    seeds::Seeds,
};

/// A host's key, its certificate, its cluster's authority, and the revocations and seeds it knew when it was loaded.
#[derive(Clone, Debug)]
pub struct Identity {
    key: NodeKey,
    leaf: Leaf,
    authority: Authority,
    revocations: RevocationList,
    seeds: Seeds,
}

impl Identity {
    pub(crate) fn new(
        key: NodeKey,
        leaf: Leaf,
        authority: Authority,
        revocations: RevocationList,
    ) -> Self {
        Self {
            key,
            leaf,
            authority,
            revocations,
            seeds: Seeds::default(),
        }
    }

    /// The identity in `dir`; `Ok(None)` if this host has none yet, neither key nor certificate.
    ///
    /// An expired certificate loads: look at [`Self::expires_at`]. Errors: all of [`LoadFault`]; a key without a
    /// certificate is [`LoadFault::CertificateMissing`], upon which a host that holds a token joins.
    pub fn load(dir: &Path) -> Result<Option<Self>, LoadError> {
        let dir = PrivateDir::open_or_create(dir)?;
        let key = NodeKey::read(&dir)?;
        let text = dir.read(CERTIFICATE_FILE)?;
        let (key, text) = match (key, text) {
            (Some(key), Some(text)) => (key, text),
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(LoadFault::KeyMissing.at(dir.path_of(KEY_FILE))),
            (Some(_), None) => {
                return Err(LoadFault::CertificateMissing.at(dir.path_of(CERTIFICATE_FILE)));
            }
        };
        let (leaf, authority) =
            read_chain(&text, &key).map_err(|fault| fault.at(dir.path_of(CERTIFICATE_FILE)))?;
        let revocations = RevocationList::load(&dir, &authority)?;
        let seeds = Seeds::load(&dir, &authority);
        let identity = Self::new(key, leaf, authority, revocations);
        Ok(Some(identity.with_seeds(seeds)))
    }

    /// Writes the certificate, the revocations and the seeds beside the key, which must be in `dir` already. After a crash each file
    /// is the old one or the new one, and any mixture of them is good.
    pub fn save(&self, dir: &Path) -> Result<(), LoadError> {
        let dir = PrivateDir::open_or_create(dir)?;
        let lock = dir.lock()?;
        match NodeKey::read(&dir)? {
            None => return Err(LoadFault::KeyMissing.at(dir.path_of(KEY_FILE))),
            Some(key) if key.host_id() != self.host() => {
                return Err(LoadFault::OtherKey.at(dir.path_of(KEY_FILE)));
            }
            Some(_) => {}
        }
        let mut text = pem::write("CERTIFICATE", &self.leaf.der);
        text.push_str(&pem::write("CERTIFICATE", self.authority.der()));
        lock.write(REVOCATIONS_FILE, self.revocations.as_bytes())?;
        lock.write(CERTIFICATE_FILE, text.as_bytes())?;
        self.seeds.write(&lock)
    }

    /// This identity with the certificate and revocations of an answer to a renewal, to be saved.
    ///
    /// Errors: [`AnswerError`]; this identity goes on as it is.
    pub fn renewed(&self, answer: &EnrolAnswer, now: SystemTime) -> Result<Self, AnswerError> {
        let fingerprint = self.authority.fingerprint();
        let mut next = answer.check(&self.key, fingerprint, now)?;
        if !next.revocations.is_newer_than(&self.revocations) {
            next.revocations = self.revocations.clone();
        }
        Ok(next.with_seeds(self.seeds.clone()))
    }

    /// This identity with a newer list of revocations, to be saved.
    #[must_use]
    pub fn with_revocations(mut self, list: RevocationList) -> Self {
        if list.is_newer_than(&self.revocations) {
            self.revocations = list;
        }
        self
    }

    /// This identity with the seeds that are known in `dir`, for a host whose certificate is made anew at each start.
    pub fn with_seeds_in(self, dir: &Path) -> Result<Self, LoadError> {
        let seeds = Seeds::load(&PrivateDir::open_or_create(dir)?, &self.authority);
        Ok(self.with_seeds(seeds))
    }

    /// This identity with the seeds that are known now, to be saved.
    #[must_use]
    pub(crate) fn with_seeds(mut self, seeds: Seeds) -> Self {
        self.seeds = seeds;
        self
    }

    /// Who this host is.
    pub fn host(&self) -> HostId {
        self.leaf.host
    }

    /// What it may be.
    pub fn roles(&self) -> Roles {
        self.leaf.roles
    }

    /// Where it belongs.
    pub fn cluster(&self) -> &ClusterId {
        self.authority.cluster()
    }

    /// Its key, for signing.
    pub fn key(&self) -> &NodeKey {
        &self.key
    }

    /// Its cluster's authority.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The revocations it came with.
    pub fn revocations(&self) -> &RevocationList {
        &self.revocations
    }

    /// From then on others refuse it (or after their configured grace).
    pub fn expires_at(&self) -> SystemTime {
        self.leaf.expires_at
    }

    /// When to ask for the next certificate: after a third of its life, a little earlier by host. Pure; a renewal that fails
    /// is tried again until [`Self::expires_at`].
    pub fn renew_at(&self) -> SystemTime {
        self.leaf.renew_at()
    }

    pub(crate) fn seeds(&self) -> &Seeds {
        &self.seeds
    }

    pub(crate) fn leaf(&self) -> &Leaf {
        &self.leaf
    }
}

fn read_chain(text: &[u8], key: &NodeKey) -> Result<(Leaf, Authority), LoadFault> {
    let blocks = pem::read(text)?;
    let (leaf, authority) = match (&blocks.keys[..], &blocks.certificates[..]) {
        ([], [leaf, authority]) => (leaf, authority),
        ([], [] | [_]) => return Err(LoadFault::Garbage),
        _ => return Err(LoadFault::TooMany),
    };
    let leaf = Leaf::read(leaf).map_err(LoadFault::BadCertificate)?;
    let authority = Authority::from_der(authority).map_err(LoadFault::BadCertificate)?;
    if leaf.host != key.host_id() {
        Err(LoadFault::OtherKey)
    } else if leaf.cluster != *authority.cluster() {
        Err(LoadFault::OtherCluster(leaf.cluster.to_string()))
    } else if !authority.vouches_for(&leaf, leaf.expires_at) {
        // Judged at the end of its life, which it has reached or not: an expired one is still a genuine one.
        Err(LoadFault::OtherAuthority)
    } else {
        Ok((leaf, authority))
    }
}

#[cfg(test)]
mod tests;
