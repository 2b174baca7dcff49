//! The imports of one lease, and which of them reads the next run.
//!
//! A run goes to the import whose last run ended right before it, so that it finds an open stream. A run elsewhere
//! (somebody is blocked on a later piece) gets an import of its own beside it.
//!
//! An import that takes no further runs is given up as soon as hosts brought what it was to bring: beside a slow origin
//! there would be ever more of them.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use types::{PieceRun, PieceSet};

use crate::import::Order;

/// The imports under one epoch, the one used longest ago first.
pub(super) struct Lanes {
    stop: CancellationToken,
    lanes: Vec<Lane>,
    /// Those that take no further run, until they have ended.
    leaving: Vec<Leaving>,
}

struct Lane {
    /// Where its last run ends.
    at: u64,
    orders: mpsc::Sender<Order>,
    left: Leaving,
}

/// What is left for an import to do.
struct Leaving {
    /// The runs it was given last: more than can wait for it.
    runs: VecDeque<PieceRun>,
    /// Cancelled to end it, and by its end.
    stop: CancellationToken,
}

/// What a new import begins with.
pub(super) struct NewLane {
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) stop: CancellationToken,
}

impl Leaving {
    fn given(&mut self, run: PieceRun) {
        if self.runs.len() > Lanes::ORDERS_MAX {
            self.runs.pop_front();
        }
        self.runs.push_back(run);
    }
}

impl Lanes {
    /// Runs that may wait for one import: the brain has far fewer at once.
    const ORDERS_MAX: usize = 8;
    /// Pieces between the end of a run and the next one that is still looked for in the same stream.
    const GAP_MAX: u64 = 8;

    pub(super) fn new() -> Self {
        Self {
            stop: CancellationToken::new(),
            lanes: Vec::new(),
            leaving: Vec::new(),
        }
    }

    /// Hands `order` to the import that stands before it, or to a new one, which the caller starts. Of more than `most`
    /// imports the one used longest ago takes no further run; it ends what it has.
    pub(super) fn hand(&mut self, order: Order, most: usize) -> Option<NewLane> {
        let first = u64::from(order.run.first.0);
        let nearest = (0..self.lanes.len())
            .filter(|lane| self.lanes[*lane].at <= first)
            .filter(|lane| first - self.lanes[*lane].at <= Self::GAP_MAX)
            .max_by_key(|lane| self.lanes[*lane].at);
        if let Some(nearest) = nearest {
            let mut lane = self.lanes.remove(nearest);
            if lane.orders.try_send(order).is_ok() {
                lane.at = order.run.end();
                lane.left.given(order.run);
                self.lanes.push(lane);
                return None;
            }
        }
        let (lane, new) = self.begin(order);
        self.lanes.push(lane);
        let spare = self.lanes.len().saturating_sub(most.max(1));
        let spare = self.lanes.drain(..spare).collect();
        self.leave(spare);
        Some(new)
    }

    /// An import of `order` and nothing after it, for the caller to start.
    pub(super) fn once(&mut self, order: Order) -> NewLane {
        let (lane, new) = self.begin(order);
        self.leave(vec![lane]);
        new
    }

    /// These take no further run.
    fn leave(&mut self, lanes: Vec<Lane>) {
        self.leaving.retain(|left| !left.stop.is_cancelled());
        self.leaving.extend(lanes.into_iter().map(|lane| lane.left));
    }

    /// Whether any takes no further run and has not ended.
    pub(super) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Ends the imports that have nothing left to bring, now that `have` is here.
    pub(super) fn settle(&mut self, have: &PieceSet) {
        let is_here = |run: &PieceRun| run.pieces().all(|piece| have.contains(piece));
        self.leaving.retain(|left| {
            if left.runs.iter().all(is_here) {
                left.stop.cancel();
            }
            !left.stop.is_cancelled()
        });
    }

    fn begin(&self, order: Order) -> (Lane, NewLane) {
        let (sender, orders) = mpsc::channel(Self::ORDERS_MAX);
        sender.try_send(order).expect("an empty queue has room");
        let stop = self.stop.child_token();
        let lane = Lane {
            at: order.run.end(),
            orders: sender,
            left: Leaving {
                runs: VecDeque::from([order.run]),
                stop: stop.clone(),
            },
        };
        (lane, NewLane { orders, stop })
    }

    /// Lets all imports end once they have done what was ordered.
    pub(super) fn finish(&mut self) {
        let lanes = std::mem::take(&mut self.lanes);
        self.leave(lanes);
    }

    /// Ends all imports at once.
    pub(super) fn cancel(&self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use types::{PieceIndex, PieceRun};

    use super::*;

    fn order(first: u32, count: u32) -> Order {
        let run = PieceRun {
            first: PieceIndex(first),
            count,
        };
        Order { run, reach: run }
    }

    /// How many runs `lane` was given so far.
    fn given(lane: &mut NewLane) -> usize {
        std::iter::from_fn(|| lane.orders.try_recv().ok()).count()
    }

    #[test]
    fn runs_that_follow_each_other_go_to_one_import() {
        let mut lanes = Lanes::new();
        let mut first = lanes.hand(order(0, 4), 2).expect("nobody reads yet");
        assert!(lanes.hand(order(4, 4), 2).is_none());
        assert!(
            lanes.hand(order(10, 2), 2).is_none(),
            "two pieces came from hosts"
        );
        let mut other = lanes.hand(order(90, 1), 2).expect("it is elsewhere");
        assert!(lanes.hand(order(12, 4), 2).is_none(), "the first goes on");
        assert!(lanes.hand(order(8, 1), 2).is_some(), "no stream goes back");
        assert_eq!((given(&mut first), given(&mut other)), (4, 1));
        assert!(
            lanes.hand(order(91, 1), 2).is_some(),
            "its stream was given up for a third"
        );
        assert!(other.orders.is_closed() && !first.stop.is_cancelled());
        lanes.cancel();
        assert!(first.stop.is_cancelled() && other.stop.is_cancelled());
    }

    #[test]
    fn a_run_read_without_a_lease_is_the_last_of_its_import() {
        let mut lanes = Lanes::new();
        let mut alone = lanes.once(order(0, 4));
        assert!(alone.orders.try_recv().is_ok());
        assert!(alone.orders.is_closed());
    }

    #[test]
    fn what_hosts_brought_meanwhile_is_not_read_to_its_end() {
        let mut lanes = Lanes::new();
        let alone = lanes.once(order(0, 4));
        let mut first = lanes.hand(order(8, 2), 1).expect("nobody reads yet");
        assert!(lanes.hand(order(10, 2), 1).is_none());
        let second = lanes.hand(order(40, 2), 1).expect("it is elsewhere");
        let mut have = PieceSet::empty(64);
        let mut ended = |more: PieceRun| {
            have.insert_run(more);
            lanes.settle(&have);
            [&alone, &first, &second].map(|lane| lane.stop.is_cancelled())
        };
        assert_eq!(ended(order(0, 3).run), [false; 3]);
        assert_eq!(ended(order(3, 1).run), [true, false, false]);
        assert_eq!(ended(order(8, 2).run), [true, false, false]);
        assert_eq!(ended(order(10, 1).run), [true, false, false]);
        assert_eq!(ended(order(11, 1).run), [true, true, false]);
        let takes_more = [true, true, false];
        assert_eq!(
            ended(order(40, 2).run),
            takes_more,
            "more may be asked of it"
        );
        assert_eq!(given(&mut first), 2);
        assert!(lanes.leaving.is_empty());
    }
}
