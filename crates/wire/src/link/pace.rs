//! The deadline of a frame that has started, renewed by progress.

use std::time::Duration;

use tokio::time::Instant;

/// Progress that earns another timeout. A single byte does not: a slow drip would hold a link for ever.
const STRIDE: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Pace {
    timeout: Duration,
    deadline: Instant,
    moved: usize,
}

impl Pace {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            deadline: Instant::now() + timeout,
            moved: 0,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn advance(&mut self, bytes: usize) {
        self.moved += bytes;
        if self.moved >= STRIDE {
            self.moved = 0;
            self.deadline = Instant::now() + self.timeout;
        }
    }
}
