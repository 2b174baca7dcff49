//! Which hosts were thrown out: a numbered list, signed by the authority, that hosts pass on to each other.
//!
//! A list replaces the one before as a whole, and only a higher number replaces: it may come from anybody, late, twice or
//! in any order. It names host ids, not certificates, since a host is its key.

use std::fmt;

use types::{ClusterId, HostId, Signature};

use crate::{
    authority::Authority,
    load_error::{LoadError, LoadFault},
    private_dir::PrivateDir,
    signer::{Signer, statement},
};

/// Where a host keeps the newest list it has seen.
pub(crate) const REVOCATIONS_FILE: &str = "revocations";

/// The hosts that are refused, as the authority last said. `Default` is the list before the first: number 0, nobody.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RevocationList {
    number: u64,
    /// Ascending, each once.
    hosts: Vec<HostId>,
    /// As it is passed on; empty for number 0.
    bytes: Vec<u8>,
}

/// Why bytes are no list of this cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    /// Not a list at all.
    #[error("the revocation list is malformed")]
    Malformed,
    /// The cluster's authority did not sign it.
    #[error("the revocation list is not signed by the authority of this cluster")]
    Unsigned,
}

impl RevocationList {
    /// The longest list: it must fit the first frame of every link between hosts, which passes it on. Beyond it a cluster
    /// is better founded anew.
    pub const HOSTS_MAX: usize = 2_000;
    /// The longest list as it is passed on.
    pub const BYTES_MAX: usize = 8 + 4 + 32 * Self::HOSTS_MAX + 64;

    /// Reads a list and checks that the cluster's authority signed it. No bytes at all are the list before the first.
    pub fn verified(bytes: &[u8], authority: &Authority) -> Result<Self, RevocationError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let (list, signature) = Self::parse(bytes).ok_or(RevocationError::Malformed)?;
        let statement = list.statement(authority.cluster());
        if authority.key().verify(&statement, &signature) {
            Ok(list)
        } else {
            Err(RevocationError::Unsigned)
        }
    }

    /// Number, count, hosts, signature; integers are little-endian.
    fn parse(bytes: &[u8]) -> Option<(Self, Signature)> {
        let (number, rest) = bytes.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (rest, signature) = rest.split_last_chunk()?;
        let number = u64::from_le_bytes(*number);
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        if number == 0 || count > Self::HOSTS_MAX || rest.len() != count * 32 {
            return None;
        }
        let host = |bytes: &[u8]| bytes.try_into().ok().map(HostId::from_bytes);
        let hosts: Vec<_> = rest.chunks_exact(32).map(host).collect::<Option<_>>()?;
        let list = Self {
            number,
            hosts,
            bytes: bytes.to_vec(),
        };
        list.is_ascending().then_some((list, *signature))
    }

    fn is_ascending(&self) -> bool {
        self.hosts.windows(2).all(|pair| pair[0] < pair[1])
    }

    /// Signs a list. `hosts` ascend, are at most [`Self::HOSTS_MAX`], and `number` is not 0.
    pub(crate) fn signed(
        number: u64,
        hosts: Vec<HostId>,
        cluster: &ClusterId,
        signer: &Signer,
    ) -> Self {
        let mut list = Self {
            number,
            hosts,
            bytes: Vec::new(),
        };
        let signature = signer.sign_statement(&list.statement(cluster));
        list.bytes = list.content();
        list.bytes.extend(signature);
        list
    }

    fn content(&self) -> Vec<u8> {
        let count = u32::try_from(self.hosts.len()).expect("a list is at most HOSTS_MAX long");
        let mut bytes = Vec::with_capacity(12 + 32 * self.hosts.len() + 64);
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        self.hosts
            .iter()
            .for_each(|host| bytes.extend(host.as_bytes()));
        bytes
    }

    fn statement(&self, cluster: &ClusterId) -> Vec<u8> {
        statement(&[
            b"pantala revocation list",
            cluster.as_str().as_bytes(),
            &self.content(),
        ])
    }

    /// Which list this is; the higher number is the newer one.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether it is to replace `other`.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.number > other.number
    }

    /// Whether `host` was thrown out.
    pub fn contains(&self, host: HostId) -> bool {
        self.hosts.binary_search(&host).is_ok()
    }

    /// Who was thrown out, ascending.
    pub fn hosts(&self) -> &[HostId] {
        &self.hosts
    }

    /// The form in which it is passed on.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The list that a host kept, or the one before the first.
    pub(crate) fn load(dir: &PrivateDir, authority: &Authority) -> Result<Self, LoadError> {
        let bytes = dir.read(REVOCATIONS_FILE)?.unwrap_or_default();
        Self::verified(&bytes, authority)
            .map_err(|_| LoadFault::Garbage.at(dir.path_of(REVOCATIONS_FILE)))
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "RevocationList({}, {} hosts)",
            self.number,
            self.hosts.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Cluster;

    fn hosts(bytes: &[u8]) -> Vec<HostId> {
        bytes
            .iter()
            .map(|byte| HostId::from_bytes([*byte; 32]))
            .collect()
    }

    #[test]
    fn a_signed_list_reads_back_and_knows_its_hosts() {
        let cluster = Cluster::new("a");
        let list = cluster.ca.signed_list(3, hosts(&[1, 5, 9]));
        let read = RevocationList::verified(list.as_bytes(), cluster.ca.authority());
        assert_eq!(read, Ok(list.clone()));
        assert!(list.contains(HostId::from_bytes([5; 32])));
        assert!(!list.contains(HostId::from_bytes([4; 32])));
        assert!(list.is_newer_than(&RevocationList::default()));
        assert!(!list.is_newer_than(&list));
    }

    #[test]
    fn lists_of_others_or_changed_ones_are_refused() {
        let (cluster, other) = (Cluster::new("a"), Cluster::new("a"));
        let authority = cluster.ca.authority();
        let foreign = other.ca.signed_list(1, hosts(&[1]));
        let refused = RevocationList::verified(foreign.as_bytes(), authority);
        assert_eq!(refused, Err(RevocationError::Unsigned));
        let good = cluster.ca.signed_list(1, hosts(&[1, 2])).bytes;
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(RevocationList::verified(&bad, authority).is_err(), "{at}");
            if at > 0 {
                assert!(
                    RevocationList::verified(&good[..at], authority).is_err(),
                    "{at}"
                );
            }
        }
        let unordered = cluster.ca.signed_list(1, hosts(&[2, 1]));
        let refused = RevocationList::verified(unordered.as_bytes(), authority);
        assert_eq!(refused, Err(RevocationError::Malformed));
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = RevocationList::parse(&bytes);
        }
    }
}
