//! Whom to tell of a free slot.
//!
//! Telling everybody brings a crowd to one slot, and all but one of it loses a round trip; telling one may reach
//! somebody who has no use for it. So a few are told, at first those who were turned away of late, and while nobody
//! comes twice as many after twice the time: room is found by somebody, and idle hosts soon fall silent.

use std::{collections::BTreeSet, time::Duration};

use types::Moment;

use crate::HostNo;

/// What was told of room, and when.
#[derive(Debug, Default)]
pub(super) struct Telling {
    /// Slots that were told of and are still open.
    told: u8,
    /// Children told per slot the last time.
    width: usize,
    pause: Duration,
    again_at: Option<Moment>,
    /// Children that were refused, the last one last. Bounded.
    refused: Vec<HostNo>,
}

impl Telling {
    const REFUSED_MAX: usize = 8;
    const WIDTH_MAX: usize = 64;
    /// One round trip in a data centre with some work at both ends: earlier nobody can have come.
    const PAUSE_MIN: Duration = Duration::from_millis(20);
    const PAUSE_MAX: Duration = Duration::from_secs(2);

    pub(super) fn turned_away(&mut self, host: HostNo) {
        self.came(host);
        if self.refused.len() >= Self::REFUSED_MAX {
            self.refused.remove(0);
        }
        self.refused.push(host);
    }

    /// A child was admitted, or is gone.
    pub(super) fn came(&mut self, host: HostNo) {
        self.refused.retain(|refused| *refused != host);
    }

    pub(super) fn next(
        &mut self,
        now: Moment,
        room: u8,
        interested: impl FnOnce() -> Vec<HostNo>,
    ) -> Vec<HostNo> {
        self.told = self.told.min(room);
        if room == 0 {
            self.again_at = None;
        }
        let is_due = self.again_at.is_some_and(|at| now >= at);
        if room <= self.told && !is_due {
            return Vec::new();
        }
        let mut children = interested();
        if children.is_empty() {
            (self.told, self.again_at) = (0, None);
            return children;
        }
        (self.width, self.pause) = if room > self.told {
            (1, Self::PAUSE_MIN)
        } else {
            let width = (self.width * 2).min(Self::WIDTH_MAX);
            (width, (self.pause * 2).min(Self::PAUSE_MAX))
        };
        self.told = room;
        self.again_at = Some(now + self.pause);
        let latest = |host: &HostNo| {
            self.refused
                .iter()
                .rev()
                .position(|refused| refused == host)
        };
        children.sort_by_key(|host| latest(host).unwrap_or(usize::MAX));
        children.truncate(self.width * usize::from(room));
        children
    }

    /// When to call again although nothing changed.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.again_at
    }
}

/// The children of several tasks in one list, for [`super::Uploads::whom_to_tell`]: tasks take turns, and a child that
/// takes part in several is named once, so that it does not take the place of another.
pub fn in_turns(tasks: &[Vec<HostNo>]) -> Vec<HostNo> {
    let longest = tasks.iter().map(Vec::len).max().unwrap_or(0);
    let mut seen = BTreeSet::new();
    (0..longest)
        .flat_map(|turn| tasks.iter().filter_map(move |task| task.get(turn)))
        .copied()
        .filter(|host| seen.insert(*host))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_take_turns_and_no_child_is_named_twice() {
        let hosts = |numbers: &[u32]| numbers.iter().copied().map(HostNo).collect::<Vec<_>>();
        let tasks = [hosts(&[1, 2, 3]), hosts(&[]), hosts(&[1, 4]), hosts(&[2])];
        assert_eq!(in_turns(&tasks), hosts(&[1, 2, 4, 3]));
    }

    fn told(telling: &mut Telling, at: u64, room: u8) -> Vec<u32> {
        let children = || (1..=100).map(HostNo).collect();
        let told = telling.next(Moment(at * 1_000_000), room, children);
        told.into_iter().map(|host| host.0).collect()
    }

    #[test]
    fn one_child_is_told_of_a_slot_and_more_while_nobody_comes() {
        let mut telling = Telling::default();
        assert_eq!(told(&mut telling, 0, 1), [1]);
        assert!(told(&mut telling, 19, 1).is_empty());
        assert_eq!(told(&mut telling, 20, 1).len(), 2);
        assert!(
            told(&mut telling, 40, 1).is_empty(),
            "the pause doubles too"
        );
        assert_eq!(told(&mut telling, 60, 1).len(), 4);
        assert_eq!(told(&mut telling, 61, 2).len(), 2, "a second slot is news");
        assert!(told(&mut telling, 62, 0).is_empty() && telling.deadline().is_none());
    }

    #[test]
    fn who_was_turned_away_last_is_told_first() {
        let mut telling = Telling::default();
        (40..60).for_each(|host| telling.turned_away(HostNo(host)));
        telling.came(HostNo(59));
        assert_eq!(told(&mut telling, 0, 2), [58, 57]);
    }

    #[test]
    fn nobody_interested_means_no_deadline_and_a_first_word_later() {
        let mut telling = Telling::default();
        assert!(telling.next(Moment(0), 2, Vec::new).is_empty());
        assert_eq!(telling.deadline(), None);
        assert_eq!(told(&mut telling, 1, 2).len(), 2);
    }
}
