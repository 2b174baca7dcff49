//! What waits to be sent on one link, and in which order it leaves: the answer to a ping, control, then data in turns.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use types::PieceRun;

use super::upload::{Transfer, UploadEnd, UploadError};
use crate::codec::{GoodbyeReason, Message, TaskNo, encode};

/// Small control frames are joined up to this many bytes per write.
const BATCH: usize = 16 << 10;

/// What the writer does next.
pub(super) enum Job {
    Control(Bytes),
    Data(Transfer),
    Farewell(Bytes, GoodbyeReason),
}

#[derive(Default)]
struct State {
    control: VecDeque<Bytes>,
    /// The newest unanswered ping: an older one needs no answer any more.
    pong: Option<u64>,
    transfers: VecDeque<Transfer>,
    /// The transfer whose frame the writer holds, and whether it was cancelled meanwhile.
    running: Option<(TaskNo, PieceRun, bool)>,
    open: BTreeSet<TaskNo>,
    farewell: Option<GoodbyeReason>,
    is_closed: bool,
}

pub(super) struct Outbox {
    state: Mutex<State>,
    /// Rings when there may be a new job. Only the writer listens.
    pub(super) wake: Notify,
    /// Bytes of control that may still be queued.
    pub(super) room: Semaphore,
}

impl Outbox {
    pub(super) fn new(control_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            room: Semaphore::new(control_bytes),
        }
    }

    /// Queues the frame of `message`, whose bytes the caller has taken from `room`. False if the link has ended.
    pub(super) fn push(&self, message: &Message, frame: Bytes) -> bool {
        let mut state = self.state.lock();
        if state.is_closed || state.farewell.is_some() {
            return false;
        }
        match message {
            Message::Open { no, .. } => {
                state.open.insert(*no);
            }
            Message::Close { no } => {
                state.open.remove(no);
                state.cancel(
                    |transfer| transfer.upload.no == *no,
                    |running, _| running == *no,
                );
            }
            _ => {}
        }
        state.control.push_back(frame);
        drop(state);
        self.wake.notify_one();
        true
    }

    pub(super) fn pong(&self, number: u64) {
        self.state.lock().pong = Some(number);
        self.wake.notify_one();
    }

    pub(super) fn upload(&self, transfer: Transfer) -> Result<(), UploadError> {
        let mut state = self.state.lock();
        let (no, piece) = (transfer.upload.no, transfer.upload.piece);
        if state.is_closed || state.farewell.is_some() {
            return Err(UploadError::Closed);
        }
        if !state.open.contains(&no) {
            return Err(UploadError::NotOpen(no));
        }
        let run = PieceRun::one(piece);
        let is_running = state
            .running
            .is_some_and(|(running, of, _)| (running, of) == (no, run));
        if is_running || state.transfers.iter().any(|other| other.is(no, run)) {
            return Err(UploadError::Running(piece));
        }
        state.transfers.push_back(transfer);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    pub(super) fn cancel(&self, no: TaskNo, run: PieceRun) {
        self.state.lock().cancel(
            |transfer| transfer.is(no, run),
            |running, piece| running == no && run.contains(piece.first),
        );
    }

    /// The next job. A transfer that is handed out comes back through [`Outbox::put_back`] or is ended.
    pub(super) fn next(&self) -> Option<Job> {
        if let Some(control) = self.next_control() {
            return Some(Job::Control(control));
        }
        let mut state = self.state.lock();
        if let Some(reason) = state.farewell {
            return Some(Job::Farewell(encode(&Message::Goodbye(reason)), reason));
        }
        let transfer = state.transfers.pop_front()?;
        let run = PieceRun::one(transfer.upload.piece);
        state.running = Some((transfer.upload.no, run, false));
        Some(Job::Data(transfer))
    }

    /// Control frames that may leave between two data frames.
    pub(super) fn next_control(&self) -> Option<Bytes> {
        let mut state = self.state.lock();
        if let Some(number) = state.pong.take() {
            return Some(encode(&Message::Pong(number)));
        }
        let first = state.control.pop_front()?;
        let mut batch = BytesMut::new();
        while let Some(more) = state
            .control
            .pop_front_if(|more| first.len() + batch.len() + more.len() <= BATCH)
        {
            if batch.is_empty() {
                batch.extend_from_slice(&first);
            }
            batch.extend_from_slice(&more);
        }
        drop(state);
        let bytes = if batch.is_empty() {
            first
        } else {
            batch.freeze()
        };
        self.room.add_permits(bytes.len());
        Some(bytes)
    }

    pub(super) fn is_running_cancelled(&self) -> bool {
        self.state
            .lock()
            .running
            .is_some_and(|(.., is_cancelled)| is_cancelled)
    }

    /// Ends the turn of a transfer: it goes to the back of the queue, or ends.
    pub(super) fn put_back(&self, transfer: Transfer, end: Option<UploadEnd>) {
        let mut state = self.state.lock();
        let is_cancelled = state
            .running
            .take()
            .is_some_and(|(.., is_cancelled)| is_cancelled);
        match end {
            Some(end) => transfer.end(end),
            None if is_cancelled => transfer.end(UploadEnd::Cancelled),
            None => state.transfers.push_back(transfer),
        }
    }

    /// Takes no more; what is queued as control leaves, then a goodbye. The first reason stays.
    pub(super) fn say_goodbye(&self, reason: GoodbyeReason) {
        let mut state = self.state.lock();
        state.farewell.get_or_insert(reason);
        state.cancel(|_| true, |_, _| true);
        drop(state);
        self.room.close();
        self.wake.notify_one();
    }

    /// Takes no more and drops everything.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.control.clear();
        state.transfers.clear();
        drop(state);
        self.room.close();
    }
}

impl State {
    fn cancel(
        &mut self,
        is_queued: impl Fn(&Transfer) -> bool,
        is_running: impl Fn(TaskNo, PieceRun) -> bool,
    ) {
        for transfer in std::mem::take(&mut self.transfers) {
            if is_queued(&transfer) {
                transfer.end(UploadEnd::Cancelled);
            } else {
                self.transfers.push_back(transfer);
            }
        }
        if let Some((no, piece, is_cancelled)) = &mut self.running {
            *is_cancelled |= is_running(*no, *piece);
        }
    }
}
