//! What an importer shows to whom: no piece twice before each has left once.
//!
//! An importer that told everybody of every piece would be asked for the same few again and again while the rest of
//! the content waits. So it reveals each fresh piece to one child, which fetches it as the rarest of all and passes it
//! on. A piece has left once somebody else announces it. When all have left, everything is revealed.
//!
//! A child that has not been heard of for a while may pass nothing on: what it alone was shown, or alone has, is revealed
//! to another. It costs one more copy if the child was only slow; waiting for its link to end would cost the swarm that time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use types::{Moment, PieceIndex, PieceSet};

use crate::{HostNo, estimate::Estimate};

/// The reveals of one importer in one task.
///
/// Invariants: `queued` are the pieces of `fresh`; `open` counts the reveals to each child, at most [`Self::OPEN_MAX`]
/// but for what a child demanded; no piece of `left` is in `unleft`, nor fresh or revealed unless only who is silent has it.
#[derive(Debug)]
pub struct SuperSeed {
    /// Held pieces that nobody else is known to have, not revealed yet, in order of arrival; those to be revealed again
    /// before them.
    fresh: VecDeque<PieceIndex>,
    queued: PieceSet,
    reveals: BTreeMap<PieceIndex, Vec<Reveal>>,
    open: BTreeMap<HostNo, u32>,
    /// Held pieces that nobody else has, revealed or not.
    unleft: PieceSet,
    /// Pieces that somebody else has.
    left: PieceSet,
    /// Children that were not heard of for a while.
    silent: BTreeSet<HostNo>,
    time_to_leave: Estimate,
}

#[derive(Debug)]
struct Reveal {
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

    fn made_again(&mut self, now: Moment) {
        self.at = now;
        self.again = self.again.saturating_add(1);
    }
}

impl SuperSeed {
    /// How long a first reveal may take to leave, before any did.
    const PATIENCE: Duration = Duration::from_secs(1);
    /// Reveals that are open to one child: as many pieces as an import reads ahead, and more than a child asks for at
    /// once. Only who holds much that nobody else has meets it.
    const OPEN_MAX: u32 = 8;
    /// What a child may be silent for at least: pauses of a busy host are no sign of anything.
    const SILENCE_MIN: Duration = Duration::from_millis(250);
    /// And at most: well before the scheduler looks at an import that stands still, after three seconds.
    const SILENCE_MAX: Duration = Duration::from_secs(1);

    /// An importer that holds `have`, of which `elsewhere` is known to be with others.
    pub fn new(have: &PieceSet, elsewhere: PieceSet) -> Self {
        let piece_count = have.piece_count();
        let mut seed = Self {
            fresh: VecDeque::new(),
            queued: PieceSet::empty(piece_count),
            reveals: BTreeMap::new(),
            open: BTreeMap::new(),
            unleft: PieceSet::empty(piece_count),
            left: elsewhere,
            silent: BTreeSet::new(),
            time_to_leave: Estimate::default(),
        };
        have.iter().for_each(|piece| seed.arrived(piece));
        seed
    }

    /// A piece came from the origin.
    pub fn arrived(&mut self, piece: PieceIndex) {
        if !self.left.contains(piece) && self.unleft.insert(piece) && self.queued.insert(piece) {
            self.fresh.push_back(piece);
        }
    }

    /// The next piece to reveal, and to whom. `lacks` lists the children that lack a piece, in an order of the caller's
    /// choice; among them the one with the fewest open reveals is taken, a silent one last. [Recall](Self::recall) first, then call until
    /// `None`, while a child [has room](Self::has_room).
    pub fn next<I: Iterator<Item = HostNo>>(
        &mut self,
        now: Moment,
        mut lacks: impl FnMut(PieceIndex) -> I,
    ) -> Option<(PieceIndex, HostNo)> {
        let (at, to) = self.fresh.iter().enumerate().find_map(|(at, piece)| {
            let fits = |host: &HostNo| self.has_room(*host) && !self.is_revealed_to(*piece, *host);
            let child = lacks(*piece)
                .filter(fits)
                .min_by_key(|host| (self.silent.contains(host), self.open_to(*host)))?;
            Some((at, child))
        })?;
        let piece = self.fresh.remove(at).expect("found above");
        self.queued.remove(piece);
        self.reveal(piece, to, now);
        Some((piece, to))
    }

    /// A child asked for `piece` before it came: it is revealed to that child, whatever else is.
    pub fn reveal_to(&mut self, to: HostNo, piece: PieceIndex, now: Moment) {
        if self.queued.remove(piece) {
            self.fresh.retain(|fresh| *fresh != piece);
            self.reveal(piece, to, now);
        }
    }

    fn reveal(&mut self, piece: PieceIndex, to: HostNo, at: Moment) {
        *self.open.entry(to).or_default() += 1;
        let reveals = self.reveals.entry(piece).or_default();
        reveals.push(Reveal { to, at, again: 0 });
    }

    /// Whether anything waits to be revealed.
    pub fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Whether one more piece may be revealed to `host`.
    pub fn has_room(&self, host: HostNo) -> bool {
        self.open_to(host) < Self::OPEN_MAX
    }

    fn open_to(&self, host: HostNo) -> u32 {
        self.open.get(&host).copied().unwrap_or(0)
    }

    fn closed(&mut self, to: HostNo) {
        if let Some(open) = self.open.get_mut(&to) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&to);
            }
        }
    }

    /// Reveals that were not taken up in time are to be made again, to another child too.
    pub fn recall(&mut self, now: Moment) {
        let patience = self.patience();
        for (piece, reveals) in &mut self.reveals {
            let overdue = reveals.iter_mut();
            for reveal in overdue.filter(|reveal| now >= reveal.overdue_at(patience)) {
                reveal.made_again(now);
                if self.queued.insert(*piece) {
                    self.fresh.push_front(*piece);
                }
            }
        }
    }

    /// How long a child may be silent before others are shown what it was: as long as reveals take to leave, within bounds.
    pub fn silence_max(&self) -> Duration {
        self.patience().clamp(Self::SILENCE_MIN, Self::SILENCE_MAX)
    }

    /// Whether `host` was found silent, and not heard of since.
    pub fn is_silent(&self, host: HostNo) -> bool {
        self.silent.contains(&host)
    }

    /// `host` has been silent for too long: what was revealed to it alone, and the pieces that it `alone` has, are to be
    /// revealed to others.
    pub fn fell_silent(
        &mut self,
        host: HostNo,
        now: Moment,
        alone: impl Iterator<Item = PieceIndex>,
    ) {
        self.silent.insert(host);
        let mut again: Vec<PieceIndex> = alone.collect();
        let silent = &self.silent;
        for (piece, reveals) in &mut self.reveals {
            if reveals.iter().all(|reveal| silent.contains(&reveal.to)) {
                reveals.iter_mut().for_each(|reveal| reveal.made_again(now));
                again.push(*piece);
            }
        }
        for piece in again {
            if self.queued.insert(piece) {
                self.fresh.push_front(piece);
            }
        }
    }

    /// `host` said something.
    pub fn heard(&mut self, host: HostNo) {
        self.silent.remove(&host);
    }

    fn patience(&self) -> Duration {
        self.time_to_leave
            .high()
            .map_or(Self::PATIENCE, |high| high * 2)
            .max(Duration::from_millis(20))
    }

    /// Somebody announced `piece`. True if it had not left before.
    pub fn left(&mut self, piece: PieceIndex, now: Moment) -> bool {
        let is_first = self.left.insert(piece);
        self.unleft.remove(piece);
        if self.queued.remove(piece) {
            self.fresh.retain(|fresh| *fresh != piece);
        }
        let reveals = self.reveals.remove(&piece).unwrap_or_default();
        if let Some(first) = reveals.first().filter(|_| is_first) {
            self.time_to_leave.add(now.since(first.at));
        }
        reveals.iter().for_each(|reveal| self.closed(reveal.to));
        is_first
    }

    /// Nobody else is known to have `piece` any more. If it is `held` it is to be revealed again.
    pub fn returned(&mut self, piece: PieceIndex, held: bool) {
        if self.left.remove(piece) && held {
            self.arrived(piece);
        }
    }

    /// A child is gone: what was revealed to it alone is fresh again.
    pub fn forget(&mut self, host: HostNo) {
        self.silent.remove(&host);
        if self.open.remove(&host).is_none() {
            return;
        }
        let mut alone = Vec::new();
        self.reveals.retain(|piece, reveals| {
            reveals.retain(|reveal| reveal.to != host);
            if reveals.is_empty() {
                alone.push(*piece);
            }
            !reveals.is_empty()
        });
        for piece in alone {
            if self.queued.insert(piece) {
                self.fresh.push_front(piece);
            }
        }
    }

    /// Whether this piece is revealed to `host` and has not left yet.
    pub fn is_revealed_to(&self, piece: PieceIndex, host: HostNo) -> bool {
        let mut reveals = self.reveals.get(&piece).into_iter().flatten();
        reveals.any(|reveal| reveal.to == host)
    }

    /// Held pieces that have not left yet: what would be lost with this host.
    pub fn unleft(&self) -> usize {
        self.unleft.len() as usize
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
        self.reveals.values().flatten().map(overdue).min()
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
        seed.recall(now);
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
    fn what_a_silent_child_alone_was_shown_or_has_is_revealed_to_another() {
        let mut seed = seed_with(2);
        assert_eq!(reveal_all(&mut seed, Moment(0), &[7]), [(0, 7), (1, 7)]);
        seed.left(piece(0), Moment(1));
        seed.fell_silent(HostNo(7), Moment(2), [piece(0)].into_iter());
        assert_eq!(
            reveal_all(&mut seed, Moment(2), &[7, 9]),
            [(1, 9), (0, 9)],
            "who is silent is shown no more while another is there"
        );
        assert_eq!(seed.unleft(), 1, "one has left before");
        seed.arrived(piece(2));
        assert_eq!(reveal_all(&mut seed, Moment(2), &[7, 9]), [(2, 9)]);
        assert!(!seed.left(piece(0), Moment(3)) && seed.left(piece(1), Moment(3)));
        assert!(!seed.is_revealed_to(piece(0), HostNo(9)));
        seed.heard(HostNo(7));
        seed.arrived(piece(3));
        assert_eq!(reveal_all(&mut seed, Moment(4), &[7, 9]), [(3, 7)]);
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

    #[test]
    fn open_reveals_are_bounded_for_each_child() {
        let mut seed = SuperSeed::new(&PieceSet::full(4000), PieceSet::empty(4000));
        let told = reveal_all(&mut seed, Moment(0), &[7, 9]);
        assert_eq!(told.len(), 16);
        assert!(!seed.has_room(HostNo(7)) && !seed.has_room(HostNo(9)));
        seed.left(piece(told[0].0), Moment(1));
        assert_eq!(reveal_all(&mut seed, Moment(1), &[7, 9]).len(), 1);
        seed.forget(HostNo(9));
        assert_eq!(reveal_all(&mut seed, Moment(1), &[3]).len(), 8);
        assert_eq!(seed.unleft(), 3999);
    }

    #[test]
    fn what_nobody_has_any_more_is_revealed_again() {
        let mut seed = seed_with(1);
        reveal_all(&mut seed, Moment(0), &[7]);
        seed.left(piece(0), Moment(1));
        seed.returned(piece(0), true);
        assert_eq!(seed.unleft(), 1);
        assert_eq!(reveal_all(&mut seed, Moment(2), &[9]), [(0, 9)]);
        seed.returned(piece(5), false);
        assert_eq!(seed.unleft(), 1, "it was neither here nor elsewhere");
    }
}
