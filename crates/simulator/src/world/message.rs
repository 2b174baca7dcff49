//! What travels between hosts in the simulated world: the same things that the peer protocol carries.

use swarm::{HostNo, SlotHint};
use types::{PieceIndex, PieceRun, PieceSet};

/// A message of one host to another about the one task of this world.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// The sender takes part, and shows this.
    Open(Box<PieceSet>),
    /// The sender has these pieces too.
    Have { run: PieceRun, slots: SlotHint },
    /// The sender reveals a piece to the receiver alone, and keeps a place for it.
    Reveal(PieceIndex),
    /// The sender shows all of this now.
    HaveAll(Box<PieceSet>),
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
    /// The first bytes of a piece arrive.
    Begun(PieceIndex),
    /// About one round trip of a piece is left.
    Ending(PieceIndex),
    /// A whole piece has arrived; `good` if it matches its digest.
    Piece { piece: PieceIndex, good: bool },
    /// The link to the sender is gone.
    Gone,
}

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
    /// A host's brain wants to be woken.
    Tick(HostNo),
    /// A transfer may have about one round trip left.
    Near(crate::net::FlowNo),
    /// A piece from the origin has arrived.
    Imported {
        host: HostNo,
        piece: PieceIndex,
    },
    Acknowledge(HostNo),
    Tell(HostNo),
    /// The number of a fault in the scenario.
    Fault(u32),
}
