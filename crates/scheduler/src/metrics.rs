//! What a scheduler counts.

use std::time::SystemTime;

use listen::Untaken;
use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Counters of one scheduler. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) hosts: Gauge,
    pub(crate) asks: Counter,
    pub(crate) messages: Counter,
    pub(crate) blames: Counter,
    pub(crate) dropped: Counter,
    pub(crate) untaken: Untaken,
    pub(crate) decisions: Histogram,
    certificate: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            hosts: Gauge::default(),
            asks: Counter::default(),
            messages: Counter::default(),
            blames: Counter::default(),
            dropped: Counter::default(),
            untaken: Untaken::default(),
            decisions: Histogram::new(exponential_buckets(1e-6, 4.0, 10)),
            certificate: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Shows them in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "pantala_scheduler_hosts",
            "Hosts with a stream",
            self.hosts.clone(),
        );
        registry.register("pantala_scheduler_asks", "Asks received", self.asks.clone());
        let messages = self.messages.clone();
        registry.register("pantala_scheduler_messages", "Messages received", messages);
        let help = "Words of hosts on others that sent or vouched for something wrong";
        registry.register("pantala_scheduler_blames", help, self.blames.clone());
        let help = "Hosts dropped because they did not read";
        registry.register("pantala_scheduler_slow_hosts", help, self.dropped.clone());
        let help = "Links that could not be taken, mostly for want of file descriptors";
        registry.register(
            "pantala_scheduler_untaken_links",
            help,
            self.untaken.clone(),
        );
        let help = "Time the brain took for one message, in seconds";
        registry.register(
            "pantala_scheduler_decision_seconds",
            help,
            self.decisions.clone(),
        );
        let help = "When the scheduler's own certificate ends, in seconds since 1970";
        let name = "pantala_scheduler_certificate_expiry_timestamp_seconds";
        registry.register(name, help, self.certificate.clone());
    }

    /// Notes when the scheduler's own certificate ends.
    pub(crate) fn certificate(&self, expires_at: SystemTime) {
        let since = expires_at.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.unwrap_or_default().as_secs();
        self.certificate
            .set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }
}
