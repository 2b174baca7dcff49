//! The receiving side of a link, which owns its reader and writer.

use std::sync::{Arc, OnceLock};

use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use types::{PieceIndex, TaskId};

use super::{LinkEnd, UploadEnd, counters::Counters, intake::Hold, outbox::Outbox, room::Taken};
use crate::codec::{Data, GoodbyeReason, Message, TaskNo};

/// What happens on a link.
#[derive(Debug)]
pub enum Event {
    /// The remote said something, and what its task number stands for. Never a hello, ping, pong or goodbye.
    Message {
        /// The task it speaks of, if it speaks of one.
        task: Option<TaskId>,
        /// What it said.
        message: Message,
    },
    /// The remote sent a part of a piece, within the piece's bounds. Order and wants are the caller's to check
    /// ([`crate::Assembly`]).
    Data {
        /// The task.
        task: TaskId,
        /// The part.
        data: Data,
        /// Its room, which is free again when this is dropped: after the part was used.
        room: Taken,
    },
    /// An upload of ours has ended, and its slot is free.
    Upload {
        /// Our number of the task.
        no: TaskNo,
        /// The piece.
        piece: PieceIndex,
        /// How it ended.
        end: UploadEnd,
    },
}

/// What the parts of one link share.
pub(super) struct Shared {
    pub(super) outbox: Outbox,
    pub(super) counters: Counters,
    pub(super) hold: Hold,
    end: OnceLock<LinkEnd>,
    /// Reader and writer end at once.
    pub(super) stop: CancellationToken,
    /// The writer ends soon.
    pub(super) leaving: CancellationToken,
}

impl Shared {
    pub(super) fn new(control_bytes: usize) -> Self {
        Self {
            outbox: Outbox::new(control_bytes),
            counters: Counters::default(),
            hold: Hold::default(),
            end: OnceLock::new(),
            stop: CancellationToken::new(),
            leaving: CancellationToken::new(),
        }
    }

    pub(super) fn say_goodbye(&self, reason: GoodbyeReason) {
        self.outbox.say_goodbye(reason);
        self.leaving.cancel();
    }

    /// Ends the link; the first cause stays. A remote that broke the protocol is told so.
    pub(super) fn end(&self, end: LinkEnd) {
        let end = self.end.get_or_init(|| end);
        if matches!(end, LinkEnd::Violation(_)) && !self.leaving.is_cancelled() {
            self.say_goodbye(GoodbyeReason::Violation);
        } else {
            self.outbox.close();
            self.stop.cancel();
        }
    }
}

/// Takes what happens on a link. Dropped, it ends the link at once.
pub struct LinkReceiver {
    shared: Arc<Shared>,
    events: mpsc::Receiver<Event>,
    outcomes: mpsc::Receiver<Event>,
    tasks: JoinSet<()>,
}

impl LinkReceiver {
    pub(super) fn new(
        shared: Arc<Shared>,
        events: mpsc::Receiver<Event>,
        outcomes: mpsc::Receiver<Event>,
        tasks: JoinSet<()>,
    ) -> Self {
        Self {
            shared,
            events,
            outcomes,
            tasks,
        }
    }

    /// The next event; what the remote said comes in its order. An error is the end of the link and stays, and uploads
    /// not reported by then have ended with it. Dropped early, no event is lost.
    pub async fn next(&mut self) -> Result<Event, LinkEnd> {
        tokio::select! {
            biased;
            Some(outcome) = self.outcomes.recv() => return Ok(outcome),
            event = self.events.recv() => if let Some(event) = event { return Ok(event) },
        }
        // The reader is gone; the writer may have a last frame to send, within its time limit.
        while self.tasks.join_next().await.is_some() {}
        if let Ok(outcome) = self.outcomes.try_recv() {
            return Ok(outcome);
        }
        Err(self.shared.end.get().cloned().unwrap_or(LinkEnd::Dropped))
    }
}

impl Drop for LinkReceiver {
    fn drop(&mut self) {
        self.shared.end(LinkEnd::Dropped);
    }
}
