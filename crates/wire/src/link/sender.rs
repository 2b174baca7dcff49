//! The sending side of a link, for any number of callers.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use types::PieceRun;

use super::{Counted, Event, Upload, UploadError, receiver::Shared, upload::Transfer};
use crate::codec::{GoodbyeReason, Message, TaskNo, encode};

/// Sends on a link. Cheap to clone; it does not keep the link alive.
#[derive(Clone)]
pub struct LinkSender {
    shared: Arc<Shared>,
    outcomes: mpsc::Sender<Event>,
}

/// Why a message was not queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The link has ended; its receiver tells why.
    #[error("the link has ended")]
    Closed,
    /// The remote is not reading fast enough; only from `try_send`.
    #[error("the control queue of the link is full")]
    Full,
    /// Hello, ping, pong and goodbye are the link's own.
    #[error("this message is the link's own to send")]
    Reserved,
}

impl LinkSender {
    pub(super) fn new(shared: Arc<Shared>, outcomes: mpsc::Sender<Event>) -> Self {
        Self { shared, outcomes }
    }

    /// Queues `message`, waiting while the queue is full. It leaves before any data frame that has not started, after
    /// every message queued before it. Dropped early, the message is not queued.
    ///
    /// Must not be awaited by the task that takes the link's events: two hosts could wait for each other.
    pub async fn send(&self, message: Message) -> Result<(), SendError> {
        let frame = own(&message)?;
        let room = self.shared.outbox.room.acquire_many(worth(&frame)).await;
        room.map_err(|_| SendError::Closed)?.forget();
        self.push(&message, frame)
    }

    /// Queues `message` if there is room for it now.
    pub fn try_send(&self, message: &Message) -> Result<(), SendError> {
        use tokio::sync::TryAcquireError::{Closed, NoPermits};
        let frame = own(message)?;
        let room = self.shared.outbox.room.try_acquire_many(worth(&frame));
        let room = room.map_err(|error| match error {
            Closed => SendError::Closed,
            NoPermits => SendError::Full,
        })?;
        room.forget();
        self.push(message, frame)
    }

    /// Begins to send a piece of a task that we have opened on this link. Running pieces take turns, frame by frame.
    /// Its end comes as [`Event::Upload`], unless the link ends first.
    pub fn send_piece(&self, upload: Upload) -> Result<(), UploadError> {
        use mpsc::error::TrySendError::{Closed, Full};
        let outcome = self
            .outcomes
            .clone()
            .try_reserve_owned()
            .map_err(|error| match error {
                Closed(_) => UploadError::Closed,
                Full(_) => UploadError::Full,
            })?;
        self.shared.outbox.upload(Transfer {
            upload,
            sent: 0,
            outcome,
        })
    }

    /// Stops sending the pieces of `run`: at once what waits, at the next frame's end what is under way. Each is
    /// reported as cancelled; one whose last frame is leaving as sent.
    pub fn cancel(&self, no: TaskNo, run: PieceRun) {
        self.shared.outbox.cancel(no, run);
    }

    /// Ends the link: what is queued as control leaves, then the goodbye; uploads are cancelled.
    pub fn goodbye(&self, reason: GoodbyeReason) {
        self.shared.say_goodbye(reason);
    }

    /// What has passed so far.
    pub fn counted(&self) -> Counted {
        self.shared.counters.read()
    }

    /// Whether this host's own limit on what it reads keeps, or kept until a moment ago, content of this link waiting.
    pub fn is_held(&self) -> bool {
        self.shared.hold.is_held()
    }

    fn push(&self, message: &Message, frame: Bytes) -> Result<(), SendError> {
        if self.shared.outbox.push(message, frame) {
            Ok(())
        } else {
            Err(SendError::Closed)
        }
    }
}

fn worth(frame: &Bytes) -> u32 {
    u32::try_from(frame.len()).expect("a frame is below 4 GiB")
}

fn own(message: &Message) -> Result<Bytes, SendError> {
    match message {
        Message::Hello(_) | Message::Ping(_) | Message::Pong(_) | Message::Goodbye(_) => {
            Err(SendError::Reserved)
        }
        other => Ok(encode(other)),
    }
}
