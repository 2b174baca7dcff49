//! The lease of a task, and the clock that tells whether the task moves.
//!
//! Who believes what: the holder's belief starts at the echo of its own clock in a message that the scheduler has
//! received, so before the scheduler's "now", and is shorter by a margin; the scheduler's belief starts at "now" and is
//! longer by a margin. The holder's belief thus ends first, whatever the delays, while clocks differ in rate by less
//! than two margins per lease.

use std::time::Duration;

use types::{Epoch, HostId, Moment};

use super::{event::Term, graph::Seat, hosts::Host, policy::Policy};

/// A lease that may be believed in by its holder.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) holder: HostId,
    /// Where the holder sits; none once it was lost.
    pub(super) seat: Option<Seat>,
    pub(super) epoch: Epoch,
    pub(super) granted_at: Moment,
    /// From then on the holder certainly has stopped.
    pub(super) until: Moment,
    /// No renewals any more.
    pub(super) revoked: bool,
    pub(super) imported: u32,
}

impl Held {
    /// A longer term from now on.
    pub(super) fn renew(&mut self, now: Moment, policy: &Policy, holder: &Host) -> Term {
        self.until = self
            .until
            .max(now + policy.lease_valid_for + policy.lease_margin);
        term(now, policy, holder)
    }
}

/// A term that lasts, for the scheduler, the policy's length from now on.
pub(super) fn term(now: Moment, policy: &Policy, holder: &Host) -> Term {
    Term {
        counted_from: holder.sent,
        valid_for: policy.lease_valid_for + now.since(holder.heard_at),
        margin: policy.lease_margin,
    }
}

/// When the task last moved, and how long it may stand still before it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Motion {
    at: Moment,
    /// The usual gap between moves: each new gap counts a quarter.
    gap: Duration,
    /// Stalls since the last move: each doubles the patience.
    stalls: u8,
}

impl Motion {
    pub(super) const fn new(now: Moment) -> Self {
        Self {
            at: now,
            gap: Duration::ZERO,
            stalls: 0,
        }
    }

    pub(super) fn moved(&mut self, now: Moment) {
        self.gap = self.gap / 4 * 3 + now.since(self.at) / 4;
        self.at = now;
        self.stalls = 0;
    }

    /// Starts anew without a move: a new importer gets its time.
    pub(super) fn restart(&mut self, now: Moment) {
        self.at = now;
    }

    pub(super) fn stalled(&mut self, now: Moment) {
        self.at = now;
        self.stalls = (self.stalls + 1).min(16);
    }

    /// When standing still becomes a stall.
    pub(super) fn patience_ends(&self, policy: &Policy) -> Moment {
        let usual = (self.gap * policy.stall_factor).max(policy.stall_min);
        self.at + (usual * (1 << u32::from(self.stalls))).min(policy.stall_max)
    }

    /// Whether somebody got a piece, ever.
    pub(super) fn has_moved(&self) -> bool {
        self.gap > Duration::ZERO
    }

    pub(super) const fn at(&self) -> Moment {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_the_usual_gap_and_doubles_with_each_stall() {
        let policy = Policy::default();
        let second = Duration::from_secs(1);
        let mut motion = Motion::new(Moment::ZERO);
        let patience = |motion: &Motion| motion.patience_ends(&policy).since(motion.at());
        assert_eq!(patience(&motion), policy.stall_min);
        for step in 1..40 {
            motion.moved(Moment::ZERO + second * 2 * step);
        }
        assert!(patience(&motion) > second * 7 && patience(&motion) <= second * 8);
        motion.stalled(motion.at());
        assert!(patience(&motion) > second * 14);
        for _ in 0..300 {
            motion.stalled(motion.at());
        }
        assert_eq!(patience(&motion), policy.stall_max);
    }
}
