//! What the scheduler says, and what it is told.
//!
//! Waiting is by event: a lease is renewed by telling its progress, an ask is acknowledged or times out. A host without
//! a scheduler, or whose scheduler does not answer in time, imports on its own word what its readers want: nothing that
//! a scheduler fails to do may fail a download.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use control::{
    Ask, CanImport, ControlSender, Have, HostMessage, Introduce, Inventory, LeaseClaim,
    LeaseFailed, Neighbour, Progress, Recruit, SchedulerMessage,
};
use swarm::download::{Event as Swarm, Lease};
use types::{Epoch, HostId, Moment, PieceIndex, PieceRun, TaskId};

use super::{Core, Event};
use crate::{
    access::AccessError, doors::Severity, handle::Look, import::ImportError, task::TaskSpec,
};

/// How long an ask may stay without an acknowledgement before this host goes on alone.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(1);
/// How often a lease's progress is told: its holder lives.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Head start of the smaller of two hosts that were introduced to each other, so that one of them dials.
const DIAL_GRACE: Duration = Duration::from_millis(500);

/// What this host knows of its scheduler.
pub(super) struct Scheduling {
    is_configured: bool,
    sender: Option<ControlSender>,
    outbox: VecDeque<HostMessage>,
    joined_at: Moment,
    /// Asks that were not acknowledged yet, and since when.
    unacknowledged: BTreeMap<TaskId, Moment>,
    /// Leases held, with the progress last told.
    leases: BTreeMap<TaskId, Held>,
    told_at: Moment,
    /// The moment of the last message that was sent.
    stamp: Moment,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    epoch: Epoch,
    /// Pieces held.
    have: u32,
    /// Pieces not held: with none the lease ends.
    missing: u32,
    until: Moment,
}

impl Scheduling {
    /// Messages that may wait for a scheduler that does not read; beyond it the oldest reports go first.
    const OUTBOX_MAX: usize = 8192;

    pub(super) fn new(is_configured: bool) -> Self {
        Self {
            is_configured,
            sender: None,
            outbox: VecDeque::new(),
            joined_at: Moment::ZERO,
            unacknowledged: BTreeMap::new(),
            leases: BTreeMap::new(),
            told_at: Moment::ZERO,
            stamp: Moment::ZERO,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.sender.is_some()
    }

    pub(super) fn say(&mut self, message: HostMessage) {
        if self.sender.is_none() {
            return; // The inventory that opens the next connection tells it all.
        }
        if self.outbox.len() >= Self::OUTBOX_MAX {
            tracing::warn!("the scheduler does not read: connecting anew");
            (self.sender, self.outbox) = (None, VecDeque::new());
            return;
        }
        self.outbox.push_back(message);
    }

    /// Hands what waits to the connection, as far as it takes it. Each message has a later moment than the one before.
    pub(super) fn flush(&mut self, now: Moment) {
        let Some(sender) = &self.sender else { return };
        while let Some(message) = self.outbox.pop_front() {
            self.stamp = now.max(self.stamp + Duration::from_nanos(1));
            if let Some(message) = sender.try_send(self.stamp, message) {
                self.outbox.push_front(message);
                return;
            }
        }
    }

    /// When something must be told or a wait is over.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let renewal = (!self.leases.is_empty() && self.sender.is_some())
            .then(|| self.told_at + PROGRESS_EVERY);
        let alone = self
            .unacknowledged
            .values()
            .min()
            .map(|since| *since + ACKNOWLEDGED_WITHIN);
        [renewal, alone].into_iter().flatten().min()
    }

    fn report(&self, task: TaskId) -> Progress {
        let held = self.leases.get(&task);
        let (have, left) = held.map_or((0, 0), |held| (held.have, held.missing));
        Progress {
            task,
            have,
            lease: held.map(|held| held.epoch),
            imported: have,
            left,
        }
    }

    /// The holder of `epoch` has this many pieces and lacks these.
    pub(super) fn progress(&mut self, task: TaskId, epoch: Epoch, (have, missing): (u32, u32)) {
        if let Some(held) = self
            .leases
            .get_mut(&task)
            .filter(|held| held.epoch == epoch)
        {
            (held.have, held.missing) = (have, missing);
        }
    }

    pub(super) fn give_up(&mut self, task: TaskId, epoch: Epoch) {
        if self
            .leases
            .get(&task)
            .is_some_and(|held| held.epoch == epoch)
        {
            self.leases.remove(&task);
            self.say(HostMessage::LeaseReturned { task, epoch });
        }
    }

    pub(super) fn lease_failed(&mut self, task: TaskId, epoch: Epoch, cause: &ImportError) {
        if self.leases.remove(&task).is_some() {
            let (cause, permanent) = (cause.for_scheduler(), cause.is_permanent());
            self.say(HostMessage::LeaseFailed(LeaseFailed {
                task,
                epoch,
                cause,
                permanent,
            }));
        }
    }

    pub(super) fn blame(&mut self, of: HostId) {
        self.say(HostMessage::Blame {
            of,
            kind: control::Accusation::Misbehaved,
        });
    }

    pub(super) fn holds(&mut self, task: TaskId) {
        self.unacknowledged.remove(&task);
        self.leases.remove(&task);
        self.say(HostMessage::Holdings {
            added: vec![task],
            removed: Vec::new(),
        });
    }

    /// Content that was held whole is not any more.
    pub(super) fn holds_no_more(&mut self, task: TaskId) {
        self.say(HostMessage::Holdings {
            added: Vec::new(),
            removed: vec![task],
        });
    }

    pub(super) fn left(&mut self, task: TaskId) {
        self.unacknowledged.remove(&task);
        self.leases.remove(&task);
        self.say(HostMessage::Left { task });
    }

    pub(super) fn leave(&mut self, now: Moment) {
        self.say(HostMessage::Goodbye);
        self.flush(now);
    }
}

impl Core {
    /// Asks for neighbours and, perhaps, the lease of a task that is not complete here.
    pub(super) fn ask_scheduler(&mut self, task: TaskId) {
        let now = self.parts.clock.now();
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        if job.is_asked || job.download.have().is_full() {
            return;
        }
        job.is_asked = true;
        if !self.scheduling.is_configured {
            return self.import_alone(task);
        }
        self.scheduling.unacknowledged.insert(task, now);
        let ask = self.ask_of(task);
        ask.into_iter()
            .for_each(|ask| self.scheduling.say(HostMessage::Ask(ask)));
    }

    /// Asks once more: the answer tells that somebody cares.
    pub(super) fn ask_again(&mut self, task: TaskId) {
        let ask = self.ask_of(task);
        ask.into_iter()
            .for_each(|ask| self.scheduling.say(HostMessage::Ask(ask)));
    }

    fn ask_of(&self, task: TaskId) -> Option<Ask> {
        let job = self.jobs.get(&task)?;
        let spec = &job.task.spec;
        let have = job.download.have();
        Some(Ask {
            task,
            source: Some(spec.source.clone()),
            layout: Some(spec.layout),
            digest: spec.digest,
            can_import: CanImport::Anonymous,
            have: match have.len() {
                0 => Have::None,
                _ if have.is_full() => Have::All,
                count => Have::Some(count),
            },
            visibility: spec.visibility,
        })
    }

    /// Nobody coordinates: what is wanted here is read from the origin, on this host's own word.
    fn import_alone(&mut self, task: TaskId) {
        let Some(job) = self.jobs.get(&task) else {
            return;
        };
        let lease = Lease {
            epoch: job.epoch,
            run: job.task.spec.layout.all(),
            until: Moment::NEVER,
        };
        tracing::info!(task = ?task, "no scheduler: reading the origin on this host's own word");
        self.drive(task, Swarm::Leased(lease));
    }

    /// Renews what is held and goes on alone where no acknowledgement came.
    pub(super) fn nudge_scheduler(&mut self) {
        let now = self.parts.clock.now();
        let is_overdue = |since: &Moment| now >= *since + ACKNOWLEDGED_WITHIN;
        let overdue: Vec<TaskId> = self
            .scheduling
            .unacknowledged
            .iter()
            .filter(|(_, since)| is_overdue(since))
            .map(|(task, _)| *task)
            .collect();
        for task in overdue {
            self.scheduling.unacknowledged.remove(&task);
            self.import_alone(task);
        }
        if now >= self.scheduling.told_at + PROGRESS_EVERY {
            self.scheduling.told_at = now;
            let tasks: Vec<TaskId> = self.scheduling.leases.keys().copied().collect();
            for task in tasks {
                let report = self.scheduling.report(task);
                self.scheduling.say(HostMessage::Progress(report));
            }
        }
    }

    pub(super) fn scheduler_said(&mut self, event: control::Event) {
        match event {
            control::Event::Connected { sender, .. } => self.joined(sender),
            control::Event::Disconnected { cause } => {
                tracing::warn!(%cause, "the scheduler is away; going on with the hosts that are known");
                self.parts
                    .health
                    .complain(Severity::Degraded, "scheduler", cause.to_string());
                (self.scheduling.sender, self.scheduling.outbox) = (None, VecDeque::new());
                self.looks.clear();
                self.drive_all(|| Swarm::SchedulerAway(true));
            }
            control::Event::Message(message) => self.told(message),
        }
    }

    /// Tells every brain of something.
    fn drive_all(&mut self, event: impl Fn() -> Swarm) {
        let tasks: Vec<TaskId> = self.jobs.keys().copied().collect();
        tasks.into_iter().for_each(|task| self.drive(task, event()));
    }

    /// A new connection: leases and running tasks first, then holdings.
    fn joined(&mut self, sender: ControlSender) {
        let now = self.parts.clock.now();
        self.parts.health.all_well("scheduler");
        self.scheduling.sender = Some(sender);
        self.scheduling.outbox.clear();
        self.scheduling
            .say(HostMessage::Join(self.parts.join.clone()));
        self.scheduling.joined_at = now;
        let claim = |(task, held): (&TaskId, &Held)| LeaseClaim {
            task: *task,
            epoch: held.epoch,
            remaining: held.until.since(now),
        };
        let leases = self.scheduling.leases.iter().map(claim).collect();
        let waiting: Vec<TaskId> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.is_asked && !job.download.have().is_full())
            .map(|(task, _)| *task)
            .collect();
        let running = waiting
            .into_iter()
            .filter_map(|task| self.ask_of(task))
            .collect();
        let is_shared = |info: &store::ContentInfo| {
            info.complete && info.visibility == types::Visibility::Public
        };
        let holdings = self
            .parts
            .store
            .list()
            .into_iter()
            .filter(is_shared)
            .map(|info| info.task)
            .collect();
        self.scheduling.say(HostMessage::Inventory(Inventory {
            leases,
            running,
            holdings,
        }));
        self.drive_all(|| Swarm::SchedulerAway(false));
    }

    fn told(&mut self, message: SchedulerMessage) {
        match message {
            SchedulerMessage::Queued { task, .. } => {
                self.scheduling.unacknowledged.remove(&task);
                self.drive(task, Swarm::Acknowledged);
            }
            SchedulerMessage::Refused { task, cause } => self.refused(task, &cause),
            SchedulerMessage::Introduce(introduce) => self.introduced(introduce),
            SchedulerMessage::Grant { task, lease } => self.granted(task, lease),
            SchedulerMessage::Renew { task, epoch, term } => {
                let until = term.ends();
                if let Some(held) = self
                    .scheduling
                    .leases
                    .get_mut(&task)
                    .filter(|held| held.epoch == epoch)
                {
                    held.until = held.until.max(until);
                    let lease = Lease {
                        epoch,
                        run: PieceRun {
                            first: PieceIndex(0),
                            count: u32::MAX,
                        },
                        until: held.until,
                    };
                    self.drive(task, Swarm::Leased(lease));
                }
            }
            SchedulerMessage::Revoke { task, epoch } => {
                self.drive(task, Swarm::LeaseEnded { epoch });
                self.scheduling.leases.remove(&task);
                self.scheduling
                    .say(HostMessage::LeaseReturned { task, epoch });
            }
            SchedulerMessage::Fail { task, cause } => {
                tracing::warn!(task = ?task, %cause, "the scheduler knows no source");
                self.scheduling.unacknowledged.remove(&task);
                if let Some(job) = self.jobs.get(&task) {
                    let cause = job.task.origin_failure();
                    self.fail(task, cause);
                }
            }
            SchedulerMessage::Recruit(recruit) => self.recruit(recruit),
            SchedulerMessage::Importer { task, host } => {
                if let Some(job) = self.jobs.get(&task) {
                    job.task.name_importer(host);
                }
            }
            SchedulerMessage::Look { source } => self.look_answered(&source, &Look::Yourself),
            SchedulerMessage::Looked { source, found, age } => {
                self.look_answered(&source, &Look::Told(found, age));
            }
            SchedulerMessage::Members { seeds } => {
                self.tasks.set_seeds(
                    seeds
                        .iter()
                        .map(|seed| seed.host)
                        .collect::<BTreeSet<HostId>>(),
                );
            }
            SchedulerMessage::Revocations(list) => {
                match self.parts.links.learn_revocations(&list) {
                    Ok(_) => {}
                    Err(cause) => tracing::warn!(
                        error = &cause as &dyn std::error::Error,
                        "a revocation list was refused"
                    ),
                }
            }
            SchedulerMessage::Welcome { .. } | SchedulerMessage::Pong { .. } => {}
        }
    }

    fn refused(&mut self, task: Option<TaskId>, cause: &control::Refusal) {
        tracing::warn!(task = ?task, %cause, "the scheduler refused an ask");
        if let Some(task) = task {
            self.scheduling.unacknowledged.remove(&task);
            self.import_alone(task);
        }
    }

    fn granted(&mut self, task: TaskId, lease: control::Lease) {
        let control::Lease { epoch, run, term } = lease;
        if term.counted_from < self.scheduling.joined_at {
            return; // It was said to an earlier life of this connection.
        }
        let me = self.parts.signer.key.host_id();
        let Some(job) = self.jobs.get_mut(&task) else {
            return self
                .scheduling
                .say(HostMessage::LeaseReturned { task, epoch });
        };
        job.epoch = job.epoch.max(epoch);
        job.task.name_importer(me);
        self.scheduling.unacknowledged.remove(&task);
        let until = term.ends();
        let have = job.download.have().len();
        let missing = job.task.spec.layout.piece_count() - have;
        self.scheduling.leases.insert(
            task,
            Held {
                epoch,
                have,
                missing,
                until,
            },
        );
        self.drive(task, Swarm::Leased(Lease { epoch, run, until }));
    }

    fn introduced(&mut self, introduce: Introduce) {
        let Introduce {
            task,
            reset,
            add,
            remove,
        } = introduce;
        if !self.take_up(task) {
            return;
        }
        self.scheduling.unacknowledged.remove(&task);
        self.drive(task, Swarm::Acknowledged);
        let kept: BTreeSet<HostId> = add.iter().map(|neighbour| neighbour.host).collect();
        let dropped: Vec<_> = self
            .peers
            .introduced_for(&task)
            .filter(|(_, id)| remove.contains(id) || (reset && !kept.contains(id)))
            .map(|(host, _)| host)
            .collect();
        for host in dropped {
            if let Some(peer) = self.peers.get_mut(host) {
                peer.introduced.remove(&task);
            }
            self.close_with(task, host);
            self.drive(task, Swarm::Left { host });
            self.peers.tidy(host);
        }
        add.into_iter()
            .for_each(|neighbour| self.meet(task, neighbour));
    }

    /// A neighbour for `task`: over the link that is there, or a new one.
    fn meet(&mut self, task: TaskId, neighbour: Neighbour) {
        let host = self.peers.number(neighbour.host);
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        peer.introduced.insert(task);
        peer.addresses = neighbour.addresses;
        if peer.link.is_some() {
            return self.open_with(task, host);
        }
        if std::mem::replace(&mut peer.is_dialling, true) {
            return;
        }
        let id = peer.id;
        let addresses = peer.addresses.clone();
        let wait = if self.parts.signer.key.host_id() < id {
            Duration::ZERO
        } else {
            DIAL_GRACE
        };
        let dialler = self.parts.dialler.clone();
        self.io.spawn(dialler.dial(id, (addresses, wait)));
    }

    /// The scheduler asks this seed to import something that nobody here asked for.
    fn recruit(&mut self, recruit: Recruit) {
        let Recruit {
            task,
            source,
            digest,
            ..
        } = recruit;
        if self.jobs.contains_key(&task) {
            return self.ask_scheduler(task);
        }
        let (accesses, events) = (self.parts.accesses.clone(), self.events.clone());
        self.io.spawn(async move {
            let result = accesses
                .for_source(task, &source, digest)
                .await
                .map(|(spec, _)| spec);
            events.tell(Event::Recruited { task, result }).await;
        });
    }

    pub(super) fn recruited(&mut self, task: TaskId, result: Result<TaskSpec, AccessError>) {
        let spec = match result {
            Ok(spec) => spec,
            Err(cause) => {
                return tracing::info!(task = ?task, error = &cause as &dyn std::error::Error, "a source that the scheduler named can't be read here");
            }
        };
        match self.begin(spec) {
            Ok(_) => {
                self.drive(task, Swarm::WantAll(true));
                self.ask_scheduler(task);
            }
            Err(cause) => {
                tracing::warn!(task = ?task, error = &*cause as &dyn std::error::Error, "a task could not begin")
            }
        }
    }
}
