//! Who has what, and how rare each piece is around here.

use std::time::Duration;

use types::{Moment, PieceIndex, PieceRun, PieceSet};

use super::health::Health;
use crate::{HostNo, SlotHint};

/// A host that takes part in this task and has a link to us.
#[derive(Clone, Debug)]
pub(crate) struct Neighbour {
    pub(crate) host: HostNo,
    /// What it showed to us.
    pub(crate) have: PieceSet,
    /// Requests that it would take now, as far as we know: its last hint less what we asked since.
    pub(crate) room: u8,
    /// When a belief that there is no room is no longer trusted.
    pub(crate) doubt_at: Moment,
    /// Pieces it keeps a place for: they may be asked for whatever its slots. Bounded.
    pub(crate) revealed: Vec<PieceIndex>,
    /// It super-seeds: it waits to hear that what it revealed has arrived, although it has it itself.
    pub(crate) super_seeds: bool,
    /// It holds the lease: what nobody shows may be asked of it.
    pub(crate) is_importer: bool,
    /// When it said anything of this task last.
    pub(crate) heard_at: Moment,
    pub(crate) health: Health,
}

/// All neighbours, sorted by number. Invariant: `copies[p]` is the number of neighbours that have `p`.
#[derive(Clone, Debug)]
pub(crate) struct Neighbours {
    list: Vec<Neighbour>,
    copies: Vec<u16>,
    /// Health of those who left, so that leaving and coming back does not wash off a lie. Bounded.
    remembered: Vec<(HostNo, Health)>,
}

impl Neighbours {
    const LIST_MAX: usize = 256;
    const REVEALED_MAX: usize = 64;

    pub(crate) fn new(piece_count: u32) -> Self {
        Self {
            list: Vec::new(),
            copies: vec![0; piece_count as usize],
            remembered: Vec::new(),
        }
    }

    fn position(&self, host: HostNo) -> Result<usize, usize> {
        self.list
            .binary_search_by_key(&host, |neighbour| neighbour.host)
    }

    /// A neighbour joins; one that is known is replaced. Beyond the bound nobody joins.
    pub(crate) fn join(&mut self, host: HostNo, have: PieceSet, slots: SlotHint) {
        self.leave(host);
        let Err(at) = self.position(host) else { return };
        if self.list.len() >= Self::LIST_MAX {
            return;
        }
        have.iter()
            .for_each(|piece| self.copies[piece.0 as usize] += 1);
        let health = match self.remembered.iter().position(|(known, _)| *known == host) {
            Some(known) => self.remembered.swap_remove(known).1,
            None => Health::default(),
        };
        self.list.insert(
            at,
            Neighbour {
                host,
                have,
                room: slots.room(),
                doubt_at: Moment::ZERO,
                revealed: Vec::new(),
                super_seeds: false,
                is_importer: false,
                heard_at: Moment::ZERO,
                health,
            },
        );
    }

    /// A neighbour is gone. Returns what it had.
    pub(crate) fn leave(&mut self, host: HostNo) -> Option<PieceSet> {
        let at = self.position(host).ok()?;
        let gone = self.list.remove(at);
        gone.have
            .iter()
            .for_each(|piece| self.copies[piece.0 as usize] -= 1);
        if self.remembered.len() >= Self::LIST_MAX {
            self.remembered.remove(0);
        }
        self.remembered.push((host, gone.health));
        Some(gone.have)
    }

    /// Adds what a neighbour announced. True if it told of a piece that was not known to be there.
    pub(crate) fn has(&mut self, host: HostNo, run: PieceRun) -> bool {
        let Ok(at) = self.position(host) else {
            return false;
        };
        let neighbour = &mut self.list[at];
        let mut news = false;
        for piece in run.pieces().take(self.copies.len()) {
            if neighbour.have.insert(piece) {
                self.copies[piece.0 as usize] += 1;
                news = true;
            }
        }
        news
    }

    /// An importer revealed `piece` to us.
    pub(crate) fn revealed(&mut self, host: HostNo, piece: PieceIndex) {
        self.has(host, PieceRun::one(piece));
        if let Some(neighbour) = self.get_mut(host)
            && neighbour.have.contains(piece)
            && !neighbour.revealed.contains(&piece)
            && neighbour.revealed.len() < Self::REVEALED_MAX
        {
            neighbour.revealed.push(piece);
            neighbour.super_seeds = true;
        }
    }

    /// Takes back what a neighbour turned out not to have.
    pub(crate) fn lacks(&mut self, host: HostNo, run: PieceRun) {
        let Ok(at) = self.position(host) else { return };
        for piece in run.pieces().take(self.copies.len()) {
            if self.list[at].have.remove(piece) {
                self.copies[piece.0 as usize] -= 1;
            }
        }
    }

    pub(crate) fn get(&self, host: HostNo) -> Option<&Neighbour> {
        self.position(host).ok().map(|at| &self.list[at])
    }

    pub(crate) fn get_mut(&mut self, host: HostNo) -> Option<&mut Neighbour> {
        self.position(host).ok().map(|at| &mut self.list[at])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Neighbour> {
        self.list.iter()
    }

    /// No silence up to now says anything of anybody.
    pub(crate) fn excuse_all(&mut self, now: Moment) {
        let neighbours = self.list.iter_mut();
        neighbours.for_each(|neighbour| neighbour.heard_at = now);
    }

    /// How many neighbours have `piece`.
    pub(crate) fn copies(&self, piece: PieceIndex) -> u16 {
        self.copies.get(piece.0 as usize).copied().unwrap_or(0)
    }

    /// Whether a neighbour that may be asked now has `piece`.
    pub(crate) fn is_offered(&self, piece: PieceIndex, now: Moment) -> bool {
        self.copies(piece) > 0
            && self
                .list
                .iter()
                .any(|neighbour| neighbour.have.contains(piece) && neighbour.health.is_usable(now))
    }

    /// The neighbours that lack `piece`.
    pub(crate) fn lacking(&self, piece: PieceIndex) -> impl Iterator<Item = HostNo> + '_ {
        self.list
            .iter()
            .filter(move |neighbour| !neighbour.have.contains(piece))
            .map(|neighbour| neighbour.host)
    }

    /// The neighbours to tell that `piece` is here.
    pub(crate) fn audience(&self, piece: PieceIndex) -> impl Iterator<Item = HostNo> + '_ {
        self.list
            .iter()
            .filter(move |neighbour| neighbour.super_seeds || !neighbour.have.contains(piece))
            .map(|neighbour| neighbour.host)
    }

    /// What a piece usually takes: the median over the parents that sent one. Slow parents do not count for more because
    /// they take longer.
    pub(crate) fn usual_time(&self) -> Option<Duration> {
        let known = |neighbour: &Neighbour| neighbour.health.piece_time().mean();
        let mut times: Vec<Duration> = self.list.iter().filter_map(known).collect();
        let middle = times.len().checked_sub(1)? / 2;
        Some(*times.select_nth_unstable(middle).1)
    }

    /// Whether any neighbour lacks a piece at all.
    pub(crate) fn anyone_incomplete(&self) -> bool {
        self.list.iter().any(|neighbour| !neighbour.have.is_full())
    }

    /// The earliest time at which a belief that a neighbour has no room is given up.
    pub(crate) fn next_doubt(&self, now: Moment) -> Option<Moment> {
        self.list
            .iter()
            .filter(|neighbour| neighbour.room == 0 && neighbour.doubt_at > now)
            .map(|neighbour| neighbour.doubt_at)
            .min()
    }

    /// The earliest time at which a neighbour that is avoided now may be asked again.
    pub(crate) fn next_usable(&self, now: Moment) -> Option<Moment> {
        self.list
            .iter()
            .filter_map(|neighbour| neighbour.health.usable_at(now))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn copies_always_count_the_neighbours_that_have_a_piece(steps in prop::collection::vec((0u8..4, 0u32..6, 0u32..10, 0u32..12), 0..100)) {
            let mut neighbours = Neighbours::new(10);
            for (kind, host, first, count) in steps {
                let (host, run) = (HostNo(host), PieceRun { first: PieceIndex(first), count });
                match kind {
                    0 => {
                        let mut have = PieceSet::empty(10);
                        have.insert_run(run);
                        neighbours.join(host, have, SlotHint::default());
                    }
                    1 => drop(neighbours.leave(host)),
                    2 => { neighbours.has(host, run); }
                    _ => neighbours.lacks(host, run),
                }
                for piece in (0..10).map(PieceIndex) {
                    let holders = neighbours.iter().filter(|neighbour| neighbour.have.contains(piece)).count();
                    prop_assert_eq!(usize::from(neighbours.copies(piece)), holders);
                    prop_assert_eq!(neighbours.lacking(piece).count() + holders, neighbours.iter().count());
                }
            }
        }
    }
}
