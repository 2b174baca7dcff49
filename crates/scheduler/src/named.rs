//! Who was ever named importer of a task: those whose word counts for its pieces.
//!
//! Kept beyond the lease, since what an importer signed is passed on long after. Forgotten with a restart: then hosts tell
//! whose word they accepted. That is believed where a digest names the content, so that whoever reads it holds the whole
//! against that, of a host that was met since or that two hosts tell of, and kept apart, so that nobody's talk drives out what
//! this scheduler has decided.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use types::{HostId, TaskId};

/// What is known by task. The one known longest is forgotten first.
struct ByTask<T> {
    of: BTreeMap<TaskId, T>,
    order: VecDeque<TaskId>,
    most: usize,
}

impl<T: Default> ByTask<T> {
    const fn new(most: usize) -> Self {
        Self {
            of: BTreeMap::new(),
            order: VecDeque::new(),
            most,
        }
    }

    /// What is known of `task`, and what is forgotten for it.
    fn entry(&mut self, task: TaskId) -> (&mut T, Option<(TaskId, T)>) {
        let mut forgotten = None;
        if !self.of.contains_key(&task) {
            self.order.push_back(task);
            if self.order.len() > self.most {
                let oldest = self.order.pop_front();
                forgotten = oldest.and_then(|oldest| self.of.remove_entry(&oldest));
            }
        }
        (self.of.entry(task).or_default(), forgotten)
    }
}

/// Importers by task.
struct Lists(ByTask<Vec<HostId>>);

impl Default for Lists {
    fn default() -> Self {
        Self(ByTask::new(16_384))
    }
}

impl Lists {
    /// Whether that is news: at most `most` are remembered for a task.
    fn note(&mut self, task: TaskId, host: HostId, most: usize) -> bool {
        let (hosts, _) = self.0.entry(task);
        let is_news = !hosts.contains(&host) && hosts.len() < most;
        if is_news {
            hosts.push(host);
        }
        is_news
    }

    fn of(&self, task: &TaskId) -> &[HostId] {
        self.0.of.get(task).map_or(&[], Vec::as_slice)
    }

    fn forget(&mut self, is_gone: impl Fn(&HostId) -> bool) {
        for hosts in self.0.of.values_mut() {
            hosts.retain(|host| !is_gone(host));
        }
    }
}

/// What single hosts said of ids that this scheduler has never met: anybody can make keys, so each waits for a second voice.
struct Claims {
    /// By task: the id, and who said so.
    by_task: ByTask<Vec<(HostId, HostId)>>,
    /// The same by id, for when it is met.
    by_id: BTreeSet<(HostId, TaskId)>,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            by_task: ByTask::new(4_096),
            by_id: BTreeSet::new(),
        }
    }
}

impl Claims {
    const IDS_MAX: usize = 16;
    const IDS_PER_TELLER_MAX: usize = 2;

    /// `by` says that `host` was an importer of `task`. Who said so before, if another did.
    fn first_voice(&mut self, (task, host): (TaskId, HostId), by: HostId) -> Option<HostId> {
        let (claims, forgotten) = self.by_task.entry(task);
        if let Some((oldest, claims)) = forgotten {
            for (id, _) in claims {
                self.by_id.remove(&(id, oldest));
            }
        }
        if let Some(at) = claims.iter().position(|(id, _)| *id == host) {
            let first = claims[at].1;
            if first == by {
                return None;
            }
            claims.remove(at);
            self.by_id.remove(&(host, task));
            return Some(first);
        }
        let told = claims.iter().filter(|(_, teller)| *teller == by).count();
        if claims.len() < Self::IDS_MAX && told < Self::IDS_PER_TELLER_MAX {
            claims.push((host, by));
            self.by_id.insert((host, task));
        }
        None
    }

    /// Of whoever is gone nothing was said, nor did they say anything.
    fn forget(&mut self, is_gone: impl Fn(&HostId) -> bool) {
        for (task, claims) in &mut self.by_task.of {
            claims.retain(|(id, by)| {
                let is_kept = !is_gone(id) && !is_gone(by);
                if !is_kept {
                    self.by_id.remove(&(*id, *task));
                }
                is_kept
            });
        }
    }

    /// `host` is met: the tasks that it was said to have imported, and by whom.
    fn take(&mut self, host: HostId) -> Vec<(TaskId, HostId)> {
        let (least, most) = (
            TaskId::from_bytes([0; 32]),
            TaskId::from_bytes([u8::MAX; 32]),
        );
        let tasks = self.by_id.range((host, least)..=(host, most));
        let tasks: Vec<TaskId> = tasks.map(|(_, task)| *task).collect();
        let mut taken = Vec::new();
        for task in tasks {
            self.by_id.remove(&(host, task));
            if let Some(claims) = self.by_task.of.get_mut(&task)
                && let Some(at) = claims.iter().position(|(id, _)| *id == host)
            {
                taken.push((task, claims.remove(at).1));
            }
        }
        taken
    }
}

/// An importer of an earlier scheduler, and who said so: the first few.
struct Told {
    host: HostId,
    by: Vec<HostId>,
}

impl Told {
    const VOICES_MAX: usize = 8;

    fn hear(&mut self, by: HostId) {
        if self.by.len() < Self::VOICES_MAX && !self.by.contains(&by) {
            self.by.push(by);
        }
    }
}

/// Importers that this scheduler named, and those of an earlier one that it was told of.
pub(crate) struct Named {
    own: Lists,
    told: ByTask<Vec<Told>>,
    claims: Claims,
    /// Hosts whose certificate was seen since the start. Bounded: of further ones two others have to tell.
    met: BTreeSet<HostId>,
}

impl Default for Named {
    fn default() -> Self {
        Self {
            own: Lists::default(),
            told: ByTask::new(16_384),
            claims: Claims::default(),
            met: BTreeSet::new(),
        }
    }
}

impl Named {
    const OWN_MAX: usize = 64;
    const TOLD_MAX: usize = 16;
    const MET_MAX: usize = 65_536;

    /// `host` is the importer of `task`. Whether that is news.
    pub(crate) fn name(&mut self, task: TaskId, host: HostId) -> bool {
        self.own.note(task, host, Self::OWN_MAX) && !self.told_of(&task).any(|told| told == host)
    }

    /// `by` says that `host` was an importer of `task`. Whether that is news and believed: `host` was met, or another said
    /// the same.
    pub(crate) fn told(&mut self, (task, host): (TaskId, HostId), by: HostId) -> bool {
        let told = self.told.of.get_mut(&task).into_iter().flatten();
        if let Some(told) = told.into_iter().find(|told| told.host == host) {
            told.hear(by);
            return false;
        }
        if self.own.of(&task).contains(&host) {
            return false;
        }
        let first = match self.met.contains(&host) {
            true => None,
            false => match self.claims.first_voice((task, host), by) {
                None => return false,
                first => first,
            },
        };
        let (told, _) = self.told.entry(task);
        let is_kept = told.len() < Self::TOLD_MAX;
        if is_kept {
            let by = first.into_iter().chain([by]).collect();
            told.push(Told { host, by });
        }
        is_kept
    }

    /// Hosts were thrown out: nothing that they signed counts, nor anything that they said of others. What others said too,
    /// and who was met, stays: their word is not worth less.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(&HostId) -> bool) {
        self.own.forget(&is_gone);
        self.claims.forget(&is_gone);
        self.met.retain(|host| !is_gone(host));
        for (task, told) in &mut self.told.of {
            told.retain_mut(|told| {
                told.by.retain(|by| !is_gone(by));
                let is_kept =
                    !is_gone(&told.host) && (self.met.contains(&told.host) || told.by.len() > 1);
                if let ([voice], false) = (&told.by[..], is_kept || is_gone(&told.host)) {
                    // It waits for a second voice again.
                    self.claims.first_voice((*task, told.host), *voice);
                }
                is_kept
            });
        }
    }

    fn told_of(&self, task: &TaskId) -> impl Iterator<Item = HostId> {
        let told = self.told.of.get(task).into_iter().flatten();
        told.map(|told| told.host)
    }

    /// `host` has shown a certificate of the cluster. What was said of it before: tasks that it imported, and by whom.
    pub(crate) fn met(&mut self, host: HostId) -> Vec<(TaskId, HostId)> {
        if self.met.len() < Self::MET_MAX {
            self.met.insert(host);
        }
        self.claims.take(host)
    }

    /// Who was named for `task`, in order.
    pub(crate) fn of(&self, task: &TaskId) -> impl Iterator<Item = HostId> {
        let own = self.own.of(task).iter().copied();
        own.chain(self.told_of(task))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn importers_are_remembered_in_order_and_within_bounds() {
        let task = |number: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            TaskId::from_bytes(bytes)
        };
        let host = |byte| HostId::from_bytes([byte; 32]);
        let mut named = Named::default();
        for byte in [1, 2, 1] {
            named.name(task(0), host(byte));
        }
        let of = |named: &Named, number| named.of(&task(number)).collect::<Vec<_>>();
        assert_eq!(of(&named, 0), [host(1), host(2)]);
        named.met(host(7));
        let teller = host(99);
        assert!(named.told((task(0), host(7)), teller));
        assert!(!named.told((task(0), host(2)), teller));
        assert_eq!(of(&named, 0), [host(1), host(2), host(7)]);
        assert!(!named.name(task(0), host(7)), "it was told of");
        for byte in 0..=255 {
            named.met(host(byte));
            named.told((task(0), host(byte)), teller);
        }
        assert_eq!(of(&named, 0).len(), 3 + Named::TOLD_MAX);
        (1..=16_384).for_each(|number| assert!(named.name(task(number), host(3))));
        assert_eq!(of(&named, 16_384), [host(3)]);
        assert!(!of(&named, 0).contains(&host(1)), "the oldest is forgotten");
        for byte in 0..=255 {
            named.name(task(5), host(byte));
        }
        assert_eq!(of(&named, 5).len(), Named::OWN_MAX);
    }

    #[test]
    fn an_id_that_was_never_met_needs_two_tellers_and_one_teller_names_few() {
        let task = TaskId::from_bytes([0; 32]);
        let host = |byte| HostId::from_bytes([byte; 32]);
        let mut named = Named::default();
        for made in 100..120 {
            assert!(!named.told((task, host(made)), host(1)));
            assert!(!named.told((task, host(made)), host(1)), "the same again");
        }
        assert!(named.told((task, host(100)), host(2)));
        assert!(!named.told((task, host(100)), host(3)), "it is no news");
        // The third of one teller was not even kept.
        assert!(!named.told((task, host(102)), host(2)));
        assert_eq!(named.met(host(101)), [(task, host(1))]);
        assert!(named.told((task, host(101)), host(1)));
        for byte in 0..200 {
            named.told((task, host(byte)), host(byte / 2));
        }
        assert!(named.claims.by_task.of[&task].len() <= Claims::IDS_MAX);
        assert_eq!(
            named.claims.by_id.len(),
            named.claims.by_task.of[&task].len()
        );
    }

    #[test]
    fn whoever_is_thrown_out_is_named_no_more_and_its_voice_does_not_count() {
        let task = TaskId::from_bytes([0; 32]);
        let host = |byte| HostId::from_bytes([byte; 32]);
        let [gone, other, third] = [9, 1, 2].map(host);
        let mut named = Named::default();
        for met in [gone, other, host(3)] {
            named.met(met);
        }
        named.name(task, gone);
        named.name(task, other);
        assert!(named.told((task, host(3)), gone), "it was met");
        assert!(!named.told((task, host(4)), gone));
        assert!(named.told((task, host(4)), other), "the second voice");
        assert!(!named.told((task, host(5)), gone), "the first voice");
        named.forget(|host| *host == gone);
        assert_eq!(named.of(&task).collect::<Vec<_>>(), [other, host(3)]);
        assert!(!named.told((task, host(5)), other), "it is the first again");
        assert!(!named.told((task, gone), other), "it was not met");
        assert!(named.told((task, host(5)), third));
        assert!(
            named.told((task, host(4)), third),
            "the other's voice counts on"
        );
    }

    #[test]
    fn a_name_that_others_told_too_outlives_who_told_it_first() {
        let task = TaskId::from_bytes([0; 32]);
        let host = |byte| HostId::from_bytes([byte; 32]);
        let [first, importer] = [9, 40].map(host);
        let mut named = Named::default();
        assert!(!named.told((task, importer), first));
        assert!(named.told((task, importer), host(1)), "two voices");
        for teller in 0..20 {
            assert!(!named.told((task, importer), host(teller)), "it is no news");
        }
        let left = |named: &Named| named.of(&task).count();
        named.forget(|host| *host == first);
        assert_eq!(left(&named), 1, "many told of it");
        named.forget(|host| *host == importer);
        assert_eq!(left(&named), 0);
    }
}
