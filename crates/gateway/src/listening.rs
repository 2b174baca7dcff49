//! Taking connections from a listener that may have none to give.

use std::{error::Error, io, time::Instant};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use types::{Moment, Untaken};

/// One listener's patience with the system.
pub struct Listening {
    door: &'static str,
    untaken: Untaken,
    began: Instant,
}

impl Listening {
    /// For the listener of `door`, which counts with `untaken`.
    pub fn new(door: &'static str, untaken: &Untaken) -> Self {
        Self {
            door,
            untaken: untaken.clone(),
            began: Instant::now(),
        }
    }

    /// A connection could not be taken: the client left at once, or the process is out of descriptors. Counts that, tells
    /// of it now and then, and rests, or ends with `stop`.
    pub async fn rest(&mut self, cause: &io::Error, stop: &CancellationToken) {
        let now = Moment::ZERO + self.began.elapsed();
        if let Some(count) = self.untaken.failed(now) {
            warn!(
                door = self.door,
                count,
                error = cause as &dyn Error,
                "connections could not be taken"
            );
        }
        stop.run_until_cancelled(sleep(Untaken::REST)).await;
    }
}
