//! What an importer shows to whom: no piece twice before each has left once.
//!
//! An importer that told everybody of every piece would be asked for the same few again and again while the rest of
//! the content waits. So it reveals each fresh piece to one child, which fetches it as the rarest of all and passes it
//! on. A piece has left once somebody else announces it. When all have left, everything is revealed.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use types::{Moment, PieceIndex, PieceSet};

use crate::{HostNo, estimate::Estimate};

/// The reveals of one importer in one task.
#[derive(Debug)]
pub struct SuperSeed {
    /// Held pieces that nobody else is known to have, not revealed yet, in order of arrival.
    fresh: VecDeque<PieceIndex>,
    reveals: Vec<Reveal>,
    /// Pieces that somebody else has.
    left: PieceSet,
    time_to_leave: Estimate,
}

#[derive(Debug)]
struct Reveal {
    piece: PieceIndex,
    to: HostNo,
    at: Moment,
    /// How often it was made again.
    again: u8,
}

impl Reveal {
    /// When it is made again: later each time, so that children who can't take it up are not pressed for ever.
    fn overdue_at(&self, patience: Duration) -> Moment {
        self.at + patience * (1 << self.again.min(8))
    }
}

impl SuperSeed {
    /// How long a first reveal may take to leave, before any did.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// An importer that holds `have`, of which `elsewhere` is known to be with others.
    pub fn new(have: &PieceSet, elsewhere: PieceSet) -> Self {
        let fresh = have.difference([&elsewhere]).collect();
        Self {
            fresh,
            reveals: Vec::new(),
            left: elsewhere,
            time_to_leave: Estimate::default(),
        }
    }

    /// A piece came from the origin.
    pub fn arrived(&mut self, piece: PieceIndex) {
        if !self.left.contains(piece) && !self.fresh.contains(&piece) {
            self.fresh.push_back(piece);
        }
    }

    /// The next piece to reveal, and to whom. `lacks` lists the children that lack a piece, in an order of the caller's
    /// choice; among them the one with the fewest open reveals is taken. Call until `None`.
    pub fn next<I: Iterator<Item = HostNo>>(
        &mut self,
        now: Moment,
        mut lacks: impl FnMut(PieceIndex) -> I,
    ) -> Option<(PieceIndex, HostNo)> {
        self.recall_overdue(now);
        let open = self.open_reveals();
        let (at, to) = self.fresh.iter().enumerate().find_map(|(at, piece)| {
            let is_new = |host: &HostNo| {
                !self
                    .reveals
                    .iter()
                    .any(|reveal| reveal.piece == *piece && reveal.to == *host)
            };
            let child = lacks(*piece)
                .filter(is_new)
                .min_by_key(|host| open.get(host).copied().unwrap_or(0))?;
            Some((at, child))
        })?;
        let piece = self.fresh.remove(at).expect("found above");
        self.reveals.push(Reveal {
            piece,
            to,
            at: now,
            again: 0,
        });
        Some((piece, to))
    }

    /// A reveal that was not taken up in time is made again, to another child too.
    fn recall_overdue(&mut self, now: Moment) {
        let patience = self.patience();
        for reveal in &mut self.reveals {
            if now >= reveal.overdue_at(patience) {
                reveal.at = now;
                reveal.again = reveal.again.saturating_add(1);
                if !self.fresh.contains(&reveal.piece) {
                    self.fresh.push_front(reveal.piece);
                }
            }
        }
    }

    fn patience(&self) -> Duration {
        self.time_to_leave
            .high()
            .map_or(Self::PATIENCE, |high| high * 2)
            .max(Duration::from_millis(20))
    }

    fn open_reveals(&self) -> BTreeMap<HostNo, u32> {
        let mut open = BTreeMap::new();
        self.reveals
            .iter()
            .for_each(|reveal| *open.entry(reveal.to).or_default() += 1);
        open
    }

    /// Somebody announced `piece`. True if it had not left before.
    pub fn left(&mut self, piece: PieceIndex, now: Moment) -> bool {
        if let Some(first) = self.reveals.iter().find(|reveal| reveal.piece == piece) {
            self.time_to_leave.add(now.since(first.at));
        }
        self.reveals.retain(|reveal| reveal.piece != piece);
        self.fresh.retain(|fresh| *fresh != piece);
        self.left.insert(piece)
    }

    /// A child is gone: what was revealed to it alone is fresh again.
    pub fn forget(&mut self, host: HostNo) {
        let (gone, kept) = std::mem::take(&mut self.reveals)
            .into_iter()
            .partition(|reveal| reveal.to == host);
        self.reveals = kept;
        let gone: Vec<Reveal> = gone;
        for Reveal { piece, .. } in gone {
            if !self.fresh.contains(&piece)
                && !self.reveals.iter().any(|reveal| reveal.piece == piece)
            {
                self.fresh.push_front(piece);
            }
        }
    }

    /// Whether this piece is revealed to `host` and has not left yet.
    pub fn is_revealed_to(&self, piece: PieceIndex, host: HostNo) -> bool {
        self.reveals
            .iter()
            .any(|reveal| reveal.piece == piece && reveal.to == host)
    }

    /// Held pieces that have not left yet: what would be lost with this host.
    pub fn unleft(&self) -> usize {
        let revealed: std::collections::BTreeSet<PieceIndex> =
            self.reveals.iter().map(|reveal| reveal.piece).collect();
        revealed.len()
            + self
                .fresh
                .iter()
                .filter(|piece| !revealed.contains(piece))
                .count()
    }

    /// Pieces that somebody else has.
    pub fn elsewhere(&self) -> &PieceSet {
        &self.left
    }

    /// Whether every piece has left, so that there is nothing more to hold back.
    pub fn is_over(&self) -> bool {
        self.left.is_full()
    }

    /// When a reveal must be made again.
    pub fn deadline(&self) -> Option<Moment> {
        let patience = self.patience();
        let overdue = |reveal: &Reveal| reveal.overdue_at(patience);
        self.reveals.iter().map(overdue).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(index: u32) -> PieceIndex {
        PieceIndex(index)
    }

    fn seed_with(arrived: u32) -> SuperSeed {
        let mut seed = SuperSeed::new(&PieceSet::empty(8), PieceSet::empty(8));
        (0..arrived).for_each(|index| seed.arrived(piece(index)));
        seed
    }

    fn reveal_all(seed: &mut SuperSeed, now: Moment, children: &[u32]) -> Vec<(u32, u32)> {
        std::iter::from_fn(|| seed.next(now, |_| children.iter().map(|child| HostNo(*child))))
            .map(|(piece, host)| (piece.0, host.0))
            .collect()
    }

    #[test]
    fn each_fresh_piece_is_revealed_to_one_child_and_the_load_is_spread() {
        let mut seed = seed_with(4);
        assert_eq!(
            reveal_all(&mut seed, Moment(1), &[7, 9]),
            [(0, 7), (1, 9), (2, 7), (3, 9)]
        );
        assert!(
            seed.is_revealed_to(piece(0), HostNo(7)) && !seed.is_revealed_to(piece(0), HostNo(9))
        );
        assert_eq!(seed.unleft(), 4);
        assert!(seed.left(piece(0), Moment(2)) && !seed.left(piece(0), Moment(2)));
        assert_eq!(seed.unleft(), 3);
    }

    #[test]
    fn a_reveal_that_is_not_taken_up_is_made_to_another() {
        let mut seed = seed_with(1);
        assert_eq!(reveal_all(&mut seed, Moment(0), &[7, 9]), [(0, 7)]);
        let later = seed.deadline().expect("one reveal is open");
        assert_eq!(reveal_all(&mut seed, later, &[7, 9]), [(0, 9)]);
        assert_eq!(seed.unleft(), 1);
        let later = seed.deadline().expect("two reveals are open");
        assert_eq!(
            reveal_all(&mut seed, later, &[7, 9]),
            [],
            "nobody is left to tell"
        );
    }

    #[test]
    fn what_was_revealed_to_a_lost_child_is_fresh_again() {
        let mut seed = seed_with(1);
        assert_eq!(reveal_all(&mut seed, Moment(0), &[7]), [(0, 7)]);
        seed.forget(HostNo(7));
        assert_eq!(reveal_all(&mut seed, Moment(0), &[9]), [(0, 9)]);
    }

    #[test]
    fn it_is_over_when_all_have_left() {
        let mut seed = SuperSeed::new(&PieceSet::full(2), PieceSet::empty(2));
        assert_eq!(seed.unleft(), 2);
        seed.left(piece(0), Moment(0));
        assert!(!seed.is_over());
        seed.left(piece(1), Moment(0));
        assert!(seed.is_over() && seed.unleft() == 0 && seed.deadline().is_none());
    }
}
