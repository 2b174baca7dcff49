//! Connections that listeners could not take: how many, and how often that is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter},
};
use types::Moment;

/// Connections that could not be taken, mostly because the process is out of descriptors. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Untaken(Arc<AtomicU64>);

impl Untaken {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were, of all listeners that count together.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl EncodeMetric for Untaken {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        ConstCounter::new(self.count()).encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// Failures of one listener that nobody was told of yet.
#[derive(Debug, Default)]
pub(crate) struct Untold {
    count: u64,
    tell_at: Moment,
}

impl Untold {
    /// One listener tells of its failures at most so often.
    const TELL_EVERY: Duration = Duration::from_secs(10);

    /// One more. Gives how many there were since that was last told, when it is time to tell.
    pub(crate) fn failed(&mut self, now: Moment) -> Option<u64> {
        self.count += 1;
        if now < self.tell_at {
            return None;
        }
        self.tell_at = now + Self::TELL_EVERY;
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_and_again_is_told_now_and_then() {
        let mut one = Untold::default();
        let mut told = Vec::new();
        for failure in 0..250 {
            told.extend(one.failed(Moment::ZERO + Duration::from_millis(100) * failure));
        }
        assert_eq!(told, [1, 100, 100]);
    }
}
