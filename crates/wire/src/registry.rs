//! The open links of one host, bounded: the idle one that was used longest ago makes room for a new one.
//!
//! Pure: what it displaces it hands back, and the caller says goodbye to it.

use std::collections::BTreeMap;

use types::{HostId, Moment};

use crate::settle::{Direction, keep};

/// A link's place: the remote and the lane.
pub type Place = (HostId, u8);

#[derive(Debug)]
struct Entry<L> {
    link: L,
    direction: Direction,
    used: Moment,
    is_busy: bool,
}

/// Open links by place: never more than the limit, one per place.
#[derive(Debug)]
pub struct Links<L> {
    my: HostId,
    limit: usize,
    open: BTreeMap<Place, Entry<L>>,
}

/// A link that wants a place.
#[derive(Debug)]
pub struct Candidate<L> {
    /// The remote and the lane.
    pub place: Place,
    /// Who dialled.
    pub direction: Direction,
    /// The caller's handle on it.
    pub link: L,
}

/// What became of a candidate. Links that are handed back are the caller's to end.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission<L> {
    /// It has its place.
    Stays,
    /// It has its place; this one had it before, or is idle and made room. Say `Duplicate` or `Idle` to it.
    Displaces(Place, L),
    /// The connection that is there already stays: say `Duplicate` to the candidate.
    Duplicate(L),
    /// All places are taken by busy links: say `Full` to the candidate.
    Full(L),
}

impl<L> Links<L> {
    /// No links yet, for at most `limit`.
    pub fn new(my: HostId, limit: usize) -> Self {
        Self {
            my,
            limit,
            open: BTreeMap::new(),
        }
    }

    /// Settles where `candidate` goes. Of two dials in opposite directions the smaller host's stays; a second dial in
    /// the same direction replaces the first, whose dialler must have given it up.
    pub fn admit(&mut self, now: Moment, candidate: Candidate<L>) -> Admission<L> {
        let Candidate {
            place,
            direction,
            link,
        } = candidate;
        let entry = Entry {
            link,
            direction,
            used: now,
            is_busy: false,
        };
        if let Some(there) = self.open.get_mut(&place) {
            if there.direction != direction && !keep(direction, self.my, place.0) {
                return Admission::Duplicate(entry.link);
            }
            let before = std::mem::replace(there, entry);
            return Admission::Displaces(place, before.link);
        }
        if self.open.len() < self.limit {
            self.open.insert(place, entry);
            return Admission::Stays;
        }
        let idle = self.open.iter().filter(|(_, entry)| !entry.is_busy);
        let Some(oldest) = idle
            .min_by_key(|(_, entry)| entry.used)
            .map(|(place, _)| *place)
        else {
            return Admission::Full(entry.link);
        };
        let out = self.open.remove(&oldest).expect("it was found there");
        self.open.insert(place, entry);
        Admission::Displaces(oldest, out.link)
    }

    /// The link at `place`.
    pub fn get(&self, place: Place) -> Option<&L> {
        self.open.get(&place).map(|entry| &entry.link)
    }

    /// Notes that the link at `place` was used.
    pub fn touch(&mut self, now: Moment, place: Place) {
        if let Some(entry) = self.open.get_mut(&place) {
            entry.used = now;
        }
    }

    /// Asks of each link whether a transfer needs it; only needed before a candidate for which there is no place left.
    pub fn note_busy(&mut self, is_busy: impl Fn(&L) -> bool) {
        for entry in self.open.values_mut() {
            entry.is_busy = is_busy(&entry.link);
        }
    }

    /// Whether every place is taken.
    pub fn is_full(&self) -> bool {
        self.open.len() >= self.limit
    }

    /// Forgets the link at `place`, if `is_it` says that it is the one that ended and not its successor.
    pub fn remove(&mut self, place: Place, is_it: impl FnOnce(&L) -> bool) -> Option<L> {
        if !self
            .open
            .get(&place)
            .is_some_and(|entry| is_it(&entry.link))
        {
            return None;
        }
        self.open.remove(&place).map(|entry| entry.link)
    }

    /// All links by place.
    pub fn iter(&self) -> impl Iterator<Item = (Place, &L)> {
        self.open.iter().map(|(place, entry)| (*place, &entry.link))
    }

    /// How many links are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MY: HostId = HostId::from_bytes([5; 32]);

    fn place(byte: u8) -> Place {
        (HostId::from_bytes([byte; 32]), 0)
    }

    fn admit(
        links: &mut Links<u32>,
        now: u64,
        (host, direction, link): (u8, Direction, u32),
    ) -> Admission<u32> {
        links.admit(
            Moment(now),
            Candidate {
                place: place(host),
                direction,
                link,
            },
        )
    }

    #[test]
    fn the_smaller_hosts_dial_stays_whichever_came_first() {
        use Direction::{Incoming, Outgoing};
        let mut links = Links::new(MY, 4);
        assert_eq!(admit(&mut links, 1, (9, Outgoing, 1)), Admission::Stays);
        assert_eq!(
            admit(&mut links, 2, (9, Incoming, 2)),
            Admission::Duplicate(2)
        );
        assert_eq!(admit(&mut links, 1, (3, Outgoing, 3)), Admission::Stays);
        assert_eq!(
            admit(&mut links, 2, (3, Incoming, 4)),
            Admission::Displaces(place(3), 3)
        );
        assert_eq!(
            admit(&mut links, 3, (3, Incoming, 5)),
            Admission::Displaces(place(3), 4)
        );
        assert_eq!(links.len(), 2);
    }

    #[test]
    fn the_idle_link_used_longest_ago_makes_room() {
        let mut links = Links::new(MY, 3);
        for host in [10, 11, 12] {
            admit(
                &mut links,
                u64::from(host),
                (host, Direction::Outgoing, u32::from(host)),
            );
        }
        assert!(links.is_full());
        links.touch(Moment(21), place(11));
        links.note_busy(|link| *link == 10);
        assert_eq!(
            admit(&mut links, 30, (13, Direction::Outgoing, 13)),
            Admission::Displaces(place(12), 12)
        );
        links.note_busy(|_| true);
        assert_eq!(
            admit(&mut links, 32, (14, Direction::Outgoing, 14)),
            Admission::Full(14)
        );
        assert_eq!(links.remove(place(10), |link| *link == 99), None);
        assert_eq!(links.remove(place(10), |link| *link == 10), Some(10));
        assert_eq!((links.len(), links.get(place(13))), (2, Some(&13)));
    }
}
