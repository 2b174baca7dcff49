//! The choice: which piece next, and from whom.
//!
//! Rarest first, random among equals, so that hosts hold different pieces and every uplink has something to give. One
//! request at a time may serve a reader's window instead. Among the parents that have the piece and room for a request,
//! the quicker of two drawn at random is asked: it keeps the load spread, and slow uplinks are asked less.

use std::time::Duration;

use types::{Chance, Layout, Moment, PieceIndex, PieceRun, PieceSet};

use super::{
    DownloadPolicy,
    demand::Demand,
    neighbours::{Neighbour, Neighbours},
    requests::{Request, Requests},
};
use crate::HostNo;

/// What the choice depends on.
pub(crate) struct View<'a> {
    pub(crate) now: Moment,
    pub(crate) layout: &'a Layout,
    pub(crate) policy: &'a DownloadPolicy,
    pub(crate) have: &'a PieceSet,
    pub(crate) importing: &'a PieceSet,
    pub(crate) demand: &'a Demand,
    pub(crate) neighbours: &'a Neighbours,
    pub(crate) requests: &'a Requests,
    /// Adjacent pieces in one request, at most.
    pub(crate) run_max: u32,
    /// What a piece usually takes, if any came yet.
    pub(crate) usual: Option<Duration>,
    /// Ask also where we believe that there is no room.
    pub(crate) anyway: bool,
}

/// A request to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) from: HostNo,
    pub(crate) run: PieceRun,
    pub(crate) urgent: bool,
}

impl View<'_> {
    /// Pieces of a slow parent take that many times longer than usual, or more. Measured with 5 % of 300 uplinks at a
    /// tenth: without this the slowest host took 3.5 times the content's time, as it held on to slow parents; with it
    /// 1.38, at two as at three, and two is better where the uplinks are at a third.
    const SLOW: u32 = 2;

    /// The next request, if any neighbour has room and something we want.
    pub(crate) fn choose(&self, chance: &mut Chance) -> Option<Choice> {
        let mask = self.available()?;
        if let Some(choice) = self.for_reader(&mask, chance) {
            return Some(choice);
        }
        let piece = self.rarest(&mask, chance)?;
        let parent = self.parent_for(piece, chance, |_| true)?;
        Some(Choice {
            from: parent.host,
            run: self.extend(piece, parent, &mask),
            urgent: false,
        })
    }

    /// A piece that an importer revealed to us: nobody else can have it, and others wait for us to pass it on.
    pub(crate) fn revealed(&self) -> Option<Choice> {
        self.neighbours
            .iter()
            .filter(|neighbour| neighbour.health.is_usable(self.now))
            .find_map(|neighbour| {
                let piece = neighbour.revealed.iter().copied().find(|piece| {
                    self.demand.wanted().contains(*piece)
                        && [self.have, self.requests.pieces(), self.importing]
                            .iter()
                            .all(|set| !set.contains(*piece))
                })?;
                Some(Choice {
                    from: neighbour.host,
                    run: PieceRun::one(piece),
                    urgent: false,
                })
            })
    }

    /// The rarest piece at a parent that keeps a slot for us: no round trip lies between two transfers.
    pub(crate) fn again(&self, host: HostNo, chance: &mut Chance) -> Option<Choice> {
        let parent = self
            .neighbours
            .get(host)
            .filter(|parent| parent.health.is_usable(self.now) && !self.is_slow(parent))?;
        let sets = [
            self.demand.wanted(),
            self.have,
            self.requests.pieces(),
            self.importing,
        ]
        .map(PieceSet::words);
        let mask: Vec<u64> = (0..sets[0].len())
            .map(|at| {
                sets[0][at] & !sets[1][at] & !sets[2][at] & !sets[3][at] & parent.have.words()[at]
            })
            .collect();
        let piece = self.rarest(&mask, chance)?;
        Some(Choice {
            from: host,
            run: self.extend(piece, parent, &mask),
            urgent: false,
        })
    }

    /// A second request for a piece that one slow parent holds up, from another: the last pieces of a download, or the
    /// head of a blocked reader.
    pub(crate) fn hedge(
        &self,
        chance: &mut Chance,
        is_meant: impl Fn(&Request) -> bool,
    ) -> Option<Choice> {
        self.requests
            .iter()
            .filter(|request| is_meant(request))
            .find_map(|request| {
                let piece = request.run.first;
                let is_single = self.requests.suppliers(piece) == 1;
                let parent = self
                    .parent_for(piece, chance, |parent| parent.host != request.from)
                    .filter(|_| is_single)?;
                Some(Choice {
                    from: parent.host,
                    run: PieceRun::one(piece),
                    urgent: true,
                })
            })
    }

    /// Whether a reader is blocked at the piece that `request` stands at.
    pub(crate) fn is_head(&self, request: &Request) -> bool {
        let mut heads = self.demand.blocked(self.have);
        heads.any(|head| head == request.run.first)
    }

    /// Whether everything that is wanted is here or on its way.
    pub(crate) fn is_last(&self) -> bool {
        let sets = [self.have, self.requests.pieces(), self.importing];
        self.demand.wanted().difference(sets).next().is_none()
    }

    /// Whether pieces of this parent take much longer than usual: a slot is better used elsewhere.
    fn is_slow(&self, parent: &Neighbour) -> bool {
        let own = parent.health.piece_time().mean();
        own.zip(self.usual)
            .is_some_and(|(own, usual)| own > usual * Self::SLOW)
    }

    fn is_usable(&self, neighbour: &Neighbour) -> bool {
        (neighbour.room > 0 || (self.anyway && self.now >= neighbour.doubt_at))
            && neighbour.health.is_usable(self.now)
    }

    /// Bits of the pieces that are wanted, neither here nor on their way, and held by a usable parent.
    fn available(&self) -> Option<Vec<u64>> {
        let sets = [
            self.demand.wanted(),
            self.have,
            self.requests.pieces(),
            self.importing,
        ]
        .map(PieceSet::words);
        let mut open: Vec<u64> = (0..sets[0].len())
            .map(|at| sets[0][at] & !sets[1][at] & !sets[2][at] & !sets[3][at])
            .collect();
        let mut held = vec![0; open.len()];
        for neighbour in self
            .neighbours
            .iter()
            .filter(|neighbour| self.is_usable(neighbour))
        {
            held.iter_mut()
                .zip(neighbour.have.words())
                .for_each(|(word, have)| *word |= have);
        }
        open.iter_mut()
            .zip(held)
            .for_each(|(word, held)| *word &= held);
        open.iter().any(|word| *word != 0).then_some(open)
    }

    /// The first available piece of a reader's window, unless a request already serves a window.
    fn for_reader(&self, mask: &[u64], chance: &mut Chance) -> Option<Choice> {
        let mut windows = self.demand.windows(self.policy.window).peekable();
        windows.peek()?;
        let serves_window = |window: &PieceRun| {
            self.requests
                .iter()
                .any(|request| window.contains(request.run.first))
        };
        for window in windows.filter(|window| !serves_window(window)) {
            let found = window
                .pieces()
                .take(mask.len() * 64)
                .filter(|piece| has(mask, *piece))
                .find_map(|piece| Some((piece, self.parent_for(piece, chance, |_| true)?)));
            if let Some((piece, parent)) = found {
                let urgent = piece == window.first;
                return Some(Choice {
                    from: parent.host,
                    run: self.extend(piece, parent, mask),
                    urgent,
                });
            }
        }
        None
    }

    fn rarest(&self, mask: &[u64], chance: &mut Chance) -> Option<PieceIndex> {
        let mut best: Option<(u16, PieceIndex)> = None;
        let mut ties = 0;
        for (at, word) in mask.iter().enumerate() {
            let mut word = *word;
            while word != 0 {
                let piece = PieceIndex(u32::try_from(at * 64).ok()? + word.trailing_zeros());
                word &= word - 1;
                let copies = self.neighbours.copies(piece);
                match best {
                    Some((fewest, _)) if copies > fewest => {}
                    Some((fewest, _)) if copies == fewest => {
                        ties += 1;
                        if chance.below(ties) == 0 {
                            best = Some((copies, piece));
                        }
                    }
                    _ => (best, ties) = (Some((copies, piece)), 1),
                }
            }
        }
        best.map(|(_, piece)| piece)
    }

    /// The quicker of two random usable parents that have `piece`.
    fn parent_for(
        &self,
        piece: PieceIndex,
        chance: &mut Chance,
        fits: impl Fn(&Neighbour) -> bool,
    ) -> Option<&Neighbour> {
        let holds = |neighbour: &&Neighbour| {
            neighbour.have.contains(piece) && self.is_usable(neighbour) && fits(neighbour)
        };
        let quick = |neighbour: &&Neighbour| holds(neighbour) && !self.is_slow(neighbour);
        let any_quick = self.neighbours.iter().any(|neighbour| quick(&neighbour));
        let fits = |neighbour: &&Neighbour| {
            if any_quick {
                quick(neighbour)
            } else {
                holds(neighbour)
            }
        };
        let count = self.neighbours.iter().filter(fits).count();
        let nth = |at: usize| self.neighbours.iter().filter(fits).nth(at);
        let (first, second) = (nth(chance.below(count))?, nth(chance.below(count))?);
        let time = |neighbour: &Neighbour| neighbour.health.piece_time().mean().unwrap_or_default();
        Some(if time(second) < time(first) {
            second
        } else {
            first
        })
    }

    /// The pieces right after `piece` that are available at the same parent, up to the longest run.
    fn extend(&self, piece: PieceIndex, parent: &Neighbour, mask: &[u64]) -> PieceRun {
        let last = self.layout.last();
        let fits =
            |next: &PieceIndex| *next <= last && has(mask, *next) && parent.have.contains(*next);
        let more = (piece.0 + 1..)
            .map(PieceIndex)
            .take(self.run_max.saturating_sub(1) as usize)
            .take_while(fits)
            .count();
        PieceRun {
            first: piece,
            count: 1 + u32::try_from(more).unwrap_or(0),
        }
    }
}

fn has(mask: &[u64], piece: PieceIndex) -> bool {
    mask.get(piece.0 as usize / 64)
        .is_some_and(|word| word >> (piece.0 % 64) & 1 == 1)
}
