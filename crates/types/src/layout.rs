//! How content is cut into pieces.

use crate::{ByteCount, ByteRange, PieceIndex, PieceRun};

const MIB: u64 = 1 << 20;

/// Content length and piece length. The piece length follows from the content length alone, so that every host cuts
/// alike without asking, and is frozen per [`crate::KEY_SCHEME`].
///
/// The steps lie near `sqrt(F * u * tau / log2 N)`, the best trade of pipeline fill against per-piece cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    length: u64,
    piece_length: u64,
}

/// Why a length has no layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// More pieces than an index can count.
    #[error("content of {length} bytes is too long: the limit is 2^55 bytes")]
    TooLong {
        /// The refused length in bytes.
        length: u64,
    },
    /// A custom piece length that no subtree of a hash has.
    #[error("a piece length of {piece_length} bytes is not a power of two of at least 1024")]
    PieceLength {
        /// The refused piece length in bytes.
        piece_length: u64,
    },
}

impl Layout {
    /// The longest content: 2^31 pieces of 16 MiB.
    pub const LENGTH_MAX: ByteCount = ByteCount(1 << 55);

    /// The layout of content of `length` bytes.
    pub fn of(length: ByteCount) -> Result<Self, LayoutError> {
        let piece_length = match length.0 {
            0..=0x200_0000 => 128 << 10,            // to 32 MiB
            0x200_0001..=0x800_0000 => 256 << 10,   // to 128 MiB
            0x800_0001..=0x2000_0000 => MIB,        // to 512 MiB
            0x2000_0001..=0x1_0000_0000 => 4 * MIB, // to 4 GiB
            _ => 16 * MIB,
        };
        Self::custom(length, ByteCount(piece_length))
    }

    /// A layout with a piece length of the caller's choice, for the simulator and tests: real tasks use [`Layout::of`].
    pub fn custom(length: ByteCount, piece_length: ByteCount) -> Result<Self, LayoutError> {
        if !piece_length.0.is_power_of_two() || piece_length.0 < 1024 {
            return Err(LayoutError::PieceLength {
                piece_length: piece_length.0,
            });
        }
        if length > Self::LENGTH_MAX || length.0.div_ceil(piece_length.0) > u64::from(u32::MAX) {
            return Err(LayoutError::TooLong { length: length.0 });
        }
        Ok(Self {
            length: length.0,
            piece_length: piece_length.0,
        })
    }

    /// Bytes of content.
    pub const fn length(&self) -> ByteCount {
        ByteCount(self.length)
    }

    /// Bytes of every piece but the last, which may be shorter.
    pub const fn piece_length(&self) -> ByteCount {
        ByteCount(self.piece_length)
    }

    /// Number of pieces. Empty content has one piece of no bytes, so that it too is verified and announced.
    pub fn piece_count(&self) -> u32 {
        u32::try_from(self.length.div_ceil(self.piece_length).max(1)).expect("checked by `custom`")
    }

    /// The last piece.
    pub fn last(&self) -> PieceIndex {
        PieceIndex(self.piece_count() - 1)
    }

    /// Every piece.
    pub fn all(&self) -> PieceRun {
        PieceRun {
            first: PieceIndex(0),
            count: self.piece_count(),
        }
    }

    /// Whether `piece` exists.
    pub fn contains(&self, piece: PieceIndex) -> bool {
        piece.0 < self.piece_count()
    }

    /// The bytes of `piece`; empty beyond the end.
    pub fn range_of(&self, piece: PieceIndex) -> ByteRange {
        self.range_of_run(PieceRun {
            first: piece,
            count: 1,
        })
    }

    /// The bytes of `run`; cut at the end of the content.
    pub fn range_of_run(&self, run: PieceRun) -> ByteRange {
        let start = u64::from(run.first.0) * self.piece_length;
        let end = start + u64::from(run.count) * self.piece_length;
        ByteRange::new(start.min(self.length), end.min(self.length)).expect("start is before end")
    }

    /// Bytes of `piece`.
    pub fn length_of(&self, piece: PieceIndex) -> ByteCount {
        self.range_of(piece).length()
    }

    /// The pieces that hold `range`; none if it is empty or lies beyond the end.
    pub fn pieces_of(&self, range: ByteRange) -> Option<PieceRun> {
        let range = range.intersection(&ByteRange::whole(self.length()))?;
        let index =
            |offset: u64| u32::try_from(offset / self.piece_length).expect("within the content");
        let (first, last) = (index(range.start()), index(range.end() - 1));
        Some(PieceRun {
            first: PieceIndex(first),
            count: last - first + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_steps_are_frozen() {
        let piece_length = |length| {
            Layout::of(ByteCount(length))
                .expect("a layout")
                .piece_length()
                .0
        };
        let steps = [
            (0, 128 << 10),
            (32 * MIB, 128 << 10),
            (32 * MIB + 1, 256 << 10),
            (128 * MIB, 256 << 10),
            (128 * MIB + 1, MIB),
            (512 * MIB, MIB),
            (512 * MIB + 1, 4 * MIB),
            (4096 * MIB, 4 * MIB),
            (4096 * MIB + 1, 16 * MIB),
            (1 << 31, 4 * MIB),
            ((1 << 53) + 1, 16 * MIB),
        ];
        for (length, expected) in steps {
            assert_eq!(piece_length(length), expected, "{length}");
        }
    }

    #[test]
    fn lengths_at_the_edge_of_integers_are_counted_or_refused() {
        for length in [1 << 31, 1 << 32, (1 << 32) + 1, (1 << 53) + 1, 1 << 55] {
            let layout = Layout::of(ByteCount(length)).expect("a layout");
            assert_eq!(
                layout.range_of_run(layout.all()).length(),
                ByteCount(length)
            );
        }
        for length in [(1 << 55) + 1, u64::MAX] {
            assert_eq!(
                Layout::of(ByteCount(length)),
                Err(LayoutError::TooLong { length })
            );
        }
    }

    #[test]
    fn empty_content_is_one_empty_piece() {
        let layout = Layout::of(ByteCount::ZERO).expect("a layout");
        assert_eq!(
            (layout.piece_count(), layout.length_of(PieceIndex(0))),
            (1, ByteCount::ZERO)
        );
        assert_eq!(layout.pieces_of(ByteRange::whole(ByteCount(1))), None);
    }

    proptest! {
        #[test]
        fn pieces_cover_the_content_once(length in 0u64..1 << 40) {
            let layout = Layout::of(ByteCount(length)).expect("a layout");
            let last = layout.range_of(layout.last());
            prop_assert_eq!(last.end(), length);
            prop_assert!(last.length() <= layout.piece_length());
            prop_assert!(length == 0 || !last.is_empty());
            prop_assert!(layout.range_of(PieceIndex(layout.piece_count())).is_empty());
        }

        #[test]
        fn a_range_lies_within_its_pieces(length in 1u64..1 << 34, a: u64, b: u64) {
            let layout = Layout::of(ByteCount(length)).expect("a layout");
            let (a, b) = (a % length, b % length);
            let range = ByteRange::new(a.min(b), a.max(b) + 1).expect("a range");
            let run = layout.pieces_of(range).expect("within the content");
            let covered = layout.range_of_run(run);
            prop_assert!(covered.start() <= range.start() && range.end() <= covered.end());
            prop_assert!(covered.start() + layout.piece_length().0 > range.start());
        }
    }
}
