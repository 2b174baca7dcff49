//! The live tasks of this host, and whose word counts for their pieces.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::RwLock;
use types::{HostId, TaskId};

use crate::task::Task;

/// Live tasks by identity, shared by the core, which fills it, and the links, which read it for each frame.
#[derive(Default)]
pub(crate) struct Tasks {
    live: RwLock<BTreeMap<TaskId, Arc<Task>>>,
    /// Seeds that the scheduler named: their word counts for every task.
    seeds: RwLock<BTreeSet<HostId>>,
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
    }

    /// Whether `signer` may vouch for pieces of `task`: a seed, or a host that the scheduler named its importer.
    pub(crate) fn may_sign(&self, signer: &HostId, task: &Task) -> bool {
        self.seeds.read().contains(signer) || task.has_named(signer)
    }
}
