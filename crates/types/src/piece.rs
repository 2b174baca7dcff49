//! Pieces by number, runs of adjacent ones, and the epoch of a lease.

use std::fmt;

/// A piece's position in its content, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PieceIndex(pub u32);

impl fmt::Display for PieceIndex {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "piece {}", self.0)
    }
}

/// Adjacent pieces: `count` from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PieceRun {
    /// The first piece.
    pub first: PieceIndex,
    /// How many pieces; a run that travels has at least one.
    pub count: u32,
}

impl PieceRun {
    /// A run of one piece.
    pub const fn one(piece: PieceIndex) -> Self {
        Self {
            first: piece,
            count: 1,
        }
    }

    /// The index after the last piece, as a number that cannot overflow.
    pub const fn end(&self) -> u64 {
        self.first.0 as u64 + self.count as u64
    }

    /// Whether `piece` is one of them.
    pub const fn contains(&self, piece: PieceIndex) -> bool {
        self.first.0 <= piece.0 && (piece.0 as u64) < self.end()
    }

    /// The pieces in order. A run that reaches past the largest index ends there.
    pub fn pieces(self) -> impl DoubleEndedIterator<Item = PieceIndex> + Clone {
        (self.first.0..self.first.0.saturating_add(self.count)).map(PieceIndex)
    }
}

impl fmt::Display for PieceRun {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => write!(to, "piece {}", self.first.0),
            _ => write!(to, "pieces {}..{}", self.first.0, self.end()),
        }
    }
}

/// The generation of a task's lease. A newer epoch makes every older lease void.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Claims beyond are lies: no brain gets there in the life of a cluster. Believing them could use up all epochs.
    pub const CLAIM_MAX: Self = Self(1 << 62);

    /// The next generation.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "epoch {}", self.0)
    }
}
