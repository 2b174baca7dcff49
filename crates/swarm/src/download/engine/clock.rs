//! How long to wait for what.

use std::time::Duration;

use types::Moment;

use super::Download;
use crate::{
    download::{
        DownloadPolicy,
        requests::{Phase, Request},
    },
    estimate::Estimate,
};

/// What showed that a download moves, and when.
///
/// What only words say counts for a bounded time after what is certain: a piece that was verified, or a step of our own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Motion {
    /// A piece was verified, something was wanted anew, or this host itself held back what came.
    verified_at: Moment,
    /// The same, or a reader came to a missing piece, or this host began to read the origin for one.
    pub(super) moved_at: Moment,
    /// A neighbour offered a missing piece that none had offered before.
    pub(super) offered_at: Moment,
    /// The scheduler acknowledged, or granted or ended a lease.
    pub(super) acknowledged_at: Moment,
    /// When this host woke up, if it slept and nothing came since.
    woke_at: Option<Moment>,
}

impl Motion {
    pub(super) fn restart(&mut self, now: Moment) {
        (self.verified_at, self.moved_at, self.woke_at) = (now, now, None);
    }

    /// Since when no piece came that was wanted.
    pub(super) fn verified_at(&self) -> Moment {
        self.verified_at
    }

    /// When a download that wants something is given up. Acknowledgements without a piece can double its life, no more.
    pub(super) fn ends_at(&self, policy: &DownloadPolicy) -> Moment {
        let last = self.verified_at.max(self.acknowledged_at);
        (last + policy.hard_limit).min(self.verified_at + policy.hard_limit * 2)
    }
}

/// How late a wake-up may come before it says that this host slept: far more than a busy machine makes of it.
const OVERSLEPT: Duration = Duration::from_secs(1);

impl Download {
    /// A host that was suspended, or whose process was stopped, heard nothing because it slept: that is no reason to
    /// blame a parent or to turn to the origin. What counts is a wake-up that was asked for and came late by the clock
    /// that goes on meanwhile. A lease is not excused.
    pub(super) fn wake_up(&mut self, now: Moment) {
        if (self.wakes_at).is_some_and(|at| now.since(at) > OVERSLEPT) {
            self.wakes_at = None;
            self.motion.restart(now);
            self.motion.woke_at = Some(now);
            self.requests.excuse_all(now);
            self.neighbours.excuse_all(now);
        }
    }

    /// When a reader of ours has been blocked without any news for an adaptive time.
    ///
    /// News are pieces that were verified, missing pieces that a neighbour offers as the first one, bytes of a request
    /// that is not late, and acknowledgements. All but the first are of use for a bounded time: a neighbour that comes
    /// and goes, or sends its bytes one by one, keeps nobody from the origin.
    pub(super) fn nervous_at(&self) -> Option<Moment> {
        if self.importing.lease.is_some() {
            return None;
        }
        let mut heads = self.demand.blocked(&self.have).peekable();
        heads.peek()?;
        let is_offered = heads.all(|piece| self.neighbours.copies(piece) > 0);
        let (motion, policy) = (&self.motion, &self.policy);
        let due = self.due();
        let bound = motion.moved_at + (due * 2).max(policy.patience_max);
        // Who waits for the import of a piece has the scheduler's word for longer: it watches the importer.
        let patient = if is_offered {
            bound
        } else {
            motion.moved_at + policy.import_wait_max
        };
        let moving = (self.requests.iter()).filter(|request| request.phase != Phase::Waiting);
        let bytes = moving.map(|request| request.heard.min(request.since + due));
        let news = bytes
            .chain([motion.offered_at])
            .map(|at| at.min(bound))
            .chain([motion.moved_at, motion.acknowledged_at.min(patient)])
            .max()?;
        let wait = self.piece_time.high().unwrap_or(policy.head_wait_max) * 4;
        if motion.woke_at.is_some() {
            // Its links ended in its sleep: who it knew is found again only now.
            return Some(news + policy.head_wait_max);
        }
        let most = if self.importing.is_away() && self.neighbours() == 0 {
            // Nobody is there to be heard of: whoever is about to be gets a moment.
            policy.patience_min
        } else {
            policy.head_wait_max
        };
        Some(news + wait.clamp(policy.patience_min, most))
    }

    /// What a piece takes at most while nothing is wrong: twice what few pieces take longer than, or before any came what
    /// it takes on a slow link.
    pub(super) fn due(&self) -> Duration {
        let slowest = || {
            let seconds =
                self.layout.piece_length().0 * u64::from(self.slots) / self.policy.slowest.0;
            Duration::from_secs(seconds)
        };
        let high = self.piece_time.high().map(|high| high * 2);
        high.unwrap_or_else(slowest).max(self.policy.head_wait_max)
    }

    /// When this host may read from the origin without a lease: a random time after it became nervous, so that there is
    /// time for an answer and not all blocked hosts go at once.
    pub(super) fn unleased_at(&self) -> Option<Moment> {
        self.nervous_at()
            .map(|at| at + self.policy.patience_min + self.jitter)
    }

    /// How long to believe that nobody has room before asking somebody anyway.
    pub(super) fn probe_after(&self) -> Duration {
        self.piece_time
            .mean()
            .unwrap_or(self.policy.patience_min)
            .min(self.policy.patience_max)
    }

    /// What few pieces take longer than: beyond it a free slot may ask for the same piece elsewhere.
    pub(super) fn usual(&self) -> Duration {
        self.piece_time.high().unwrap_or(self.policy.patience_max)
    }

    /// When a request takes longer than few pieces do. One that is about to end gets twice the time.
    pub(super) fn late_at(&self, request: &Request) -> Moment {
        request.late_at(self.usual())
    }

    /// When a request whose bytes come is given up all the same, if somebody else has the piece: two parents that drip
    /// must not hold both slots.
    pub(super) fn drips_from(&self, request: &Request) -> Moment {
        request.judged_from + self.due() * 4
    }

    pub(super) fn patience(&self, request: &Request) -> Duration {
        let own = self
            .neighbours
            .get(request.from)
            .map(|neighbour| *neighbour.health.piece_time());
        patience(own.unwrap_or_default(), self.piece_time, &self.policy)
    }
}

/// How long a request may be silent: twice what few pieces of this parent, or of all, take.
pub(super) fn patience(own: Estimate, all: Estimate, policy: &DownloadPolicy) -> Duration {
    let usual = own.high().or(all.high()).unwrap_or(policy.patience_max);
    (usual * 2).clamp(policy.patience_min, policy.patience_max)
}

#[cfg(test)]
mod tests {
    use types::{ByteCount, Chance, Layout, PieceIndex, PieceRun, PieceSet};

    use super::*;
    use crate::{
        HostNo, SlotHint,
        download::{Action, Event, Failure, ReaderNo, State, Supplier},
    };

    const PARENT: HostNo = HostNo(1);
    const STEP: Duration = Duration::from_millis(100);

    fn joined(pieces: u32) -> Event {
        joined_as(PARENT, pieces)
    }

    fn joined_as(host: HostNo, pieces: u32) -> Event {
        let mut have = PieceSet::empty(8);
        have.insert_run(PieceRun {
            first: PieceIndex(0),
            count: pieces,
        });
        let (free, opening) = (2, 0);
        Event::Joined {
            host,
            have,
            slots: SlotHint { free, opening },
        }
    }

    fn progress(piece: u32) -> Event {
        let (host, piece) = (PARENT, PieceIndex(piece));
        Event::Progress { host, piece }
    }

    /// A download of eight pieces of 1 MiB, of which everything is wanted, by a reader too if `read`. `each` tells what
    /// happens in a step. Returns what it does in so many seconds, and it.
    fn story(
        read: bool,
        seconds: u64,
        each: impl Fn(u64, &[Action]) -> Vec<Event>,
    ) -> (Vec<Action>, Download) {
        let layout = Layout::custom(ByteCount::mib(8), ByteCount::mib(1)).expect("a sound layout");
        let (policy, chance) = (DownloadPolicy::default(), Chance::seeded(1));
        let mut download = Download::new(layout, PieceSet::empty(8), policy, chance);
        let wish = match read {
            true => Event::Read {
                reader: ReaderNo(0),
                run: layout.all(),
            },
            false => Event::WantAll(true),
        };
        let mut now = Moment(1);
        download.handle(now, wish);
        let (mut all, mut last) = (Vec::new(), Vec::new());
        for step in 0..seconds * 10 {
            let events = each(step, &last);
            last = Vec::new();
            for event in events.into_iter().chain([Event::Tick]) {
                download.handle(now, event);
                last.extend(std::iter::from_fn(|| download.next_action(now)));
            }
            all.extend(last.clone());
            now = now + STEP;
        }
        (all, download)
    }

    fn imports(actions: &[Action]) -> usize {
        let is_import = |action: &&Action| matches!(action, Action::Import { epoch: None, .. });
        actions.iter().filter(is_import).count()
    }

    #[test]
    fn a_neighbour_that_comes_and_goes_keeps_no_reader_from_the_origin() {
        let flap = |step: u64, _: &[Action]| match step % 4 {
            0 => vec![joined(8)],
            2 => vec![Event::Left { host: PARENT }],
            _ => vec![],
        };
        assert!(imports(&story(true, 8, flap).0) > 0);
    }

    #[test]
    fn a_host_that_slept_blames_nobody_for_what_it_did_not_hear() {
        let begin = |step: u64, _: &[Action]| match step {
            0 => vec![joined(8)],
            _ => (0..8).map(progress).collect(),
        };
        let (_, mut download) = story(true, 1, begin);
        let due = download.deadline(Moment(1) + STEP * 9).expect("it waits");
        let mut done = Vec::new();
        for now in [0, 1].map(|step| due + Duration::from_secs(20) + STEP * step) {
            download.handle(now, Event::Tick);
            done.extend(std::iter::from_fn(|| download.next_action(now)));
        }
        assert_eq!(
            done,
            [],
            "no request is taken back, and nothing is imported"
        );
    }

    #[test]
    fn a_host_whose_links_ended_in_its_sleep_finds_others_before_it_turns_to_the_origin() {
        let begin = |step: u64, _: &[Action]| match step {
            0 => vec![joined(8)],
            _ => {
                let (piece, from) = (PieceIndex(0), Supplier::Host(PARENT));
                let (reader, at) = (ReaderNo(0), PieceIndex(1));
                vec![
                    Event::Verified { piece, from },
                    Event::ReadAt { reader, at },
                ]
            }
        };
        let (_, mut download) = story(true, 1, begin);
        let due = download.deadline(Moment(1) + STEP * 9).expect("it waits");
        let wakes = due + Duration::from_secs(20);
        for event in [Event::Left { host: PARENT }, Event::SchedulerAway(true)] {
            download.handle(wakes, event);
        }
        let alone_at = download.goes_alone_at().expect("a reader is blocked");
        let policy = DownloadPolicy::default();
        assert!(alone_at >= wakes + policy.head_wait_max + policy.patience_min);
        assert!(alone_at <= wakes + policy.head_wait_max * 2 + policy.patience_min);
        download.handle(alone_at, Event::Tick);
        let done: Vec<_> = std::iter::from_fn(|| download.next_action(alone_at)).collect();
        assert_eq!(imports(&done), 1);
    }

    #[test]
    fn known_things_said_again_keep_no_reader_from_the_origin() {
        let host = PARENT;
        let babble = |step: u64, _: &[Action]| match step {
            0 => vec![
                joined(0),
                Event::Revealed {
                    host,
                    piece: PieceIndex(0),
                },
            ],
            _ => vec![
                Event::Revealed {
                    host,
                    piece: PieceIndex(0),
                },
                Event::Busy {
                    host,
                    run: PieceRun::one(PieceIndex(0)),
                },
            ],
        };
        assert!(imports(&story(true, 4, babble).0) > 0);
    }

    #[test]
    fn a_dripping_parent_keeps_no_reader_from_the_origin_and_no_download_alive() {
        let drip = |step: u64, _: &[Action]| match step {
            0 => vec![joined(8)],
            _ => (0..8).map(progress).collect(),
        };
        assert!(imports(&story(true, 8, drip).0) > 0);
        let (actions, download) = story(false, 301, drip);
        assert!(actions.contains(&Action::Fail(Failure::Stalled)));
        assert_eq!(download.state(), State::Failed(Failure::Stalled));
    }

    #[test]
    fn a_dripping_parent_loses_its_requests_if_another_has_the_piece() {
        let drip = |others: u32| {
            move |step: u64, _: &[Action]| match step {
                0 => (0..=others)
                    .map(|other| joined_as(HostNo(1 + other), 8))
                    .collect(),
                _ => (0..8).map(progress).collect(),
            }
        };
        let cancels = |others| {
            let (actions, _) = story(false, 60, drip(others));
            let is_cancel =
                |action: &&Action| matches!(action, Action::Cancel { from, .. } if *from == PARENT);
            actions.iter().filter(is_cancel).count()
        };
        assert!(cancels(1) > 0);
        assert_eq!(cancels(0), 0, "slow is better than nothing");
    }

    #[test]
    fn a_slow_link_is_waited_for_while_its_bytes_come() {
        let slow = |step: u64, _: &[Action]| match step {
            0 => vec![joined(8)],
            // A piece in three seconds, two at a time.
            _ if step % 15 == 14 && step < 120 => {
                let piece = PieceIndex(u32::try_from(step / 15).expect("small"));
                vec![Event::Verified {
                    piece,
                    from: Supplier::Host(PARENT),
                }]
            }
            _ => (0..8).map(progress).collect(),
        };
        assert_eq!(imports(&story(true, 12, slow).0), 0);
    }

    #[test]
    fn the_schedulers_word_counts_for_what_is_still_to_be_imported_but_not_for_ever() {
        let acknowledge = |pieces: u32| {
            move |step: u64, last: &[Action]| match step {
                0 => vec![joined(pieces)],
                _ if last.contains(&Action::Ask) => vec![Event::Acknowledged],
                _ => vec![],
            }
        };
        let after = |pieces, seconds| imports(&story(true, seconds, acknowledge(pieces)).0);
        assert_eq!(after(0, 29), 0, "nobody has it");
        assert!(after(0, 34) > 0);
        assert!(after(8, 8) > 0, "somebody has it and does not give it");
    }
}
