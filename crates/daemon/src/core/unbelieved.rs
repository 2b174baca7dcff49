//! Pieces that came with the word of somebody whom nobody named yet, and were dropped.
//!
//! Who sent them is not asked for them again, since their word may never count. Once it does, they are asked for anew, and
//! the word comes with them: that there was room for it before is not needed.

use std::collections::BTreeMap;

use swarm::HostNo;
use types::{HostId, PieceIndex, PieceRun, PieceSet};

/// Such pieces of one task, by who sent them and whose word it was.
#[derive(Debug, Default)]
pub(super) struct Unbelieved(BTreeMap<(HostNo, HostId), PieceSet>);

impl Unbelieved {
    /// Signers that are remembered of one sender: a task has few importers, and anybody can make keys.
    const SIGNERS_MAX: usize = 4;

    /// `from` sent `piece`, one of so many, with the word of `signer`.
    pub(super) fn note(
        &mut self,
        (from, signer): (HostNo, HostId),
        (piece, piece_count): (PieceIndex, u32),
    ) {
        let of_one = |(key, _): &(&(HostNo, HostId), &PieceSet)| key.0 == from;
        let known: Vec<(HostNo, HostId)> =
            self.0.iter().filter(of_one).map(|(key, _)| *key).collect();
        if known.len() >= Self::SIGNERS_MAX && !known.contains(&(from, signer)) {
            self.0.remove(&known[0]);
        }
        let pieces = self.0.entry((from, signer));
        let pieces = pieces.or_insert_with(|| PieceSet::empty(piece_count));
        pieces.insert(piece);
    }

    /// `from` is gone.
    pub(super) fn forget(&mut self, from: HostNo) {
        self.0.retain(|(host, _), _| *host != from);
    }

    /// Takes those of signers whose word counts by now, with who has them.
    pub(super) fn take(&mut self, may_sign: impl Fn(&HostId) -> bool) -> Vec<(HostNo, PieceRun)> {
        let named = (self.0).extract_if(.., |(_, signer), _| may_sign(signer));
        let runs = |((from, _), pieces): ((HostNo, HostId), PieceSet)| {
            let runs: Vec<PieceRun> = pieces.runs().collect();
            runs.into_iter().map(move |run| (from, run))
        };
        named.flat_map(runs).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(byte: u8) -> HostId {
        HostId::from_bytes([byte; 32])
    }

    #[test]
    fn pieces_are_asked_for_again_of_whom_had_them_once_their_signer_is_named() {
        let mut unbelieved = Unbelieved::default();
        let mut note = |from, of, piece| {
            unbelieved.note((HostNo(from), signer(of)), (PieceIndex(piece), 8));
        };
        (0..3).for_each(|piece| note(1, 9, piece));
        note(2, 9, 5);
        note(3, 9, 6);
        // It makes up keys: what is forgotten is its own.
        (20..60).for_each(|of| note(4, of, 7));
        unbelieved.forget(HostNo(3));
        assert_eq!(unbelieved.0.len(), 2 + Unbelieved::SIGNERS_MAX);
        let first = PieceIndex(0);
        let again = [
            (HostNo(1), PieceRun { first, count: 3 }),
            (HostNo(2), PieceRun::one(PieceIndex(5))),
        ];
        let named = |host: &HostId| *host == signer(9);
        assert_eq!(unbelieved.take(named), again);
        assert_eq!(unbelieved.take(named), [], "once");
    }
}
