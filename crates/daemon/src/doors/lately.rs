//! What was found out lately and need not be found out again for each ask: tasks whose length another host told wrong.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// How long it is believed.
const BELIEVED: Duration = Duration::from_secs(300);
/// Things remembered at once.
const COUNT_MAX: usize = 1024;

/// Things of one kind. They save requests and give nobody access.
pub(super) struct Lately<K>(Mutex<BTreeMap<K, Instant>>);

impl<K> Default for Lately<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord> Lately<K> {
    /// Notes `key` at `now`.
    pub(super) fn note(&self, key: K, now: Instant) {
        let mut noted = self.0.lock();
        if noted.len() >= COUNT_MAX {
            noted.retain(|_, at| now.saturating_duration_since(*at) < BELIEVED);
        }
        // Full of fresh ones: the next asks find it out again.
        if noted.len() < COUNT_MAX {
            noted.insert(key, now);
        }
    }

    /// Whether `key` was noted lately.
    pub(super) fn contains(&self, key: &K, now: Instant) -> bool {
        let noted = self.0.lock();
        let at = noted.get(key);
        at.is_some_and(|at| now.saturating_duration_since(*at) < BELIEVED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_believed_for_a_while() {
        let (lately, now) = (Lately::default(), Instant::now());
        lately.note(0, now);
        assert!(lately.contains(&0, now));
        assert!(!lately.contains(&1, now));
        assert!(!lately.contains(&0, now + BELIEVED));
        (1..5000).for_each(|n| lately.note(n, now));
        assert_eq!(lately.0.lock().len(), COUNT_MAX);
        lately.note(6000, now + BELIEVED);
        assert_eq!(lately.0.lock().len(), 1);
    }
}
