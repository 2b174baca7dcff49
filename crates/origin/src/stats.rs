//! What was asked of each origin, and how it answered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::StatusCode;

/// Counts since the process began, for one origin. Each hop of a redirect counts at its own origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginStats {
    /// Requests sent, retries included.
    pub requests: u64,
    /// Body bytes read, those of failed and unwanted bodies included.
    pub body_bytes: u64,
    /// Answers with a 2xx status.
    pub succeeded: u64,
    /// Answers with a 3xx status.
    pub redirected: u64,
    /// Answers with 401 or 403.
    pub denied: u64,
    /// Answers with 429.
    pub throttled: u64,
    /// Answers with another 4xx status.
    pub client_errors: u64,
    /// Answers with a 5xx status.
    pub server_errors: u64,
    /// Requests without an answer: not reached, cut off, silent.
    pub unanswered: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    requests: AtomicU64,
    body_bytes: AtomicU64,
    succeeded: AtomicU64,
    redirected: AtomicU64,
    denied: AtomicU64,
    throttled: AtomicU64,
    client_errors: AtomicU64,
    server_errors: AtomicU64,
    unanswered: AtomicU64,
    is_away: AtomicBool,
}

impl Counters {
    pub(crate) fn asked(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, length: u64) {
        self.body_bytes.fetch_add(length, Ordering::Relaxed);
    }

    /// One answer, or none.
    pub(crate) fn answered(&self, status: Option<StatusCode>) {
        let is_away = status.is_none_or(|status| status.is_server_error());
        self.is_away.store(is_away, Ordering::Relaxed);
        let counter = match status.map(|status| status.as_u16()) {
            None => &self.unanswered,
            Some(401 | 403) => &self.denied,
            Some(429) => &self.throttled,
            Some(300..400) => &self.redirected,
            Some(400..500) => &self.client_errors,
            Some(500..) => &self.server_errors,
            Some(_) => &self.succeeded,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the last request got no answer, or an error of the origin's own.
    pub(crate) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    pub(crate) fn read(&self) -> OriginStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OriginStats {
            requests: read(&self.requests),
            body_bytes: read(&self.body_bytes),
            succeeded: read(&self.succeeded),
            redirected: read(&self.redirected),
            denied: read(&self.denied),
            throttled: read(&self.throttled),
            client_errors: read(&self.client_errors),
            server_errors: read(&self.server_errors),
            unanswered: read(&self.unanswered),
        }
    }
}
