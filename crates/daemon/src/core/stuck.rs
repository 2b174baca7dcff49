//! Children that take nothing of what is sent to them: they hold no slot.
//!
//! A stopped process keeps its links, and what is on the way to it stays there, until a link is found dead after many
//! seconds. An importer that waited for that would serve nobody else.

use std::{collections::BTreeMap, time::Duration};

use swarm::HostNo;
use types::{ByteCount, Moment};

use super::Core;

/// How much each child that is being served has taken, and when that last grew.
#[derive(Debug, Default)]
pub(super) struct Taken(BTreeMap<HostNo, (ByteCount, Moment)>);

/// Longer than a busy host's pauses; the scheduler looks at an import that stands still after three seconds.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Taken {
    /// `host` has taken `sent` so far. Whether it takes nothing any more.
    fn note(&mut self, now: Moment, host: HostNo, sent: ByteCount) -> bool {
        let (before, since) = self.0.entry(host).or_insert((sent, now));
        if *before != sent {
            (*before, *since) = (sent, now);
        }
        now >= *since + PATIENCE
    }

    fn keep(&mut self, is_served: impl Fn(&HostNo) -> bool) {
        self.0.retain(|host, _| is_served(host));
    }
}

impl Core {
    /// Looks which children take what is sent to them.
    pub(super) fn look_for_stuck(&mut self) {
        let now = self.parts.clock.now();
        if self.stuck_at.is_none_or(|at| now < at) {
            return;
        }
        let served: std::collections::BTreeSet<HostNo> = self.serving.hosts().collect();
        self.taken.keep(|host| served.contains(host));
        for host in served {
            if let Some(link) = self.peers.link_mut(host) {
                let sent = link.sender.counted().sent_body;
                let is_stuck = self.taken.note(now, host, sent);
                self.uploads.stuck(host, is_stuck);
            }
        }
        self.stuck_at = None;
    }

    /// When to look next, while anybody is served.
    pub(super) fn looks_for_stuck_at(&mut self) -> Option<Moment> {
        let is_serving = self.serving.hosts().next().is_some();
        if !is_serving {
            self.stuck_at = None;
        } else if self.stuck_at.is_none() {
            self.stuck_at = Some(self.parts.clock.now() + LOOK_EVERY);
        }
        self.stuck_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_took_nothing_for_a_second_is_stuck_until_it_takes_more() {
        let mut taken = Taken::default();
        let mut note = |millis: u64, sent| {
            let now = Moment::ZERO + Duration::from_millis(millis);
            taken.note(now, HostNo(1), ByteCount(sent))
        };
        let told = [(0, 0), (900, 0), (950, 7), (1900, 7), (1950, 7), (2000, 8)];
        let told = told.map(|(millis, sent)| note(millis, sent));
        assert_eq!(told, [false, false, false, false, true, false]);
        taken.keep(|_| false);
        assert!(taken.0.is_empty());
    }
}
