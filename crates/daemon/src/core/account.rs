//! What tasks cost this host, for `pantala explain`.

use std::error::Error;

use swarm::download::State;
use types::{ByteCount, Moment, TaskId};

use super::{Core, job::Job};
use crate::{
    account::{About, Doing, Explained, Giver, Reason, Standing},
    task::TaskError,
};

/// A chain of causes is told as far as this.
const CAUSES_MAX: usize = 8;

impl Core {
    /// Counts the time of `task` up to now for what it did, and sees what it does from now on.
    pub(super) fn account_for(&mut self, task: TaskId) {
        let now = self.parts.clock.now();
        let Some(doing) = self.jobs.get(&task).map(|job| self.doing(job)) else {
            return;
        };
        if let Some(job) = self.jobs.get_mut(&task) {
            job.account.does(now, doing);
        }
    }

    fn doing(&self, job: &Job) -> Doing {
        let download = &job.download;
        if download.state() != State::Fetching {
            let is_waited_for = !job.readers.is_empty() && job.task.spec.digest.is_some();
            let is_open = !job.is_proven && (!job.is_sealed || job.task.is_digest_wanted());
            let is_proving = is_waited_for && is_open && download.have().is_full();
            return if is_proving {
                Doing::Proving
            } else {
                Doing::Resting
            };
        }
        let scheduling = &self.scheduling;
        let is_cut_off = !scheduling.is_alone() && !scheduling.is_connected();
        if download.waits().next().is_some() || download.origin_runs().next().is_some() {
            Doing::Fetching
        } else if job.gives_way {
            Doing::GivingWay
        } else if download.origin_rests_until() > self.parts.clock.now() {
            Doing::OriginRest
        } else if is_cut_off || scheduling.asks_again_at(&job.task.spec.task).is_some() {
            Doing::Scheduler
        } else {
            Doing::AnyHost
        }
    }

    /// What is known of who gave a piece of `task`.
    pub(super) fn about(&self, task: TaskId, giver: Giver) -> About {
        let Giver::Host(Some(id)) = giver else {
            return About::default();
        };
        let peer = self.peers.find(&id).and_then(|host| self.peers.get(host));
        peer.map_or_else(About::default, |peer| About {
            place: peer.place.clone(),
            is_introduced: peer.introduced.contains(&task),
            is_seed: peer.is_seed,
        })
    }

    /// Why this host read a piece of `task` from the origin.
    pub(super) fn reason(&self, task: TaskId, leased: bool) -> Reason {
        let Some(job) = self.jobs.get(&task) else {
            return Reason::Blocked;
        };
        if self.scheduling.is_alone() {
            Reason::Lone
        } else if leased && job.download.is_caretaker() {
            Reason::Caretaker
        } else if leased && job.is_chosen {
            Reason::Chosen
        } else if leased {
            Reason::Lease
        } else if job.reads_alone {
            Reason::Nobody
        } else {
            Reason::Blocked
        }
    }

    /// A job begins: the account of its task goes on, unless nothing is left of what that was about.
    pub(super) fn resume_account(&mut self, job: &mut Job) {
        let before = self.ended.take(&job.task.spec.task);
        if let Some(before) = before.filter(|_| job.account.local > ByteCount::ZERO) {
            let now = self.parts.clock.now();
            job.account = before.account.resumed(now);
            if let Some(told) = before.efficiency {
                job.task.measured(told);
            }
        }
    }

    /// A job ends: its account is kept for a while.
    pub(super) fn close_account(&mut self, task: TaskId) {
        let now = self.parts.clock.now();
        self.account_for(task);
        if let Some(job) = self.jobs.get(&task) {
            let explained = self.explain(job, Standing::Ended(now));
            self.ended.keep(explained);
        }
    }

    /// The account of `task`, which was closed, ended with an error.
    pub(super) fn account_failed(&mut self, task: TaskId, cause: &TaskError) {
        if let Some(mut explained) = self.ended.take(&task) {
            let first: Option<&dyn Error> = Some(cause);
            let causes = std::iter::successors(first, |error| (*error).source());
            let causes = causes.map(ToString::to_string).take(CAUSES_MAX).collect();
            explained.standing = Standing::Failed(self.parts.clock.now(), causes);
            self.ended.keep(explained);
        }
    }

    /// All that can be told of, the latest last.
    pub(super) fn explained(&mut self) -> (Moment, Vec<Explained>) {
        for task in self.jobs.keys().copied().collect::<Vec<_>>() {
            self.account_for(task);
        }
        let live = self
            .jobs
            .values()
            .map(|job| self.explain(job, Standing::Live));
        let all = self.ended.all().cloned().chain(live).collect();
        (self.parts.clock.now(), all)
    }

    fn explain(&self, job: &Job, standing: Standing) -> Explained {
        let spec = &job.task.spec;
        let have = job.download.have();
        let held: u64 = have
            .iter()
            .map(|piece| spec.layout.length_of(piece).0)
            .sum();
        let waits = match standing {
            Standing::Live => self.waits(job),
            _ => Vec::new(),
        };
        Explained {
            task: spec.task,
            digest: spec.digest,
            source: spec.source.to_string(),
            visibility: spec.visibility,
            length: spec.layout.length(),
            held: ByteCount(held),
            standing,
            is_importer: job.download.is_importer(),
            efficiency: job.task.efficiency(),
            account: job.account.clone(),
            waits,
        }
    }
}
