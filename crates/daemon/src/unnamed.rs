//! Signed words for pieces whose signer nobody named yet. Their names may be on the way.
//!
//! Anybody can make keys and sign by them, so what is kept of that is little, counted, and shared out by who passed it on: a
//! host that says much drives out its own words and nobody else's.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use types::{HostId, Segment};

/// Room for such words over all tasks of this host, a part of `memory.budget`. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Aside(Arc<Room>);

#[derive(Debug)]
struct Room {
    bytes: usize,
    of_one: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    by: BTreeMap<HostId, usize>,
}

/// The room of one word, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    from: HostId,
    bytes: usize,
}

impl Aside {
    /// What one word takes beside its digests, with all that points to it.
    const WORD: usize = 512;
    const DIGEST: usize = 32;

    /// Room for `bytes`, of which one host gets a sixteenth.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Room {
            bytes,
            of_one: bytes / 16,
            taken: Mutex::default(),
        }))
    }

    /// Room for a word of so many digests that `from` passed on, if there is any.
    pub(crate) fn place(&self, from: HostId, digests: usize) -> Option<Place> {
        if digests > Unnamed::DIGESTS_MAX {
            return None;
        }
        let bytes = Self::WORD + digests * Self::DIGEST;
        let mut taken = self.0.taken.lock();
        let of_one = taken.by.get(&from).copied().unwrap_or_default();
        if of_one + bytes > self.0.of_one || taken.bytes + bytes > self.0.bytes {
            return None;
        }
        taken.bytes += bytes;
        *taken.by.entry(from).or_default() += bytes;
        Some(Place {
            room: Arc::clone(&self.0),
            from,
            bytes,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock();
        taken.bytes -= self.bytes;
        if let Some(of_one) = taken.by.get_mut(&self.from) {
            *of_one -= self.bytes;
            if *of_one == 0 {
                taken.by.remove(&self.from);
            }
        }
    }
}

/// Words for one task that wait for a name, and who passed each on, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Unnamed(VecDeque<(Arc<Segment>, Place)>);

impl Unnamed {
    /// Several times what is asked of parents at once.
    const MAX: usize = 64;
    /// Of one host: beyond it that host drives out its own words.
    const OF_ONE_MAX: usize = 16;
    /// Digests in one: an importer signs each piece by itself.
    const DIGESTS_MAX: usize = 16;

    /// Keeps a well-signed segment that was passed on by who has the place. Of too many who said most loses the oldest.
    pub(crate) fn keep(&mut self, segment: Arc<Segment>, place: Place) {
        let (words, from) = (&mut self.0, place.from);
        words.retain(|(held, place)| place.from != from || held.run() != segment.run());
        words.push_back((segment, place));
        let mut counts: BTreeMap<HostId, usize> = BTreeMap::new();
        for (_, place) in words.iter() {
            *counts.entry(place.from).or_default() += 1;
        }
        let own = counts.get(&from).copied().unwrap_or_default();
        // Among equals it is the one that comes now.
        let most = counts
            .iter()
            .max_by_key(|(host, count)| (**count, **host == from));
        let loser = match own > Self::OF_ONE_MAX {
            true => Some(from),
            false if words.len() > Self::MAX => most.map(|(host, _)| *host),
            false => None,
        };
        let at = loser.and_then(|loser| words.iter().position(|(_, place)| place.from == loser));
        at.and_then(|at| words.remove(at));
    }

    /// Takes those of signers that may sign by now.
    pub(crate) fn take(&mut self, may_sign: impl Fn(&HostId) -> bool) -> Vec<Arc<Segment>> {
        let (named, rest): (VecDeque<_>, _) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(segment, _)| may_sign(&segment.signer));
        self.0 = rest;
        named.into_iter().map(|(segment, _)| segment).collect()
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

    /// Words for one task in room enough.
    fn words() -> (Unnamed, impl Fn(&mut Unnamed, Arc<Segment>, HostId)) {
        let aside = Aside::new(1 << 20);
        let keep = move |words: &mut Unnamed, segment: Arc<Segment>, from| {
            if let Some(place) = aside.place(from, segment.digests.len()) {
                words.keep(segment, place);
            }
        };
        (Unnamed::default(), keep)
    }

    #[test]
    fn who_makes_up_keys_drives_out_nobody_elses_words() {
        let (mut words, keep) = words();
        keep(&mut words, segment(9, 0, 1), host(1));
        for first in 0..200 {
            keep(&mut words, segment(8, first, 1), host(2));
        }
        keep(&mut words, segment(9, 1, 1000), host(1));
        assert_eq!(words.0.len(), 1 + Unnamed::OF_ONE_MAX);
        for from in 3..50 {
            for first in 0..10 {
                keep(&mut words, segment(7, first, 1), host(from));
            }
        }
        assert_eq!(words.0.len(), Unnamed::MAX);
        let taken = words.take(|signer| *signer == host(9));
        assert_eq!(taken, [segment(9, 0, 1)], "nobody drove it out");
        assert!(words.take(|signer| *signer == host(9)).is_empty());
    }

    #[test]
    fn the_same_run_of_the_same_host_counts_once() {
        let (mut words, keep) = words();
        for signer in [5, 6] {
            keep(&mut words, segment(signer, 3, 1), host(1));
        }
        assert_eq!(words.take(|_| true), [segment(6, 3, 1)]);
    }

    #[test]
    fn what_is_set_aside_for_all_tasks_is_bounded_in_all_and_by_who_passed_it_on() {
        let aside = Aside::new(1 << 20);
        let most = |from| std::iter::from_fn(|| aside.place(host(from), 1)).collect::<Vec<_>>();
        let of_one = most(1);
        assert_eq!(of_one.len(), (1 << 16) / (Aside::WORD + Aside::DIGEST));
        assert!(aside.place(host(2), 1).is_some(), "others have room");
        let of_all: Vec<_> = (2..40).flat_map(most).collect();
        assert!(of_one.len() + of_all.len() <= (1 << 20) / (Aside::WORD + Aside::DIGEST));
        assert!(aside.place(host(50), 1).is_none());
        drop((of_one, of_all));
        assert!(aside.place(host(1), Unnamed::DIGESTS_MAX).is_some());
        let taken = aside.0.taken.lock();
        assert!(taken.bytes == 0 && taken.by.is_empty());
    }
}
