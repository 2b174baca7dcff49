//! The one task that decides: it owns the brains, and everything that happens comes to it as an [`Event`].
//!
//! It never waits for anything but its next event: links, imports, proofs and dials run beside it and tell it how they
//! went. What it says to others goes into bounded queues without waiting; a link that does not take it is ended.
//!
//! * `event`: what happens.
//! * `peers`: the remote hosts, their addresses, and the link to each.
//! * `open`, `retire`: jobs begin and leave memory.
//! * `job`: one running task: its brain, its readers, its imports; `lanes`: which import reads the next run.
//! * `act`: carrying out what a download's brain decided.
//! * `hear`: everything that happens, and pieces and imports that come in; `links`: links come and go; `said`: what remotes
//!   say; `cut_off`: hosts that were thrown out.
//! * `serve`: uploads; `stuck`: children that take nothing.
//! * `seals`: proofs of whole contents and words for them; `doubts`: contents that turned out wrong.
//! * `vouch`: what others would believe of what is here; `unbelieved`: what came before it could be believed.
//! * `together`: what hosts do with each other while no scheduler is there.
//! * `leave`: ending in order.
//! * `io`: what runs beside the core, and what it hears of it when it panics.
//! * `looks`: what other hosts saw of sources.
//! * `account`: what tasks cost this host, those that left memory too; `status`: what they wait for now.
//! * `plan`: what the scheduler says, and what it is asked; `scheduling`: what it was told and has yet to hear.

mod account;
mod act;
mod cut_off;
mod doubts;
mod event;
mod hear;
mod io;
mod job;
mod lanes;
mod leave;
mod links;
mod looks;
mod measure;
mod open;
mod peers;
mod plan;
mod retire;
mod said;
mod scheduling;
mod seals;
mod serve;
mod status;
mod stuck;
#[cfg(test)]
pub(crate) mod tests;
mod together;
mod unbelieved;
mod vouch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use identity::Links;
use store::Store;
use swarm::{HostNo, upload::Uploads};
use tokio::{
    sync::{mpsc, watch},
    task::JoinError,
};
use tokio_util::sync::CancellationToken;
use types::{Chance, HostId, Moment, PieceRun, TaskId};
use wire::Runs;

use doubts::Doubts;
pub(crate) use event::{Event, Events, LinkNo};
use io::Io;
use job::Job;
use looks::Looks;
use peers::Peers;
use scheduling::Scheduling;
use serve::Serving;
use stuck::Taken;

/// Which links are open, and which one makes room.
type Places = wire::registry::Links<LinkNo>;

use crate::{
    access::Accesses,
    account::Ended,
    clock::Clock,
    config::Limits,
    dial::Dialler,
    doors::Health,
    find::Outlook,
    handle::Command,
    import::Signer,
    metrics::{Metrics, PieceFailure},
    speeds::Speeds,
    tasks::Tasks,
    unnamed::Aside,
};

/// A run as it travels. The brains never name an empty one.
fn runs_of(run: PieceRun) -> Runs {
    Runs::one(run).expect("a run of the brain has a piece and ends within its content")
}

/// What the core is built from.
pub(crate) struct Parts {
    pub(crate) links: Links,
    pub(crate) signer: Signer,
    pub(crate) is_seed: bool,
    /// Whether neither a scheduler nor peers are configured: such a host imports on its own word.
    pub(crate) is_alone: bool,
    pub(crate) dialler: Dialler,
    /// What is known of others, for whoever looks for more.
    pub(crate) outlook: watch::Sender<Outlook>,
    /// What the scheduler is told first.
    pub(crate) join: control::Join,
    pub(crate) limits: Limits,
    pub(crate) store: Store,
    pub(crate) accesses: Accesses,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
}

/// The state of everything that is decided here.
pub(crate) struct Core {
    parts: Parts,
    tasks: Arc<Tasks>,
    /// The seeds by which everything was judged last.
    judged: BTreeSet<HostId>,
    jobs: BTreeMap<TaskId, Job>,
    /// When each job wants to be woken.
    timers: BTreeSet<(Moment, TaskId)>,
    peers: Peers,
    places: Places,
    uploads: Uploads,
    serving: Serving,
    taken: Taken,
    /// When to look for children that take nothing.
    stuck_at: Option<Moment>,
    scheduling: Scheduling,
    looks: Looks,
    doubts: Doubts,
    /// Tasks that this host was asked to import, while their sources are looked up.
    recruited: BTreeSet<TaskId>,
    events: Events,
    io: Io,
    chance: Chance,
    readers: u32,
    speeds: Speeds,
    ended: Ended,
}

impl Core {
    pub(crate) fn new(parts: Parts, events: Events) -> Self {
        let now = parts.clock.now();
        Self {
            tasks: Arc::new(Tasks::new(
                parts.links.clone(),
                Aside::new(parts.limits.memory.words),
            )),
            judged: parts.links.all_seeds(),
            jobs: BTreeMap::new(),
            timers: BTreeSet::new(),
            peers: Peers::default(),
            places: Places::new(parts.signer.key.host_id(), parts.limits.connections),
            uploads: parts.limits.uploads(now),
            serving: Serving::default(),
            taken: Taken::default(),
            stuck_at: None,
            scheduling: Scheduling::new(parts.is_alone),
            looks: Looks::default(),
            doubts: Doubts::default(),
            recruited: BTreeSet::new(),
            events,
            io: Io::default(),
            chance: Chance::seeded(parts.seed),
            readers: 0,
            speeds: Speeds::default(),
            ended: Ended::default(),
            parts,
        }
    }

    /// Runs until told to stop; then lets running uploads end, until told to hurry, and says goodbye.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut events: mpsc::Receiver<Event>,
        (stop, hurry): (CancellationToken, CancellationToken),
    ) {
        loop {
            let deadline = self.deadline();
            // In no order: whoever floods one of these keeps neither readers nor deadlines waiting.
            tokio::select! {
                () = stop.cancelled() => break,
                Some(event) = events.recv() => {
                    let is_of_links = event.is_of_links();
                    self.happened(event);
                    if is_of_links {
                        self.publish();
                    }
                }
                Some(command) = commands.recv() => self.asked(command),
                Some(ended) = self.io.next_end() => {
                    if let Some(last_word) = self.io_ended(ended) {
                        self.happened(last_word);
                        self.publish();
                    }
                }
                () = self.parts.clock.until(deadline) => self.woken(),
            }
            self.scheduling.flush(self.parts.clock.now());
        }
        self.leave(events, hurry).await;
    }

    /// A link, an import or a proof is over. If it panicked, that is counted, and what it could not say any more comes
    /// back: what others sent must not end this process, and nobody may wait for ever.
    fn io_ended(&mut self, ended: Result<(), (JoinError, Option<Event>)>) -> Option<Event> {
        let (cause, last_word) = ended.err()?;
        self.parts.metrics.panicked();
        tracing::error!(
            error = &cause as &dyn std::error::Error,
            "a task of a link or an import panicked"
        );
        last_word
    }

    fn deadline(&mut self) -> Option<Moment> {
        let job = self.timers.first().map(|(at, _)| *at);
        let uploads = self.uploads.deadline(self.parts.clock.now());
        [
            job,
            uploads,
            self.looks_for_stuck_at(),
            self.scheduling.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn woken(&mut self) {
        let now = self.parts.clock.now();
        while let Some((at, task)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, task));
            if let Some(job) = self.jobs.get_mut(&task) {
                job.timer = None;
            }
            self.retire_if_due(task);
            self.excuse(task);
            self.tick(task);
        }
        self.look_for_stuck();
        self.serve();
        self.nudge_scheduler();
    }

    /// Wakes a job's brain, which gives up what did not come in time.
    fn tick(&mut self, task: TaskId) {
        let waits = |job: &Job| {
            let waits = job.download.waits();
            waits
                .map(|(host, run, ..)| (host, run.first))
                .collect::<BTreeSet<_>>()
        };
        let before = self.jobs.get(&task).map(waits).unwrap_or_default();
        self.drive(task, swarm::download::Event::Tick);
        let after = self.jobs.get(&task).map(waits).unwrap_or_default();
        let late = before.difference(&after).count();
        self.parts
            .metrics
            .pieces_failed(PieceFailure::Late, late as u64);
    }

    /// Before a silence is judged: what our own limit keeps in the sockets is no parent's fault.
    fn excuse(&mut self, task: TaskId) {
        let Some(job) = self.jobs.get(&task) else {
            return;
        };
        let asked: BTreeSet<HostNo> = job.download.waits().map(|(host, ..)| host).collect();
        for host in asked {
            if self
                .peers
                .link_mut(host)
                .is_some_and(|link| link.sender.is_held())
            {
                self.drive(task, swarm::download::Event::HeldBack { host });
            }
        }
    }

    /// Tells a job's brain what happened and carries out what it decides.
    fn drive(&mut self, task: TaskId, event: swarm::download::Event) {
        let now = self.parts.clock.now();
        if let swarm::download::Event::Verified { .. } = event {
            self.scheduling.moved();
        }
        if let Some(job) = self.jobs.get_mut(&task) {
            job.download.handle(now, event);
            self.settle(task);
        }
    }

    fn settle(&mut self, task: TaskId) {
        let now = self.parts.clock.now();
        while let Some(action) = self
            .jobs
            .get_mut(&task)
            .and_then(|job| job.download.next_action(now))
        {
            self.act(task, action);
        }
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        let at = [job.download.deadline(now), job.retires_at()];
        let at = at.into_iter().flatten().min();
        if at != job.timer {
            if let Some(old) = job.timer {
                self.timers.remove(&(old, task));
            }
            if let Some(at) = at {
                self.timers.insert((at, task));
            }
            job.timer = at;
        }
        self.account_for(task);
    }
}
