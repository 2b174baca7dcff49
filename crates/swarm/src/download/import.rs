//! Reading the origin: under a lease, or as a last resort for a blocked reader.

use types::{ByteCount, Epoch, Layout, Moment, PieceIndex, PieceRun, PieceSet};

use super::{DownloadPolicy, demand::Demand, neighbours::Neighbours};
use crate::{HostNo, upload::SuperSeed};

/// The right to import a run of pieces, as its holder keeps it: `until` is on the holder's own clock, already less the
/// margin, so that the holder stops before anybody else may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its generation.
    pub epoch: Epoch,
    /// What may be read.
    pub run: PieceRun,
    /// When it ends unless renewed.
    pub until: Moment,
}

/// What the choice of the next import depends on.
pub(crate) struct ImportView<'a> {
    pub(crate) now: Moment,
    pub(crate) layout: &'a Layout,
    pub(crate) policy: &'a DownloadPolicy,
    pub(crate) have: &'a PieceSet,
    pub(crate) requested: &'a PieceSet,
    pub(crate) demand: &'a Demand,
    pub(crate) neighbours: &'a Neighbours,
}

impl ImportView<'_> {
    /// Whether `piece` of `run` is to come from the origin: it is not here, and no host brings it.
    fn is_for_origin(&self, run: PieceRun, piece: PieceIndex) -> bool {
        run.contains(piece)
            && self.layout.contains(piece)
            && !self.have.contains(piece)
            && !self.requested.contains(piece)
            && !self.neighbours.is_offered(piece, self.now)
    }
}

/// A run that is being read.
#[derive(Clone, Copy, Debug)]
struct Running {
    run: PieceRun,
    /// It ends with the lease.
    is_leased: bool,
}

/// The import side of one download.
///
/// Invariants: `pieces` is the union of `running`; `seed` lives while a lease is held and pieces are held back.
#[derive(Debug)]
pub(crate) struct Importing {
    pub(crate) lease: Option<Lease>,
    /// Kept after the lease ran out by our own clock, until everything held has left or the task is over.
    pub(crate) seed: Option<SuperSeed>,
    newest_epoch: Epoch,
    running: Vec<Running>,
    pieces: PieceSet,
    /// Pieces that children asked for before they were imported, and who was the first. Bounded.
    demanded: Vec<(PieceIndex, HostNo)>,
    retry_at: Moment,
    /// The origin refused for good.
    pub(crate) is_refused: bool,
    /// No scheduler can be reached.
    is_away: bool,
    /// The lease is over by our own clock, and nobody could renew it or give it to another: we go on in its place.
    is_caretaker: bool,
    /// A lease that ran out by our own clock while a scheduler seemed to be there.
    lapsed: Option<Lease>,
    /// Runs that were read for a blocked reader, without a lease, since anybody was last heard of.
    alone: u32,
}

impl Importing {
    const DEMANDED_MAX: usize = 64;

    pub(crate) fn new(piece_count: u32) -> Self {
        Self {
            lease: None,
            seed: None,
            newest_epoch: Epoch::default(),
            running: Vec::new(),
            pieces: PieceSet::empty(piece_count),
            demanded: Vec::new(),
            retry_at: Moment::ZERO,
            is_refused: false,
            is_away: false,
            is_caretaker: false,
            lapsed: None,
            alone: 0,
        }
    }

    /// Pieces that are being read from the origin.
    pub(crate) fn pieces(&self) -> &PieceSet {
        &self.pieces
    }

    /// Takes or renews a lease. Older epochs than the newest seen are ignored.
    pub(crate) fn leased(&mut self, lease: Lease, seed: impl FnOnce() -> SuperSeed) {
        if lease.epoch >= self.newest_epoch {
            self.newest_epoch = lease.epoch;
            self.lease = Some(lease);
            (self.is_caretaker, self.lapsed) = (false, None);
            (self.is_refused, self.alone) = (false, 0);
            self.seed.get_or_insert_with(seed);
        }
    }

    /// The lease of `epoch` and all older ones are over. Returns the epoch to stop, if one was held.
    pub(crate) fn ended(&mut self, epoch: Epoch) -> Option<Epoch> {
        self.newest_epoch = self.newest_epoch.max(epoch);
        self.lapsed.take_if(|lease| lease.epoch <= epoch);
        let held = self.lease.take_if(|lease| lease.epoch <= epoch)?;
        self.is_caretaker = false;
        self.demanded.clear();
        let leased: Vec<Running> = self
            .running
            .extract_if(.., |running| running.is_leased)
            .collect();
        for piece in leased.iter().flat_map(|running| running.run.pieces()) {
            self.pieces.remove(piece);
        }
        Some(held.epoch)
    }

    /// Nothing that was imported counts: begins anew, once there is a lease again.
    pub(crate) fn restart(&mut self) {
        (self.seed, self.lapsed) = (None, None);
        (self.is_refused, self.alone) = (false, 0);
        self.pieces = PieceSet::empty(self.pieces.piece_count());
        self.running.clear();
    }

    /// Ends the lease if its time is over: the holder stops by its own clock, unless no scheduler is there that could
    /// have renewed it or named another importer.
    pub(crate) fn fence(&mut self, now: Moment) -> Option<Epoch> {
        let lease = self.lease.filter(|lease| now >= lease.until)?;
        if self.is_away {
            self.take_care(lease);
            return None;
        }
        let ended = self.ended(lease.epoch);
        self.lapsed = Some(lease);
        ended
    }

    /// Whether a scheduler can be reached. A lease that ran out while it was silent goes on once it is known to be away.
    pub(crate) fn scheduler_away(&mut self, is_away: bool) {
        self.is_away = is_away;
        if is_away && let Some(lease) = self.lapsed.take() {
            self.take_care(lease);
        }
        if !is_away && self.lease.is_none() {
            // Nothing that was said before reaches us any more, and a scheduler whose clock stepped back counts from below
            // what we have seen: what it grants must not be taken for old.
            self.newest_epoch = Epoch::default();
        }
    }

    /// Whether no scheduler can be reached, as far as we were told.
    pub(crate) fn is_away(&self) -> bool {
        self.is_away
    }

    /// Nobody else will import: a blocked reader waits no more for news before it turns to the origin.
    pub(crate) fn go_alone(&mut self) {
        self.alone = self.alone.max(1);
    }

    /// Somebody cares, or has something new: whoever read the origin without a lease waits for it again.
    pub(crate) fn not_alone(&mut self) {
        self.alone = 0;
    }

    /// Goes on importing where a lease ended, until a scheduler decides.
    fn take_care(&mut self, lease: Lease) {
        self.is_caretaker = true;
        self.lease = Some(Lease {
            until: Moment::NEVER,
            ..lease
        });
    }

    /// Whether this host imports without a lease, in the place of the last one.
    pub(crate) fn is_caretaker(&self) -> bool {
        self.is_caretaker
    }

    /// A piece is here. Returns the child that asked for it before.
    pub(crate) fn arrived(&mut self, piece: PieceIndex) -> Option<HostNo> {
        self.pieces.remove(piece);
        let demanded = self
            .demanded
            .iter()
            .position(|(wanted, _)| *wanted == piece);
        let child = demanded.map(|at| self.demanded.remove(at).1);
        let pieces = &self.pieces;
        self.running
            .retain(|running| running.run.pieces().any(|piece| pieces.contains(piece)));
        child
    }

    pub(crate) fn failed(&mut self, run: PieceRun, retry_at: Option<Moment>) {
        run.pieces().for_each(|piece| {
            self.pieces.remove(piece);
        });
        let pieces = &self.pieces;
        self.running
            .retain(|running| running.run.pieces().any(|piece| pieces.contains(piece)));
        match retry_at {
            Some(at) => self.retry_at = self.retry_at.max(at),
            None => self.is_refused = true,
        }
    }

    /// A child asked for pieces that are not imported yet: they go first.
    pub(crate) fn demand(&mut self, pieces: impl Iterator<Item = PieceIndex>, child: HostNo) {
        for piece in pieces.take(Self::DEMANDED_MAX) {
            let is_new = self.demanded.iter().all(|(wanted, _)| *wanted != piece);
            if is_new && self.demanded.len() < Self::DEMANDED_MAX {
                self.demanded.push((piece, child));
            }
        }
    }

    /// A child is gone, and with it what it asked for.
    pub(crate) fn forget(&mut self, child: HostNo) {
        self.demanded.retain(|(_, by)| *by != child);
        if let Some(seed) = &mut self.seed {
            seed.forget(child);
        }
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = PieceRun> + '_ {
        self.running.iter().map(|running| running.run)
    }

    pub(crate) fn retry_at(&self) -> Moment {
        self.retry_at
    }

    pub(crate) fn begin(&mut self, run: PieceRun, is_leased: bool) {
        self.pieces.insert_run(run);
        self.running.push(Running { run, is_leased });
    }

    /// Runs that are being read, and pieces that are to come of them.
    #[cfg(test)]
    pub(crate) fn reads(&self) -> (usize, u32) {
        (self.running.len(), self.pieces.len())
    }

    /// The next run to read under the lease, if there is room for it.
    pub(crate) fn next_leased(&self, view: &ImportView<'_>) -> Option<PieceRun> {
        let lease = self.lease.filter(|lease| view.now < lease.until)?;
        let is_full = self.running.len() >= usize::from(view.policy.import_streams);
        if is_full || self.is_refused || view.now < self.retry_at {
            return None;
        }
        let wanted = view.demand.wanted();
        let is_open = |piece: PieceIndex| {
            !self.pieces.contains(piece) && view.is_for_origin(lease.run, piece)
        };
        let first_of = |piece: PieceIndex, count: u32| {
            // The first was asked for, be it by a child; the others are read along only if they are wanted here.
            let is_next = |at: &u32| {
                let next = PieceIndex(*at);
                is_open(next) && (next == piece || wanted.contains(next))
            };
            let count = (piece.0..).take(count as usize).take_while(is_next).count();
            (count > 0).then(|| PieceRun {
                first: piece,
                count: u32::try_from(count).unwrap_or(1),
            })
        };
        let urgent = self
            .demanded
            .iter()
            .map(|(piece, _)| *piece)
            .chain(view.demand.blocked(view.have))
            .find(|piece| is_open(*piece));
        if let Some(piece) = urgent {
            // What a blocked reader needs is exempt from the read-ahead: nobody waits for a slower child.
            return first_of(piece, 1);
        }
        let room = self.room(view);
        let next = wanted
            .difference([view.have, &self.pieces, view.requested])
            .find(|piece| is_open(*piece))?;
        first_of(next, room)
    }

    /// `run` and the pieces right behind it that the next runs will most likely be, as far as one request may reach.
    pub(crate) fn reach(&self, view: &ImportView<'_>, run: PieceRun) -> PieceRun {
        let within = match self.lease {
            Some(lease) => lease.run,
            // The first run may be the only one: somebody is perhaps about to be heard of.
            None if self.alone > 1 => view.layout.all(),
            None => return run,
        };
        let most = pieces_in(view.policy.import_reach, view.layout);
        let is_next = |piece: &PieceIndex| {
            view.demand.wanted().contains(*piece) && view.is_for_origin(within, *piece)
        };
        let end = u32::try_from(run.end()).unwrap_or(u32::MAX);
        let more = (end..)
            .take(most.saturating_sub(run.count) as usize)
            .map(PieceIndex)
            .take_while(is_next)
            .count();
        PieceRun {
            first: run.first,
            count: run.count + u32::try_from(more).unwrap_or(0),
        }
    }

    /// Pieces that may be read ahead of what has left this host, shared among the streams.
    fn room(&self, view: &ImportView<'_>) -> u32 {
        let per_stream = pieces_in(view.policy.read_ahead_bytes, view.layout);
        let ahead = view.policy.read_ahead_pieces.min(per_stream);
        if !view.neighbours.anyone_incomplete() {
            return ahead;
        }
        let unleft = self.seed.as_ref().map_or(0, SuperSeed::unleft);
        let room = ahead
            .saturating_sub(u32::try_from(unleft).unwrap_or(u32::MAX))
            .saturating_sub(self.pieces.len());
        room.div_ceil(2)
    }

    /// What a blocked reader needs next from the origin without a lease: from its head, at most its window.
    pub(crate) fn next_unleased(&self, view: &ImportView<'_>) -> Option<PieceRun> {
        if self.is_refused || view.now < self.retry_at || !self.running.is_empty() {
            return None;
        }
        let head = view
            .demand
            .blocked(view.have)
            .find(|piece| !self.pieces.contains(*piece))?;
        let wanted = view.demand.wanted();
        let is_open =
            |at: &u32| wanted.contains(PieceIndex(*at)) && !view.have.contains(PieceIndex(*at));
        let window = window(view.policy, view.layout) as usize;
        let count = (head.0..).take(window).take_while(is_open).count();
        Some(PieceRun {
            first: head,
            count: u32::try_from(count.max(1)).unwrap_or(1),
        })
    }

    /// What a host that already reads the origin for a blocked reader reads on, while nobody is heard of: at most two
    /// windows from where the reader stands, the next one before the running one has ended.
    pub(crate) fn next_alone(&self, view: &ImportView<'_>) -> Option<PieceRun> {
        let is_waiting = self.alone == 0 || self.lease.is_some() || self.is_refused;
        let window = window(view.policy, view.layout);
        if is_waiting || view.now < self.retry_at || self.pieces.len() > window / 2 {
            return None;
        }
        view.demand.windows(window * 2).find_map(|ahead| {
            let is_open = |piece: &PieceIndex| {
                !self.pieces.contains(*piece) && view.is_for_origin(ahead, *piece)
            };
            let first = ahead.pieces().find(is_open)?;
            let count = (first.0..)
                .take(window as usize)
                .take_while(|at| is_open(&PieceIndex(*at)))
                .count();
            let count = u32::try_from(count).unwrap_or(1);
            Some(PieceRun { first, count })
        })
    }

    /// A run without a lease begins: from now on this host reads on until somebody is heard of.
    pub(crate) fn begin_alone(&mut self, run: PieceRun) {
        self.alone = self.alone.saturating_add(1);
        self.begin(run, false);
    }

    /// When an import may be tried again or the lease ends.
    pub(crate) fn deadline(&self, now: Moment) -> Option<Moment> {
        let retry = (self.retry_at > now).then_some(self.retry_at);
        let reveal = self.seed.as_ref().and_then(SuperSeed::deadline);
        [retry, reveal, self.lease.map(|lease| lease.until)]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Pieces that a blocked reader needs next: they are asked of the origin, or of an importer, for it alone.
pub(crate) fn window(policy: &DownloadPolicy, layout: &Layout) -> u32 {
    policy
        .window
        .min(pieces_in(policy.read_ahead_bytes, layout))
}

fn pieces_in(bytes: ByteCount, layout: &Layout) -> u32 {
    u32::try_from(bytes.0 / layout.piece_length().0)
        .unwrap_or(u32::MAX)
        .max(1)
}
