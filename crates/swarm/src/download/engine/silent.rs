//! Children of an importer that are not heard of any more.
//!
//! A host whose process was stopped keeps its links for many seconds. Until they end, the importer alone has what it gave to
//! that child alone, and nobody else is told: it would stand still until the scheduler names another, who reads it again.

use types::{Moment, PieceIndex};

use super::Download;
use crate::{HostNo, download::neighbours::Neighbour};

impl Download {
    /// `host` said something of this task.
    pub(super) fn heard(&mut self, now: Moment, host: HostNo) {
        if let Some(neighbour) = self.neighbours.get_mut(host) {
            neighbour.heard_at = now;
        }
        if let Some(seed) = &mut self.importing.seed {
            seed.heard(host);
        }
    }

    /// Has what silent children alone were shown, or alone have, revealed to others.
    pub(super) fn notice_silence(&mut self, now: Moment) {
        let Some(seed) = &mut self.importing.seed else {
            return;
        };
        let (neighbours, offer, patience) = (&self.neighbours, &self.offer, seed.silence_max());
        for child in neighbours.iter() {
            if seed.is_silent(child.host) || now < child.heard_at + patience {
                continue;
            }
            let speaks = |other: &Neighbour| now < other.heard_at + patience;
            let is_wanting = |piece: PieceIndex| {
                let mut others = neighbours.iter();
                others.any(|other| speaks(other) && !other.have.contains(piece))
            };
            let alone = child.have.iter().filter(|piece| {
                offer.contains(*piece) && neighbours.copies(*piece) == 1 && is_wanting(*piece)
            });
            seed.fell_silent(child.host, now, alone);
        }
    }

    /// When the next child has been silent for too long.
    pub(super) fn silence_at(&self) -> Option<Moment> {
        let seed = self.importing.seed.as_ref()?;
        let children = self.neighbours.iter();
        let speaking = children.filter(|child| !seed.is_silent(child.host));
        let patience = seed.silence_max();
        speaking.map(|child| child.heard_at + patience).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use types::{ByteCount, Chance, Epoch, Layout, PieceRun, PieceSet};

    use super::*;
    use crate::{
        SlotHint,
        download::{Action, DownloadPolicy, Event, Lease, Supplier},
    };

    const SLEEPER: HostNo = HostNo(1);
    const OTHER: HostNo = HostNo(2);
    const BEGIN: Moment = Moment(1);

    fn joined(host: HostNo) -> Event {
        let (have, slots) = (PieceSet::empty(8), SlotHint::default());
        Event::Joined { host, have, slots }
    }

    fn has(host: HostNo, piece: u32) -> Event {
        let (run, slots) = (PieceRun::one(PieceIndex(piece)), SlotHint::default());
        Event::Has { host, run, slots }
    }

    fn imported(piece: u32) -> Event {
        let (piece, from) = (PieceIndex(piece), Supplier::Origin);
        Event::Verified { piece, from }
    }

    fn revealed(download: &mut Download, now: Moment, events: Vec<Event>) -> Vec<(HostNo, u32)> {
        for event in events {
            download.handle(now, event);
        }
        let told = std::iter::from_fn(|| download.next_action(now));
        let reveal = |action| match action {
            Action::Reveal { to, piece } => Some((to, piece.0)),
            _ => None,
        };
        told.filter_map(reveal).collect()
    }

    /// An importer of eight pieces with one child.
    fn importer() -> Download {
        let layout = Layout::custom(ByteCount::mib(8), ByteCount::mib(1)).expect("a sound layout");
        let (policy, have) = (DownloadPolicy::default(), PieceSet::empty(8));
        let mut download = Download::new(layout, have, policy, Chance::seeded(1));
        let (epoch, run, until) = (Epoch(1), layout.all(), Moment::NEVER);
        let lease = Event::Leased(Lease { epoch, run, until });
        revealed(&mut download, BEGIN, vec![Event::WantAll(true), lease]);
        download
    }

    #[test]
    fn what_a_child_that_fell_silent_alone_has_or_was_shown_is_revealed_to_another() {
        let mut download = importer();
        let first = vec![joined(SLEEPER), imported(0), imported(1)];
        let to_sleeper = [(SLEEPER, 0), (SLEEPER, 1)];
        assert_eq!(revealed(&mut download, BEGIN, first), to_sleeper);
        let falls_silent = BEGIN + Duration::from_millis(400);
        let left = vec![has(SLEEPER, 0), joined(OTHER)];
        assert_eq!(revealed(&mut download, falls_silent, left), []);
        let mut now = falls_silent;
        let mut again = Vec::new();
        while again.is_empty() {
            now = download.deadline(now).expect("a silence is noticed");
            // The other has nothing to tell of these pieces, and speaks.
            let slots = SlotHint::default();
            let speaks = Event::Slots { host: OTHER, slots };
            again = revealed(&mut download, now, vec![speaks, Event::Tick]);
        }
        again.sort_unstable();
        assert_eq!(again, [(OTHER, 0), (OTHER, 1)]);
        assert!(now <= falls_silent + Duration::from_secs(1), "{now}");
        let next = vec![has(OTHER, 0), has(OTHER, 1), imported(2)];
        assert_eq!(revealed(&mut download, now, next), [(OTHER, 2)]);
    }

    #[test]
    fn who_lost_its_lease_shows_all_that_another_would_read_again() {
        let mut download = importer();
        let first = vec![joined(SLEEPER), imported(0), joined(OTHER)];
        assert_eq!(revealed(&mut download, BEGIN, first), [(SLEEPER, 0)]);
        download.handle(BEGIN, Event::LeaseEnded { epoch: Epoch(1) });
        let told: Vec<Action> = std::iter::from_fn(|| download.next_action(BEGIN)).collect();
        for to in [SLEEPER, OTHER] {
            assert!(told.contains(&Action::RevealAll { to }), "{told:?}");
            assert!(download.shown_to(to).contains(PieceIndex(0)));
        }
    }

    #[test]
    fn nobody_is_silent_while_this_host_slept() {
        let mut download = importer();
        revealed(&mut download, BEGIN, vec![joined(SLEEPER), joined(OTHER)]);
        revealed(&mut download, BEGIN, vec![imported(0), imported(1)]);
        let due = download.deadline(BEGIN).expect("it has children");
        let wakes = due + Duration::from_secs(20);
        revealed(&mut download, wakes, vec![Event::Tick]);
        let seed = download.importing.seed.as_ref().expect("it imports");
        assert!(!seed.is_silent(SLEEPER) && !seed.is_silent(OTHER));
    }
}
