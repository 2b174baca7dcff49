//! Running estimates that adapt: no constant decides between slow and dead.

use std::time::Duration;

/// A smoothed duration and how far samples stray from it, as TCP estimates its round trip (RFC 6298: gains 1/8 and
/// 1/4). `None` until the first sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Estimate(Option<Smoothed>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Smoothed {
    mean: f32,
    deviation: f32,
}

impl Estimate {
    /// Takes one sample into account.
    pub(crate) fn add(&mut self, sample: Duration) {
        let sample = sample.as_secs_f32();
        self.0 = Some(match self.0 {
            None => Smoothed {
                mean: sample,
                deviation: sample / 2.0,
            },
            Some(old) => Smoothed {
                mean: old.mean + (sample - old.mean) / 8.0,
                deviation: old.deviation + ((sample - old.mean).abs() - old.deviation) / 4.0,
            },
        });
    }

    /// The smoothed value.
    pub(crate) fn mean(&self) -> Option<Duration> {
        self.0.map(|now| Duration::from_secs_f32(now.mean))
    }

    /// A value that few samples exceed: the mean and four deviations.
    pub(crate) fn high(&self) -> Option<Duration> {
        self.0
            .map(|now| Duration::from_secs_f32(now.mean + 4.0 * now.deviation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_its_samples_and_knows_their_spread() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.high(), None);
        for _ in 0..50 {
            estimate.add(Duration::from_millis(100));
        }
        let high = estimate.high().expect("samples were given");
        assert!(
            high >= Duration::from_millis(100) && high < Duration::from_millis(110),
            "{high:?}"
        );
        estimate.add(Duration::from_secs(1));
        assert!(
            estimate.high() > Some(Duration::from_millis(900)),
            "one outlier widens the bound"
        );
    }
}
