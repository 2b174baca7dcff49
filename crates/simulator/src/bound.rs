//! The time below which physics lets nobody distribute: what every distribution is measured against.
//!
//! Plain numbers in, a plain value out, and no other module is used: the simulator's report and a daemon's efficiency
//! metric are the same function. Bytes leave one origin, enter each host, leave the hosts that have them, and cross
//! what lies between zones. Each of these takes at least its bytes over its rate, and the longest binds all.

use std::{fmt, time::Duration};

/// What is distributed to whom. Rates are in bytes per second; an infinite one never binds, one of zero never ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    /// Bytes of the content.
    pub bytes: u64,
    /// Bytes of one piece.
    pub piece_bytes: u64,
    /// Hosts that receive all of it, importers that also receive included.
    pub hosts: u64,
    /// Whether those who import are among the receiving hosts: the copy they import needs nobody's upload.
    pub importers_receive: bool,
    /// What the origin sends at most.
    pub origin_rate: f64,
    /// The slowest way down of a receiving host.
    pub down_rate_min: f64,
    /// The ways up of all importers and hosts together.
    pub up_rate_sum: f64,
    /// The way up of a typical host: the pace of the fill.
    pub up_rate_typical: f64,
    /// The slowest way into a zone that has no source of its own (all its pipes together); infinite without zones.
    pub zone_rate_min: f64,
}

/// Which term of the bound is the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BindingTerm {
    /// The origin's rate.
    Origin,
    /// The slowest host's way down.
    SlowestDownload,
    /// All ways up together.
    Uploads,
    /// The slowest way into a zone.
    ZonePipe,
}

impl BindingTerm {
    /// What people are told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Origin => "the origin's rate",
            Self::SlowestDownload => "the slowest host's download rate",
            Self::Uploads => "the upload rates of all hosts together",
            Self::ZonePipe => "the slowest pipe into a zone",
        }
    }
}

impl fmt::Display for BindingTerm {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(self.name())
    }
}

/// The least time a distribution takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// For content that flows like water. `Duration::MAX` if it never ends.
    pub fluid: Duration,
    /// What `fluid` comes from.
    pub binding: BindingTerm,
    /// How much longer it takes because a piece is forwarded only when it is whole: the last host gets its first piece
    /// after `floor(log2 hosts)` hops.
    pub fill: Duration,
}

impl Bound {
    /// The fluid time and the fill together.
    pub const fn with_fill(&self) -> Duration {
        self.fluid.saturating_add(self.fill)
    }
}

/// The physical bound of a distribution. At equal terms, the one nearest to the origin binds.
pub fn bound(of: &Distribution) -> Bound {
    let copies = of.hosts.saturating_sub(u64::from(of.importers_receive));
    let bytes = float(of.bytes);
    let terms = [
        (BindingTerm::Origin, seconds(bytes, of.origin_rate)),
        (BindingTerm::ZonePipe, seconds(bytes, of.zone_rate_min)),
        (
            BindingTerm::SlowestDownload,
            seconds(bytes, of.down_rate_min),
        ),
        (
            BindingTerm::Uploads,
            seconds(float(copies) * bytes, of.up_rate_sum),
        ),
    ];
    let (binding, fluid) =
        terms.into_iter().fold(
            terms[0],
            |longest, term| {
                if term.1 > longest.1 { term } else { longest }
            },
        );
    let hops = of.hosts.checked_ilog2().unwrap_or(0);
    let piece = float(of.piece_bytes.min(of.bytes));
    Bound {
        fluid: duration(fluid),
        binding,
        fill: duration(seconds(f64::from(hops) * piece, of.up_rate_typical)),
    }
}

fn seconds(bytes: f64, rate: f64) -> f64 {
    if bytes == 0.0 { 0.0 } else { bytes / rate }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "15 digits are more than any rate is known to"
)]
const fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    /// 1000 hosts of 100 MB/s, a tenth of a terabyte in 256 pieces, one seed, a mighty origin.
    fn fleet() -> Distribution {
        Distribution {
            bytes: 256 * 100 * MB,
            piece_bytes: 100 * MB,
            hosts: 1000,
            importers_receive: false,
            origin_rate: 1e12,
            down_rate_min: 1e8,
            up_rate_sum: 1001.0 * 1e8,
            up_rate_typical: 1e8,
            zone_rate_min: f64::INFINITY,
        }
    }

    #[test]
    fn equal_hosts_end_after_their_own_link_and_the_fill() {
        let bound = bound(&fleet());
        assert_eq!(bound.binding, BindingTerm::SlowestDownload);
        assert_eq!(bound.fluid, Duration::from_secs(256));
        assert_eq!(bound.with_fill(), Duration::from_secs(256 + 9));
    }

    #[test]
    fn each_term_binds_in_its_turn() {
        let check = |change: fn(&mut Distribution), binding, seconds| {
            let mut of = fleet();
            change(&mut of);
            let bound = bound(&of);
            assert_eq!((bound.binding, bound.fluid.as_secs()), (binding, seconds));
        };
        check(|of| of.origin_rate = 1e7, BindingTerm::Origin, 2560);
        check(
            |of| of.down_rate_min = 5e7,
            BindingTerm::SlowestDownload,
            512,
        );
        check(|of| of.up_rate_sum = 5e10, BindingTerm::Uploads, 512);
        check(|of| of.zone_rate_min = 2e7, BindingTerm::ZonePipe, 1280);
    }

    #[test]
    fn an_importer_that_also_receives_saves_one_copy() {
        let mut of = fleet();
        of.hosts = 2;
        of.up_rate_sum = 1e7;
        assert_eq!(bound(&of).fluid.as_secs(), 5120);
        of.importers_receive = true;
        assert_eq!(bound(&of).fluid.as_secs(), 2560);
        of.hosts = 1;
        assert_eq!(bound(&of).binding, BindingTerm::SlowestDownload);
        assert_eq!(bound(&of).fill, Duration::ZERO);
    }

    #[test]
    fn a_dead_link_never_ends_and_nothing_takes_no_time() {
        let mut of = fleet();
        of.origin_rate = 0.0;
        assert_eq!(bound(&of).with_fill(), Duration::MAX);
        of.bytes = 0;
        assert_eq!(bound(&of).with_fill(), Duration::ZERO);
        of = Distribution {
            hosts: 0,
            ..fleet()
        };
        assert_eq!(bound(&of).fill, Duration::ZERO);
    }
}
