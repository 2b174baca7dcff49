//! What tags meant when their registry was last heard of them: pure, bounded, and empty unless an operator lets old meanings be
//! served.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use types::{Digest, Moment, RegistryHost, RepoName, Tag};

/// Tags that are remembered; the one that was not heard of for longest goes first.
const TAGS_MAX: usize = 4096;

/// A tag of a repository.
pub(super) type Name = (RegistryHost, RepoName, Tag);

/// The meanings.
#[derive(Debug)]
pub(super) struct Tags {
    age_max: Option<Duration>,
    by_name: BTreeMap<Name, (Digest, Moment)>,
    by_time: BTreeSet<(Moment, Name)>,
}

impl Tags {
    /// None yet. None is ever told that is older than `age_max`.
    pub(super) fn new(age_max: Option<Duration>) -> Self {
        Self {
            age_max,
            by_name: BTreeMap::new(),
            by_time: BTreeSet::new(),
        }
    }

    /// The registry said at `now` what `name` means: nothing, perhaps.
    pub(super) fn note(&mut self, name: Name, meaning: Option<Digest>, now: Moment) {
        if let Some((_, heard)) = self.by_name.remove(&name) {
            self.by_time.remove(&(heard, name.clone()));
        }
        let Some(digest) = meaning.filter(|_| self.age_max.is_some()) else {
            return;
        };
        self.by_time.insert((now, name.clone()));
        self.by_name.insert(name, (digest, now));
        while self.by_name.len() > TAGS_MAX
            && let Some((_, oldest)) = self.by_time.pop_first()
        {
            self.by_name.remove(&oldest);
        }
    }

    /// What `name` meant, and how long ago.
    pub(super) fn meaning(&self, name: &Name, now: Moment) -> Option<(Digest, Duration)> {
        let (digest, heard) = self.by_name.get(name)?;
        let age = now.since(*heard);
        (age <= self.age_max?).then_some((*digest, age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(tag: &str) -> Name {
        let registry = "r.example".parse().expect("a registry");
        let repository = "team/app".parse().expect("a repository");
        (registry, repository, tag.parse().expect("a tag"))
    }

    fn at(seconds: u64) -> Moment {
        Moment::ZERO + Duration::from_secs(seconds)
    }

    const ONE: Digest = Digest::sha256([1; 32]);
    const TWO: Digest = Digest::sha256([2; 32]);

    #[test]
    fn the_last_meaning_is_told_with_its_age_until_that_is_too_high() {
        let mut tags = Tags::new(Some(Duration::from_secs(60)));
        let told = |tags: &Tags, now| tags.meaning(&name("v1"), at(now));
        tags.note(name("v1"), Some(ONE), at(5));
        assert_eq!(told(&tags, 65), Some((ONE, Duration::from_secs(60))));
        assert_eq!(told(&tags, 66), None);
        tags.note(name("v1"), Some(TWO), at(50));
        assert_eq!(told(&tags, 66), Some((TWO, Duration::from_secs(16))));
        assert_eq!(tags.meaning(&name("v2"), at(66)), None);
        tags.note(name("v1"), None, at(67));
        assert_eq!(told(&tags, 67), None, "the registry took it away");
        assert!(tags.by_time.is_empty());
    }

    #[test]
    fn nothing_is_remembered_unless_an_operator_wants_it() {
        let mut tags = Tags::new(None);
        tags.note(name("v1"), Some(ONE), at(5));
        assert!(tags.by_name.is_empty());
        assert_eq!(tags.meaning(&name("v1"), at(5)), None);
    }

    #[test]
    fn a_flood_of_tags_drives_out_the_oldest() {
        let mut tags = Tags::new(Some(Duration::MAX));
        for n in 0..=TAGS_MAX as u64 {
            tags.note(name(&format!("v{n}")), Some(ONE), at(n));
        }
        assert_eq!(
            (tags.by_name.len(), tags.by_time.len()),
            (TAGS_MAX, TAGS_MAX)
        );
        assert_eq!(tags.meaning(&name("v0"), at(5000)), None);
        assert!(tags.meaning(&name("v1"), at(5000)).is_some());
    }
}
