//! How each parent does: how long its pieces take, how often it failed, and whom to avoid for a while.

use std::time::Duration;

use types::Moment;

use super::DownloadPolicy;
use crate::estimate::Estimate;

/// What this peer learnt of one parent. Kept locally; the scheduler hears of lies only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    /// From request to verified piece.
    piece_time: Estimate,
    /// Failures in a row.
    failures: u8,
    /// Wrong pieces. Forgiven one by one as time passes.
    lies: u8,
    lied_at: Moment,
    avoid_until: Moment,
}

impl Health {
    /// A piece came well.
    pub(crate) fn delivered(&mut self, took: Duration) {
        self.piece_time.add(took);
        self.failures = 0;
    }

    /// A request timed out: leave this parent alone for a while, longer each time.
    pub(crate) fn timed_out(&mut self, now: Moment, patience: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.avoid_until = self
            .avoid_until
            .max(now + patience * (1 << self.failures.min(5)));
    }

    /// A piece was wrong.
    pub(crate) fn lied(&mut self, now: Moment, policy: &DownloadPolicy) {
        let forgiven = now.since(self.lied_at).as_secs() / (4 * policy.avoid_liar.as_secs().max(1));
        self.lies = self
            .lies
            .saturating_sub(u8::try_from(forgiven).unwrap_or(u8::MAX))
            .saturating_add(1);
        self.lied_at = now;
        self.avoid_until = self
            .avoid_until
            .max(now + policy.avoid_liar * (1 << (self.lies - 1).min(6)));
    }

    /// Whether requests may go there.
    pub(crate) fn is_usable(&self, now: Moment) -> bool {
        now >= self.avoid_until
    }

    /// When requests may go there again, if they may not now.
    pub(crate) fn usable_at(&self, now: Moment) -> Option<Moment> {
        (!self.is_usable(now)).then_some(self.avoid_until)
    }

    /// Time from request to verified piece, with its spread.
    pub(crate) fn piece_time(&self) -> &Estimate {
        &self.piece_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_liar_is_avoided_longer_each_time_and_forgiven_in_the_end() {
        let policy = DownloadPolicy::default();
        let mut health = Health::default();
        health.lied(Moment::ZERO, &policy);
        let first = health.avoid_until;
        assert!(!health.is_usable(first - Duration::from_nanos(1)) && health.is_usable(first));
        health.lied(first, &policy);
        assert!(health.avoid_until.since(first) > first.since(Moment::ZERO));
        let much_later = first + Duration::from_secs(3600);
        health.lied(much_later, &policy);
        assert_eq!(health.avoid_until, much_later + policy.avoid_liar);
    }

    #[test]
    fn a_delivery_ends_a_row_of_failures() {
        let mut health = Health::default();
        let patience = Duration::from_secs(1);
        (0..3).for_each(|_| health.timed_out(Moment::ZERO, patience));
        assert_eq!(
            health.usable_at(Moment::ZERO),
            Some(Moment::ZERO + patience * 8)
        );
        health.delivered(patience);
        health.timed_out(Moment(1 << 50), patience);
        assert_eq!(
            health.usable_at(Moment(1 << 50)),
            Some(Moment(1 << 50) + patience * 2)
        );
    }
}
