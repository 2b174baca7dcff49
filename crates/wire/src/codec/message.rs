//! What two daemons say to each other.

use std::fmt;

use bytes::Bytes;
use types::{ClusterId, HostId, Layout, PieceIndex, PieceRun, Seal, Segment, TaskId};

use super::{DATA_MAX, Inventory, Runs, Violation, Wish};

/// The newest version of the protocol that this build speaks.
pub const VERSION: u16 = 2;
/// The oldest one it still speaks.
pub const VERSION_MIN: u16 = 2;

/// A task's short name on one connection, chosen by the side whose frames carry it (see [`crate::codec`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskNo(pub u32);

impl fmt::Display for TaskNo {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "task number {}", self.0)
    }
}

/// The first frame in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The newest version the sender speaks; the link speaks the smaller of both.
    pub version: u16,
    /// The sender's cluster. Another one than ours ends the link.
    pub cluster: ClusterId,
    /// What the sender can do beyond its version, one bit each.
    pub features: u64,
    /// Which of several connections between the same two hosts this is.
    pub lane: u8,
    /// Where the sender accepts links, on the address it is seen from.
    pub listen_port: u16,
    /// The sender's newest signed list of revoked hosts, opaque here; at most [`super::REVOCATIONS_MAX`] bytes.
    pub revocations: Option<Bytes>,
}

/// A hint on the sender's upload slots. It covers the host, not one task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotHint {
    /// Slots free now (`ready`).
    pub free: u8,
    /// Slots about to be free within a round trip.
    pub opening: u8,
}

/// Why a host does not take part in a task. Reasons of later versions read as `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclineReason {
    /// It neither has nor wants it.
    NotTaking,
    /// It knows the task with another length.
    LayoutDiffers,
    /// It has too many tasks on this link.
    Full,
    /// It may not share it.
    NotAllowed,
    /// Something else.
    Other,
}

/// Why a link is ended on purpose. Reasons of later versions read as `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoodbyeReason {
    /// The host shuts down.
    Leaving,
    /// The link was idle and its place is needed.
    Idle,
    /// All places are taken by links that are in use.
    Full,
    /// A simultaneous dial of the other side stays instead.
    Duplicate,
    /// The receiver of this broke the protocol.
    Violation,
    /// The receiver of this is revoked.
    Revoked,
    /// Something else.
    Other,
}

/// One data frame: a part of one piece.
#[derive(Clone, PartialEq, Eq)]
pub struct Data {
    /// The sender's number of the task.
    pub no: TaskNo,
    /// The piece.
    pub piece: PieceIndex,
    /// Where in the piece the bytes begin.
    pub offset: u32,
    /// Whether the piece ends with them.
    pub last: bool,
    /// At most [`DATA_MAX`] bytes, shared with the receive buffer.
    pub bytes: Bytes,
}

impl Data {
    /// Checks the frame against a piece of `piece_length` bytes. An empty frame is only the whole of an empty piece.
    pub(super) fn check(&self, piece_length: u64) -> Result<(), Violation> {
        let end = u64::from(self.offset) + self.bytes.len() as u64;
        let fits = end <= piece_length
            && self.last == (end == piece_length)
            && (!self.bytes.is_empty() || piece_length == 0)
            && self.bytes.len() <= DATA_MAX;
        if fits {
            return Ok(());
        }
        Err(Violation::DataBounds {
            piece: self.piece,
            offset: self.offset,
            length: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX),
            last: self.last,
            piece_length,
        })
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            no,
            piece,
            offset,
            last,
            bytes,
        } = self;
        write!(
            to,
            "Data({no}, {piece}, {offset}+{}, last {last})",
            bytes.len()
        )
    }
}

/// Everything but data frames. `no` is always the sender's own number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who I am; first in both directions, and never again.
    Hello(Hello),
    /// I take part in `task`: call it `no` in what I send. Answered by an `Open` of yours, or by `Decline`.
    Open {
        /// My number for it.
        no: TaskNo,
        /// The task.
        task: TaskId,
        /// How it is cut; a [`Layout::of`] its length.
        layout: Layout,
        /// What I have.
        have: Inventory,
        /// Whether I am the importer that the scheduler named.
        importer: bool,
    },
    /// I have become the importer, or am it no more, since my `Open`.
    Importer {
        /// The task.
        no: TaskNo,
        /// Whether I am.
        importer: bool,
    },
    /// To a seed, while no scheduler is there: import this, so that not every host does.
    Wish(Box<Wish>),
    /// I do not take part in `task`.
    Decline {
        /// The task of your `Open`.
        task: TaskId,
        /// Why.
        reason: DeclineReason,
    },
    /// I have left the task; `no` is free again.
    Close {
        /// My number for it.
        no: TaskNo,
    },
    /// I have verified these pieces.
    Have {
        /// The task.
        no: TaskNo,
        /// The new pieces.
        runs: Runs,
        /// My upload slots now.
        slots: SlotHint,
    },
    /// I have these pieces too, and show them to you alone: a place is kept for your `Want`, whatever my slots.
    Reveal {
        /// The task.
        no: TaskNo,
        /// The pieces.
        runs: Runs,
    },
    /// My upload slots have changed.
    Slots(SlotHint),
    /// Send me these pieces.
    Want {
        /// The task.
        no: TaskNo,
        /// The pieces, the dearest first.
        runs: Runs,
        /// A local reader is blocked on them.
        urgent: bool,
        /// Nobody waits for them: they give way to whatever somebody waits for.
        background: bool,
    },
    /// I no longer want these pieces; frames under way may still come.
    Cancel {
        /// The task.
        no: TaskNo,
        /// The pieces.
        runs: Runs,
    },
    /// I have these pieces but no slot for them.
    Busy {
        /// The task.
        no: TaskNo,
        /// The refused pieces.
        runs: Runs,
        /// Who else has them: at most [`super::ALTERNATIVES_MAX`] hosts, never addresses.
        alternatives: Vec<HostId>,
    },
    /// I do not have these pieces after all.
    Missing {
        /// The task.
        no: TaskNo,
        /// The pieces.
        runs: Runs,
    },
    /// An importer's signed digests.
    Segment {
        /// The task.
        no: TaskNo,
        /// The segment; its task and layout are those of the `Open`.
        segment: Segment,
    },
    /// A seed's signed root.
    Seal {
        /// The task.
        no: TaskNo,
        /// The seal; its task and layout are those of the `Open`.
        seal: Seal,
    },
    /// Who is a seed, or is none any more, opaque here; at most [`super::CERTIFICATE_MAX`] bytes. Sent ahead of the first word
    /// of that host that I pass on.
    Certificate(Bytes),
    /// My in-order reader is in this run. May be ignored.
    Window {
        /// The task.
        no: TaskNo,
        /// The pieces it reads next.
        run: PieceRun,
    },
    /// Answer with a `Pong` of the same number.
    Ping(u64),
    /// The answer.
    Pong(u64),
    /// I end this link; nothing follows.
    Goodbye(GoodbyeReason),
}
