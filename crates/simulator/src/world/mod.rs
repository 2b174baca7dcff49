//! Thousands of hosts around the very brains that the daemon and the scheduler run, in virtual time.
//!
//! A host knows what messages told it, and nothing else: each takes the scenario's delay, between two hosts as to and
//! from the scheduler. Bytes flow through [`crate::net`]; that a transfer is near its end is something that both its
//! ends can see.
//!
//! - `clock`: what time a host believes it is.
//! - `host`: the brains of one host, and what a daemon keeps beside them.
//! - `message`: what travels and what happens.
//! - `drive`: carrying out a download's actions, waking it, its reader.
//! - `peer`: links between hosts and the messages on them.
//! - `transfer`: bytes from host to host.
//! - `import`: bytes from the origin.
//! - `control`: the scheduler and its streams.
//! - `fault`: what goes wrong.

mod clock;
mod control;
mod drive;
mod fault;
mod host;
mod import;
mod message;
mod peer;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};

use swarm::{
    HostNo,
    schedule::{Policy, Schedule},
};
use types::{ByteCount, Chance, Moment, PieceSet, TaskId};

use self::{host::Host, message::Happening, transfer::Load};
use crate::{
    bound::bound,
    net::{FlowNo, Net},
    queue::Queue,
    report::{HostEnd, HostResult, Outcome},
    scenario::{HostPlan, Scenario, Trouble, When, Wiring},
};

/// How far a run is, for people who wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Virtual time.
    pub now: Moment,
    /// Receiving hosts that have everything.
    pub complete: usize,
    /// Receiving hosts.
    pub hosts: usize,
}

/// Runs a scenario to its end: all living hosts have everything, or its time is over.
pub fn simulate(scenario: &Scenario) -> Outcome {
    simulate_watched(scenario, &mut |_| {})
}

/// The same, telling `watch` each time that a host has everything.
pub fn simulate_watched(scenario: &Scenario, watch: &mut dyn FnMut(Watch)) -> Outcome {
    let mut world = World::new(scenario);
    world.run(watch);
    world.outcome()
}

struct World<'a> {
    scenario: &'a Scenario,
    plans: Vec<HostPlan>,
    wiring: Wiring,
    net: Net,
    queue: Queue<Happening>,
    now: Moment,
    hosts: Vec<Host>,
    loads: BTreeMap<FlowNo, Load>,
    /// None while it is away.
    scheduler: Option<Schedule>,
    scheduler_tick: Moment,
    /// Faults that wait for a part of the content to be imported.
    waiting_faults: Vec<usize>,
    chance: Chance,
    task: TaskId,
    /// Receiving hosts that are neither complete nor dead for good.
    waiting: usize,
    /// Pieces that were ever imported.
    imported: PieceSet,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    origin_bytes: u64,
    origin_requests: u64,
    zone_bytes: BTreeMap<(usize, usize), u64>,
    messages: u64,
    befallen: Vec<usize>,
    corrupt_pieces: u64,
    liars: BTreeSet<HostNo>,
    importers: BTreeSet<HostNo>,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let plans = scenario.host_plans();
        let mut net = Net::new();
        let wiring = Wiring::new(scenario, &plans, &mut net);
        let mut chance = Chance::seeded(scenario.seed);
        let empty = PieceSet::empty(scenario.layout.piece_count());
        let hosts = plans
            .iter()
            .map(|_| Host::new(scenario.layout, empty.clone(), chance.fork()))
            .collect();
        let mut world = Self {
            scenario,
            wiring,
            net,
            queue: Queue::new(),
            now: Moment::ZERO,
            hosts,
            loads: BTreeMap::new(),
            scheduler: Some(Schedule::new(Policy::default(), chance.bits())),
            scheduler_tick: Moment::NEVER,
            waiting_faults: Vec::new(),
            chance,
            task: TaskId::from_bytes([1; 32]),
            waiting: scenario.hosts as usize,
            imported: empty,
            counts: Counts {
                befallen: vec![0; scenario.faults.len()],
                ..Counts::default()
            },
            plans,
        };
        world.begin();
        world
    }

    /// Seeds are there first, then hosts as they arrive.
    fn begin(&mut self) {
        for (number, plan) in self.plans.iter().enumerate().rev() {
            let host = HostNo(u32::try_from(number).expect("fewer than 2^32 hosts"));
            self.queue.push(plan.arrives, Happening::Arrive(host));
        }
        for (number, fault) in self.scenario.faults.iter().enumerate() {
            match fault.at {
                When::After(wait) => {
                    let at = Moment::ZERO + wait;
                    self.queue.push(at, Happening::Fault(number));
                }
                When::Imported(_) => self.waiting_faults.push(number),
            }
        }
    }

    fn run(&mut self, watch: &mut dyn FnMut(Watch)) {
        let limit = Moment::ZERO + self.scenario.time_limit;
        let hosts = self.scenario.hosts as usize;
        let mut waiting = self.waiting;
        while self.waiting > 0 && self.step(limit) {
            if self.waiting < waiting {
                waiting = self.waiting;
                watch(Watch {
                    now: self.now,
                    complete: hosts - waiting,
                    hosts,
                });
            }
        }
    }

    /// Takes the next event; a transfer's end comes before other things of the same moment. False at the end of time.
    fn step(&mut self, limit: Moment) -> bool {
        let event = self.queue.next_at();
        let flow = self.net.next_completion().map(|(at, _)| at);
        let at = [event, flow].into_iter().flatten().min();
        let Some(at) = at.filter(|at| *at <= limit) else {
            return false;
        };
        self.now = at;
        if flow == Some(at) {
            if let Some(flow) = self.net.finish(at) {
                self.flow_ended(flow);
            }
        } else if let Some((_, happening)) = self.queue.pop() {
            self.happen(happening);
        }
        true
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive(host) => self.arrive(host),
            Happening::Deliver { from, to, message } => self.deliver(from, to, message),
            Happening::Tell { from, sent, event } => self.told(from, sent, event),
            Happening::Order { to, order } => self.ordered(to, order),
            Happening::Tick(host) => self.tick(host),
            Happening::Beat(host) => self.beat(host),
            Happening::Schedule => self.schedule_tick(),
            Happening::Near(flow) => self.near(flow),
            Happening::OriginAnswers { host, lane } => self.origin_answers(host, lane),
            Happening::Imported { host, piece } => self.imported(host, piece),
            Happening::Fault(number) => self.befall(number),
            Happening::Restore(host) => self.restore(host),
            Happening::RestoreOrigin => {
                let origin = self.wiring.up(crate::scenario::End::Origin);
                self.net
                    .set_rate(self.now, origin, self.scenario.origin_rate);
            }
            Happening::SchedulerBack => self.scheduler_back(),
        }
    }

    fn host(&mut self, host: HostNo) -> &mut Host {
        &mut self.hosts[host.0 as usize]
    }

    /// What `host`'s clock shows now: the only time that its brains are told.
    fn time_of(&self, host: HostNo) -> Moment {
        self.hosts[host.0 as usize].clock.shows(self.now)
    }

    fn is_receiver(&self, host: HostNo) -> bool {
        host.0 < self.scenario.hosts
    }

    fn outcome(self) -> Outcome {
        let results = self.plans.iter().zip(&self.hosts);
        let hosts = results
            .filter(|(plan, _)| !plan.is_seed)
            .map(|(plan, host)| HostResult {
                arrived: plan.arrives,
                end: match host.finished {
                    Some(at) => HostEnd::Complete(at),
                    None if host.is_killed => HostEnd::Killed,
                    None => HostEnd::Unfinished,
                },
            })
            .collect();
        let name = |zone: usize| self.scenario.zones[zone].name.clone();
        let zones = self.counts.zone_bytes.iter();
        Outcome {
            seed: self.scenario.seed,
            content: self.scenario.layout.length(),
            rate: self.scenario.down,
            bound: bound(&self.scenario.distribution(&self.plans)),
            hosts,
            origin_bytes: ByteCount(self.counts.origin_bytes),
            origin_requests: self.counts.origin_requests,
            zone_bytes: zones
                .map(|((from, to), bytes)| ((name(*from), name(*to)), ByteCount(*bytes)))
                .collect(),
            messages: self.counts.messages,
            befallen: self.counts.befallen,
            corrupt_pieces: self.counts.corrupt_pieces,
            liars: self.counts.liars.len(),
            importers: self.counts.importers.len(),
        }
    }
}

impl World<'_> {
    /// Faults that wait for so much of the content to be imported happen now.
    fn check_faults(&mut self) {
        let part = f64::from(self.imported.len()) / f64::from(self.imported.piece_count().max(1));
        let faults = std::mem::take(&mut self.waiting_faults);
        let (due, rest) = faults.into_iter().partition(|number: &usize| {
            matches!(self.scenario.faults[*number].at, When::Imported(at) if part >= at)
        });
        self.waiting_faults = rest;
        let due: Vec<usize> = due;
        for number in due {
            self.befall(number);
        }
    }

    /// The trouble of a fault.
    fn trouble(&self, number: usize) -> Trouble {
        self.scenario.faults[number].what
    }
}
