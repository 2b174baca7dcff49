//! One link, and the level to which it fills the flows that cross it.

use types::Moment;

/// A flow's place on its path, in 32 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crossing(u32);

impl Crossing {
    pub(super) fn new(slot: u32, hop: usize) -> Self {
        let hop = u32::try_from(hop).expect("a path has at most four hops");
        debug_assert!(hop < 4 && slot < 1 << 30, "two bits of hop, thirty of slot");
        Self(slot << 2 | hop)
    }

    pub(super) const fn slot(self) -> u32 {
        self.0 >> 2
    }

    pub(super) const fn hop(self) -> usize {
        (self.0 & 3) as usize
    }
}

#[derive(Debug)]
pub(super) struct Link {
    /// Bytes per second.
    pub(super) capacity: f64,
    /// The most that this link allows one flow, as its neighbours know it.
    pub(super) share: f64,
    /// Sum of the rates of its flows.
    pub(super) load: f64,
    pub(super) crossings: Vec<Crossing>,
    /// In the work list.
    pub(super) queued: bool,
    /// In the list of crowded links that wait for a reason to be solved.
    pub(super) nudged: bool,
    /// The load that the share was last solved for, and when that was.
    pub(super) solved: (f64, Moment),
}

impl Link {
    pub(super) const fn new(capacity: f64) -> Self {
        Self {
            capacity,
            share: capacity,
            load: 0.0,
            crossings: Vec::new(),
            queued: false,
            nudged: false,
            solved: (0.0, Moment::ZERO),
        }
    }
}

/// The most that a link of `capacity` allows one flow, where `limits` are what its flows could use if this link did
/// not exist.
///
/// A full link: the level to which it fills all flows that want as much. One with room to spare: what the largest
/// could grow to. Either way no flow could get more, and both meet where the link is just full: a link on the verge
/// does not jump and wake its neighbours. (Charny, Clark, Jain 1995: with that rule the rates that links tell each
/// other, in any order, end at the max-min fair ones.)
pub(super) fn fair_share(capacity: f64, limits: &[f64]) -> f64 {
    let mut level = share_of(capacity, limits.len());
    loop {
        let (mut below, mut used, mut highest) = (0, 0.0, 0.0_f64);
        for &limit in limits {
            if limit <= level {
                below += 1;
                used += limit;
                highest = highest.max(limit);
            }
        }
        if below == limits.len() {
            return (capacity - used).max(0.0) + highest;
        }
        let next = share_of(capacity - used, limits.len() - below);
        if next <= level {
            return level;
        }
        level = next;
    }
}

#[expect(clippy::cast_precision_loss, reason = "no link has 2^53 flows")]
fn share_of(capacity: f64, flows: usize) -> f64 {
    capacity / flows.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "small whole numbers")]
    fn what_the_limited_leave_is_shared_by_the_rest() {
        assert_eq!(fair_share(12.0, &[]), 12.0);
        assert_eq!(fair_share(12.0, &[f64::INFINITY]), 12.0);
        assert_eq!(fair_share(12.0, &[9.0, 9.0, 9.0]), 4.0);
        assert_eq!(fair_share(12.0, &[1.0, 9.0, 3.0]), 8.0);
        assert_eq!(fair_share(12.0, &[1.0, 5.0, 5.5, 9.0]), 11.0 / 3.0);
        assert_eq!(
            fair_share(12.0, &[1.0, 2.0]),
            11.0,
            "the largest could grow by the 9 that are left"
        );
        assert_eq!(fair_share(12.0, &[6.0, 6.0]), 6.0, "just full");
        assert_eq!(fair_share(0.0, &[6.0, 6.0]), 0.0, "a dead link");
    }
}
