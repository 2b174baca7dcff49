//! How fast a host reads content from all its links together.
//!
//! What is not read stays in the sockets, so that TCP slows the senders. Only content pays: a control frame waits for no
//! more than the one data frame before it. A link that waits here says so ([`super::LinkSender::is_held`]), since its
//! remote's silence is then this host's own doing.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use swarm::upload::RateLimit;
use tokio::time::{Instant, sleep_until};
use types::{ByteCount, Moment};

/// Paid for at once: with less, a wait is shorter than timers can tell; with more, many links that wait for each other
/// could keep one sender without any progress for longer than it bears.
pub(super) const PORTION: usize = 16 << 10;

/// One bucket for all links of a host. Clones share it.
#[derive(Clone, Debug)]
pub struct Intake {
    began: Instant,
    limit: Option<Arc<Mutex<RateLimit>>>,
}

impl Intake {
    /// At most `rate` bytes of content a second; `None`: as fast as they come.
    pub fn new(rate: Option<ByteCount>) -> Self {
        let limit = rate.map(|rate| Arc::new(Mutex::new(RateLimit::new(Some(rate), Moment::ZERO))));
        Self {
            began: Instant::now(),
            limit,
        }
    }

    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Pays for `bytes` that will be read; until when the reader must wait first. Those who pay later wait longer.
    pub(super) fn pay(&self, bytes: usize) -> Option<Instant> {
        let mut limit = self.limit.as_ref()?.lock();
        let now = self.now();
        let ready = limit.ready_at(now);
        limit.spend(ByteCount(bytes as u64), now);
        (ready > now).then(|| self.began + Duration::from_nanos(ready.0))
    }

    fn now(&self) -> Moment {
        Moment(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Whether a link is held back, and until when.
#[derive(Debug, Default)]
pub(super) struct Hold(Mutex<Option<Instant>>);

impl Hold {
    /// How long after a wait the remote's silence is still explained by it: what was not read has to come through first.
    const AFTERMATH: Duration = Duration::from_secs(1);

    /// Waits until `at`.
    pub(super) async fn until(&self, at: Instant) {
        *self.0.lock() = Some(at);
        sleep_until(at).await;
    }

    /// Notes a wait as long as `wait` takes.
    pub(super) async fn during<T>(&self, wait: impl Future<Output = T>) -> T {
        /// Longer than any link lives without a byte.
        const LONG: Duration = Duration::from_secs(3600);
        *self.0.lock() = Some(Instant::now() + LONG);
        let over = wait.await;
        *self.0.lock() = Some(Instant::now());
        over
    }

    pub(super) fn is_held(&self) -> bool {
        self.0
            .lock()
            .is_some_and(|until| Instant::now() < until + Self::AFTERMATH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clones_pay_into_one_bucket() {
        let intake = Intake::new(Some(ByteCount::mib(1)));
        let other = intake.clone();
        assert_eq!(intake.pay(1 << 20), None, "a burst may borrow");
        let first = other.pay(1 << 20).expect("the bucket is empty");
        let second = intake.pay(1).expect("and emptier");
        assert!(first >= intake.began + Duration::from_millis(750));
        assert!(second >= first + Duration::from_millis(990));
        assert_eq!(Intake::new(None).pay(1 << 30), None);
    }
}
