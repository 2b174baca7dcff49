//! Seals: a seed's signed word for the root that the whole piece table of a task folds to.
//!
//! A seed hashes what it imports while it comes, and once the whole has the digest it was asked by, says so to the hosts
//! that take part. A host whose own table folds to the sealed root may end the answer of a consumer that verifies by
//! itself, such as a container runtime, before its own hash is done. Names, exports and whatever `get` writes still wait
//! for that. Pure; keys and signatures are `identity`'s.

use identity::verify;
use types::{ClusterId, Digest, HostId, Seal};

use crate::{import::Signer, task::TaskSpec};

impl Signer {
    /// The signed word that the whole of `spec`, which the caller has verified, folds to `root`.
    pub(crate) fn seal(&self, spec: &TaskSpec, root: Digest) -> Seal {
        let mut seal = Seal {
            task: spec.task,
            layout: spec.layout,
            root,
            signer: self.key.host_id(),
            signature: [0; 64],
        };
        seal.signature = self.key.sign(&seal.statement(&self.cluster));
        seal
    }
}

/// Why a seal is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealFault {
    #[error("the seal is of another content")]
    Foreign,
    #[error("the seal is not signed by whom it names, in this cluster, for this content")]
    Forged,
    #[error("the seal's signer is no seed, as far as this host knows")]
    NoSeed,
}

impl SealFault {
    /// Whether whoever passed it on did wrong. Hosts do not hear of a new seed, or of one that left, at the same moment.
    pub(crate) fn is_wilful(self) -> bool {
        self != Self::NoSeed
    }
}

/// Whether `seal` may count for `spec` in `cluster`, where `is_seed` tells whose word does.
pub(crate) fn check(
    seal: &Seal,
    spec: &TaskSpec,
    (cluster, is_seed): (&ClusterId, impl Fn(&HostId) -> bool),
) -> Result<(), SealFault> {
    if seal.task != spec.task || seal.layout != spec.layout {
        return Err(SealFault::Foreign);
    }
    if !is_seed(&seal.signer) {
        return Err(SealFault::NoSeed);
    }
    if !verify(seal.signer, &seal.statement(cluster), &seal.signature) {
        return Err(SealFault::Forged);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use identity::{Role, testing::Cluster};
    use types::{ByteCount, Layout, Source, TaskId, Visibility};

    use super::*;

    fn signer(of: &Cluster) -> Signer {
        let identity = of.host(Role::Seed);
        Signer {
            key: identity.key().clone(),
            cluster: identity.cluster().clone(),
        }
    }

    fn spec(task: u8, length: u64) -> TaskSpec {
        TaskSpec {
            task: TaskId::from_bytes([task; 32]),
            layout: Layout::of(ByteCount(length)).expect("a layout"),
            digest: None,
            source: Source::Url("http://h/f".into()),
            visibility: Visibility::Public,
        }
    }

    /// What a host of the cluster `ours`, for which `seed` is one, makes of `seal`.
    fn judged(seal: &Seal, seed: &Signer) -> Result<(), SealFault> {
        let cluster = "ours".parse().expect("a name");
        let is_seed = |host: &HostId| *host == seed.key.host_id();
        check(seal, &spec(1, 5 << 20), (&cluster, is_seed))
    }

    #[test]
    fn only_a_seeds_word_for_this_content_in_this_cluster_counts() {
        let cluster = Cluster::new("ours");
        let (seed, root) = (signer(&cluster), Digest::blake3([7; 32]));
        let good = seed.seal(&spec(1, 5 << 20), root);
        assert_eq!(judged(&good, &seed), Ok(()));
        for foreign in [spec(2, 5 << 20), spec(1, 6 << 20)] {
            let seal = seed.seal(&foreign, root);
            assert_eq!(judged(&seal, &seed), Err(SealFault::Foreign));
            // Named anew, as it is when it comes under this task's number, it is not what was signed.
            let renamed = Seal {
                task: good.task,
                layout: good.layout,
                ..seal
            };
            assert_eq!(judged(&renamed, &seed), Err(SealFault::Forged));
        }
        let elsewhere = Signer {
            cluster: "theirs".parse().expect("a name"),
            ..seed.clone()
        };
        let seal = elsewhere.seal(&spec(1, 5 << 20), root);
        assert_eq!(judged(&seal, &seed), Err(SealFault::Forged));
        let forged = Seal {
            root: Digest::blake3([8; 32]),
            ..good
        };
        assert_eq!(judged(&forged, &seed), Err(SealFault::Forged));
        let anybody = signer(&cluster).seal(&spec(1, 5 << 20), root);
        assert_eq!(judged(&anybody, &seed), Err(SealFault::NoSeed));
        assert!(SealFault::Forged.is_wilful() && !SealFault::NoSeed.is_wilful());
    }
}
