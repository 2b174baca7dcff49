//! A set of pieces of one content: one bit each.

use crate::{PieceIndex, PieceRun};

/// Which pieces of a content of `piece_count` pieces are in the set. Pieces beyond the count are never in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PieceSet {
    words: Box<[u64]>,
    piece_count: u32,
    size: u32,
}

impl PieceSet {
    /// No piece.
    pub fn empty(piece_count: u32) -> Self {
        Self {
            words: vec![0; (piece_count as usize).div_ceil(64)].into(),
            piece_count,
            size: 0,
        }
    }

    /// Every piece.
    pub fn full(piece_count: u32) -> Self {
        let mut words: Box<[u64]> = vec![u64::MAX; (piece_count as usize).div_ceil(64)].into();
        if let Some(last) = words.last_mut().filter(|_| !piece_count.is_multiple_of(64)) {
            *last = (1 << (piece_count % 64)) - 1;
        }
        Self {
            words,
            piece_count,
            size: piece_count,
        }
    }

    /// The set with these bits, least significant first; `None` if the number of words is wrong or a bit lies beyond
    /// the count.
    pub fn from_words(words: &[u64], piece_count: u32) -> Option<Self> {
        let full = Self::full(piece_count);
        let fits = words.len() == full.words.len()
            && words
                .iter()
                .zip(&full.words)
                .all(|(word, mask)| word & !mask == 0);
        fits.then(|| Self {
            words: words.into(),
            piece_count,
            size: words.iter().map(|word| word.count_ones()).sum(),
        })
    }

    /// The bits, least significant first.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Number of pieces of the content.
    pub fn piece_count(&self) -> u32 {
        self.piece_count
    }

    /// Number of pieces in the set.
    pub fn len(&self) -> u32 {
        self.size
    }

    /// Whether no piece is in it.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Whether every piece is in it.
    pub fn is_full(&self) -> bool {
        self.size == self.piece_count
    }

    /// Whether `piece` is in it.
    pub fn contains(&self, piece: PieceIndex) -> bool {
        self.words
            .get(piece.0 as usize / 64)
            .is_some_and(|word| word >> (piece.0 % 64) & 1 == 1)
    }

    /// Whether every piece of `run` is in it.
    pub fn contains_run(&self, run: PieceRun) -> bool {
        run.end() <= u64::from(self.piece_count) && run.pieces().all(|piece| self.contains(piece))
    }

    /// Adds `piece`. True if it was missing and exists.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        let added = piece.0 < self.piece_count && !self.contains(piece);
        if added {
            self.words[piece.0 as usize / 64] |= 1 << (piece.0 % 64);
            self.size += 1;
        }
        added
    }

    /// Adds every piece of `run` that exists.
    pub fn insert_run(&mut self, run: PieceRun) {
        let end = run.end().min(u64::from(self.piece_count));
        for index in run.first.0..u32::try_from(end).unwrap_or(self.piece_count) {
            self.insert(PieceIndex(index));
        }
    }

    /// Takes `piece` out. True if it was in it.
    pub fn remove(&mut self, piece: PieceIndex) -> bool {
        let removed = self.contains(piece);
        if removed {
            self.words[piece.0 as usize / 64] &= !(1 << (piece.0 % 64));
            self.size -= 1;
        }
        removed
    }

    /// Adds every piece of `other`, a set over the same content.
    pub fn union_with(&mut self, other: &Self) {
        debug_assert_eq!(self.piece_count, other.piece_count);
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
        self.size = self.words.iter().map(|word| word.count_ones()).sum();
    }

    /// Whether `self` has a piece that `other` lacks.
    pub fn has_more_than(&self, other: &Self) -> bool {
        self.words
            .iter()
            .zip(&other.words)
            .any(|(mine, theirs)| mine & !theirs != 0)
    }

    /// The pieces in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        bits(self.words.iter().copied())
    }

    /// The pieces of `self` that are in none of `without`, ascending.
    pub fn difference<'a, const N: usize>(
        &'a self,
        without: [&'a Self; N],
    ) -> impl Iterator<Item = PieceIndex> + 'a {
        bits(self.words.iter().enumerate().map(move |(at, word)| {
            without
                .iter()
                .fold(*word, |word, set| word & !set.words[at])
        }))
    }

    /// The pieces of the content that are not in the set, ascending.
    pub fn missing(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        let piece_count = self.piece_count;
        bits(self.words.iter().map(|word| !word)).take_while(move |piece| piece.0 < piece_count)
    }

    /// The first piece at or after `from` that is not in the set.
    pub fn first_missing(&self, from: PieceIndex) -> Option<PieceIndex> {
        let mut at = from.0 as usize / 64;
        let mut mask = u64::MAX << (from.0 % 64);
        while let Some(word) = self.words.get(at) {
            let absent = !word & mask;
            if absent != 0 {
                let piece = PieceIndex(u32::try_from(at * 64).ok()? + absent.trailing_zeros());
                return (piece.0 < self.piece_count).then_some(piece);
            }
            at += 1;
            mask = u64::MAX;
        }
        None
    }

    /// The set as runs of adjacent pieces, ascending.
    pub fn runs(&self) -> impl Iterator<Item = PieceRun> + '_ {
        let mut next = self.iter().peekable();
        std::iter::from_fn(move || {
            let first = next.next()?;
            let mut count = 1;
            while next.next_if(|piece| piece.0 == first.0 + count).is_some() {
                count += 1;
            }
            Some(PieceRun { first, count })
        })
    }
}

fn bits(words: impl Iterator<Item = u64>) -> impl Iterator<Item = PieceIndex> {
    words.enumerate().flat_map(|(at, mut word)| {
        std::iter::from_fn(move || {
            if word == 0 {
                return None;
            }
            let bit = word.trailing_zeros();
            word &= word - 1;
            Some(PieceIndex(
                u32::try_from(at * 64).expect("a piece index") + bit,
            ))
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_behaves_like_a_set_of_numbers(count in 1u32..200, ops in prop::collection::vec((any::<bool>(), 0u32..220), 0..200), from in 0u32..220) {
            let mut set = PieceSet::empty(count);
            let mut model = BTreeSet::new();
            for (add, piece) in ops {
                if add {
                    prop_assert_eq!(set.insert(PieceIndex(piece)), piece < count && model.insert(piece));
                } else {
                    prop_assert_eq!(set.remove(PieceIndex(piece)), model.remove(&piece));
                }
            }
            prop_assert_eq!(set.len() as usize, model.len());
            prop_assert_eq!(set.iter().map(|p| p.0).collect::<BTreeSet<_>>(), model.clone());
            prop_assert_eq!(set.missing().count(), count as usize - model.len());
            prop_assert_eq!(set.first_missing(PieceIndex(from)).map(|p| p.0), (from..count).find(|p| !model.contains(p)));
            prop_assert_eq!(set.runs().flat_map(PieceRun::pieces).map(|p| p.0).collect::<BTreeSet<_>>(), model);
            let full = PieceSet::full(count);
            prop_assert!(full.is_full() && full.missing().next().is_none());
            prop_assert_eq!(full.difference([&set]).count(), set.missing().count());
            prop_assert_eq!(PieceSet::from_words(set.words(), count), Some(set));
        }
    }

    #[test]
    fn bits_beyond_the_end_are_refused() {
        assert_eq!(PieceSet::from_words(&[0b1000], 3), None);
        assert_eq!(PieceSet::from_words(&[0, 0], 3), None);
        assert_eq!(
            PieceSet::from_words(&[0b101], 3).map(|set| set.len()),
            Some(2)
        );
    }

    #[test]
    fn a_run_past_the_end_is_cut() {
        let mut set = PieceSet::empty(5);
        set.insert_run(PieceRun {
            first: PieceIndex(3),
            count: u32::MAX,
        });
        assert_eq!(set.len(), 2);
        assert!(!set.contains_run(PieceRun {
            first: PieceIndex(3),
            count: 3
        }));
    }
}
