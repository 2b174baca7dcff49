//! The hosts that are here, by small number, and what each may do.

use std::{collections::BTreeMap, time::Duration};

use types::{HostId, Moment, Nearness, Topology};

use super::{event::Join, graph::Seat, task::TaskNo};

/// A host's number. Used again some time after the host left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostNo(pub(super) u32);

/// A place by numbers: equal numbers are equal names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    region: u32,
    zone: u32,
    rack: u32,
    /// Whether the rack has a name. Hosts of unknown racks are not taken as standing in one.
    rack_is_known: bool,
}

impl Place {
    pub(super) fn nearness(&self, other: &Self) -> Nearness {
        if self.region != other.region {
            Nearness::Far
        } else if self.zone != other.zone {
            Nearness::Region
        } else if self.rack != other.rack {
            Nearness::Zone
        } else {
            Nearness::Rack
        }
    }

    /// Whether two hosts are known to stand behind one switch.
    pub(super) fn is_known_same_rack(&self, other: &Self) -> bool {
        self.rack_is_known && self.rack == other.rack
    }
}

/// Names of places to numbers, counted, so that hosts that come and go leave nothing behind.
#[derive(Debug, Default)]
struct Places {
    names: BTreeMap<(u8, Topology), (u32, u32)>,
    free: Vec<u32>,
    next: u32,
}

impl Places {
    /// The names that number region, zone and rack. A zone is told from an equally named one of another region.
    fn keys(topology: &Topology) -> [(u8, Topology); 3] {
        let mut zone = topology.clone();
        zone.rack.clear();
        let mut region = zone.clone();
        region.zone.clear();
        [(0, region), (1, zone), (2, topology.clone())]
    }

    fn enter(&mut self, topology: &Topology) -> Place {
        let [region, zone, rack] = Self::keys(topology).map(|key| {
            let (free, next) = (&mut self.free, &mut self.next);
            let (number, count) = self.names.entry(key).or_insert_with(|| {
                let number = free.pop().unwrap_or_else(|| {
                    *next += 1;
                    *next - 1
                });
                (number, 0)
            });
            *count += 1;
            *number
        });
        Place {
            region,
            zone,
            rack,
            rack_is_known: !topology.rack.is_empty(),
        }
    }

    fn leave(&mut self, topology: &Topology) {
        for key in Self::keys(topology) {
            let (number, count) = self.names.get_mut(&key).expect("it entered");
            *count -= 1;
            if *count == 0 {
                self.free.push(*number);
                self.names.remove(&key);
            }
        }
    }
}

/// Asks in the long run and at once: a bucket of tokens, filled by time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tokens {
    left: u32,
    filled_at: Moment,
}

impl Tokens {
    pub(super) fn full(now: Moment, burst: u32) -> Self {
        Self {
            left: burst,
            filled_at: now,
        }
    }

    /// Takes one, or tells how long to wait for it.
    pub(super) fn take(&mut self, now: Moment, rate: u32, burst: u32) -> Result<(), Duration> {
        self.take_some(now, 1, (rate, burst))
    }

    /// Takes `count` of at most `burst`, or tells how long to wait for them.
    pub(super) fn take_some(
        &mut self,
        now: Moment,
        count: u32,
        (rate, burst): (u32, u32),
    ) -> Result<(), Duration> {
        let each = Duration::from_secs(1) / rate.max(1);
        let gained = now.since(self.filled_at).as_nanos() / each.as_nanos();
        match u32::try_from(gained) {
            Ok(gained) if gained < burst.saturating_sub(self.left) => {
                self.left += gained;
                self.filled_at = self.filled_at + each * gained;
            }
            _ => *self = Self::full(now, burst),
        }
        if self.left < count {
            let wait = each * (count - self.left);
            return Err((self.filled_at + wait).since(now));
        }
        self.left -= count;
        Ok(())
    }

    fn is_full(&self, now: Moment, rate: u32, burst: u32) -> bool {
        let each = Duration::from_secs(1) / rate.max(1);
        now.since(self.filled_at) >= each * burst.saturating_sub(self.left)
    }
}

/// What hosts that left had spent: whoever comes back at once finds its bucket as it was.
#[derive(Debug, Default)]
pub(super) struct Spent(BTreeMap<HostId, Tokens>);

impl Spent {
    /// Beyond it those who have nothing left to wait for are forgotten, then everybody.
    const HOSTS_MAX: usize = 65_536;

    pub(super) fn keep(
        &mut self,
        now: Moment,
        host: HostId,
        (tokens, rate, burst): (Tokens, u32, u32),
    ) {
        if self.0.len() >= Self::HOSTS_MAX {
            self.0.retain(|_, tokens| !tokens.is_full(now, rate, burst));
        }
        if self.0.len() >= Self::HOSTS_MAX {
            self.0.clear();
        }
        if !tokens.is_full(now, rate, burst) {
            self.0.insert(host, tokens);
        }
    }

    /// The bucket of a host that comes, and which is kept with the host from now on.
    pub(super) fn take(&mut self, now: Moment, host: &HostId, burst: u32) -> Tokens {
        let kept = self.0.remove(host);
        kept.unwrap_or_else(|| Tokens::full(now, burst))
    }
}

/// Connections a host keeps (256, least recently used). One slot per other host's low bits.
const LINKS: usize = 256;

/// One host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) id: HostId,
    pub(super) place: Place,
    topology: Topology,
    pub(super) is_seed: bool,
    pub(super) capacity: u16,
    /// The host's clock in its last message, and when that arrived.
    pub(super) sent: Moment,
    pub(super) heard_at: Moment,
    pub(super) tokens: Tokens,
    /// Where it sits in each of its tasks.
    pub(super) tasks: BTreeMap<TaskNo, Seat>,
    /// How many of them it waits for.
    pub(super) running: usize,
    /// Whether its inventory came: one per stream, as it is not paid for like asks.
    pub(super) has_told: bool,
    /// Lowered by blame until then.
    pub(super) low_until: Option<Moment>,
    /// The host last introduced, per low bits of its number: a guess at who is connected, of bounded size, never wrong
    /// by more than a preference.
    links: Box<[u32; LINKS]>,
}

impl Host {
    pub(super) fn is_low(&self) -> bool {
        self.low_until.is_some()
    }

    pub(super) fn holdings(&self) -> usize {
        self.tasks.len() - self.running
    }

    /// Whether the two are likely to have a connection.
    pub(super) fn is_linked(&self, other: HostNo) -> bool {
        self.links[other.0 as usize % LINKS] == other.0
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }
}

/// All hosts.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    slots: Vec<Option<Host>>,
    /// Numbers to use again.
    free: Vec<HostNo>,
    /// Hosts that left, whose numbers are still in messages that were not sent.
    gone: Vec<HostNo>,
    index: BTreeMap<HostId, HostNo>,
    places: Places,
}

impl Hosts {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn find(&self, id: &HostId) -> Option<HostNo> {
        self.index.get(id).copied()
    }

    /// A host that is here.
    pub(super) fn get(&self, no: HostNo) -> Option<&Host> {
        let host = self.slots.get(no.0 as usize)?.as_ref()?;
        (self.index.get(&host.id) == Some(&no)).then_some(host)
    }

    /// The host of a number that is in use.
    pub(super) fn at(&self, no: HostNo) -> &Host {
        let slot = self.slots.get(no.0 as usize).and_then(Option::as_ref);
        slot.expect("the number is in use")
    }

    pub(super) fn at_mut(&mut self, no: HostNo) -> &mut Host {
        let slot = self.slots.get_mut(no.0 as usize).and_then(Option::as_mut);
        slot.expect("the number is in use")
    }

    pub(super) fn enter(&mut self, now: Moment, join: &Join, tokens: Tokens) -> HostNo {
        let no = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            HostNo(u32::try_from(self.slots.len() - 1).expect("hosts are limited"))
        });
        self.slots[no.0 as usize] = Some(Host {
            id: join.host,
            place: self.places.enter(&join.topology),
            topology: join.topology.clone(),
            is_seed: join.is_seed,
            capacity: join.capacity,
            sent: join.sent,
            heard_at: now,
            tokens,
            tasks: BTreeMap::new(),
            running: 0,
            has_told: false,
            low_until: None,
            links: Box::new([u32::MAX; LINKS]),
        });
        self.index.insert(join.host, no);
        no
    }

    /// Takes a host away. Its identity can still be read until [`Hosts::sweep`].
    pub(super) fn leave(&mut self, no: HostNo) {
        let (id, topology) = (self.at(no).id, self.at(no).topology.clone());
        self.index.remove(&id);
        self.places.leave(&topology);
        self.gone.push(no);
    }

    /// Frees the numbers of hosts that left: no message names them any more.
    pub(super) fn sweep(&mut self) {
        for no in self.gone.drain(..) {
            self.slots[no.0 as usize] = None;
            self.free.push(no);
        }
    }

    pub(super) fn note_link(&mut self, a: HostNo, b: HostNo) {
        self.at_mut(a).links[b.0 as usize % LINKS] = b.0;
        self.at_mut(b).links[a.0 as usize % LINKS] = a.0;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (HostNo, &Host)> {
        self.index.values().map(|no| (*no, self.at(*no)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_forgotten_with_their_last_host() {
        let mut places = Places::default();
        let at = |text: &str| text.parse::<Topology>().expect("a topology");
        let (a, b) = (places.enter(&at("eu/a/r1")), places.enter(&at("us/a/r1")));
        assert_eq!(a.nearness(&b), Nearness::Far);
        assert_eq!(a.nearness(&places.enter(&at("eu/a/r2"))), Nearness::Zone);
        assert_eq!(a.nearness(&places.enter(&at("eu/a/r1"))), Nearness::Rack);
        assert_eq!(a.nearness(&places.enter(&at("eu/b/r1"))), Nearness::Region);
        let (none, other) = (places.enter(&at("")), places.enter(&at("")));
        assert_eq!(none.nearness(&other), Nearness::Rack);
        for place in [
            "eu/a/r1", "eu/a/r1", "eu/a/r2", "eu/b/r1", "us/a/r1", "", "",
        ] {
            places.leave(&at(place));
        }
        assert!(places.names.is_empty());
    }

    #[test]
    fn tokens_come_back_with_time_and_never_exceed_the_burst() {
        let second = Duration::from_secs(1);
        let mut tokens = Tokens::full(Moment::ZERO, 2);
        assert_eq!(tokens.take(Moment::ZERO, 1, 2), Ok(()));
        assert_eq!(tokens.take(Moment::ZERO, 1, 2), Ok(()));
        assert_eq!(tokens.take(Moment::ZERO, 1, 2), Err(second));
        assert_eq!(tokens.take(Moment::ZERO + second, 1, 2), Ok(()));
        let later = Moment::ZERO + second * 100;
        assert_eq!(tokens.take(later, 1, 2), Ok(()));
        assert_eq!(tokens.take(later, 1, 2), Ok(()));
        assert_eq!(tokens.take(later, 1, 2), Err(second));
    }
}
