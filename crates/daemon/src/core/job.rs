//! One running task of this host.

use std::{collections::BTreeMap, sync::Arc};

use control::CanImport;
use swarm::{
    Class,
    download::{Download, DownloadPolicy, ReaderNo, State},
};
use types::{ByteCount, Chance, Epoch, Moment, PieceIndex};

use super::{lanes::Lanes, unbelieved::Unbelieved};
use crate::{account::Account, speeds::Course, task::Task};

/// A task, its brain, and what runs for it.
pub(super) struct Job {
    pub(super) task: Arc<Task>,
    pub(super) download: Download,
    /// When the brain wants to be woken, as it stands in the core's timers.
    pub(super) timer: Option<Moment>,
    /// Local readers.
    pub(super) readers: BTreeMap<ReaderNo, Class>,
    /// Whether it gives way now: it is in the background and something in the foreground is not complete.
    pub(super) gives_way: bool,
    /// The imports of each epoch; those without a lease are under epoch zero.
    pub(super) imports: BTreeMap<Epoch, Lanes>,
    /// What to ask for again once its signers are named.
    pub(super) unbelieved: Unbelieved,
    /// The newest epoch seen.
    pub(super) epoch: Epoch,
    /// Whether the scheduler was asked, and not told that we left.
    pub(super) is_asked: bool,
    /// What this host could do at the origin when the scheduler was asked.
    pub(super) asked_with: CanImport,
    /// Whether it makes sense that the scheduler names this host importer: its own policy does not forbid the origin.
    pub(super) may_import: bool,
    /// Whether the scheduler said that nobody imports it, and nobody who can give it was heard of since.
    pub(super) reads_alone: bool,
    /// Whether it imports because it is the seed that hosts without a scheduler have chosen.
    pub(super) is_chosen: bool,
    /// Whether the scheduler may count on the whole: it was right once, and no piece was found lost since.
    pub(super) is_held: bool,
    /// Whether the whole was hashed and is right, and its bytes may be believed.
    pub(super) is_proven: bool,
    /// Whether everything is here and folds to what a seed sealed.
    pub(super) is_sealed: bool,
    /// Whether the whole is being hashed, or will be.
    pub(super) is_proving: bool,
    /// Whether anybody wanted all of it.
    pub(super) is_whole_wanted: bool,
    /// Since when all of it is wanted, and what it lacked then; none once that was measured.
    pub(super) course: Option<Course>,
    pub(super) began: Moment,
    /// What it cost this host so far.
    pub(super) account: Account,
    /// When anybody last had a use for it, here or elsewhere.
    pub(super) used_at: Moment,
}

impl Job {
    pub(super) fn new(
        task: Arc<Task>,
        policy: DownloadPolicy,
        (now, chance): (Moment, Chance),
    ) -> Self {
        let (local, ..) = task.bytes();
        let download = Download::new(task.spec.layout, task.content.have(), policy, chance);
        Self {
            task,
            download,
            timer: None,
            readers: BTreeMap::new(),
            gives_way: false,
            imports: BTreeMap::new(),
            unbelieved: Unbelieved::default(),
            epoch: Epoch::default(),
            is_asked: false,
            asked_with: CanImport::No,
            may_import: true,
            reads_alone: false,
            is_chosen: false,
            is_held: false,
            is_proven: false,
            is_sealed: false,
            is_proving: false,
            is_whole_wanted: false,
            course: None,
            began: now,
            account: Account::new(now, ByteCount(local)),
            used_at: now,
        }
    }

    /// Background if only background readers care; what nobody here reads is for others, who wait.
    pub(super) fn class(&self) -> Class {
        let is_background = |class: &Class| *class == Class::Background;
        if !self.readers.is_empty() && self.readers.values().all(is_background) {
            Class::Background
        } else {
            Class::Foreground
        }
    }

    /// What is here and vouched for by nobody whom others believe.
    pub(super) fn unvouched(&self) -> Vec<PieceIndex> {
        let table = self.task.table.read();
        let have = self.download.have().iter();
        have.filter(|piece| table.segment_of(*piece).is_none())
            .collect()
    }

    /// Takes back everything that is stored of it.
    pub(super) fn void(&self) {
        let content = &self.task.content;
        if let Err(cause) = tokio::task::block_in_place(|| content.void_all()) {
            tracing::error!(task = ?content.task(), error = &cause as &dyn std::error::Error, "voiding failed");
        }
    }

    /// Shows nobody what nobody would believe.
    pub(super) fn keep_unvouched(&mut self) {
        let unvouched = self.unvouched();
        self.download.keep(unvouched.into_iter());
    }

    /// Whether the scheduler knows, or should know, that this host waits for it.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_asked && !self.download.have().is_full()
    }

    /// Whether the background gives way to it.
    pub(super) fn has_priority(&self) -> bool {
        self.class() == Class::Foreground && self.download.state() == State::Fetching
    }
}
