//! What nobody shows yet is asked of the importer itself: it reads that next, and reveals it to who asked.
//!
//! A sparse reader would wait for ever for a piece that the importer has no reason to read, so it asks at once. Where
//! everything is wanted the importer comes by in time: only who has waited without any news asks, for one piece.

use types::{Moment, PieceIndex, PieceRun};

use super::Download;
use crate::{
    HostNo,
    download::{Action, import::window, pick::Choice},
};

/// A run that an importer was asked for before anybody showed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    of: HostNo,
    run: PieceRun,
    at: Moment,
}

impl Download {
    /// Such requests that are remembered: one for each reader, and more readers than this are not blocked at once.
    const ASKED_MAX: usize = 64;

    /// The next run to ask an importer for: from where a reader is blocked, what nobody shows.
    pub(super) fn ask_importer(&mut self, now: Moment) -> Option<Choice> {
        if self.importing.lease.is_some() {
            return None;
        }
        let is_open = |piece: PieceIndex| {
            self.demand.wanted().contains(piece)
                && self.neighbours.copies(piece) == 0
                && [&self.have, self.requests.pieces(), self.importing.pieces()]
                    .iter()
                    .all(|set| !set.contains(piece))
        };
        let mut heads = self.demand.blocked(&self.have);
        let head = heads.find(|head| is_open(*head) && !self.is_asked(now, *head))?;
        let is_sparse = !self.demand.wanted().is_full();
        if !is_sparse && self.nervous_at().is_none_or(|at| now < at) {
            return None;
        }
        let importer = (self.neighbours.iter())
            .filter(|neighbour| neighbour.is_importer && neighbour.health.is_usable(now))
            // Who says so is not believed more than once if there is another.
            .min_by_key(|neighbour| {
                let asked = self.asked.iter().filter(|asked| asked.of == neighbour.host);
                asked.map(|asked| asked.at).max()
            })?;
        let most = match is_sparse {
            true => window(&self.policy, &self.layout),
            false => 1,
        };
        let count = (head.0..)
            .take(most as usize)
            .take_while(|piece| is_open(PieceIndex(*piece)))
            .count();
        let run = PieceRun {
            first: head,
            count: u32::try_from(count).unwrap_or(1),
        };
        let of = importer.host;
        let again = self.due();
        self.asked.retain(|asked| now < asked.at + again * 4);
        if self.asked.len() >= Self::ASKED_MAX {
            return None;
        }
        self.asked.push(Asked { of, run, at: now });
        Some(Choice {
            from: of,
            run,
            urgent: true,
        })
    }

    /// Whether an importer that still is one was asked for `piece` so lately that an answer may still come.
    fn is_asked(&self, now: Moment, piece: PieceIndex) -> bool {
        let again = self.due();
        self.asked.iter().any(|asked| {
            let importer = self.neighbours.get(asked.of);
            asked.run.contains(piece)
                && now < asked.at + again
                && importer.is_some_and(|importer| importer.is_importer)
        })
    }

    /// When an importer may be asked again.
    pub(super) fn ask_again_at(&self, now: Moment) -> Option<Moment> {
        let again = self.due();
        let ends = self.asked.iter().map(|asked| asked.at + again);
        ends.filter(|at| *at > now).min()
    }

    /// `host` does not have `run`. If it is an importer that was asked for that, it will read it: that is news.
    pub(super) fn lacks(&mut self, now: Moment, host: HostNo, run: PieceRun) {
        self.requests.refused(host, run);
        if (self.asked.iter()).any(|asked| asked.of == host && asked.run.contains(run.first)) {
            self.motion.offered_at = now;
            self.importing.not_alone();
        }
        self.neighbours.lacks(host, run);
        self.returned(run.pieces());
    }

    /// `child` asks for pieces that are not here. Without a lease that is a mistake of its own.
    pub(super) fn demanded(&mut self, run: PieceRun, child: HostNo) {
        if self.importing.lease.is_some() && self.neighbours.get(child).is_some() {
            let (have, last) = (&self.have, self.layout.last());
            let pieces = run
                .pieces()
                .filter(|piece| *piece <= last && !have.contains(*piece));
            self.importing.demand(pieces, child);
        }
    }

    /// Tells all neighbours when this host becomes importer, or is no more: those that come later are told as they come.
    pub(super) fn tell_role(&mut self) {
        let is_importer = self.is_importer();
        if self.told_importer != is_importer {
            self.told_importer = is_importer;
            self.out.push_back(Action::TellImporter(is_importer));
        }
    }
}

#[cfg(test)]
mod tests {
    use types::{ByteCount, Chance, Epoch, Layout, PieceSet};

    use super::*;
    use crate::{
        SlotHint,
        download::{DownloadPolicy, Event, Lease, ReaderNo, Supplier},
    };

    const OTHER: HostNo = HostNo(1);
    const NOW: Moment = Moment(1);

    /// A download of 64 pieces whose reader wants ten from 20 on, with a neighbour that has nothing.
    fn sparse() -> Download {
        let layout = Layout::custom(ByteCount::mib(64), ByteCount::mib(1)).expect("a sound layout");
        let have = PieceSet::empty(64);
        let policy = DownloadPolicy::default();
        let mut download = Download::new(layout, have.clone(), policy, Chance::seeded(1));
        let (reader, run) = (ReaderNo(0), run(20, 10));
        download.handle(NOW, Event::Read { reader, run });
        let (host, slots) = (OTHER, SlotHint::default());
        download.handle(NOW, Event::Joined { host, have, slots });
        download
    }

    fn run(first: u32, count: u32) -> PieceRun {
        let first = PieceIndex(first);
        PieceRun { first, count }
    }

    fn actions(download: &mut Download, at: Moment) -> Vec<Action> {
        std::iter::from_fn(|| download.next_action(at)).collect()
    }

    #[test]
    fn a_sparse_reader_asks_the_importer_for_what_nobody_shows() {
        let mut download = sparse();
        assert_eq!(actions(&mut download, NOW), [], "no importer is known");
        let (host, is_importer) = (OTHER, true);
        download.handle(NOW, Event::Importer { host, is_importer });
        let (from, run, urgent) = (OTHER, run(20, 8), true);
        let asked = [Action::Request { from, run, urgent }];
        assert_eq!(actions(&mut download, NOW), asked);
        download.handle(NOW, Event::Lacks { host, run });
        assert_eq!(actions(&mut download, NOW), [], "it is asked once");
        let again = download.ask_again_at(NOW).expect("not for ever");
        download.handle(again, Event::Tick);
        assert!(actions(&mut download, again).contains(&asked[0]));
    }

    #[test]
    fn an_importer_reads_what_a_child_asks_for_first_and_reveals_it_to_that_child() {
        let mut download = sparse();
        let (epoch, until) = (Epoch(1), Moment::NEVER);
        let lease = Lease {
            epoch,
            run: run(0, 64),
            until,
        };
        download.handle(
            NOW,
            Event::Demanded {
                run: run(50, 2),
                by: OTHER,
            },
        );
        download.handle(NOW, Event::Leased(lease));
        let begun = actions(&mut download, NOW);
        assert!(begun.contains(&Action::TellImporter(true)), "{begun:?}");
        download.handle(
            NOW,
            Event::Demanded {
                run: run(40, 2),
                by: OTHER,
            },
        );
        for piece in (20..22).map(PieceIndex) {
            let from = Supplier::Origin;
            download.handle(NOW, Event::Verified { piece, from });
        }
        let next = actions(&mut download, NOW);
        let reads = |piece: u32| {
            let epoch = Some(epoch);
            next.contains(&Action::Import {
                run: run(piece, 1),
                epoch,
            })
        };
        assert!(reads(40) || reads(41), "{next:?}");
        let (piece, from) = (PieceIndex(40), Supplier::Origin);
        download.handle(NOW, Event::Verified { piece, from });
        let told = actions(&mut download, NOW);
        assert!(
            told.contains(&Action::Reveal { to: OTHER, piece }),
            "{told:?}"
        );
    }
}
