//! The slow look at everything that is stored, at a bounded rate, for as long as the daemon runs.

use std::time::Duration;

use store::{Scrubbed, Store};
use tokio_util::sync::CancellationToken;
use types::ByteCount;

use crate::{
    core::{Event, Events},
    metrics::Metrics,
};

/// From the end of a round to the next: an empty store is not looked at all the time.
const REST: Duration = Duration::from_secs(60);

/// Checks stored pieces one by one.
pub(crate) struct Scrub {
    pub(crate) store: Store,
    /// Bytes a second.
    pub(crate) rate: ByteCount,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
}

impl Scrub {
    /// Runs until stopped; a step that has begun ends first.
    pub(crate) async fn run(self, stop: CancellationToken) {
        loop {
            let pause = self.step().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks at one piece; how long to wait until the next.
    pub(crate) async fn step(&self) -> Duration {
        let store = self.store.clone();
        let step = tokio::task::spawn_blocking(move || store.scrub_step(ByteCount(1))).await;
        let looked = match step {
            Ok(Ok(looked)) => looked,
            Ok(Err(cause)) => {
                tracing::warn!(
                    error = &cause as &dyn std::error::Error,
                    "the store could not be checked"
                );
                return REST;
            }
            // The runtime ends.
            Err(_) => return REST,
        };
        self.metrics.scrubbed(looked.bytes, looked.corrupt.len());
        for (task, piece) in &looked.corrupt {
            tracing::warn!(%task, %piece, "a stored piece has decayed");
            let (task, piece) = (*task, *piece);
            self.events.tell(Event::Decayed { task, piece }).await;
        }
        pause(&looked, self.rate)
    }
}

fn pause(looked: &Scrubbed, rate: ByteCount) -> Duration {
    let nanos = u128::from(looked.bytes.0) * 1_000_000_000 / u128::from(rate.0.max(1));
    let paced = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    if looked.finished {
        paced.max(REST)
    } else {
        paced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_waited_for_and_a_round_is_followed_by_a_rest() {
        let of = |mib, finished| {
            let looked = Scrubbed {
                bytes: ByteCount::mib(mib),
                finished,
                ..Scrubbed::default()
            };
            pause(&looked, ByteCount::mib(2))
        };
        assert_eq!(of(1, false), Duration::from_millis(500));
        assert_eq!(of(0, true), REST);
        assert_eq!(of(240, true), REST * 2);
    }
}
