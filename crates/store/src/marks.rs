//! Which pieces of a content are on disk, with which digests, and which of them are to be believed.
//!
//! Pure. Marks rest in the index by groups of 64 pieces, so that a batch rewrites 2 KiB per content that grew and not
//! the whole table. A mark is *sound* when its bytes were written or hashed in this trust generation; an unclean boot
//! begins a new generation, which takes the soundness of all older groups without touching one of them.

use std::collections::{BTreeMap, BTreeSet};

use types::{ByteCount, Layout, PieceDigest, PieceIndex, PieceSet, PieceTable};

use crate::record::{Reader, RecordError, Writer};

const GROUP_PIECES: u32 = 64;
const VERSION: u8 = 1;

/// The marks of one content in memory: 32 bytes for each held piece, by groups, and two bits for every piece.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    layout: Layout,
    have: PieceSet,
    sound: PieceSet,
    digests: BTreeMap<u32, Box<[PieceDigest; 64]>>,
    dirty: BTreeSet<u32>,
    held: ByteCount,
}

/// What a group says in the index: absent, when no piece of it is held.
pub(crate) type GroupRecord = (u32, Option<Vec<u8>>);

impl Marks {
    pub(crate) fn empty(layout: Layout) -> Self {
        let none = PieceSet::empty(layout.piece_count());
        Self {
            layout,
            have: none.clone(),
            sound: none,
            digests: BTreeMap::new(),
            dirty: BTreeSet::new(),
            held: ByteCount::ZERO,
        }
    }

    /// Adds a group as the index has it. Its marks are sound only if they were so in this `generation`.
    pub(crate) fn load(
        &mut self,
        group: u32,
        bytes: &[u8],
        generation: u64,
    ) -> Result<(), RecordError> {
        let mut from = Reader::new(bytes, VERSION)?;
        let written_in = from.u64()?;
        let (have, sound) = (from.u64()?, from.u64()?);
        let digests = from.bytes(have.count_ones() as usize * 32)?;
        from.end()?;
        let mut digests = digests.as_chunks().0.iter();
        let first = group
            .checked_mul(GROUP_PIECES)
            .ok_or(RecordError::Damaged("a group lies outside its content"))?;
        for bit in (0..GROUP_PIECES).filter(|bit| have >> bit & 1 == 1) {
            let piece = PieceIndex(first.saturating_add(bit));
            if !self.layout.contains(piece) {
                return Err(RecordError::Damaged("a mark lies outside its content"));
            }
            let digest = digests.next().expect("one digest for each bit");
            self.insert(piece, PieceDigest::from_bytes(*digest));
            if written_in != generation || sound >> bit & 1 == 0 {
                self.sound.remove(piece);
            }
        }
        self.dirty.remove(&group);
        Ok(())
    }

    /// Marks `piece`, as hashed just now.
    pub(crate) fn insert(&mut self, piece: PieceIndex, digest: PieceDigest) {
        if self.have.insert(piece) {
            self.held = self.held.saturating_add(self.layout.length_of(piece));
        }
        self.sound.insert(piece);
        let group = piece.0 / GROUP_PIECES;
        let blank = || Box::new([PieceDigest::from_bytes([0; 32]); 64]);
        self.digests.entry(group).or_insert_with(blank)[(piece.0 % GROUP_PIECES) as usize] = digest;
        self.dirty.insert(group);
    }

    /// `piece` was hashed again and is what its mark says.
    pub(crate) fn confirm(&mut self, piece: PieceIndex) {
        if self.have.contains(piece) && self.sound.insert(piece) {
            self.dirty.insert(piece.0 / GROUP_PIECES);
        }
    }

    /// Takes the mark of `piece` back. True if there was one.
    pub(crate) fn remove(&mut self, piece: PieceIndex) -> bool {
        let removed = self.have.remove(piece);
        if removed {
            self.sound.remove(piece);
            self.held = self.held.saturating_sub(self.layout.length_of(piece));
            self.dirty.insert(piece.0 / GROUP_PIECES);
        }
        removed
    }

    /// No mark is believed until its piece is hashed again.
    pub(crate) fn doubt_all(&mut self) {
        self.sound = PieceSet::empty(self.layout.piece_count());
        self.touch_all();
    }

    /// Every group is to be written again.
    pub(crate) fn touch_all(&mut self) {
        self.dirty.extend(self.digests.keys());
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn have(&self) -> &PieceSet {
        &self.have
    }

    pub(crate) fn is_sound(&self, piece: PieceIndex) -> bool {
        self.sound.contains(piece)
    }

    /// The first piece from `from` on that is not held, or not believed.
    pub(crate) fn first_unsound(&self, from: PieceIndex) -> Option<PieceIndex> {
        self.sound.first_missing(from)
    }

    pub(crate) fn is_all_sound(&self) -> bool {
        self.sound.len() == self.have.len()
    }

    pub(crate) fn digest_of(&self, piece: PieceIndex) -> Option<PieceDigest> {
        self.have
            .contains(piece)
            .then(|| self.digests[&(piece.0 / GROUP_PIECES)][(piece.0 % GROUP_PIECES) as usize])
    }

    /// The table of the whole content, once every piece is held.
    pub(crate) fn table(&self) -> Option<PieceTable> {
        let digests: Option<Vec<_>> = if self.have.is_full() {
            self.layout
                .all()
                .pieces()
                .map(|piece| self.digest_of(piece))
                .collect()
        } else {
            None
        };
        PieceTable::new(&self.layout, digests?).ok()
    }

    pub(crate) fn held(&self) -> ByteCount {
        self.held
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The groups that changed since they were last taken, as the index is to have them.
    pub(crate) fn take_dirty(&mut self, generation: u64) -> Vec<GroupRecord> {
        std::mem::take(&mut self.dirty)
            .into_iter()
            .map(|group| (group, self.encode(group, generation)))
            .collect()
    }

    /// The index did not take these: they are still to be written.
    pub(crate) fn give_back(&mut self, groups: impl Iterator<Item = u32>) {
        self.dirty.extend(groups);
    }

    fn encode(&self, group: u32, generation: u64) -> Option<Vec<u8>> {
        let word = |set: &PieceSet| set.words().get(group as usize).copied().unwrap_or(0);
        let have = word(&self.have);
        if have == 0 {
            return None;
        }
        let mut to = Writer::new(VERSION);
        to.u64(generation);
        to.u64(have);
        to.u64(word(&self.sound));
        let digests = &self.digests[&group];
        for bit in (0..64).filter(|bit| have >> bit & 1 == 1) {
            to.bytes(digests[bit].as_bytes());
        }
        Some(to.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layout(pieces: u32) -> Layout {
        Layout::custom(ByteCount(u64::from(pieces) * 1024 - 5), ByteCount(1024)).expect("a layout")
    }

    fn digest(piece: u32) -> PieceDigest {
        PieceDigest::from_bytes([piece as u8; 32])
    }

    fn reload(pieces: u32, groups: &[GroupRecord], generation: u64) -> Marks {
        let mut marks = Marks::empty(layout(pieces));
        for (group, bytes) in groups {
            if let Some(bytes) = bytes {
                marks.load(*group, bytes, generation).expect("as written");
            }
        }
        marks
    }

    proptest! {
        #[test]
        fn marks_read_as_they_were_written(pieces in 1u32..200, marked in prop::collection::btree_set(0u32..200, 0..100), gone in prop::collection::vec(0u32..200, 0..20)) {
            let mut marks = Marks::empty(layout(pieces));
            for piece in marked.iter().filter(|piece| **piece < pieces) {
                marks.insert(PieceIndex(*piece), digest(*piece));
            }
            for piece in gone {
                marks.remove(PieceIndex(piece));
            }
            let groups = marks.take_dirty(3);
            prop_assert!(!marks.is_dirty());
            let same = reload(pieces, &groups, 3);
            prop_assert!(!same.is_dirty());
            prop_assert_eq!(same.have(), marks.have());
            prop_assert_eq!(same.held(), marks.held());
            for piece in marks.have().iter() {
                prop_assert_eq!(same.digest_of(piece), Some(digest(piece.0)));
                prop_assert!(same.is_sound(piece));
            }
            let doubted = reload(pieces, &groups, 4);
            prop_assert_eq!(doubted.have(), marks.have());
            prop_assert!(doubted.have().iter().all(|piece| !doubted.is_sound(piece)));
        }

        #[test]
        fn hostile_groups_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), group: u32) {
            let bytes = [&[1], &bytes[..]].concat();
            let _ = Marks::empty(layout(70)).load(group, &bytes, 0);
        }
    }

    #[test]
    fn soundness_comes_back_piece_by_piece() {
        let mut marks = Marks::empty(layout(3));
        marks.insert(PieceIndex(0), digest(0));
        marks.insert(PieceIndex(2), digest(2));
        let mut after_boot = reload(3, &marks.take_dirty(0), 1);
        after_boot.confirm(PieceIndex(2));
        after_boot.confirm(PieceIndex(1));
        let later = reload(3, &after_boot.take_dirty(1), 1);
        assert_eq!(
            [0, 1, 2].map(|piece| later.is_sound(PieceIndex(piece))),
            [false, false, true]
        );
        assert!(marks.is_all_sound() && !later.is_all_sound());
    }

    #[test]
    fn a_mark_outside_its_content_is_damage() {
        let mut marks = Marks::empty(layout(64));
        marks.insert(PieceIndex(63), digest(0));
        let (_, bytes) = marks.take_dirty(0).remove(0);
        let bytes = bytes.expect("a held piece");
        for (pieces, group) in [(63, 0), (64, 1), (64, u32::MAX)] {
            assert!(matches!(
                Marks::empty(layout(pieces)).load(group, &bytes, 0),
                Err(RecordError::Damaged(_))
            ));
        }
    }
}
