//! Connections that a listener could not take: what that costs, and how often it is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::Moment;

/// Connections that could not be taken, mostly because the process is out of descriptors.
///
/// Each listener has one of its own; clones count together and tell apart from each other.
#[derive(Debug, Default)]
pub struct Untaken {
    all: Arc<AtomicU64>,
    /// Failures of this listener that nobody was told of yet.
    untold: u64,
    tell_at: Moment,
}

impl Untaken {
    /// How long a listener rests after a failure: no event tells when a descriptor is free.
    pub const REST: Duration = Duration::from_millis(100);
    /// One listener tells of its failures at most so often.
    const TELL_EVERY: Duration = Duration::from_secs(10);

    /// One more. Gives how many there were since that was last told, when it is time to tell.
    pub fn failed(&mut self, now: Moment) -> Option<u64> {
        self.all.fetch_add(1, Ordering::Relaxed);
        self.untold += 1;
        if now < self.tell_at {
            return None;
        }
        self.tell_at = now + Self::TELL_EVERY;
        Some(std::mem::take(&mut self.untold))
    }

    /// How many there were, of all listeners that count together.
    pub fn count(&self) -> u64 {
        self.all.load(Ordering::Relaxed)
    }
}

impl Clone for Untaken {
    fn clone(&self) -> Self {
        Self {
            all: Arc::clone(&self.all),
            untold: 0,
            tell_at: Moment::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_and_again_is_counted_each_time_and_told_now_and_then() {
        let all = Untaken::default();
        let mut one = all.clone();
        let mut told = Vec::new();
        for failure in 0..250 {
            told.extend(one.failed(Moment::ZERO + Untaken::REST * failure));
        }
        assert_eq!(told, [1, 100, 100]);
        assert_eq!(all.clone().failed(Moment::ZERO), Some(1));
        assert_eq!(all.count(), 251);
    }
}
