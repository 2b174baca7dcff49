//! Admission: who is served now, who waits, who is sent elsewhere.

use std::cmp::Ordering;

use types::{ByteCount, Moment, PieceRun, TaskId};

use super::{RateLimit, served::Served, tell::Telling};
use crate::{Class, HostNo, SlotHint};

/// How many children are served at once, and how many may wait.
#[derive(Clone, Copy, Debug)]
pub struct UploadPolicy {
    /// Running transfers.
    pub slots: u8,
    /// Requests that wait for a slot, beyond those for slots that are free or about to be. None: a child that waits
    /// could be served elsewhere, and has chosen its piece before it knows what is rare (measured with 300 hosts: 2
    /// cost 0.05 of the content's time).
    pub waiting_max: u8,
}

impl Default for UploadPolicy {
    fn default() -> Self {
        Self {
            slots: 2,
            waiting_max: 0,
        }
    }
}

/// A request of a child, and once admitted a transfer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transfer {
    /// The child.
    pub to: HostNo,
    /// The task.
    pub task: TaskId,
    /// Adjacent pieces that this host has.
    pub run: PieceRun,
}

/// What a request is entitled to. Ordered: the first is served first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// A reader is blocked on it.
    Urgent,
    /// The piece was revealed to this child alone, and a place kept for it.
    Invited,
    /// Anything else.
    #[default]
    Usual,
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Slots and line are full.
    Busy,
    /// This host is about to leave.
    Draining,
    /// The child already has a request in line or running for some of these pieces.
    Duplicate,
}

#[derive(Debug)]
struct Waiting {
    transfer: Transfer,
    class: Class,
    standing: Standing,
    /// Order of arrival.
    number: u64,
}

#[derive(Debug)]
struct Running {
    transfer: Transfer,
    class: Class,
    standing: Standing,
    place: Place,
    /// Its child takes nothing: it holds no slot until that goes on.
    is_stuck: bool,
}

/// A request that found no place: until its task is served again, nobody of another task keeps a slot that has had more.
#[derive(Clone, Copy, Debug)]
struct Refused {
    transfer: Transfer,
    class: Class,
}

/// Who may have the slot of a running transfer next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nobody yet.
    Taken,
    /// The same child, whose next request is expected before the transfer ends.
    Kept,
    /// The same child, which has asked.
    Followed,
    /// Anybody: the transfer is about to end.
    Opening,
}

/// All uploads of one host.
///
/// Invariants: never more than `slots` started while they run, never more than `waiting_max` waiting, each ended exactly once.
#[derive(Debug)]
pub struct Uploads {
    policy: UploadPolicy,
    limit: RateLimit,
    running: Vec<Running>,
    waiting: Vec<Waiting>,
    /// Bytes promised to each child and each task of late: who got least goes first. Halved as it grows.
    served: Served,
    arrivals: u64,
    telling: Telling,
    /// One for each task, the last ones. Bounded.
    refused: Vec<Refused>,
    /// The task that had its turn: the slot it gave up is for another, for as long as that one needs to come.
    had_turn: Option<TaskId>,
    is_draining: bool,
}

impl Uploads {
    /// Requests in line beyond which even an invited one is refused: a bound, never met by an honest super-seed.
    const INVITED_MAX: usize = 64;
    /// Tasks whose refusals are remembered.
    const REFUSED_MAX: usize = 8;

    /// No uploads yet.
    pub fn new(policy: UploadPolicy, limit: RateLimit) -> Self {
        Self {
            policy,
            limit,
            running: Vec::new(),
            waiting: Vec::new(),
            served: Served::default(),
            arrivals: 0,
            telling: Telling::default(),
            refused: Vec::new(),
            had_turn: None,
            is_draining: false,
        }
    }

    /// A child asks. `Ok` means that [`Uploads::next`] will name the transfer in time; a refusal must be sent back.
    ///
    /// An urgent request (a blocked reader) goes to the head of the line, and finds a place there when the line is
    /// full by sending the last usual one away; so does the foreground with the background. The one sent away is
    /// returned. A child has one urgent request at a time: more are usual ones, since urgency is its own word. For a
    /// piece that was revealed to this child alone a place was kept: `capacity` does not bind it, the bound on reveals
    /// does.
    pub fn request(
        &mut self,
        transfer: Transfer,
        class: Class,
        standing: Standing,
    ) -> Result<Option<Transfer>, Refusal> {
        if self.is_draining {
            return Err(Refusal::Draining);
        }
        if self.transfers().any(|held| {
            held.to == transfer.to && held.task == transfer.task && overlap(held.run, transfer.run)
        }) {
            return Err(Refusal::Duplicate);
        }
        let standing = self.entitled(&transfer, class, standing);
        if let Some(own) = self
            .running
            .iter_mut()
            .find(|running| running.place == Place::Kept && running.transfer.to == transfer.to)
        {
            own.place = Place::Followed;
            self.enter(transfer, class, standing);
            return Ok(None);
        }
        let displaced = match standing {
            Standing::Invited if self.waiting.len() < Self::INVITED_MAX => None,
            _ if self.has_place(&transfer, class, standing) => None,
            _ => match self.displace(class, standing) {
                None => {
                    self.turn_away(transfer, class);
                    return Err(Refusal::Busy);
                }
                displaced => displaced,
            },
        };
        self.enter(transfer, class, standing);
        Ok(displaced)
    }

    /// What a request is entitled to, whatever it says.
    fn entitled(&self, transfer: &Transfer, class: Class, standing: Standing) -> Standing {
        let waiting = self
            .waiting
            .iter()
            .map(|held| (held.transfer, held.standing));
        let running = self
            .running
            .iter()
            .map(|held| (held.transfer, held.standing));
        let has_urgent = waiting
            .chain(running)
            .any(|(held, standing)| held.to == transfer.to && standing == Standing::Urgent);
        match standing {
            Standing::Urgent if has_urgent || class == Class::Background => Standing::Usual,
            other => other,
        }
    }

    /// Whether a place in line is there for this request; a slot that the background keeps is none for the foreground.
    fn has_place(&mut self, transfer: &Transfer, class: Class, standing: Standing) -> bool {
        if self.waiting.len() >= self.capacity() && class == Class::Foreground {
            let mut running = self.running.iter_mut();
            let is_spare =
                |held: &&mut Running| held.place == Place::Kept && held.class == Class::Background;
            if let Some(spare) = running.find(is_spare) {
                spare.place = Place::Opening;
            }
        }
        let had_turn = self.had_turn == Some(transfer.task) && standing == Standing::Usual;
        self.waiting.len() + usize::from(had_turn) < self.capacity()
    }

    fn turn_away(&mut self, transfer: Transfer, class: Class) {
        self.telling.turned_away(transfer.to);
        self.refused
            .retain(|held| held.transfer.task != transfer.task);
        if self.refused.len() >= Self::REFUSED_MAX {
            self.refused.remove(0);
        }
        self.refused.push(Refused { transfer, class });
    }

    fn enter(&mut self, transfer: Transfer, class: Class, standing: Standing) {
        self.telling.came(transfer.to);
        self.refused
            .retain(|held| held.transfer.task != transfer.task);
        self.had_turn.take_if(|task| *task != transfer.task);
        self.arrivals += 1;
        self.waiting.push(Waiting {
            transfer,
            class,
            standing,
            number: self.arrivals,
        });
    }

    /// Sends the last usual request in line away that must give way.
    fn displace(&mut self, class: Class, standing: Standing) -> Option<Transfer> {
        let gives_way = |held: &Waiting| {
            let is_urgent = standing == Standing::Urgent && held.class == class;
            held.standing == Standing::Usual && (held.class > class || is_urgent)
        };
        let usual = (0..self.waiting.len()).filter(|at| gives_way(&self.waiting[*at]));
        let last = usual.max_by_key(|at| (self.waiting[*at].class, self.waiting[*at].number))?;
        Some(self.waiting.remove(last).transfer)
    }

    /// Requests that may wait now: the line, the slots that are free, and those about to be, but for the kept ones.
    fn capacity(&self) -> usize {
        let next = |running: &&Running| {
            !running.is_stuck && matches!(running.place, Place::Opening | Place::Followed)
        };
        let opening = self.running.iter().filter(next).count();
        usize::from(self.policy.waiting_max)
            + (usize::from(self.policy.slots) + opening).saturating_sub(self.taken())
    }

    /// Slots that are taken.
    fn taken(&self) -> usize {
        self.running.iter().filter(|held| !held.is_stuck).count()
    }

    /// Whether `to` takes nothing of what is sent to it. A stopped process keeps its links for many seconds, and its slots
    /// would be missed by all others.
    pub fn stuck(&mut self, to: HostNo, is_stuck: bool) {
        for held in &mut self.running {
            if held.transfer.to == to {
                held.is_stuck = is_stuck;
            }
        }
    }

    /// The next transfer to start, if a slot is free and the rate allows. Call until `None`; `length_of` tells a run's
    /// bytes.
    ///
    /// Foreground before background, then by standing, then the task and the child that were served least, then
    /// first come first served.
    pub fn next(
        &mut self,
        now: Moment,
        length_of: impl Fn(&Transfer) -> ByteCount,
    ) -> Option<Transfer> {
        if self.taken() >= usize::from(self.policy.slots) || self.limit.ready_at(now) > now {
            return None;
        }
        let best = (0..self.waiting.len()).min_by_key(|at| {
            let waiting = &self.waiting[*at];
            (
                waiting.class,
                waiting.standing,
                self.merit(waiting),
                waiting.number,
            )
        })?;
        let Waiting {
            transfer,
            class,
            standing,
            ..
        } = self.waiting.remove(best);
        let length = length_of(&transfer);
        self.limit.spend(length, now);
        self.served.add(&transfer, length);
        self.running.push(Running {
            transfer,
            class,
            standing,
            place: Place::Taken,
            is_stuck: false,
        });
        Some(transfer)
    }

    /// Who got least goes first; but what the whole swarm waits for goes in the order of asking, since an importer whose
    /// quickest children wait behind all others keeps some pieces for seconds (measured: 5 s instead of 0.4 s).
    fn merit(&self, waiting: &Waiting) -> (u64, u64) {
        match waiting.standing {
            Standing::Invited => (0, 0),
            Standing::Urgent | Standing::Usual => self.served.by(&waiting.transfer),
        }
    }

    /// A running transfer has about one round trip left. Its slot is kept for the next request of the same child if
    /// `keep`: the shell says so while that child lacks something that is here, so that one transfer follows the other
    /// without a gap. It is not kept from a task that was refused since and got less, nor by the background from the
    /// foreground. False if it is not kept: anybody's request may have it.
    pub fn ending(&mut self, transfer: &Transfer, keep: bool) -> bool {
        let Some(at) = (self.running.iter())
            .position(|held| held.transfer == *transfer && held.place != Place::Followed)
        else {
            return true;
        };
        let rival = self.rival(&self.running[at]).filter(|_| keep);
        if let Some(rival) = rival {
            self.refused.retain(|held| held.transfer != rival.transfer);
            self.had_turn = (rival.transfer.task != transfer.task).then_some(transfer.task);
            // It is the first to be told.
            self.telling.turned_away(rival.transfer.to);
        }
        let keep = keep && rival.is_none();
        self.running[at].place = if keep { Place::Kept } else { Place::Opening };
        keep
    }

    /// Who was refused and is to have the slot of `held` next.
    fn rival(&self, held: &Running) -> Option<Refused> {
        let got = |transfer: &Transfer| self.served.by(transfer).0;
        let comes_first = |other: &&Refused| match other.class.cmp(&held.class) {
            Ordering::Less => true,
            Ordering::Equal => {
                other.transfer.task != held.transfer.task
                    && got(&other.transfer) < got(&held.transfer)
            }
            Ordering::Greater => false,
        };
        self.refused.iter().find(comes_first).copied()
    }

    /// The children to tell of [`Uploads::hint`] now: a few when there is more room than was told, and more of them
    /// while nobody comes. `interested` lists the children that could use a slot, the preferred first (see
    /// [`crate::download::Download::hungriest`]); those who were turned away of late go before
    /// all others. Call whenever anything changed, and at the deadline.
    pub fn whom_to_tell(
        &mut self,
        now: Moment,
        interested: impl FnOnce() -> Vec<HostNo>,
    ) -> Vec<HostNo> {
        if self.telling.deadline().is_some_and(|at| now >= at) {
            // Who was told first has had its time.
            self.had_turn = None;
        }
        let room = self.hint().room();
        self.telling.next(now, room, interested)
    }

    /// A transfer ended, well or not. True if it was running.
    pub fn ended(&mut self, transfer: &Transfer) -> bool {
        let before = self.running.len();
        self.running.retain(|running| running.transfer != *transfer);
        self.running.len() < before
    }

    /// A child no longer wants `run`: what waited is dropped here, what runs is returned for the shell to stop and then
    /// report as [`Uploads::ended`].
    pub fn cancel(&mut self, to: HostNo, task: TaskId, run: PieceRun) -> Vec<Transfer> {
        let is_meant = |transfer: &Transfer| {
            transfer.to == to && transfer.task == task && overlap(transfer.run, run)
        };
        self.waiting.retain(|waiting| !is_meant(&waiting.transfer));
        self.running
            .iter()
            .map(|running| running.transfer)
            .filter(is_meant)
            .collect()
    }

    /// A child is gone: nothing of it is left.
    pub fn forget(&mut self, host: HostNo) {
        self.waiting.retain(|waiting| waiting.transfer.to != host);
        self.running.retain(|running| running.transfer.to != host);
        self.refused.retain(|held| held.transfer.to != host);
        self.served.forget(host);
    }

    /// A child left a task: what waits of it there is dropped, what runs is returned for the shell to stop.
    pub fn forget_of(&mut self, host: HostNo, task: TaskId) -> Vec<Transfer> {
        let is_meant = |transfer: &Transfer| transfer.to == host && transfer.task == task;
        self.waiting.retain(|waiting| !is_meant(&waiting.transfer));
        self.running
            .iter()
            .map(|running| running.transfer)
            .filter(is_meant)
            .collect()
    }

    /// A task is gone: requests that wait for it are returned, to be refused.
    pub fn forget_task(&mut self, task: TaskId) -> Vec<Transfer> {
        let gone = self
            .waiting
            .iter()
            .map(|waiting| waiting.transfer)
            .filter(|transfer| transfer.task == task)
            .collect();
        self.waiting.retain(|waiting| waiting.transfer.task != task);
        self.refused.retain(|held| held.transfer.task != task);
        gone
    }

    /// No new requests from now on; what waits is returned, to be refused, and what runs may end.
    pub fn drain(&mut self) -> Vec<Transfer> {
        self.is_draining = true;
        self.waiting
            .drain(..)
            .map(|waiting| waiting.transfer)
            .collect()
    }

    /// What children should know of the slots now.
    pub fn hint(&self) -> SlotHint {
        if self.is_draining {
            return SlotHint::default();
        }
        let slots = usize::from(self.policy.slots);
        let line = usize::from(self.policy.waiting_max);
        let room = self.capacity().saturating_sub(line + self.waiting.len());
        let free = room.min(slots.saturating_sub(self.taken()));
        let opening = room - free;
        let small = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        SlotHint {
            free: small(free),
            opening: small(opening),
        }
    }

    /// Changes the rate limit.
    pub fn set_limit(&mut self, rate: Option<ByteCount>, now: Moment) {
        self.limit.set(rate, now);
    }

    /// When [`Uploads::next`] or [`Uploads::whom_to_tell`] may have something although nothing happened: the rate
    /// limit's next token, or room that nobody came for.
    pub fn deadline(&self, now: Moment) -> Option<Moment> {
        let waits = !self.waiting.is_empty() && self.taken() < usize::from(self.policy.slots);
        let ready = waits.then(|| self.limit.ready_at(now));
        let tell = self.telling.deadline().map(|at| at.max(now));
        [ready, tell].into_iter().flatten().min()
    }

    /// Running transfers.
    pub fn running(&self) -> impl Iterator<Item = &Transfer> {
        self.running.iter().map(|running| &running.transfer)
    }

    /// Whether nothing runs or waits.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    fn transfers(&self) -> impl Iterator<Item = &Transfer> {
        self.running()
            .chain(self.waiting.iter().map(|waiting| &waiting.transfer))
    }
}

fn overlap(a: PieceRun, b: PieceRun) -> bool {
    u64::from(a.first.0) < b.end() && u64::from(b.first.0) < a.end()
}

#[cfg(test)]
mod tests;
