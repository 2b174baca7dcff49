//! Which pieces anybody here wants, and where local readers stand.

use types::{PieceIndex, PieceRun, PieceSet};

/// A local reader, as the shell numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReaderNo(pub u32);

#[derive(Clone, Copy, Debug)]
struct Reader {
    number: ReaderNo,
    at: PieceIndex,
    end: u64,
}

/// What is wanted: everything, or what readers ask for (a sparse task).
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    want_all: bool,
    readers: Vec<Reader>,
    /// The pieces that are wanted, derived from the above.
    wanted: PieceSet,
}

impl Demand {
    pub(crate) fn new(piece_count: u32) -> Self {
        Self {
            want_all: false,
            readers: Vec::new(),
            wanted: PieceSet::empty(piece_count),
        }
    }

    pub(crate) fn want_all(&mut self, all: bool) {
        self.want_all = all;
        self.derive();
    }

    pub(crate) fn read(&mut self, number: ReaderNo, run: PieceRun) {
        self.readers.retain(|reader| reader.number != number);
        self.readers.push(Reader {
            number,
            at: run.first,
            end: run.end(),
        });
        self.derive();
    }

    pub(crate) fn read_at(&mut self, number: ReaderNo, at: PieceIndex) {
        if let Some(reader) = self
            .readers
            .iter_mut()
            .find(|reader| reader.number == number)
        {
            reader.at = at;
            // What was read stays wanted until the reader ends: it may be read again, and is here anyway.
        }
    }

    pub(crate) fn read_ended(&mut self, number: ReaderNo) {
        self.readers.retain(|reader| reader.number != number);
        self.derive();
    }

    fn derive(&mut self) {
        let piece_count = self.wanted.piece_count();
        if self.want_all {
            if !self.wanted.is_full() {
                self.wanted = PieceSet::full(piece_count);
            }
            return;
        }
        self.wanted = PieceSet::empty(piece_count);
        for reader in &self.readers {
            let count = u32::try_from(reader.end.saturating_sub(u64::from(reader.at.0)))
                .unwrap_or(u32::MAX);
            self.wanted.insert_run(PieceRun {
                first: reader.at,
                count,
            });
        }
    }

    /// The pieces that are wanted, held or not.
    pub(crate) fn wanted(&self) -> &PieceSet {
        &self.wanted
    }

    /// The first missing piece of each reader that is blocked: the one it stands at is not here.
    pub(crate) fn blocked<'a>(
        &'a self,
        have: &'a PieceSet,
    ) -> impl Iterator<Item = PieceIndex> + 'a {
        self.readers
            .iter()
            .filter(|reader| u64::from(reader.at.0) < reader.end && !have.contains(reader.at))
            .map(|reader| reader.at)
    }

    /// The windows of all readers: from each one's position, `length` pieces.
    pub(crate) fn windows(&self, length: u32) -> impl Iterator<Item = PieceRun> + '_ {
        self.readers.iter().map(move |reader| {
            let left = reader.end.saturating_sub(u64::from(reader.at.0));
            PieceRun {
                first: reader.at,
                count: length.min(u32::try_from(left).unwrap_or(u32::MAX)),
            }
        })
    }

    /// Whether everything wanted is in `have`.
    pub(crate) fn is_met(&self, have: &PieceSet) -> bool {
        !self.wanted.has_more_than(have)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_task_wants_what_its_readers_ask_for() {
        let mut demand = Demand::new(10);
        demand.read(
            ReaderNo(1),
            PieceRun {
                first: PieceIndex(2),
                count: 3,
            },
        );
        demand.read(
            ReaderNo(2),
            PieceRun {
                first: PieceIndex(8),
                count: 100,
            },
        );
        assert_eq!(
            demand.wanted().iter().map(|p| p.0).collect::<Vec<_>>(),
            [2, 3, 4, 8, 9]
        );
        demand.read_ended(ReaderNo(1));
        assert_eq!(demand.wanted().len(), 2);
        demand.want_all(true);
        assert!(demand.wanted().is_full());
    }

    #[test]
    fn a_reader_is_blocked_at_a_missing_piece_only() {
        let mut demand = Demand::new(4);
        let mut have = PieceSet::empty(4);
        have.insert(PieceIndex(0));
        demand.read(
            ReaderNo(1),
            PieceRun {
                first: PieceIndex(0),
                count: 4,
            },
        );
        assert_eq!(demand.blocked(&have).next(), None);
        demand.read_at(ReaderNo(1), PieceIndex(1));
        assert_eq!(demand.blocked(&have).next(), Some(PieceIndex(1)));
        demand.read_at(ReaderNo(1), PieceIndex(4));
        assert_eq!(demand.blocked(&have).next(), None, "it has read everything");
    }
}
