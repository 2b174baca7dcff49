//! When a host asks for its next certificate: at a third of its life, and after a failure again, ever later.
//!
//! Pure: the time and the chance are arguments.

use std::time::{Duration, SystemTime};

use types::Chance;

/// The longest wait at once: wall clocks are set, and a machine that sleeps stops the other one.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// The waits of one host between its renewals.
#[derive(Clone, Debug)]
pub struct Renewals {
    chance: Chance,
    /// Since the last success.
    failures: u32,
    /// Before which there is no other try.
    pause_ends: Option<SystemTime>,
}

impl Renewals {
    /// The pause after the first failure; each further one is twice as long, and up to half is cut by chance.
    pub const PAUSE_MIN: Duration = Duration::from_secs(2);
    /// The longest pause.
    pub const PAUSE_MAX: Duration = Duration::from_secs(300);

    /// No renewal was tried yet.
    pub fn new(chance: Chance) -> Self {
        Self {
            chance,
            failures: 0,
            pause_ends: None,
        }
    }

    /// How long to wait from `now` on, for a certificate that is to be renewed at `renew_at`. With zero it is time; after
    /// any other wait look again.
    pub fn wait(&self, renew_at: SystemTime, now: SystemTime) -> Duration {
        let at = self.pause_ends.map_or(renew_at, |ends| ends.max(renew_at));
        let wait = at.duration_since(now).unwrap_or_default();
        wait.min(LOOK_EVERY)
    }

    /// A new certificate came, which is to be renewed at `renew_at`. One that is due already, by clocks that differ, is
    /// no better than none: asking for the next at once would never end.
    pub fn succeeded(&mut self, renew_at: SystemTime, now: SystemTime) {
        if renew_at <= now {
            return self.failed(now);
        }
        (self.failures, self.pause_ends) = (0, None);
    }

    /// No certificate came.
    pub fn failed(&mut self, now: SystemTime) {
        let longest = Self::PAUSE_MIN.saturating_mul(1 << self.failures.min(16));
        let pause = longest.min(Self::PAUSE_MAX);
        self.failures += 1;
        self.pause_ends = now.checked_add(pause.mul_f64(1.0 - self.chance.fraction() / 2.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn moment() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn renewals_come_when_they_are_due_again_and_again() {
        let (mut renewals, now) = (Renewals::new(Chance::seeded(1)), moment());
        for _ in 0..3 {
            assert_eq!(renewals.wait(now + HOUR, now), LOOK_EVERY);
            assert_eq!(renewals.wait(now, now), Duration::ZERO);
            renewals.succeeded(now + HOUR, now);
        }
    }

    #[test]
    fn failures_pause_ever_longer_within_bounds_and_a_success_forgets_them() {
        let (mut renewals, now) = (Renewals::new(Chance::seeded(1)), moment());
        let mut last = Duration::ZERO;
        for _ in 0..40 {
            renewals.failed(now);
            let wait = renewals.wait(now - HOUR, now);
            assert!(wait >= Renewals::PAUSE_MIN / 2 && wait <= Renewals::PAUSE_MAX);
            assert!(wait >= last / 2, "{wait:?} after {last:?}");
            last = wait;
        }
        assert!(last >= Renewals::PAUSE_MAX / 2);
        renewals.succeeded(now + HOUR, now);
        renewals.failed(now);
        assert!(renewals.wait(now, now) <= Renewals::PAUSE_MIN);
    }

    #[test]
    fn a_new_certificate_that_is_due_already_does_not_make_a_storm() {
        let (mut renewals, now) = (Renewals::new(Chance::seeded(1)), moment());
        renewals.succeeded(now - HOUR, now);
        assert!(renewals.wait(now - HOUR, now) >= Renewals::PAUSE_MIN / 2);
    }
}
