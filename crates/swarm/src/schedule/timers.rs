//! What to look at when: one sorted set of moments.

use std::collections::BTreeSet;

use types::Moment;

use super::{hosts::HostNo, task::TaskNo};

/// What a moment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Send the gathered neighbour changes.
    Flush,
    /// Look at a task: lease, stall, retry.
    Task(TaskNo),
    /// A lowered host may be trusted again.
    Trust(HostNo),
}

/// The set. Each owner remembers the moment it is in the set with, so that it can be taken out.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Moment, Timer)>);

impl Timers {
    pub(super) fn set(&mut self, at: Moment, timer: Timer) {
        self.0.insert((at, timer));
    }

    pub(super) fn clear(&mut self, at: Moment, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    pub(super) fn first(&self) -> Option<Moment> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes the first timer that is due.
    pub(super) fn pop_due(&mut self, now: Moment) -> Option<Timer> {
        let (at, timer) = *self.0.first()?;
        (at <= now).then(|| {
            self.0.remove(&(at, timer));
            timer
        })
    }
}
