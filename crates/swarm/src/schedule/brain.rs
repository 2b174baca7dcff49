//! The brain itself: takes events in, gives actions out, and knows when to be woken.

use std::time::Duration;

use types::{Epoch, HostId, Moment, TaskId};

use super::{
    blame::Blames,
    event::{Accusation, Action, Ask, Event, Have, Join, Refusal},
    graph::{Change, Seat},
    hosts::{HostNo, Hosts, Tokens},
    member::rights,
    outbox::Outbox,
    policy::Policy,
    task::{TaskNo, Tasks},
    timers::{Timer, Timers},
};

/// Who exchanges pieces with whom, and who imports. See the module's page.
#[derive(Debug)]
pub struct Schedule {
    pub(super) policy: Policy,
    pub(super) chance: types::Chance,
    pub(super) hosts: Hosts,
    pub(super) tasks: Tasks,
    pub(super) outbox: Outbox,
    pub(super) timers: Timers,
    pub(super) blames: Blames,
    /// The largest epoch ever granted or heard of. One counter for all tasks: epochs grow even over a task that was
    /// forgotten in between, and no two grants share one.
    pub(super) last_epoch: Epoch,
    /// Until then unknown tasks wait for inventories.
    pub(super) rebuild_until: Moment,
    /// Scratch, empty between events.
    pub(super) changes: Vec<Change>,
}

/// What a brain that starts after another one should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// How long unknown tasks wait for inventories before an importer is named: 1 s.
    pub wait: Duration,
    /// No earlier brain granted this epoch or a larger one. A shell that keeps nothing on disk gives the wall clock,
    /// as microseconds: a brain grants far fewer than a million leases per second.
    pub epoch_floor: Epoch,
}

/// How a membership ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// The host says so: it has stopped importing.
    Told,
    /// The host fell silent: it may still believe in its lease.
    Silent,
}

impl Schedule {
    /// An empty brain in a cluster that never had one.
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            chance: types::Chance::seeded(seed),
            hosts: Hosts::default(),
            tasks: Tasks::default(),
            outbox: Outbox::default(),
            timers: Timers::default(),
            blames: Blames::default(),
            last_epoch: Epoch(0),
            rebuild_until: Moment::ZERO,
            changes: Vec::new(),
        }
    }

    /// An empty brain in a cluster that may have had one a moment ago.
    pub fn rebuilding(now: Moment, policy: Policy, seed: u64, restart: Restart) -> Self {
        Self {
            last_epoch: restart.epoch_floor,
            rebuild_until: now + restart.wait,
            ..Self::new(policy, seed)
        }
    }

    /// Takes an event in. `now` never runs backwards.
    pub fn handle(&mut self, now: Moment, event: Event) {
        self.ring(now);
        match event {
            Event::Tick => {}
            Event::Join(join) => self.join(now, &join),
            Event::Heard { host, sent } => {
                if let Some(no) = self.hosts.find(&host) {
                    let host = self.hosts.at_mut(no);
                    (host.sent, host.heard_at) = (sent, now);
                }
            }
            Event::Inventory(inventory) => self.take_inventory(now, &inventory),
            Event::Goodbye { host } => self.part(now, &host, Leave::Told),
            Event::Lost { host } => self.part(now, &host, Leave::Silent),
            Event::Ask { host, ask } => self.ask(now, &host, &ask),
            Event::Progress(progress) => self.progress(now, &progress),
            Event::Resolved { host, task, layout } => {
                if let Some((task, seat)) = self.place(&host, &task)
                    && self.tasks.at(task).is_holder(seat)
                {
                    self.tasks.at_mut(task).layout = Some(layout);
                }
            }
            Event::LeaseFailed {
                host,
                task,
                cause,
                permanent,
            } => {
                if let Some(place) = self.place(&host, &task) {
                    self.lease_failed(now, place, cause, permanent);
                }
            }
            Event::LeaseReturned { host, task, epoch } => {
                self.lease_returned(now, &host, &task, epoch);
            }
            Event::Holdings {
                host,
                added,
                removed,
            } => self.change_holdings(now, &host, &added, &removed),
            Event::Left { host, task } => self.change_holdings(now, &host, &[], &[task]),
            Event::Blame { by, of, kind } => self.blame(now, &by, &of, kind),
        }
    }

    /// The next thing to send; to be called until there is nothing.
    pub fn next_action(&mut self) -> Option<Action> {
        self.outbox.pop()
    }

    /// When to pass [`Event::Tick`], if nothing else comes first.
    pub fn deadline(&self) -> Option<Moment> {
        self.timers.first()
    }

    fn ring(&mut self, now: Moment) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Flush => {
                    self.outbox.flush(&self.hosts, &self.tasks);
                    self.hosts.sweep();
                }
                Timer::Task(task) => {
                    self.tasks.at_mut(task).wake = None;
                    self.review(now, task);
                }
                Timer::Trust(host) => self.reconsider(now, host),
            }
        }
    }

    fn join(&mut self, now: Moment, join: &Join) {
        self.part(now, &join.host, Leave::Silent);
        if self.hosts.len() >= self.policy.hosts_max {
            self.outbox.push(Action::Refused {
                host: join.host,
                task: None,
                cause: Refusal::TooManyHosts,
            });
            return;
        }
        let tokens = Tokens::full(now, self.policy.asks_burst);
        let no = self.hosts.enter(now, join, tokens);
        self.reconsider(now, no);
    }

    fn part(&mut self, now: Moment, host: &HostId, how: Leave) {
        let Some(no) = self.hosts.find(host) else {
            return;
        };
        let tasks: Vec<(TaskNo, Seat)> = (self.hosts.at(no).tasks.iter())
            .map(|(task, seat)| (*task, *seat))
            .collect();
        for (task, seat) in tasks {
            self.detach(now, task, seat, how);
            self.review(now, task);
        }
        self.hosts.leave(no);
        self.arm_flush(now);
    }

    /// Where a host sits in a task, if both are known.
    pub(super) fn place(&self, host: &HostId, task: &TaskId) -> Option<(TaskNo, Seat)> {
        let host = self.hosts.at(self.hosts.find(host)?);
        let cell = host.place.cell(self.policy.max_scope);
        let task = self.tasks.find(task, cell)?;
        Some((task, *host.tasks.get(&task)?))
    }

    fn ask(&mut self, now: Moment, host: &HostId, ask: &Ask) {
        let Some(no) = self.hosts.find(host) else {
            return;
        };
        let (rate, burst) = (self.policy.asks_per_second, self.policy.asks_burst);
        let paid = self.hosts.at_mut(no).tokens.take(now, rate, burst);
        let admitted = match paid {
            Ok(()) => self.admit(now, no, ask),
            Err(retry_after) => Err(Refusal::TooFast { retry_after }),
        };
        match admitted {
            Ok((task, seat)) => {
                self.outbox.push(Action::Queued {
                    host: *host,
                    task: ask.task,
                    layout: self.tasks.at(task).layout,
                });
                self.tasks.at_mut(task).end_orphaned_lease(host);
                self.introduce_all(task, seat);
                self.review(now, task);
            }
            Err(cause) => self.outbox.push(Action::Refused {
                host: *host,
                task: Some(ask.task),
                cause,
            }),
        }
    }

    /// Makes a host a member of a task as it asks to be, or changes the member it is. Reviews nothing.
    pub(super) fn admit(
        &mut self,
        now: Moment,
        no: HostNo,
        ask: &Ask,
    ) -> Result<(TaskNo, Seat), Refusal> {
        let host = self.hosts.at(no);
        let is_all = ask.have == Have::All;
        let cell = host.place.cell(self.policy.max_scope);
        let known = self.tasks.find(&ask.task, cell);
        if let Some(task) = known
            && let Some(seat) = host.tasks.get(&task).copied()
        {
            let was_complete = self.tasks.at(task).member(seat).complete;
            match (was_complete, is_all) {
                (false, true) => self.complete(now, task, seat),
                (true, false) => {
                    self.detach(now, task, seat, Leave::Told);
                    return self.admit(now, no, ask);
                }
                (true, true) => {}
                (false, false) => self.update(task, seat, ask),
            }
            return Ok((task, seat));
        }
        if is_all && host.holdings() >= self.policy.holdings_max {
            return Err(Refusal::TooManyHoldings);
        }
        if !is_all && host.running >= self.policy.running_max {
            return Err(Refusal::TooManyRunning);
        }
        let (task, is_new) = self.tasks.enter(now, ask.task, cell);
        let entered = self.tasks.at_mut(task);
        if is_new && now < self.rebuild_until {
            entered.not_before = self.rebuild_until;
        }
        entered.layout = entered.layout.or(ask.layout);
        let seat = entered.add(no, rights(ask.can_import, ask.visibility));
        self.hosts.at_mut(no).tasks.insert(task, seat);
        self.begin(now, task, seat, ask.have);
        Ok((task, seat))
    }

    fn update(&mut self, task: TaskNo, seat: Seat, ask: &Ask) {
        let rights = rights(ask.can_import, ask.visibility);
        let id = self.hosts.at(self.tasks.at(task).member(seat).host).id;
        let is_refused =
            (self.tasks.at(task).refusals.iter()).any(|refusal| *refusal == (rights, id));
        self.change_member(task, seat, |member| {
            if let Have::Some(have) = ask.have {
                member.have = have;
            }
            if !is_refused {
                member.rights = rights;
            }
        });
    }

    fn change_holdings(
        &mut self,
        now: Moment,
        host: &HostId,
        added: &[TaskId],
        removed: &[TaskId],
    ) {
        for task in removed {
            if let Some((task, seat)) = self.place(host, task) {
                self.detach(now, task, seat, Leave::Told);
                self.review(now, task);
            }
        }
        let Some(no) = self.hosts.find(host) else {
            return;
        };
        for task in added {
            match self.admit(now, no, &Ask::holding(*task)) {
                Ok((task, _)) => self.review(now, task),
                Err(cause) => self.outbox.push(Action::Refused {
                    host: *host,
                    task: Some(*task),
                    cause,
                }),
            }
        }
    }

    fn blame(&mut self, now: Moment, by: &HostId, of: &HostId, kind: Accusation) {
        let (Some(by_no), Some(of_no)) = (self.hosts.find(by), self.hosts.find(of)) else {
            return;
        };
        if by == of {
            return;
        }
        match kind {
            Accusation::Proof => {
                self.blames.convict(now, &self.policy, *of);
            }
            Accusation::Misbehaved => {
                let by = (*by, self.hosts.at(by_no).place);
                self.blames.report(now, &self.policy, *of, by);
            }
        }
        self.blames.bound(now, &self.policy, self.policy.hosts_max);
        self.reconsider(now, of_no);
    }

    /// Lowers or raises a host, as its record says now.
    fn reconsider(&mut self, now: Moment, no: HostNo) {
        let Some(host) = self.hosts.get(no) else {
            return;
        };
        let (id, was) = (host.id, host.low_until);
        let is = self.blames.low_until(now, &self.policy, &id);
        if was == is {
            return;
        }
        if let Some(until) = was {
            self.timers.clear(until, Timer::Trust(no));
        }
        if let Some(until) = is {
            self.timers.set(until, Timer::Trust(no));
        }
        self.hosts.at_mut(no).low_until = is;
        if was.is_some() != is.is_some() {
            self.apply_trust(now, no, is.is_none());
        }
    }
}
