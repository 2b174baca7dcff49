//! What happens outside: links come and go, remotes speak, pieces and imports come in.

use std::{collections::BTreeSet, sync::Arc};

use swarm::{
    HostNo, SlotHint,
    download::{Event as Swarm, Supplier},
};
use types::{Epoch, HostId, Layout, PieceIndex, PieceRun, PieceSet, TaskId};
use wire::{
    Inventory, LinkEnd, Message,
    codec::{DeclineReason, GoodbyeReason},
    registry::{Admission, Candidate},
    settle::Direction,
};

use super::{Core, Event, LinkNo, peers::LinkHandle};
use crate::{
    import::ImportError,
    link::{Incoming, Unused},
    metrics::PieceFailure,
    task::{From, TaskError},
};

/// Slots of a host that has not told of any.
const UNTOLD: SlotHint = SlotHint {
    free: 1,
    opening: 0,
};

impl Core {
    pub(super) fn happened(&mut self, event: Event) {
        match event {
            Event::LinkUp {
                host,
                is_seed,
                direction,
                link,
            } => self.link_up((host, is_seed), direction, *link),
            Event::DialFailed { host } => self.dial_failed(host),
            Event::LinkDown { link, end } => self.link_down(link, &end),
            Event::Said {
                link,
                task,
                message,
            } => self.said(link, task, message),
            Event::Uploaded {
                link,
                no,
                piece,
                end,
            } => self.uploaded(link, (no, piece), &end),
            Event::Progress { link, task, piece } => {
                self.of_piece(link, task, |host| Swarm::Progress { host, piece })
            }
            Event::Ending { link, task, piece } => {
                self.of_piece(link, task, |host| Swarm::Ending { host, piece })
            }
            Event::Received { link, task, piece } => self.received(link, task, piece),
            Event::Dropped {
                link,
                task,
                piece,
                why,
            } => {
                let run = PieceRun::one(piece);
                self.of_piece(link, task, |host| match why {
                    Unused::Unvouched => Swarm::Lacks { host, run },
                    // The parent did well; whether the piece is here will be known later.
                    Unused::Busy => Swarm::Busy { host, run },
                    Unused::Held => Swarm::Verified {
                        piece,
                        from: Supplier::Host(host),
                    },
                });
            }
            Event::Corrupt { link, task, piece } => {
                self.parts.metrics.pieces_failed(PieceFailure::Corrupt, 1);
                self.of_piece(link, task, |host| Swarm::Corrupt { piece, host });
            }
            Event::StoreFailed { task, cause } => {
                self.parts.metrics.pieces_failed(PieceFailure::Store, 1);
                self.fail(task, TaskError::Store(Arc::new(cause)))
            }
            Event::Imported {
                task,
                piece,
                leased,
            } => self.imported(task, piece, leased),
            Event::ImportHeld { task, piece } => {
                let from = Supplier::Origin;
                self.drive(task, Swarm::Verified { piece, from });
            }
            Event::ImportFailed {
                task,
                run,
                epoch,
                cause,
            } => self.import_failed(task, (run, epoch), &cause),
            Event::Sealed { task } => self.sealed(task),
            Event::FalseSeal { link, task } => self.false_seal(link, task),
            Event::Decayed { task, piece } => self.decayed(task, piece),
            Event::Proven { task, result } => self.proven(task, result),
            Event::Broke { task } => self.broke(task),
            Event::ReaderGone { task, reader } => self.reader_gone(task, reader),
            Event::Recruited { task, result } => self.recruited(task, result),
            Event::Revoked => self.cut_off_revoked(),
            Event::Scheduler(event) => self.scheduler_said(event),
        }
    }

    /// What was to bring `task` on panicked, and may have held what nobody else will finish.
    fn broke(&mut self, task: TaskId) {
        self.recruited.remove(&task);
        self.fail(task, TaskError::Broke);
    }

    /// The link to `host` is of use.
    fn used(&mut self, host: HostNo) {
        if let Some(peer) = self.peers.get(host) {
            self.places.touch(self.parts.clock.now(), (peer.id, 0));
        }
    }

    fn of_piece(&mut self, link: LinkNo, task: TaskId, event: impl FnOnce(HostNo) -> Swarm) {
        if let Some(host) = self.peers.of(link) {
            self.used(host);
            self.drive(task, event(host));
        }
    }

    /// Takes a new link into use, if there is a place for it.
    fn link_up(&mut self, (id, is_seed): (HostId, bool), direction: Direction, link: wire::Link) {
        let host = self.peers.number(id);
        let number = self.peers.next_link();
        if let Err(reason) = self.place(id, direction, number) {
            if let Some(peer) = self.peers.get_mut(host) {
                peer.is_dialling = false;
            }
            self.peers.tidy(host);
            return self.turn_away(link, reason);
        }
        let incoming = Incoming {
            link: number,
            host: id,
            cluster: self.parts.signer.cluster.clone(),
            tasks: Arc::clone(&self.tasks),
            events: self.events.clone(),
            sender: link.sender.clone(),
            receiving: std::collections::BTreeMap::new(),
        };
        let broken = Event::LinkDown {
            link: number,
            end: LinkEnd::Dropped,
        };
        self.io.spawn_with(broken, incoming.run(link.receiver));
        if let Some(old) = self
            .peers
            .connect(host, LinkHandle::new(number, link.sender))
        {
            old.sender.goodbye(GoodbyeReason::Duplicate);
            self.forget_host(host);
        }
        self.parts
            .metrics
            .connections(self.peers.connected().count());
        let tasks: Vec<TaskId> = self
            .peers
            .get(host)
            .map(|peer| peer.introduced.iter().copied().collect())
            .unwrap_or_default();
        tasks
            .into_iter()
            .for_each(|task| self.open_with(task, host));
        self.met(id, is_seed);
    }

    /// A place for a new link of `id`, or why there is none. The idle link that was used longest ago makes room.
    fn place(
        &mut self,
        id: HostId,
        direction: Direction,
        link: LinkNo,
    ) -> Result<(), GoodbyeReason> {
        if self.parts.links.is_revoked(id) {
            // It may have been news in this very link's hello.
            return Err(GoodbyeReason::Revoked);
        }
        if self.places.is_full() {
            let waits = self.jobs.values().flat_map(|job| job.download.waits());
            let mut busy: BTreeSet<HostNo> = waits.map(|(host, ..)| host).collect();
            busy.extend(self.serving.hosts());
            let peers = &self.peers;
            self.places
                .note_busy(|link| peers.of(*link).is_some_and(|host| busy.contains(&host)));
        }
        let now = self.parts.clock.now();
        let place = (id, 0);
        match self.places.admit(
            now,
            Candidate {
                place,
                direction,
                link,
            },
        ) {
            Admission::Stays => Ok(()),
            // Its successor takes its place among the peers too.
            Admission::Displaces(of, _) if of == place => Ok(()),
            Admission::Displaces(_, idle) => {
                self.close_idle(idle);
                Ok(())
            }
            Admission::Duplicate(_) => Err(GoodbyeReason::Duplicate),
            Admission::Full(_) => Err(GoodbyeReason::Full),
        }
    }

    fn close_idle(&mut self, link: LinkNo) {
        let Some(host) = self.peers.of(link) else {
            return;
        };
        tracing::debug!(host = ?host, "an idle link makes room for a new one");
        if let Some(link) = self.peers.link_mut(host) {
            link.sender.goodbye(GoodbyeReason::Idle);
        }
        self.peers.disconnect(link);
        self.forget_host(host);
        self.peers.tidy(host);
    }

    /// Says why there is no place for `link`; the link's own time limit bounds how long that takes.
    pub(super) fn turn_away(&mut self, link: wire::Link, reason: GoodbyeReason) {
        let wire::Link {
            sender,
            mut receiver,
            ..
        } = link;
        sender.goodbye(reason);
        self.io
            .spawn(async move { while receiver.next().await.is_ok() {} });
    }

    fn dial_failed(&mut self, id: HostId) {
        let Some(host) = self.peers.find(&id) else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(host) {
            peer.is_dialling = false;
        }
        self.peers.tidy(host);
    }

    fn link_down(&mut self, link: LinkNo, end: &LinkEnd) {
        let Some(host) = self.peers.disconnect(link) else {
            return;
        };
        if let Some(peer) = self.peers.get(host) {
            self.places.remove((peer.id, 0), |there| *there == link);
        }
        tracing::debug!(host = ?host, end = end as &dyn std::error::Error, "a link ended");
        self.forget_host(host);
        self.parts
            .metrics
            .connections(self.peers.connected().count());
        self.peers.tidy(host);
    }

    /// The link to `host` is gone: nothing of it is left in any brain.
    pub(super) fn forget_host(&mut self, host: HostNo) {
        self.uploads.forget(host);
        self.serving.forget(host);
        let joined = self.peers.get_mut(host).map(|peer| {
            peer.standing.clear();
            std::mem::take(&mut peer.joined)
        });
        let waits = self.jobs.values().flat_map(|job| job.download.waits());
        let broken = waits.filter(|(of, ..)| *of == host).count();
        (self.parts.metrics).pieces_failed(PieceFailure::Broken, broken as u64);
        for task in joined.into_iter().flatten() {
            self.expect_nothing(task, host);
            self.drive(task, Swarm::Left { host });
        }
        self.serve();
    }

    /// Takes part in `task` on the link to `host`, if there is one and we did not yet.
    pub(super) fn open_with(&mut self, task: TaskId, host: HostNo) {
        let Some(job) = self.jobs.get(&task) else {
            return;
        };
        let layout = job.task.spec.layout;
        let (have, more) = Inventory::of(&job.download.shown_to(host));
        let importer = job.download.is_importer();
        let slots = self.hint();
        let Some(link) = self.peers.link_mut(host) else {
            return;
        };
        if link.no(&task).is_some() {
            return;
        }
        let Some(no) = link.number(task) else {
            tracing::debug!(task = ?task, host = ?host, "too many tasks are open on a link");
            return;
        };
        let open = Message::Open {
            no,
            task,
            layout,
            have,
            importer,
        };
        if link.sender.try_send(&open).is_err() {
            link.close(&task);
            return;
        }
        for runs in more {
            self.peers
                .say(host, &task, |no| Message::Have { no, runs, slots });
        }
        // It had the task open before we took it up: it answers with what it has.
        let stands = (self.peers.get_mut(host))
            .is_some_and(|peer| peer.standing.contains(&task) && peer.joined.insert(task));
        if stands {
            let have = PieceSet::empty(layout.piece_count());
            let slots = UNTOLD;
            self.drive(task, Swarm::Joined { host, have, slots });
        }
    }

    fn said(&mut self, link: LinkNo, task: Option<TaskId>, message: Message) {
        let Some(host) = self.peers.of(link) else {
            return;
        };
        self.used(host);
        if let (Message::Close { .. }, Some(task)) = (&message, &task)
            && let Some(peer) = self.peers.get_mut(host)
        {
            peer.standing.remove(task);
        }
        let slots = |hint: wire::SlotHint| SlotHint {
            free: hint.free,
            opening: hint.opening,
        };
        match (task, message) {
            (
                Some(task),
                Message::Open {
                    layout,
                    have,
                    importer,
                    ..
                },
            ) => self.opened(host, task, (layout, have, importer)),
            (Some(task), Message::Importer { importer: is, .. }) => self.has_role(host, task, is),
            (Some(task), Message::Decline { .. } | Message::Close { .. }) => self.gone(task, host),
            (
                Some(task),
                Message::Have {
                    runs, slots: hint, ..
                },
            ) => {
                for run in runs.as_slice() {
                    self.drive(
                        task,
                        Swarm::Has {
                            host,
                            run: *run,
                            slots: slots(hint),
                        },
                    );
                }
            }
            (Some(task), Message::Reveal { runs, .. }) => {
                let pieces = runs.as_slice().iter().flat_map(|run| run.pieces()).take(64);
                for piece in pieces.collect::<Vec<PieceIndex>>() {
                    self.drive(task, Swarm::Revealed { host, piece });
                }
            }
            (_, Message::Wish(wish)) => self.wished(*wish),
            (_, Message::Slots(hint)) => self.slots_changed(host, slots(hint)),
            (Some(task), want @ Message::Want { .. }) => self.wants(host, task, &want),
            (Some(task), Message::Cancel { runs, .. }) => {
                runs.as_slice()
                    .iter()
                    .for_each(|run| self.unwanted(host, task, *run));
            }
            (Some(task), Message::Busy { runs, .. }) => {
                tracing::debug!(task = ?task, parent = ?host, ?runs, "a parent is busy");
                (self.parts.metrics).pieces_failed(PieceFailure::Refused, runs.piece_count());
                for run in runs.as_slice() {
                    self.expect(task, host, (*run, false));
                    self.drive(task, Swarm::Busy { host, run: *run });
                }
            }
            (Some(task), Message::Missing { runs, .. }) => {
                (self.parts.metrics).pieces_failed(PieceFailure::Refused, runs.piece_count());
                for run in runs.as_slice() {
                    self.expect(task, host, (*run, false));
                    self.drive(task, Swarm::Lacks { host, run: *run });
                }
            }
            _ => {}
        }
    }

    /// A remote takes part in a task: we answer, if we do too or hold it.
    fn opened(
        &mut self,
        host: HostNo,
        task: TaskId,
        (layout, have, is_importer): (Layout, Inventory, bool),
    ) {
        if let Some(peer) = self.peers.get_mut(host) {
            peer.standing.insert(task);
        }
        let is_here = self.take_up(task);
        self.used_job(task);
        let differs = self
            .jobs
            .get(&task)
            .is_some_and(|job| job.task.spec.layout != layout);
        if !is_here || differs {
            let reason = if differs {
                DeclineReason::LayoutDiffers
            } else {
                DeclineReason::NotTaking
            };
            if let Some(link) = self.peers.link_mut(host) {
                // A link that does not take an answer ends by itself.
                drop(link.sender.try_send(&Message::Decline { task, reason }));
            }
            return;
        }
        let was_open = self
            .peers
            .get(host)
            .and_then(|peer| peer.link.as_ref())
            .is_some_and(|link| link.no(&task).is_some());
        if let Some(peer) = self.peers.get_mut(host) {
            peer.joined.insert(task);
        }
        if !was_open {
            // Before the brain knows of it: what it asks for is said under our number.
            self.open_with(task, host);
        }
        self.drive(
            task,
            Swarm::Joined {
                host,
                have: have.into_set(&layout),
                slots: UNTOLD,
            },
        );
        self.has_role(host, task, is_importer);
        if was_open {
            // What came between our own `Open` and theirs was announced to nobody.
            self.show_all(task, host);
        }
        self.tell_seal_to(task, host);
    }

    /// `host` says that it takes no part in `task`.
    fn gone(&mut self, task: TaskId, host: HostNo) {
        let waiting = self.uploads.forget_of(host, task);
        self.stop_uploads(host, &waiting);
        self.expect_nothing(task, host);
        self.parted(task, host);
        self.drive(task, Swarm::Left { host });
    }

    /// `host` takes part in `task` no more.
    fn parted(&mut self, task: TaskId, host: HostNo) {
        if let Some(peer) = self.peers.get_mut(host) {
            peer.joined.remove(&task);
        }
    }

    /// Leaves `task` on every link.
    pub(super) fn close_everywhere(&mut self, task: TaskId) {
        let hosts: Vec<HostNo> = self.peers.connected().map(|(host, _)| host).collect();
        for host in hosts {
            self.close_with(task, host);
        }
    }

    /// Leaves `task` on the link to `host`.
    pub(super) fn close_with(&mut self, task: TaskId, host: HostNo) {
        let running = self.uploads.forget_of(host, task);
        self.stop_uploads(host, &running);
        self.expect_nothing(task, host);
        self.parted(task, host);
        if let Some(link) = self.peers.link_mut(host)
            && let Some(no) = link.close(&task)
        {
            // A link that does not take it ends by itself.
            drop(link.sender.try_send(&Message::Close { no }));
        }
    }

    fn received(&mut self, link: LinkNo, task: TaskId, piece: PieceIndex) {
        if self.is_void(task, piece) {
            return;
        }
        if let Some(job) = self.jobs.get(&task) {
            job.task.verified(piece, From::Peer);
            self.parts
                .metrics
                .body(From::Peer, job.task.spec.layout.length_of(piece));
        }
        let from = self.peers.of(link).map_or(Supplier::Origin, Supplier::Host);
        self.drive(task, Swarm::Verified { piece, from });
        self.yield_to_newer(task);
    }

    /// A caretaker stops as soon as what it gets shows that somebody was named importer after it.
    fn yield_to_newer(&mut self, task: TaskId) {
        let overtaken = self.jobs.get(&task).is_some_and(|job| {
            job.download.is_caretaker() && job.task.table.read().newest_epoch() > job.epoch
        });
        if let Some(job) = self.jobs.get(&task).filter(|_| overtaken) {
            let epoch = job.epoch;
            self.drive(task, Swarm::LeaseEnded { epoch });
        }
    }

    /// Whether what was stored a moment ago was voided meanwhile.
    fn is_void(&self, task: TaskId, piece: PieceIndex) -> bool {
        let job = self.jobs.get(&task);
        job.is_some_and(|job| job.task.content.digest_of(piece).is_none())
    }

    fn imported(&mut self, task: TaskId, piece: PieceIndex, leased: bool) {
        if self.is_void(task, piece) {
            return;
        }
        if let Some(job) = self.jobs.get(&task) {
            let bytes = job.task.spec.layout.length_of(piece);
            job.task.verified(piece, From::Origin);
            self.parts.metrics.body(From::Origin, bytes);
            if !leased || job.download.is_caretaker() {
                self.parts.metrics.unleased(bytes);
            }
        }
        self.drive(
            task,
            Swarm::Verified {
                piece,
                from: Supplier::Origin,
            },
        );
    }

    fn import_failed(
        &mut self,
        task: TaskId,
        (run, epoch): (PieceRun, Option<Epoch>),
        cause: &Arc<ImportError>,
    ) {
        tracing::info!(task = ?task, %run, ?epoch, error = cause as &dyn std::error::Error, "an import ended early");
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        if let Some(expected) = job.task.spec.digest.filter(|_| cause.disagrees()) {
            return self.origin_disagrees(task, expected);
        }
        if let Some(cause) = cause.of_store() {
            // Nobody else has anything to do with it: the lease, if there is one, is given back.
            return self.fail(task, TaskError::Store(cause));
        }
        if !cause.is_silent(job.task.has_origin_failed()) {
            job.task.origin_failed(cause.told());
        }
        job.may_import &= !cause.is_own_policy();
        let pause = cause.retry_after();
        let retry_at = pause.map(|pause| self.parts.clock.now() + pause);
        if retry_at.is_none()
            && let Some(epoch) = epoch
        {
            self.scheduling.lease_failed(task, epoch, cause);
        }
        self.drive(task, Swarm::ImportFailed { run, retry_at });
    }
}
