//! One host's part in one task, as small as it can be: there may be millions.

use types::{HostId, TaskId, Visibility};

use super::{
    event::{Ask, CanImport},
    graph::Seat,
    hosts::{Host, HostNo},
};

/// A member: a host that waits for a task, or holds it completely.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) host: HostNo,
    /// Verified pieces, as last told.
    pub(super) have: u32,
    /// When it came, among the task's members.
    pub(super) order: u32,
    /// Position among the task's spare holders.
    pub(super) spare_at: u32,
    pub(super) complete: bool,
    /// Its rights at the origin; `No` after a lasting failure.
    pub(super) rights: CanImport,
    /// How often it was named and disappointed.
    pub(super) tries: u8,
}

/// The tries of who vouched for something wrong: as many as can be counted, so that everybody else comes first.
pub(super) const DOUBTED: u8 = u8::MAX;

/// Not among the spare holders.
pub(super) const NOT_SPARE: u32 = u32::MAX;

/// The place of a member among those who may import: smaller is named first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Fewest tries first; among equals seeds first.
    tries_and_role: u16,
    /// Among seeds a hash of task and host, so that tasks spread over seeds alike on every scheduler; else the order
    /// of asking.
    value: u64,
    pub(super) seat: Seat,
}

impl Member {
    pub(super) fn rank(&self, task: &TaskId, host: &Host, seat: Seat) -> Rank {
        Rank {
            tries_and_role: u16::from(self.tries) * 2 + u16::from(!host.is_seed),
            value: if host.is_seed {
                rendezvous(task, &host.id)
            } else {
                u64::from(self.order)
            },
            seat,
        }
    }

    /// Whether it may be named importer at all.
    pub(super) fn is_candidate(&self, host: &Host) -> bool {
        !self.complete && self.rights != CanImport::No && !host.is_low()
    }
}

/// The rights that count: an anonymous request does not get private content, and what no digest names is read for others
/// by seeds alone.
pub(super) fn rights(ask: &Ask, is_seed: bool) -> CanImport {
    match (ask.can_import, ask.visibility) {
        _ if !ask.by_digest && !is_seed => CanImport::No,
        (CanImport::Anonymous, Visibility::Private) => CanImport::No,
        (rights, _) => rights,
    }
}

/// Of `seeds`, the one that is to read the origin of `task`: tasks spread over seeds, and everybody who knows the same
/// seeds chooses alike.
pub fn preferred_seed(task: &TaskId, seeds: impl Iterator<Item = HostId>) -> Option<HostId> {
    seeds.min_by_key(|seed| (rendezvous(task, seed), *seed))
}

/// Both identities are hashes or keys, so their bytes are random enough.
pub(super) fn rendezvous(task: &TaskId, host: &HostId) -> u64 {
    let word = |bytes: &[u8; 32]| {
        let (word, _) = bytes.split_first_chunk().expect("32 bytes are more than 8");
        u64::from_le_bytes(*word)
    };
    types::Chance::seeded(word(task.as_bytes()) ^ word(host.as_bytes())).bits()
}
