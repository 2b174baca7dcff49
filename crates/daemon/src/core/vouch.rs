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
use types::{Epoch, HostId, PieceIndex, TaskId};

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
        for (from, run) in live.take_back(|signer| self.tasks.may_sign(signer, &live)) {
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

    /// The same for all tasks: a seed is known.
    pub(super) fn believe_all(&mut self) {
        let tasks: Vec<TaskId> = self.jobs.keys().copied().collect();
        tasks.into_iter().for_each(|task| self.believe(task));
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

    /// Whether others may count on a whole content of the store. Only what no digest names has to be looked at for that.
    pub(super) fn is_for_others(&self, info: &store::ContentInfo) -> bool {
        let task = info.task;
        if info.digest.is_some_and(|digest| digest.names(&task)) {
            return true;
        }
        if let Some(job) = self.jobs.get(&task) {
            return job.task.is_for_others();
        }
        let content = tokio::task::block_in_place(|| self.parts.store.content(task));
        let Ok(Some(content)) = content else {
            return false;
        };
        let table = Table::stored(content.segments(), BTreeSet::new());
        table.is_whole(info.layout.piece_count())
    }
}
