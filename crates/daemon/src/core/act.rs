//! Carrying out what a download's brain decided.

use std::sync::Arc;

use swarm::{
    Class, HostNo,
    download::{Action, Event as Swarm, Failure},
};
use types::{Epoch, PieceIndex, PieceRun, TaskId};
use wire::{Message, Runs};

use super::{
    Core, Event,
    lanes::{Lanes, NewLane},
    peers::Peer,
    runs_of,
};
use crate::{
    import::{Import, Order},
    task::TaskError,
};

impl Core {
    pub(super) fn act(&mut self, task: TaskId, action: Action) {
        match action {
            Action::Request { from, run, urgent } => self.request(task, from, (run, urgent)),
            Action::Cancel { from, run } => {
                tracing::debug!(task = ?task, parent = ?from, %run, "a request is withdrawn");
                self.expect(task, from, (run, false));
                self.peers.say(from, &task, |no| Message::Cancel {
                    no,
                    runs: runs_of(run),
                });
            }
            Action::Announce { piece } => self.announce(task, piece),
            Action::Reveal { to, piece } => {
                self.peers.say(to, &task, |no| Message::Reveal {
                    no,
                    runs: runs_of(PieceRun::one(piece)),
                });
            }
            Action::Admit { to, piece } => {
                let (runs, slots) = (runs_of(PieceRun::one(piece)), self.hint());
                self.peers
                    .say(to, &task, |no| Message::Have { no, runs, slots });
            }
            Action::RevealAll { to } => self.show_all(task, to),
            Action::TellImporter(importer) => self.tell_importer(task, importer),
            Action::Ask => {
                self.ask_again(task);
                self.choose_importer(task);
            }
            Action::Import { run, epoch } => self.import(task, run, epoch),
            Action::StopImport { epoch } => self.stop_import(task, epoch),
            Action::Report {
                epoch,
                imported,
                left,
            } => self.scheduling.progress(task, epoch, (imported, left)),
            Action::GiveUpLease { epoch } => self.scheduling.give_up(task, epoch),
            Action::Blame { host } => {
                if let Some(peer) = self.peers.get(host) {
                    tracing::warn!(host = %peer.id, task = ?task, "a parent sent a wrong piece");
                    self.scheduling.blame(peer.id);
                }
            }
            Action::Complete => self.complete(task),
            Action::Fail(failure) => self.failed(task, failure),
        }
    }

    fn request(&mut self, task: TaskId, from: HostNo, (run, urgent): (PieceRun, bool)) {
        tracing::debug!(task = ?task, parent = ?from, %run, urgent, "a run is asked of a parent");
        self.expect(task, from, (run, true));
        let background = (self.jobs.get(&task)).is_some_and(|job| job.class() == Class::Background);
        let is_said = self.peers.say(from, &task, |no| Message::Want {
            no,
            runs: runs_of(run),
            urgent,
            background,
        });
        if !is_said {
            self.expect(task, from, (run, false));
            self.drive(task, Swarm::Left { host: from });
        }
    }

    /// Notes which pieces may come from whom.
    pub(super) fn expect(
        &mut self,
        task: TaskId,
        from: HostNo,
        (run, is_awaited): (PieceRun, bool),
    ) {
        if let (Some(job), Some(peer)) = (self.jobs.get(&task), self.peers.get(from)) {
            let awaited = &job.task.awaited;
            if is_awaited {
                awaited.expect(peer.id, run);
            } else {
                awaited.withdraw(peer.id, run);
            }
        }
    }

    /// Nothing of `task` comes from `host` any more.
    pub(super) fn expect_nothing(&mut self, task: TaskId, host: HostNo) {
        if let (Some(job), Some(peer)) = (self.jobs.get_mut(&task), self.peers.get(host)) {
            job.task.awaited.leave(peer.id);
            job.unbelieved.forget(host);
        }
    }

    fn announce(&mut self, task: TaskId, piece: PieceIndex) {
        let slots = self.hint();
        let Some(job) = self.jobs.get(&task) else {
            return;
        };
        for host in job.download.audience(piece) {
            self.peers.say(host, &task, |no| Message::Have {
                no,
                runs: runs_of(PieceRun::one(piece)),
                slots,
            });
        }
    }

    fn tell_importer(&mut self, task: TaskId, importer: bool) {
        let takes_part = |peer: &Peer| peer.joined.contains(&task);
        let hosts = self.peers.connected().filter(|(_, peer)| takes_part(peer));
        for host in hosts.map(|(host, _)| host).collect::<Vec<HostNo>>() {
            self.peers
                .say(host, &task, |no| Message::Importer { no, importer });
        }
    }

    /// Tells `host` of everything that it may know of.
    pub(super) fn show_all(&mut self, task: TaskId, host: HostNo) {
        let slots = self.hint();
        let Some(job) = self.jobs.get(&task) else {
            return;
        };
        for runs in Runs::split(job.download.shown_to(host).runs()) {
            self.peers
                .say(host, &task, |no| Message::Have { no, runs, slots });
        }
        if job.download.is_importer() {
            // It may have opened the task before we took part, when nothing that we said of it was heard.
            let importer = true;
            self.peers
                .say(host, &task, |no| Message::Importer { no, importer });
        }
    }

    fn import(&mut self, task: TaskId, run: PieceRun, epoch: Option<Epoch>) {
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        // Without a lease, or a digest that the whole is held against, only a seed's word counts with others; what a plain
        // daemon imports on its own stays its own.
        let is_named = job.task.is_by_digest() && epoch > Some(Epoch::default());
        let may_sign = is_named || self.parts.is_seed;
        let reach = job.download.reach(self.parts.clock.now(), run);
        let lanes = job
            .imports
            .entry(epoch.unwrap_or_default())
            .or_insert_with(Lanes::new);
        let new = if epoch.is_none() && reach == run {
            // Perhaps the only one: somebody may be heard of before it has ended.
            Some(lanes.once(Order { run, reach }))
        } else {
            let most = usize::from(self.parts.limits.download.import_streams);
            lanes.hand(Order { run, reach }, most)
        };
        let Some(NewLane { orders, stop }) = new else {
            return;
        };
        let import = Import {
            task: Arc::clone(&job.task),
            accesses: self.parts.accesses.clone(),
            epoch,
            signer: may_sign.then(|| self.parts.signer.clone()),
            metrics: self.parts.metrics.clone(),
        };
        let events = self.events.clone();
        self.io.spawn_with(Event::Broke { task }, async move {
            // Its lane sees by this token that it has ended.
            let _ended = stop.clone().drop_guard();
            import.run(orders, events, stop).await;
        });
    }

    pub(super) fn stop_import(&mut self, task: TaskId, epoch: Epoch) {
        if let Some(lanes) = self
            .jobs
            .get_mut(&task)
            .and_then(|job| job.imports.remove(&epoch))
        {
            lanes.cancel();
        }
    }

    fn complete(&mut self, task: TaskId) {
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        job.imports.values_mut().for_each(Lanes::finish);
        let took = self.parts.clock.now().since(job.began);
        let (local, peer, origin) = job.task.bytes();
        tracing::info!(task = ?task, ?took, local, peer, origin, "everything wanted is here");
        self.try_seal(task);
        self.give_way();
    }

    fn failed(&mut self, task: TaskId, failure: Failure) {
        let Some(job) = self.jobs.get(&task) else {
            return;
        };
        let cause = match failure {
            // Nobody had it, and the origin kept saying why: that is what there is to tell.
            Failure::Stalled if job.task.has_origin_failed() => job.task.origin_failure(),
            Failure::Stalled => TaskError::Stalled {
                seconds: self.parts.limits.download.hard_limit.as_secs(),
            },
            Failure::Origin => job.task.origin_failure(),
        };
        self.fail(task, cause);
    }
}
