//! How near a finished task came to the least time that this host can know of.
//!
//! The bound of a whole distribution (`pantala sim`, `make demo`) needs every host's link; one host knows only what its
//! own did at its best. So a task is measured against the longest of three times: what it lacked at the best speed that
//! this host ever received at; what came from other hosts at `peer.download_rate`; what it imported at the best speed
//! that origins ever gave it. A first download is thus measured against itself, tasks that share a link each look slow,
//! and what takes less than a second is not measured: it shows round trips and not links.

use std::{collections::VecDeque, time::Duration};

use gateway::{Bound, Efficiency};
use types::{ByteCount, Moment};

use crate::task::From;

/// Speeds are taken over so long at least: a piece of 4 MiB takes a third of it at 100 Mbit/s.
const WINDOW: Duration = Duration::from_secs(1);
/// What comes within it counts as one arrival.
const GRAIN: Duration = Duration::from_millis(20);

/// The best speed seen.
#[derive(Default)]
struct Best {
    /// The last one that is a window old, and what came since.
    arrivals: VecDeque<(Moment, u64)>,
    per_second: f64,
}

#[expect(clippy::cast_precision_loss, reason = "a speed is not exact")]
const fn float(bytes: u64) -> f64 {
    bytes as f64
}

impl Best {
    fn came(&mut self, now: Moment, bytes: ByteCount) {
        match self.arrivals.back_mut() {
            Some((at, sum)) if now.since(*at) < GRAIN => *sum += bytes.0,
            _ => self.arrivals.push_back((now, bytes.0)),
        }
        while let Some((second, _)) = self.arrivals.get(1)
            && now.since(*second) >= WINDOW
        {
            self.arrivals.pop_front();
        }
        // The first one's bytes came before the time that is counted.
        let first = self.arrivals.front().map_or(now, |(at, _)| *at);
        let took = now.since(first);
        if took >= WINDOW {
            let sum = self.arrivals.iter().skip(1).map(|(_, bytes)| bytes).sum();
            self.per_second = self.per_second.max(float(sum) / took.as_secs_f64());
        }
    }

    /// The least time for `bytes`, in seconds.
    fn least(&self, bytes: u64) -> Option<f64> {
        (self.per_second > 0.0).then(|| float(bytes) / self.per_second)
    }
}

/// What this host received, at its best.
#[derive(Default)]
pub(crate) struct Speeds {
    all: Best,
    origins: Best,
}

/// A task of which all is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    /// Since when.
    pub(crate) began: Moment,
    /// What it lacked then.
    pub(crate) missing: ByteCount,
    /// What it had got by then from hosts and from the origin.
    pub(crate) had: (u64, u64),
}

impl Speeds {
    /// Verified bytes came from outside.
    pub(crate) fn came(&mut self, now: Moment, (bytes, from): (ByteCount, From)) {
        self.all.came(now, bytes);
        if from == From::Origin {
            self.origins.came(now, bytes);
        }
    }

    /// How near a task came to its bound that is whole `now`, having got `has` from hosts and from the origin. `limit` is
    /// what an operator allows from hosts, in bytes a second.
    pub(crate) fn efficiency(
        &self,
        course: &Course,
        (now, has): (Moment, (u64, u64)),
        limit: Option<ByteCount>,
    ) -> Option<Efficiency> {
        let took = now.since(course.began);
        let missing = course.missing.0;
        let peer = has.0.saturating_sub(course.had.0).min(missing);
        let origin = has.1.saturating_sub(course.had.1).min(missing);
        let limited = limit.map(|limit| float(peer) / float(limit.0.max(1)));
        let terms = [
            (self.all.least(missing), Bound::Link),
            (limited, Bound::Limit),
            (self.origins.least(origin), Bound::Origin),
        ];
        let terms = terms
            .into_iter()
            .filter_map(|(least, bound)| Some((least?, bound)));
        let (least, bound) = terms.max_by(|one, other| one.0.total_cmp(&other.0))?;
        (took >= WINDOW && least > 0.0).then(|| Efficiency {
            share: (least / took.as_secs_f64()).min(1.0),
            bound,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(ms: u64) -> Moment {
        Moment::ZERO + Duration::from_millis(ms)
    }

    /// A host that gets one piece of 1 MiB each `every` ms until `until`.
    fn paced(from: From, every: u64, until: u64) -> Speeds {
        let mut speeds = Speeds::default();
        for ms in (0..=until).step_by(usize::try_from(every).expect("small")) {
            speeds.came(at(ms), (ByteCount(MIB), from));
        }
        speeds
    }

    #[track_caller]
    fn check(speeds: &Speeds, (mib, took): (u64, u64), from: From, limit: Option<u64>) -> String {
        let course = Course {
            began: at(500),
            missing: ByteCount(mib * MIB),
            had: (7, 9),
        };
        let has = match from {
            From::Origin => (7, 9 + mib * MIB),
            _ => (7 + mib * MIB, 9),
        };
        let limit = limit.map(|mib| ByteCount(mib * MIB));
        let told = speeds.efficiency(&course, (at(500 + took), has), limit);
        told.map_or("none".into(), |one| {
            format!("{:.2} of {:?}", one.share, one.bound)
        })
    }

    #[test]
    fn a_task_is_measured_against_the_best_that_its_link_did() {
        // Ten a second.
        let speeds = paced(From::Peer, 100, 3000);
        assert_eq!(check(&speeds, (40, 4000), From::Peer, None), "1.00 of Link");
        assert_eq!(check(&speeds, (40, 8000), From::Peer, None), "0.50 of Link");
        assert_eq!(
            check(&speeds, (40, 8000), From::Peer, Some(5)),
            "1.00 of Limit"
        );
        assert_eq!(
            check(&speeds, (40, 16_000), From::Peer, Some(5)),
            "0.50 of Limit"
        );
    }

    #[test]
    fn what_is_imported_is_measured_against_origins() {
        let mut speeds = paced(From::Origin, 200, 4000);
        for ms in (5000..8000).step_by(50) {
            speeds.came(at(ms), (ByteCount(MIB), From::Peer));
        }
        assert_eq!(
            check(&speeds, (40, 16_000), From::Origin, None),
            "0.50 of Origin"
        );
        assert_eq!(check(&speeds, (40, 4000), From::Peer, None), "0.50 of Link");
    }

    #[test]
    fn what_shows_round_trips_and_not_links_is_not_measured() {
        let speeds = paced(From::Peer, 100, 3000);
        assert_eq!(check(&speeds, (1, 999), From::Peer, None), "none");
        let short = paced(From::Peer, 100, 900);
        assert_eq!(check(&short, (10, 4000), From::Peer, None), "none");
    }

    #[test]
    fn a_pause_forgets_nothing() {
        let mut calm = paced(From::Peer, 100, 3000);
        calm.came(at(90_000), (ByteCount(MIB), From::Peer));
        assert_eq!(check(&calm, (40, 8000), From::Peer, None), "0.50 of Link");
        assert!(calm.all.arrivals.len() < 60);
    }
}
