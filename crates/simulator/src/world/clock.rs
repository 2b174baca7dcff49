//! A host's own monotonic clock, as its brains are told it: right until a fault makes it jump, stand still or drift.

use std::time::Duration;

use types::Moment;

/// How fast a right clock is.
const EVEN: u32 = 1_000_000;

/// What a clock shows when: `shown` at `since`, which may still lie ahead, and from then on `millionths` of the time.
///
/// Invariant: it never goes back, as no monotonic clock does.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostClock {
    since: Moment,
    shown: Moment,
    millionths: u32,
}

impl Default for HostClock {
    fn default() -> Self {
        Self {
            since: Moment::ZERO,
            shown: Moment::ZERO,
            millionths: EVEN,
        }
    }
}

impl HostClock {
    /// What it shows at `now`.
    pub(super) fn shows(&self, now: Moment) -> Moment {
        if self.millionths == EVEN {
            return self.shown + now.since(self.since);
        }
        let passed = u128::from(now.0.saturating_sub(self.since.0));
        let counted = passed * u128::from(self.millionths) / u128::from(EVEN);
        Moment(self.shown.0.saturating_add(clamped(counted)))
    }

    /// When it first shows `shown`; never for a moment that never comes.
    pub(super) fn when(&self, shown: Moment) -> Moment {
        if shown == Moment::NEVER {
            return Moment::NEVER;
        }
        if self.millionths == EVEN {
            return self.since + shown.since(self.shown);
        }
        let wanted = u128::from(shown.0.saturating_sub(self.shown.0));
        let passed = (wanted * u128::from(EVEN)).div_ceil(u128::from(self.millionths));
        Moment(self.since.0.saturating_add(clamped(passed)))
    }

    /// Shows `by` more from `now` on.
    pub(super) fn jump(&mut self, now: Moment, by: Duration) {
        (self.shown, self.since) = (self.shows(now) + by, now);
    }

    /// Shows the same until `until`.
    pub(super) fn stand_still(&mut self, now: Moment, until: Moment) {
        (self.shown, self.since) = (self.shows(now), until);
    }

    /// Runs that many times as fast as a right clock from `now` on.
    pub(super) fn run_at(&mut self, now: Moment, speed: f64) {
        self.stand_still(now, now.max(self.since));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a scenario's speeds are from 0.5 to 2"
        )]
        {
            self.millionths = ((speed * f64::from(EVEN)).round() as u32).max(1);
        }
    }
}

fn clamped(nanoseconds: u128) -> u64 {
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> Moment {
        Moment::ZERO + SECOND * seconds
    }

    #[test]
    fn what_is_shown_comes_when_it_is_shown() {
        let mut clock = HostClock::default();
        assert_eq!(clock.shows(at(3)), at(3));
        clock.jump(at(10), SECOND * 5);
        assert_eq!((clock.shows(at(10)), clock.when(at(20))), (at(15), at(15)));
        clock.stand_still(at(20), at(30));
        assert_eq!(
            [20, 25, 30, 31].map(|now| clock.shows(at(now))),
            [25, 25, 25, 26].map(at)
        );
        assert_eq!(clock.when(at(26)), at(31));
        clock.run_at(at(35), 0.9);
        assert_eq!((clock.shows(at(45)), clock.when(at(39))), (at(39), at(45)));
        assert_eq!(clock.when(Moment::NEVER), Moment::NEVER);
    }

    #[test]
    fn an_alarm_of_a_clock_that_drifts_never_rings_early() {
        for (speed, wanted) in
            [0.9, 1.1, 0.999_999, 1.5]
                .into_iter()
                .zip([7, 1_000_003, 33, 12_345_678_901])
        {
            let mut clock = HostClock::default();
            clock.run_at(Moment(5), speed);
            assert!(
                clock.shows(clock.when(Moment(wanted))) >= Moment(wanted),
                "{speed}"
            );
        }
    }
}
