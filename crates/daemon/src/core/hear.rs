//! Everything that happens, each to whom it concerns; pieces and imports come in.

use std::sync::Arc;

use swarm::{
    HostNo,
    download::{Event as Swarm, Supplier},
};
use types::{Epoch, HostId, PieceIndex, PieceRun, TaskId};

use super::{Core, Event, LinkNo};
use crate::{
    account::Giver, import::ImportError, link::Unused, metrics::PieceFailure, task::TaskError,
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
            } => self.dropped(link, task, (piece, why)),
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
            Event::Seeds => self.seeds_changed(),
            Event::Scheduler(event) => self.scheduler_said(event),
        }
    }

    /// What was to bring `task` on panicked, and may have held what nobody else will finish.
    fn broke(&mut self, task: TaskId) {
        self.recruited.remove(&task);
        self.fail(task, TaskError::Broke);
    }

    /// A piece came and was of no use.
    fn dropped(&mut self, link: LinkNo, task: TaskId, (piece, why): (PieceIndex, Unused)) {
        let run = PieceRun::one(piece);
        let live = self.tasks.get(&task);
        let counts = |signer: &HostId| live.as_ref().is_some_and(|task| task.may_sign(signer));
        let is_vouched = live.as_ref().is_some_and(|task| task.is_vouched(piece));
        if let Unused::Unvouched(Some(signer)) = &why
            && !is_vouched
            && !counts(signer)
            && let (Some(host), Some(job)) = (self.peers.of(link), self.jobs.get_mut(&task))
        {
            let piece_count = job.task.spec.layout.piece_count();
            job.unbelieved.note((host, *signer), (piece, piece_count));
        }
        self.of_piece(link, task, |host| match why {
            // Its signer was named while it came.
            Unused::Unvouched(_) if is_vouched => Swarm::Busy { host, run },
            Unused::Unvouched(Some(signer)) if counts(&signer) => Swarm::Busy { host, run },
            Unused::Unvouched(_) => Swarm::Lacks { host, run },
            // The parent did well; whether the piece is here will be known later.
            Unused::Busy => Swarm::Busy { host, run },
            Unused::Held => Swarm::Verified {
                piece,
                from: Supplier::Host(host),
            },
        });
    }

    fn of_piece(&mut self, link: LinkNo, task: TaskId, event: impl FnOnce(HostNo) -> Swarm) {
        if let Some(host) = self.peers.of(link) {
            self.used(host);
            self.drive(task, event(host));
        }
    }

    fn received(&mut self, link: LinkNo, task: TaskId, piece: PieceIndex) {
        if self.is_void(task, piece) {
            return;
        }
        let host = self.peers.of(link);
        let id = host
            .and_then(|host| self.peers.get(host))
            .map(|peer| peer.id);
        self.came(task, piece, Giver::Host(id));
        let from = host.map_or(Supplier::Origin, Supplier::Host);
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
        let from = self.supplier_of(task, piece);
        // What was ordered without a lease was counted as it came; who has nobody to get one from reads for itself alone.
        if let Some(job) = self.jobs.get(&task)
            && leased
            && (job.download.is_caretaker() || job.is_chosen)
        {
            let bytes = job.task.spec.layout.length_of(piece);
            self.parts.metrics.unleased(bytes);
        }
        let reason = self.reason(task, leased);
        self.came(task, piece, Giver::Origin(reason));
        self.drive(task, Swarm::Verified { piece, from });
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
