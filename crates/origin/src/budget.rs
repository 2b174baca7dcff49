//! What each origin is asked at most: requests at once, requests per second, bytes per second (R-LOAD-2).
//!
//! One gate per origin; every request passes it, whoever asked. An origin that says 429, or 503 with `Retry-After`, is
//! left alone for as long as it asked: requests in that time fail at once and say when to come back.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::sleep};
use types::{ByteCount, Moment};

use crate::{
    allowed::AllowedOrigin,
    bucket::Bucket,
    stats::{Counters, OriginStats},
};

/// Gates are kept for so many origins; beyond it the longest unused one is forgotten.
const ORIGINS_MAX: usize = 1024;

/// Limits towards one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Requests in flight, their bodies included.
    pub concurrency: usize,
    /// Requests that may wait for a place; the next one is turned away.
    pub waiting_max: usize,
    /// Requests begun per second.
    pub requests_per_second: Option<u64>,
    /// Body bytes per second.
    pub bytes_per_second: Option<ByteCount>,
    /// The longest an origin may ask to be left alone; a longer `Retry-After` counts as this.
    pub pause_max: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            concurrency: 32,
            waiting_max: 1024,
            requests_per_second: None,
            bytes_per_second: None,
            pause_max: Duration::from_secs(60),
        }
    }
}

/// Why a gate let nobody through.
#[derive(Debug)]
pub(crate) enum Closed {
    /// The origin asked to be left alone for so long still.
    Paused(Duration),
    /// Too many wait already.
    Crowded,
}

/// All gates of this process.
pub(crate) struct Budgets {
    started: Instant,
    standard: Mutex<Budget>,
    gates: Mutex<BTreeMap<AllowedOrigin, Entry>>,
}

struct Entry {
    gate: Arc<Gate>,
    used_at: Moment,
}

impl Budgets {
    pub(crate) fn new(standard: Budget) -> Self {
        Self {
            started: Instant::now(),
            standard: Mutex::new(standard),
            gates: Mutex::new(BTreeMap::new()),
        }
    }

    /// The gate of `origin`.
    pub(crate) fn gate(&self, origin: &AllowedOrigin) -> Arc<Gate> {
        let now = self.now();
        let mut gates = self.gates.lock();
        if let Some(entry) = gates.get_mut(origin) {
            entry.used_at = now;
            return Arc::clone(&entry.gate);
        }
        if gates.len() >= ORIGINS_MAX {
            forget_oldest(&mut gates);
        }
        let budget = self.standard.lock().clone();
        let gate = Arc::new(Gate::new(budget, self.started, now));
        let entry = Entry {
            gate: Arc::clone(&gate),
            used_at: now,
        };
        gates.insert(origin.clone(), entry);
        gate
    }

    /// Another budget for one origin, from now on. Requests in flight finish even if there are too many.
    pub(crate) fn change(&self, origin: &AllowedOrigin, budget: Budget) {
        let gate = self.gate(origin);
        let now = self.now();
        let mut state = gate.state.lock();
        state.requests.change(budget.requests_per_second, now);
        state
            .bytes
            .change(budget.bytes_per_second.map(|rate| rate.0), now);
        state.budget = budget;
        drop(state);
        gate.freed.notify_waiters();
    }

    /// What was counted, by origin.
    pub(crate) fn stats(&self) -> Vec<(AllowedOrigin, OriginStats)> {
        self.gates
            .lock()
            .iter()
            .map(|(origin, entry)| (origin.clone(), entry.gate.counters.read()))
            .collect()
    }

    fn now(&self) -> Moment {
        Moment::ZERO + self.started.elapsed()
    }
}

fn forget_oldest(gates: &mut BTreeMap<AllowedOrigin, Entry>) {
    let idle = gates
        .iter()
        .filter(|(_, entry)| Arc::strong_count(&entry.gate) == 1)
        .min_by_key(|(_, entry)| entry.used_at)
        .map(|(origin, _)| origin.clone());
    if let Some(origin) = idle {
        gates.remove(&origin);
    }
}

/// The gate of one origin. Invariant: `running` never grows beyond `budget.concurrency`.
pub(crate) struct Gate {
    started: Instant,
    state: Mutex<State>,
    freed: Notify,
    /// Somebody began to wait for a place.
    crowded: Notify,
    waiting: AtomicUsize,
    pub(crate) counters: Counters,
}

struct State {
    budget: Budget,
    running: usize,
    requests: Bucket,
    bytes: Bucket,
    paused_until: Moment,
}

impl Gate {
    fn new(budget: Budget, started: Instant, now: Moment) -> Self {
        let state = State {
            running: 0,
            requests: Bucket::new(budget.requests_per_second, now),
            bytes: Bucket::new(budget.bytes_per_second.map(|rate| rate.0), now),
            paused_until: Moment::ZERO,
            budget,
        };
        Self {
            started,
            state: Mutex::new(state),
            freed: Notify::new(),
            crowded: Notify::new(),
            waiting: AtomicUsize::new(0),
            counters: Counters::default(),
        }
    }

    /// Waits for a place. Dropped early, no place is taken.
    pub(crate) async fn enter(self: &Arc<Self>) -> Result<Pass, Closed> {
        self.check_pause()?;
        let waiting = self.queue()?;
        let pass = loop {
            // Registered before the look, so that a place freed in between is not missed.
            let freed = self.freed.notified();
            if let Some(pass) = self.try_enter() {
                break pass;
            }
            self.crowded.notify_one();
            freed.await;
        };
        drop(waiting);
        let wait = self.state.lock().requests.take(1, self.now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
        self.check_pause()?;
        Ok(pass)
    }

    /// Leaves the origin alone for `delay`, or the longest that the budget allows.
    pub(crate) fn pause(&self, delay: Duration) {
        let now = self.now();
        let mut state = self.state.lock();
        let until = now + delay.min(state.budget.pause_max);
        state.paused_until = state.paused_until.max(until);
    }

    fn check_pause(&self) -> Result<(), Closed> {
        let left = self.state.lock().paused_until.since(self.now());
        if left.is_zero() {
            Ok(())
        } else {
            Err(Closed::Paused(left))
        }
    }

    fn queue(&self) -> Result<Waiting<'_>, Closed> {
        let waiting_max = self.state.lock().budget.waiting_max;
        let waiting = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) > waiting_max {
            return Err(Closed::Crowded);
        }
        Ok(waiting)
    }

    fn try_enter(self: &Arc<Self>) -> Option<Pass> {
        let mut state = self.state.lock();
        if state.running >= state.budget.concurrency.max(1) {
            return None;
        }
        state.running += 1;
        Some(Pass(Arc::clone(self)))
    }

    fn now(&self) -> Moment {
        Moment::ZERO + self.started.elapsed()
    }
}

/// One who waits at a gate, counted until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells whether the place that a body holds at its origin is wanted by somebody else.
#[derive(Clone)]
pub struct Place(Arc<Gate>);

impl Place {
    /// Waits until somebody waits for a place at this origin: who holds one without using it should give it back. Of
    /// several that wait here, one wakes for each that came.
    pub async fn wanted(&self) {
        while self.0.waiting.load(Ordering::Relaxed) == 0 {
            self.0.crowded.notified().await;
        }
    }
}

/// A place at an origin, given back when dropped.
pub(crate) struct Pass(Arc<Gate>);

impl Pass {
    pub(crate) fn place(&self) -> Place {
        Place(Arc::clone(&self.0))
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.0
    }

    /// Counts `length` body bytes and waits as the byte rate asks.
    pub(crate) async fn received(&self, length: u64) {
        self.0.counters.received(length);
        let wait = self.0.state.lock().bytes.take(length, self.0.now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.state.lock().running -= 1;
        self.0.freed.notify_one();
    }
}

/// Makes numbers for jitter: seeded once per process, since two hosts must not come back together.
pub(crate) struct Dice(AtomicU64);

impl Dice {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(rand::random()))
    }

    pub(crate) fn chance(&self) -> types::Chance {
        types::Chance::seeded(self.0.fetch_add(0x9e37_79b9, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, future::join_all};

    use super::*;

    fn gate(budget: Budget) -> Arc<Gate> {
        Budgets::new(budget).gate(&"a.example".parse().unwrap())
    }

    #[tokio::test]
    async fn no_more_than_the_budget_are_inside_at_once() {
        let gate = gate(Budget {
            concurrency: 3,
            ..Budget::default()
        });
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let visit = async || {
            let _pass = gate.enter().await.expect("not crowded");
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        join_all((0..40).map(|_| visit())).await;
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_visitor_that_gives_up_waiting_loses_no_place() {
        let gate = gate(Budget {
            concurrency: 1,
            ..Budget::default()
        });
        let first = gate.enter().await.expect("empty");
        let mut second = Box::pin(gate.enter());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        drop(second);
        assert!(gate.enter().now_or_never().is_some_and(|pass| pass.is_ok()));
    }

    #[tokio::test]
    async fn a_long_queue_turns_the_next_one_away() {
        let gate = gate(Budget {
            concurrency: 1,
            waiting_max: 1,
            ..Budget::default()
        });
        let _inside = gate.enter().await.expect("empty");
        let mut waits = Box::pin(gate.enter());
        assert!(waits.as_mut().now_or_never().is_none());
        let mut also = Box::pin(gate.enter());
        assert!(also.as_mut().now_or_never().is_none());
        assert!(matches!(gate.enter().await, Err(Closed::Crowded)));
    }

    #[tokio::test]
    async fn who_holds_a_place_hears_that_it_is_wanted() {
        let gate = gate(Budget {
            concurrency: 2,
            ..Budget::default()
        });
        let first = gate.enter().await.expect("empty");
        let place = first.place();
        let mut wanted = Box::pin(place.wanted());
        assert!(wanted.as_mut().now_or_never().is_none());
        let _second = gate.enter().await.expect("a place is left");
        assert!(wanted.as_mut().now_or_never().is_none(), "nobody waits");
        let mut third = Box::pin(gate.enter());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(wanted.now_or_never().is_some());
        drop(first);
        assert!(third.now_or_never().is_some_and(|pass| pass.is_ok()));
        assert!(place.wanted().now_or_never().is_none(), "that is over");
    }

    #[tokio::test]
    async fn a_pause_turns_everybody_away_until_it_ends() {
        let gate = gate(Budget::default());
        gate.pause(Duration::from_secs(7200));
        let Err(Closed::Paused(left)) = gate.enter().await else {
            panic!("let in");
        };
        assert!(left <= Duration::from_secs(60));
    }
}
