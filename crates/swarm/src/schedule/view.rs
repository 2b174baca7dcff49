//! What can be seen from outside: for metrics, `pantala task` and the console. Copies; nothing here decides.

use types::{Epoch, HostId, Layout, Moment, TaskId, Topology};

use super::{brain::Schedule, task::Task};

/// Totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Hosts that are here.
    pub hosts: usize,
    /// Hosts that are lowered by blame.
    pub hosts_low: usize,
    /// Tasks that are known.
    pub tasks: usize,
    /// Tasks that somebody waits for.
    pub tasks_waiting: usize,
    /// Leases that may be believed in.
    pub leases: usize,
    /// Members that wait, over all tasks.
    pub waiting: usize,
    /// Complete holdings, over all tasks.
    pub holdings: usize,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskView {
    /// The task.
    pub task: TaskId,
    /// Its layout, if known.
    pub layout: Option<Layout>,
    /// Its members.
    pub members: Vec<MemberView>,
    /// Its lease.
    pub lease: Option<LeaseView>,
    /// When it last moved: a member or the importer got a piece.
    pub moved_at: Moment,
    /// When it is looked at next, if nothing happens before.
    pub wake: Option<Moment>,
}

/// A member of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Who.
    pub host: HostId,
    /// Verified pieces, as last told; not kept for complete members.
    pub have: u32,
    /// Whether it holds everything.
    pub is_complete: bool,
    /// Its neighbours.
    pub neighbours: Vec<HostId>,
}

/// A lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// The importer.
    pub holder: HostId,
    /// The epoch.
    pub epoch: Epoch,
    /// When it ends without renewal.
    pub until: Moment,
    /// Whether it is no longer renewed.
    pub is_revoked: bool,
    /// Pieces imported under it, as last told.
    pub imported: u32,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostView {
    /// Who.
    pub host: HostId,
    /// Where it stands.
    pub topology: Topology,
    /// Whether it has the seed role.
    pub is_seed: bool,
    /// When it was last heard.
    pub heard_at: Moment,
    /// Tasks it waits for.
    pub running: usize,
    /// Tasks it holds.
    pub holdings: usize,
    /// Reports against it that still count.
    pub reports: usize,
    /// Until when it is lowered.
    pub low_until: Option<Moment>,
}

impl Schedule {
    /// A task; none if it is unknown.
    pub fn task_view(&self, task: &TaskId) -> Option<TaskView> {
        let known = self.tasks.find(task)?;
        Some(self.view(self.tasks.at(known)))
    }

    /// Whether `by`, who tells or is told that `host` was an importer of `task`, takes part in it, and what `host` vouched for
    /// was not found wrong.
    pub fn may_have_imported(&self, by: &HostId, task: &TaskId, host: &HostId) -> bool {
        self.spot(by, task)
            .is_some_and(|spot| !self.tasks.at(spot.task).is_doubted(host))
    }

    /// A host that is here.
    pub fn host_view(&self, host: &HostId) -> Option<HostView> {
        let seen = self.hosts.at(self.hosts.find(host)?);
        Some(HostView {
            host: seen.id,
            topology: seen.topology().clone(),
            is_seed: seen.is_seed,
            heard_at: seen.heard_at,
            running: seen.running,
            holdings: seen.holdings(),
            reports: self.blames.reports(host),
            low_until: seen.low_until,
        })
    }

    /// Totals. Walks over all hosts and tasks: for a scrape, not for every event.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            hosts: self.hosts.len(),
            tasks: self.tasks.len(),
            ..Counts::default()
        };
        for (_, host) in self.hosts.iter() {
            counts.hosts_low += usize::from(host.is_low());
            counts.waiting += host.running;
            counts.holdings += host.holdings();
        }
        for task in self.tasks.iter() {
            counts.tasks_waiting += usize::from(task.waiting > 0);
            counts.leases += usize::from(task.lease.is_some());
        }
        counts
    }

    fn view(&self, task: &Task) -> TaskView {
        let id_of = |seat| self.hosts.at(task.member(seat).host).id;
        TaskView {
            task: task.id,
            layout: task.layout,
            members: (task.members())
                .map(|(seat, member)| MemberView {
                    host: id_of(seat),
                    have: member.have,
                    is_complete: member.complete,
                    neighbours: (task.graph.neighbours(seat).iter().copied())
                        .map(id_of)
                        .collect(),
                })
                .collect(),
            lease: task.lease.as_ref().map(|lease| LeaseView {
                holder: lease.holder,
                epoch: lease.epoch,
                until: lease.until,
                is_revoked: lease.revoked,
                imported: lease.imported,
            }),
            moved_at: task.motion.at(),
            wake: task.wake,
        }
    }
}
