//! Gathers neighbour changes per host and task, so that a storm of joins is a few messages per host.

use std::collections::{BTreeMap, VecDeque};

use types::{HostId, Moment};

use super::{
    event::Action,
    hosts::{HostNo, Hosts},
    task::{TaskNo, Tasks},
};

/// What a host does not yet know of one task. A change that undoes an untold one leaves nothing to tell.
#[derive(Debug, Default)]
struct Delta {
    reset: bool,
    changes: Vec<(HostNo, bool)>,
}

/// What is to be sent: at once, and at the next flush.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    ready: VecDeque<Action>,
    pending: BTreeMap<(HostNo, TaskNo), Delta>,
    pub(super) flush_at: Option<Moment>,
}

impl Outbox {
    pub(super) fn push(&mut self, action: Action) {
        self.ready.push_back(action);
    }

    pub(super) fn pop(&mut self) -> Option<Action> {
        self.ready.pop_front()
    }

    /// An edge of `host` in `task` came or went.
    pub(super) fn note(&mut self, host: HostNo, task: TaskNo, change: (HostNo, bool)) {
        let delta = self.pending.entry((host, task)).or_default();
        match delta
            .changes
            .iter()
            .position(|(other, _)| *other == change.0)
        {
            Some(at) => {
                debug_assert_ne!(delta.changes[at].1, change.1, "edges come and go in turn");
                delta.changes.swap_remove(at);
            }
            None => delta.changes.push(change),
        }
    }

    /// The host is to forget all its neighbours in `task`.
    pub(super) fn note_rest(&mut self, host: HostNo, task: TaskNo) {
        let reset = Delta {
            reset: true,
            changes: Vec::new(),
        };
        self.pending.insert((host, task), reset);
    }

    /// Nothing of this has to be told any more.
    pub(super) fn forget(&mut self, host: HostNo, task: TaskNo) {
        self.pending.remove(&(host, task));
    }

    /// Makes everything gathered ready to be sent.
    pub(super) fn flush(&mut self, hosts: &Hosts, tasks: &Tasks) {
        self.flush_at = None;
        for ((host, task), delta) in std::mem::take(&mut self.pending) {
            let ids = |joined: bool| {
                let of = delta.changes.iter().filter(move |(_, is)| *is == joined);
                let mut ids: Vec<HostId> = of.map(|(no, _)| hosts.at(*no).id).collect();
                ids.sort_unstable();
                ids
            };
            let (mut add, mut remove) = (ids(true), ids(false));
            // A host that left and came back has two numbers and one identity: nothing changed for the other end.
            let both: Vec<HostId> = (add.iter().copied())
                .filter(|id| remove.binary_search(id).is_ok())
                .collect();
            add.retain(|id| both.binary_search(id).is_err());
            remove.retain(|id| both.binary_search(id).is_err());
            if delta.reset || !add.is_empty() || !remove.is_empty() {
                self.ready.push_back(Action::Introduce {
                    host: hosts.at(host).id,
                    task: tasks.at(task).id,
                    reset: delta.reset,
                    add,
                    remove,
                });
            }
        }
    }
}
