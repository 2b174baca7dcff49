//! Seeds as importers of what they were not asked for.
//!
//! A seed is preferred as importer, but the brain knows only members. So before the first lease of a task goes to a host
//! that is no seed, one live seed is told of the task and given a moment to ask for it by itself. Which one follows from
//! task and seed alone, so that tasks spread over seeds. The same happens anew when what was imported turns out wrong.

use types::{HostId, Moment};

use super::{
    brain::Schedule,
    event::Action,
    hosts::Host,
    member::rendezvous,
    task::{Task, TaskNo},
};

impl Schedule {
    /// Recruits a seed if that was not tried yet. Until the returned moment no lease is to be granted, unless the seed asks.
    pub(super) fn recruit(&mut self, now: Moment, no: TaskNo) -> Option<Moment> {
        let task = self.tasks.at(no);
        if task.was_seed_sought {
            let best = task.best_candidate(self.policy.failure_voices);
            let is_seed = best.is_some_and(|seat| self.hosts.at(task.member(seat).host).is_seed);
            return (now < task.seed_until && !is_seed).then_some(task.seed_until);
        }
        if self.policy.recruit_wait.is_zero() {
            return None;
        }
        let seed = self.seed_for(no, task);
        let task = self.tasks.at_mut(no);
        task.was_seed_sought = true;
        let host = seed?;
        let until = now + self.policy.recruit_wait;
        task.seed_until = until;
        self.outbox.push(Action::Recruit {
            host,
            task: task.id,
        });
        Some(until)
    }

    /// The seed that reads this task's origin, unless one takes part already. Walks over the seeds, which are few.
    fn seed_for(&self, no: TaskNo, task: &Task) -> Option<HostId> {
        let here =
            |host: &Host| !host.is_low() && host.place.cell(self.policy.max_scope) == task.cell;
        let seeds = (self.seeds.iter())
            .filter_map(|id| Some(self.hosts.at(self.hosts.find(id)?)))
            .filter(|host| here(host) && !task.is_doubted(&host.id));
        let mut best: Option<(u64, HostId)> = None;
        for seed in seeds {
            if seed.tasks.contains_key(&no) {
                return None;
            }
            let rank = (rendezvous(&task.id, &seed.id), seed.id);
            best = Some(best.map_or(rank, |best| best.min(rank)));
        }
        best.map(|(_, id)| id)
    }
}
