//! Who imports: naming, renewing, taking over, giving up.
//!
//! Everything ends in [`Schedule::review`]: whatever happened to a task, it looks at the whole task and does the one
//! next thing, or sets the timer that will. So a task with a waiting member is never without a lease, its content, or
//! a deadline.

use types::{HostId, Moment, PieceIndex, PieceRun};

use super::{
    brain::{Leave, Schedule},
    event::{Action, CanImport, Lease, LeaseFailed, LeaseReturned, Progress},
    graph::Seat,
    lease::{self, Held},
    task::{Spot, Task, TaskNo},
    timers::Timer,
};

/// What a review leaves to do.
enum Next {
    Wake(Option<Moment>),
    Forget,
}

impl Task {
    pub(super) fn is_holder(&self, seat: Seat) -> bool {
        (self.lease.as_ref()).is_some_and(|lease| lease.seat == Some(seat))
    }

    /// A host that was lost with a lease and now asks without claiming it has started anew: it holds nothing.
    pub(super) fn end_orphaned_lease(&mut self, host: &HostId) {
        (self.lease).take_if(|lease| lease.seat.is_none() && lease.holder == *host);
    }
}

impl Schedule {
    /// Does what the task needs now, and sets its timer.
    pub(super) fn review(&mut self, now: Moment, no: TaskNo) {
        let next = self.decide(now, no);
        let task = self.tasks.at_mut(no);
        if let Some(wake) = task.wake.take() {
            self.timers.clear(wake, Timer::Task(no));
        }
        match next {
            Next::Forget => self.tasks.forget(no),
            Next::Wake(None) => {}
            Next::Wake(Some(at)) => {
                // Never now: a timer that sets itself for the present would ring for ever.
                let at = at.max(Moment(now.0.saturating_add(1)));
                task.wake = Some(at);
                self.timers.set(at, Timer::Task(no));
            }
        }
    }

    fn decide(&mut self, now: Moment, no: TaskNo) -> Next {
        self.end_by_time(now, no);
        let policy = &self.policy;
        let task = self.tasks.at_mut(no);
        let patience = task.motion.patience_ends(policy);
        if task.waiting == 0 {
            if task.is_empty() && task.lease.is_none() {
                return Next::Forget;
            }
            self.revoke(no);
            return self.wake_at_end(no);
        }
        if task.is_here() {
            if now < patience {
                self.revoke(no);
                let until = self.tasks.at(no).lease.as_ref().map(|lease| lease.until);
                return Next::Wake(Some(until.map_or(patience, |until| until.min(patience))));
            }
            task.in_doubt = true;
            task.motion.stalled(now);
        }
        if task.lease.is_some() {
            return self.watch(now, no);
        }
        if now < task.not_before {
            return Next::Wake(Some(task.not_before));
        }
        if let Some(until) = self.recruit(now, no) {
            return Next::Wake(Some(until));
        }
        let policy = &self.policy;
        let task = self.tasks.at(no);
        match task.best_candidate(policy.failure_voices) {
            Some(seat) => self.grant(now, no, seat),
            None => self.give_up(now, no),
        }
    }

    /// Looks after a lease that is held: takes it away if nothing moves and somebody else could do better.
    fn watch(&mut self, now: Moment, no: TaskNo) -> Next {
        let policy = &self.policy;
        let task = self.tasks.at_mut(no);
        let lease = task.lease.as_ref().expect("the caller has seen it");
        let until = lease.until;
        let Some(seat) = lease.seat.filter(|_| !lease.revoked) else {
            return Next::Wake(Some(until));
        };
        if now >= task.motion.patience_ends(policy) {
            task.motion.stalled(now);
            if task.has_other_candidate(seat, policy.failure_voices) {
                self.disappointed(Spot { task: no, seat });
                self.revoke(no);
                return Next::Wake(Some(until));
            }
        }
        let patience = task.motion.patience_ends(policy);
        Next::Wake(Some(until.min(patience)))
    }

    fn grant(&mut self, now: Moment, no: TaskNo, seat: Seat) -> Next {
        let epoch = self.last_epoch.next();
        self.last_epoch = epoch;
        let task = self.tasks.at_mut(no);
        let holder = self.hosts.at(task.member(seat).host);
        let until = now + self.policy.lease_valid_for + self.policy.lease_margin;
        task.lease = Some(Held {
            holder: holder.id,
            seat: Some(seat),
            epoch,
            granted_at: now,
            until,
            revoked: false,
            imported: 0,
        });
        (task.covered_by, task.orphan_since) = (None, None);
        task.motion.restart(now);
        let lease = Lease {
            epoch,
            run: task.layout.map_or(
                PieceRun {
                    first: PieceIndex(0),
                    count: u32::MAX,
                },
                |layout| layout.all(),
            ),
            term: lease::term(now, &self.policy, holder),
        };
        let patience = task.motion.patience_ends(&self.policy);
        self.outbox.push(Action::Grant {
            host: holder.id,
            task: task.id,
            lease,
        });
        // All it imports goes out through its neighbours: it gets as many as there can be.
        self.fill(now, Spot { task: no, seat });
        Next::Wake(Some(until.min(patience)))
    }

    /// Nobody can import. While there is hope that the members have it all among them, they are left to it; else they
    /// are told, after a moment in which somebody who can import may come.
    fn give_up(&mut self, now: Moment, no: TaskNo) -> Next {
        let task = self.tasks.at_mut(no);
        let patience = task.motion.patience_ends(&self.policy);
        if task.sources > 0 || task.covered_by.is_some() {
            task.in_doubt = false;
            return Next::Wake(Some(patience));
        }
        if task.motion.has_moved() && now < patience {
            return Next::Wake(Some(patience));
        }
        let since = *task.orphan_since.get_or_insert(now);
        let due = since + self.policy.orphan_wait;
        // What no digest names comes from seeds alone: without any, each host reads it by itself, at once.
        if task.by_digest && task.refusals.is_empty() && now < due {
            return Next::Wake(Some(due));
        }
        let cause = task.fail_cause();
        let waiting: Vec<Seat> = (task.members())
            .filter(|(_, member)| !member.complete)
            .map(|(seat, _)| seat)
            .collect();
        for seat in waiting {
            let task = self.tasks.at(no);
            self.outbox.push(Action::Fail {
                host: self.hosts.at(task.member(seat).host).id,
                task: task.id,
                cause,
            });
            self.detach(now, Spot { task: no, seat }, Leave::Told);
        }
        let task = self.tasks.at_mut(no);
        (task.refusals, task.last_failure) = (Vec::new(), None);
        (task.orphan_since, task.failures) = (None, 0);
        if task.is_empty() {
            Next::Forget
        } else {
            Next::Wake(None)
        }
    }

    /// A report: the task moves, the lease lasts longer, or nothing is left to import.
    pub(super) fn progress(&mut self, now: Moment, progress: &Progress) {
        let Some(spot) = self.spot(&progress.host, &progress.task) else {
            return;
        };
        let Spot { task: no, seat } = spot;
        let task = self.tasks.at_mut(no);
        if task.member(seat).complete {
            return;
        }
        let most = task.layout.map_or(u32::MAX, |layout| layout.piece_count());
        let have = progress.have.min(most);
        let mut moved = have > task.member(seat).have;
        task.member_mut(seat).have = have;
        let host = self.hosts.at(task.member(seat).host);
        let mut is_done = false;
        let is_current = |lease: &&mut Held| {
            lease.seat == Some(seat) && progress.lease == Some(lease.epoch) && !lease.revoked
        };
        if let Some(lease) = task.lease.as_mut().filter(is_current) {
            let imported = progress.imported.min(most);
            if imported > lease.imported {
                (moved, task.failures) = (true, 0);
            }
            lease.imported = imported;
            is_done = progress.left == 0;
            if !is_done {
                let (epoch, term) = (lease.epoch, lease.renew(now, &self.policy, host));
                self.outbox.push(Action::Renew {
                    host: progress.host,
                    task: progress.task,
                    epoch,
                    term,
                });
            }
        }
        if moved {
            task.motion.moved(now);
        }
        if is_done {
            (task.covered_by, task.in_doubt) = (Some(seat), false);
        }
        self.review(now, no);
    }

    pub(super) fn lease_failed(&mut self, now: Moment, failed: &LeaseFailed) {
        let Some(spot) = self.spot(&failed.host, &failed.task) else {
            return;
        };
        let Spot { task: no, seat } = spot;
        let voices = self.policy.failure_voices;
        let task = self.tasks.at_mut(no);
        let failed_lease = task
            .lease
            .take_if(|lease| lease.seat == Some(seat) && lease.epoch == failed.epoch);
        let Some(lease) = failed_lease else { return };
        if failed.permanent {
            if failed.cause.is_of_origin() {
                task.last_failure = Some(failed.cause);
                let refusal = (task.member(seat).rights, lease.holder);
                // What one's credentials do not open, another's may, or its own of tomorrow.
                let is_everybodys = refusal.0 != CanImport::Credentialed;
                if is_everybodys && !task.refusals.contains(&refusal) {
                    task.refusals.push(refusal);
                }
            }
            self.change_member(spot, |member| member.rights = CanImport::No);
        } else {
            task.last_failure = Some(failed.cause);
            // The first failure may be the host's own; after that, the origin is given time.
            let is_alone = !task.has_other_candidate(seat, voices);
            let doublings = u32::from(task.failures).saturating_sub(u32::from(!is_alone));
            if is_alone || task.failures > 0 {
                let wait = self.policy.retry_min * (1 << doublings.min(16));
                task.not_before = now + wait.min(self.policy.retry_max);
            }
            task.failures = task.failures.saturating_add(1);
            self.disappointed(Spot { task: no, seat });
        }
        self.review(now, no);
    }

    pub(super) fn lease_returned(&mut self, now: Moment, returned: &LeaseReturned) {
        let Some(spot) = self.spot(&returned.host, &returned.task) else {
            return;
        };
        let Spot { task: no, seat } = spot;
        let task = self.tasks.at_mut(no);
        let ended = task
            .lease
            .take_if(|lease| lease.seat == Some(seat) && lease.epoch == returned.epoch);
        if let Some(lease) = ended {
            if !lease.revoked {
                self.disappointed(Spot { task: no, seat });
            }
            self.review(now, no);
        }
    }

    /// The holder is not to be trusted: its lease ends.
    pub(super) fn distrust_holder(&mut self, spot: Spot) {
        let Spot { task: no, seat } = spot;
        let task = self.tasks.at_mut(no);
        if task.covered_by == Some(seat) {
            task.covered_by = None;
        }
        if task.is_holder(seat) {
            self.revoke(no);
        }
    }

    fn end_by_time(&mut self, now: Moment, no: TaskNo) {
        let task = self.tasks.at_mut(no);
        if let Some(lease) = task.lease.take_if(|lease| now >= lease.until)
            && let Some(seat) = lease.seat
            && !lease.revoked
        {
            let spot = Spot { task: no, seat };
            let is_silent = self.hosts.at(task.member(seat).host).heard_at <= lease.granted_at;
            if is_silent && !task.by_digest {
                // Few may import it: one that is not there must not be named again and again.
                self.change_member(spot, |member| member.rights = CanImport::No);
            }
            self.disappointed(spot);
        }
    }

    /// No more renewals; the holder is asked to stop.
    fn revoke(&mut self, no: TaskNo) {
        let task = self.tasks.at_mut(no);
        if let Some(lease) = task.lease.as_mut().filter(|lease| !lease.revoked) {
            lease.revoked = true;
            if lease.seat.is_some() {
                self.outbox.push(Action::Revoke {
                    host: lease.holder,
                    task: task.id,
                    epoch: lease.epoch,
                });
            }
        }
    }

    /// Others come first next time.
    fn disappointed(&mut self, spot: Spot) {
        self.change_member(spot, |member| {
            member.tries = member.tries.saturating_add(1);
        });
    }

    fn wake_at_end(&self, no: TaskNo) -> Next {
        Next::Wake(self.tasks.at(no).lease.as_ref().map(|lease| lease.until))
    }
}
