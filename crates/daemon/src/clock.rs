//! This host's monotonic clock, as the brains count it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use types::Moment;

/// Moments since the daemon began, those in which the machine was suspended too: a lease that others believe over must be
/// over here, which `std::time::Instant` would not see. Copies agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Duration);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(since_boot())
    }

    pub(crate) fn now(self) -> Moment {
        Moment::ZERO + since_boot().saturating_sub(self.0)
    }

    /// Returns at `at`; never for a moment that never comes.
    pub(crate) async fn until(self, at: Option<Moment>) {
        match at {
            Some(at) => tokio::time::sleep(at.since(self.now())).await,
            None => std::future::pending().await,
        }
    }
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let whole = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(whole, u32::try_from(time.tv_nsec).unwrap_or(0))
}
