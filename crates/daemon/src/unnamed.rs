//! Signed words for pieces whose signer nobody named yet. Their names may be on the way.

use std::{collections::VecDeque, sync::Arc};

use types::{HostId, Segment};

/// Words that wait for a name, and who passed each on, the oldest first. Anybody can make keys and sign by them, so what is
/// kept here is small.
#[derive(Debug, Default)]
pub(crate) struct Unnamed(VecDeque<(Arc<Segment>, HostId)>);

impl Unnamed {
    /// Several times what is asked of parents at once.
    const MAX: usize = 64;
    /// Of one host: beyond it that host drives out its own words, and nobody else's.
    const OF_ONE_MAX: usize = 16;
    /// Digests in one: an importer signs each piece by itself.
    const DIGESTS_MAX: usize = 16;

    /// Keeps a well-signed segment that `from` passed on. The oldest makes room.
    pub(crate) fn keep(&mut self, segment: Arc<Segment>, from: HostId) {
        if segment.digests.len() > Self::DIGESTS_MAX {
            return;
        }
        let words = &mut self.0;
        words.retain(|(held, by)| *by != from || held.run() != segment.run());
        let of_one = words.iter().filter(|(_, by)| *by == from).count();
        if of_one >= Self::OF_ONE_MAX {
            let oldest = words.iter().position(|(_, by)| *by == from);
            oldest.and_then(|oldest| words.remove(oldest));
        } else if words.len() >= Self::MAX {
            words.pop_front();
        }
        words.push_back((segment, from));
    }

    /// Takes those of signers that may sign by now.
    pub(crate) fn take(
        &mut self,
        may_sign: impl Fn(&HostId) -> bool,
    ) -> VecDeque<(Arc<Segment>, HostId)> {
        let (named, rest) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(segment, _)| may_sign(&segment.signer));
        self.0 = rest;
        named
    }
}

#[cfg(test)]
mod tests {
    use types::{ByteCount, Epoch, Layout, PieceDigest, PieceIndex, TaskId};

    use super::*;

    fn host(byte: u8) -> HostId {
        HostId::from_bytes([byte; 32])
    }

    fn segment(signer: u8, first: u32, count: usize) -> Arc<Segment> {
        Arc::new(Segment {
            task: TaskId::from_bytes([1; 32]),
            layout: Layout::of(ByteCount::mib(64)).expect("a layout"),
            epoch: Epoch(1),
            first: PieceIndex(first),
            digests: vec![PieceDigest::from_bytes([2; 32]); count],
            signer: host(signer),
            signature: [0; 64],
        })
    }

    #[test]
    fn who_makes_up_keys_drives_out_nobody_elses_words() {
        let mut words = Unnamed::default();
        words.keep(segment(9, 0, 1), host(1));
        for first in 0..200 {
            words.keep(segment(8, first, 1), host(2));
        }
        words.keep(segment(9, 1, 1000), host(1));
        assert_eq!(words.0.len(), 1 + Unnamed::OF_ONE_MAX);
        let taken = words.take(|signer| *signer == host(9));
        assert_eq!(taken, [(segment(9, 0, 1), host(1))]);
        assert!(words.take(|signer| *signer == host(9)).is_empty());
        let last = words.take(|_| true).pop_back().expect("others are left");
        assert_eq!(last.0.first, PieceIndex(199));
        for from in 0..50 {
            for first in 0..10 {
                words.keep(segment(7, first, 1), host(from));
            }
        }
        assert_eq!(words.0.len(), Unnamed::MAX);
    }

    #[test]
    fn the_same_run_of_the_same_host_counts_once() {
        let mut words = Unnamed::default();
        for signer in [5, 6] {
            words.keep(segment(signer, 3, 1), host(1));
        }
        assert_eq!(words.take(|_| true), [(segment(6, 3, 1), host(1))]);
    }
}
