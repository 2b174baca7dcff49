//! What others would believe of what is here.
//!
//! They believe a digest that an importer whom the scheduler named, or a seed, signed for the piece; of content that no digest
//! names, a seed alone: nobody holds the whole against anything in the end. What this host read on no such word is of use
//! here, and shown to nobody.

use std::{collections::BTreeSet, sync::Arc};

use control::HostMessage;
use swarm::{
    HostNo,
    download::{Event as Swarm, State, Supplier},
};
use types::{Epoch, HostId, PieceIndex, TaskId};

use super::{Core, job::Job, said::UNTOLD};
use crate::table::Table;

/// Whether its digest is the name of a content of the store.
fn is_named(info: &store::ContentInfo) -> bool {
    let source = info.source.as_ref();
    (info.digest).is_some_and(|digest| digest.names(&info.task, source))
}

impl Core {
    /// Whether this host's word as the importer of `job` counts for others.
    fn is_believed(&self, job: &Job) -> bool {
        self.parts.is_seed || job.task.is_by_digest()
    }

    /// What a piece is that this host has just read from the origin.
    pub(super) fn supplier_of(&self, task: TaskId, piece: PieceIndex) -> Supplier {
        let Some(job) = self.jobs.get(&task) else {
            return Supplier::Origin;
        };
        if job.task.is_vouched(piece) {
            return Supplier::Origin;
        }
        // It was asked of the origin before this host was named.
        if let Some(lease) = job.download.lease()
            && lease.epoch > Epoch::default()
            && self.is_believed(job)
        {
            self.vouch(job, piece, lease.epoch);
            return Supplier::Origin;
        }
        if !job.task.is_by_digest() && !self.scheduling.is_alone() {
            job.task.unshared();
        }
        Supplier::OriginAlone
    }

    /// Somebody was named: what was set aside for that counts from now on, and who sent pieces with such words has them
    /// after all.
    pub(super) fn believe(&mut self, task: TaskId) {
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        let live = &job.task;
        live.take_back();
        for (host, run) in job.unbelieved.take(|signer| live.may_sign(signer)) {
            let slots = UNTOLD;
            self.drive(task, Swarm::Has { host, run, slots });
        }
    }

    /// It changed who is a seed. Of a certificate that was renewed in time nothing follows.
    pub(super) fn seeds_changed(&mut self) {
        let seeds = self.parts.links.all_seeds();
        let changed: BTreeSet<HostId> = (seeds.symmetric_difference(&self.judged))
            .copied()
            .collect();
        if !changed.is_empty() {
            self.judged = seeds;
            self.judge_all();
            self.hold_what_is_believed(&changed);
        }
    }

    /// Whose word counts has changed, for all tasks.
    pub(super) fn judge_all(&mut self) {
        let tasks: Vec<TaskId> = self.jobs.keys().copied().collect();
        for task in tasks {
            self.judge(task);
            self.believe(task);
        }
    }

    /// A remote takes part in `task`: what is shown to it was judged by who is a seed now. That a certificate expired is no
    /// event.
    pub(super) fn judge_for_others(&mut self, task: TaskId) {
        if (self.tasks.get(&task)).is_some_and(|live| !live.is_by_digest()) {
            self.seeds_changed();
        }
    }

    fn judge(&mut self, task: TaskId) {
        let now = self.parts.clock.now();
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        let judged = job.task.judge_again();
        if judged.is_stale {
            return self.drop_stale(task);
        }
        if !judged.has_lost && !judged.has_won {
            return;
        }
        job.download.handle(now, Swarm::Vouched);
        job.keep_unvouched();
        let is_for_others = job.task.is_for_others();
        let was_held = job.is_held;
        if was_held && !is_for_others {
            job.is_held = false;
            self.scheduling.holds_no_more(task);
        }
        let is_whole = job.is_proven || job.is_sealed;
        self.settle(task);
        if is_whole && !was_held && is_for_others {
            self.tell_whole(task);
        }
        let connected = self.peers.connected();
        let joined = connected.filter(|(_, peer)| peer.joined.contains(&task));
        for host in joined.map(|(host, _)| host).collect::<Vec<HostNo>>() {
            if let Some(link) = self.peers.link_mut(host) {
                link.unsealed(&task);
            }
            self.show_all(task, host);
        }
    }

    /// Nobody who counts vouches any more for what is here of `task`, and no digest names it: it is read anew, and who was
    /// given any of it is told, so that nobody gets a part of one reading and a part of another.
    fn drop_stale(&mut self, task: TaskId) {
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        tracing::warn!(task = ?task, "who vouched for content that no digest names does not count any more: it is void");
        job.task.table.write().clear();
        job.void();
        (job.is_proven, job.is_sealed) = (false, false);
        if std::mem::take(&mut job.is_held) {
            self.scheduling.holds_no_more(task);
        }
        match job.readers.is_empty() && job.download.state() != State::Fetching {
            true => self.drop_job(task, None),
            false => self.restart(task),
        }
    }

    /// Tells the scheduler of whole contents of the store that no digest names, which others believe by now, or do not any
    /// more: of those for which any of the hosts vouches that are `changed`.
    fn hold_what_is_believed(&mut self, changed: &BTreeSet<HostId>) {
        let is_unnamed = |info: &store::ContentInfo| info.complete && !is_named(info);
        // What an older release left tells only once it was looked at.
        let is_concerned = |info: &store::ContentInfo| {
            let vouchers = info.vouchers.as_ref();
            vouchers.is_none_or(|hosts| hosts.iter().any(|host| changed.contains(host)))
        };
        let mut stored = self.parts.store.list();
        stored.retain(|info| {
            is_unnamed(info) && is_concerned(info) && !self.jobs.contains_key(&info.task)
        });
        let (added, removed): (Vec<_>, Vec<_>) =
            (stored.into_iter()).partition(|info| self.is_for_others(info));
        let tasks = |infos: Vec<store::ContentInfo>| infos.into_iter().map(|info| info.task);
        (self.scheduling).holdings_changed(tasks(added).collect(), tasks(removed).collect());
    }

    /// Tells a scheduler that may not have been there then whose word is accepted for pieces of `task`.
    pub(super) fn tell_vouchers(&mut self, task: TaskId) {
        let Some(job) = self.jobs.get(&task) else {
            return;
        };
        let Some(digest) = job.task.spec.digest.filter(|_| job.task.is_by_digest()) else {
            return;
        };
        let mut importers: Vec<HostId> = job.task.table.read().signers().into_iter().collect();
        importers.truncate(HostMessage::VOUCHERS_MAX);
        if !importers.is_empty() {
            self.scheduling.say(HostMessage::Vouchers {
                task,
                digest,
                importers,
            });
        }
    }

    fn vouch(&self, job: &Job, piece: PieceIndex, epoch: Epoch) {
        if let Some(digest) = job.task.content.digest_of(piece) {
            let segment = self.parts.signer.segment(&job.task, epoch, (piece, digest));
            job.task.keep_segment(Arc::new(segment));
        }
    }

    /// The new importer of `task` vouches also for what it has read of it before, unless others would not believe it.
    pub(super) fn vouch_for_all(&mut self, task: TaskId, epoch: Epoch) {
        let Some(job) = self.jobs.get(&task) else {
            return;
        };
        let unvouched = job.unvouched();
        if !unvouched.is_empty() && self.is_believed(job) {
            for piece in unvouched {
                self.vouch(job, piece, epoch);
            }
            self.drive(task, Swarm::Vouched);
        }
    }

    /// Everything is here, and right: others may count on it, if they would believe what they get.
    pub(super) fn tell_whole(&mut self, task: TaskId) {
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        job.is_held = job.task.is_for_others();
        match job.is_held {
            true => self.scheduling.holds(task),
            false => self.scheduling.left(task),
        }
    }

    /// Whether others may count on a whole content of the store.
    pub(super) fn is_for_others(&self, info: &store::ContentInfo) -> bool {
        let task = info.task;
        if is_named(info) {
            return true;
        }
        if let Some(job) = self.jobs.get(&task) {
            return job.task.is_for_others();
        }
        if let Some(vouchers) = &info.vouchers {
            let is_seed = |host: &HostId| self.parts.links.is_seed(host);
            if vouchers.iter().all(is_seed) {
                return !vouchers.is_empty();
            }
        }
        // Several signed it, not all of them seeds, or an older release wrote down too little to tell.
        let content = tokio::task::block_in_place(|| self.parts.store.content(task));
        let Ok(Some(content)) = content else {
            return false;
        };
        let links = &self.parts.links;
        let words = content.segments().into_iter();
        let words = words.filter(|word| links.is_seed(&word.signer));
        let held = |piece| content.digest_of(piece);
        let table = Table::stored(words, BTreeSet::new(), |_| true, held);
        table.is_whole(info.layout.piece_count())
    }
}
