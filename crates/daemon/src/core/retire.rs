//! Jobs that nobody needs leave memory: their content stays in the store, where eviction and people may have it.
//!
//! A job holds a lease on its content, a file, its tables, and a number on each link. Whoever asks for it again, here or
//! from elsewhere, takes it up from the store.

use std::time::Duration;

use swarm::{
    download::State,
    retain::{self, Candidate},
};
use types::{ByteCount, Moment, TaskId};

use super::{Core, job::Job, lanes::Lanes};
use crate::task::TaskSpec;

/// How long a whole content stays that nobody uses: its neighbours may still come for it, and a child that was sent
/// elsewhere asks again within seconds.
const WHOLE_RESTS: Duration = Duration::from_secs(30);
/// How long a part stays whose readers are gone. The next part of a file, or of an image's layers, is asked for within
/// moments; neighbours have better parents.
const PART_RESTS: Duration = Duration::from_secs(5);

impl Job {
    /// How long it rests unused before it leaves; `None` while it has something to do here.
    fn rest(&self) -> Option<Duration> {
        if !self.readers.is_empty() || self.download.state() == State::Fetching {
            return None;
        }
        if self.download.have().is_full() {
            // Hashing the whole, which ends by itself.
            return self.is_proven.then_some(WHOLE_RESTS);
        }
        // A lease on what nobody else takes part in is of no use to anybody.
        let imports = self.download.is_importer() && self.download.neighbours() > 0;
        (!imports).then_some(PART_RESTS)
    }

    /// When it leaves if nobody uses it until then.
    pub(super) fn retires_at(&self) -> Option<Moment> {
        self.rest().map(|rest| self.used_at + rest)
    }
}

impl Core {
    /// Somebody has a use for the job of `task`: it stays a while.
    pub(super) fn used_job(&mut self, task: TaskId) {
        let now = self.parts.clock.now();
        if let Some(job) = self.jobs.get_mut(&task) {
            job.used_at = now;
        }
    }

    /// Whether nothing runs for `task` here, so that it may leave at once.
    fn may_retire(&self, task: TaskId) -> bool {
        let uploads = || self.uploads.running().any(|running| running.task == task);
        self.jobs.get(&task).is_some_and(|job| job.rest().is_some()) && !uploads()
    }

    /// Its time is over, unless somebody uses it after all.
    pub(super) fn retire_if_due(&mut self, task: TaskId) {
        let now = self.parts.clock.now();
        let Some(job) = self.jobs.get(&task) else {
            return;
        };
        if job.retires_at().is_none_or(|at| now < at) {
            return;
        }
        // Neighbours that lack something stay as long as somebody reads there: then they close it too. That two hosts
        // keep each other's parts would never end.
        let is_of_use = job.download.have().is_full() && job.download.interested().next().is_some();
        if is_of_use || !self.may_retire(task) {
            return self.used_job(task);
        }
        self.retire(task);
    }

    fn retire(&mut self, task: TaskId) {
        let Some(job) = self.take_down(task) else {
            return;
        };
        tracing::debug!(task = ?task, "a task that nobody uses leaves memory");
        job.task.content.touch();
        if job.is_proven {
            self.scheduling.rests(task);
        } else {
            self.scheduling.left(task);
        }
    }

    /// Takes a job out of everything: links, uploads, imports, timers, introductions.
    pub(super) fn take_down(&mut self, task: TaskId) -> Option<Job> {
        if !self.jobs.contains_key(&task) {
            return None;
        }
        for transfer in self.uploads.forget_task(task) {
            self.refuse(&transfer);
        }
        self.close_everywhere(task);
        self.close_account(task);
        let mut job = self.jobs.remove(&task)?;
        if let Some(at) = job.timer.take() {
            self.timers.remove(&(at, task));
        }
        job.imports.values().for_each(Lanes::cancel);
        self.tasks.remove(&task);
        job.task.awaited.clear();
        for host in self.peers.forget_introductions(&task) {
            self.peers.tidy(host);
        }
        self.give_way();
        Some(job)
    }

    /// Frees what only memory holds, so that the store may remove it: `of`, or everything.
    pub(super) fn release(&mut self, of: Option<TaskId>) {
        let tasks: Vec<TaskId> = match of {
            Some(task) => vec![task],
            None => self.jobs.keys().copied().collect(),
        };
        for task in tasks {
            if self.may_retire(task) {
                self.retire(task);
            }
        }
    }

    /// The store does not hold these any more.
    pub(super) fn removed(&mut self, tasks: Vec<TaskId>) {
        tasks
            .into_iter()
            .for_each(|task| self.scheduling.holds_no_more(task));
    }

    /// Evicts whole contents that are worth least, never one that is in use, so that `wanted` bytes of what `spec` lacks have
    /// room.
    pub(super) fn make_room(&mut self, spec: &TaskSpec, wanted: ByteCount) {
        self.release(None);
        let now = self.parts.clock.now();
        let store = &self.parts.store;
        let own = store.list().into_iter().find(|info| info.task == spec.task);
        let held = own.map_or(ByteCount::ZERO, |info| info.held);
        let wanted = wanted.min(spec.layout.length().saturating_sub(held));
        let mut chosen = Vec::new();
        let made = store.make_room(wanted, |infos, short| {
            let others = infos.iter().filter(|info| info.task != spec.task);
            let candidates: Vec<Candidate> = others.map(|info| candidate(info, now)).collect();
            chosen = retain::choose(&candidates, short, now).tasks;
            chosen.clone()
        });
        match made {
            Ok(freed) => tracing::info!(%freed, "evicted content to make room"),
            Err(cause) => tracing::warn!(
                error = &cause as &dyn std::error::Error,
                "making room failed"
            ),
        }
        let left = store.list();
        chosen.retain(|task| !left.iter().any(|info| info.task == *task));
        self.removed(chosen);
    }
}

/// A content as the retention policy judges it.
fn candidate(info: &store::ContentInfo, now: Moment) -> Candidate {
    Candidate {
        task: info.task,
        bytes: info.held,
        last_used: now - info.last_used.elapsed().unwrap_or_default(),
        is_in_use: info.in_use,
        is_complete: info.complete,
        copies_elsewhere: 1,
        class: retain::Class::Normal,
    }
}
