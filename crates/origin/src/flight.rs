//! One flight for many passengers: equal questions asked at the same time are answered by one request.
//!
//! Whoever waits also drives, so a flight needs no task of its own, goes on when the first passenger leaves, and ends
//! when the last one does.

use std::collections::BTreeMap;

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;

type Flight<T> = BoxFuture<'static, T>;

/// Flights by question.
pub(crate) struct Flights<K, T: Clone> {
    under_way: Mutex<BTreeMap<K, WeakShared<Flight<T>>>>,
}

impl<K: Ord + Clone, T: Clone> Flights<K, T> {
    pub(crate) fn new() -> Self {
        Self {
            under_way: Mutex::new(BTreeMap::new()),
        }
    }

    /// Joins the flight for `key`, or starts it.
    pub(crate) async fn join(&self, key: K, start: impl FnOnce() -> Flight<T>) -> T {
        let flight = self.board(&key, start);
        let answer = flight.clone().await;
        self.land(&key, &flight);
        answer
    }

    /// Whether somebody asks this already.
    pub(crate) fn is_under_way(&self, key: &K) -> bool {
        self.under_way.lock().get(key).is_some_and(|flight| {
            flight
                .upgrade()
                .is_some_and(|flight| flight.peek().is_none())
        })
    }

    fn board(&self, key: &K, start: impl FnOnce() -> Flight<T>) -> Shared<Flight<T>> {
        let mut under_way = self.under_way.lock();
        // Flights whose passengers all left are swept here: the map never outgrows the questions being asked.
        under_way.retain(|_, flight| flight.upgrade().is_some());
        if let Some(flight) = under_way
            .get(key)
            .and_then(WeakShared::upgrade)
            .filter(|flight| flight.peek().is_none())
        {
            return flight;
        }
        let flight = start().shared();
        if let Some(weak) = flight.downgrade() {
            under_way.insert(key.clone(), weak);
        }
        flight
    }

    fn land(&self, key: &K, landed: &Shared<Flight<T>>) {
        let mut under_way = self.under_way.lock();
        let is_ours = under_way
            .get(key)
            .and_then(WeakShared::upgrade)
            .is_some_and(|flight| flight.ptr_eq(landed));
        if is_ours {
            under_way.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn equal_questions_share_one_flight_and_later_ones_start_another() {
        let flights = Flights::new();
        let started = Arc::new(AtomicU32::new(0));
        let go = Arc::new(Notify::new());
        let ask = || {
            let (started, go) = (Arc::clone(&started), Arc::clone(&go));
            flights.join("key", move || {
                async move {
                    go.notified().await;
                    started.fetch_add(1, Ordering::SeqCst) + 1
                }
                .boxed()
            })
        };
        let all = join_all((0..5).map(|_| ask()));
        let (answers, ()) = tokio::join!(all, async { go.notify_one() });
        assert_eq!(answers, [1; 5]);
        go.notify_one();
        assert_eq!(ask().await, 2);
        assert!(!flights.is_under_way(&"key"));
    }

    #[tokio::test]
    async fn a_flight_outlives_the_passenger_who_started_it() {
        let flights = Flights::new();
        let go = Arc::new(Notify::new());
        let waits = Arc::clone(&go);
        let mut first = Box::pin(flights.join(1, move || {
            async move {
                waits.notified().await;
                "landed"
            }
            .boxed()
        }));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(flights.join(1, || async { "another" }.boxed()));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        go.notify_one();
        assert_eq!(second.await, "landed");
    }
}
