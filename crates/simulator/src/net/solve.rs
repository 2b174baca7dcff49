//! Solving what a change has touched, and no more.
//!
//! A work list of links. Solving one gives the share it allows a flow, from what its flows may do elsewhere. If that
//! moved, each of its flows is looked at: another link of its path is woken only if the limit it sees for this flow,
//! capped at its own share, moved too (what lies above a link's share does not count there). Every order ends at the
//! same rates; most changes end after a few links, since a flow has one bottleneck and the others do not care.

use super::{CROWD, CROWD_PAUSE, LinkNo, Net, link::fair_share};

/// Relative change of a share or a rate below which nobody is told. What was told is kept, so that small steps in one
/// direction are told when they add up.
const TOLERANCE: f64 = 1e-4;
/// Part of a crowded link's capacity by which its load may move before it is solved.
const CROWD_DRIFT: f64 = 0.01;
/// Links solved for one change before the rest waits for the next: a guard, for the order of solving is not the best one.
const STEPS_PER_LINK: usize = 8;

fn moved(from: f64, to: f64) -> bool {
    (from - to).abs() > TOLERANCE * from.min(to)
}

impl Net {
    /// Brings all shares, rates and ends up to date.
    pub(super) fn solve(&mut self) {
        if self.work.is_empty() && self.touched.is_empty() && self.nudged.is_empty() {
            return;
        }
        let mut steps = 64 + STEPS_PER_LINK * self.links.len();
        loop {
            while steps > 0
                && let Some(link) = self.work.pop_front()
            {
                self.links[link.0 as usize].queued = false;
                self.solve_link(link);
                steps -= 1;
            }
            self.pace_touched();
            if !self.call_crowded() || steps == 0 {
                return;
            }
        }
    }

    /// Puts a link on the work list, whatever its size.
    pub(super) fn enqueue(&mut self, on: LinkNo) {
        let link = &mut self.links[on.0 as usize];
        if !link.queued {
            link.queued = true;
            self.work.push_back(on);
        }
    }

    /// Something changed on `on`: a small link is solved, a crowded one may wait.
    pub(super) fn wake(&mut self, on: LinkNo) {
        let link = &mut self.links[on.0 as usize];
        if link.crossings.len() <= CROWD {
            self.enqueue(on);
        } else if !link.nudged {
            link.nudged = true;
            self.nudged.push(on);
        }
    }

    pub(super) fn touch(&mut self, slot: u32) {
        let flow = self.flows.at_mut(slot);
        if !flow.touched {
            flow.touched = true;
            self.touched.push(slot);
        }
    }

    /// The least share on a flow's path, leaving out hop `but` (none is left out if it is not on the path).
    fn limit(&self, slot: u32, but: usize) -> f64 {
        let mut limit = f64::INFINITY;
        for (hop, on) in self.flows.at(slot).path().iter().enumerate() {
            if hop != but {
                limit = limit.min(self.links[on.0 as usize].share);
            }
        }
        limit
    }

    fn solve_link(&mut self, on: LinkNo) {
        let index = on.0 as usize;
        let mut limits = std::mem::take(&mut self.limits);
        limits.clear();
        limits.extend(
            self.links[index]
                .crossings
                .iter()
                .map(|crossing| self.limit(crossing.slot(), crossing.hop())),
        );
        let link = &mut self.links[index];
        let share = fair_share(link.capacity, &limits);
        link.solved = (limits.iter().map(|limit| limit.min(share)).sum(), self.now);
        self.limits = limits;
        let before = link.share;
        if !moved(before, share) {
            return;
        }
        self.links[index].share = share;
        for place in 0..self.links[index].crossings.len() {
            let crossing = self.links[index].crossings[place];
            self.tell(crossing.slot(), crossing.hop(), (before, share));
        }
    }

    /// The share at hop `from` of a flow went from `before` to `after`: wakes the links of its path that care.
    fn tell(&mut self, slot: u32, from: usize, (before, after): (f64, f64)) {
        let mut path = [LinkNo(0); super::HOPS_MAX];
        let flow = self.flows.at(slot);
        let (hops, rate) = (flow.path().len(), flow.rate);
        path[..hops].copy_from_slice(flow.path());
        let elsewhere = self.limit(slot, from);
        for hop in (0..hops).filter(|&hop| hop != from) {
            let others = (0..hops)
                .filter(|&other| other != hop && other != from)
                .map(|other| self.links[path[other].0 as usize].share)
                .fold(f64::INFINITY, f64::min);
            let cap = others.min(self.links[path[hop].0 as usize].share);
            if moved(before.min(cap), after.min(cap)) {
                self.wake(path[hop]);
            }
        }
        if moved(rate, elsewhere.min(after)) {
            self.touch(slot);
        }
    }

    /// Gives each touched flow its new rate and end.
    fn pace_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for slot in touched.drain(..) {
            let rate = self.limit(slot, usize::MAX);
            let flow = self.flows.at_mut(slot);
            flow.touched = false;
            let change = rate - flow.rate;
            let end = flow.pace(self.now, rate);
            self.ends.set(slot, end.0);
            for hop in 0..self.flows.at(slot).path().len() {
                let on = self.flows.at(slot).path()[hop];
                self.links[on.0 as usize].load += change;
            }
        }
        self.touched = touched;
    }

    /// Enqueues the crowded links whose load moved enough, or long enough ago. Tells whether there are any.
    fn call_crowded(&mut self) -> bool {
        let mut nudged = std::mem::take(&mut self.nudged);
        nudged.retain(|&on| {
            let link = &mut self.links[on.0 as usize];
            let (load, at) = link.solved;
            let due = link.crossings.len() <= CROWD
                || (link.load - load).abs() > CROWD_DRIFT * link.capacity
                || self.now.since(at) >= CROWD_PAUSE;
            link.nudged = !due;
            if due {
                self.enqueue(on);
            }
            !due
        });
        self.nudged = nudged;
        !self.work.is_empty()
    }
}
