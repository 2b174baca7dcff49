//! What the forward proxy counted, as Prometheus reads it.

use std::{sync::atomic::Ordering, time::SystemTime};

use gateway::proxy::Tally;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{Label, seconds_of};

/// The proxy's counters, and what is shown of them.
#[derive(Default)]
pub(super) struct Counted {
    tally: Tally,
    requests: Family<Label, Counter>,
    refusals: Family<Label, Counter>,
    bytes: Family<Label, Counter>,
    tunnels: Gauge,
    authority: Gauge,
}

impl Counted {
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "pantala_proxy_requests",
            "Requests to the proxy, by what its rules say of them",
            self.requests.clone(),
        );
        registry.register(
            "pantala_proxy_refusals",
            "Requests to the proxy that no origin answered, by reason",
            self.refusals.clone(),
        );
        registry.register(
            "pantala_proxy_bytes",
            "Bytes of the proxy's answers and, both ways, of its tunnels, by the way they took",
            self.bytes.clone(),
        );
        registry.register(
            "pantala_proxy_tunnels",
            "Tunnels that are open",
            self.tunnels.clone(),
        );
        registry.register(
            "pantala_interception_expiry_timestamp_seconds",
            "When the authority ends in whose name the proxy opens TLS, in seconds since 1970; 0: there is none",
            self.authority.clone(),
        );
    }

    /// Notes when the proxy's authority ends.
    pub(super) fn authority(&self, expires_at: SystemTime) {
        self.authority.set(seconds_of(expires_at));
    }

    /// Shows what was counted until now.
    pub(super) fn refresh(&self) {
        let show = |family: &Family<Label, Counter>, label, name, count| {
            let counter = family.get_or_create(&[(label, name)]);
            counter.inner().store(count, Ordering::Relaxed);
        };
        for (name, count) in self.tally.requests() {
            show(&self.requests, "rule", name, count);
        }
        for (name, count) in self.tally.refusals() {
            show(&self.refusals, "reason", name, count);
        }
        for (name, count) in self.tally.bytes() {
            show(&self.bytes, "way", name, count);
        }
        let tunnels = i64::try_from(self.tally.tunnels());
        self.tunnels.set(tunnels.unwrap_or(i64::MAX));
    }
}
