//! One running task of this host.

use std::{collections::BTreeMap, sync::Arc};

use swarm::download::{Download, DownloadPolicy, ReaderNo};
use types::{Chance, Epoch, Moment};

use super::lanes::Lanes;
use crate::task::Task;

/// A task, its brain, and what runs for it.
pub(super) struct Job {
    pub(super) task: Arc<Task>,
    pub(super) download: Download,
    /// When the brain wants to be woken, as it stands in the core's timers.
    pub(super) timer: Option<Moment>,
    /// Local readers.
    pub(super) readers: BTreeMap<ReaderNo, ()>,
    /// The imports of each epoch; those without a lease are under epoch zero.
    pub(super) imports: BTreeMap<Epoch, Lanes>,
    /// The newest epoch seen.
    pub(super) epoch: Epoch,
    /// Whether the scheduler was asked, and not told that we left.
    pub(super) is_asked: bool,
    /// Whether the whole was hashed and is right.
    pub(super) is_proven: bool,
    pub(super) began: Moment,
}

impl Job {
    pub(super) fn new(
        task: Arc<Task>,
        policy: DownloadPolicy,
        (now, chance): (Moment, Chance),
    ) -> Self {
        let download = Download::new(task.spec.layout, task.content.have(), policy, chance);
        Self {
            task,
            download,
            timer: None,
            readers: BTreeMap::new(),
            imports: BTreeMap::new(),
            epoch: Epoch::default(),
            is_asked: false,
            is_proven: false,
            began: now,
        }
    }
}
