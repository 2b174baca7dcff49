//! The live tasks of this host, and whose word counts for their pieces.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use identity::Links;
use parking_lot::RwLock;
use tokio::sync::watch;
use types::{HostId, TaskId};

use crate::task::Task;

/// Live tasks by identity, shared by the core, which fills it, and the links, which read it for each frame.
pub(crate) struct Tasks {
    live: RwLock<BTreeMap<TaskId, Arc<Task>>>,
    /// Seeds that the scheduler named: their word counts for every task.
    seeds: RwLock<BTreeSet<HostId>>,
    /// Whether somebody waits for anything that is not here yet; also changes with the seeds.
    busy: watch::Sender<bool>,
    /// Hosts that proved on a link to be seeds, the one met longest ago first. Bounded.
    proven_seeds: RwLock<VecDeque<HostId>>,
    links: Links,
}

impl Tasks {
    /// No task yet. Of who was thrown out of the cluster, `links` know.
    pub(crate) fn new(links: Links) -> Self {
        Self {
            live: RwLock::default(),
            seeds: RwLock::default(),
            busy: watch::Sender::default(),
            proven_seeds: RwLock::default(),
            links,
        }
    }

    pub(crate) fn get(&self, task: &TaskId) -> Option<Arc<Task>> {
        self.live.read().get(task).cloned()
    }

    pub(crate) fn insert(&self, task: Arc<Task>) {
        self.live.write().insert(task.spec.task, task);
    }

    pub(crate) fn remove(&self, task: &TaskId) {
        self.live.write().remove(task);
    }

    const PROVEN_MAX: usize = 256;

    /// The seeds of the cluster, anew.
    pub(crate) fn set_seeds(&self, seeds: BTreeSet<HostId>) {
        *self.seeds.write() = seeds;
        self.busy.send_modify(|_| {});
    }

    /// Whether somebody waits for anything that is not here yet: what nobody waits for is then left for later.
    pub(crate) fn set_busy(&self, is_busy: bool) {
        self.busy
            .send_if_modified(|was| std::mem::replace(was, is_busy) != is_busy);
    }

    /// What [`Tasks::set_busy`] said, from now on, and a change whenever the seeds do.
    pub(crate) fn busy(&self) -> watch::Receiver<bool> {
        self.busy.subscribe()
    }

    /// Whether `host` is a seed.
    pub(crate) fn is_seed(&self, host: &HostId) -> bool {
        self.seeds.read().contains(host)
    }

    /// Whether a seed vouches for the whole of `task`, or will once it has read it.
    pub(crate) fn expects_seal(&self, task: &Task) -> bool {
        task.content.seal().is_some() || task.has_named_any(&self.seeds.read())
    }

    /// `host` has shown by its certificate whether it is a seed. Beyond a bound the one that was met longest ago counts only
    /// if the scheduler names it.
    pub(crate) fn prove_seed(&self, host: HostId, is_seed: bool) {
        let mut proven = self.proven_seeds.write();
        proven.retain(|known| *known != host);
        if is_seed {
            proven.push_back(host);
        }
        if proven.len() > Self::PROVEN_MAX {
            proven.pop_front();
        }
    }

    /// Forgets the seeds that were thrown out of the cluster.
    pub(crate) fn forget_revoked(&self) {
        let is_here = |host: &HostId| !self.links.is_revoked(*host);
        self.seeds.write().retain(is_here);
        self.proven_seeds.write().retain(is_here);
        self.busy.send_modify(|_| {});
    }

    /// Whether `signer` may vouch for pieces of `task`: a seed that was not thrown out, or, where the whole is hashed against
    /// a digest in the end, a host that the scheduler named its importer.
    pub(crate) fn may_sign(&self, signer: &HostId, task: &Task) -> bool {
        self.is_trusted(signer) || (task.is_by_digest() && task.has_named(signer))
    }

    /// Whether the word of `host` counts even where no digest says what is right.
    fn is_trusted(&self, host: &HostId) -> bool {
        let is_proven = || self.proven_seeds.read().contains(host);
        (self.is_seed(host) || is_proven()) && !self.links.is_revoked(*host)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use identity::{Role, testing::Cluster};

    use super::*;

    #[test]
    fn a_seeds_word_counts_until_it_is_none_or_was_thrown_out() {
        let cluster = Cluster::new("outcasts");
        let links = Links::new(cluster.host(Role::Daemon));
        let tasks = Tasks::new(links.clone());
        let seeds = [(); 3].map(|()| cluster.host(Role::Seed).host());
        tasks.set_seeds([seeds[0]].into());
        tasks.prove_seed(seeds[1], true);
        tasks.prove_seed(seeds[2], true);
        assert!(seeds.iter().all(|seed| tasks.is_trusted(seed)));
        tasks.prove_seed(seeds[2], false);
        assert!(!tasks.is_trusted(&seeds[2]), "it has become none");
        for seed in &seeds[..2] {
            let list = cluster.ca.revoke(*seed, SystemTime::now());
            let list = list.expect("revoked");
            assert!(links.learn_revocations(list.as_bytes()).expect("a list"));
            assert!(!tasks.is_trusted(seed), "it was thrown out");
        }
        tasks.forget_revoked();
        assert!(!tasks.is_seed(&seeds[0]));
    }

    #[test]
    fn of_too_many_seeds_the_one_met_longest_ago_is_forgotten() {
        let cluster = Cluster::new("many");
        let tasks = Tasks::new(Links::new(cluster.host(Role::Daemon)));
        let seed = |n: u16| {
            HostId::from_bytes(
                [[n as u8; 16], [(n >> 8) as u8; 16]]
                    .concat()
                    .try_into()
                    .expect("32 bytes"),
            )
        };
        for n in 0..256 {
            tasks.prove_seed(seed(n), true);
        }
        tasks.prove_seed(seed(0), true);
        tasks.prove_seed(seed(256), true);
        assert!(tasks.is_trusted(&seed(0)) && tasks.is_trusted(&seed(256)));
        assert!(!tasks.is_trusted(&seed(1)));
    }
}
