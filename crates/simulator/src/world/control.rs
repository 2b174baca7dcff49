//! The scheduler, and every host's stream to it.

use std::time::Duration;

use swarm::{
    HostNo,
    download::{Event, Lease, State},
    schedule::{self, CanImport, Have, Policy, Restart, Schedule},
};
use types::{Epoch, Moment, PieceRun, Topology, Visibility};

use super::{
    World,
    host::{id_of, number_of},
    message::{Happening, Order},
};

/// How often a host reports: a third of a lease, so that one lost report loses no lease.
const BEAT: Duration = Duration::from_secs(1);

impl World<'_> {
    /// A host sends something to the scheduler.
    pub(super) fn tell(&mut self, from: HostNo, event: schedule::Event) {
        if self.host(from).is_joined {
            self.counts.messages += 1;
            let at = self.now + self.scenario.delay;
            let (sent, event) = (self.time_of(from), Box::new(event));
            self.queue.push(at, Happening::Tell { from, sent, event });
        }
    }

    pub(super) fn told(&mut self, from: HostNo, sent: Moment, event: Box<schedule::Event>) {
        let stalled = self.host(from).stalled_until;
        if stalled > self.now {
            if stalled < Moment::NEVER {
                let happening = Happening::Tell { from, sent, event };
                self.queue.push(stalled, happening);
            }
            return;
        }
        let (now, host) = (self.now, id_of(from));
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.handle(now, schedule::Event::Heard { host, sent });
            scheduler.handle(now, *event);
            self.carry_out();
        }
    }

    /// Sends what the scheduler decided, and sets its alarm.
    fn carry_out(&mut self) {
        let Some(scheduler) = &mut self.scheduler else {
            return;
        };
        while let Some(order) = scheduler.next_action() {
            let to = number_of(&order.host());
            self.counts.messages += 1;
            let order = Box::new(order);
            let at = self.now + self.scenario.delay;
            self.queue.push(at, Happening::Order { to, order });
        }
        let deadline = scheduler.deadline().map(|at| at.max(self.now));
        if let Some(at) = deadline.filter(|at| *at < self.scheduler_tick) {
            self.scheduler_tick = at;
            self.queue.push(at, Happening::Schedule);
        }
    }

    pub(super) fn schedule_tick(&mut self) {
        if self.scheduler_tick != self.now {
            return;
        }
        self.scheduler_tick = Moment::NEVER;
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.handle(self.now, schedule::Event::Tick);
            self.carry_out();
        }
    }

    /// Opens a host's stream, and tells what it has and wants.
    pub(super) fn join(&mut self, host: HostNo) {
        let plan = self.plans[host.0 as usize];
        let zones = &self.scenario.zones;
        let zone = zones.get(plan.zone).map_or("", |zone| zone.name.as_str());
        let join = schedule::Join {
            host: id_of(host),
            topology: Topology {
                region: String::new(),
                zone: zone.to_owned(),
                rack: String::new(),
            },
            is_seed: plan.is_seed,
            capacity: u16::MAX,
            sent: self.time_of(host),
        };
        self.host(host).is_joined = true;
        self.tell(host, schedule::Event::Join(join));
        let inventory = self.inventory(host);
        self.tell(host, schedule::Event::Inventory(inventory));
        self.queue.push(self.now + BEAT, Happening::Beat(host));
    }

    fn inventory(&mut self, host: HostNo) -> schedule::Inventory {
        let (task, now, ask) = (self.task, self.time_of(host), self.wish(host));
        let one = self.host(host);
        let is_complete = one.download.have().is_full();
        let claim = one.download.lease().map(|lease| schedule::LeaseClaim {
            task,
            epoch: lease.epoch,
            remaining: lease.until.since(now),
        });
        schedule::Inventory {
            host: id_of(host),
            leases: claim.into_iter().collect(),
            running: if is_complete { vec![] } else { vec![ask] },
            holdings: if is_complete { vec![task] } else { vec![] },
        }
    }

    fn wish(&mut self, host: HostNo) -> schedule::Ask {
        let (task, layout) = (self.task, self.scenario.layout);
        let have = match self.host(host).download.have().len() {
            0 => Have::None,
            count if count == layout.piece_count() => Have::All,
            count => Have::Some(count),
        };
        schedule::Ask {
            task,
            by_digest: true,
            can_import: CanImport::Anonymous,
            have,
            visibility: Visibility::Public,
            layout: Some(layout),
        }
    }

    /// Asks whether the import goes on.
    pub(super) fn ask(&mut self, host: HostNo) {
        let (ask, id) = (self.wish(host), id_of(host));
        self.tell(host, schedule::Event::Ask { host: id, ask });
    }

    pub(super) fn beat(&mut self, host: HostNo) {
        let one = self.host(host);
        if !one.is_up || !one.is_joined || one.download.state() == State::Complete {
            return;
        }
        self.progress(host);
        self.queue.push(self.now + BEAT, Happening::Beat(host));
    }

    /// Reports progress, and with it renews a lease.
    pub(super) fn progress(&mut self, host: HostNo) {
        let task = self.task;
        let one = self.host(host);
        let lease = one.download.lease().map(|lease| lease.epoch);
        let report = one.report.filter(|report| Some(report.0) == lease);
        let (_, imported, left) = report.unwrap_or((Epoch::default(), 0, 1));
        let progress = schedule::Progress {
            host: id_of(host),
            task,
            have: one.download.have().len(),
            lease,
            imported,
            left,
        };
        self.tell(host, schedule::Event::Progress(progress));
    }

    pub(super) fn return_lease(&mut self, host: HostNo, epoch: Epoch) {
        let returned = schedule::LeaseReturned {
            host: id_of(host),
            task: self.task,
            epoch,
        };
        self.tell(host, schedule::Event::LeaseReturned(returned));
    }

    pub(super) fn ordered(&mut self, to: HostNo, order: Box<Order>) {
        let now = self.now;
        let one = self.host(to);
        if !one.is_up || !one.is_joined {
            return;
        }
        if one.stalled_until > now {
            let until = one.stalled_until;
            if until < Moment::NEVER {
                self.queue.push(until, Happening::Order { to, order });
            }
            return;
        }
        let held = one.download.lease();
        match *order {
            Order::Introduce {
                reset, add, remove, ..
            } => self.introduced(to, reset, (&add, &remove)),
            Order::Grant { lease, .. } => {
                let run = PieceRun {
                    first: lease.run.first,
                    count: lease.run.count.min(self.scenario.layout.piece_count()),
                };
                self.counts.importers.insert(to);
                let (epoch, until) = (lease.epoch, lease.term.ends());
                self.drive(to, Event::Leased(Lease { epoch, run, until }));
            }
            Order::Renew { epoch, term, .. } => {
                if let Some(lease) = held.filter(|lease| lease.epoch == epoch) {
                    let until = term.ends();
                    self.drive(to, Event::Leased(Lease { until, ..lease }));
                }
            }
            Order::Revoke { epoch, .. } => self.drive(to, Event::LeaseEnded { epoch }),
            Order::Queued { .. } => self.drive(to, Event::Acknowledged),
            Order::Recruit { .. } => self.ask(to),
            Order::Refused { .. } | Order::Fail { .. } => {}
        }
    }

    fn introduced(
        &mut self,
        host: HostNo,
        reset: bool,
        (add, remove): (&[types::HostId], &[types::HostId]),
    ) {
        let mut gone: Vec<HostNo> = remove.iter().map(number_of).collect();
        if reset {
            let links = self.host(host).links.keys().copied();
            gone.extend(links.filter(|link| !add.contains(&id_of(*link))));
        }
        for neighbour in gone {
            self.close(host, neighbour, true);
        }
        for neighbour in add {
            self.open(host, number_of(neighbour));
        }
    }

    /// The scheduler is away: all streams end.
    pub(super) fn scheduler_gone(&mut self) {
        self.scheduler = None;
        self.scheduler_tick = Moment::NEVER;
        self.hosts
            .iter_mut()
            .for_each(|host| host.is_joined = false);
        self.scheduler_away(true);
    }

    /// Tells every host that is up whether there is a scheduler.
    fn scheduler_away(&mut self, is_away: bool) {
        for number in 0..self.hosts.len() {
            let host = HostNo(u32::try_from(number).expect("fewer than 2^32 hosts"));
            if self.host(host).is_up {
                self.drive(host, Event::SchedulerAway(is_away));
            }
        }
    }

    /// An empty scheduler is there, and every host opens its stream again.
    pub(super) fn scheduler_back(&mut self) {
        let restart = Restart {
            wait: Duration::from_secs(1),
            // Its wall clock, from which the floor comes in a real one, has stepped back.
            epoch_floor: Epoch(0),
        };
        let seed = self.chance.bits();
        let policy = Policy::default();
        self.scheduler = Some(Schedule::rebuilding(self.now, policy, seed, restart));
        self.scheduler_away(false);
        for number in 0..self.hosts.len() {
            let host = HostNo(u32::try_from(number).expect("fewer than 2^32 hosts"));
            if self.host(host).is_up {
                self.join(host);
            }
        }
    }
}
