//! What is on its way from parents.

use std::time::Duration;

use types::{Moment, PieceIndex, PieceRun, PieceSet};

use crate::HostNo;

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Sent; no byte came yet.
    Waiting,
    /// Bytes come in.
    Running,
    /// About one round trip of it is left.
    Ending,
}

/// A run asked of one parent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) from: HostNo,
    pub(crate) run: PieceRun,
    pub(crate) phase: Phase,
    /// When it was sent; for the pieces of a run after the first, when the one before was verified.
    pub(crate) since: Moment,
    /// From when on its slowness counts: `since`, or when our own limit last held it back.
    pub(crate) judged_from: Moment,
    /// When anything was heard of it last.
    pub(crate) heard: Moment,
}

impl Request {
    /// When it takes longer than `usual`. One that is about to end gets twice the time.
    pub(crate) fn late_at(&self, usual: Duration) -> Moment {
        let times = if self.phase == Phase::Ending { 2 } else { 1 };
        self.judged_from + usual * times
    }
}

/// All requests of one download. Invariant: `pieces` is the union of their runs less what was verified.
#[derive(Debug)]
pub(crate) struct Requests {
    list: Vec<Request>,
    pieces: PieceSet,
}

impl Requests {
    pub(crate) fn new(piece_count: u32) -> Self {
        Self {
            list: Vec::new(),
            pieces: PieceSet::empty(piece_count),
        }
    }

    pub(crate) fn add(&mut self, from: HostNo, run: PieceRun, now: Moment) {
        self.pieces.insert_run(run);
        self.list.push(Request {
            from,
            run,
            phase: Phase::Waiting,
            since: now,
            judged_from: now,
            heard: now,
        });
    }

    /// Pieces that are on their way.
    pub(crate) fn pieces(&self) -> &PieceSet {
        &self.pieces
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Request> {
        self.list.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Requests that hold a slot: all that run, but for those about to end.
    pub(crate) fn holding_slots(&self) -> usize {
        self.list
            .iter()
            .filter(|request| request.phase != Phase::Ending)
            .count()
    }

    /// Bytes of `piece` came from `host`, or it is about to end.
    pub(crate) fn progress(
        &mut self,
        (host, piece): (HostNo, PieceIndex),
        now: Moment,
        is_ending: bool,
    ) {
        if let Some(request) = self.find(host, piece) {
            request.heard = now;
            let is_last = u64::from(piece.0) + 1 == request.run.end();
            // More bytes of a piece that is about to end do not take that back.
            let is_near = is_ending || request.phase == Phase::Ending;
            request.phase = if is_near && is_last {
                Phase::Ending
            } else {
                Phase::Running
            };
        }
    }

    /// Silence of `host` up to now says nothing of it. False if nothing was asked of it.
    pub(crate) fn excuse(&mut self, host: HostNo, now: Moment) -> bool {
        let of_host = self.list.iter_mut().filter(|request| request.from == host);
        let excused = of_host.map(|request| (request.heard, request.judged_from) = (now, now));
        excused.count() > 0
    }

    /// No silence up to now says anything of anybody.
    pub(crate) fn excuse_all(&mut self, now: Moment) {
        for request in &mut self.list {
            (request.heard, request.judged_from) = (now, now);
        }
    }

    /// `piece` came from `host`: how long it took, if it was asked for.
    pub(crate) fn delivered(
        &mut self,
        host: HostNo,
        piece: PieceIndex,
        now: Moment,
    ) -> Option<Duration> {
        let request = self.find(host, piece)?;
        let took = now.since(request.since);
        (request.since, request.heard, request.phase) = (now, now, Phase::Running);
        request.judged_from = now;
        let rest = PieceRun {
            first: PieceIndex(piece.0 + 1),
            count: u32::try_from(request.run.end() - u64::from(piece.0) - 1).unwrap_or(0),
        };
        if rest.count == 0 {
            self.remove(|request| request.from == host && request.run.contains(piece));
        } else {
            request.run = rest;
            self.derive();
        }
        Some(took)
    }

    /// Requests that stand at `piece` and are of others than `host`: who is overtaken is slow, so they are dropped with
    /// all that would follow, and returned.
    pub(crate) fn superseded(&mut self, piece: PieceIndex, host: Option<HostNo>) -> Vec<Request> {
        self.remove(|request| request.run.first == piece && Some(request.from) != host)
    }

    /// Whether a piece is asked of two parents.
    pub(crate) fn is_any_hedged(&self) -> bool {
        (self.list.iter()).any(|request| self.suppliers(request.run.first) > 1)
    }

    /// Drops what overlaps `run` at `host`.
    pub(crate) fn refused(&mut self, host: HostNo, run: PieceRun) -> Vec<Request> {
        self.remove(|request| {
            request.from == host && run.pieces().any(|piece| request.run.contains(piece))
        })
    }

    /// Drops everything asked of `host`.
    pub(crate) fn forget(&mut self, host: HostNo) -> Vec<Request> {
        self.remove(|request| request.from == host)
    }

    /// Drops and returns the requests for which `is_overdue` holds.
    pub(crate) fn overdue(&mut self, is_overdue: impl Fn(&Request) -> bool) -> Vec<Request> {
        self.remove(is_overdue)
    }

    /// Drops and returns everything.
    pub(crate) fn clear(&mut self) -> Vec<Request> {
        self.remove(|_| true)
    }

    /// How many parents are asked for `piece`.
    pub(crate) fn suppliers(&self, piece: PieceIndex) -> usize {
        self.list
            .iter()
            .filter(|request| request.run.contains(piece))
            .count()
    }

    fn find(&mut self, host: HostNo, piece: PieceIndex) -> Option<&mut Request> {
        self.list
            .iter_mut()
            .find(|request| request.from == host && request.run.contains(piece))
    }

    fn remove(&mut self, is_meant: impl Fn(&Request) -> bool) -> Vec<Request> {
        if !self.list.iter().any(&is_meant) {
            return Vec::new();
        }
        let (gone, kept) = std::mem::take(&mut self.list)
            .into_iter()
            .partition(is_meant);
        self.list = kept;
        self.derive();
        gone
    }

    fn derive(&mut self) {
        self.pieces = PieceSet::empty(self.pieces.piece_count());
        for request in &self.list {
            self.pieces.insert_run(request.run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u32, count: u32) -> PieceRun {
        PieceRun {
            first: PieceIndex(first),
            count,
        }
    }

    #[test]
    fn a_run_shrinks_as_its_pieces_come_and_frees_its_slot_near_the_end() {
        let mut requests = Requests::new(8);
        requests.add(HostNo(1), run(2, 3), Moment(0));
        assert_eq!(
            requests.delivered(HostNo(1), PieceIndex(2), Moment(5)),
            Some(Duration::from_nanos(5))
        );
        assert_eq!(
            requests.pieces().iter().map(|p| p.0).collect::<Vec<_>>(),
            [3, 4]
        );
        requests.progress((HostNo(1), PieceIndex(3)), Moment(6), true);
        assert_eq!(
            requests.holding_slots(),
            1,
            "one more piece of the run follows"
        );
        requests.delivered(HostNo(1), PieceIndex(3), Moment(7));
        requests.progress((HostNo(1), PieceIndex(4)), Moment(8), true);
        assert_eq!((requests.holding_slots(), requests.len()), (0, 1));
        requests.progress((HostNo(1), PieceIndex(4)), Moment(8), false);
        assert_eq!(requests.holding_slots(), 0, "the rest of it comes");
        requests.delivered(HostNo(1), PieceIndex(4), Moment(9));
        assert_eq!((requests.len(), requests.pieces().len()), (0, 0));
        assert_eq!(
            requests.delivered(HostNo(1), PieceIndex(4), Moment(9)),
            None
        );
    }

    #[test]
    fn a_piece_stays_on_its_way_while_one_of_two_requests_lives() {
        let mut requests = Requests::new(8);
        requests.add(HostNo(1), run(2, 1), Moment(0));
        requests.add(HostNo(2), run(2, 1), Moment(0));
        assert_eq!(requests.suppliers(PieceIndex(2)), 2);
        requests.refused(HostNo(1), run(0, 8));
        assert!(requests.pieces().contains(PieceIndex(2)));
        assert_eq!(requests.superseded(PieceIndex(2), None).len(), 1);
        assert!(requests.pieces().is_empty());
    }
}
