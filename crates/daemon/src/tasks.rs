//! The live tasks of this host.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use identity::Links;
use parking_lot::RwLock;
use tokio::sync::watch;
use types::{HostId, TaskId};

use crate::{task::Task, unnamed::Aside};

/// Live tasks by identity, shared by the core, which fills it, and the links, which read it for each frame.
pub(crate) struct Tasks {
    live: RwLock<BTreeMap<TaskId, Arc<Task>>>,
    /// Seeds that are here, as the scheduler said last: they may import. Whose word counts, `links` know.
    seeds: RwLock<BTreeSet<HostId>>,
    /// Whether somebody waits for anything that is not here yet; also changes with the seeds.
    busy: watch::Sender<bool>,
    pub(crate) links: Links,
    /// Room for words whose signers nobody named yet, over all tasks.
    pub(crate) aside: Aside,
}

impl Tasks {
    /// No task yet. Who is a seed, and who was thrown out, `links` know.
    pub(crate) fn new(links: Links, aside: Aside) -> Self {
        Self {
            live: RwLock::default(),
            seeds: RwLock::default(),
            busy: watch::Sender::default(),
            links,
            aside,
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

    /// The seeds that are here, anew.
    pub(crate) fn set_seeds(&self, seeds: BTreeSet<HostId>) {
        *self.seeds.write() = seeds;
        self.busy.send_modify(|_| {});
    }

    /// Whether the scheduler says that `host` is a seed and here. What it signs counts once its certificate was seen.
    pub(crate) fn is_named_seed(&self, host: &HostId) -> bool {
        self.seeds.read().contains(host)
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

    /// Whether a seed vouches for the whole of `task`, or will once it has read it.
    pub(crate) fn expects_seal(&self, task: &Task) -> bool {
        task.content.seal().is_some() || task.has_named_any(&self.seeds.read())
    }

    /// Nobody waits for seeds that were thrown out of the cluster.
    pub(crate) fn forget_revoked(&self) {
        let is_here = |host: &HostId| !self.links.is_revoked(*host);
        self.seeds.write().retain(is_here);
        self.busy.send_modify(|_| {});
    }
}
