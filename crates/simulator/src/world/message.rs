//! What travels between hosts in the simulated world, and what happens there: the same things as in a real cluster.

use swarm::{HostNo, SlotHint, schedule};
use types::{Moment, PieceIndex, PieceRun, PieceSet};

use crate::net::FlowNo;

/// A message of one host to another about the one task of this world.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// The sender takes part, and shows this.
    Open(Box<PieceSet>, SlotHint),
    /// Whether the sender is the importer.
    Importer(bool),
    /// The sender has these pieces too.
    Have { run: PieceRun, slots: SlotHint },
    /// The sender reveals a piece to the receiver alone, and keeps a place for it.
    Reveal(PieceIndex),
    /// The sender shows all of this now.
    HaveAll(Box<PieceSet>, SlotHint),
    /// The sender's slots.
    Slots(SlotHint),
    /// The sender asks for a run.
    Want { run: PieceRun, urgent: bool },
    /// The sender needs it no more.
    Cancel(PieceRun),
    /// The sender can't serve this request.
    Busy(PieceRun),
    /// The sender does not have it.
    Lacks(PieceRun),
    /// About one round trip of a piece is left.
    Ending(PieceIndex),
    /// A whole piece has arrived; `good` if it matches its digest.
    Piece { piece: PieceIndex, good: bool },
    /// The link to the sender is gone.
    Gone,
}

/// What the scheduler's stream carries to a host.
pub(super) type Order = schedule::Action;

/// Something that happens at a moment.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// A host appears and asks.
    Arrive(HostNo),
    /// A message reaches `to`.
    Deliver {
        from: HostNo,
        to: HostNo,
        message: Message,
    },
    /// A host's event reaches the scheduler. `sent` is the host's clock.
    Tell {
        from: HostNo,
        sent: Moment,
        event: Box<schedule::Event>,
    },
    /// The scheduler's action reaches a host.
    Order { to: HostNo, order: Box<Order> },
    /// A host's brains want to be woken.
    Tick(HostNo),
    /// A host reports to the scheduler, which renews its lease.
    Beat(HostNo),
    /// The scheduler wants to be woken.
    Schedule,
    /// A transfer may have about one round trip left.
    Near(FlowNo),
    /// The origin answers a request of `host`.
    OriginAnswers { host: HostNo, lane: u32 },
    /// A piece from the origin is verified.
    Imported { host: HostNo, piece: PieceIndex },
    /// A fault of the scenario begins.
    Fault(usize),
    /// What a fault did to a host ends.
    Restore(HostNo),
    /// What a fault did to the origin ends.
    RestoreOrigin,
    /// The scheduler is back.
    SchedulerBack,
}
