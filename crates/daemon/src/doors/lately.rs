//! What was found out lately and need not be found out again for each ask: blobs that a registry refused to nobody in
//! particular, and tasks whose length another host told wrong.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use types::{Digest, RegistryHost, RepoName};

/// How long it is believed. Content that became public meanwhile is streamed past the store until then.
const BELIEVED: Duration = Duration::from_secs(300);
/// Things remembered at once.
const COUNT_MAX: usize = 1024;

/// A blob as it is named.
pub(super) type BlobKey = (RegistryHost, RepoName, Digest);

/// Things of one kind. They save requests and give nobody access: the caller's own credentials are shown each time.
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
        let key = |n: u32| -> BlobKey {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&n.to_le_bytes());
            let registry = "r.example".parse().expect("a registry");
            let repository = "a/b".parse().expect("a repository");
            (registry, repository, Digest::sha256(digest))
        };
        let (lately, now) = (Lately::default(), Instant::now());
        lately.note(key(0), now);
        assert!(lately.contains(&key(0), now));
        assert!(!lately.contains(&key(1), now));
        assert!(!lately.contains(&key(0), now + BELIEVED));
        (1..5000).for_each(|n| lately.note(key(n), now));
        assert_eq!(lately.0.lock().len(), COUNT_MAX);
        lately.note(key(6000), now + BELIEVED);
        assert_eq!(lately.0.lock().len(), 1);
    }
}
