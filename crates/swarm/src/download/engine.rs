//! The loop that ties the rooms together: events in, actions out.

use std::{collections::VecDeque, time::Duration};

use types::{Chance, Epoch, Layout, Moment, PieceIndex, PieceRun, PieceSet};

use super::{
    Action, DownloadPolicy, Event, Failure, Lease, Supplier,
    demand::Demand,
    import::{ImportView, Importing},
    neighbours::Neighbours,
    pick::{Choice, View},
    requests::{Phase, Request, Requests},
};
use crate::{HostNo, SlotHint, estimate::Estimate, upload::SuperSeed};

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
    demand: Demand,
    neighbours: Neighbours,
    requests: Requests,
    importing: Importing,
    state: State,
    slots: u8,
    /// From request to verified piece, over all parents.
    piece_time: Estimate,
    /// When something last showed that the swarm moves: a byte, an announcement, an acknowledgement.
    news_at: Moment,
    /// When a piece was last verified, or a reader last came to a missing one.
    blocked_since: Moment,
    /// Random part of the wait before this host turns to the origin on its own, drawn anew each time.
    jitter: Duration,
    /// When the scheduler was asked whether the import goes on.
    asked_at: Moment,
    stick: Option<HostNo>,
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
            have,
            demand: Demand::new(piece_count),
            neighbours: Neighbours::new(piece_count),
            requests: Requests::new(piece_count),
            importing: Importing::new(piece_count),
            state: State::Complete,
            slots: policy.slots,
            piece_time: Estimate::default(),
            news_at: Moment::ZERO,
            blocked_since: Moment::ZERO,
            jitter,
            asked_at: Moment::ZERO,
            stick: None,
            reported: None,
            out: VecDeque::new(),
            is_stirred: true,
        }
    }

    /// Takes in what happened. Unknown hosts, pieces and readers are ignored: a late message is no error.
    pub fn handle(&mut self, now: Moment, event: Event) {
        if matches!(self.state, State::Cancelled | State::Failed(_)) {
            return;
        }
        self.is_stirred = true;
        match event {
            Event::Joined { host, have, slots } => self.joined(now, host, have, slots),
            Event::Left { host } => self.left(host),
            Event::Has { host, run, slots } => self.has(now, host, run, slots),
            Event::Revealed { host, piece } => {
                self.news_at = now;
                self.neighbours.revealed(host, piece);
            }
            Event::Slots { host, slots } => self.slots_of(now, host, slots),
            Event::Busy { host, run } => {
                self.requests.refused(host, run);
                self.slots_of(now, host, SlotHint::default());
            }
            Event::Lacks { host, run } => {
                self.requests.refused(host, run);
                self.neighbours.lacks(host, run);
            }
            Event::Progress { host, piece } => {
                self.news_at = now;
                self.requests.progress(host, piece, now, false);
            }
            Event::Ending { host, piece } => {
                self.requests.progress(host, piece, now, true);
                self.stick = Some(host);
            }
            Event::Verified { piece, from } => self.verified(now, piece, from),
            Event::Void { piece } => self.void(piece),
            Event::Corrupt { piece, host } => self.corrupt(now, piece, host),
            Event::Leased(lease) => self.leased(now, lease),
            Event::LeaseEnded { epoch } => self.lease_ended(epoch),
            Event::ImportFailed { run, retry_at } => self.import_failed(run, retry_at),
            Event::Demanded { run } => self.importing.demand(run),
            Event::Acknowledged => self.news_at = now,
            Event::Read { .. }
            | Event::ReadAt { .. }
            | Event::ReadEnded { .. }
            | Event::WantAll(_) => {
                self.demand_changed(now, event);
            }
            Event::SetSlots(slots) => self.set_slots(slots),
            Event::Cancel => self.stop(State::Cancelled),
            Event::Tick => self.tick(now),
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

    /// When to send [`Event::Tick`], if nothing comes first.
    pub fn deadline(&self, now: Moment) -> Option<Moment> {
        if self.state != State::Fetching {
            return self.importing.deadline(now);
        }
        let requests = self
            .requests
            .iter()
            .map(|request| request.heard + self.patience(request))
            .min();
        let alone = self.unleased_at();
        let nervous = self.nervous_at().filter(|at| self.asked_at < *at);
        let probe = (self.requests.len() == 0).then(|| self.news_at + self.probe_after());
        let usable = self.neighbours.next_usable(now);
        let hard = self.news_at + self.policy.hard_limit;
        let deadline = [
            requests,
            alone,
            nervous,
            probe,
            usable,
            self.importing.deadline(now),
        ]
        .into_iter()
        .flatten()
        .fold(hard, Moment::min);
        // A deadline that passed without effect must not make the shell spin.
        Some(deadline.max(now + Duration::from_millis(1)))
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
            return self.have.clone();
        };
        let mut shown = PieceSet::empty(self.layout.piece_count());
        self.have
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

    /// Whether `host` lacks anything that we could give it, as far as we know.
    pub fn is_interesting_to(&self, host: HostNo) -> bool {
        self.neighbours
            .get(host)
            .is_some_and(|neighbour| self.have.has_more_than(&neighbour.have))
    }

    /// The neighbours that could use one of our slots: those that lack something we have.
    pub fn interested(&self) -> impl Iterator<Item = HostNo> + '_ {
        self.neighbours
            .iter()
            .filter(|neighbour| self.have.has_more_than(&neighbour.have))
            .map(|neighbour| neighbour.host)
    }

    /// What this download waits for, for people: each request with its parent, run and start.
    pub fn waits(&self) -> impl Iterator<Item = (HostNo, PieceRun, Moment)> + '_ {
        self.requests
            .iter()
            .map(|request| (request.from, request.run, request.since))
    }

    /// How many neighbours take part.
    pub fn neighbours(&self) -> usize {
        self.neighbours.iter().count()
    }

    /// Whether this host holds the lease.
    pub fn is_importer(&self) -> bool {
        self.importing.lease.is_some()
    }
}

/// What each event changes.
impl Download {
    fn joined(&mut self, now: Moment, host: HostNo, have: PieceSet, slots: SlotHint) {
        self.left(host);
        if have.piece_count() != self.layout.piece_count() {
            return;
        }
        self.news_at = now;
        have.iter()
            .for_each(|piece| self.seen_elsewhere(now, piece));
        self.neighbours.join(host, have, slots);
    }

    fn left(&mut self, host: HostNo) {
        self.requests.forget(host);
        self.neighbours.leave(host);
        if let Some(seed) = &mut self.importing.seed {
            seed.forget(host);
        }
    }

    fn has(&mut self, now: Moment, host: HostNo, run: PieceRun, slots: SlotHint) {
        if self.neighbours.has(host, run) {
            self.news_at = now;
        }
        run.pieces()
            .take(self.have.piece_count() as usize)
            .for_each(|piece| self.seen_elsewhere(now, piece));
        self.slots_of(now, host, slots);
    }

    fn seen_elsewhere(&mut self, now: Moment, piece: PieceIndex) {
        if let Some(seed) = &mut self.importing.seed {
            seed.left(piece, now);
        }
    }

    fn slots_of(&mut self, now: Moment, host: HostNo, slots: SlotHint) {
        let asked = self
            .requests
            .iter()
            .filter(|request| request.from == host && request.phase == Phase::Waiting)
            .count();
        let trusted = self.probe_after();
        if let Some(neighbour) = self.neighbours.get_mut(host) {
            neighbour.room = slots
                .room()
                .saturating_sub(u8::try_from(asked).unwrap_or(u8::MAX));
            neighbour.doubt_at = now + trusted;
        }
    }

    fn verified(&mut self, now: Moment, piece: PieceIndex, from: Supplier) {
        (self.news_at, self.blocked_since) = (now, now);
        let host = match from {
            Supplier::Host(host) => {
                if let Some(took) = self.requests.delivered(host, piece, now) {
                    self.piece_time.add(took);
                    if let Some(neighbour) = self.neighbours.get_mut(host) {
                        neighbour.health.delivered(took);
                    }
                }
                Some(host)
            }
            Supplier::Origin => None,
        };
        self.importing.arrived(piece);
        for request in self.requests.superseded(piece, host) {
            self.out.push_back(Action::Cancel {
                from: request.from,
                run: request.run,
            });
        }
        if !self.have.insert(piece) {
            return;
        }
        match (&mut self.importing.seed, from) {
            (Some(seed), Supplier::Origin) => seed.arrived(piece),
            (Some(seed), Supplier::Host(_)) => {
                seed.left(piece, now);
            }
            (None, _) => self.out.push_back(Action::Announce { piece }),
        }
    }

    fn void(&mut self, piece: PieceIndex) {
        if self.have.remove(piece) && self.state == State::Complete {
            self.state = State::Fetching;
        }
    }

    fn corrupt(&mut self, now: Moment, piece: PieceIndex, host: HostNo) {
        self.requests.refused(host, PieceRun::one(piece));
        let policy = self.policy;
        if let Some(neighbour) = self.neighbours.get_mut(host) {
            neighbour.health.lied(now, &policy);
            self.out.push_back(Action::Blame { host });
        }
    }

    fn leased(&mut self, now: Moment, lease: Lease) {
        self.news_at = now;
        let (have, neighbours, piece_count) =
            (&self.have, &self.neighbours, self.layout.piece_count());
        self.importing.leased(lease, || {
            let mut elsewhere = PieceSet::empty(piece_count);
            neighbours
                .iter()
                .for_each(|neighbour| elsewhere.union_with(&neighbour.have));
            SuperSeed::new(have, elsewhere)
        });
    }

    fn lease_ended(&mut self, epoch: Epoch) {
        if let Some(epoch) = self.importing.ended(epoch) {
            self.out.push_back(Action::StopImport { epoch });
        }
    }

    fn import_failed(&mut self, run: PieceRun, retry_at: Option<Moment>) {
        self.importing.failed(run, retry_at);
        if let (None, Some(lease)) = (retry_at, self.importing.lease) {
            self.out
                .push_back(Action::GiveUpLease { epoch: lease.epoch });
            self.lease_ended(lease.epoch);
        }
    }

    fn demand_changed(&mut self, now: Moment, event: Event) {
        let was_blocked = self.demand.blocked(&self.have).next().is_some();
        match event {
            Event::Read { reader, run } => self.demand.read(reader, run),
            Event::ReadAt { reader, at } => self.demand.read_at(reader, at),
            Event::ReadEnded { reader } => self.demand.read_ended(reader),
            Event::WantAll(all) => self.demand.want_all(all),
            _ => {}
        }
        if !was_blocked {
            self.blocked_since = now;
        }
        if self.state == State::Complete && !self.demand.is_met(&self.have) {
            self.state = State::Fetching;
            self.news_at = self.news_at.max(now);
        }
    }

    fn set_slots(&mut self, slots: u8) {
        self.slots = slots;
        if slots == 0 {
            let dropped = self.requests.clear();
            self.cancel_all(dropped);
        }
    }

    fn stop(&mut self, state: State) {
        let dropped = self.requests.clear();
        self.cancel_all(dropped);
        if let Some(lease) = self.importing.lease {
            self.out
                .push_back(Action::GiveUpLease { epoch: lease.epoch });
            self.lease_ended(lease.epoch);
        }
        self.state = state;
    }

    fn cancel_all(&mut self, requests: Vec<Request>) {
        for Request { from, run, .. } in requests {
            self.out.push_back(Action::Cancel { from, run });
        }
    }

    fn tick(&mut self, now: Moment) {
        if let Some(epoch) = self.importing.fence(now) {
            self.out.push_back(Action::StopImport { epoch });
        }
        let (policy, estimate) = (self.policy, self.piece_time);
        let neighbours = &self.neighbours;
        let overdue = self.requests.overdue(|request| {
            let own = neighbours
                .get(request.from)
                .map(|neighbour| *neighbour.health.piece_time());
            now >= request.heard + patience(own.unwrap_or_default(), estimate, &policy)
        });
        for request in &overdue {
            let patience = self.patience(request);
            if let Some(neighbour) = self.neighbours.get_mut(request.from) {
                neighbour.health.timed_out(now, patience);
                neighbour.room = 0;
            }
        }
        self.cancel_all(overdue);
        if self.state == State::Fetching && now >= self.news_at + self.policy.hard_limit {
            self.stop(State::Failed(Failure::Stalled));
            self.out.push_back(Action::Fail(Failure::Stalled));
        }
    }
}

/// What to do next.
impl Download {
    fn plan(&mut self, now: Moment) {
        if matches!(self.state, State::Cancelled | State::Failed(_)) {
            return;
        }
        self.reveal(now);
        if self.state == State::Fetching {
            if self.demand.is_met(&self.have) {
                self.finish();
            } else {
                self.request(now);
                self.fail_if_refused();
            }
        }
        self.ask(now);
        self.import(now);
        self.report();
    }

    /// Before this host turns to the origin on its own it asks the scheduler once whether the import goes on.
    fn ask(&mut self, now: Moment) {
        let is_due = self
            .nervous_at()
            .is_some_and(|at| now >= at && self.asked_at < at);
        if is_due && self.state == State::Fetching {
            self.asked_at = now;
            self.out.push_back(Action::Ask);
        }
    }

    fn finish(&mut self) {
        let dropped = self.requests.clear();
        self.cancel_all(dropped);
        self.state = State::Complete;
        self.out.push_back(Action::Complete);
    }

    fn fail_if_refused(&mut self) {
        let is_hopeless = self.importing.is_refused
            && self.requests.len() == 0
            && !self.neighbours.iter().any(|neighbour| {
                self.demand
                    .wanted()
                    .difference([&self.have])
                    .any(|piece| neighbour.have.contains(piece))
            });
        if is_hopeless {
            self.stop(State::Failed(Failure::Origin));
            self.out.push_back(Action::Fail(Failure::Origin));
        }
    }

    fn reveal(&mut self, now: Moment) {
        let Some(seed) = &mut self.importing.seed else {
            return;
        };
        let (neighbours, chance) = (&self.neighbours, &mut self.chance);
        while let Some((piece, to)) = seed.next(now, |piece| {
            let mut children: Vec<HostNo> = neighbours.lacking(piece).collect();
            chance.shuffle(&mut children);
            children.into_iter()
        }) {
            self.out.push_back(Action::Reveal { to, piece });
        }
        let is_complete = self.have.is_full();
        if seed.is_over() || (self.importing.lease.is_none() && (is_complete || seed.unleft() == 0))
        {
            self.importing.seed = None;
            for neighbour in self
                .neighbours
                .iter()
                .filter(|neighbour| self.have.has_more_than(&neighbour.have))
            {
                self.out.push_back(Action::RevealAll { to: neighbour.host });
            }
        }
    }

    fn request(&mut self, now: Moment) {
        while self.slots > 0 {
            let has_slot = self.requests.holding_slots() < usize::from(self.slots)
                && self.requests.len() < usize::from(self.slots + self.policy.ahead);
            let Some(choice) = self.choose(now, has_slot) else {
                return;
            };
            let trusted = self.probe_after();
            if let Some(neighbour) = self.neighbours.get_mut(choice.from) {
                let was_revealed = neighbour
                    .revealed
                    .iter()
                    .position(|piece| *piece == choice.run.first);
                match was_revealed {
                    Some(at) => drop(neighbour.revealed.swap_remove(at)),
                    None => {
                        neighbour.room = neighbour.room.saturating_sub(1);
                        neighbour.doubt_at = now + trusted;
                    }
                }
            }
            self.requests.add(choice.from, choice.run, now);
            self.out.push_back(Action::Request {
                from: choice.from,
                run: choice.run,
                urgent: choice.urgent,
            });
        }
    }

    fn choose(&mut self, now: Moment, has_slot: bool) -> Option<Choice> {
        let stick = self.stick.take();
        let Self {
            layout,
            policy,
            have,
            demand,
            neighbours,
            requests,
            importing,
            chance,
            piece_time,
            ..
        } = self;
        let mut view = View {
            now,
            layout,
            policy,
            have,
            importing: importing.pieces(),
            demand,
            neighbours,
            requests,
            run_max: run_max(piece_time, layout, policy),
            anyway: false,
        };
        let usual = piece_time.high().unwrap_or(policy.patience_max);
        let may_take_reveal =
            requests.len() < usize::from(self.slots + policy.ahead + policy.reveals);
        if let Some(choice) = view.revealed().filter(|_| may_take_reveal) {
            return Some(choice);
        }
        if !has_slot {
            return None;
        }
        if let Some(host) = stick
            && policy.sticky
            && let Some(choice) = view.again(host, chance)
        {
            return Some(choice);
        }
        if let Some(choice) = view.choose(chance) {
            return Some(choice);
        }
        view.anyway = true;
        view.choose(chance).or_else(|| {
            view.hedge(chance, |request| {
                request.phase != Phase::Ending
                    && now.since(request.since) > usual
                    && request.run.count == 1
            })
        })
    }

    fn import(&mut self, now: Moment) {
        loop {
            let view = ImportView {
                now,
                layout: &self.layout,
                policy: &self.policy,
                have: &self.have,
                requested: self.requests.pieces(),
                demand: &self.demand,
                neighbours: &self.neighbours,
            };
            let leased = self
                .importing
                .next_leased(&view)
                .map(|run| (run, self.importing.lease.map(|lease| lease.epoch)));
            let alone = || {
                self.unleased_at()
                    .filter(|at| now >= *at)
                    .and_then(|_| self.importing.next_unleased(&view))
            };
            let Some((run, epoch)) = leased.or_else(|| alone().map(|run| (run, None))) else {
                return;
            };
            self.importing.begin(run);
            if epoch.is_none() {
                self.jitter = self.policy.head_wait_max.mul_f64(self.chance.fraction());
                self.news_at = now;
            }
            self.out.push_back(Action::Import { run, epoch });
        }
    }

    fn report(&mut self) {
        let (Some(lease), Some(seed)) = (self.importing.lease, &self.importing.seed) else {
            return;
        };
        let imported = self.have.len();
        let left = imported
            - u32::try_from(seed.unleft())
                .unwrap_or(imported)
                .min(imported);
        let now = (lease.epoch, imported, left);
        if self.reported != Some(now) {
            self.reported = Some(now);
            self.out.push_back(Action::Report {
                epoch: lease.epoch,
                imported,
                left,
            });
        }
    }

    /// When a reader of ours has been blocked without any news for an adaptive time.
    fn nervous_at(&self) -> Option<Moment> {
        let is_blocked = self.demand.blocked(&self.have).next().is_some();
        let wait = self.piece_time.high().unwrap_or(self.policy.head_wait_max) * 4;
        let wait = wait.clamp(self.policy.patience_min, self.policy.head_wait_max);
        (is_blocked && self.importing.lease.is_none())
            .then(|| self.news_at.max(self.blocked_since) + wait)
    }

    /// When this host may read from the origin without a lease: a random time after it became nervous, so that there is
    /// time for an answer and not all blocked hosts go at once.
    fn unleased_at(&self) -> Option<Moment> {
        self.nervous_at()
            .map(|at| at + self.policy.patience_min + self.jitter)
    }

    /// How long to believe that nobody has room before asking somebody anyway.
    fn probe_after(&self) -> Duration {
        self.piece_time
            .mean()
            .unwrap_or(self.policy.patience_min)
            .min(self.policy.patience_max)
    }

    fn patience(&self, request: &Request) -> Duration {
        let own = self
            .neighbours
            .get(request.from)
            .map(|neighbour| *neighbour.health.piece_time());
        patience(own.unwrap_or_default(), self.piece_time, &self.policy)
    }
}

/// How long a request may be silent: twice what few pieces of this parent, or of all, take.
fn patience(own: Estimate, all: Estimate, policy: &DownloadPolicy) -> Duration {
    let usual = own.high().or(all.high()).unwrap_or(policy.patience_max);
    (usual * 2).clamp(policy.patience_min, policy.patience_max)
}

/// Pieces in one request: as many as pass in a few milliseconds, so that small pieces on quick links are not asked for
/// one by one, and never a large share of what the content has.
fn run_max(piece_time: &Estimate, layout: &Layout, policy: &DownloadPolicy) -> u32 {
    let by_bytes = policy.run_bytes_max.0 / layout.piece_length().0;
    let by_share = u64::from(layout.piece_count() / 32);
    let by_time = piece_time.mean().map_or(1, |mean| {
        u64::try_from(policy.run_time.as_nanos() / mean.as_nanos().max(1)).unwrap_or(u64::MAX)
    });
    u32::try_from(by_bytes.min(by_share).min(by_time))
        .unwrap_or(u32::MAX)
        .max(1)
}
