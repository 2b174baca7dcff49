//! Seeds as importers of what they were not asked for.
//!
//! A seed is preferred as importer, but the brain knows only members. So before the first lease of a task goes to a host
//! that is no seed, one live seed is told of the task and given a moment to ask for it by itself. Which one follows from
//! task and seed alone, so that tasks spread over seeds. The same happens anew when what was imported turns out wrong.
//!
//! What no digest names comes from seeds alone: they are told one after the other, with more time each, before the members
//! hear that nobody imports it.

use types::{HostId, Moment, TaskId};

use super::{
    brain::Schedule,
    event::Action,
    member::rendezvous,
    task::{Task, TaskNo},
};

impl Schedule {
    /// Recruits a seed if that was not tried yet. Until the returned moment no lease is to be granted, unless the seed asks.
    pub(super) fn recruit(&mut self, now: Moment, no: TaskNo) -> Option<Moment> {
        let task = self.tasks.at(no);
        let best = task.best_candidate(self.policy.failure_voices);
        let is_seed = best.is_some_and(|seat| self.hosts.at(task.member(seat).host).is_seed);
        if task.was_seed_sought && !is_seed && now < task.seed_until {
            return Some(task.seed_until);
        }
        let is_settled = is_seed || (task.by_digest && task.was_seed_sought);
        let seed = (!is_settled && !self.policy.recruit_wait.is_zero())
            .then(|| self.seed_for(no, task))
            .flatten();
        let wait = match task.by_digest {
            true => self.policy.recruit_wait,
            false => self.policy.recruit_wait.max(self.policy.orphan_wait),
        };
        let task = self.tasks.at_mut(no);
        task.was_seed_sought = true;
        let host = seed?;
        task.seed_until = now + wait;
        task.sought.push(host);
        let (until, task) = (task.seed_until, task.id);
        self.outbox.push(Action::Recruit { host, task });
        Some(until)
    }

    /// `host` has no part in `task`. If it was the last seed to be told of it, nobody waits for it any longer.
    pub(super) fn declined(&mut self, now: Moment, host: &HostId, task: &TaskId) {
        let Some(no) = self.tasks.find(task) else {
            return;
        };
        let task = self.tasks.at_mut(no);
        if task.sought.last() == Some(host) && now < task.seed_until {
            task.seed_until = now;
            self.review(now, no);
        }
    }

    /// The seed that reads this task's origin, unless one takes part already: of what no digest names the first that was not
    /// told yet. Walks over the seeds, which are few.
    fn seed_for(&self, no: TaskNo, task: &Task) -> Option<HostId> {
        let seeds = (self.seeds.iter())
            .filter_map(|id| Some(self.hosts.at(self.hosts.find(id)?)))
            .filter(|host| !host.is_low() && !task.is_doubted(&host.id));
        let mut best: Option<(u64, HostId)> = None;
        for seed in seeds {
            let takes_part = seed.tasks.contains_key(&no);
            if takes_part && task.by_digest {
                return None;
            }
            if takes_part || (!task.by_digest && task.sought.contains(&seed.id)) {
                continue;
            }
            let rank = (rendezvous(&task.id, &seed.id), seed.id);
            best = Some(best.map_or(rank, |best| best.min(rank)));
        }
        best.map(|(_, id)| id)
    }
}
