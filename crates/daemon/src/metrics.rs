//! What the daemon counts, for Prometheus. Labels are few fixed words, never ids or URLs.

use std::{
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use gateway::{Bound, Efficiency, proxy::Tally};
use listen::Untaken;
use origin::OriginStats;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use store::Usage;
use types::ByteCount;

use crate::task::From;

mod proxy;

type Label = [(&'static str, &'static str); 1];

/// Seconds since 1970.
fn seconds_of(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

const SOURCES: [From; 3] = [From::Store, From::Peer, From::Origin];
/// Of the store's bytes.
const STORE_KINDS: [&str; 4] = ["used", "reserved", "free", "quota"];
const BOUNDS: [Bound; 3] = [Bound::Link, Bound::Limit, Bound::Origin];

fn bound(bound: Bound) -> Label {
    let name = match bound {
        Bound::Link => "link",
        Bound::Limit => "limit",
        Bound::Origin => "origin",
    };
    [("bound", name)]
}

fn source(from: From) -> Label {
    let name = match from {
        From::Store => "local",
        From::Peer => "peer",
        From::Origin => "origin",
    };
    [("source", name)]
}

/// Why a piece that was asked of a host did not come as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceFailure {
    /// They don't match the piece's digest.
    Corrupt,
    /// They did not come in time.
    Late,
    /// The other host refused to send them.
    Refused,
    /// The connection broke under them.
    Broken,
    /// They could not be written.
    Store,
}

impl PieceFailure {
    const ALL: [Self; 5] = [
        Self::Corrupt,
        Self::Late,
        Self::Refused,
        Self::Broken,
        Self::Store,
    ];

    const fn label(self) -> Label {
        let name = match self {
            Self::Corrupt => "corrupt",
            Self::Late => "late",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Store => "store",
        };
        [("reason", name)]
    }
}

/// All counters of this process. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Mutex<Registry>,
    body: Family<Label, Counter>,
    unleased: Counter,
    stale: Counter,
    wasted: Counter,
    piece_failures: Family<Label, Counter>,
    first_byte: Family<Label, Histogram, Buckets>,
    throughput: Family<Label, Histogram, Buckets>,
    efficiency: Family<Label, Histogram, Buckets>,
    origin_requests: Family<Label, Counter>,
    origin_body: Counter,
    store: Family<Label, Gauge>,
    scrubbed: Counter,
    decayed: Counter,
    panics: Counter,
    connections: Gauge,
    untaken: Untaken,
    tasks: Gauge,
    certificate: Gauge,
    proxy: proxy::Counted,
}

/// Makes histograms of one family.
#[derive(Clone)]
struct Buckets(fn() -> Histogram);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        (self.0)()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let inner = Inner {
            registry: Mutex::new(Registry::default()),
            body: Family::default(),
            unleased: Counter::default(),
            stale: Counter::default(),
            wasted: Counter::default(),
            piece_failures: Family::default(),
            // 0.5 ms to 16 s; 64 KiB/s to 32 GiB/s.
            first_byte: Family::new_with_constructor(Buckets(|| {
                Histogram::new(exponential_buckets(0.000_5, 2.0, 16))
            })),
            throughput: Family::new_with_constructor(Buckets(|| {
                Histogram::new(exponential_buckets(65_536.0, 2.0, 20))
            })),
            efficiency: Family::new_with_constructor(Buckets(|| {
                Histogram::new([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
            })),
            origin_requests: Family::default(),
            origin_body: Counter::default(),
            store: Family::default(),
            scrubbed: Counter::default(),
            decayed: Counter::default(),
            panics: Counter::default(),
            connections: Gauge::default(),
            untaken: Untaken::default(),
            tasks: Gauge::default(),
            certificate: Gauge::default(),
            proxy: proxy::Counted::default(),
        };
        inner.register();
        inner.begin();
        Self(Arc::new(inner))
    }
}

impl Inner {
    fn register(&self) {
        let mut registry = self.registry.lock();
        registry.register(
            "pantala_body_bytes",
            "Verified bytes, by where they came from",
            self.body.clone(),
        );
        registry.register(
            "pantala_origin_unleased_bytes",
            "Bytes read from origins without a scheduler's lease, unless this host knows neither scheduler nor peers",
            self.unleased.clone(),
        );
        registry.register(
            "pantala_stale_manifests",
            "Answers with what a tag meant before, while its registry failed",
            self.stale.clone(),
        );
        registry.register(
            "pantala_import_wasted_bytes",
            "Bytes read from origins for pieces that were here already, came from hosts meanwhile or were broken off",
            self.wasted.clone(),
        );
        registry.register(
            "pantala_piece_failures",
            "Pieces that were asked of hosts and did not come as asked, by what happened",
            self.piece_failures.clone(),
        );
        registry.register(
            "pantala_first_byte_seconds",
            "From a consumer's request to its first byte",
            self.first_byte.clone(),
        );
        registry.register(
            "pantala_throughput_bytes_per_second",
            "Speed of whole reads",
            self.throughput.clone(),
        );
        registry.register(
            "pantala_task_efficiency",
            "The least time that this host knows of by the time a whole task took, by what bounds it",
            self.efficiency.clone(),
        );
        registry.register(
            "pantala_origin_requests",
            "Requests to origins, by how they were answered",
            self.origin_requests.clone(),
        );
        registry.register(
            "pantala_origin_body_bytes",
            "Body bytes that origins sent",
            self.origin_body.clone(),
        );
        self.register_store(&mut registry);
        registry.register(
            "pantala_task_panics",
            "Faults of this program that ended a link or an import, and nothing else",
            self.panics.clone(),
        );
        registry.register(
            "pantala_connections",
            "Connected hosts",
            self.connections.clone(),
        );
        registry.register(
            "pantala_untaken_connections",
            "Connections that could not be taken, mostly for want of file descriptors; each listener then rests a moment",
            self.untaken.clone(),
        );
        registry.register("pantala_tasks", "Live tasks", self.tasks.clone());
        registry.register(
            "pantala_certificate_expiry_timestamp_seconds",
            "When this host's certificate ends, in seconds since 1970; it is renewed at a third of its life",
            self.certificate.clone(),
        );
        self.proxy.register(&mut registry);
    }

    fn register_store(&self, registry: &mut Registry) {
        registry.register(
            "pantala_store_bytes",
            "Bytes of the store",
            self.store.clone(),
        );
        registry.register(
            "pantala_scrubbed_bytes",
            "Stored bytes that were checked again in the background",
            self.scrubbed.clone(),
        );
        registry.register(
            "pantala_decayed_pieces",
            "Stored pieces that no longer matched their digest when they were checked again",
            self.decayed.clone(),
        );
    }
}

impl Inner {
    /// Every label is shown from the start: a rate needs the zero that it began at, and the reference page its values.
    fn begin(&self) {
        for from in SOURCES {
            drop(self.body.get_or_create(&source(from)));
            drop(self.first_byte.get_or_create(&source(from)));
            drop(self.throughput.get_or_create(&source(from)));
        }
        for why in PieceFailure::ALL {
            drop(self.piece_failures.get_or_create(&why.label()));
        }
        for one in BOUNDS {
            drop(self.efficiency.get_or_create(&bound(one)));
        }
        for kind in STORE_KINDS {
            drop(self.store.get_or_create(&[("kind", kind)]));
        }
    }
}

impl Metrics {
    /// Shows beside these what another part of the process counts, by whatever `register` puts there.
    pub fn beside(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.0.registry.lock());
    }

    /// Everything as a daemon shows it that has done nothing yet.
    pub fn shown(&self) -> String {
        self.text(&Now::default())
    }

    /// Counts verified bytes.
    pub fn body(&self, from: From, bytes: ByteCount) {
        self.0.body.get_or_create(&source(from)).inc_by(bytes.0);
    }

    /// Counts requests for pieces that came to nothing. One that asks for several pieces may count once or for each.
    pub fn pieces_failed(&self, why: PieceFailure, count: u64) {
        self.0
            .piece_failures
            .get_or_create(&why.label())
            .inc_by(count);
    }

    /// Counts bytes that were read from an origin without a lease.
    pub fn unleased(&self, bytes: ByteCount) {
        self.0.unleased.inc_by(bytes.0);
    }

    /// Counts an answer with an old meaning of a tag.
    pub fn stale(&self) {
        self.0.stale.inc();
    }

    /// Counts bytes that were imported and are of no use.
    pub fn wasted(&self, bytes: ByteCount) {
        self.0.wasted.inc_by(bytes.0);
    }

    /// Notes how long a consumer waited for its first byte, and where that came from.
    pub fn first_byte(&self, from: From, waited: Duration) {
        let family = &self.0.first_byte;
        family
            .get_or_create(&source(from))
            .observe(waited.as_secs_f64());
    }

    /// Notes how fast a consumer got `bytes`, and where most of them came from.
    pub fn throughput(&self, from: From, (bytes, took): (ByteCount, Duration)) {
        #[expect(clippy::cast_precision_loss, reason = "a speed is not exact")]
        let speed = bytes.0 as f64 / took.as_secs_f64().max(1e-6);
        let family = &self.0.throughput;
        family.get_or_create(&source(from)).observe(speed);
    }

    /// Notes how near a task came to its bound.
    pub fn efficiency(&self, told: Efficiency) {
        let family = &self.0.efficiency;
        family.get_or_create(&bound(told.bound)).observe(told.share);
    }

    /// Counts stored bytes that were checked again, and the pieces that failed.
    pub fn scrubbed(&self, bytes: ByteCount, decayed: usize) {
        self.0.scrubbed.inc_by(bytes.0);
        self.0.decayed.inc_by(decayed as u64);
    }

    /// Counts a link or an import that panicked.
    pub fn panicked(&self) {
        self.0.panics.inc();
    }

    /// Notes how many hosts are connected.
    pub fn connections(&self, count: usize) {
        self.0
            .connections
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// What counts connections that could not be taken.
    pub fn untaken(&self) -> &Untaken {
        &self.0.untaken
    }

    /// What the proxy counts with.
    pub fn proxy(&self) -> &Tally {
        self.0.proxy.tally()
    }

    /// Notes when this host's certificate ends.
    pub fn certificate(&self, expires_at: SystemTime) {
        self.0.certificate.set(seconds_of(expires_at));
    }

    /// Notes when the proxy's authority ends.
    pub(crate) fn interception(&self, expires_at: SystemTime) {
        self.0.proxy.authority(expires_at);
    }

    /// Everything in the OpenMetrics text format, with what origins and the store say now.
    pub(crate) fn text(&self, now: &Now) -> String {
        let inner = &*self.0;
        let clamp = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        inner.tasks.set(clamp(now.tasks));
        if let Some(usage) = &now.usage {
            let quota = usage.quota.unwrap_or_default();
            let bytes = [usage.used, usage.reserved, usage.free, quota];
            for (kind, bytes) in STORE_KINDS.into_iter().zip(bytes) {
                let gauge = inner.store.get_or_create(&[("kind", kind)]);
                gauge.set(clamp(bytes.0));
            }
        }
        let told = |name: &'static str, count: fn(&OriginStats) -> u64| {
            let sum = now.origins.iter().map(count).sum();
            let counter = inner.origin_requests.get_or_create(&[("answer", name)]);
            counter.inner().store(sum, Ordering::Relaxed);
        };
        told("succeeded", |stats| stats.succeeded);
        told("redirected", |stats| stats.redirected);
        told("denied", |stats| stats.denied);
        told("throttled", |stats| stats.throttled);
        told("client_error", |stats| stats.client_errors);
        told("server_error", |stats| stats.server_errors);
        told("none", |stats| stats.unanswered);
        let bytes = now.origins.iter().map(|stats| stats.body_bytes).sum();
        inner.origin_body.inner().store(bytes, Ordering::Relaxed);
        inner.proxy.refresh();
        let mut text = String::new();
        if encode(&mut text, &inner.registry.lock()).is_err() {
            // Writing to a string cannot fail; an encoder that does is no reason to end the process.
            text.clear();
            text.write_str("# EOF\n").expect("writing to a string");
        }
        text
    }
}

/// What is asked of others when metrics are shown.
#[derive(Default)]
pub(crate) struct Now {
    /// What each origin was asked.
    pub(crate) origins: Vec<OriginStats>,
    /// The store, if it tells.
    pub(crate) usage: Option<Usage>,
    /// Live tasks.
    pub(crate) tasks: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_shown() {
        let metrics = Metrics::default();
        let other = Gauge::<i64>::default();
        other.set(6);
        metrics.beside(|registry| registry.register("other", "Of another part", other));
        metrics.body(From::Peer, ByteCount(7));
        metrics.pieces_failed(PieceFailure::Corrupt, 1);
        metrics.unleased(ByteCount(3));
        metrics.wasted(ByteCount(8));
        metrics.first_byte(From::Store, Duration::from_millis(3));
        metrics.throughput(From::Origin, (ByteCount::mib(1), Duration::from_secs(1)));
        metrics.efficiency(Efficiency {
            share: 0.5,
            bound: Bound::Link,
        });
        metrics.connections(5);
        metrics.untaken().add();
        metrics.scrubbed(ByteCount(9), 1);
        metrics.certificate(SystemTime::UNIX_EPOCH + Duration::from_secs(12));
        let stats = OriginStats {
            requests: 2,
            succeeded: 2,
            body_bytes: 11,
            ..OriginStats::default()
        };
        let text = metrics.text(&Now {
            origins: vec![stats, stats],
            usage: None,
            tasks: 4,
        });
        for line in [
            "pantala_body_bytes_total{source=\"peer\"} 7",
            "pantala_piece_failures_total{reason=\"corrupt\"} 1",
            "pantala_piece_failures_total{reason=\"late\"} 0",
            "other 6",
            "pantala_origin_unleased_bytes_total 3",
            "pantala_import_wasted_bytes_total 8",
            "pantala_first_byte_seconds_count{source=\"local\"} 1",
            "pantala_throughput_bytes_per_second_count{source=\"origin\"} 1",
            "pantala_origin_requests_total{answer=\"succeeded\"} 4",
            "pantala_origin_body_bytes_total 22",
            "pantala_scrubbed_bytes_total 9",
            "pantala_decayed_pieces_total 1",
            "pantala_task_efficiency_bucket{le=\"0.5\",bound=\"link\"} 1",
            "pantala_connections 5",
            "pantala_untaken_connections_total 1",
            "pantala_tasks 4",
            "pantala_certificate_expiry_timestamp_seconds 12",
            "pantala_proxy_requests_total{rule=\"content\"} 0",
            "pantala_proxy_refusals_total{reason=\"policy\"} 0",
            "pantala_proxy_bytes_total{way=\"swarm\"} 0",
            "pantala_proxy_tunnels 0",
            "# EOF",
        ] {
            assert!(
                text.lines().any(|one| one == line),
                "{line} is not in {text}"
            );
        }
    }
}
