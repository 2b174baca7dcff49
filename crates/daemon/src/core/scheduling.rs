//! The talk with the scheduler: what it was told, what it has yet to hear, what it must be asked again.
//!
//! Nothing here waits. What does not fit into the connection stays in a bounded line, and a scheduler that does not read
//! is connected to anew: the inventory that opens a connection tells everything.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use control::{
    Ask, ControlSender, HostMessage, Inventory, LeaseClaim, LeaseFailed, Progress, Refusal,
};
use types::{Epoch, HostId, Moment, TaskId};

use crate::import::ImportError;

/// How often a host tells how far it is, at most: what renews a lease of three seconds, and shows that a slow
/// distribution moves.
const BEAT: Duration = Duration::from_secs(1);
/// How often a connection that is full is tried again, if nothing else happens.
const FLUSH_EVERY: Duration = Duration::from_millis(50);
/// The wait before another ask after a refusal that names none: as long as a task may take to end.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// The wait before another join.
const REJOIN_AFTER: Duration = Duration::from_secs(30);

/// What this host knows of its scheduler.
pub(super) struct Scheduling {
    /// No scheduler is configured, nor any peers.
    is_alone: bool,
    sender: Option<ControlSender>,
    outbox: VecDeque<HostMessage>,
    joined_at: Moment,
    rejoin_at: Option<Moment>,
    /// Tasks whose ask was refused, and when another may be taken.
    refused: BTreeMap<TaskId, Moment>,
    /// Leases held.
    leases: BTreeMap<TaskId, Held>,
    /// Pieces of running tasks, as last told.
    told: BTreeMap<TaskId, u32>,
    told_at: Moment,
    /// Whether a piece came since.
    has_news: bool,
    /// The moment of the last message that was sent.
    stamp: Moment,
}

/// A lease, with the progress that is told next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) epoch: Epoch,
    /// Pieces held.
    pub(super) imported: u32,
    /// Pieces that neither this host nor any neighbour has: with none the lease ends.
    pub(super) left: u32,
    pub(super) until: Moment,
}

/// What opens a connection, after the join: as much as one inventory may tell, then the rest.
pub(super) fn inventory(
    mut leases: Vec<LeaseClaim>,
    mut running: Vec<Ask>,
    mut holdings: Vec<TaskId>,
) -> Vec<HostMessage> {
    /// Far below what one message may hold, so that batches stay small.
    const HOLDINGS_EACH: usize = Inventory::HOLDINGS_MAX / 4;
    leases.truncate(Inventory::RUNNING_MAX);
    let asks = running.split_off(running.len().min(Inventory::RUNNING_MAX));
    let more = holdings.split_off(holdings.len().min(HOLDINGS_EACH));
    let first = HostMessage::Inventory(Inventory {
        leases,
        running,
        holdings,
    });
    let added = more
        .chunks(HOLDINGS_EACH)
        .map(|added| HostMessage::Holdings {
            added: added.to_vec(),
            removed: Vec::new(),
        });
    let asks = asks.into_iter().map(HostMessage::Ask);
    std::iter::once(first).chain(added).chain(asks).collect()
}

impl Scheduling {
    /// Messages that may wait for a scheduler that does not read; beyond it the connection is given up.
    const OUTBOX_MAX: usize = 8192;

    pub(super) fn new(is_alone: bool) -> Self {
        Self {
            is_alone,
            sender: None,
            outbox: VecDeque::new(),
            joined_at: Moment::ZERO,
            rejoin_at: None,
            refused: BTreeMap::new(),
            leases: BTreeMap::new(),
            told: BTreeMap::new(),
            told_at: Moment::ZERO,
            has_news: false,
            stamp: Moment::ZERO,
        }
    }

    /// Whether this host has nobody to ask, by its configuration.
    pub(super) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Until when the scheduler takes no other ask of `task`, if it refused one.
    pub(super) fn asks_again_at(&self, task: &TaskId) -> Option<Moment> {
        self.refused.get(task).copied()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.sender.is_some()
    }

    pub(super) fn connected(&mut self, sender: ControlSender) {
        self.sender = Some(sender);
        self.outbox.clear();
    }

    pub(super) fn disconnected(&mut self) {
        (self.sender, self.outbox) = (None, VecDeque::new());
        self.rejoin_at = None;
    }

    /// A join was said: what was told before counts no more.
    pub(super) fn joined(&mut self, now: Moment) {
        self.joined_at = now;
        self.rejoin_at = None;
        self.refused.clear();
        self.told.clear();
    }

    /// Whether a grant that counts from then was said to an earlier life of this connection.
    pub(super) fn is_stale(&self, counted_from: Moment) -> bool {
        counted_from < self.joined_at
    }

    pub(super) fn say(&mut self, message: HostMessage) {
        if self.sender.is_none() {
            return; // The inventory that opens the next connection tells it all.
        }
        if self.outbox.len() >= Self::OUTBOX_MAX {
            tracing::warn!("the scheduler does not read: connecting anew");
            self.disconnected();
            return;
        }
        self.outbox.push_back(message);
    }

    /// Hands what waits to the connection, as far as it takes it. Each message has a later moment than the one before.
    pub(super) fn flush(&mut self, now: Moment) {
        let Some(sender) = &self.sender else { return };
        while let Some(message) = self.outbox.pop_front() {
            self.stamp = now.max(self.stamp + Duration::from_nanos(1));
            if let Some(message) = sender.try_send(self.stamp, message) {
                self.outbox.push_front(message);
                return;
            }
        }
    }

    /// When something must be told or asked.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.sender.as_ref()?;
        let beats = self.has_news || !self.leases.is_empty();
        let beat = beats.then(|| self.told_at + BEAT);
        let full = (!self.outbox.is_empty()).then(|| self.stamp + FLUSH_EVERY);
        let again = self.refused.values().min().copied();
        [beat, full, again, self.rejoin_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// A piece of a running task came.
    pub(super) fn moved(&mut self) {
        self.has_news = true;
    }

    /// Tells how many pieces of its `running` tasks this host has, where that changed; what it holds a lease of is told
    /// always, since that renews it.
    pub(super) fn beat(&mut self, now: Moment, running: impl Iterator<Item = (TaskId, u32)>) {
        if self.sender.is_none() || now < self.told_at + BEAT {
            return;
        }
        (self.told_at, self.has_news) = (now, false);
        let before = std::mem::take(&mut self.told);
        for (task, have) in running {
            let held = self.leases.get(&task).copied();
            let changed = before.get(&task).copied().unwrap_or_default() != have;
            self.told.insert(task, have);
            if changed || held.is_some() {
                self.say(HostMessage::Progress(Progress {
                    task,
                    have,
                    lease: held.map(|held| held.epoch),
                    imported: held.map_or(0, |held| held.imported),
                    left: held.map_or(1, |held| held.left),
                }));
            }
        }
    }

    /// What the brain says of the import under `epoch`: pieces held, and pieces that nobody around has.
    pub(super) fn progress(&mut self, task: TaskId, epoch: Epoch, (imported, left): (u32, u32)) {
        if let Some(held) = self
            .leases
            .get_mut(&task)
            .filter(|held| held.epoch == epoch)
        {
            (held.imported, held.left) = (imported, left);
        }
    }

    pub(super) fn granted(&mut self, task: TaskId, held: Held) {
        self.refused.remove(&task);
        self.leases.insert(task, held);
    }

    /// The lease lasts until `until`, or longer if that was said before. None if it is not held.
    pub(super) fn renewed(&mut self, task: TaskId, epoch: Epoch, until: Moment) -> Option<Moment> {
        let held = self.leases.get_mut(&task);
        let held = held.filter(|held| held.epoch == epoch)?;
        held.until = held.until.max(until);
        Some(held.until)
    }

    pub(super) fn revoked(&mut self, task: TaskId, epoch: Epoch) {
        self.leases.remove(&task);
        self.say(HostMessage::LeaseReturned { task, epoch });
    }

    pub(super) fn give_up(&mut self, task: TaskId, epoch: Epoch) {
        let is_held = |held: &Held| held.epoch == epoch;
        if self.leases.get(&task).is_some_and(is_held) {
            self.revoked(task, epoch);
        }
    }

    pub(super) fn lease_failed(&mut self, task: TaskId, epoch: Epoch, cause: &ImportError) {
        if self.leases.remove(&task).is_some() {
            let (cause, permanent) = (cause.for_scheduler(), cause.is_permanent());
            self.say(HostMessage::LeaseFailed(LeaseFailed {
                task,
                epoch,
                cause,
                permanent,
            }));
        }
    }

    /// What is claimed of leases on a new connection.
    pub(super) fn claims(&self, now: Moment) -> Vec<LeaseClaim> {
        let claim = |(task, held): (&TaskId, &Held)| LeaseClaim {
            task: *task,
            epoch: held.epoch,
            remaining: held.until.since(now),
        };
        self.leases.iter().map(claim).collect()
    }

    /// The scheduler answered for `task`.
    pub(super) fn heard_of(&mut self, task: TaskId) {
        self.refused.remove(&task);
    }

    /// The ask for `task` was not taken. Those that came too fast are asked again one after the other.
    pub(super) fn refused(&mut self, now: Moment, task: TaskId, cause: Refusal) {
        let at = match cause {
            Refusal::TooFast { retry_after } => {
                let last = self.refused.values().max().copied();
                let retry_after = retry_after.max(Duration::from_millis(1));
                last.map_or(now, |last| last.max(now)) + retry_after.min(AGAIN_AFTER)
            }
            _ => now + AGAIN_AFTER,
        };
        self.refused.insert(task, at);
    }

    /// The scheduler took this host out of `task`: it is asked again as long as the task lives here.
    pub(super) fn expelled(&mut self, now: Moment, task: TaskId) {
        self.leases.remove(&task);
        self.refused.insert(task, now + AGAIN_AFTER);
    }

    /// The tasks to ask for again by now.
    pub(super) fn refused_until(&mut self, now: Moment) -> Vec<TaskId> {
        let due: Vec<TaskId> = (self.refused.iter())
            .filter(|(_, at)| **at <= now)
            .map(|(task, _)| *task)
            .collect();
        for task in &due {
            self.refused.remove(task);
        }
        due
    }

    /// The join was not taken.
    pub(super) fn join_refused(&mut self, now: Moment, cause: Refusal) {
        let wait = match cause {
            Refusal::TooFast { retry_after } => retry_after.clamp(BEAT, REJOIN_AFTER),
            _ => REJOIN_AFTER,
        };
        self.rejoin_at = Some(now + wait);
    }

    pub(super) fn is_rejoin_due(&self, now: Moment) -> bool {
        self.rejoin_at.is_some_and(|at| at <= now)
    }

    pub(super) fn blame(&mut self, of: HostId) {
        self.say(HostMessage::Blame { of });
    }

    /// What `of` vouched for was wrong as a whole.
    pub(super) fn doubt(&mut self, task: TaskId, of: HostId) {
        self.say(HostMessage::Doubt { of, task });
    }

    pub(super) fn holds(&mut self, task: TaskId) {
        self.ends(task);
        self.say(HostMessage::Holdings {
            added: vec![task],
            removed: Vec::new(),
        });
    }

    /// Content that was held whole is not any more.
    pub(super) fn holds_no_more(&mut self, task: TaskId) {
        self.say(HostMessage::Holdings {
            added: Vec::new(),
            removed: vec![task],
        });
    }

    /// Of contents that nobody uses here, others may count on those `added` and no more on those `removed`.
    pub(super) fn holdings_changed(&mut self, added: Vec<TaskId>, removed: Vec<TaskId>) {
        let none = Vec::new;
        for added in added.chunks(Inventory::HOLDINGS_MAX / 4) {
            let (added, removed) = (added.to_vec(), none());
            self.say(HostMessage::Holdings { added, removed });
        }
        for removed in removed.chunks(Inventory::HOLDINGS_MAX / 4) {
            let (added, removed) = (none(), removed.to_vec());
            self.say(HostMessage::Holdings { added, removed });
        }
    }

    pub(super) fn left(&mut self, task: TaskId) {
        self.ends(task);
        self.say(HostMessage::Left { task });
    }

    /// A task that is held whole is over here; the scheduler goes on counting on it.
    pub(super) fn rests(&mut self, task: TaskId) {
        self.refused.remove(&task);
        if let Some(held) = self.leases.remove(&task) {
            let epoch = held.epoch;
            self.say(HostMessage::LeaseReturned { task, epoch });
        }
    }

    fn ends(&mut self, task: TaskId) {
        self.refused.remove(&task);
        self.leases.remove(&task);
    }

    /// Says goodbye: the last that is said. The connection ends once that has left.
    pub(super) fn leave(&mut self, now: Moment) {
        self.say(HostMessage::Goodbye);
        self.flush(now);
        self.disconnected();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: usize) -> TaskId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        TaskId::from_bytes(bytes)
    }

    fn ask(number: usize) -> Ask {
        Ask {
            task: task(number),
            source: None,
            layout: None,
            can_import: control::CanImport::Anonymous,
            have: control::Have::None,
            visibility: types::Visibility::Public,
            digest: None,
        }
    }

    /// A connected host, and what it says.
    fn connected() -> (Scheduling, impl FnMut(&mut Scheduling) -> Vec<HostMessage>) {
        let (sender, mut said) = ControlSender::pair(16);
        let mut scheduling = Scheduling::new(false);
        scheduling.connected(sender);
        let hear = move |scheduling: &mut Scheduling| {
            scheduling.flush(Moment::ZERO);
            std::iter::from_fn(|| said.try_recv().ok())
                .map(|stamped| stamped.message)
                .collect()
        };
        (scheduling, hear)
    }

    fn progress(said: &[HostMessage]) -> Vec<(TaskId, u32, u32)> {
        let one = |message: &HostMessage| match message {
            HostMessage::Progress(made) => Some((made.task, made.have, made.left)),
            _ => None,
        };
        said.iter().filter_map(one).collect()
    }

    #[test]
    fn no_message_of_a_large_inventory_is_beyond_what_may_be_told() {
        let running = (0..3000).map(ask).collect();
        let holdings: Vec<TaskId> = (0..50_000).map(task).collect();
        let mut told = (0, 0);
        for message in inventory(Vec::new(), running, holdings) {
            match message {
                HostMessage::Inventory(told_first) => {
                    assert!(told_first.running.len() <= Inventory::RUNNING_MAX);
                    assert!(told_first.holdings.len() <= Inventory::HOLDINGS_MAX);
                    assert_eq!(told, (0, 0), "it is the first");
                    told = (told_first.running.len(), told_first.holdings.len());
                }
                HostMessage::Holdings { added, .. } => {
                    assert!(added.len() <= Inventory::HOLDINGS_MAX);
                    told.1 += added.len();
                }
                HostMessage::Ask(_) => told.0 += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, (3000, 50_000));
    }

    #[test]
    fn every_running_task_tells_its_progress_once_a_second_if_it_changed() {
        let (mut scheduling, mut hear) = connected();
        let at = |seconds| Moment::ZERO + Duration::from_secs(seconds);
        let (one, other) = (task(1), task(2));
        scheduling.beat(at(1), [(one, 3), (other, 0)].into_iter());
        assert_eq!(progress(&hear(&mut scheduling)), [(one, 3, 1)]);
        scheduling.beat(at(1) + BEAT / 2, [(one, 4)].into_iter());
        assert!(hear(&mut scheduling).is_empty(), "not so soon again");
        scheduling.beat(at(2), [(one, 4), (other, 0)].into_iter());
        assert_eq!(progress(&hear(&mut scheduling)), [(one, 4, 1)]);
        scheduling.beat(at(3), [(one, 4), (other, 0)].into_iter());
        assert!(hear(&mut scheduling).is_empty());
    }

    #[test]
    fn a_lease_holder_tells_what_its_brain_says_is_left() {
        let (mut scheduling, mut hear) = connected();
        let (task, epoch) = (task(1), Epoch(7));
        let held = Held {
            epoch,
            imported: 0,
            left: 90,
            until: Moment::NEVER,
        };
        scheduling.granted(task, held);
        scheduling.progress(task, epoch, (10, 2));
        for seconds in 1..3 {
            let now = Moment::ZERO + Duration::from_secs(seconds);
            scheduling.beat(now, [(task, 10)].into_iter());
            assert_eq!(progress(&hear(&mut scheduling)), [(task, 10, 2)]);
        }
    }

    #[test]
    fn a_goodbye_is_the_last_that_is_said() {
        let (mut scheduling, mut hear) = connected();
        scheduling.left(task(1));
        scheduling.leave(Moment(1));
        scheduling.left(task(2));
        let said = hear(&mut scheduling);
        assert!(matches!(
            said[..],
            [HostMessage::Left { .. }, HostMessage::Goodbye]
        ));
    }

    #[test]
    fn refused_asks_are_said_again_one_after_the_other() {
        let mut scheduling = Scheduling::new(false);
        let each = Duration::from_millis(10);
        let now = Moment(5);
        for number in 0..3 {
            let cause = Refusal::TooFast { retry_after: each };
            scheduling.refused(now, task(number), cause);
        }
        assert!(scheduling.refused_until(now).is_empty());
        for number in 1..=3 {
            assert_eq!(scheduling.refused_until(now + each * number).len(), 1);
        }
    }
}
