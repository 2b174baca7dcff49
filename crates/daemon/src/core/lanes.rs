//! The imports of one lease, and which of them reads the next run.
//!
//! A run goes to the import whose last run ended right before it, so that it finds an open stream. A run elsewhere
//! (somebody is blocked on a later piece) gets an import of its own beside it.

use crate::import::Order;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The imports under one epoch, the one used longest ago first.
pub(super) struct Lanes {
    stop: CancellationToken,
    lanes: Vec<Lane>,
}

struct Lane {
    /// Where its last run ends.
    at: u64,
    orders: mpsc::Sender<Order>,
}

/// What a new import begins with.
pub(super) struct NewLane {
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) stop: CancellationToken,
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
                self.lanes.push(lane);
                return None;
            }
        }
        let (lane, new) = self.begin(order);
        self.lanes.push(lane);
        let spare = self.lanes.len().saturating_sub(most.max(1));
        self.lanes.drain(..spare);
        Some(new)
    }

    /// An import of `order` and nothing after it, for the caller to start.
    pub(super) fn once(&self, order: Order) -> NewLane {
        self.begin(order).1
    }

    fn begin(&self, order: Order) -> (Lane, NewLane) {
        let (sender, orders) = mpsc::channel(Self::ORDERS_MAX);
        sender.try_send(order).expect("an empty queue has room");
        let lane = Lane {
            at: order.run.end(),
            orders: sender,
        };
        let stop = self.stop.child_token();
        (lane, NewLane { orders, stop })
    }

    /// Lets all imports end once they have done what was ordered.
    pub(super) fn finish(&mut self) {
        self.lanes.clear();
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
        let lanes = Lanes::new();
        let mut alone = lanes.once(order(0, 4));
        assert!(alone.orders.try_recv().is_ok());
        assert!(alone.orders.is_closed());
    }
}
