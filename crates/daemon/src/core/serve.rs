//! Uploads: from a child's request to frames on its link.

use std::{collections::BTreeMap, io, sync::Arc};

use bytes::BytesMut;
use store::ReadError;
use swarm::{
    Class, HostNo,
    download::Event as Swarm,
    upload::{Standing, Transfer, in_turns},
};
use types::{ByteRange, PieceIndex, PieceRun, TaskId};
use wire::{
    Message, SlotHint, TaskNo,
    link::{PieceSource, ReadFuture, Upload, UploadEnd},
};

use super::{Core, LinkNo, runs_of};
use crate::task::Task;

/// Which transfer each piece under way belongs to.
#[derive(Default)]
pub(super) struct Serving {
    pieces: BTreeMap<(HostNo, TaskNo, PieceIndex), Transfer>,
}

impl Serving {
    /// The children that pieces are on their way to.
    pub(super) fn hosts(&self) -> impl Iterator<Item = HostNo> + '_ {
        self.pieces.keys().map(|(host, ..)| *host)
    }

    pub(super) fn forget(&mut self, host: HostNo) {
        self.pieces.retain(|(of, ..), _| *of != host);
    }
}

/// The file of a task, as the link reads it frame by frame.
struct TaskSource(Arc<Task>);

impl PieceSource for TaskSource {
    fn read<'a>(&'a self, range: ByteRange, into: &'a mut BytesMut) -> ReadFuture<'a> {
        Box::pin(async move {
            let length = usize::try_from(range.length().0).map_err(io::Error::other)?;
            let start = into.len();
            into.resize(start + length, 0);
            tokio::task::block_in_place(|| {
                self.0.content.read_at(range.start(), &mut into[start..])
            })
            .map_err(io::Error::other)
        })
    }
}

impl Core {
    /// What children should know of our slots.
    pub(super) fn hint(&self) -> SlotHint {
        let hint = self.uploads.hint();
        SlotHint {
            free: hint.free,
            opening: hint.opening,
        }
    }

    /// A remote told of its slots: all tasks that it takes part in may use them.
    pub(super) fn slots_changed(&mut self, host: HostNo, slots: swarm::SlotHint) {
        let joined = self.peers.get(host).map(|peer| peer.joined.clone());
        joined
            .into_iter()
            .flatten()
            .for_each(|task| self.drive(task, Swarm::Slots { host, slots }));
    }

    /// A remote is the importer of a task, or is not.
    pub(super) fn has_role(&mut self, host: HostNo, task: TaskId, is_importer: bool) {
        self.drive(task, Swarm::Importer { host, is_importer });
    }

    /// A child sent a `Want`.
    pub(super) fn wants(&mut self, child: HostNo, task: TaskId, want: &Message) {
        if let Message::Want {
            runs,
            urgent,
            background,
            ..
        } = want
        {
            let class = match background {
                true => Class::Background,
                false => Class::Foreground,
            };
            for run in runs.as_slice() {
                self.wanted(child, task, (*run, *urgent, class));
            }
        }
    }

    /// A child asks for pieces.
    pub(super) fn wanted(
        &mut self,
        child: HostNo,
        task: TaskId,
        (run, urgent, class): (PieceRun, bool, Class),
    ) {
        self.used_job(task);
        let Some(job) = self.jobs.get(&task) else {
            return;
        };
        let is_vouched = |piece| job.task.table.read().segment_of(piece).is_some();
        if !job.download.have().contains_run(run) || !run.pieces().all(is_vouched) {
            self.peers.say(child, &task, |no| Message::Missing {
                no,
                runs: runs_of(run),
            });
            return self.drive(task, Swarm::Demanded { run, by: child });
        }
        let standing = match (urgent, job.download.is_invited(child, run)) {
            (true, _) => Standing::Urgent,
            (_, true) => Standing::Invited,
            _ => Standing::Usual,
        };
        let transfer = Transfer {
            to: child,
            task,
            run,
        };
        match self.uploads.request(transfer, class, standing) {
            Ok(displaced) => {
                displaced
                    .into_iter()
                    .for_each(|transfer| self.refuse(&transfer));
                self.serve();
            }
            Err(_) => self.refuse(&transfer),
        }
    }

    pub(super) fn refuse(&mut self, transfer: &Transfer) {
        tracing::debug!(task = ?transfer.task, child = ?transfer.to, run = %transfer.run, "a child's request is refused");
        let runs = runs_of(transfer.run);
        self.peers
            .say(transfer.to, &transfer.task, |no| Message::Busy {
                no,
                runs,
                alternatives: Vec::new(),
            });
    }

    /// A child does not need pieces any more.
    pub(super) fn unwanted(&mut self, child: HostNo, task: TaskId, run: PieceRun) {
        let stopped = self.uploads.cancel(child, task, run);
        self.stop_uploads(child, &stopped);
    }

    /// Stops running transfers: each piece's end comes as an event, which frees the slot.
    pub(super) fn stop_uploads(&mut self, child: HostNo, transfers: &[Transfer]) {
        for transfer in transfers {
            if let Some(link) = self.peers.link_mut(child)
                && let Some(no) = link.no(&transfer.task)
            {
                link.sender.cancel(no, transfer.run);
            }
        }
    }

    /// Starts what the slots allow, and tells a few children if there is room left.
    pub(super) fn serve(&mut self) {
        loop {
            let now = self.parts.clock.now();
            let jobs = &self.jobs;
            let length = |transfer: &Transfer| {
                let layout = jobs.get(&transfer.task).map(|job| job.task.spec.layout);
                layout.map_or(types::ByteCount::ZERO, |layout| {
                    layout.range_of_run(transfer.run).length()
                })
            };
            let Some(transfer) = self.uploads.next(now, length) else {
                break;
            };
            if !self.send(&transfer, transfer.run.first) {
                self.uploads.ended(&transfer);
                self.refuse(&transfer);
            }
        }
        self.tell_of_room();
    }

    /// Sends one piece of a transfer, its digest's segment first. False if the link does not take it.
    fn send(&mut self, transfer: &Transfer, piece: PieceIndex) -> bool {
        let Some(job) = self.jobs.get(&transfer.task) else {
            return false;
        };
        let layout = job.task.spec.layout;
        let segment = job.task.table.read().segment_of(piece).cloned();
        let source = Arc::new(TaskSource(Arc::clone(&job.task)));
        let Some(segment) = segment else {
            return false;
        };
        self.peers
            .show_signer(transfer.to, segment.signer, &self.parts.links);
        let Some(link) = self.peers.link_mut(transfer.to) else {
            return false;
        };
        let Some(no) = link.no(&transfer.task) else {
            return false;
        };
        // Each time: who asks again may have had no room for it, or have been told since to believe it no more.
        let segment = (*segment).clone();
        let vouches = Message::Segment { no, segment };
        if link.sender.try_send(&vouches).is_err() {
            return false;
        }
        let upload = Upload {
            no,
            piece,
            range: layout.range_of(piece),
            source,
        };
        if link.sender.send_piece(upload).is_err() {
            return false;
        }
        self.serving
            .pieces
            .insert((transfer.to, no, piece), *transfer);
        if u64::from(piece.0) + 1 == transfer.run.end() {
            // Its child may ask for the next before this one ends, and finds a place for that in line.
            let is_interested = (self.jobs.get(&transfer.task))
                .is_some_and(|job| job.download.is_interesting_to(transfer.to));
            self.uploads.ending(transfer, is_interested);
        }
        true
    }

    /// A piece has left, or did not: the next of its run follows, or its slot is free.
    pub(super) fn uploaded(
        &mut self,
        link: LinkNo,
        (no, piece): (TaskNo, PieceIndex),
        end: &UploadEnd,
    ) {
        let Some(host) = self.peers.of(link) else {
            return;
        };
        let Some(transfer) = self.serving.pieces.remove(&(host, no, piece)) else {
            return;
        };
        let task = transfer.task;
        self.used_job(task);
        let next = PieceIndex(piece.0 + 1);
        let goes_on = matches!(end, UploadEnd::Sent)
            && transfer.run.contains(next)
            && self.send(&transfer, next);
        if let UploadEnd::Failed(cause) = end {
            tracing::warn!(task = ?task, %piece, error = cause as &dyn std::error::Error, "a held piece could not be read");
            self.peers.say(host, &task, |no| Message::Missing {
                no,
                runs: runs_of(PieceRun::one(piece)),
            });
            if let Some(ReadError::Missing(lost)) =
                cause.get_ref().and_then(|cause| cause.downcast_ref())
            {
                self.decayed(task, *lost);
            }
        }
        if !goes_on {
            self.uploads.ended(&transfer);
        }
        self.serve();
    }

    fn tell_of_room(&mut self) {
        let now = self.parts.clock.now();
        let jobs = &mut self.jobs;
        let hungriest = || {
            let of_each = jobs.values_mut().map(|job| job.download.hungriest());
            in_turns(&of_each.collect::<Vec<_>>())
        };
        let told = self.uploads.whom_to_tell(now, hungriest);
        let slots = self.hint();
        for host in told {
            if let Some(link) = self.peers.link_mut(host) {
                // A link that is full learns of slots with the next announcement.
                drop(link.sender.try_send(&Message::Slots(slots)));
            }
        }
    }
}
