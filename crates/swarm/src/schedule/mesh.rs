//! Members into and out of a task's mesh, and who is told.
//!
//! Only waiting members and the complete holders that serve them sit in the graph. When nobody waits the mesh rests:
//! all forget their neighbours, and a holding costs a few bytes.

use types::{HostId, Moment};

use super::{
    brain::{Leave, Schedule},
    event::{Action, CanImport, Have},
    graph::{Draw, Graph, Seat},
    hosts::{HostNo, Hosts},
    lease::Motion,
    member::Member,
    policy::Policy,
    task::{Spot, TaskNo, member},
    timers::Timer,
};

type Cost<'a> = &'a dyn Fn(Seat, Seat) -> Option<u32>;

/// What an edge to a lowered host costs beside: more than any distance, so that others come first, and less than one that
/// would not be drawn.
const LOWERED: u32 = 1 << 12;

/// What an edge between two members costs. None between two that miss nothing, or that are lowered, and none to a lowered one
/// that misses nothing. One that waits gets what others have: alone it would read all of it from the origin.
fn edge_cost(policy: &Policy, hosts: &Hosts, a: &Member, b: &Member) -> Option<u32> {
    let (one, other) = (hosts.at(a.host), hosts.at(b.host));
    let is_low = [(a, one), (b, other)].map(|(member, host)| host.is_low().then_some(member));
    let lowered = is_low.iter().flatten().count();
    let gives_alone = is_low.iter().flatten().any(|member| member.complete);
    if (a.complete && b.complete) || lowered == 2 || gives_alone {
        return None;
    }
    let distance = policy.distance_cost[one.place.nearness(&other.place) as usize];
    let is_linked = one.is_linked(b.host) || other.is_linked(a.host);
    let bonus = if is_linked { 0 } else { policy.connected_bonus };
    let lowered = if lowered == 0 { 0 } else { LOWERED };
    Some(distance + bonus + lowered)
}

impl Schedule {
    /// A new member takes its place: as a waiting one in the mesh, as a holder among the spare.
    pub(super) fn begin(&mut self, now: Moment, spot: Spot, have: Have) {
        let Spot { task: no, seat } = spot;
        let host = self.tasks.at(no).member(seat).host;
        if have == Have::All {
            let is_trusted = !self.hosts.at(host).is_low();
            let task = self.tasks.at_mut(no);
            task.member_mut(seat).complete = true;
            task.sources += u32::from(is_trusted);
            task.add_spare(seat);
            if task.waiting > 0 {
                self.draw_in_sources(now, spot);
            }
            return;
        }
        self.hosts.at_mut(host).running += 1;
        let task = self.tasks.at_mut(no);
        if task.waiting == 0 {
            (task.motion, task.in_doubt) = (Motion::new(now), false);
        }
        task.waiting += 1;
        self.change_member(spot, |member| {
            if let Have::Some(have) = have {
                member.have = have;
            }
        });
        self.retire_sources(now, no);
        self.draw_in_sources(now, spot);
        self.take_seat(now, spot);
    }

    /// A waiting member has everything now. It stays in the mesh while others wait.
    pub(super) fn complete(&mut self, now: Moment, spot: Spot) {
        let Spot { task: no, seat } = spot;
        let host = self.tasks.at(no).member(seat).host;
        self.hosts.at_mut(host).running -= 1;
        self.change_member(spot, |member| member.complete = true);
        let is_trusted = !self.hosts.at(host).is_low();
        let task = self.tasks.at_mut(no);
        task.waiting -= 1;
        task.sources += u32::from(is_trusted);
        task.sources_seated += 1;
        task.in_doubt &= !is_trusted;
        task.motion.moved(now);
        // Who misses nothing imports nothing: the host has stopped.
        task.lease.take_if(|lease| lease.seat == Some(seat));
        if task.waiting == 0 {
            self.rest(now, no);
        }
    }

    /// Takes a member out of its task. The caller reviews the task.
    pub(super) fn detach(&mut self, now: Moment, spot: Spot, how: Leave) {
        let Spot { task: no, seat } = spot;
        let leaver = self.tasks.at(no).member(seat).clone();
        self.change_member(spot, |member| {
            member.rights = CanImport::No;
        });
        let is_seated = self.tasks.at(no).graph.contains(seat);
        self.with_graph(now, no, |graph, draw| graph.leave(seat, draw));
        let is_trusted = !self.hosts.at(leaver.host).is_low();
        let task = self.tasks.at_mut(no);
        if leaver.complete {
            task.sources -= u32::from(is_trusted);
            task.sources_seated -= u32::from(is_seated);
            task.take_spare(seat);
        } else {
            task.waiting -= 1;
            self.hosts.at_mut(leaver.host).running -= 1;
        }
        if task.covered_by == Some(seat) {
            task.covered_by = None;
        }
        if let Some(lease) = task.lease.as_mut().filter(|lease| lease.seat == Some(seat)) {
            lease.seat = None;
            if how == Leave::Told {
                task.lease = None;
            }
        }
        task.remove(seat);
        let is_idle = task.waiting == 0;
        self.hosts.at_mut(leaver.host).tasks.remove(&no);
        self.outbox.forget(leaver.host, no);
        if is_idle {
            self.rest(now, no);
        }
    }

    /// Tells a member all its neighbours, at once.
    pub(super) fn introduce_all(&mut self, spot: Spot) {
        let Spot { task: no, seat } = spot;
        let task = self.tasks.at(no);
        let id_of = |seat: Seat| self.hosts.at(task.member(seat).host).id;
        let mut add: Vec<HostId> = (task.graph.neighbours(seat).iter())
            .map(|other| id_of(*other))
            .collect();
        add.sort_unstable();
        let action = Action::Introduce {
            host: id_of(seat),
            task: task.id,
            reset: true,
            add,
            remove: Vec::new(),
        };
        self.outbox.forget(task.member(seat).host, no);
        self.outbox.push(action);
    }

    /// Gives a member as many neighbours as it may have.
    pub(super) fn fill(&mut self, now: Moment, spot: Spot) {
        let Spot { task: no, seat } = spot;
        if self.tasks.at(no).graph.contains(seat) {
            self.with_graph(now, no, |graph, draw| graph.fill(seat, draw));
        }
    }

    /// Counts a host's memberships by what it is worth now.
    pub(super) fn apply_trust(&mut self, now: Moment, host: HostNo, is_trusted: bool) {
        for spot in self.spots(host) {
            let Spot { task: no, seat } = spot;
            let task = self.tasks.at_mut(no);
            if !task.member(seat).complete {
                self.refresh_candidate(spot);
                if is_trusted {
                    self.fill(now, spot);
                } else {
                    self.distrust_holder(spot);
                }
            } else if is_trusted {
                task.sources += 1;
            } else {
                task.sources -= 1;
            }
            self.review(now, no);
        }
    }

    /// Changes a member, and keeps the set of candidates true.
    pub(super) fn change_member(&mut self, spot: Spot, change: impl FnOnce(&mut Member)) {
        let Spot { task: no, seat } = spot;
        let task = self.tasks.at_mut(no);
        let before = task.member(seat).clone();
        let rank = before.rank(&task.id, self.hosts.at(before.host), seat);
        if let Some(candidates) = task.candidates(before.rights) {
            candidates.remove(&rank);
        }
        change(task.member_mut(seat));
        self.refresh_candidate(spot);
    }

    /// Puts a member that did not change into the set of candidates, or takes it out.
    fn refresh_candidate(&mut self, spot: Spot) {
        let Spot { task: no, seat } = spot;
        let task = self.tasks.at_mut(no);
        let member = task.member(seat).clone();
        let host = self.hosts.at(member.host);
        let rank = member.rank(&task.id, host, seat);
        let is_candidate = member.is_candidate(host);
        if let Some(candidates) = task.candidates(member.rights) {
            if is_candidate {
                candidates.insert(rank);
            } else {
                candidates.remove(&rank);
            }
        }
    }

    pub(super) fn arm_flush(&mut self, now: Moment) {
        if self.outbox.flush_at.is_none() {
            let at = now + self.policy.flush_after;
            self.outbox.flush_at = Some(at);
            self.timers.set(at, Timer::Flush);
        }
    }

    fn take_seat(&mut self, now: Moment, spot: Spot) {
        let Spot { task: no, seat } = spot;
        let host = self.hosts.at(self.tasks.at(no).member(seat).host);
        let limit = host.capacity.min(self.policy.degree);
        self.with_graph(now, no, |graph, draw| graph.join(seat, limit, draw));
    }

    /// Seats spare holders, the best of some samples for `near` first, while there are fewer than members that wait.
    fn draw_in_sources(&mut self, now: Moment, spot: Spot) {
        let Spot {
            task: no,
            seat: near,
        } = spot;
        loop {
            let task = self.tasks.at(no);
            let enough = task.waiting.max(u32::from(self.policy.degree));
            if task.sources_seated >= enough {
                return;
            }
            let place = self.hosts.at(task.member(near).host).place;
            let samples = (0..self.policy.samples)
                .filter_map(|_| self.chance.pick(task.spare()).copied())
                .map(|seat| (seat, self.hosts.at(task.member(seat).host)))
                .filter(|(_, host)| !host.is_low());
            let Some((seat, _)) = samples.min_by_key(|(_, host)| host.place.nearness(&place))
            else {
                return;
            };
            let task = self.tasks.at_mut(no);
            task.take_spare(seat);
            task.sources_seated += 1;
            self.take_seat(now, Spot { task: no, seat });
        }
    }

    /// Unseats up to two complete members, if there are far more than those that wait. Each newcomer pays for two, so
    /// that a mesh in steady use stays bounded, and one that finishes in one go is left alone.
    fn retire_sources(&mut self, now: Moment, no: TaskNo) {
        for _ in 0..2 {
            let task = self.tasks.at(no);
            let most = (task.waiting.saturating_mul(self.policy.sources_per_waiting))
                .max(self.policy.sources_seated_min);
            if task.sources_seated <= most {
                return;
            }
            let drawn = (0..self.policy.samples)
                .filter_map(|_| self.chance.pick(task.graph.members()).copied())
                .find(|seat| task.member(*seat).complete);
            let Some(seat) = drawn else { return };
            self.with_graph(now, no, |graph, draw| graph.leave(seat, draw));
            let task = self.tasks.at_mut(no);
            task.sources_seated -= 1;
            task.add_spare(seat);
            self.outbox.note_rest(task.member(seat).host, no);
        }
    }

    /// Nobody waits: the mesh dissolves, and all that sat in it are told to forget their neighbours.
    fn rest(&mut self, now: Moment, no: TaskNo) {
        let task = self.tasks.at_mut(no);
        let seated = task.graph.clear();
        task.sources_seated = 0;
        for seat in &seated {
            task.add_spare(*seat);
            self.outbox.note_rest(task.member(*seat).host, no);
        }
        if !seated.is_empty() {
            self.arm_flush(now);
        }
    }

    fn with_graph(
        &mut self,
        now: Moment,
        no: TaskNo,
        change: impl FnOnce(&mut Graph, &mut Draw<'_, Cost<'_>>),
    ) {
        let (policy, hosts) = (&self.policy, &self.hosts);
        let (graph, members) = self.tasks.at_mut(no).graph_and_members();
        let cost = |a, b| edge_cost(policy, hosts, member(members, a), member(members, b));
        let mut draw = Draw {
            chance: &mut self.chance,
            samples: usize::from(policy.samples),
            cost: &cost as Cost<'_>,
            changes: &mut self.changes,
        };
        change(graph, &mut draw);
        self.tell_changes(now, no);
    }

    fn tell_changes(&mut self, now: Moment, no: TaskNo) {
        if self.changes.is_empty() {
            return;
        }
        let mut changes = std::mem::take(&mut self.changes);
        for change in changes.drain(..) {
            let [a, b] = change.ends.map(|seat| self.tasks.at(no).member(seat).host);
            self.outbox.note(a, no, (b, change.joined));
            self.outbox.note(b, no, (a, change.joined));
            if change.joined {
                self.hosts.note_link(a, b);
            }
        }
        self.changes = changes;
        self.arm_flush(now);
    }
}
