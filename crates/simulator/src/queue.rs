//! The events of virtual time, in order.
//!
//! A radix heap: an event lies in the bucket of the highest bit in which its time differs from the last one taken, so
//! that a push is one append, and an event moves down a few buckets, in bulk, before it is taken. That is several
//! times faster than a binary heap of millions, needs no sequence numbers (16 bytes beside the payload become 8), and
//! events of one moment come out in the order they went in, because every move keeps the order.
//!
//! The price: time never runs backwards. An event pushed for a moment already past happens at the present one.

use std::{collections::VecDeque, mem};

use types::Moment;

/// Events that wait for their moment. Nothing can be taken out early: who cancels a timer gives it a version and
/// ignores it when it rings.
#[derive(Debug)]
pub struct Queue<T> {
    /// The time of the last event taken: all waiting ones are at or after it.
    now: u64,
    /// Events of `now` itself, in order.
    due: VecDeque<T>,
    /// Bucket `b` holds events whose highest bit that differs from `now` is bit `b`.
    later: [Bucket<T>; 64],
    /// Which of `later` are not empty.
    occupied: u64,
    waiting: usize,
}

#[derive(Debug)]
struct Bucket<T> {
    earliest: u64,
    events: Vec<(u64, T)>,
}

impl<T> Bucket<T> {
    const EMPTY: Self = Self {
        earliest: u64::MAX,
        events: Vec::new(),
    };
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Queue<T> {
    /// An empty queue at the start of time.
    pub const fn new() -> Self {
        Self {
            now: 0,
            due: VecDeque::new(),
            later: [const { Bucket::EMPTY }; 64],
            occupied: 0,
            waiting: 0,
        }
    }

    /// How many events wait.
    pub const fn len(&self) -> usize {
        self.waiting
    }

    /// Whether none waits.
    pub const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Lets `event` happen at `at`, or right after those of the present moment if `at` is past.
    pub fn push(&mut self, at: Moment, event: T) {
        self.waiting += 1;
        self.place(at.0.max(self.now), event);
    }

    /// When the next event happens.
    pub fn next_at(&self) -> Option<Moment> {
        if !self.due.is_empty() {
            return Some(Moment(self.now));
        }
        self.first_bucket()
            .map(|bucket| Moment(self.later[bucket].earliest))
    }

    /// The next event and its moment, which becomes the present one.
    pub fn pop(&mut self) -> Option<(Moment, T)> {
        if self.due.is_empty() {
            self.advance()?;
        }
        self.waiting -= 1;
        let event = self.due.pop_front().expect("advancing found an event");
        Some((Moment(self.now), event))
    }

    fn first_bucket(&self) -> Option<usize> {
        (self.occupied != 0).then(|| self.occupied.trailing_zeros() as usize)
    }

    /// Moves to the earliest waiting moment and spreads its bucket over the lower ones, all empty now.
    fn advance(&mut self) -> Option<()> {
        let first = self.first_bucket()?;
        self.occupied &= !(1 << first);
        let bucket = &mut self.later[first];
        self.now = mem::replace(&mut bucket.earliest, u64::MAX);
        let mut events = mem::take(&mut bucket.events);
        for (at, event) in events.drain(..) {
            self.place(at, event);
        }
        // The room is kept for the next ones: a lower bucket took every event.
        self.later[first].events = events;
        Some(())
    }

    fn place(&mut self, at: u64, event: T) {
        let Some(bit) = (at ^ self.now).checked_ilog2() else {
            self.due.push_back(event);
            return;
        };
        let bucket = &mut self.later[bit as usize];
        bucket.earliest = bucket.earliest.min(at);
        bucket.events.push((at, event));
        self.occupied |= 1 << bit;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn events_of_one_moment_keep_their_order() {
        let mut queue = Queue::new();
        for (at, event) in [(5, 'b'), (9, 'd'), (5, 'c'), (0, 'a'), (9, 'e')] {
            queue.push(Moment(at), event);
        }
        let order: String = std::iter::from_fn(|| queue.pop()).map(|e| e.1).collect();
        assert_eq!(order, "abcde");
    }

    #[test]
    fn an_event_for_the_past_happens_at_once() {
        let mut queue = Queue::new();
        queue.push(Moment(10), "first");
        queue.pop();
        queue.push(Moment(3), "late");
        assert_eq!(queue.pop(), Some((Moment(10), "late")));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn the_last_moment_of_all_is_a_moment_too() {
        let mut queue = Queue::new();
        queue.push(Moment::NEVER, ());
        assert_eq!(queue.next_at(), Some(Moment::NEVER));
        assert_eq!(queue.pop(), Some((Moment::NEVER, ())));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_sorted_list(steps in prop::collection::vec(prop::option::of(0u64..500), 1..400)) {
            let mut queue = Queue::new();
            let mut sorted: Vec<(u64, usize)> = Vec::new();
            let mut now = 0;
            for (number, step) in steps.into_iter().enumerate() {
                if let Some(ahead) = step {
                    let at = now + ahead * ahead;
                    queue.push(Moment(at), number);
                    let place = sorted.partition_point(|held| *held <= (at, number));
                    sorted.insert(place, (at, number));
                } else {
                    let expected = (!sorted.is_empty()).then(|| sorted.remove(0));
                    prop_assert_eq!(queue.next_at().map(|at| at.0), expected.map(|e| e.0));
                    prop_assert_eq!(queue.pop().map(|(at, event)| (at.0, event)), expected);
                    now = expected.map_or(now, |e| e.0);
                }
                prop_assert_eq!(queue.len(), sorted.len());
            }
        }
    }
}
