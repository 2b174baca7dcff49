//! Who was ever named importer of a task: those whose word counts for its pieces.
//!
//! Kept beyond the lease, since what an importer signed is passed on long after. Forgotten with a restart: then a task's
//! pieces are vouched for by seeds, or it is imported anew.

use std::collections::{BTreeMap, VecDeque};

use types::{HostId, TaskId};

/// Importers by task. The task named longest ago is forgotten first.
#[derive(Default)]
pub(crate) struct Named {
    importers: BTreeMap<TaskId, Vec<HostId>>,
    order: VecDeque<TaskId>,
}

impl Named {
    const TASKS_MAX: usize = 16_384;
    const IMPORTERS_MAX: usize = 64;

    /// `host` became the importer of `task`.
    pub(crate) fn name(&mut self, task: TaskId, host: HostId) {
        if !self.importers.contains_key(&task) {
            self.order.push_back(task);
            if self.order.len() > Self::TASKS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.importers.remove(&oldest);
            }
        }
        let hosts = self.importers.entry(task).or_default();
        if !hosts.contains(&host) && hosts.len() < Self::IMPORTERS_MAX {
            hosts.push(host);
        }
    }

    /// Who was named for `task`, in order.
    pub(crate) fn of(&self, task: &TaskId) -> &[HostId] {
        self.importers.get(task).map_or(&[], Vec::as_slice)
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
        assert_eq!(named.of(&task(0)), [host(1), host(2)]);
        (1..=16_384).for_each(|number| named.name(task(number), host(3)));
        assert!(named.of(&task(0)).is_empty(), "the oldest is forgotten");
        assert_eq!(named.of(&task(16_384)), [host(3)]);
        (0..=255).for_each(|byte| named.name(task(5), host(byte)));
        assert_eq!(named.of(&task(5)).len(), Named::IMPORTERS_MAX);
    }
}
