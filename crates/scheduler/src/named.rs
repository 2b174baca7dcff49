//! Who was ever named importer of a task: those whose word counts for its pieces.
//!
//! Kept beyond the lease, since what an importer signed is passed on long after. Forgotten with a restart: then hosts tell
//! whose word they accepted. That is believed where a digest names the content, so that whoever reads it holds the whole
//! against that, and kept apart, so that nobody's talk drives out what this scheduler has decided.

use std::collections::{BTreeMap, VecDeque};

use types::{HostId, TaskId};

/// Importers by task. The task named longest ago is forgotten first.
#[derive(Default)]
struct Lists {
    importers: BTreeMap<TaskId, Vec<HostId>>,
    order: VecDeque<TaskId>,
}

impl Lists {
    const TASKS_MAX: usize = 16_384;

    /// Whether that is news: at most `most` are remembered for a task.
    fn note(&mut self, task: TaskId, host: HostId, most: usize) -> bool {
        if !self.importers.contains_key(&task) {
            self.order.push_back(task);
            if self.order.len() > Self::TASKS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.importers.remove(&oldest);
            }
        }
        let hosts = self.importers.entry(task).or_default();
        let is_news = !hosts.contains(&host) && hosts.len() < most;
        if is_news {
            hosts.push(host);
        }
        is_news
    }

    fn of(&self, task: &TaskId) -> &[HostId] {
        self.importers.get(task).map_or(&[], Vec::as_slice)
    }
}

/// Importers that this scheduler named, and those of an earlier one that it was told of.
#[derive(Default)]
pub(crate) struct Named {
    own: Lists,
    told: Lists,
}

impl Named {
    const OWN_MAX: usize = 64;
    const TOLD_MAX: usize = 16;

    /// `host` is the importer of `task`. Whether that is news.
    pub(crate) fn name(&mut self, task: TaskId, host: HostId) -> bool {
        self.own.note(task, host, Self::OWN_MAX) && !self.told.of(&task).contains(&host)
    }

    /// A host says that `host` was an importer of `task`. Whether that is news.
    pub(crate) fn told(&mut self, task: TaskId, host: HostId) -> bool {
        !self.own.of(&task).contains(&host) && self.told.note(task, host, Self::TOLD_MAX)
    }

    /// Who was named for `task`, in order.
    pub(crate) fn of(&self, task: &TaskId) -> impl Iterator<Item = HostId> {
        let both = self.own.of(task).iter().chain(self.told.of(task));
        both.copied()
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
        assert!(named.told(task(0), host(7)) && !named.told(task(0), host(2)));
        assert_eq!(of(&named, 0), [host(1), host(2), host(7)]);
        assert!(!named.name(task(0), host(7)), "it was told of");
        for byte in 0..=255 {
            named.told(task(0), host(byte));
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
}
