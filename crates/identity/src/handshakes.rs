//! How many strangers may be shaking hands with us at once, in all and from one place.
//!
//! Whoever opens connections and says nothing holds places until the time limit; without a bound per source, one such
//! host would keep all others out. A source is an IPv4 address or an IPv6 /64, which is what one subscriber gets. This
//! machine itself is no stranger: it is bound by the total only.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The handshakes under way. Invariant: no count is zero, and the sum is at most `total_max`.
pub(crate) struct Handshakes {
    total_max: usize,
    source_max: usize,
    counts: Mutex<BTreeMap<IpAddr, usize>>,
}

/// One handshake's place, given back when dropped.
pub(crate) struct Place<'a> {
    of: &'a Handshakes,
    source: IpAddr,
}

impl Handshakes {
    pub(crate) fn new(total_max: usize, source_max: usize) -> Self {
        Self {
            total_max,
            source_max,
            counts: Mutex::default(),
        }
    }

    /// A place for a handshake with `from`, if there is one.
    pub(crate) fn begin(&self, from: IpAddr) -> Option<Place<'_>> {
        let source = source(from);
        let mut counts = self.counts();
        let (total, own) = (counts.values().sum::<usize>(), counts.get(&source));
        let own = own.copied().unwrap_or(0);
        if total >= self.total_max || (own >= self.source_max && !source.is_loopback()) {
            return None;
        }
        counts.insert(source, own + 1);
        Some(Place { of: self, source })
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        // Nothing panics while it is held, and counts would still be counts.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut counts = self.of.counts();
        match counts.get_mut(&self.source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&self.source);
            }
        }
    }
}

fn source(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let prefix = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_place_cannot_take_all_places_and_all_come_back() {
        let handshakes = Handshakes::new(4, 2);
        let first: Vec<_> = ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1"]
            .map(|from| handshakes.begin(ip(from)))
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(first.len(), 2, "the mapped address is the same source");
        let second = handshakes.begin(ip("2001:db8::1")).expect("a place");
        let third = handshakes.begin(ip("2001:db8::2")).expect("a place");
        assert!(handshakes.begin(ip("10.0.0.2")).is_none(), "all are taken");
        drop(first);
        let same_subscriber = handshakes.begin(ip("2001:db8::ffff:3"));
        assert!(same_subscriber.is_none());
        assert!(handshakes.begin(ip("2001:db8:0:1::1")).is_some());
        drop((second, third));
        assert!(handshakes.counts().is_empty());
    }

    #[test]
    fn this_machine_is_bound_by_the_total_only() {
        let handshakes = Handshakes::new(3, 1);
        let places: Vec<_> = (0..5)
            .filter_map(|_| handshakes.begin(ip("127.0.0.1")))
            .collect();
        assert_eq!(places.len(), 3);
    }
}
