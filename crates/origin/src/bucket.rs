//! A token bucket that may go into debt. Pure.
//!
//! A chunk that came off a socket cannot be sent back, so it is paid for afterwards: the bucket goes below zero and
//! says how long to wait until it is level. One second's worth is the most that is saved up.

use std::time::Duration;

use types::Moment;

/// Tokens per second, with a burst of one second's worth. A rate of `None` never waits.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: Option<u64>,
    tokens: f64,
    filled_at: Moment,
}

impl Bucket {
    pub(crate) fn new(rate: Option<u64>, now: Moment) -> Self {
        Self {
            rate,
            tokens: as_tokens(rate.unwrap_or(0)),
            filled_at: now,
        }
    }

    /// Takes `count` and says how long to wait before going on.
    pub(crate) fn take(&mut self, count: u64, now: Moment) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        self.fill(now);
        self.tokens -= as_tokens(count);
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        // An hour is longer than any sane debt; a rate of zero must not become an infinite wait here.
        let seconds = (-self.tokens / as_tokens(rate).max(1e-3)).min(3600.0);
        Duration::from_secs_f64(seconds)
    }

    /// Gives back what was taken and not used.
    pub(crate) fn give_back(&mut self, count: u64) {
        self.tokens += as_tokens(count);
    }

    fn fill(&mut self, now: Moment) {
        let burst = as_tokens(self.rate.unwrap_or(0));
        let gained = now.since(self.filled_at).as_secs_f64() * burst;
        self.tokens = (self.tokens + gained).min(burst);
        self.filled_at = self.filled_at.max(now);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate of 2^53 per second is no limit"
)]
fn as_tokens(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_is_free_and_debt_is_waited_for() {
        let mut bucket = Bucket::new(Some(10), Moment::ZERO);
        assert_eq!(bucket.take(10, Moment::ZERO), Duration::ZERO);
        assert_eq!(bucket.take(20, Moment::ZERO), SECOND * 2);
        assert_eq!(bucket.take(0, Moment::ZERO + SECOND * 2), Duration::ZERO);
        assert_eq!(bucket.take(1, Moment::ZERO + SECOND * 2), SECOND / 10);
    }

    proptest! {
        #[test]
        fn who_waits_as_told_never_exceeds_the_rate(takes in prop::collection::vec(0u64..5000, 1..50)) {
            let rate = 1000;
            let mut bucket = Bucket::new(Some(rate), Moment::ZERO);
            let (mut now, mut taken) = (Moment::ZERO, 0u64);
            for count in takes {
                taken += count;
                now = now + bucket.take(count, now);
                let elapsed = now.since(Moment::ZERO).as_secs_f64();
                prop_assert!(taken as f64 <= (elapsed + 1.0) * rate as f64 + 1.0);
            }
        }
    }
}
