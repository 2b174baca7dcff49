//! A task: its members, its mesh, its lease.

use std::collections::{BTreeMap, BTreeSet};

use types::{HostId, Layout, Moment, TaskId};

use super::{
    event::{CanImport, FailCause, OriginFailure},
    graph::{Graph, Seat},
    hosts::HostNo,
    lease::{Held, Motion},
    member::{Member, NOT_SPARE, Rank},
};

/// A task's number. Used again after the task was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaskNo(pub(super) u32);

/// A member's place among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) task: TaskNo,
    pub(super) seat: Seat,
}

/// A task. Invariants: `waiting` and `sources` count the members that are incomplete, and complete and
/// trusted; `anonymous` and `credentialed` hold exactly the candidates; every waiting member sits in the graph; a
/// complete one sits there or is spare.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: TaskId,
    pub(super) layout: Option<Layout>,
    /// Whether its name is known to be the digest of its content: else only seeds import it.
    pub(super) by_digest: bool,
    members: Vec<Option<Member>>,
    free: Vec<Seat>,
    pub(super) graph: Graph,
    spare: Vec<Seat>,
    pub(super) waiting: u32,
    pub(super) sources: u32,
    pub(super) sources_seated: u32,
    next_order: u32,
    anonymous: BTreeSet<Rank>,
    credentialed: BTreeSet<Rank>,
    /// Who called a failure permanent, with which rights.
    pub(super) refusals: Vec<(CanImport, HostId)>,
    pub(super) last_failure: Option<OriginFailure>,
    /// Who vouched for a whole that was wrong: named again only if there is nobody else. Bounded.
    doubted: Vec<HostId>,
    pub(super) lease: Option<Held>,
    /// An importer that says nothing is missing among the members.
    pub(super) covered_by: Option<Seat>,
    /// The content should be here, but nobody gets on: somebody is to import all the same.
    pub(super) in_doubt: bool,
    pub(super) motion: Motion,
    /// No new lease before then: after a restart, or a passing failure.
    pub(super) not_before: Moment,
    pub(super) failures: u8,
    /// Whether a seed was told of it, or none was there to be told.
    pub(super) was_seed_sought: bool,
    /// Until then that seed goes first.
    pub(super) seed_until: Moment,
    /// Seeds that were told of it.
    pub(super) sought: Vec<HostId>,
    /// Since when members wait without anybody who can import.
    pub(super) orphan_since: Option<Moment>,
    /// The timer that is set.
    pub(super) wake: Option<Moment>,
}

/// Doubted hosts that are remembered for one task: by then it is the origin that is wrong.
const DOUBTED_MAX: usize = 16;

impl Task {
    fn new(now: Moment, id: TaskId) -> Self {
        Self {
            id,
            layout: None,
            by_digest: false,
            members: Vec::new(),
            free: Vec::new(),
            graph: Graph::default(),
            spare: Vec::new(),
            waiting: 0,
            sources: 0,
            sources_seated: 0,
            next_order: 0,
            anonymous: BTreeSet::new(),
            credentialed: BTreeSet::new(),
            refusals: Vec::new(),
            last_failure: None,
            doubted: Vec::new(),
            lease: None,
            covered_by: None,
            in_doubt: false,
            motion: Motion::new(now),
            not_before: Moment::ZERO,
            failures: 0,
            was_seed_sought: false,
            seed_until: Moment::ZERO,
            sought: Vec::new(),
            orphan_since: None,
            wake: None,
        }
    }

    pub(super) fn add(&mut self, host: HostNo, rights: CanImport) -> Seat {
        let seat = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            Seat(u32::try_from(self.members.len() - 1).expect("hosts are limited"))
        });
        self.members[seat.at()] = Some(Member {
            host,
            have: 0,
            order: self.next_order,
            spare_at: NOT_SPARE,
            complete: false,
            rights,
            tries: 0,
        });
        self.next_order = self.next_order.wrapping_add(1);
        seat
    }

    /// Remembers that what `host` vouched for was wrong. False if that was known, or cannot be remembered.
    pub(super) fn note_doubt(&mut self, host: HostId) -> bool {
        let is_news = !self.is_doubted(&host) && self.doubted.len() < DOUBTED_MAX;
        if is_news {
            self.doubted.push(host);
        }
        is_news
    }

    pub(super) fn is_doubted(&self, host: &HostId) -> bool {
        self.doubted.contains(host)
    }

    pub(super) fn remove(&mut self, seat: Seat) {
        self.members[seat.at()] = None;
        self.free.push(seat);
        if self.free.len() == self.members.len() {
            (self.members, self.free) = (Vec::new(), Vec::new());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn member(&self, seat: Seat) -> &Member {
        member(&self.members, seat)
    }

    pub(super) fn member_mut(&mut self, seat: Seat) -> &mut Member {
        self.members[seat.at()].as_mut().expect("the seat is taken")
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (Seat, &Member)> {
        (0..)
            .map(Seat)
            .zip(&self.members)
            .filter_map(|(seat, member)| Some((seat, member.as_ref()?)))
    }

    /// The parts that drawing edges needs apart from each other.
    pub(super) fn graph_and_members(&mut self) -> (&mut Graph, &[Option<Member>]) {
        (&mut self.graph, &self.members)
    }

    pub(super) fn spare(&self) -> &[Seat] {
        &self.spare
    }

    pub(super) fn add_spare(&mut self, seat: Seat) {
        let at = u32::try_from(self.spare.len()).expect("hosts are limited");
        self.member_mut(seat).spare_at = at;
        self.spare.push(seat);
    }

    pub(super) fn take_spare(&mut self, seat: Seat) {
        let at = std::mem::replace(&mut self.member_mut(seat).spare_at, NOT_SPARE);
        if at != NOT_SPARE {
            self.spare.swap_remove(at as usize);
            if let Some(moved) = self.spare.get(at as usize).copied() {
                self.member_mut(moved).spare_at = at;
            }
        }
    }

    pub(super) fn candidates(&mut self, rights: CanImport) -> Option<&mut BTreeSet<Rank>> {
        match rights {
            CanImport::No => None,
            CanImport::Anonymous => Some(&mut self.anonymous),
            CanImport::Credentialed => Some(&mut self.credentialed),
        }
    }

    /// Who is to import next, among those whose rights are not refused by `voices` hosts.
    pub(super) fn best_candidate(&self, voices: usize) -> Option<Seat> {
        let heads = (self.allowed(voices)).filter_map(|candidates| candidates.first());
        heads.min().map(|rank| rank.seat)
    }

    /// Whether somebody beside `seat` could import.
    pub(super) fn has_other_candidate(&self, seat: Seat, voices: usize) -> bool {
        let mut heads = (self.allowed(voices)).flat_map(|candidates| candidates.iter().take(2));
        heads.any(|rank| rank.seat != seat)
    }

    /// The candidates by rights, without those whose rights the origin refuses.
    fn allowed(&self, voices: usize) -> impl Iterator<Item = &BTreeSet<Rank>> {
        let both = [
            (CanImport::Anonymous, &self.anonymous),
            (CanImport::Credentialed, &self.credentialed),
        ];
        both.into_iter().filter_map(move |(rights, candidates)| {
            let refused = (self.refusals.iter()).filter(|(of, _)| *of == rights);
            (refused.count() < voices).then_some(candidates)
        })
    }

    /// Whether nothing has to be imported.
    pub(super) fn is_here(&self) -> bool {
        (self.sources > 0 || self.covered_by.is_some()) && !self.in_doubt
    }

    pub(super) fn fail_cause(&self) -> FailCause {
        self.last_failure
            .map_or(FailCause::NobodyCanImport, FailCause::Origin)
    }
}

pub(super) fn member(members: &[Option<Member>], seat: Seat) -> &Member {
    members[seat.at()].as_ref().expect("the seat is taken")
}

/// All tasks.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    slots: Vec<Option<Box<Task>>>,
    free: Vec<TaskNo>,
    index: BTreeMap<TaskId, TaskNo>,
}

impl Tasks {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn find(&self, id: &TaskId) -> Option<TaskNo> {
        self.index.get(id).copied()
    }

    pub(super) fn at(&self, no: TaskNo) -> &Task {
        let slot = self.slots.get(no.0 as usize).and_then(Option::as_deref);
        slot.expect("the task is known")
    }

    pub(super) fn at_mut(&mut self, no: TaskNo) -> &mut Task {
        let slot = (self.slots.get_mut(no.0 as usize)).and_then(Option::as_deref_mut);
        slot.expect("the task is known")
    }

    /// The task, new if it was unknown.
    pub(super) fn enter(&mut self, now: Moment, id: TaskId) -> (TaskNo, bool) {
        if let Some(no) = self.find(&id) {
            return (no, false);
        }
        let no = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            TaskNo(u32::try_from(self.slots.len() - 1).expect("tasks are limited by holdings"))
        });
        self.slots[no.0 as usize] = Some(Box::new(Task::new(now, id)));
        self.index.insert(id, no);
        (no, true)
    }

    pub(super) fn forget(&mut self, no: TaskNo) {
        if let Some(task) = self.slots[no.0 as usize].take() {
            self.index.remove(&task.id);
            self.free.push(no);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Task> {
        self.index.values().map(|no| self.at(*no))
    }
}
