//! Blobs that a registry lately refused to nobody in particular: a reader of many small parts of one need not hear it
//! again for each.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use types::{Digest, RegistryHost, RepoName};

/// How long a refusal is believed. Content that became public meanwhile is streamed past the store until then.
const BELIEVED: Duration = Duration::from_secs(300);
/// Refusals remembered at once.
const COUNT_MAX: usize = 1024;

type Key = (RegistryHost, RepoName, Digest);

/// The refusals. They save requests and give nobody access: the caller's own credentials are shown each time.
#[derive(Default)]
pub(super) struct Secluded(Mutex<BTreeMap<Key, Instant>>);

impl Secluded {
    /// Notes that nobody in particular was refused `key` at `now`.
    pub(super) fn note(&self, key: Key, now: Instant) {
        let mut refusals = self.0.lock();
        if refusals.len() >= COUNT_MAX {
            refusals.retain(|_, at| now.saturating_duration_since(*at) < BELIEVED);
        }
        // Full of fresh ones: the next asks hear it again.
        if refusals.len() < COUNT_MAX {
            refusals.insert(key, now);
        }
    }

    /// Whether `key` was refused lately.
    pub(super) fn contains(&self, key: &Key, now: Instant) -> bool {
        let refusals = self.0.lock();
        let at = refusals.get(key);
        at.is_some_and(|at| now.saturating_duration_since(*at) < BELIEVED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_believed_for_a_while() {
        let key = |n: u32| -> Key {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&n.to_le_bytes());
            let registry = "r.example".parse().expect("a registry");
            let repository = "a/b".parse().expect("a repository");
            (registry, repository, Digest::sha256(digest))
        };
        let (secluded, now) = (Secluded::default(), Instant::now());
        secluded.note(key(0), now);
        assert!(secluded.contains(&key(0), now));
        assert!(!secluded.contains(&key(1), now));
        assert!(!secluded.contains(&key(0), now + BELIEVED));
        (1..5000).for_each(|n| secluded.note(key(n), now));
        assert_eq!(secluded.0.lock().len(), COUNT_MAX);
        secluded.note(key(6000), now + BELIEVED);
        assert_eq!(secluded.0.lock().len(), 1);
    }
}
