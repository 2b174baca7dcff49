//! The live tasks of this host, and whose word counts for their pieces.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::RwLock;
use tokio::sync::watch;
use types::{HostId, TaskId};

use crate::task::Task;

/// Live tasks by identity, shared by the core, which fills it, and the links, which read it for each frame.
#[derive(Default)]
pub(crate) struct Tasks {
    live: RwLock<BTreeMap<TaskId, Arc<Task>>>,
    /// Seeds that the scheduler named: their word counts for every task.
    seeds: RwLock<BTreeSet<HostId>>,
    /// Whether somebody waits for anything that is not here yet; also changes with the seeds.
    busy: watch::Sender<bool>,
    /// Hosts that proved on a link to be seeds. Bounded.
    proven_seeds: RwLock<BTreeSet<HostId>>,
}

impl Tasks {
    pub(crate) fn get(&self, task: &TaskId) -> Option<Arc<Task>> {
        self.live.read().get(task).cloned()
    }

    pub(crate) fn insert(&self, task: Arc<Task>) {
        self.live.write().insert(task.spec.task, task);
    }

    pub(crate) fn remove(&self, task: &TaskId) {
        self.live.write().remove(task);
    }

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

    /// `host` has proved, by its certificate, to be a seed. Beyond a bound the word of further ones counts only if the
    /// scheduler names them.
    pub(crate) fn prove_seed(&self, host: HostId) {
        const PROVEN_MAX: usize = 256;
        let mut proven = self.proven_seeds.write();
        if proven.len() < PROVEN_MAX {
            proven.insert(host);
        }
    }

    /// Whether `signer` may vouch for pieces of `task`: a seed, or, where the whole is hashed against a digest in the end,
    /// a host that the scheduler named its importer.
    pub(crate) fn may_sign(&self, signer: &HostId, task: &Task) -> bool {
        self.seeds.read().contains(signer)
            || self.proven_seeds.read().contains(signer)
            || (task.is_by_digest() && task.has_named(signer))
    }
}
