//! What others would believe of what is here.
//!
//! They believe a digest that an importer whom the scheduler named, or a seed, signed for the piece; of content that no digest
//! names, a seed alone: nobody holds the whole against anything in the end. What this host read on no such word is of use
//! here, and shown to nobody.

use std::{collections::BTreeSet, sync::Arc};

use control::HostMessage;
use swarm::{
    HostNo,
    download::{Event as Swarm, Supplier},
};
use types::{Epoch, HostId, PieceIndex, TaskId, Visibility};

use super::{Core, job::Job, said::UNTOLD};
use crate::table::Table;

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

    /// Somebody was named: what was set aside for that counts from now on, and who brought it has it after all.
    pub(super) fn believe(&mut self, task: TaskId) {
        let Some(live) = self.tasks.get(&task) else {
            return;
        };
        for (from, run) in live.take_back() {
            let host = self.peers.find(&from);
            let takes_part = |host: &HostNo| {
                let peer = self.peers.get(*host);
                peer.is_some_and(|peer| peer.joined.contains(&task))
            };
            if let Some(host) = host.filter(takes_part) {
                let slots = UNTOLD;
                self.drive(task, Swarm::Has { host, run, slots });
            }
        }
    }

    /// It changed who is a seed. Of a certificate that was renewed in time nothing follows.
    pub(super) fn seeds_changed(&mut self) {
        let seeds = self.parts.links.all_seeds();
        if seeds != self.judged {
            self.judged = seeds;
            self.judge_all();
            self.hold_what_is_believed();
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
        let (has_lost, has_won) = job.task.judge_again();
        if !has_lost && !has_won {
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
                link.unvouch(&task);
            }
            self.show_all(task, host);
        }
    }

    /// Tells the scheduler of whole contents of the store that no digest names, which others believe by now.
    fn hold_what_is_believed(&mut self) {
        let is_unnamed = |info: &store::ContentInfo| {
            let is_shared = info.complete && info.visibility == Visibility::Public;
            is_shared && info.digest.is_none_or(|digest| !digest.names(&info.task))
        };
        let mut stored = self.parts.store.list();
        stored.retain(|info| is_unnamed(info) && !self.jobs.contains_key(&info.task));
        for info in stored {
            match self.is_for_others(&info) {
                true => self.scheduling.holds(info.task),
                false => self.scheduling.holds_no_more(info.task),
            }
        }
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
        if info.digest.is_some_and(|digest| digest.names(&task)) {
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
        let table = Table::stored(words, BTreeSet::new(), |_| true);
        table.is_whole(info.layout.piece_count())
    }
}
