//! What passed over one link, counted where it passes.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;
use types::ByteCount;

/// Live counters of a link.
#[derive(Debug, Default)]
pub(super) struct Counters {
    sent: AtomicU64,
    sent_body: AtomicU64,
    received: AtomicU64,
    received_body: AtomicU64,
    rtt_micros: AtomicU64,
    ping: Mutex<Option<(u64, Instant)>>,
}

/// Bytes that the connection took and gave so far, interrupted frames included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// All bytes sent.
    pub sent: ByteCount,
    /// Content among them.
    pub sent_body: ByteCount,
    /// All bytes received.
    pub received: ByteCount,
    /// Content among them.
    pub received_body: ByteCount,
    /// The latest round trip of a ping, if one was answered.
    pub rtt: Option<Duration>,
}

impl Counters {
    pub(super) fn sent(&self, all: usize, body: usize) {
        self.sent.fetch_add(all as u64, Relaxed);
        self.sent_body.fetch_add(body as u64, Relaxed);
    }

    pub(super) fn received(&self, all: usize) {
        self.received.fetch_add(all as u64, Relaxed);
    }

    pub(super) fn received_body(&self, body: usize) {
        self.received_body.fetch_add(body as u64, Relaxed);
    }

    pub(super) fn pinged(&self, number: u64) {
        *self.ping.lock() = Some((number, Instant::now()));
    }

    pub(super) fn ponged(&self, number: u64) {
        let sent = self.ping.lock().take_if(|(awaited, _)| *awaited == number);
        if let Some((_, at)) = sent {
            let micros = u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.rtt_micros.store(micros.max(1), Relaxed);
        }
    }

    pub(super) fn read(&self) -> Counted {
        let rtt = self.rtt_micros.load(Relaxed);
        Counted {
            sent: ByteCount(self.sent.load(Relaxed)),
            sent_body: ByteCount(self.sent_body.load(Relaxed)),
            received: ByteCount(self.received.load(Relaxed)),
            received_body: ByteCount(self.received_body.load(Relaxed)),
            rtt: (rtt > 0).then(|| Duration::from_micros(rtt)),
        }
    }
}
