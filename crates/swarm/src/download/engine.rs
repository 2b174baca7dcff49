//! The loop that ties the rooms together: events in (`change`), actions out (`plan`), deadlines (`clock`).

mod change;
mod clock;
mod importer;
mod plan;
mod silent;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use types::{Chance, Epoch, Layout, Moment, PieceIndex, PieceRun, PieceSet};

use super::{
    Action, DownloadPolicy, Event, Failure, Lease, demand::Demand, import::Importing,
    neighbours::Neighbours, requests::Requests,
};
use crate::{HostNo, SlotHint, estimate::Estimate};
use clock::Motion;
use importer::Asked;

/// Where a download stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Something wanted is missing.
    Fetching,
    /// Everything wanted is here.
    Complete,
    /// It can't go on.
    Failed(Failure),
    /// It was cancelled.
    Cancelled,
}

/// One peer in one task. Create it, feed it [`Event`]s, carry out its [`Action`]s, and wake it at its deadline.
#[derive(Debug)]
pub struct Download {
    layout: Layout,
    policy: DownloadPolicy,
    chance: Chance,
    have: PieceSet,
    /// What others may have of it: the pieces that somebody vouches for whom they believe.
    offer: PieceSet,
    demand: Demand,
    neighbours: Neighbours,
    requests: Requests,
    importing: Importing,
    state: State,
    slots: u8,
    /// From request to verified piece, over all parents.
    piece_time: Estimate,
    /// What showed that this download moves, and when.
    motion: Motion,
    /// Random part of the wait before this host turns to the origin on its own, drawn anew each time.
    jitter: Duration,
    /// When the scheduler was asked whether the import goes on.
    asked_at: Moment,
    /// The wake-up that was asked for last.
    wakes_at: Option<Moment>,
    /// What importers were asked for before anybody showed it. Bounded.
    asked: Vec<Asked>,
    /// Whether the neighbours were told that this host imports.
    told_importer: bool,
    /// A parent whose transfer is about to end: it keeps the slot for our next request.
    follow_up: Option<HostNo>,
    reported: Option<(Epoch, u32, u32)>,
    out: VecDeque<Action>,
    /// Whether anything happened since the last time nothing was left to do.
    is_stirred: bool,
}

impl Download {
    /// A peer that holds `have` of a content laid out as `layout`, and wants nothing yet.
    pub fn new(layout: Layout, have: PieceSet, policy: DownloadPolicy, mut chance: Chance) -> Self {
        let piece_count = layout.piece_count();
        let jitter = policy.head_wait_max.mul_f64(chance.fraction());
        Self {
            layout,
            policy,
            chance,
            offer: have.clone(),
            have,
            demand: Demand::new(piece_count),
            neighbours: Neighbours::new(piece_count),
            requests: Requests::new(piece_count),
            importing: Importing::new(piece_count),
            state: State::Complete,
            slots: policy.slots,
            piece_time: Estimate::default(),
            motion: Motion::default(),
            jitter,
            asked_at: Moment::ZERO,
            wakes_at: None,
            asked: Vec::new(),
            told_importer: false,
            follow_up: None,
            reported: None,
            out: VecDeque::new(),
            is_stirred: true,
        }
    }

    /// Nobody else would believe in `pieces`, which are here: they are of use here alone, and not shown.
    pub fn keep(&mut self, pieces: impl Iterator<Item = PieceIndex>) {
        for piece in pieces {
            self.offer.remove(piece);
        }
    }

    /// Takes in what happened. Unknown hosts, pieces and readers are ignored: a late message is no error.
    pub fn handle(&mut self, now: Moment, event: Event) {
        if matches!(self.state, State::Cancelled | State::Failed(_)) {
            return;
        }
        self.is_stirred = true;
        self.wake_up(now);
        let said_by = event.said_by();
        match event {
            Event::Joined { host, have, slots } => self.joined(now, (host, slots), have),
            Event::Left { host } => self.left(host),
            Event::Has { host, run, slots } => self.has(now, (host, slots), run),
            Event::Revealed { host, piece } => {
                self.offered(now, [piece]);
                self.neighbours.revealed(host, piece);
                if self.have.contains(piece) && !self.offer.contains(piece) {
                    self.out.push_back(Action::Admit { to: host, piece });
                }
            }
            Event::Slots { host, slots } => self.slots_of(now, host, slots),
            Event::Busy { host, run } => {
                self.requests.refused(host, run);
                self.slots_of(now, host, SlotHint::default());
            }
            Event::Importer { host, is_importer } => {
                if let Some(neighbour) = self.neighbours.get_mut(host) {
                    neighbour.is_importer = is_importer;
                }
            }
            Event::Lacks { host, run } => self.lacks(now, host, run),
            Event::Progress { host, piece } => {
                self.requests.progress((host, piece), now, false);
            }
            Event::HeldBack { host } => {
                if self.requests.excuse(host, now) {
                    self.motion.restart(now);
                }
            }
            Event::Ending { host, piece } => {
                self.requests.progress((host, piece), now, true);
                self.follow_up = Some(host);
            }
            Event::Verified { piece, from } => self.verified(now, piece, from),
            Event::Void { piece } => self.void(piece),
            Event::VoidAll => self.void_all(now),
            Event::Corrupt { piece, host } => self.corrupt(now, piece, host),
            Event::Vouched => self.offer = self.have.clone(),
            Event::Leased(lease) => self.leased(now, lease),
            Event::LeaseEnded { epoch } => {
                self.motion.acknowledged_at = now;
                self.lease_ended(epoch);
                self.hold_back_no_more();
            }
            Event::SchedulerAway(is_away) => self.importing.scheduler_away(is_away),
            Event::ImportFailed { run, retry_at } => self.import_failed(run, retry_at),
            Event::Demanded { run, by } => self.demanded(run, by),
            Event::Acknowledged => {
                self.motion.acknowledged_at = now;
                self.importing.not_alone();
            }
            Event::NobodyImports => self.importing.go_alone(),
            Event::Read { .. }
            | Event::ReadAt { .. }
            | Event::ReadEnded { .. }
            | Event::WantAll(_) => {
                self.demand_changed(now, event);
            }
            Event::SetSlots(slots) => self.set_slots(now, slots),
            Event::Cancel => self.stop(State::Cancelled),
            Event::Tick => self.tick(now),
        }
        if let Some(host) = said_by {
            self.heard(now, host);
        }
    }

    /// The next thing to do; call until `None` after each event.
    pub fn next_action(&mut self, now: Moment) -> Option<Action> {
        if self.out.is_empty() && self.is_stirred {
            self.plan(now);
            self.is_stirred = !self.out.is_empty();
        }
        self.out.pop_front()
    }

    /// When to send [`Event::Tick`], if nothing comes first. Ask again after each event.
    pub fn deadline(&mut self, now: Moment) -> Option<Moment> {
        self.wakes_at = self.next_deadline(now);
        self.wakes_at
    }

    fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let soon = now + Duration::from_millis(1);
        match self.state {
            State::Cancelled | State::Failed(_) => return None,
            State::Complete | State::Fetching if self.slots == 0 => {
                return self.importing_deadline(now).map(|at| at.max(soon));
            }
            State::Complete => return self.importing_deadline(now).map(|at| at.max(soon)),
            State::Fetching => {}
        }
        let requests = self
            .requests
            .iter()
            .map(|request| request.heard + self.patience(request))
            .min();
        // What is over has had its effect, or can have none before something else happens.
        let ahead = |at: &Moment| *at > now;
        let alone = self.unleased_at().filter(ahead);
        let nervous = self.nervous_at().filter(ahead);
        let probe = self.neighbours.next_doubt(now);
        let usable = self.neighbours.next_usable(now);
        let hedge = self.requests.iter().map(|held| self.late_at(held));
        let hedge = hedge.filter(ahead).min();
        let drips = self.requests.iter().map(|held| self.drips_from(held));
        let drips = drips.filter(ahead).min();
        let hard = self.motion.ends_at(&self.policy);
        let deadline = [
            requests,
            alone,
            nervous,
            probe,
            usable,
            hedge,
            drips,
            self.ask_again_at(now),
            self.importing_deadline(now),
        ]
        .into_iter()
        .flatten()
        .fold(hard, Moment::min);
        // A deadline that passed without effect must not make the shell spin.
        Some(deadline.max(soon))
    }

    fn importing_deadline(&self, now: Moment) -> Option<Moment> {
        let both = [self.importing.deadline(now), self.silence_at()];
        both.into_iter().flatten().min()
    }

    /// The pieces that are here and verified.
    pub fn have(&self) -> &PieceSet {
        &self.have
    }

    /// Where the download stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// How the content is cut.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The neighbours to tell of `piece`: those that lack it.
    pub fn audience(&self, piece: PieceIndex) -> impl Iterator<Item = HostNo> + '_ {
        self.neighbours.audience(piece)
    }

    /// What `host` may know of our pieces: all, or while we super-seed only what was revealed to it.
    pub fn shown_to(&self, host: HostNo) -> PieceSet {
        let Some(seed) = &self.importing.seed else {
            return self.offer.clone();
        };
        let mut shown = PieceSet::empty(self.layout.piece_count());
        self.offer
            .iter()
            .filter(|piece| seed.is_revealed_to(*piece, host))
            .for_each(|piece| {
                shown.insert(piece);
            });
        shown
    }

    /// Whether all of `run` was revealed to `host` while it is held back from others: a place was kept for it.
    pub fn is_invited(&self, host: HostNo, run: PieceRun) -> bool {
        let seed = self.importing.seed.as_ref();
        seed.is_some_and(|seed| run.pieces().all(|piece| seed.is_revealed_to(piece, host)))
    }

    /// Whether `host` lacks anything that we could give it, as far as we know: then the slot of a transfer to it that is
    /// about to end is kept for its next request. Kept only for who is not far ahead of others, the slowest of 1,000
    /// simulated hosts comes 0.01 of the content's time sooner, but on 17 real ones the slots that are not kept stay
    /// empty for long enough to cost 0.10.
    pub fn is_interesting_to(&self, host: HostNo) -> bool {
        self.neighbours
            .get(host)
            .is_some_and(|neighbour| self.offer.has_more_than(&neighbour.have))
    }

    /// The neighbours that could use one of our slots: those that lack something we have.
    pub fn interested(&self) -> impl Iterator<Item = HostNo> + '_ {
        self.neighbours
            .iter()
            .filter(|neighbour| self.offer.has_more_than(&neighbour.have))
            .map(|neighbour| neighbour.host)
    }

    /// The neighbours to tell of a free slot, for [`crate::upload::Uploads::whom_to_tell`]: those that could use one, the
    /// furthest behind first and random among equals, so that nobody is left behind the swarm.
    pub fn hungriest(&mut self) -> Vec<HostNo> {
        let mut hungry: Vec<(u32, HostNo)> = (self.neighbours.iter())
            .filter(|neighbour| self.offer.has_more_than(&neighbour.have))
            .map(|neighbour| (neighbour.have.len(), neighbour.host))
            .collect();
        self.chance.shuffle(&mut hungry);
        hungry.sort_by_key(|(pieces, _)| *pieces);
        hungry.into_iter().map(|(_, host)| host).collect()
    }

    /// What this download waits for, for people: each request with its parent, run, start, and when another parent is asked
    /// if nothing more comes.
    pub fn waits(&self) -> impl Iterator<Item = (HostNo, PieceRun, Moment, Moment)> + '_ {
        self.requests.iter().map(|request| {
            let until = request.heard + self.patience(request);
            (request.from, request.run, request.since, until)
        })
    }

    /// The runs that it reads from the origin now.
    pub fn origin_runs(&self) -> impl Iterator<Item = PieceRun> + '_ {
        self.importing.running()
    }

    /// Until when the origin is left alone, after it failed.
    pub fn origin_rests_until(&self) -> Moment {
        self.importing.retry_at()
    }

    /// Since when nothing came, and when that ends the download.
    pub fn silence(&self) -> (Moment, Moment) {
        let since = self.motion.verified_at();
        (since, self.motion.ends_at(&self.policy))
    }

    /// When this host reads from the origin without a lease, if nothing else happens.
    pub fn goes_alone_at(&self) -> Option<Moment> {
        self.unleased_at()
    }

    /// How many neighbours take part.
    pub fn neighbours(&self) -> usize {
        self.neighbours.iter().count()
    }

    /// The lease this host holds.
    pub fn lease(&self) -> Option<Lease> {
        self.importing.lease
    }

    /// Whether this host imports although its lease ran out, since no scheduler is there to renew it.
    pub fn is_caretaker(&self) -> bool {
        self.importing.is_caretaker()
    }

    /// Runs that are read from the origin, and pieces that are to come of them.
    #[cfg(test)]
    pub(super) fn reads(&self) -> (usize, u32) {
        self.importing.reads()
    }

    /// Whether this host holds the lease.
    pub fn is_importer(&self) -> bool {
        self.importing.lease.is_some()
    }
}
