//! A byte rate that can be changed while it is in use: a token bucket on virtual time.

use std::time::Duration;

use types::{ByteCount, Moment};

/// At most `rate` bytes a second on average, and at most one burst at once. No rate means no limit.
#[derive(Clone, Debug)]
pub struct RateLimit {
    rate: Option<u64>,
    burst: u64,
    /// Bytes that may be sent now; below zero when a transfer larger than the bucket was let through.
    tokens: i128,
    at: Moment,
}

impl RateLimit {
    /// A limit of `rate` bytes a second, with bursts of a quarter second.
    pub fn new(rate: Option<ByteCount>, now: Moment) -> Self {
        let mut limit = Self {
            rate: None,
            burst: 0,
            tokens: 0,
            at: now,
        };
        limit.set(rate, now);
        limit.tokens = i128::from(limit.burst);
        limit
    }

    /// Changes the rate. What was already spent stays spent.
    pub fn set(&mut self, rate: Option<ByteCount>, now: Moment) {
        self.refill(now);
        self.rate = rate.map(|rate| rate.0.max(1));
        self.burst = self.rate.map_or(0, |rate| (rate / 4).max(1));
        self.tokens = self.tokens.min(i128::from(self.burst));
    }

    /// When the next transfer may start: `now` or later. Transfers larger than a burst borrow from the time after.
    pub fn ready_at(&self, now: Moment) -> Moment {
        let mut ahead = self.clone();
        ahead.refill(now);
        match ahead.rate {
            Some(rate) if ahead.tokens <= 0 => {
                let nanos = (1 - ahead.tokens) * 1_000_000_000 / i128::from(rate) + 1;
                now + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
            _ => now,
        }
    }

    /// Spends `bytes`.
    pub fn spend(&mut self, bytes: ByteCount, now: Moment) {
        self.refill(now);
        if self.rate.is_some() {
            self.tokens -= i128::from(bytes.0);
        }
    }

    fn refill(&mut self, now: Moment) {
        if let Some(rate) = self.rate {
            let gained = now.since(self.at).as_nanos() * u128::from(rate) / 1_000_000_000;
            // Time that earned no whole byte yet is kept for the next call.
            if gained > 0 {
                self.tokens = (self.tokens + i128::try_from(gained).unwrap_or(i128::MAX / 2))
                    .min(i128::from(self.burst));
                self.at = now;
            }
        } else {
            self.at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_second_carries_more_than_the_rate_and_a_burst(rate in 1_000u64..1 << 30, sizes in prop::collection::vec(1u64..1 << 22, 1..100)) {
            let mut limit = RateLimit::new(Some(ByteCount(rate)), Moment::ZERO);
            let (mut now, mut sent, mut largest) = (Moment::ZERO, 0, 0);
            for size in sizes {
                now = limit.ready_at(now);
                limit.spend(ByteCount(size), now);
                sent += size;
                largest = largest.max(size);
                let allowed = now.0 as f64 / 1e9 * rate as f64 + rate as f64 / 4.0 + largest as f64;
                prop_assert!(sent as f64 <= allowed + 2.0, "{sent} sent, {allowed} allowed at {now}");
            }
            // And it is not idle either: everything but the last transfer fits into the time that passed.
            prop_assert!(now.0 as f64 / 1e9 * rate as f64 <= sent as f64 + 100.0);
        }
    }

    #[test]
    fn no_limit_never_waits() {
        let mut limit = RateLimit::new(None, Moment::ZERO);
        limit.spend(ByteCount::gib(1), Moment::ZERO);
        assert_eq!(limit.ready_at(Moment(5)), Moment(5));
    }
}
