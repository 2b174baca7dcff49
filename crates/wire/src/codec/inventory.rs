//! What a host has of a task, in the shortest of four forms.

use types::{Layout, PieceRun, PieceSet};

use super::Runs;

/// The pieces of one host, as they travel in `Open`. A plain [`PieceSet`] is built by [`Inventory::into_set`] only once
/// the receiver has agreed to the layout: a stranger's length must not make anybody allocate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inventory {
    /// Nothing yet.
    Empty,
    /// Everything.
    Full,
    /// One bit per piece, least significant first, none past the last piece.
    Bitmap(Box<[u64]>),
    /// Runs of pieces.
    Runs(Runs),
}

impl Inventory {
    /// Content of up to this many pieces (32 TiB at 16 MiB each) fits as a bitmap of 256 KiB.
    pub const BITMAP_PIECES_MAX: u32 = 8 * (256 << 10);

    /// The shortest form of `set`, and the haves to send after it: none unless the set has more than
    /// [`Inventory::BITMAP_PIECES_MAX`] pieces in more runs than one message lists.
    pub fn of(set: &PieceSet) -> (Self, Vec<Runs>) {
        if set.is_empty() {
            return (Self::Empty, Vec::new());
        }
        if set.is_full() {
            return (Self::Full, Vec::new());
        }
        let bitmap_fits = set.piece_count() <= Self::BITMAP_PIECES_MAX;
        let runs_worth = (set.words().len()).min(Runs::COUNT_MAX);
        let few: Vec<PieceRun> = set.runs().take(runs_worth + 1).collect();
        if few.len() > runs_worth && bitmap_fits {
            return (Self::Bitmap(set.words().into()), Vec::new());
        }
        let mut lists = Runs::split(set.runs());
        let first = lists.remove(0);
        (Self::Runs(first), lists)
    }

    /// The set over the pieces of `layout`. Allocates one bit per piece of it.
    pub fn into_set(self, layout: &Layout) -> PieceSet {
        let piece_count = layout.piece_count();
        match self {
            Self::Empty => PieceSet::empty(piece_count),
            Self::Full => PieceSet::full(piece_count),
            Self::Bitmap(words) => PieceSet::from_words(&words, piece_count)
                .unwrap_or_else(|| PieceSet::empty(piece_count)),
            Self::Runs(runs) => {
                let mut set = PieceSet::empty(piece_count);
                runs.as_slice().iter().for_each(|run| set.insert_run(*run));
                set
            }
        }
    }

    /// Whether it speaks of no piece past `piece_count`, and of none twice.
    pub(super) fn fits(&self, piece_count: u32) -> bool {
        match self {
            Self::Empty | Self::Full => true,
            Self::Bitmap(words) => {
                let spare = piece_count % 64;
                words.len() == (piece_count as usize).div_ceil(64)
                    && (spare == 0 || words.last().is_none_or(|last| last >> spare == 0))
            }
            Self::Runs(runs) => {
                runs.end() <= u64::from(piece_count) && runs.piece_count() <= u64::from(piece_count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::{ByteCount, PieceIndex};

    use super::*;

    #[test]
    fn each_set_takes_its_shortest_form() {
        let of = |pieces: Vec<u32>| {
            let mut set = PieceSet::empty(640);
            pieces.into_iter().for_each(|piece| {
                set.insert(PieceIndex(piece));
            });
            Inventory::of(&set).0
        };
        assert_eq!(of(vec![]), Inventory::Empty);
        assert_eq!(of((0..640).collect()), Inventory::Full);
        assert!(matches!(of((0..300).collect()), Inventory::Runs(_)));
        assert!(matches!(
            of((0..320).map(|at| at * 2).collect()),
            Inventory::Bitmap(_)
        ));
    }

    #[test]
    fn a_scattered_inventory_beyond_the_bitmap_goes_on_as_haves() {
        let mut set = PieceSet::empty(Inventory::BITMAP_PIECES_MAX + 1);
        (0..3000).for_each(|at| {
            set.insert(PieceIndex(at * 2));
        });
        let (first, more) = Inventory::of(&set);
        assert!(matches!(first, Inventory::Runs(_)));
        assert_eq!(more.iter().map(Runs::piece_count).sum::<u64>(), 3000 - 1024);
    }

    proptest! {
        #[test]
        fn an_inventory_means_the_set_it_was_made_of(bits in proptest::collection::vec(any::<bool>(), 1..700)) {
            let layout = Layout::of(ByteCount((bits.len() as u64 * 128) << 10)).expect("a layout");
            prop_assume!(layout.piece_count() as usize <= bits.len());
            let mut set = PieceSet::empty(layout.piece_count());
            bits.iter().enumerate().filter(|(_, bit)| **bit).for_each(|(at, _)| {
                set.insert(PieceIndex(at as u32));
            });
            let (inventory, more) = Inventory::of(&set);
            prop_assert!(more.is_empty() && inventory.fits(layout.piece_count()));
            prop_assert_eq!(inventory.into_set(&layout), set);
        }
    }
}
