//! Origins that answer no `HEAD`: who waited for one in vain is not to wait again. Pure.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use tokio::time::Instant;

/// How long an origin is believed to be of that kind. It may be mended.
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// So many are known at most; the oldest gives way.
const KNOWN_MAX: usize = 256;

/// Those that are known.
#[derive(Default)]
pub(super) struct Headless(Mutex<BTreeMap<String, Instant>>);

impl Headless {
    /// Whether `origin` is one.
    pub(super) fn has(&self, origin: &str, now: Instant) -> bool {
        let known = self.0.lock().expect("nobody panics under it");
        known
            .get(origin)
            .is_some_and(|since| now < *since + KNOWN_FOR)
    }

    /// It is one.
    pub(super) fn note(&self, origin: String, now: Instant) {
        let mut known = self.0.lock().expect("nobody panics under it");
        known.insert(origin, now);
        if known.len() > KNOWN_MAX {
            let oldest = known.iter().min_by_key(|(_, since)| **since);
            let oldest = oldest.map(|(origin, _)| origin.clone());
            oldest.and_then(|origin| known.remove(&origin));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_forgotten_in_time_and_bounded() {
        let (known, begin) = (Headless::default(), Instant::now());
        known.note("a".into(), begin);
        assert!(known.has("a", begin + KNOWN_FOR / 2));
        assert!(!known.has("a", begin + KNOWN_FOR) && !known.has("b", begin));
        for at in 0..KNOWN_MAX {
            known.note(at.to_string(), begin + Duration::from_secs(1));
        }
        assert!(!known.has("a", begin), "the oldest");
        assert!(known.has("0", begin) && known.has("255", begin));
        assert_eq!(known.0.lock().expect("a lock").len(), KNOWN_MAX);
    }
}
