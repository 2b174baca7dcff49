//! Fairness: who got how much of late.

use std::collections::BTreeMap;

use types::{ByteCount, TaskId};

use super::Transfer;
use crate::HostNo;

/// Bytes served of late, per task and per child. Bounded: when a table is full, everything is halved and zeros leave.
#[derive(Debug, Default)]
pub(super) struct Served {
    tasks: BTreeMap<TaskId, u64>,
    children: BTreeMap<HostNo, u64>,
}

impl Served {
    const ENTRIES_MAX: usize = 256;
    const BYTES_MAX: u64 = 1 << 32;

    pub(super) fn by(&self, transfer: &Transfer) -> (u64, u64) {
        let task = self.tasks.get(&transfer.task).copied().unwrap_or(0);
        (task, self.children.get(&transfer.to).copied().unwrap_or(0))
    }

    pub(super) fn add(&mut self, transfer: &Transfer, length: ByteCount) {
        let task = grown(&mut self.tasks, transfer.task, length);
        let child = grown(&mut self.children, transfer.to, length);
        if task.max(child) > Self::BYTES_MAX
            || self.tasks.len() > Self::ENTRIES_MAX
            || self.children.len() > Self::ENTRIES_MAX
        {
            self.age();
        }
    }

    fn age(&mut self) {
        let halve = |bytes: &mut u64| {
            *bytes /= 2;
            *bytes > 0
        };
        self.tasks.retain(|_, bytes| halve(bytes));
        self.children.retain(|_, bytes| halve(bytes));
    }

    pub(super) fn forget(&mut self, host: HostNo) {
        self.children.remove(&host);
    }
}

/// Adds `length` to the entry of `key`. A newcomer starts level with who got least, or it would be served alone until
/// it had caught up with everybody's past.
fn grown<K: Ord>(table: &mut BTreeMap<K, u64>, key: K, length: ByteCount) -> u64 {
    let least = table.values().copied().min().unwrap_or(0);
    let bytes = table.entry(key).or_insert(least);
    *bytes = bytes.saturating_add(length.0);
    *bytes
}
