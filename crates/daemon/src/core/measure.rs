//! What comes in is counted, and with the last piece of a task how near that came to its bound.

use types::{ByteCount, PieceIndex, TaskId};

use super::{Core, job::Job, lanes::Lanes};
use crate::{account::Giver, speeds::Course, task::From};

impl Core {
    /// Somebody wants all of `task`: from the first time on, it is measured.
    pub(super) fn whole_wanted(&mut self, task: TaskId) {
        let now = self.parts.clock.now();
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        job.is_whole_wanted = true;
        let (have, layout) = (job.task.content.have(), &job.task.spec.layout);
        if job.course.is_some() || have.is_full() {
            return;
        }
        let held: u64 = have.iter().map(|piece| layout.length_of(piece).0).sum();
        let (_, peer, origin) = job.task.bytes();
        job.course = Some(Course {
            began: now,
            missing: ByteCount(layout.length().0.saturating_sub(held)),
            had: (peer, origin),
        });
    }

    /// All that came of `task` is void: it is measured anew.
    pub(super) fn measure_again(&mut self, task: TaskId) {
        let wanted = |job: &mut Job| {
            job.course = None;
            job.is_whole_wanted
        };
        if self.jobs.get_mut(&task).is_some_and(wanted) {
            self.whole_wanted(task);
        }
    }

    /// A verified piece of `task` is in the file: it is counted, and who waits is told.
    pub(super) fn came(&mut self, task: TaskId, piece: PieceIndex, giver: Giver) {
        let now = self.parts.clock.now();
        let from = match giver {
            Giver::Host(_) => From::Peer,
            Giver::Origin(_) => From::Origin,
        };
        let about = self.about(task, giver);
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        let bytes = job.task.spec.layout.length_of(piece);
        self.speeds.came(now, (bytes, from));
        self.parts.metrics.body(from, bytes);
        job.task.counted(piece, from);
        job.account.came(now, (giver, about), bytes);
        if from == From::Peer && job.imports.values().any(Lanes::is_leaving) {
            let have = job.task.content.have();
            (job.imports.values_mut()).for_each(|lanes| lanes.settle(&have));
        }
        if job.course.is_some()
            && job.task.content.has_all()
            && let Some(course) = job.course.take()
        {
            let (_, peer, origin) = job.task.bytes();
            let limit = self.parts.limits.download_rate;
            let whole = (now, (peer, origin));
            if let Some(told) = self.speeds.efficiency(&course, whole, limit) {
                self.parts.metrics.efficiency(told);
                job.task.measured(told);
            }
        }
        job.task.verified();
    }
}
