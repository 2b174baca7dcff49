//! The running flows, in slots that are used again.

use types::Moment;

use super::LinkNo;

/// The longest path: up, out of a zone, into a zone, down.
pub const HOPS_MAX: usize = 4;

/// A running flow. A number is never used twice: one of a flow that is over names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowNo {
    pub(super) slot: u32,
    turn: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Flow {
    turn: u32,
    hops: u8,
    /// In the list of flows whose rate may have changed.
    pub(super) touched: bool,
    path: [LinkNo; HOPS_MAX],
    /// Where this flow stands in the list of each link.
    pub(super) places: [u32; HOPS_MAX],
    /// Bytes per second since `since`.
    pub(super) rate: f64,
    /// Bytes left at `since`.
    left: f64,
    since: Moment,
}

impl Flow {
    pub(super) fn path(&self) -> &[LinkNo] {
        &self.path[..usize::from(self.hops)]
    }

    /// Bytes left at `now`, if the rate has not changed since.
    pub(super) fn left(&self, now: Moment) -> f64 {
        (self.left - self.rate * now.since(self.since).as_secs_f64()).max(0.0)
    }

    /// Goes on at `rate` from `now`, and says when that ends.
    pub(super) fn pace(&mut self, now: Moment, rate: f64) -> Moment {
        self.left = self.left(now);
        self.since = now;
        self.rate = rate;
        if self.left == 0.0 {
            return now;
        }
        let wait = (self.left / rate * 1e9).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it saturates"
        )]
        Moment(now.0.saturating_add(wait as u64))
    }
}

/// All flows. Slots of those that are over are taken again, last in first out.
#[derive(Debug, Default)]
pub(super) struct Flows {
    slots: Vec<Flow>,
    free: Vec<u32>,
}

impl Flows {
    pub(super) fn insert(&mut self, now: Moment, path: &[LinkNo], bytes: u64) -> FlowNo {
        #[expect(
            clippy::cast_precision_loss,
            reason = "53 bits are more than enough bytes"
        )]
        let left = bytes as f64;
        let mut flow = Flow {
            turn: 0,
            hops: 0,
            touched: false,
            path: [LinkNo(0); HOPS_MAX],
            places: [0; HOPS_MAX],
            rate: 0.0,
            left,
            since: now,
        };
        for &link in path {
            if !flow.path().contains(&link) {
                flow.path[usize::from(flow.hops)] = link;
                flow.hops += 1;
            }
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(flow.clone());
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^30 flows run at once")
        });
        let held = &mut self.slots[slot as usize];
        flow.turn = held.turn.wrapping_add(1);
        *held = flow;
        FlowNo {
            slot,
            turn: held.turn,
        }
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let flow = &mut self.slots[slot as usize];
        flow.turn = flow.turn.wrapping_add(1);
        flow.hops = 0;
        self.free.push(slot);
    }

    /// The flow of that number, while it runs.
    pub(super) fn get(&self, number: FlowNo) -> Option<&Flow> {
        self.slots
            .get(number.slot as usize)
            .filter(|flow| flow.turn == number.turn)
    }

    pub(super) fn at(&self, slot: u32) -> &Flow {
        &self.slots[slot as usize]
    }

    pub(super) fn at_mut(&mut self, slot: u32) -> &mut Flow {
        &mut self.slots[slot as usize]
    }

    pub(super) fn number(&self, slot: u32) -> FlowNo {
        FlowNo {
            slot,
            turn: self.at(slot).turn,
        }
    }

    pub(super) fn running(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
