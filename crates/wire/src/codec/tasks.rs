//! The remote's task numbers, and what each allows it to say.

use std::collections::{BTreeMap, BTreeSet};

use types::{Layout, PieceRun, TaskId};

use super::{Runs, TaskNo, Violation};

/// A task that the remote has opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenTask {
    pub(super) task: TaskId,
    pub(super) layout: Layout,
}

/// Tasks that the remote has opened and not closed: at most `open_max`.
#[derive(Debug)]
pub(super) struct Tasks {
    open_max: usize,
    open: BTreeMap<TaskNo, OpenTask>,
    tasks: BTreeSet<TaskId>,
}

impl Tasks {
    pub(super) fn new(open_max: usize) -> Self {
        Self {
            open_max,
            open: BTreeMap::new(),
            tasks: BTreeSet::new(),
        }
    }

    pub(super) fn open(&mut self, no: TaskNo, task: OpenTask) -> Result<(), Violation> {
        if self.open.contains_key(&no) {
            return Err(Violation::NumberTaken(no));
        }
        if self.open.len() >= self.open_max {
            return Err(Violation::TooManyTasks(self.open_max));
        }
        if !self.tasks.insert(task.task) {
            return Err(Violation::TaskTaken(task.task));
        }
        self.open.insert(no, task);
        Ok(())
    }

    pub(super) fn close(&mut self, no: TaskNo) -> Result<TaskId, Violation> {
        let closed = self.open.remove(&no).ok_or(Violation::NotOpen(no))?;
        self.tasks.remove(&closed.task);
        Ok(closed.task)
    }

    pub(super) fn get(&self, no: TaskNo) -> Result<OpenTask, Violation> {
        self.open.get(&no).copied().ok_or(Violation::NotOpen(no))
    }

    /// The task of `no`, if every run lies within it and together they name no more pieces than it has.
    pub(super) fn admit(&self, no: TaskNo, runs: &Runs) -> Result<TaskId, Violation> {
        let OpenTask { task, layout } = self.get(no)?;
        let piece_count = layout.piece_count();
        within(no, runs.end(), piece_count)?;
        let named = runs.piece_count();
        if named > u64::from(piece_count) {
            return Err(Violation::PiecesNamedTwice {
                no,
                named,
                piece_count,
            });
        }
        Ok(task)
    }

    /// The task of `no`, if `run` lies within it.
    pub(super) fn admit_run(&self, no: TaskNo, run: PieceRun) -> Result<OpenTask, Violation> {
        let open = self.get(no)?;
        within(no, run.end(), open.layout.piece_count())?;
        Ok(open)
    }
}

fn within(no: TaskNo, end: u64, piece_count: u32) -> Result<(), Violation> {
    if end <= u64::from(piece_count) {
        Ok(())
    } else {
        Err(Violation::BeyondLayout {
            no,
            end,
            piece_count,
        })
    }
}
