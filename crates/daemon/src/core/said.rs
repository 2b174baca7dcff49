//! What remotes say, and taking part in a task with them.

use swarm::{HostNo, SlotHint, download::Event as Swarm};
use types::{Layout, PieceIndex, PieceSet, TaskId};
use wire::{Inventory, Message, codec::DeclineReason};

use super::{Core, LinkNo};
use crate::metrics::PieceFailure;

/// Slots of a host that has not told of any.
pub(super) const UNTOLD: SlotHint = SlotHint {
    free: 1,
    opening: 0,
};

impl Core {
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

    pub(super) fn said(&mut self, link: LinkNo, task: Option<TaskId>, message: Message) {
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
                let pieces = runs.as_slice().iter().flat_map(|run| run.pieces());
                self.shown(task, pieces);
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
                self.shown(task, pieces.clone());
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
        // First: what counts no more may be gone by that.
        self.judge_for_others(task);
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
        let (have, slots) = (have.into_set(&layout), UNTOLD);
        self.shown(task, have.iter());
        self.drive(task, Swarm::Joined { host, have, slots });
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
}
