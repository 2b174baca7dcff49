//! What the scheduler says, and what it is asked.
//!
//! Waiting is by event: a lease is renewed by telling its progress, an ask is acknowledged or not. Whatever a scheduler
//! says or fails to say, the brain reads what a blocked reader needs from the origin in the end. On its own word
//! imports who has neither scheduler nor peers and, while no scheduler is there, the seed that a task prefers (`together`).

use std::{collections::BTreeSet, time::Duration};

use control::{
    Ask, CanImport, ControlSender, Have, HostMessage, Introduce, Neighbour, Recruit,
    SchedulerMessage,
};
use swarm::download::{Event as Swarm, Lease};
use types::{HostId, Moment, PieceIndex, PieceRun, TaskId, Visibility};

use super::{
    Core, Event,
    job::Job,
    scheduling::{Held, inventory},
};
use crate::{access::AccessError, doors::Severity, handle::Look, join::chain, task::TaskSpec};

/// Head start of the smaller of two hosts that were introduced to each other, so that one of them dials.
const DIAL_GRACE: Duration = Duration::from_millis(500);

impl Core {
    /// Asks for neighbours and, perhaps, the lease of a task that is not complete here.
    pub(super) fn ask_scheduler(&mut self, task: TaskId) {
        let Some(job) = self.jobs.get(&task) else {
            return;
        };
        let rights = self.rights_at(&job.task.spec);
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        // Who came with credentials may make an importer of a host that was none.
        let has_won = job.asked_with == CanImport::No && rights == CanImport::Credentialed;
        if (job.is_asked && !has_won) || job.download.have().is_full() {
            return;
        }
        job.is_asked = true;
        job.asked_with = rights;
        if self.scheduling.is_alone() {
            return self.import_alone(task);
        }
        self.ask_again(task);
        self.share(task);
        self.choose_importer(task);
    }

    /// Asks once more: the answer tells that somebody cares.
    pub(super) fn ask_again(&mut self, task: TaskId) {
        let ask = self.ask_of(task);
        ask.into_iter()
            .for_each(|ask| self.scheduling.say(HostMessage::Ask(ask)));
        self.tell_vouchers(task);
    }

    fn ask_of(&self, task: TaskId) -> Option<Ask> {
        let job = self.jobs.get(&task)?;
        let spec = &job.task.spec;
        let have = job.download.have();
        if have.is_full() && !job.task.is_for_others() {
            return None; // It waits for nothing, and is of use to nobody else.
        }
        Some(Ask {
            task,
            source: Some(spec.source.clone()),
            layout: Some(spec.layout),
            digest: spec.digest,
            can_import: match job.may_import && (job.task.is_by_digest() || self.parts.is_seed) {
                true => self.rights_at(spec),
                false => CanImport::No,
            },
            have: match have.len() {
                0 => Have::None,
                _ if have.is_full() => Have::All,
                count => Have::Some(count),
            },
            visibility: spec.visibility,
        })
    }

    /// What this host can do at the origin of `spec`, whatever it may.
    pub(super) fn rights_at(&self, spec: &TaskSpec) -> CanImport {
        match spec.visibility {
            Visibility::Public => CanImport::Anonymous,
            Visibility::Private if self.parts.accesses.opens(spec) => CanImport::Credentialed,
            Visibility::Private => CanImport::No,
        }
    }

    /// Nobody else is there: what is wanted here is read from the origin, on this host's own word.
    pub(super) fn import_alone(&mut self, task: TaskId) {
        let Some(job) = self.jobs.get(&task) else {
            return;
        };
        let lease = Lease {
            epoch: job.epoch,
            run: job.task.spec.layout.all(),
            until: Moment::NEVER,
        };
        tracing::info!(task = ?task, "nobody coordinates: the origin is read on this host's own word");
        self.drive(task, Swarm::Leased(lease));
    }

    /// Tells how far this host is, which renews what it holds, and asks again where it was refused.
    pub(super) fn nudge_scheduler(&mut self) {
        let now = self.parts.clock.now();
        if self.scheduling.is_rejoin_due(now) {
            self.introduce_myself();
        }
        for task in self.scheduling.refused_until(now) {
            self.ask_again(task);
        }
        let running = self.jobs.iter().filter(|(_, job)| job.is_waiting());
        let running = running.map(|(task, job)| (*task, job.download.have().len()));
        self.scheduling.beat(now, running);
    }

    pub(super) fn scheduler_said(&mut self, event: control::Event) {
        match event {
            control::Event::Connected { sender, .. } => self.joined(sender),
            control::Event::Disconnected { cause } => {
                let cause = chain(&cause);
                tracing::warn!(
                    cause,
                    "the scheduler is away; going on with the hosts that are known"
                );
                self.parts
                    .health
                    .complain(Severity::Degraded, "scheduler", cause);
                self.scheduling.disconnected();
                self.looks.clear();
                self.drive_all(|| Swarm::SchedulerAway(true));
                self.share_all();
            }
            control::Event::Message(message) => self.told(message),
        }
    }

    /// Tells every brain of something.
    pub(super) fn drive_all(&mut self, event: impl Fn() -> Swarm) {
        let tasks: Vec<TaskId> = self.jobs.keys().copied().collect();
        tasks.into_iter().for_each(|task| self.drive(task, event()));
    }

    /// A new connection.
    fn joined(&mut self, sender: ControlSender) {
        self.parts.health.all_well("scheduler");
        self.scheduling.connected(sender);
        self.end_own_word();
        self.introduce_myself();
        self.drive_all(|| Swarm::SchedulerAway(false));
    }

    /// Says who this host is, then which leases it holds and what it waits for, then what it holds completely.
    fn introduce_myself(&mut self) {
        let now = self.parts.clock.now();
        self.scheduling
            .say(HostMessage::Join(self.parts.join.clone()));
        self.scheduling.joined(now);
        let mut running: Vec<(bool, TaskId)> = (self.jobs.iter())
            .filter(|(_, job)| job.is_waiting())
            .map(|(task, job)| (!job.download.is_importer(), *task))
            .collect();
        // Whoever holds a lease is first: a claim counts only for a task that is waited for.
        running.sort_unstable();
        let running = running.iter().filter_map(|(_, task)| self.ask_of(*task));
        let running = running.collect();
        let mut held = self.parts.store.list();
        held.retain(|info| info.complete && self.is_for_others(info));
        // What is used most is told first: a scheduler remembers a bounded number.
        held.sort_by_key(|info| std::cmp::Reverse(info.last_used));
        let holdings = held.into_iter().map(|info| info.task).collect();
        for message in inventory(self.scheduling.claims(now), running, holdings) {
            self.scheduling.say(message);
        }
        for task in self.jobs.keys().copied().collect::<Vec<TaskId>>() {
            self.tell_vouchers(task);
        }
    }

    fn told(&mut self, message: SchedulerMessage) {
        match message {
            SchedulerMessage::Queued { task, .. } => {
                self.scheduling.heard_of(task);
                self.acknowledged(task);
            }
            SchedulerMessage::Refused { task, cause } => self.refused(task, cause),
            SchedulerMessage::Introduce(introduce) => self.introduced(introduce),
            SchedulerMessage::Grant { task, lease } => self.granted(task, lease),
            SchedulerMessage::Renew { task, epoch, term } => {
                if let Some(until) = self.scheduling.renewed(task, epoch, term.ends()) {
                    let run = PieceRun {
                        first: PieceIndex(0),
                        count: u32::MAX,
                    };
                    self.drive(task, Swarm::Leased(Lease { epoch, run, until }));
                }
            }
            SchedulerMessage::Revoke { task, epoch } => {
                self.drive(task, Swarm::LeaseEnded { epoch });
                self.scheduling.revoked(task, epoch);
            }
            SchedulerMessage::Fail { task, cause } => {
                self.nobody_imports(task, cause);
            }
            SchedulerMessage::Recruit(recruit) => self.recruit(recruit),
            SchedulerMessage::Importer { task, host } => {
                if let Some(job) = self.jobs.get(&task) {
                    job.task.name_importer(host);
                }
                if self.may_give(task, &[host]) {
                    self.cared_for(task);
                }
                self.believe(task);
            }
            SchedulerMessage::Look { source } => self.look_answered(&source, &Look::Yourself),
            SchedulerMessage::Looked { source, found } => {
                self.look_answered(&source, &Look::Told(found));
            }
            SchedulerMessage::Members { seeds } => {
                self.remember(&seeds);
                self.tasks.set_seeds(
                    seeds
                        .iter()
                        .map(|seed| seed.host)
                        .collect::<BTreeSet<HostId>>(),
                );
            }
            SchedulerMessage::Certificates(told) => {
                for certificate in told {
                    if let Err(cause) = self.parts.links.learn_certificate(&certificate) {
                        tracing::warn!(
                            error = &cause as &dyn std::error::Error,
                            "a certificate that the scheduler told of is not believed"
                        );
                    }
                }
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

    /// An ask or a join was not taken: it is tried again later, and meanwhile the brain does what it does without a
    /// scheduler.
    fn refused(&mut self, task: Option<TaskId>, cause: control::Refusal) {
        tracing::warn!(task = ?task, %cause, "the scheduler refuses");
        let now = self.parts.clock.now();
        match task {
            Some(task) if self.jobs.contains_key(&task) => {
                self.scheduling.refused(now, task, cause)
            }
            Some(_) => {}
            None if cause == control::Refusal::TooManyHoldings => {}
            None => {
                self.scheduling.join_refused(now, cause);
                self.drive_all(|| Swarm::SchedulerAway(true));
            }
        }
    }

    /// Nobody that the scheduler knows can import. What a reader here needs is tried by this host itself: its own policy
    /// may allow what others' do not, and if not, the origin's own answer says more.
    fn nobody_imports(&mut self, task: TaskId, cause: control::FailCause) {
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        if job.task.is_by_digest() {
            tracing::warn!(task = ?task, %cause, "the scheduler knows no source");
        } else if !job.reads_alone {
            tracing::info!(task = ?task, %cause, "no seed imports what no digest names: this host reads it for itself");
        }
        if job.readers.is_empty() {
            let cause = job.task.origin_failure();
            return self.fail(task, cause);
        }
        job.reads_alone = true;
        self.scheduling.expelled(self.parts.clock.now(), task);
        self.drive(task, Swarm::NobodyImports);
    }

    /// The scheduler heard of the wish for `task`. That tells nothing to who asks again after it had been told that nobody
    /// imports it: until somebody who can give it is heard of it reads on by itself.
    fn acknowledged(&mut self, task: TaskId) {
        if self.jobs.get(&task).is_some_and(|job| !job.reads_alone) {
            self.drive(task, Swarm::Acknowledged);
        }
    }

    /// Whether any of `hosts` gives what others would believe of `task`, once it has it.
    fn may_give(&self, task: TaskId, hosts: &[HostId]) -> bool {
        let Some(live) = self.tasks.get(&task) else {
            return false;
        };
        let gives = |host| live.may_sign(host) || self.tasks.is_named_seed(host);
        hosts.iter().any(gives)
    }

    /// Somebody is there who can give `task`: who read it alone waits for that.
    fn cared_for(&mut self, task: TaskId) {
        let read_alone = |job: &mut Job| std::mem::take(&mut job.reads_alone);
        if self.jobs.get_mut(&task).is_some_and(read_alone) {
            self.drive(task, Swarm::Acknowledged);
        }
    }

    /// A neighbour shows `pieces`: if something missing is among them, nobody has to read `task` alone. The brain knows by
    /// itself what is news.
    pub(super) fn shown(&mut self, task: TaskId, pieces: impl IntoIterator<Item = PieceIndex>) {
        if let Some(job) = self.jobs.get_mut(&task).filter(|job| job.reads_alone) {
            let have = job.download.have();
            let mut pieces = pieces.into_iter().take(have.piece_count() as usize);
            job.reads_alone = pieces.all(|piece| have.contains(piece));
        }
    }

    fn granted(&mut self, task: TaskId, lease: control::Lease) {
        let control::Lease { epoch, run, term } = lease;
        if self.scheduling.is_stale(term.counted_from) {
            return; // It was said to an earlier life of this connection.
        }
        let me = self.parts.signer.key.host_id();
        let Some(job) = self.jobs.get_mut(&task) else {
            return self
                .scheduling
                .say(HostMessage::LeaseReturned { task, epoch });
        };
        job.epoch = job.epoch.max(epoch);
        job.reads_alone = false;
        job.task.name_importer(me);
        let until = term.ends();
        let have = job.download.have().len();
        let left = job.task.spec.layout.piece_count() - have;
        let held = Held {
            epoch,
            imported: have,
            left,
            until,
        };
        self.scheduling.granted(task, held);
        self.vouch_for_all(task, epoch);
        self.drive(task, Swarm::Leased(Lease { epoch, run, until }));
    }

    fn introduced(&mut self, introduce: Introduce) {
        let Introduce {
            task,
            reset,
            add,
            remove,
        } = introduce;
        self.remember(&add);
        if !self.take_up(task) {
            return;
        }
        self.scheduling.heard_of(task);
        let added: Vec<HostId> = add.iter().map(|neighbour| neighbour.host).collect();
        if self.may_give(task, &added) {
            self.cared_for(task);
        }
        self.acknowledged(task);
        let kept: BTreeSet<HostId> = added.into_iter().collect();
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
        (peer.addresses, peer.place) = (neighbour.addresses, neighbour.topology);
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
        let dial = dialler.dial(id, (addresses, wait));
        self.io.spawn_with(Event::DialFailed { host: id }, dial);
    }

    /// The scheduler asks this seed to import something that nobody here asked for.
    pub(super) fn recruit(&mut self, recruit: Recruit) {
        let Recruit {
            task,
            source,
            digest,
            ..
        } = recruit;
        if self.jobs.contains_key(&task) {
            return self.ask_scheduler(task);
        }
        if !self.recruited.insert(task) {
            return; // It is being looked up.
        }
        let (accesses, events) = (self.parts.accesses.clone(), self.events.clone());
        self.io.spawn_with(Event::Broke { task }, async move {
            let result = accesses
                .for_source(task, &source, digest)
                .await
                .map(|(spec, _)| spec);
            events.tell(Event::Recruited { task, result }).await;
        });
    }

    pub(super) fn recruited(&mut self, task: TaskId, result: Result<TaskSpec, AccessError>) {
        self.recruited.remove(&task);
        let spec = match result {
            Ok(spec) => spec,
            Err(cause) => {
                tracing::info!(task = ?task, error = &cause as &dyn std::error::Error, "a source that the scheduler named can't be read here");
                return self.scheduling.left(task);
            }
        };
        match self.begin(spec, store::Reserve::Whole) {
            Ok(_) => {
                self.drive(task, Swarm::WantAll(true));
                self.ask_scheduler(task);
            }
            Err(cause) => {
                tracing::warn!(task = ?task, error = &*cause as &dyn std::error::Error, "a task could not begin");
                self.scheduling.left(task);
            }
        }
    }
}
