//! When to try again: a value and a counter. Pure.

use std::time::Duration;

use types::{ByteCount, Chance};

/// How often and when a failed request is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first included.
    pub attempts: u32,
    /// The pause after the first failure; it doubles with each further one, and half of it is jitter.
    pub pause: Duration,
    /// The longest such pause.
    pub pause_max: Duration,
    /// The longest `Retry-After` that is waited out here; with a longer one the error goes to the caller at once.
    pub retry_after_max: Duration,
    /// A body that came so much further begins counting attempts anew.
    pub progress: ByteCount,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 4,
            pause: Duration::from_millis(100),
            pause_max: Duration::from_secs(5),
            retry_after_max: Duration::from_secs(10),
            progress: ByteCount::mib(1),
        }
    }
}

impl RetryPolicy {
    /// One try, no more.
    pub fn never() -> Self {
        Self {
            attempts: 1,
            ..Self::default()
        }
    }
}

/// The state of one operation's tries.
#[derive(Debug)]
pub(crate) struct Tries {
    policy: RetryPolicy,
    chance: Chance,
    failures: u32,
    received: u64,
}

impl Tries {
    pub(crate) fn new(policy: RetryPolicy, chance: Chance) -> Self {
        Self {
            policy,
            chance,
            failures: 0,
            received: 0,
        }
    }

    /// Counts body bytes; enough of them forgive earlier failures.
    pub(crate) fn received(&mut self, length: u64) {
        self.received = self.received.saturating_add(length);
        if self.received >= self.policy.progress.0 {
            self.failures = 0;
            self.received = 0;
        }
    }

    /// The pause before the next try, after a failure that may pass. None: give up.
    pub(crate) fn after_failure(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        self.failures += 1;
        if self.failures >= self.policy.attempts
            || retry_after.is_some_and(|delay| delay > self.policy.retry_after_max)
        {
            return None;
        }
        let doubled = self
            .policy
            .pause
            .saturating_mul(1 << (self.failures - 1).min(16))
            .min(self.policy.pause_max);
        let jittered = doubled.mul_f64(0.5 + self.chance.fraction() / 2.0);
        Some(jittered.max(retry_after.unwrap_or(Duration::ZERO)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(attempts: u32) -> Tries {
        let policy = RetryPolicy {
            attempts,
            ..RetryPolicy::default()
        };
        Tries::new(policy, Chance::seeded(1))
    }

    #[test]
    fn tries_are_bounded_and_pauses_grow() {
        let mut tries = tries(30);
        let pauses: Vec<Duration> = std::iter::from_fn(|| tries.after_failure(None)).collect();
        assert_eq!(pauses.len(), 29);
        for (at, pause) in pauses.iter().enumerate() {
            let full = Duration::from_millis(100)
                .saturating_mul(1 << at.min(16))
                .min(Duration::from_secs(5));
            assert!(*pause >= full / 2 && *pause <= full, "{at}: {pause:?}");
        }
        assert_eq!(super::tests::tries(1).after_failure(None), None);
    }

    #[test]
    fn a_retry_after_is_kept_or_handed_up() {
        let asked = Duration::from_secs(9);
        assert_eq!(tries(3).after_failure(Some(asked)), Some(asked));
        assert_eq!(tries(3).after_failure(Some(asked * 2)), None);
    }

    #[test]
    fn progress_forgives() {
        let mut tries = tries(2);
        assert!(tries.after_failure(None).is_some());
        tries.received(1 << 20);
        assert!(tries.after_failure(None).is_some());
        tries.received(1);
        assert!(tries.after_failure(None).is_none());
    }
}
