//! What each origin is asked at most: requests at once, requests per second, bytes per second.
//!
//! One gate per origin; every request passes it, whoever asked. An origin that says 429, or 503 with `Retry-After`, is
//! left alone for as long as it asked: requests in that time fail at once and say when to come back.
//!
//! Nobody waits for ever: a place whose body nobody reads is taken back for who waits, and who waits too long is turned
//! away.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use types::{ByteCount, Moment};

use crate::{
    allowed::AllowedOrigin,
    bucket::Bucket,
    shelf::{Reclaim, Shelf},
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
    /// The longest that a request waits for its place and its turn; then it is turned away.
    pub wait_max: Duration,
    /// A body that nobody read for so long gives its place to who waits, and breaks off.
    pub idle_max: Duration,
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
            wait_max: Duration::from_secs(20),
            idle_max: Duration::from_secs(10),
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
    /// Too many wait already, or no place came free in time.
    Crowded,
}

/// All gates of this process.
pub(crate) struct Budgets {
    started: Instant,
    standard: Budget,
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
            standard,
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
        let budget = self.standard.clone();
        let gate = Arc::new(Gate::new(budget, self.started, now));
        let entry = Entry {
            gate: Arc::clone(&gate),
            used_at: now,
        };
        gates.insert(origin.clone(), entry);
        gate
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

/// The gate of one origin. Invariant: `places` never grows beyond `budget.concurrency`.
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
    /// Who is inside, by number, and the body that is read there.
    places: BTreeMap<u64, Option<Arc<dyn Reclaim>>>,
    numbers: u64,
    requests: Bucket,
    bytes: Bucket,
    paused_until: Moment,
}

impl Gate {
    fn new(budget: Budget, started: Instant, now: Moment) -> Self {
        let state = State {
            places: BTreeMap::new(),
            numbers: 0,
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

    /// Waits for a place, no longer than the budget allows. Dropped early, no place is taken.
    pub(crate) async fn enter(self: &Arc<Self>) -> Result<Pass, Closed> {
        self.check_pause()?;
        let waiting = self.queue()?;
        let until = self.now() + self.state.lock().budget.wait_max;
        let pass = self.place(until).await?;
        drop(waiting);
        let turn = self.turn(until)?;
        if !turn.is_zero() {
            sleep(turn).await;
        }
        self.check_pause()?;
        Ok(pass)
    }

    async fn place(self: &Arc<Self>, until: Moment) -> Result<Pass, Closed> {
        loop {
            // Registered before the look, so that a place freed in between is not missed.
            let freed = self.freed.notified();
            if let Some(pass) = self.try_enter() {
                return Ok(pass);
            }
            self.crowded.notify_one();
            let now = self.now();
            let again = match self.reclaim(now) {
                Reclaimed::Place => continue,
                Reclaimed::Nothing { again } => again.min(until),
            };
            if timeout(again.since(now), freed).await.is_err() && self.now() >= until {
                return Err(Closed::Crowded);
            }
        }
    }

    /// Takes the place back whose body lies idle for longest, if that is long enough.
    fn reclaim(&self, now: Moment) -> Reclaimed {
        let mut state = self.state.lock();
        let idle_max = state.budget.idle_max;
        let idle = (state.places.iter())
            .filter_map(|(number, body)| Some((body.as_ref()?.idle_since()?, *number)))
            .min();
        let nothing = |since: Moment| Reclaimed::Nothing {
            again: since + idle_max,
        };
        let Some((since, number)) = idle else {
            return nothing(now);
        };
        let before = now - idle_max;
        if since > before {
            return nothing(since);
        }
        let body = state.places.get(&number).and_then(Clone::clone);
        let Some(taken) = body.and_then(|body| body.reclaim(before)) else {
            // It is read again since we looked.
            return nothing(now);
        };
        state.places.remove(&number);
        drop(state);
        tracing::debug!("a body that nobody reads gives its place to who waits");
        drop(taken);
        Reclaimed::Place
    }

    /// How long until one more request may begin.
    fn turn(&self, until: Moment) -> Result<Duration, Closed> {
        let now = self.now();
        let mut state = self.state.lock();
        let wait = state.requests.take(1, now);
        if wait > until.since(now) {
            state.requests.give_back(1);
            return Err(Closed::Crowded);
        }
        Ok(wait)
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
        if state.places.len() >= state.budget.concurrency.max(1) {
            return None;
        }
        state.numbers += 1;
        let number = state.numbers;
        state.places.insert(number, None);
        Some(Pass {
            gate: Arc::clone(self),
            number,
        })
    }

    fn now(&self) -> Moment {
        Moment::ZERO + self.started.elapsed()
    }
}

/// What came of looking for a place that is not used.
enum Reclaimed {
    /// One is free now.
    Place,
    /// None is; one may be at `again`.
    Nothing { again: Moment },
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

/// A place at an origin, given back when dropped, unless it was taken back by then.
pub(crate) struct Pass {
    gate: Arc<Gate>,
    number: u64,
}

impl Pass {
    pub(crate) fn place(&self) -> Place {
        Place(Arc::clone(&self.gate))
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Lays the body that is read at this place onto a shelf.
    pub(crate) fn shelve<T: Send + 'static>(&self, body: T) -> Arc<Shelf<T>> {
        let shelf = Arc::new(Shelf::new(body, self.gate.now()));
        let body: Arc<dyn Reclaim> = Arc::<Shelf<T>>::clone(&shelf);
        if let Some(place) = self.gate.state.lock().places.get_mut(&self.number) {
            *place = Some(body);
        }
        shelf
    }

    /// This moment, on the clock of the shelves.
    pub(crate) fn now(&self) -> Moment {
        self.gate.now()
    }

    /// Counts `length` body bytes and waits as the byte rate asks.
    pub(crate) async fn received(&self, length: u64) {
        self.gate.counters.received(length);
        let wait = self.gate.state.lock().bytes.take(length, self.gate.now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let place = self.gate.state.lock().places.remove(&self.number);
        if place.is_some() {
            self.gate.freed.notify_one();
        }
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
mod tests;
