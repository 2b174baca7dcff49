//! A body between two reads. While nobody reads it, it lies here, so that its place at the origin can be taken back.
//!
//! A client of ours that stops reading stops the body it reads, and would hold the place for as long as it likes.

use parking_lot::Mutex;
use types::Moment;

/// Where a body lies while nobody reads it.
pub(crate) struct Shelf<T>(Mutex<Standing<T>>);

enum Standing<T> {
    /// Somebody reads it.
    InUse,
    Idle {
        since: Moment,
        body: T,
    },
    /// Others needed its place more.
    TakenBack,
}

impl<T> Shelf<T> {
    /// A shelf with `body` on it from `now` on.
    pub(crate) fn new(body: T, now: Moment) -> Self {
        Self(Mutex::new(Standing::Idle { since: now, body }))
    }

    /// The body, for one read; none if it was taken back.
    pub(crate) fn take(&self) -> Option<T> {
        let mut standing = self.0.lock();
        match std::mem::replace(&mut *standing, Standing::InUse) {
            Standing::Idle { body, .. } => Some(body),
            other => {
                *standing = other;
                None
            }
        }
    }

    /// Puts it back after a read.
    pub(crate) fn put(&self, body: T, now: Moment) {
        *self.0.lock() = Standing::Idle { since: now, body };
    }
}

/// What a gate sees of a shelf.
pub(crate) trait Reclaim: Send + Sync {
    /// Since when nobody reads; none while somebody does.
    fn idle_since(&self) -> Option<Moment>;

    /// Takes the body away if nobody read it since `before`. It is the caller's to drop, outside of its own locks.
    fn reclaim(&self, before: Moment) -> Option<Box<dyn Send>>;
}

impl<T: Send + 'static> Reclaim for Shelf<T> {
    fn idle_since(&self) -> Option<Moment> {
        match &*self.0.lock() {
            Standing::Idle { since, .. } => Some(*since),
            Standing::InUse | Standing::TakenBack => None,
        }
    }

    fn reclaim(&self, before: Moment) -> Option<Box<dyn Send>> {
        let mut standing = self.0.lock();
        match std::mem::replace(&mut *standing, Standing::TakenBack) {
            Standing::Idle { since, body } if since <= before => Some(Box::new(body)),
            other => {
                *standing = other;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_idle_body_is_taken_back_and_only_once() {
        let shelf = Shelf::new("body", Moment(10));
        assert!(shelf.reclaim(Moment(9)).is_none(), "it was read since");
        let body = shelf.take().expect("it lies there");
        assert_eq!(shelf.idle_since(), None);
        assert!(shelf.reclaim(Moment(99)).is_none(), "somebody reads it");
        shelf.put(body, Moment(20));
        assert_eq!(shelf.idle_since(), Some(Moment(20)));
        assert!(shelf.reclaim(Moment(20)).is_some());
        assert!(shelf.reclaim(Moment(99)).is_none());
        assert!(shelf.take().is_none());
    }
}
