//! The brain itself: takes events in, gives actions out, and knows when to be woken.

use std::time::Duration;

use types::{Epoch, HostId, Moment, TaskId};

use super::{
    blame::Blames,
    event::{Action, Ask, Blame, Event, Have, Join, Refusal},
    graph::Change,
    hosts::{HostNo, Hosts, Spent},
    member::{DOUBTED, rights},
    outbox::Outbox,
    policy::Policy,
    task::{Spot, Tasks},
    timers::{Timer, Timers},
};

/// Who exchanges pieces with whom, and who imports. See the module's page.
#[derive(Debug)]
pub struct Schedule {
    pub(super) policy: Policy,
    pub(super) chance: types::Chance,
    pub(super) hosts: Hosts,
    /// What hosts that left had spent of their asks.
    spent: Spent,
    /// The seeds that are here.
    pub(super) seeds: std::collections::BTreeSet<HostId>,
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

/// A join costs this part of the asks that a host may send at once.
const JOIN_SHARE: u32 = 32;

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
            spent: Spent::default(),
            seeds: std::collections::BTreeSet::new(),
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
                if let Some(spot) = self.spot(&host, &task)
                    && self.tasks.at(spot.task).is_holder(spot.seat)
                {
                    self.tasks.at_mut(spot.task).layout = Some(layout);
                }
            }
            Event::LeaseFailed(failed) => self.lease_failed(now, &failed),
            Event::LeaseReturned(returned) => self.lease_returned(now, &returned),
            Event::Holdings(holdings) => {
                self.drop_holdings(now, &holdings.host, &holdings.removed);
                if !holdings.added.is_empty() && self.is_paid(now, &holdings.host) {
                    self.add_holdings(now, &holdings.host, &holdings.added);
                }
            }
            Event::Left { host, task } => {
                self.drop_holdings(now, &host, &[task]);
                self.declined(now, &host, &task);
            }
            Event::Blame(blame) => {
                if self.is_paid(now, &blame.by) {
                    self.blame(now, &blame);
                }
            }
            Event::Doubt(doubt) => self.doubt(now, &doubt),
        }
    }

    /// Takes a token of `host` for what is no ask. Without one it is told to join again later, which tells everything.
    fn is_paid(&mut self, now: Moment, host: &HostId) -> bool {
        let Some(no) = self.hosts.find(host) else {
            return false;
        };
        let (rate, burst) = (self.policy.asks_per_second, self.policy.asks_burst);
        let paid = self.hosts.at_mut(no).tokens.take(now, rate, burst);
        if let Err(retry_after) = paid {
            let cause = Refusal::TooFast { retry_after };
            self.refuse_join(*host, cause);
        }
        paid.is_ok()
    }

    fn refuse_join(&mut self, host: HostId, cause: Refusal) {
        self.outbox.push(Action::Refused {
            host,
            task: None,
            cause,
        });
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
            return self.refuse_join(join.host, Refusal::TooManyHosts);
        }
        let (rate, burst) = (self.policy.asks_per_second, self.policy.asks_burst);
        let mut tokens = self.spent.take(now, &join.host, burst);
        // An inventory follows, which is as much work as many asks.
        let paid = tokens.take_some(now, burst / JOIN_SHARE, (rate, burst));
        if let Err(retry_after) = paid {
            self.spent.keep(now, join.host, (tokens, rate, burst));
            return self.refuse_join(join.host, Refusal::TooFast { retry_after });
        }
        let no = self.hosts.enter(now, join, tokens);
        if join.is_seed {
            self.seeds.insert(join.host);
        }
        self.reconsider(now, no);
    }

    fn part(&mut self, now: Moment, host: &HostId, how: Leave) {
        let Some(no) = self.hosts.find(host) else {
            return;
        };
        self.seeds.remove(host);
        for spot in self.spots(no) {
            self.detach(now, spot, how);
            self.review(now, spot.task);
        }
        let (rate, burst) = (self.policy.asks_per_second, self.policy.asks_burst);
        let tokens = self.hosts.at(no).tokens;
        self.spent.keep(now, *host, (tokens, rate, burst));
        self.hosts.leave(no);
        self.arm_flush(now);
    }

    /// Where a host sits in a task, if both are known.
    pub(super) fn spot(&self, host: &HostId, task: &TaskId) -> Option<Spot> {
        let host = self.hosts.at(self.hosts.find(host)?);
        let task = self.tasks.find(task)?;
        let seat = *host.tasks.get(&task)?;
        Some(Spot { task, seat })
    }

    /// Where a host sits in all its tasks.
    pub(super) fn spots(&self, no: HostNo) -> Vec<Spot> {
        let tasks = self.hosts.at(no).tasks.iter();
        tasks
            .map(|(task, seat)| Spot {
                task: *task,
                seat: *seat,
            })
            .collect()
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
            Ok(spot) => {
                self.outbox.push(Action::Queued {
                    host: *host,
                    task: ask.task,
                    layout: self.tasks.at(spot.task).layout,
                });
                self.tasks.at_mut(spot.task).end_orphaned_lease(host);
                self.introduce_all(spot);
                self.review(now, spot.task);
            }
            Err(cause) => self.outbox.push(Action::Refused {
                host: *host,
                task: Some(ask.task),
                cause,
            }),
        }
    }

    /// Makes a host a member of a task as it asks to be, or changes the member it is. Reviews nothing.
    pub(super) fn admit(&mut self, now: Moment, no: HostNo, ask: &Ask) -> Result<Spot, Refusal> {
        let host = self.hosts.at(no);
        let is_all = ask.have == Have::All;
        let known = self.tasks.find(&ask.task);
        if let Some(task) = known
            && let Some(seat) = host.tasks.get(&task).copied()
        {
            let spot = Spot { task, seat };
            let was_complete = self.tasks.at(task).member(seat).complete;
            match (was_complete, is_all) {
                (false, true) => self.complete(now, spot),
                (true, false) => {
                    self.detach(now, spot, Leave::Told);
                    self.review(now, task);
                    return self.admit(now, no, ask);
                }
                (true, true) => {}
                (false, false) => self.update(spot, ask),
            }
            return Ok(spot);
        }
        if is_all && host.holdings() >= self.policy.holdings_max {
            return Err(Refusal::TooManyHoldings);
        }
        if !is_all && host.running >= self.policy.running_max {
            return Err(Refusal::TooManyRunning);
        }
        let (task, is_new) = self.tasks.enter(now, ask.task);
        let entered = self.tasks.at_mut(task);
        if is_new && now < self.rebuild_until {
            entered.not_before = self.rebuild_until;
        }
        entered.layout = entered.layout.or(ask.layout);
        entered.by_digest |= ask.by_digest;
        let seat = entered.add(no, rights(ask, host.is_seed));
        if entered.is_doubted(&self.hosts.at(no).id) {
            entered.member_mut(seat).tries = DOUBTED;
        }
        self.hosts.at_mut(no).tasks.insert(task, seat);
        let spot = Spot { task, seat };
        self.begin(now, spot, ask.have);
        Ok(spot)
    }

    fn update(&mut self, spot: Spot, ask: &Ask) {
        let task = self.tasks.at(spot.task);
        let host = self.hosts.at(task.member(spot.seat).host);
        let rights = rights(ask, host.is_seed);
        let is_refused = task.refusals.contains(&(rights, host.id));
        let task = self.tasks.at_mut(spot.task);
        task.by_digest |= ask.by_digest;
        if ask.have == Have::None {
            // Whatever it had, and vouched for, is void.
            task.covered_by.take_if(|seat| *seat == spot.seat);
        }
        self.change_member(spot, |member| {
            match ask.have {
                Have::Some(have) => member.have = have,
                Have::None => member.have = 0,
                Have::All => {}
            }
            if !is_refused {
                member.rights = rights;
            }
        });
    }

    fn drop_holdings(&mut self, now: Moment, host: &HostId, removed: &[TaskId]) {
        for task in removed {
            if let Some(spot) = self.spot(host, task) {
                self.detach(now, spot, Leave::Told);
                self.review(now, spot.task);
            }
        }
    }

    fn add_holdings(&mut self, now: Moment, host: &HostId, added: &[TaskId]) {
        let Some(no) = self.hosts.find(host) else {
            return;
        };
        for task in added {
            match self.admit(now, no, &Ask::holding(*task)) {
                Ok(spot) => self.review(now, spot.task),
                Err(cause) => self.outbox.push(Action::Refused {
                    host: *host,
                    task: Some(*task),
                    cause,
                }),
            }
        }
    }

    fn blame(&mut self, now: Moment, blame: &Blame) {
        let (Some(by), Some(of)) = (self.hosts.find(&blame.by), self.hosts.find(&blame.of)) else {
            return;
        };
        if by == of {
            return;
        }
        let place = self.hosts.at(by).place;
        self.blames.report(now, &self.policy, (blame, place));
        self.blames.bound(now, &self.policy);
        self.reconsider(now, of);
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
