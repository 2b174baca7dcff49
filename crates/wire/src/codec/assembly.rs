//! The order of one piece's data frames.

use types::{ByteCount, Layout, PieceIndex};

use super::{Data, Violation};

/// Follows one piece as its frames come in: each starts where the one before ended, the last one ends the piece.
/// Kept by the caller per wanted piece; it holds no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembly {
    piece: PieceIndex,
    length: u64,
    next: u32,
    is_complete: bool,
}

/// Where a piece stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More frames follow.
    More,
    /// All bytes came.
    Complete,
}

impl Assembly {
    /// Nothing of `piece` has come yet.
    pub fn new(layout: &Layout, piece: PieceIndex) -> Self {
        Self {
            piece,
            length: layout.length_of(piece).0,
            next: 0,
            is_complete: false,
        }
    }

    /// Takes the next frame of this piece. After an error it is unchanged.
    ///
    /// Errors: `DataUnwanted` for another piece or one already complete, `DataOrder`, `DataBounds`.
    pub fn take(&mut self, data: &Data) -> Result<Progress, Violation> {
        if data.piece != self.piece || self.is_complete {
            return Err(Violation::DataUnwanted(data.piece));
        }
        if data.offset != self.next {
            return Err(Violation::DataOrder {
                piece: self.piece,
                expected: self.next,
                found: data.offset,
            });
        }
        data.check(self.length)?;
        self.next += u32::try_from(data.bytes.len()).expect("a frame is below 4 GiB");
        self.is_complete = data.last;
        Ok(if data.last {
            Progress::Complete
        } else {
            Progress::More
        })
    }

    /// Bytes that came.
    pub fn received(&self) -> ByteCount {
        ByteCount(u64::from(self.next))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::codec::TaskNo;

    fn data(offset: u32, length: usize, last: bool) -> Data {
        Data {
            no: TaskNo(1),
            piece: PieceIndex(0),
            offset,
            last,
            bytes: Bytes::from(vec![0; length]),
        }
    }

    fn assembly(length: u64) -> Assembly {
        Assembly::new(
            &Layout::of(ByteCount(length)).expect("a layout"),
            PieceIndex(0),
        )
    }

    #[test]
    fn frames_in_order_complete_a_piece_once() {
        let mut piece = assembly(1000);
        assert_eq!(piece.take(&data(0, 600, false)), Ok(Progress::More));
        assert_eq!(piece.take(&data(600, 400, true)), Ok(Progress::Complete));
        assert_eq!(
            piece.take(&data(0, 600, false)),
            Err(Violation::DataUnwanted(PieceIndex(0)))
        );
        assert_eq!(assembly(0).take(&data(0, 0, true)), Ok(Progress::Complete));
    }

    #[test]
    fn gaps_repeats_and_overruns_are_named_and_change_nothing() {
        let mut piece = assembly(1000);
        assert_eq!(piece.take(&data(0, 600, false)), Ok(Progress::More));
        for offset in [0, 599, 601] {
            assert!(matches!(
                piece.take(&data(offset, 10, false)),
                Err(Violation::DataOrder { .. })
            ));
        }
        for (length, last) in [(401, true), (400, false), (399, true), (0, false)] {
            assert!(matches!(
                piece.take(&data(600, length, last)),
                Err(Violation::DataBounds { .. })
            ));
        }
        assert_eq!(piece.received(), ByteCount(600));
        assert_eq!(piece.take(&data(600, 400, true)), Ok(Progress::Complete));
    }
}
