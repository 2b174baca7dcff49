//! What to do next: reveal, request, ask, import, report.

use types::{Layout, Moment, PieceIndex, PieceRun};

use super::{Download, State};
use crate::{
    HostNo,
    download::{
        Action, DownloadPolicy, Failure,
        import::ImportView,
        pick::{Choice, View},
        requests::Request,
    },
    estimate::Estimate,
    upload::SuperSeed,
};

impl Download {
    pub(super) fn plan(&mut self, now: Moment) {
        if matches!(self.state, State::Cancelled | State::Failed(_)) {
            return;
        }
        self.notice_silence(now);
        self.reveal(now);
        if self.state == State::Fetching {
            if self.demand.is_met(&self.have) {
                self.finish();
            } else {
                self.request(now);
                self.fail_if_refused();
            }
        }
        // What gives way reads the origin for others only.
        if self.slots > 0 {
            self.ask(now);
        }
        if self.slots > 0 || self.neighbours() > 0 {
            self.import(now);
        }
        self.report();
        self.tell_role();
    }

    /// Before this host turns to the origin on its own it asks the scheduler once whether the import goes on.
    pub(super) fn ask(&mut self, now: Moment) {
        let is_due = self
            .nervous_at()
            .is_some_and(|at| now >= at && self.asked_at < at);
        if is_due && self.state == State::Fetching {
            self.asked_at = now;
            self.out.push_back(Action::Ask);
        }
    }

    pub(super) fn finish(&mut self) {
        let dropped = self.requests.clear();
        self.cancel_all(dropped);
        self.state = State::Complete;
        self.out.push_back(Action::Complete);
    }

    pub(super) fn fail_if_refused(&mut self) {
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

    pub(super) fn reveal(&mut self, now: Moment) {
        let Some(seed) = &mut self.importing.seed else {
            return;
        };
        let (neighbours, chance) = (&self.neighbours, &mut self.chance);
        let has_room = |seed: &SuperSeed| {
            let mut children = neighbours.iter();
            children.any(|child| seed.has_room(child.host))
        };
        seed.recall(now);
        while seed.has_fresh() && has_room(seed) {
            let revealed = seed.next(now, |piece| {
                let mut children: Vec<HostNo> = neighbours.lacking(piece).collect();
                chance.shuffle(&mut children);
                children.into_iter()
            });
            let Some((piece, to)) = revealed else { break };
            self.out.push_back(Action::Reveal { to, piece });
        }
        let is_complete = self.have.is_full();
        if seed.is_over() || (self.importing.lease.is_none() && (is_complete || seed.unleft() == 0))
        {
            self.reveal_all();
        }
    }

    /// Somebody else may be named importer now: it must not read what is here.
    pub(super) fn hold_back_no_more(&mut self) {
        if self.importing.lease.is_none() && self.importing.seed.is_some() {
            self.reveal_all();
        }
    }

    fn reveal_all(&mut self) {
        self.importing.seed = None;
        let neighbours = self.neighbours.iter();
        for neighbour in neighbours.filter(|other| self.offer.has_more_than(&other.have)) {
            self.out.push_back(Action::RevealAll { to: neighbour.host });
        }
    }

    pub(super) fn request(&mut self, now: Moment) {
        while self.slots > 0 {
            let has_slot = self.requests.holding_slots() < usize::from(self.slots)
                && self.requests.len() < usize::from(self.slots + self.policy.ahead);
            let most = usize::from(self.slots + self.policy.ahead + self.policy.reveals);
            let mut choice = self.choose(now, has_slot);
            if choice.is_none() && self.requests.len() < most {
                choice = self.ask_importer(now);
            }
            let Some(choice) = choice else { return };
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

    pub(super) fn choose(&mut self, now: Moment, has_slot: bool) -> Option<Choice> {
        let follow_up = self.follow_up.take();
        let usual = self.usual();
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
            usual: neighbours.usual_time(),
            anyway: false,
        };
        let is_late = |request: &Request| now >= request.late_at(usual);
        // Two slow parents in both slots must not hold up a reader, or the end: one request goes beyond the slots.
        let may_hedge = has_slot || !requests.is_any_hedged();
        let may_take_reveal =
            requests.len() < usize::from(self.slots + policy.ahead + policy.reveals);
        if let Some(choice) = view.revealed().filter(|_| may_take_reveal) {
            return Some(choice);
        }
        view.anyway = true;
        let of_head = |request: &Request| is_late(request) && view.is_head(request);
        if let Some(choice) = view.hedge(chance, of_head).filter(|_| may_hedge) {
            return Some(choice);
        }
        if has_slot {
            view.anyway = false;
            let again = follow_up.and_then(|host| view.again(host, chance));
            if let Some(choice) = again.or_else(|| view.choose(chance)) {
                return Some(choice);
            }
            view.anyway = true;
            if let Some(choice) = view.choose(chance) {
                return Some(choice);
            }
        }
        let may_hedge = has_slot || (may_hedge && view.is_last());
        view.hedge(chance, is_late).filter(|_| may_hedge)
    }

    fn import_view(&self, now: Moment) -> ImportView<'_> {
        ImportView {
            now,
            layout: &self.layout,
            policy: &self.policy,
            have: &self.have,
            requested: self.requests.pieces(),
            demand: &self.demand,
            neighbours: &self.neighbours,
        }
    }

    /// What one request to the origin should cover for the `run` of an [`Action::Import`]: it, and what will most likely
    /// be imported next.
    pub fn reach(&self, now: Moment, run: PieceRun) -> PieceRun {
        self.importing.reach(&self.import_view(now), run)
    }

    pub(super) fn import(&mut self, now: Moment) {
        loop {
            let view = self.import_view(now);
            let leased = self
                .importing
                .next_leased(&view)
                .map(|run| (run, self.importing.lease.map(|lease| lease.epoch)));
            let alone = || {
                let is_due = self.unleased_at().is_some_and(|at| now >= at);
                let first = || is_due.then(|| self.importing.next_unleased(&view));
                (self.importing.next_alone(&view))
                    .or_else(|| first().flatten())
                    .filter(|_| self.slots > 0)
            };
            let Some((run, epoch)) = leased.or_else(|| alone().map(|run| (run, None))) else {
                return;
            };
            if epoch.is_some() {
                self.importing.begin(run, true);
            } else {
                self.importing.begin_alone(run);
                self.jitter = self.policy.head_wait_max.mul_f64(self.chance.fraction());
                self.motion.moved_at = now;
            }
            self.out.push_back(Action::Import { run, epoch });
        }
    }

    pub(super) fn report(&mut self) {
        let Some(lease) = self.importing.lease else {
            return;
        };
        let imported = self.have.len();
        let nowhere = |piece: &PieceIndex| self.neighbours.copies(*piece) == 0;
        let left = self.have.missing().filter(nowhere).count();
        let left = u32::try_from(left).unwrap_or(u32::MAX);
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
