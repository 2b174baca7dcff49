//! The words between the brain and its shell.

use types::{Epoch, Moment, PieceIndex, PieceRun, PieceSet};

use super::{Lease, ReaderNo};
use crate::{HostNo, SlotHint};

/// Who brought a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supplier {
    /// A parent.
    Host(HostNo),
    /// The origin, read by this host.
    Origin,
    /// The same, but this host's word counts for nobody else: the piece is of use here alone.
    OriginAlone,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A neighbour joined this task on a live link, with what it shows to us.
    Joined {
        /// The neighbour.
        host: HostNo,
        /// Its pieces, as far as it shows them.
        have: PieceSet,
        /// Its upload slots.
        slots: SlotHint,
    },
    /// A neighbour became importer of this task, or is no more.
    Importer {
        /// Who.
        host: HostNo,
        /// Whether it holds the lease.
        is_importer: bool,
    },
    /// A neighbour left the task, or its link ended.
    Left {
        /// Who.
        host: HostNo,
    },
    /// A neighbour announced more pieces.
    Has {
        /// Who.
        host: HostNo,
        /// What.
        run: PieceRun,
        /// Its upload slots at that time.
        slots: SlotHint,
    },
    /// An importer revealed a piece to us alone, and keeps a place for our request.
    Revealed {
        /// Who.
        host: HostNo,
        /// Which.
        piece: PieceIndex,
    },
    /// A neighbour told of its slots.
    Slots {
        /// Who.
        host: HostNo,
        /// Its upload slots at that time.
        slots: SlotHint,
    },
    /// A parent is too busy for a request of ours.
    Busy {
        /// Who.
        host: HostNo,
        /// The request.
        run: PieceRun,
    },
    /// A parent does not have what we asked for, after all.
    Lacks {
        /// Who.
        host: HostNo,
        /// The pieces.
        run: PieceRun,
    },
    /// Bytes of a requested piece came in.
    Progress {
        /// From whom.
        host: HostNo,
        /// Of which piece.
        piece: PieceIndex,
    },
    /// This host's own limit keeps it from reading what `host` sends: its silence is nobody's fault, and no sign that
    /// the swarm stands still.
    HeldBack {
        /// Who.
        host: HostNo,
    },
    /// The last piece of a running request has about one round trip left.
    Ending {
        /// From whom.
        host: HostNo,
        /// Which piece.
        piece: PieceIndex,
    },
    /// A piece was verified and stored.
    Verified {
        /// Which.
        piece: PieceIndex,
        /// From whom.
        from: Supplier,
    },
    /// A piece that was held is void: its bytes no longer match, or the table it was checked by was wrong.
    Void {
        /// Which.
        piece: PieceIndex,
    },
    /// Nothing that was held counts any more: the whole is not what was asked for. Everything wanted is fetched again,
    /// and a lease is given back.
    VoidAll,
    /// A piece did not match its digest.
    Corrupt {
        /// Which.
        piece: PieceIndex,
        /// Who sent it.
        host: HostNo,
    },
    /// This host vouches for all that is here, be it what was of use here alone.
    Vouched,
    /// This host got, or renewed, the right to import.
    Leased(Lease),
    /// The lease was taken back, or a newer epoch was seen.
    LeaseEnded {
        /// The newest epoch that is no longer ours.
        epoch: Epoch,
    },
    /// Whether no scheduler can be reached. Without one, whoever held the lease last goes on as its caretaker, so that
    /// nobody else needs the origin; a grant, a renewal or the lease's end by a scheduler's word takes that over.
    SchedulerAway(bool),
    /// An import ended without bringing all of its pieces.
    ImportFailed {
        /// What was asked of the origin.
        run: PieceRun,
        /// When another try makes sense; `None` if the origin said that none will.
        retry_at: Option<Moment>,
    },
    /// A child asks for pieces that are not here: an importer reads them next.
    Demanded {
        /// Which pieces.
        run: PieceRun,
        /// The child.
        by: HostNo,
    },
    /// The scheduler acknowledged our ask, or told of the task: somebody cares.
    Acknowledged,
    /// The scheduler says that nobody it knows can import: what a local reader needs is read by this host itself, without
    /// a lease and without a further wait, until somebody is heard of.
    NobodyImports,
    /// A local reader wants `run`, from its first piece on.
    Read {
        /// Which reader.
        reader: ReaderNo,
        /// What it will read.
        run: PieceRun,
    },
    /// A local reader stands at `at`.
    ReadAt {
        /// Which reader.
        reader: ReaderNo,
        /// The piece it needs next.
        at: PieceIndex,
    },
    /// A local reader is done or gone.
    ReadEnded {
        /// Which reader.
        reader: ReaderNo,
    },
    /// Whether the whole content is wanted, beyond what readers ask for.
    WantAll(bool),
    /// How many requests may run at once; zero makes this download give way at once.
    SetSlots(u8),
    /// Stop for good: requests are cancelled and nothing more is asked.
    Cancel,
    /// A deadline passed.
    Tick,
}

impl Event {
    /// The neighbour whose word or bytes it is.
    pub(crate) fn said_by(&self) -> Option<HostNo> {
        match self {
            Self::Joined { host, .. }
            | Self::Importer { host, .. }
            | Self::Has { host, .. }
            | Self::Revealed { host, .. }
            | Self::Slots { host, .. }
            | Self::Busy { host, .. }
            | Self::Lacks { host, .. }
            | Self::Progress { host, .. }
            | Self::HeldBack { host }
            | Self::Ending { host, .. }
            | Self::Corrupt { host, .. }
            | Self::Demanded { by: host, .. } => Some(*host),
            Self::Verified { from, .. } => match from {
                Supplier::Host(host) => Some(*host),
                Supplier::Origin | Supplier::OriginAlone => None,
            },
            _ => None,
        }
    }
}

/// Why a download can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The origin refused for good and no neighbour has what is missing.
    Origin,
    /// Nothing verified or acknowledged for the hard limit of the policy.
    Stalled,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask a parent for a run.
    Request {
        /// The parent.
        from: HostNo,
        /// The pieces.
        run: PieceRun,
        /// A reader is blocked on it.
        urgent: bool,
    },
    /// Tell a parent that a request is not needed any more, and drop what still comes of it.
    Cancel {
        /// The parent.
        from: HostNo,
        /// The pieces.
        run: PieceRun,
    },
    /// Tell every neighbour that lacks it ([`super::Download::audience`]) that `piece` is here.
    Announce {
        /// Which.
        piece: PieceIndex,
    },
    /// Tell one neighbour alone that `piece` is here.
    Reveal {
        /// Whom.
        to: HostNo,
        /// Which.
        piece: PieceIndex,
    },
    /// Tell an importer that `piece`, which it revealed to us, is here already, although of use here alone: it waits for
    /// that before it reads on.
    Admit {
        /// Whom.
        to: HostNo,
        /// Which.
        piece: PieceIndex,
    },
    /// Tell one neighbour everything that is here.
    RevealAll {
        /// Whom.
        to: HostNo,
    },
    /// Tell every neighbour whether this host is the importer.
    TellImporter(bool),
    /// Ask the scheduler whether the import of this task goes on; [`Event::Acknowledged`] is the good answer.
    Ask,
    /// Read `run` from the origin.
    Import {
        /// The pieces.
        run: PieceRun,
        /// The lease's epoch; `None` for a blocked reader without a lease.
        epoch: Option<Epoch>,
    },
    /// Stop reading from the origin under this epoch.
    StopImport {
        /// The epoch that is over.
        epoch: Epoch,
    },
    /// Tell the scheduler how far the import is.
    Report {
        /// The lease's epoch.
        epoch: Epoch,
        /// Pieces held.
        imported: u32,
        /// Pieces that neither we nor any neighbour has: with none, nothing is left to import.
        left: u32,
    },
    /// Tell the scheduler that this importer can't.
    GiveUpLease {
        /// The lease's epoch.
        epoch: Epoch,
    },
    /// A parent sent a wrong piece: tell the scheduler.
    Blame {
        /// Who.
        host: HostNo,
    },
    /// Everything wanted is here. Said again if more is wanted later.
    Complete,
    /// It can't go on.
    Fail(Failure),
}
