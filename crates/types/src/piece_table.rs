//! Piece digests, and how they fold to the digest of the whole.
//!
//! A piece is a subtree of the content's BLAKE3 tree (its length is a power of two), so its digest is that subtree's
//! chaining value and the table of all of them folds to the plain BLAKE3 hash of the content: one pass of hashing
//! serves both. Content of one piece is its own root; its digest is the plain hash.

use blake3::{
    Hasher,
    hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};

use crate::{Digest, Layout, PieceIndex, hex};

/// The digest of one piece.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PieceDigest([u8; 32]);

impl PieceDigest {
    /// A digest from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest of `bytes` as `piece` of content laid out as `layout`.
    pub fn of(layout: &Layout, piece: PieceIndex, bytes: &[u8]) -> Self {
        let mut hasher = PieceHasher::new(layout, piece);
        hasher.update(bytes);
        hasher.finish()
    }
}

impl std::fmt::Debug for PieceDigest {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        hex::write(to, &self.0[..5])
    }
}

/// Hashes one piece as its bytes come in.
pub struct PieceHasher {
    hasher: Hasher,
    is_root: bool,
}

impl PieceHasher {
    /// A hasher for `piece`.
    pub fn new(layout: &Layout, piece: PieceIndex) -> Self {
        let mut hasher = Hasher::new();
        hasher.set_input_offset(u64::from(piece.0) * layout.piece_length().0);
        Self {
            hasher,
            is_root: layout.piece_count() == 1,
        }
    }

    /// Takes the next bytes. More than the piece's length in all is a bug of the caller.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The digest of what was taken.
    pub fn finish(&self) -> PieceDigest {
        if self.is_root {
            PieceDigest(*self.hasher.finalize().as_bytes())
        } else {
            PieceDigest(self.hasher.finalize_non_root())
        }
    }
}

/// The digests of all pieces of one content, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceTable(Box<[PieceDigest]>);

/// Why digests make no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a table of {found} digests does not fit content of {expected} pieces")]
pub struct PieceTableError {
    /// Pieces of the layout.
    pub expected: u32,
    /// Digests that were given.
    pub found: usize,
}

impl PieceTable {
    /// A table with one digest per piece of `layout`.
    pub fn new(layout: &Layout, digests: Vec<PieceDigest>) -> Result<Self, PieceTableError> {
        let expected = layout.piece_count();
        if digests.len() == expected as usize {
            Ok(Self(digests.into()))
        } else {
            Err(PieceTableError {
                expected,
                found: digests.len(),
            })
        }
    }

    /// The digests in order.
    pub fn digests(&self) -> &[PieceDigest] {
        &self.0
    }

    /// The digest of `piece`.
    pub fn get(&self, piece: PieceIndex) -> Option<PieceDigest> {
        self.0.get(piece.0 as usize).copied()
    }

    /// The BLAKE3 hash of the whole content that this table describes.
    pub fn root(&self) -> Digest {
        let root = match &*self.0 {
            [only] => only.0,
            many => {
                let (left, right) = many.split_at(left_pieces(many.len()));
                *merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes()
            }
        };
        Digest::blake3(root)
    }
}

/// The left half of a BLAKE3 tree is the largest power of two below the whole.
fn left_pieces(count: usize) -> usize {
    count.div_ceil(2).next_power_of_two()
}

fn subtree(digests: &[PieceDigest]) -> ChainingValue {
    match digests {
        [only] => only.0,
        many => {
            let (left, right) = many.split_at(left_pieces(many.len()));
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ByteCount;

    fn check(piece_length: u64, length: u64) {
        let content: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
        let layout = Layout::custom(ByteCount(length), ByteCount(piece_length)).expect("a layout");
        let digests = layout
            .all()
            .pieces()
            .map(|piece| {
                let range = std::ops::Range::from(layout.range_of(piece));
                PieceDigest::of(
                    &layout,
                    piece,
                    &content[range.start as usize..range.end as usize],
                )
            })
            .collect();
        let table = PieceTable::new(&layout, digests).expect("one digest per piece");
        assert_eq!(
            table.root(),
            Digest::blake3(*blake3::hash(&content).as_bytes()),
            "{piece_length} {length}"
        );
    }

    #[test]
    fn the_table_folds_to_the_hash_at_every_border() {
        for piece_length in [1024, 4096, 128 << 10] {
            for length in [
                0,
                1,
                piece_length - 1,
                piece_length,
                piece_length + 1,
                2 * piece_length,
                3 * piece_length + 1,
            ] {
                check(piece_length, length);
            }
        }
    }

    proptest! {
        #[test]
        fn the_table_folds_to_the_hash(length in 0u64..200_000, power in 10u32..15) {
            check(1 << power, length);
        }
    }

    #[test]
    fn a_table_of_another_size_is_refused() {
        let layout = Layout::of(ByteCount(1)).expect("a layout");
        let digest = PieceDigest::from_bytes([0; 32]);
        assert_eq!(
            PieceTable::new(&layout, vec![digest; 2]),
            Err(PieceTableError {
                expected: 1,
                found: 2
            })
        );
    }
}
