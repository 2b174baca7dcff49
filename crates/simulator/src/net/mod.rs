//! The network as a fluid: links with a rate, flows that share them fairly.
//!
//! A flow crosses up to four links (a host's up, a pipe out of its zone, a pipe into the other zone, a host's down).
//! Rates are max-min fair: no flow could be faster without making one slower that is no faster than itself. That is
//! what many TCP connections come near to, and it needs no packets: five million pieces are ten million changes.
//!
//! A change is not solved for the whole network. Each link keeps the share it allows one flow; a flow runs at the least
//! share on its path; a changed link wakes only those neighbours whose own share could depend on it (see `solve`).
//! Changes of one moment are solved together, before time moves on or somebody asks.
//!
//! A link crossed by more than [`CROWD`] flows (an origin, a pipe between zones) is solved again only when its load has
//! moved by 1 % of its capacity, or, after any smaller change, by the first change [`CROWD_PAUSE`] later: until then
//! new flows get its last share, and it may be that much over or under its capacity.

mod flow;
mod heap;
mod link;
mod solve;

#[cfg(test)]
mod exact;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use types::{ByteCount, Moment};

use flow::Flows;
pub use flow::{FlowNo, HOPS_MAX};
use heap::Ends;
use link::{Crossing, Link};

use crate::rate::Rate;

/// Links with more flows than this are solved in batches.
pub const CROWD: usize = 128;
/// How long a small change to a crowded link may wait, in virtual time.
pub const CROWD_PAUSE: Duration = Duration::from_millis(20);

/// A link of one [`Net`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkNo(u32);

/// Links, and the flows that cross them, at one moment of virtual time that only moves forward: a call with an earlier
/// moment counts as one at the latest seen.
#[derive(Debug, Default)]
pub struct Net {
    now: Moment,
    links: Vec<Link>,
    flows: Flows,
    ends: Ends,
    /// Links whose share must be solved again.
    work: VecDeque<LinkNo>,
    /// Crowded links with changes too small to be solved yet.
    nudged: Vec<LinkNo>,
    /// Slots of flows whose rate may have changed.
    touched: Vec<u32>,
    /// Room for the limits of one link's flows.
    limits: Vec<f64>,
}

impl Net {
    /// A network without links.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new link. A rate of zero stops what crosses it.
    pub fn add_link(&mut self, rate: Rate) -> LinkNo {
        let number = u32::try_from(self.links.len()).expect("fewer than 2^32 links");
        self.links.push(Link::new(rate.per_second()));
        LinkNo(number)
    }

    /// Changes the rate of a link.
    pub fn set_rate(&mut self, now: Moment, link: LinkNo, rate: Rate) {
        self.advance(now);
        self.links[link.0 as usize].capacity = rate.per_second();
        self.enqueue(link);
    }

    /// Starts a flow of `bytes` over `path`, which names 1 to [`HOPS_MAX`] links (one named twice counts once).
    ///
    /// # Panics
    /// If the path is longer.
    pub fn start(&mut self, now: Moment, path: &[LinkNo], bytes: ByteCount) -> FlowNo {
        assert!(
            path.len() <= HOPS_MAX,
            "a path has at most {HOPS_MAX} links"
        );
        self.advance(now);
        let number = self.flows.insert(self.now, path, bytes.0);
        let slot = number.slot;
        for hop in 0..self.flows.at(slot).path().len() {
            let on = self.flows.at(slot).path()[hop];
            let crossings = &mut self.links[on.0 as usize].crossings;
            let place = u32::try_from(crossings.len()).expect("fewer than 2^30 flows");
            crossings.push(Crossing::new(slot, hop));
            self.flows.at_mut(slot).places[hop] = place;
            self.wake(on);
        }
        let end = if bytes == ByteCount::ZERO || path.is_empty() {
            self.now
        } else {
            self.touch(slot);
            Moment::NEVER
        };
        self.ends.set(slot, end.0);
        number
    }

    /// Ends a flow early and gives the bytes it had left; none if it was over.
    pub fn cancel(&mut self, now: Moment, flow: FlowNo) -> Option<ByteCount> {
        let left = self.remaining(now, flow)?;
        self.remove(flow.slot);
        Some(left)
    }

    /// Bytes a flow has left; none if it is over.
    pub fn remaining(&mut self, now: Moment, flow: FlowNo) -> Option<ByteCount> {
        self.advance(now);
        let left = self.flows.get(flow)?.left(self.now).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most what it started with"
        )]
        Some(ByteCount(left as u64))
    }

    /// The rate of a running flow now, in bytes per second.
    pub fn rate(&mut self, flow: FlowNo) -> Option<f64> {
        self.solve();
        self.flows.get(flow).map(|flow| flow.rate)
    }

    /// The sum of rates over a link now, in bytes per second.
    pub fn load(&mut self, link: LinkNo) -> f64 {
        self.solve();
        self.links[link.0 as usize].load
    }

    /// Which flow ends next and when, if nothing changes before. None if none runs, or all stand still.
    pub fn next_completion(&mut self) -> Option<(Moment, FlowNo)> {
        self.solve();
        let (at, slot) = self.ends.first()?;
        (at != u64::MAX).then(|| (Moment(at).max(self.now), self.flows.number(slot)))
    }

    /// Takes one flow that has ended by `now`: call until none is left.
    pub fn finish(&mut self, now: Moment) -> Option<FlowNo> {
        self.advance(now);
        let (at, slot) = self.ends.first()?;
        if at > self.now.0 || at == u64::MAX {
            return None;
        }
        let number = self.flows.number(slot);
        self.remove(slot);
        Some(number)
    }

    /// How many flows run.
    pub fn running(&self) -> usize {
        self.flows.running()
    }

    /// Moves time on, after solving what changed until now.
    fn advance(&mut self, now: Moment) {
        if now > self.now {
            self.solve();
            self.now = now;
        }
    }

    fn remove(&mut self, slot: u32) {
        self.ends.remove(slot);
        let flow = self.flows.at(slot).clone();
        for (hop, &on) in flow.path().iter().enumerate() {
            let link = &mut self.links[on.0 as usize];
            let place = flow.places[hop];
            link.crossings.swap_remove(place as usize);
            link.load = if link.crossings.is_empty() {
                0.0
            } else {
                link.load - flow.rate
            };
            if let Some(moved) = link.crossings.get(place as usize) {
                self.flows.at_mut(moved.slot()).places[moved.hop()] = place;
            }
            self.wake(on);
        }
        if flow.touched {
            self.touched.retain(|&touched| touched != slot);
        }
        self.flows.remove(slot);
    }
}
