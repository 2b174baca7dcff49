//! What can happen to the core.

use std::sync::Arc;

use store::WriteError;
use swarm::download::ReaderNo;
use tokio::sync::mpsc;
use types::{Digest, HostId, PieceIndex, TaskId};
use wire::{LinkEnd, Message, TaskNo, link::UploadEnd, settle::Direction};

use crate::{access::AccessError, import::ImportError, link::Unused, task::TaskSpec};

/// A link of this host, numbered in the order of their beginnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkNo(pub(crate) u64);

/// The way events come to the core: bounded, so that a busy core slows those who bring them.
#[derive(Clone)]
pub(crate) struct Events(mpsc::Sender<Event>);

impl Events {
    pub(crate) fn new(sender: mpsc::Sender<Event>) -> Self {
        Self(sender)
    }

    /// Waits for a place in the queue. An event for a core that has stopped is dropped.
    pub(crate) async fn tell(&self, event: Event) {
        drop(self.0.send(event).await);
    }

    /// Tells it if there is a place in the queue now; false if there is none.
    pub(crate) fn try_tell(&self, event: Event) -> bool {
        self.0.try_send(event).is_ok()
    }
}

impl Event {
    /// Whether it may change who is linked, or whether a scheduler is there.
    pub(crate) fn is_of_links(&self) -> bool {
        match self {
            Self::LinkUp { .. } | Self::LinkDown { .. } | Self::Revoked => true,
            Self::Scheduler(event) => !matches!(event, control::Event::Message(_)),
            _ => false,
        }
    }
}

/// Something happened.
pub(crate) enum Event {
    /// A link is up: hello was exchanged.
    LinkUp {
        host: HostId,
        /// Whether its certificate says that it is a seed.
        is_seed: bool,
        direction: Direction,
        link: Box<wire::Link>,
    },
    /// A dial came to nothing.
    DialFailed { host: HostId },
    /// A link ended.
    LinkDown { link: LinkNo, end: LinkEnd },
    /// A remote said something.
    Said {
        link: LinkNo,
        task: Option<TaskId>,
        message: Message,
    },
    /// One of our uploads ended.
    Uploaded {
        link: LinkNo,
        no: TaskNo,
        piece: PieceIndex,
        end: UploadEnd,
    },
    /// Bytes of a piece came.
    Progress {
        link: LinkNo,
        task: TaskId,
        piece: PieceIndex,
    },
    /// A piece is on its way, and the last of its request will end soon.
    Ending {
        link: LinkNo,
        task: TaskId,
        piece: PieceIndex,
    },
    /// A piece came, was verified and stored.
    Received {
        link: LinkNo,
        task: TaskId,
        piece: PieceIndex,
    },
    /// A piece came as it was asked for, and was not used.
    Dropped {
        link: LinkNo,
        task: TaskId,
        piece: PieceIndex,
        why: Unused,
    },
    /// A piece came and is wrong.
    Corrupt {
        link: LinkNo,
        task: TaskId,
        piece: PieceIndex,
    },
    /// The store did not take a piece.
    StoreFailed { task: TaskId, cause: WriteError },
    /// A piece came from the origin.
    Imported {
        task: TaskId,
        piece: PieceIndex,
        leased: bool,
    },
    /// A piece that was to come from the origin was here already.
    ImportHeld { task: TaskId, piece: PieceIndex },
    /// An import ended early.
    ImportFailed {
        task: TaskId,
        run: types::PieceRun,
        epoch: Option<types::Epoch>,
        cause: Arc<ImportError>,
    },
    /// A link took a seed's seal.
    Sealed { task: TaskId },
    /// A link got a seal that its bearer must have known to be wrong.
    FalseSeal { link: LinkNo, task: TaskId },
    /// A stored piece no longer matches its digest, and is not held any more.
    Decayed { task: TaskId, piece: PieceIndex },
    /// The whole was hashed.
    Proven {
        task: TaskId,
        result: Result<Digest, store::ReadError>,
    },
    /// An import, a proof or a look-up of it panicked.
    Broke { task: TaskId },
    /// A reader is gone.
    ReaderGone { task: TaskId, reader: ReaderNo },
    /// A source that the scheduler named was looked up.
    Recruited {
        task: TaskId,
        result: Result<TaskSpec, AccessError>,
    },
    /// Somebody heard that hosts were thrown out.
    Revoked,
    /// Somebody heard who is a seed, or is none any more.
    Seeds,
    /// The scheduler said something, or the way to it changed.
    Scheduler(control::Event),
}
