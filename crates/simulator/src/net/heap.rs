//! Which flow ends next: a heap that knows where each flow stands, so that a new rate moves one entry.
//!
//! Four children per node: half the depth of a binary heap, and siblings share a cache line.

const CHILDREN: usize = 4;
const ABSENT: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: u64,
    slot: u32,
}

/// Slots ordered by a moment; ties by slot.
#[derive(Debug, Default)]
pub(super) struct Ends {
    heap: Vec<Entry>,
    /// Where each slot stands in `heap`.
    places: Vec<u32>,
}

impl Ends {
    /// The earliest entry: its moment and slot.
    pub(super) fn first(&self) -> Option<(u64, u32)> {
        self.heap.first().map(|entry| (entry.at, entry.slot))
    }

    /// Enters `slot` at `at`, or moves it there.
    pub(super) fn set(&mut self, slot: u32, at: u64) {
        let index = slot as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, ABSENT);
        }
        let entry = Entry { at, slot };
        let mut place = self.places[index] as usize;
        if self.places[index] == ABSENT {
            place = self.heap.len();
            self.heap.push(entry);
        }
        self.settle(place, entry);
    }

    /// Takes `slot` out, if it is in.
    pub(super) fn remove(&mut self, slot: u32) {
        let place = self.places[slot as usize];
        if place == ABSENT {
            return;
        }
        self.places[slot as usize] = ABSENT;
        let last = self.heap.pop().expect("a slot with a place is in the heap");
        if last.slot != slot {
            self.settle(place as usize, last);
        }
    }

    /// Writes `entry` where it belongs, starting from the hole at `place`.
    fn settle(&mut self, mut place: usize, entry: Entry) {
        while place > 0 {
            let above = (place - 1) / CHILDREN;
            if self.heap[above] <= entry {
                break;
            }
            self.write(place, self.heap[above]);
            place = above;
        }
        loop {
            let first = place * CHILDREN + 1;
            let below = first..(first + CHILDREN).min(self.heap.len());
            let Some(least) = below.min_by_key(|&child| self.heap[child]) else {
                break;
            };
            if entry <= self.heap[least] {
                break;
            }
            self.write(place, self.heap[least]);
            place = least;
        }
        self.write(place, entry);
    }

    fn write(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        self.places[entry.slot as usize] =
            u32::try_from(place).expect("slots, and so places, fit in 32 bits");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    use super::*;

    proptest! {
        #[test]
        fn the_first_is_always_the_least(steps in prop::collection::vec((0u32..30, prop::option::of(0u64..50)), 1..300)) {
            let mut ends = Ends::default();
            let mut held = BTreeMap::new();
            for (slot, at) in steps {
                match at {
                    Some(at) => { ends.set(slot, at); held.insert(slot, at); }
                    None if held.remove(&slot).is_some() => ends.remove(slot),
                    None => {}
                }
                let least = held.iter().map(|(slot, at)| (*at, *slot)).min();
                prop_assert_eq!(ends.first(), least);
            }
        }
    }
}
