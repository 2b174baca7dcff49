//! Which addresses to dial now, while no scheduler introduces anybody.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use types::{Chance, HostId, Moment};

/// The first pause before an address is dialled again; doubles with each dial that brought nothing.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Known addresses, and who was found at each.
pub(super) struct Book {
    me: HostId,
    entries: BTreeMap<SocketAddr, Entry>,
}

struct Entry {
    /// Who answered there last.
    host: Option<HostId>,
    is_dialling: bool,
    again_at: Moment,
    wait: Duration,
}

impl Book {
    /// Addresses that are kept: as many links as a host has at most.
    pub(super) const ENTRIES_MAX: usize = 256;

    pub(super) fn new(me: HostId) -> Self {
        Self {
            me,
            entries: BTreeMap::new(),
        }
    }

    /// What the configured names and the remembered hosts stand for now: other addresses are forgotten, unless a dial is
    /// under way.
    pub(super) fn resolved(&mut self, addresses: &BTreeSet<SocketAddr>) {
        self.entries
            .retain(|address, entry| entry.is_dialling || addresses.contains(address));
        for address in addresses {
            if self.entries.len() >= Self::ENTRIES_MAX {
                break;
            }
            self.entries.entry(*address).or_insert(Entry {
                host: None,
                is_dialling: false,
                again_at: Moment::ZERO,
                wait: WAIT_MIN,
            });
        }
    }

    /// The addresses to dial, each of which is then under way: where nobody who has a link was found, and never where this
    /// host itself answered.
    pub(super) fn due(&mut self, now: Moment, linked: &BTreeSet<HostId>) -> Vec<SocketAddr> {
        let mut due = Vec::new();
        for (address, entry) in &mut self.entries {
            if entry.host.is_some_and(|host| linked.contains(&host)) {
                (entry.wait, entry.again_at) = (WAIT_MIN, now + WAIT_MIN);
            } else if entry.host != Some(self.me) && !entry.is_dialling && entry.again_at <= now {
                entry.is_dialling = true;
                due.push(*address);
            }
        }
        due
    }

    /// A dial ended: who answered, if somebody did. The address is dialled again unless that host keeps a link.
    pub(super) fn ended(
        &mut self,
        (now, chance): (Moment, &mut Chance),
        address: SocketAddr,
        host: Option<HostId>,
    ) {
        if let Some(entry) = self.entries.get_mut(&address) {
            (entry.is_dialling, entry.host) = (false, host);
            entry.again_at = now + entry.wait.mul_f64(1.0 - chance.fraction() / 2.0);
            entry.wait = (entry.wait * 2).min(WAIT_MAX);
        }
    }

    /// When there may be something to dial.
    pub(super) fn deadline(&self, linked: &BTreeSet<HostId>) -> Option<Moment> {
        let is_sought = |entry: &&Entry| {
            let is_found = entry
                .host
                .is_some_and(|host| host == self.me || linked.contains(&host));
            !is_found && !entry.is_dialling
        };
        let sought = self.entries.values().filter(is_sought);
        sought.map(|entry| entry.again_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u8) -> HostId {
        HostId::from_bytes([number; 32])
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn book(ports: &[u16]) -> (Book, Chance) {
        let mut book = Book::new(host(0));
        book.resolved(&ports.iter().copied().map(address).collect());
        (book, Chance::seeded(1))
    }

    #[test]
    fn an_address_is_dialled_until_its_host_has_a_link_and_again_when_that_ends() {
        let (mut book, mut chance) = book(&[1]);
        let (none, linked) = (BTreeSet::new(), BTreeSet::from([host(1)]));
        let at = |seconds| Moment::ZERO + Duration::from_secs(seconds);
        assert_eq!(book.due(at(0), &none), [address(1)]);
        assert!(book.due(at(0), &none).is_empty(), "it is under way");
        book.ended((at(0), &mut chance), address(1), Some(host(1)));
        assert!(book.due(at(90), &linked).is_empty());
        assert_eq!(book.deadline(&linked), None);
        assert!(book.due(at(90), &none).is_empty(), "not in the same moment");
        assert_eq!(book.due(at(91), &none), [address(1)]);
    }

    #[test]
    fn nobody_dials_itself_twice() {
        let (mut book, mut chance) = book(&[1]);
        let none = BTreeSet::new();
        assert_eq!(book.due(Moment::ZERO, &none).len(), 1);
        book.ended((Moment::ZERO, &mut chance), address(1), Some(host(0)));
        assert!(book.due(Moment::NEVER, &none).is_empty());
        assert_eq!(book.deadline(&none), None);
    }

    #[test]
    fn pauses_grow_and_end() {
        let (mut book, mut chance) = book(&[1]);
        let none = BTreeSet::new();
        let mut now = Moment::ZERO;
        for _ in 0..20 {
            assert_eq!(book.due(now, &none).len(), 1);
            book.ended((now, &mut chance), address(1), None);
            let next = book.deadline(&none).expect("it is tried again");
            assert!(next > now && next <= now + WAIT_MAX);
            now = next;
        }
        assert!(now > Moment::ZERO + WAIT_MAX * 5);
    }

    #[test]
    fn what_a_name_stands_for_no_more_is_forgotten_and_the_book_is_bounded() {
        let (mut book, _) = book(&[1, 2]);
        book.resolved(&BTreeSet::from([address(2)]));
        assert_eq!(book.due(Moment::ZERO, &BTreeSet::new()), [address(2)]);
        book.resolved(&(1..1000).map(address).collect());
        assert_eq!(book.entries.len(), Book::ENTRIES_MAX);
    }
}
