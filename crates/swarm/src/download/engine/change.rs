//! What each event changes.

use types::{Epoch, Moment, PieceIndex, PieceRun, PieceSet};

use super::{Download, State};
use crate::{
    HostNo, SlotHint,
    download::{
        Action, Event, Failure, Lease, Supplier,
        neighbours::Neighbour,
        requests::{Phase, Request},
    },
    upload::SuperSeed,
};

impl Download {
    pub(super) fn joined(
        &mut self,
        now: Moment,
        (host, slots): (HostNo, SlotHint),
        have: PieceSet,
    ) {
        self.left(host);
        if have.piece_count() != self.layout.piece_count() {
            return;
        }
        self.offered(now, have.iter());
        have.iter()
            .for_each(|piece| self.seen_elsewhere(now, piece));
        self.neighbours.join(host, have, slots);
    }

    pub(super) fn left(&mut self, host: HostNo) {
        self.requests.forget(host);
        let had = self.neighbours.leave(host);
        self.importing.forget(host);
        self.returned(had.iter().flat_map(PieceSet::iter));
    }

    /// A neighbour has these pieces no more: what nobody else has is ours alone again, to be revealed again.
    pub(super) fn returned(&mut self, pieces: impl Iterator<Item = PieceIndex>) {
        let Some(seed) = &mut self.importing.seed else {
            return;
        };
        for piece in pieces.take(self.have.piece_count() as usize) {
            if self.neighbours.copies(piece) == 0 {
                seed.returned(piece, self.offer.contains(piece));
            }
        }
    }

    pub(super) fn has(&mut self, now: Moment, (host, slots): (HostNo, SlotHint), run: PieceRun) {
        self.offered(now, run.pieces());
        self.neighbours.has(host, run);
        run.pieces()
            .take(self.have.piece_count() as usize)
            .for_each(|piece| self.seen_elsewhere(now, piece));
        self.slots_of(now, host, slots);
    }

    /// A neighbour shows these pieces, and is about to be noted as their holder. It is news only if something wanted and
    /// missing is among them that no neighbour had: what is known is said again for as long as anybody likes.
    pub(super) fn offered(&mut self, now: Moment, pieces: impl IntoIterator<Item = PieceIndex>) {
        let (wanted, have) = (self.demand.wanted(), &self.have);
        let is_news = |piece: PieceIndex| {
            wanted.contains(piece) && !have.contains(piece) && self.neighbours.copies(piece) == 0
        };
        let mut pieces = pieces.into_iter().take(have.piece_count() as usize);
        if pieces.any(is_news) {
            self.motion.offered_at = now;
            self.importing.not_alone();
        }
    }

    pub(super) fn seen_elsewhere(&mut self, now: Moment, piece: PieceIndex) {
        if let Some(seed) = &mut self.importing.seed {
            seed.left(piece, now);
        }
    }

    pub(super) fn slots_of(&mut self, now: Moment, host: HostNo, slots: SlotHint) {
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

    pub(super) fn verified(&mut self, now: Moment, piece: PieceIndex, from: Supplier) {
        let host = match from {
            Supplier::Host(host) => {
                self.importing.not_alone();
                if let Some(took) = self.requests.delivered(host, piece, now) {
                    self.piece_time.add(took);
                    if let Some(neighbour) = self.neighbours.get_mut(host) {
                        neighbour.health.delivered(took);
                    }
                }
                Some(host)
            }
            Supplier::Origin | Supplier::OriginAlone => None,
        };
        let demanded_by = self.importing.arrived(piece);
        for request in self.requests.superseded(piece, host) {
            self.out.push_back(Action::Cancel {
                from: request.from,
                run: request.run,
            });
        }
        if !self.have.insert(piece) {
            return;
        }
        self.motion.restart(now);
        if from == Supplier::OriginAlone {
            return;
        }
        self.offer.insert(piece);
        match (&mut self.importing.seed, host) {
            (Some(seed), None) => seed.arrived(piece),
            (Some(seed), Some(_)) => {
                seed.left(piece, now);
            }
            (None, _) => self.out.push_back(Action::Announce { piece }),
        }
        let child = demanded_by.filter(|child| self.neighbours.get(*child).is_some());
        if let (Some(seed), Some(to)) = (&mut self.importing.seed, child) {
            seed.reveal_to(to, piece, now);
            self.out.push_back(Action::Reveal { to, piece });
        }
    }

    pub(super) fn void(&mut self, piece: PieceIndex) {
        self.offer.remove(piece);
        if self.have.remove(piece) && self.state == State::Complete {
            self.state = State::Fetching;
        }
    }

    pub(super) fn void_all(&mut self, now: Moment) {
        let dropped = self.requests.clear();
        self.cancel_all(dropped);
        if let Some(lease) = self.importing.lease {
            self.out
                .push_back(Action::GiveUpLease { epoch: lease.epoch });
            self.lease_ended(lease.epoch);
        }
        self.importing.restart();
        self.have = PieceSet::empty(self.layout.piece_count());
        self.offer = self.have.clone();
        (self.reported, self.follow_up) = (None, None);
        self.motion.restart(now);
        self.state = State::Fetching;
    }

    pub(super) fn corrupt(&mut self, now: Moment, piece: PieceIndex, host: HostNo) {
        self.requests.refused(host, PieceRun::one(piece));
        let policy = self.policy;
        if let Some(neighbour) = self.neighbours.get_mut(host) {
            neighbour.health.lied(now, &policy);
            self.out.push_back(Action::Blame { host });
        }
    }

    pub(super) fn leased(&mut self, now: Moment, lease: Lease) {
        if self.lease().is_none_or(|held| held.epoch < lease.epoch) {
            self.motion.acknowledged_at = now;
        }
        if self.importing.seed.is_none() {
            // Before it imports nobody has anything to tell it.
            self.neighbours.excuse_all(now);
        }
        let (have, neighbours, piece_count) =
            (&self.offer, &self.neighbours, self.layout.piece_count());
        self.importing.leased(lease, || {
            let mut elsewhere = PieceSet::empty(piece_count);
            neighbours
                .iter()
                .for_each(|neighbour| elsewhere.union_with(&neighbour.have));
            SuperSeed::new(have, elsewhere)
        });
    }

    pub(super) fn lease_ended(&mut self, epoch: Epoch) {
        if let Some(epoch) = self.importing.ended(epoch) {
            self.out.push_back(Action::StopImport { epoch });
        }
    }

    pub(super) fn import_failed(&mut self, run: PieceRun, retry_at: Option<Moment>) {
        self.importing.failed(run, retry_at);
        if let (None, Some(lease)) = (retry_at, self.importing.lease) {
            self.out
                .push_back(Action::GiveUpLease { epoch: lease.epoch });
            self.lease_ended(lease.epoch);
            self.hold_back_no_more();
        }
    }

    pub(super) fn demand_changed(&mut self, now: Moment, event: Event) {
        let was_blocked = self.demand.blocked(&self.have).next().is_some();
        match event {
            Event::Read { reader, run } => self.demand.read(reader, run),
            Event::ReadAt { reader, at } => self.demand.read_at(reader, at),
            Event::ReadEnded { reader } => self.demand.read_ended(reader),
            Event::WantAll(all) => self.demand.want_all(all),
            _ => {}
        }
        if !was_blocked {
            self.motion.moved_at = now;
        }
        if self.state == State::Complete && !self.demand.is_met(&self.have) {
            self.state = State::Fetching;
            self.motion.restart(now);
        }
    }

    pub(super) fn set_slots(&mut self, now: Moment, slots: u8) {
        if self.slots == 0 && slots > 0 {
            // The silence while it gave way says nothing of the swarm.
            self.motion.restart(now);
        }
        self.slots = slots;
        if slots == 0 {
            let dropped = self.requests.clear();
            self.cancel_all(dropped);
        }
    }

    pub(super) fn stop(&mut self, state: State) {
        let dropped = self.requests.clear();
        self.cancel_all(dropped);
        if let Some(lease) = self.importing.lease {
            self.out
                .push_back(Action::GiveUpLease { epoch: lease.epoch });
            self.lease_ended(lease.epoch);
        }
        self.state = state;
    }

    pub(super) fn cancel_all(&mut self, requests: Vec<Request>) {
        for Request { from, run, .. } in requests {
            self.out.push_back(Action::Cancel { from, run });
        }
    }

    pub(super) fn tick(&mut self, now: Moment) {
        if let Some(epoch) = self.importing.fence(now) {
            self.out.push_back(Action::StopImport { epoch });
        }
        let overdue: Vec<(HostNo, PieceRun)> = (self.requests.iter())
            .filter(|request| {
                let is_silent = now >= request.heard + self.patience(request);
                let drips = now >= self.drips_from(request);
                let is_elsewhere = |neighbour: &Neighbour| {
                    neighbour.host != request.from
                        && neighbour.have.contains(request.run.first)
                        && neighbour.health.is_usable(now)
                };
                is_silent || (drips && self.neighbours.iter().any(is_elsewhere))
            })
            .map(|request| (request.from, request.run))
            .collect();
        let is_meant = |request: &Request| overdue.contains(&(request.from, request.run));
        let overdue = self.requests.overdue(is_meant);
        for request in &overdue {
            let patience = self.patience(request);
            if let Some(neighbour) = self.neighbours.get_mut(request.from) {
                neighbour.health.timed_out(now, patience);
                neighbour.room = 0;
            }
        }
        self.cancel_all(overdue);
        if self.state == State::Fetching
            && self.slots > 0
            && now >= self.motion.ends_at(&self.policy)
        {
            self.stop(State::Failed(Failure::Stalled));
            self.out.push_back(Action::Fail(Failure::Stalled));
        }
    }
}
