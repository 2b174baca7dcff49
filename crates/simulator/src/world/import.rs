//! Bytes from the origin. As in a daemon, runs that follow each other come from one open request, without a pause; a
//! run elsewhere costs a new request, and a round trip until its bytes flow.

use std::collections::VecDeque;

use swarm::{
    HostNo,
    download::{Event, Supplier},
};
use types::{PieceIndex, PieceRun};

use super::{World, message::Happening, transfer::Load};
use crate::{net::FlowNo, scenario::End};

/// One open request of a host to the origin.
#[derive(Debug)]
pub(super) struct Lane {
    number: u32,
    /// Where its last run ends.
    end: u64,
    /// Pieces that were ordered and do not flow yet.
    ordered: VecDeque<PieceIndex>,
    /// What flows now.
    flow: Option<FlowNo>,
    /// Whether the origin has answered.
    is_open: bool,
}

/// All requests of a host to the origin.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    last: u32,
}

impl Lanes {
    /// Requests that stay open: two, as a daemon's imports read two runs at once.
    const OPEN_MAX: usize = 2;

    /// Hands `run` to the request that stands before it, or to a new one. Tells which, and whether it is new.
    fn hand(&mut self, run: PieceRun) -> (u32, bool) {
        let first = u64::from(run.first.0);
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.end == first) {
            lane.end = run.end();
            lane.ordered.extend(run.pieces());
            return (lane.number, false);
        }
        let is_idle = |lane: &Lane| lane.flow.is_none() && lane.ordered.is_empty();
        if self.lanes.len() >= Self::OPEN_MAX
            && let Some(idle) = self.lanes.iter().position(is_idle)
        {
            self.lanes.remove(idle);
        }
        self.last += 1;
        self.lanes.push(Lane {
            number: self.last,
            end: run.end(),
            ordered: run.pieces().collect(),
            flow: None,
            is_open: false,
        });
        (self.last, true)
    }

    fn get(&mut self, number: u32) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.number == number)
    }
}

impl World<'_> {
    /// Orders a run from the origin.
    pub(super) fn import(&mut self, host: HostNo, run: PieceRun) {
        let (lane, is_new) = self.host(host).imports.hand(run);
        if is_new {
            self.counts.origin_requests += 1;
            let at = self.now + self.scenario.delay * 2;
            self.queue.push(at, Happening::OriginAnswers { host, lane });
        } else {
            self.read_next(host, lane);
        }
    }

    /// The first bytes of a request may flow. One that was stopped meanwhile is not there any more.
    pub(super) fn origin_answers(&mut self, host: HostNo, number: u32) {
        if let Some(lane) = self.host(host).imports.get(number) {
            lane.is_open = true;
            self.read_next(host, number);
        }
    }

    /// Starts the next piece of a request, if one is ordered and none flows.
    fn read_next(&mut self, host: HostNo, number: u32) {
        let Some(lane) = self.host(host).imports.get(number) else {
            return;
        };
        if !lane.is_open || lane.flow.is_some() {
            return;
        }
        let Some(piece) = lane.ordered.pop_front() else {
            return;
        };
        let path = self.wiring.path(End::Origin, host.0 as usize);
        let length = self.scenario.layout.length_of(piece);
        let flow = self.net.start(self.now, &path, length);
        let lane = number;
        self.loads.insert(flow, Load::Import { host, lane, piece });
        if let Some(lane) = self.host(host).imports.get(number) {
            lane.flow = Some(flow);
        }
    }

    /// A piece is through: the next of its request follows at once.
    pub(super) fn import_ended(&mut self, host: HostNo, number: u32, piece: PieceIndex) {
        self.count_origin(host, self.scenario.layout.length_of(piece).0);
        let at = self.now + self.scenario.delay;
        self.queue.push(at, Happening::Imported { host, piece });
        if let Some(lane) = self.host(host).imports.get(number) {
            lane.flow = None;
        }
        self.read_next(host, number);
    }

    /// Stops reading from the origin. What was sent until now is counted.
    pub(super) fn stop_imports(&mut self, host: HostNo) {
        let lanes = std::mem::take(&mut self.host(host).imports.lanes);
        for flow in lanes.into_iter().filter_map(|lane| lane.flow) {
            let left = self.net.cancel(self.now, flow);
            if let Some(Load::Import { piece, .. }) = self.loads.remove(&flow) {
                let sent = self.sent_of(piece, left);
                self.count_origin(host, sent);
            }
        }
    }

    pub(super) fn imported(&mut self, host: HostNo, piece: PieceIndex) {
        if !self.host(host).is_up {
            return;
        }
        let from = Supplier::Origin;
        self.drive(host, Event::Verified { piece, from });
        self.read_on(host);
        self.imported.insert(piece);
        self.check_faults();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u32, count: u32) -> PieceRun {
        PieceRun {
            first: PieceIndex(first),
            count,
        }
    }

    #[test]
    fn runs_that_follow_each_other_are_one_request() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.hand(run(0, 4)), (1, true));
        assert_eq!(lanes.hand(run(4, 2)), (1, false));
        assert_eq!(lanes.hand(run(9, 1)), (2, true), "it is elsewhere");
        assert_eq!(lanes.hand(run(6, 1)), (1, false));
        let lane = lanes.get(1).expect("it is open");
        assert_eq!(lane.ordered.len(), 7);
    }

    #[test]
    fn an_idle_request_makes_room_for_another() {
        let mut lanes = Lanes::default();
        lanes.hand(run(0, 1));
        lanes.hand(run(9, 1));
        lanes.get(1).expect("it is open").ordered.clear();
        lanes.hand(run(20, 1));
        assert!(lanes.get(1).is_none() && lanes.get(2).is_some() && lanes.get(3).is_some());
    }
}
