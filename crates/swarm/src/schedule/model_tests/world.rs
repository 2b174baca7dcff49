//! The hosts, their clocks and the network between them and the brain, in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use types::{Chance, Epoch, HostId, Moment, TaskId, Topology, Visibility};

use super::{
    super::*,
    {HOSTS, Step, TASKS},
};

const PIECES: u32 = 8;
/// Only the seed imports this task.
const NAMED_BY_NO_DIGEST: u8 = 0;
const SEED: u8 = 0;

fn host_id(number: u8) -> HostId {
    HostId::from_bytes([number; 32])
}

fn task_id(number: u8) -> TaskId {
    TaskId::from_bytes([number; 32])
}

#[derive(Clone, Debug)]
struct Part {
    ask: Ask,
    asked: Moment,
    have: u32,
    imported: u32,
    belief: Option<(Epoch, Moment)>,
    neighbours: BTreeSet<HostId>,
    is_complete: bool,
}

struct Host {
    id: HostId,
    /// Parts per million that its clock is fast.
    fast: i64,
    /// Whether the process runs; whether its stream is open, as it believes.
    is_up: bool,
    is_joined: bool,
    joined: Moment,
    /// What it put on its last message: always more than on the one before.
    stamp: Moment,
    parts: BTreeMap<TaskId, Part>,
    /// Messages on their way, with the moment of arrival.
    up: VecDeque<(Moment, Moment, Event)>,
    down: VecDeque<(Moment, Action)>,
}

impl Host {
    fn clock(&self, now: Moment) -> Moment {
        let skew = i128::from(now.0) * i128::from(self.fast) / 1_000_000;
        let shown = i128::from(now.0) + skew + (1 << 40);
        Moment(u64::try_from(shown).expect("clocks start late"))
    }

    fn stamp(&mut self, now: Moment) -> Moment {
        self.stamp = self.clock(now).max(Moment(self.stamp.0 + 1));
        self.stamp
    }
}

pub(super) struct World {
    now: Moment,
    chance: Chance,
    brain: Schedule,
    hosts: Vec<Host>,
    epoch_max: Epoch,
    restarted_at: Option<Moment>,
    granted: BTreeSet<TaskId>,
}

fn policy() -> Policy {
    Policy {
        degree: 4,
        running_max: 2,
        holdings_max: 2,
        ..Policy::default()
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Chance::seeded(seed);
        let hosts = (0..HOSTS).map(|number| Host {
            id: host_id(number),
            fast: i64::try_from(chance.below(4000)).expect("small") - 2000,
            is_up: true,
            is_joined: false,
            joined: Moment::ZERO,
            stamp: Moment::ZERO,
            parts: BTreeMap::new(),
            up: VecDeque::new(),
            down: VecDeque::new(),
        });
        let hosts = hosts.collect();
        let mut world = Self {
            now: Moment(1 << 40),
            brain: Schedule::new(policy(), seed),
            chance,
            hosts,
            epoch_max: Epoch(0),
            restarted_at: None,
            granted: BTreeSet::new(),
        };
        for number in 0..HOSTS {
            world.play(Step::Join(number));
        }
        world
    }

    /// A message's arrival: mostly soon, sometimes seconds later, never before an earlier one.
    fn arrival(&mut self, last: Option<Moment>) -> Moment {
        let slow = if self.chance.below(20) == 0 { 5000 } else { 50 };
        let delay = Duration::from_millis(self.chance.below(slow) as u64);
        (self.now + delay).max(last.unwrap_or(Moment::ZERO))
    }

    fn send(&mut self, number: u8, event: Event) {
        let last = self.hosts[usize::from(number)].up.back().map(|last| last.0);
        let at = self.arrival(last);
        let now = self.now;
        let host = self.host(number);
        if host.is_up && host.is_joined {
            let sent = host.stamp(now);
            host.up.push_back((at, sent, event));
        }
    }

    fn clock(&self, number: u8) -> Moment {
        self.hosts[usize::from(number)].clock(self.now)
    }

    fn host(&mut self, number: u8) -> &mut Host {
        &mut self.hosts[usize::from(number)]
    }

    pub(super) fn play(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Ask(h, t, can_import) => self.ask(h, t, can_import),
            Step::Import(h, t) | Step::Receive(h, t) => {
                let is_import = matches!(step, Step::Import(..));
                self.report((h, t), is_import, 1);
            }
            Step::Finish(h, t) => {
                let host = self.host(h);
                if let Some(part) = host.parts.get_mut(&task_id(t)).filter(|p| !p.is_complete) {
                    (part.is_complete, part.belief) = (true, None);
                    let (host, added) = (host.id, vec![task_id(t)]);
                    let removed = Vec::new();
                    self.send(
                        h,
                        Event::Holdings(Holdings {
                            host,
                            added,
                            removed,
                        }),
                    );
                }
            }
            Step::Leave(h, t) => {
                let (host, task) = (host_id(h), task_id(t));
                if self.host(h).parts.remove(&task).is_some() {
                    self.send(h, Event::Left { host, task });
                }
            }
            Step::Fail(h, t, permanent) => {
                let task = task_id(t);
                let clock = self.host(h).clock(now);
                let part = self.host(h).parts.get_mut(&task);
                let held = part.and_then(|part| part.belief.take_if(|held| clock < held.1));
                if let Some((epoch, _)) = held {
                    let host = host_id(h);
                    let cause = OriginFailure::NotFound;
                    let failed = LeaseFailed {
                        host,
                        task,
                        epoch,
                        cause,
                        permanent,
                    };
                    self.send(h, Event::LeaseFailed(failed));
                }
            }
            Step::Goodbye(h) => {
                let host = host_id(h);
                self.host(h).parts.clear();
                self.send(h, Event::Goodbye { host });
                self.host(h).is_joined = false;
            }
            Step::Crash(h) => {
                let host = self.host(h);
                (host.is_up, host.is_joined) = (false, false);
                host.parts.clear();
                host.up.clear();
                host.down.clear();
                self.brain.handle(now, Event::Lost { host: host_id(h) });
            }
            Step::Cut(h) => {
                // The scheduler sees the end at once; what it had sent may still arrive, for a while.
                self.host(h).up.clear();
                self.brain.handle(now, Event::Lost { host: host_id(h) });
                self.host(h).is_joined = false;
            }
            Step::Join(h) => self.join(h),
            Step::Blame(a, b) => {
                let (by, of) = (host_id(a), host_id(b));
                self.send(a, Event::Blame(Blame { by, of }));
            }
            Step::Wait(millis) => self.run(now + Duration::from_millis(millis)),
            Step::Restart => {
                let restart = Restart {
                    wait: Duration::from_secs(1),
                    epoch_floor: Epoch(self.epoch_max.0 + 1000),
                };
                self.brain = Schedule::rebuilding(now, policy(), self.chance.bits(), restart);
                self.restarted_at = Some(now);
                for host in &mut self.hosts {
                    host.is_joined = false;
                    host.up.clear();
                }
            }
        }
        self.drain();
        self.check();
    }

    fn ask(&mut self, h: u8, t: u8, can_import: CanImport) {
        let now = self.now;
        let host = self.host(h);
        if !host.is_up || !host.is_joined {
            return;
        }
        let ask = Ask {
            task: task_id(t),
            by_digest: t != NAMED_BY_NO_DIGEST,
            can_import,
            have: Have::None,
            visibility: Visibility::Public,
            layout: None,
        };
        let asked = host.stamp(now);
        let part = host.parts.entry(ask.task).or_insert(Part {
            ask: ask.clone(),
            asked,
            have: 0,
            imported: 0,
            belief: None,
            neighbours: BTreeSet::new(),
            is_complete: false,
        });
        if part.is_complete {
            return;
        }
        // Asked again: the same wish, a newer right.
        part.ask = ask.clone();
        let id = host.id;
        self.send(h, Event::Ask { host: id, ask });
    }

    fn report(&mut self, (h, t): (u8, u8), is_import: bool, pieces: u32) {
        let clock = self.clock(h);
        let host = self.host(h);
        let id = host.id;
        let Some(part) = host.parts.get_mut(&task_id(t)).filter(|p| !p.is_complete) else {
            return;
        };
        let held = part.belief.filter(|held| clock < held.1);
        if is_import && held.is_none() {
            return;
        }
        part.have = (part.have + pieces).min(PIECES);
        part.imported += u32::from(is_import) * pieces;
        let progress = Progress {
            host: id,
            task: task_id(t),
            have: part.have,
            lease: held.map(|held| held.0),
            imported: part.imported,
            left: 1,
        };
        self.send(h, Event::Progress(progress));
    }

    fn join(&mut self, h: u8) {
        let now = self.now;
        let host = self.host(h);
        if host.is_joined {
            return;
        }
        let clock = host.stamp(now);
        // The old stream is closed: nothing more comes from it.
        host.down.clear();
        host.up.clear();
        (host.is_up, host.is_joined, host.joined) = (true, true, clock);
        let mut inventory = Inventory {
            host: host.id,
            leases: Vec::new(),
            running: Vec::new(),
            holdings: Vec::new(),
        };
        for (task, part) in &mut host.parts {
            part.belief.take_if(|held| clock >= held.1);
            if let Some((epoch, ends)) = part.belief {
                inventory.leases.push(LeaseClaim {
                    task: *task,
                    epoch,
                    remaining: ends.since(clock),
                });
            }
            if part.is_complete {
                part.neighbours.clear();
                inventory.holdings.push(*task);
            } else {
                part.asked = clock;
                inventory.running.push(part.ask.clone());
            }
        }
        let join = Join {
            host: host.id,
            topology: format!("r/z{}/k{h}", h % 2)
                .parse()
                .unwrap_or_else(|_| Topology::default()),
            is_seed: h == SEED,
            capacity: 100,
            sent: clock,
        };
        self.send(h, Event::Join(join));
        self.send(h, Event::Inventory(inventory));
    }

    /// Lets time pass: what arrives, arrives; the brain is woken when it wants to be.
    fn run(&mut self, until: Moment) {
        loop {
            let arrivals = self.hosts.iter().flat_map(|host| {
                let up = host.up.front().map(|message| message.0);
                let down = host.down.front().map(|message| message.0);
                up.into_iter().chain(down)
            });
            let next = arrivals.chain(self.brain.deadline()).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            for number in 0..HOSTS {
                self.deliver(number);
            }
            self.brain.handle(self.now, Event::Tick);
            self.drain();
            self.check();
        }
        self.now = until;
        self.check();
    }

    fn deliver(&mut self, number: u8) {
        let now = self.now;
        let due = |at: Moment| at <= now;
        while let Some((_, sent, event)) = self.host(number).up.pop_front_if(|m| due(m.0)) {
            let host = host_id(number);
            self.brain.handle(now, Event::Heard { host, sent });
            self.brain.handle(now, event);
            self.drain();
        }
        while let Some((_, action)) = self.host(number).down.pop_front_if(|m| due(m.0)) {
            self.obey(number, action);
        }
    }

    fn obey(&mut self, number: u8, action: Action) {
        let host = self.host(number);
        if !host.is_up {
            return;
        }
        let (id, joined) = (host.id, host.joined);
        match action {
            Action::Grant { task, lease, .. } => {
                let from = lease.term.counted_from;
                let part = host
                    .parts
                    .get_mut(&task)
                    .filter(|part| !part.is_complete && from >= part.asked && from >= joined);
                if let Some(part) = part {
                    part.belief = Some((lease.epoch, lease.term.ends()));
                    part.imported = 0;
                }
            }
            Action::Renew {
                task, epoch, term, ..
            } => {
                let belief = host
                    .parts
                    .get_mut(&task)
                    .and_then(|part| part.belief.as_mut());
                if let Some(held) = belief.filter(|held| held.0 == epoch) {
                    held.1 = held.1.max(term.ends());
                }
            }
            Action::Revoke { task, epoch, .. } => {
                if let Some(part) = host.parts.get_mut(&task) {
                    part.belief.take_if(|held| held.0 == epoch);
                }
                let host = id;
                self.send(
                    number,
                    Event::LeaseReturned(LeaseReturned { host, task, epoch }),
                );
            }
            Action::Fail { task, .. }
            | Action::Refused {
                task: Some(task), ..
            } => {
                host.parts.remove(&task);
                self.send(number, Event::Left { host: id, task });
            }
            Action::Introduce {
                task,
                reset,
                add,
                remove,
                ..
            } => {
                if let Some(part) = host.parts.get_mut(&task) {
                    if reset {
                        part.neighbours.clear();
                    }
                    part.neighbours
                        .retain(|other| remove.binary_search(other).is_err());
                    part.neighbours.extend(add);
                }
            }
            Action::Queued { .. } | Action::Recruit { .. } | Action::Refused { task: None, .. } => {
            }
        }
    }

    fn drain(&mut self) {
        while let Some(action) = self.brain.next_action() {
            if let Action::Grant { task, lease, .. } = &action {
                assert!(lease.epoch > self.epoch_max, "epochs grow");
                assert!(
                    *task != task_id(NAMED_BY_NO_DIGEST) || action.host() == host_id(SEED),
                    "only a seed's word counts"
                );
                self.epoch_max = lease.epoch;
                self.granted.insert(*task);
            }
            let at = self.hosts.iter().position(|host| host.id == action.host());
            let at = at.expect("actions go to hosts that were told");
            let last = self.hosts[at].down.back().map(|last| last.0);
            let arrival = self.arrival(last);
            self.hosts[at].down.push_back((arrival, action));
        }
    }

    fn check(&self) {
        let mut believers: BTreeMap<TaskId, BTreeMap<Epoch, usize>> = BTreeMap::new();
        for host in self.hosts.iter().filter(|host| host.is_up) {
            for (task, part) in &host.parts {
                if let Some((epoch, ends)) = part.belief
                    && host.clock(self.now) < ends
                {
                    *believers
                        .entry(*task)
                        .or_default()
                        .entry(epoch)
                        .or_default() += 1;
                }
            }
        }
        // A brain that knows nothing waits 1 s for claims, not for the end of all leases.
        let is_settled =
            (self.restarted_at).is_none_or(|at| self.now.since(at) > Duration::from_secs(10));
        for (task, epochs) in believers {
            assert!(
                epochs.values().all(|hosts| *hosts == 1),
                "one epoch, one importer"
            );
            assert!(!is_settled || epochs.len() == 1, "{task:?}: {epochs:?}");
        }
        let counts = self.brain.counts();
        assert!(counts.waiting <= usize::from(HOSTS) * 2);
        assert!(counts.holdings <= usize::from(HOSTS) * 2);
        assert!(counts.tasks <= usize::from(TASKS));
        for view in (0..TASKS).filter_map(|task| self.brain.task_view(&task_id(task))) {
            let is_waiting = view.members.iter().any(|member| !member.is_complete);
            assert!(
                !is_waiting || view.wake.is_some(),
                "who waits has a deadline"
            );
        }
    }

    /// Everybody is here, every message arrives: now both ends must agree.
    pub(super) fn settle(&mut self) {
        for number in 0..HOSTS {
            self.play(Step::Join(number));
        }
        for _ in 0..2 {
            self.run(self.now + Duration::from_secs(6));
        }
        // Whoever waited for long for nobody may have been told so at the very end.
        let is_silent = |host: &Host| host.up.is_empty() && host.down.is_empty();
        while !self.hosts.iter().all(is_silent) {
            self.run(self.now + Duration::from_secs(1));
        }
        let mut told = BTreeMap::new();
        for host in &self.hosts {
            for (task, part) in &host.parts {
                told.insert((host.id, *task), part.neighbours.clone());
            }
        }
        for ((host, task), neighbours) in &told {
            for other in neighbours {
                let back = told.get(&(*other, *task));
                assert!(
                    back.is_some_and(|back| back.contains(host)),
                    "both ends agree"
                );
            }
        }
        for task in 0..TASKS {
            for member in (self.brain.task_view(&task_id(task)).iter()).flat_map(|v| &v.members) {
                let known: BTreeSet<HostId> = member.neighbours.iter().copied().collect();
                assert_eq!(told.get(&(member.host, task_id(task))), Some(&known));
            }
        }
    }

    /// From here on all goes well: whoever can import, does so when told. Then every task with a waiting member and
    /// somebody who can import gets a lease, or has the content.
    pub(super) fn end_well(&mut self) {
        self.granted.clear();
        for _ in 0..90 {
            for (number, task) in (0..HOSTS).flat_map(|n| (0..TASKS).map(move |t| (n, t))) {
                self.report((number, task), true, 0);
            }
            self.run(self.now + Duration::from_millis(1000));
        }
        for view in (0..TASKS).filter_map(|task| self.brain.task_view(&task_id(task))) {
            let has_content = view.members.iter().any(|member| member.is_complete);
            let is_waiting = view.members.iter().any(|member| !member.is_complete);
            assert!(
                !is_waiting
                    || has_content
                    || view.lease.is_some()
                    || self.granted.contains(&view.task),
                "{view:?}"
            );
        }
    }
}
