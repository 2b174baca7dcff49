//! How content was read lately, and where: pure, and bounded in number and bytes, since callers show what they like.
//!
//! A private blob may be read on behalf of several callers. The first stays first while the origin takes what he shows: whoever
//! asked last may show what ends in a minute.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use types::{CallerId, Moment, Source, TaskId};

/// Places that are remembered; an older one is resolved again from its source.
const PLACES_MAX: usize = 4096;
/// What all ways may take of the memory.
const BYTES_MAX: usize = 8 << 20;
/// Ways to one place.
const WAYS_MAX: usize = 4;

/// What is read, and where: how one URL of a content was read says nothing of another.
pub(super) type Place = (TaskId, Source);

/// A way to content.
pub(super) struct Way<A> {
    /// On whose behalf.
    pub(super) by: CallerId,
    /// When what he shows ends, if it says so.
    pub(super) until: Option<SystemTime>,
    /// Bytes that it takes.
    pub(super) weight: usize,
    pub(super) access: Arc<A>,
}

struct Known<A> {
    /// At least one.
    ways: Vec<Way<A>>,
    used: u64,
}

/// The ways of recent tasks.
pub(super) struct Recent<A> {
    by_place: BTreeMap<Place, Known<A>>,
    by_use: BTreeMap<u64, Place>,
    uses: u64,
    bytes: usize,
    /// When an origin refused last what it had given before. Bounded; what is forgotten is only asked for once more.
    denied: BTreeMap<Place, Moment>,
}

impl<A> Default for Recent<A> {
    fn default() -> Self {
        Self {
            by_place: BTreeMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            bytes: 0,
            denied: BTreeMap::new(),
        }
    }
}

impl<A> Recent<A> {
    pub(super) fn insert(&mut self, place: Place, way: Way<A>) {
        self.bytes += way.weight;
        let known = self.by_place.entry(place.clone()).or_insert(Known {
            ways: Vec::new(),
            used: 0,
        });
        match known.ways.iter_mut().find(|known| known.by == way.by) {
            Some(same) => self.bytes -= std::mem::replace(same, way).weight,
            None => known.ways.push(way),
        }
        if known.ways.len() > WAYS_MAX {
            self.bytes -= known.ways.remove(1).weight;
        }
        self.touch(&place);
        while (self.by_place.len() > PLACES_MAX || self.bytes > BYTES_MAX)
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            let gone = self.by_place.remove(&oldest);
            let gone = gone.map_or(0, |gone| gone.ways.iter().map(|way| way.weight).sum());
            self.bytes -= gone;
        }
    }

    /// The first way to `place` that has not ended by `now`, or the first.
    pub(super) fn get(&mut self, place: &Place, now: SystemTime) -> Option<Arc<A>> {
        self.touch(place);
        let ways = &self.by_place.get(place)?.ways;
        let is_good = |way: &&Way<A>| way.until.is_none_or(|until| until > now);
        let way = ways.iter().find(is_good).or_else(|| ways.first())?;
        Some(Arc::clone(&way.access))
    }

    /// The origin refused `access` at `now`. Another's, which was there before or came meanwhile, stays.
    pub(super) fn deny(&mut self, place: &Place, access: &Arc<A>, now: Moment) {
        let Some(known) = self.by_place.get_mut(place) else {
            return;
        };
        let is_it = |way: &Way<A>| Arc::ptr_eq(&way.access, access);
        let Some(at) = known.ways.iter().position(is_it) else {
            return;
        };
        self.bytes -= known.ways.remove(at).weight;
        if known.ways.is_empty() {
            self.by_use.remove(&known.used);
            self.by_place.remove(place);
        }
        if self.denied.len() >= PLACES_MAX {
            self.denied.clear();
        }
        self.denied.insert(place.clone(), now);
    }

    /// When the origin last refused what it had accepted before.
    pub(super) fn denied_at(&self, place: &Place) -> Option<Moment> {
        self.denied.get(place).copied()
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.by_place.keys()
    }

    fn touch(&mut self, place: &Place) {
        if let Some(known) = self.by_place.get_mut(place) {
            self.uses += 1;
            self.by_use.remove(&known.used);
            known.used = self.uses;
            self.by_use.insert(self.uses, place.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use types::CallerKey;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn place(n: u8) -> Place {
        let source = Source::Url(format!("https://h/{n}"));
        (TaskId::from_bytes([n; 32]), source)
    }

    fn caller(name: &str) -> CallerId {
        CallerKey::new([1; 32]).caller([("authorization", name.as_bytes())])
    }

    fn way(name: &'static str, until: Option<SystemTime>) -> Way<&'static str> {
        Way {
            by: caller(name),
            until,
            weight: 1,
            access: Arc::new(name),
        }
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + DAY
    }

    #[test]
    fn who_came_first_stays_first_until_he_is_denied_or_what_he_shows_has_ended() {
        let mut recent = Recent::default();
        let first = |recent: &mut Recent<&'static str>, now| {
            recent.get(&place(1), now).map(|access| *access)
        };
        for one in ["ann", "bob", "carol"] {
            recent.insert(place(1), way(one, (one == "ann").then(|| now() + DAY)));
        }
        assert_eq!(first(&mut recent, now()), Some("ann"));
        assert_eq!(first(&mut recent, now() + DAY), Some("bob"));
        recent.insert(place(1), way("ann", None));
        assert_eq!(first(&mut recent, now() + DAY), Some("ann"));
        for (gone, next) in [
            ("ann", Some("bob")),
            ("bob", Some("carol")),
            ("carol", None),
        ] {
            let access = recent.get(&place(1), now()).expect("there is one");
            assert_eq!(*access, gone);
            recent.deny(&place(1), &access, Moment::ZERO + DAY);
            recent.deny(&place(1), &access, Moment::ZERO);
            assert_eq!(first(&mut recent, now()), next);
        }
        assert_eq!(recent.denied_at(&place(1)), Some(Moment::ZERO + DAY));
        assert_eq!((recent.bytes, recent.by_use.len()), (0, 0));
    }

    #[test]
    fn many_callers_of_one_place_leave_the_first_and_the_last() {
        let mut recent = Recent::default();
        for one in ["a", "b", "c", "d", "e", "f"] {
            recent.insert(place(1), way(one, None));
        }
        let ways = &recent.by_place[&place(1)].ways;
        let left: Vec<_> = ways.iter().map(|way| *way.access).collect();
        assert_eq!((left, recent.bytes), (vec!["a", "d", "e", "f"], 4));
    }

    #[test]
    fn whatever_is_shown_only_so_many_bytes_are_kept() {
        let mut recent = Recent::default();
        for n in 0..=255 {
            for one in ["ann", "bob"] {
                let heavy = Way {
                    weight: 60 << 10,
                    ..way(one, None)
                };
                recent.insert(place(n), heavy);
            }
        }
        assert!(recent.bytes <= BYTES_MAX && recent.bytes > BYTES_MAX / 2);
        assert!(recent.get(&place(255), now()).is_some());
        assert!(recent.get(&place(0), now()).is_none());
        assert_eq!(recent.by_place.len(), recent.by_use.len());
    }
}
