//! The piece table of one task as it grows: which digest each piece must have, and who says so.
//!
//! Pure. Signatures are checked, and signers found entitled, before a segment comes here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use types::{Epoch, HostId, PieceDigest, PieceIndex, Segment};

/// Accepted digests, with the segment that each came in.
#[derive(Debug, Default)]
pub struct Table {
    pieces: BTreeMap<PieceIndex, Arc<Segment>>,
    /// Signers whose segments turned out wrong: nothing of theirs is accepted again.
    liars: BTreeSet<HostId>,
    /// This host, once what it read itself turned out wrong: its own old word must not come back from others.
    own: Option<HostId>,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It told something new.
    New,
    /// All of it was known, from somebody whose word counts as much or more, or is about pieces that were here already.
    Known,
    /// Its signer lied before.
    Liar,
}

impl Table {
    /// The table of stored segments, whose signatures were checked when they came; those of `liars` do not count, and none
    /// for what is `held` and does not match.
    pub fn stored(
        segments: impl Iterator<Item = Segment>,
        liars: BTreeSet<HostId>,
        is_seed: impl Fn(&HostId) -> bool,
        held: impl Fn(PieceIndex) -> Option<PieceDigest>,
    ) -> Self {
        let mut table = Self {
            liars,
            ..Self::default()
        };
        for segment in segments {
            table.accept(Arc::new(segment), &is_seed, &held);
        }
        table
    }

    /// Takes a well-formed segment whose signature was checked. A seed's word replaces that of others and never the other way
    /// round; of two alike the newer epoch wins. Nothing is replaced that is `held`: who is given a piece gets the word that
    /// it matches.
    pub fn accept(
        &mut self,
        segment: Arc<Segment>,
        is_seed: impl Fn(&HostId) -> bool,
        held: impl Fn(PieceIndex) -> Option<PieceDigest>,
    ) -> Accepted {
        if self.liars.contains(&segment.signer) {
            return Accepted::Liar;
        }
        let mut accepted = Accepted::Known;
        let rank = |of: &Segment| (is_seed(&of.signer), of.epoch);
        let new = rank(&segment);
        for (piece, digest) in segment.run().pieces().zip(&segment.digests) {
            let known = self.pieces.get(&piece);
            let is_news = known.is_none_or(|known| rank(known) < new);
            if is_news && held(piece).is_none_or(|held| held == *digest) {
                self.pieces.insert(piece, Arc::clone(&segment));
                accepted = Accepted::New;
            }
        }
        accepted
    }

    /// The digest that `piece` must have.
    pub fn digest_of(&self, piece: PieceIndex) -> Option<PieceDigest> {
        let segment = self.pieces.get(&piece)?;
        segment
            .digests
            .get((piece.0 - segment.first.0) as usize)
            .copied()
    }

    /// The newest epoch of any segment.
    pub fn newest_epoch(&self) -> Epoch {
        let epochs = self.pieces.values().map(|segment| segment.epoch);
        epochs.max().unwrap_or_default()
    }

    /// The segment that vouches for `piece`, to be passed on with it.
    pub fn segment_of(&self, piece: PieceIndex) -> Option<&Arc<Segment>> {
        self.pieces.get(&piece)
    }

    /// Whether each of so many pieces has its digest here.
    pub fn is_whole(&self, piece_count: u32) -> bool {
        self.pieces.len() == piece_count as usize
    }

    /// Whose word it is made of.
    pub fn signers(&self) -> BTreeSet<HostId> {
        self.pieces.values().map(|segment| segment.signer).collect()
    }

    /// Whether what another host passes on as `signer`'s word does not count.
    pub fn refuses(&self, signer: &HostId) -> bool {
        self.liars.contains(signer) || self.own.as_ref() == Some(signer)
    }

    /// Forgets the words of signers that do not count any more: for which pieces, and whose.
    pub fn forget(&mut self, counts: impl Fn(&HostId) -> bool) -> Vec<(PieceIndex, HostId)> {
        let lost = (self.pieces).extract_if(.., |_, segment| !counts(&segment.signer));
        lost.map(|(piece, segment)| (piece, segment.signer))
            .collect()
    }

    /// Forgets every word.
    pub fn clear(&mut self) {
        self.pieces.clear();
    }

    /// The whole turned out wrong: every digest is void, and its signers are not believed again. What this host, `me`,
    /// reads anew counts. Returns who vouched for each piece.
    pub fn void(&mut self, me: HostId) -> BTreeMap<PieceIndex, HostId> {
        let pieces = std::mem::take(&mut self.pieces).into_iter();
        let signers: BTreeMap<_, _> = pieces
            .map(|(piece, segment)| (piece, segment.signer))
            .collect();
        let others = signers.values().filter(|signer| **signer != me);
        self.liars.extend(others);
        self.own = Some(me);
        signers
    }

    /// From now on the word of all but `liars` counts.
    pub fn believe_all_but(&mut self, liars: BTreeSet<HostId>) {
        (self.liars, self.own) = (liars, None);
    }
}

#[cfg(test)]
mod tests {
    use types::{ByteCount, Layout, TaskId};

    use super::*;

    fn segment(epoch: u64, first: u32, digests: &[u8], signer: u8) -> Arc<Segment> {
        Arc::new(Segment {
            task: TaskId::from_bytes([0; 32]),
            layout: Layout::of(ByteCount::mib(1)).expect("a layout"),
            epoch: Epoch(epoch),
            first: PieceIndex(first),
            digests: digests
                .iter()
                .map(|byte| PieceDigest::from_bytes([*byte; 32]))
                .collect(),
            signer: HostId::from_bytes([signer; 32]),
            signature: [0; 64],
        })
    }

    fn accept(table: &mut Table, segment: Arc<Segment>) -> Accepted {
        table.accept(segment, |_| false, |_| None)
    }

    #[test]
    fn a_newer_epoch_wins_and_an_older_one_changes_nothing() {
        let mut table = Table::default();
        assert_eq!(
            accept(&mut table, segment(2, 0, &[1, 2, 3], 9)),
            Accepted::New
        );
        assert_eq!(accept(&mut table, segment(1, 1, &[7], 8)), Accepted::Known);
        assert_eq!(accept(&mut table, segment(3, 2, &[5, 6], 8)), Accepted::New);
        assert_eq!(table.newest_epoch(), Epoch(3));
        let digest = |piece| {
            table
                .digest_of(PieceIndex(piece))
                .map(|digest| digest.as_bytes()[0])
        };
        assert_eq!(
            [0, 1, 2, 3, 4].map(digest),
            [Some(1), Some(2), Some(5), Some(6), None]
        );
    }

    #[test]
    fn nobody_believes_the_signers_of_a_void_table() {
        let (mut table, me) = (Table::default(), HostId::from_bytes([3; 32]));
        let (liar, other) = (HostId::from_bytes([9; 32]), HostId::from_bytes([7; 32]));
        accept(&mut table, segment(1, 0, &[1], 9));
        accept(&mut table, segment(1, 1, &[1], 3));
        let signers = [(PieceIndex(0), liar), (PieceIndex(1), me)];
        assert_eq!(table.void(me), signers.into());
        assert_eq!(accept(&mut table, segment(5, 0, &[1], 9)), Accepted::Liar);
        assert_eq!(table.digest_of(PieceIndex(0)), None);
        assert!(table.refuses(&liar) && table.refuses(&me) && !table.refuses(&other));
        assert_eq!(accept(&mut table, segment(6, 0, &[2], 7)), Accepted::New);
        assert_eq!(accept(&mut table, segment(6, 1, &[2], 3)), Accepted::New);
        table.believe_all_but(BTreeSet::new());
        assert!(!table.refuses(&liar) && !table.refuses(&me));
    }

    #[test]
    fn a_seeds_word_outranks_every_other_whatever_its_epoch() {
        let (mut table, seed) = (Table::default(), HostId::from_bytes([7; 32]));
        let is_seed = |host: &HostId| *host == seed;
        let mut accept = |segment| table.accept(segment, is_seed, |_| None);
        assert_eq!(accept(segment(9, 0, &[1], 8)), Accepted::New);
        assert_eq!(accept(segment(2, 0, &[2], 7)), Accepted::New);
        assert_eq!(accept(segment(9, 0, &[1], 8)), Accepted::Known);
        assert_eq!(accept(segment(3, 0, &[3], 7)), Accepted::New);
        assert_eq!(accept(segment(2, 0, &[2], 7)), Accepted::Known, "a replay");
        assert_eq!(table.forget(is_seed), []);
        let lost = table.forget(|_| false);
        assert_eq!(lost, [(PieceIndex(0), seed)], "it is none any more");
        assert_eq!(table.digest_of(PieceIndex(0)), None);
    }

    #[test]
    fn a_piece_that_is_here_keeps_the_word_that_it_matches() {
        let mut table = Table::default();
        let held = |piece: PieceIndex| (piece.0 == 0).then_some(PieceDigest::from_bytes([1; 32]));
        let mut accept = |segment| table.accept(segment, |_| false, held);
        assert_eq!(accept(segment(1, 0, &[1, 1], 7)), Accepted::New);
        assert_eq!(accept(segment(2, 0, &[2, 2], 8)), Accepted::New);
        let digest = |piece| table.digest_of(PieceIndex(piece));
        let [one, two] = [1, 2].map(|digest| Some(PieceDigest::from_bytes([digest; 32])));
        assert_eq!([digest(0), digest(1)], [one, two]);
        // Taken up from the store, which keeps whole segments.
        let words = [segment(1, 0, &[1, 1], 7), segment(2, 1, &[3], 8)];
        let words = words.map(|word| Segment::clone(&word)).into_iter();
        let held = |piece: PieceIndex| (piece.0 == 1).then_some(PieceDigest::from_bytes([1; 32]));
        let table = Table::stored(words, BTreeSet::new(), |_| false, held);
        let digest = |piece| table.digest_of(PieceIndex(piece));
        assert_eq!([digest(0), digest(1)], [one, one]);
    }
}
