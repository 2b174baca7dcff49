use types::{ByteCount, Epoch, Layout, PieceIndex, PieceRun};

use super::*;
use crate::download::{Lease, ReaderNo, Supplier};

const PARENT: HostNo = HostNo(1);
const OTHER: HostNo = HostNo(2);

fn layout() -> Layout {
    Layout::custom(ByteCount::mib(8), ByteCount::mib(1)).expect("a sound layout")
}

/// A download that wants everything, with one parent that has everything and that many slots.
fn with_parent(free: u8) -> Download {
    let layout = layout();
    let have = PieceSet::empty(layout.piece_count());
    let mut download = Download::new(layout, have, DownloadPolicy::default(), Chance::seeded(1));
    download.handle(Moment(1), Event::WantAll(true));
    let slots = SlotHint { free, opening: 0 };
    let have = PieceSet::full(layout.piece_count());
    let host = PARENT;
    download.handle(Moment(1), Event::Joined { host, have, slots });
    download
}

fn actions(download: &mut Download, at: Moment) -> Vec<Action> {
    std::iter::from_fn(|| download.next_action(at)).collect()
}

fn requested(actions: &[Action]) -> Vec<PieceIndex> {
    let piece = |action: &Action| match action {
        Action::Request { run, .. } => Some(run.first),
        _ => None,
    };
    actions.iter().filter_map(piece).collect()
}

#[test]
fn no_more_is_asked_than_slots_allow_here_and_there() {
    for (free, asked) in [(1, 1), (2, 2), (5, 2)] {
        let mut download = with_parent(free);
        assert_eq!(requested(&actions(&mut download, Moment(1))).len(), asked);
    }
}

#[test]
fn the_next_request_goes_to_the_parent_that_keeps_a_slot() {
    let mut download = with_parent(2);
    let first = requested(&actions(&mut download, Moment(1)));
    let (host, piece) = (PARENT, first[0]);
    download.handle(Moment(2), Event::Ending { host, piece });
    let next = actions(&mut download, Moment(2));
    assert_eq!(requested(&next).len(), 1, "although no room is known");
}

#[test]
fn a_void_whole_is_fetched_again_and_the_lease_given_back() {
    let mut download = with_parent(2);
    let lease = Lease {
        epoch: Epoch(3),
        run: layout().all(),
        until: Moment::NEVER,
    };
    download.handle(Moment(1), Event::Leased(lease));
    for piece in layout().all().pieces() {
        let from = Supplier::Host(PARENT);
        download.handle(Moment(2), Event::Verified { piece, from });
    }
    drop(actions(&mut download, Moment(2)));
    assert_eq!(download.state(), State::Complete);
    download.handle(Moment(3), Event::VoidAll);
    let next = actions(&mut download, Moment(3));
    assert!(next.contains(&Action::GiveUpLease { epoch: Epoch(3) }));
    assert_eq!(requested(&next).len(), 2, "the parent shows all of it");
    assert!(download.have().is_empty() && !download.is_importer());
}

#[test]
fn nobody_is_woken_to_find_that_nobody_has_room() {
    let mut download = with_parent(0);
    let host = PARENT;
    let slots = SlotHint::default();
    download.handle(Moment(1), Event::Slots { host, slots });
    assert!(actions(&mut download, Moment(1)).is_empty());
    let doubt = download.deadline(Moment(1)).expect("a belief ends");
    download.handle(doubt, Event::Tick);
    let probe = requested(&actions(&mut download, doubt));
    assert_eq!(probe.len(), 1, "it is asked all the same, once");
    let run = PieceRun::one(probe[0]);
    download.handle(doubt, Event::Busy { host, run });
    assert!(requested(&actions(&mut download, doubt)).is_empty());
    let later = download.deadline(doubt).expect("another belief ends");
    assert!(later > doubt + Duration::from_millis(10), "{later}");
}

#[test]
fn zero_slots_give_way_at_once() {
    let mut download = with_parent(2);
    actions(&mut download, Moment(1));
    download.handle(Moment(2), Event::SetSlots(0));
    let given_up = actions(&mut download, Moment(2));
    assert_eq!(given_up.len(), 2);
    let is_cancel = |action: &Action| matches!(action, Action::Cancel { .. });
    assert!(given_up.iter().all(is_cancel) && download.waits().count() == 0);
}

#[test]
fn a_parent_is_not_blamed_for_what_this_host_does_not_read() {
    let gives_up = |is_held: bool| {
        let mut download = with_parent(1);
        actions(&mut download, Moment(1));
        let mut at = Moment(1);
        for _ in 0..20 {
            at = download.deadline(at).expect("a request has a deadline");
            if is_held {
                download.handle(at, Event::HeldBack { host: PARENT });
            }
            download.handle(at, Event::Tick);
            let said = actions(&mut download, at);
            if said
                .iter()
                .any(|action| matches!(action, Action::Cancel { .. }))
            {
                return true;
            }
        }
        false
    };
    assert!(gives_up(false), "silence ends a request");
    assert!(!gives_up(true), "but not if it is our own doing");
}

#[test]
fn what_gives_way_does_not_fail_for_waiting() {
    let mut download = with_parent(2);
    download.handle(Moment(1), Event::SetSlots(0));
    actions(&mut download, Moment(1));
    let later = Moment(1) + DownloadPolicy::default().hard_limit * 2;
    download.handle(later, Event::Tick);
    assert_eq!(actions(&mut download, later), []);
    assert_eq!(download.deadline(later), None, "nothing wakes it");
    download.handle(later, Event::SetSlots(2));
    download.handle(later, Event::Tick);
    assert_eq!(requested(&actions(&mut download, later)).len(), 2);
}

#[test]
fn an_importer_hears_that_what_it_revealed_has_arrived() {
    let mut download = with_parent(0);
    let (host, piece) = (OTHER, PieceIndex(3));
    let have = PieceSet::empty(8);
    let slots = SlotHint::default();
    download.handle(Moment(1), Event::Joined { host, have, slots });
    download.handle(Moment(1), Event::Revealed { host, piece });
    let from = Supplier::Host(OTHER);
    download.handle(Moment(2), Event::Verified { piece, from });
    assert!(download.audience(piece).any(|to| to == OTHER));
    assert!(!download.audience(piece).any(|to| to == PARENT));
}

#[test]
fn a_cancelled_importer_needs_no_more_wake_ups() {
    let mut download = with_parent(0);
    let lease = Lease {
        epoch: Epoch(1),
        run: layout().all(),
        until: Moment(1_000_000),
    };
    download.handle(Moment(1), Event::Leased(lease));
    actions(&mut download, Moment(1));
    download.handle(Moment(2), Event::Cancel);
    actions(&mut download, Moment(2));
    assert_eq!(download.deadline(Moment(2_000_000)), None);
}

#[test]
fn one_request_to_the_origin_reaches_as_far_as_the_import_will_go() {
    let layout = Layout::custom(ByteCount::mib(100), ByteCount::mib(1)).expect("a sound layout");
    let mut have = PieceSet::empty(layout.piece_count());
    have.insert(PieceIndex(40));
    let mut download = Download::new(layout, have, DownloadPolicy::default(), Chance::seeded(1));
    download.handle(Moment(1), Event::WantAll(true));
    let reach = |download: &Download, first, count| {
        let first = PieceIndex(first);
        let reach = download.reach(Moment(1), PieceRun { first, count });
        (reach.first.0, reach.end())
    };
    assert_eq!(reach(&download, 0, 4), (0, 4), "without a lease no further");
    let lease = Lease {
        epoch: Epoch(1),
        run: PieceRun {
            first: PieceIndex(0),
            count: 99,
        },
        until: Moment(1_000_000),
    };
    download.handle(Moment(1), Event::Leased(lease));
    actions(&mut download, Moment(1));
    assert_eq!(reach(&download, 0, 4), (0, 40), "up to what is here");
    assert_eq!(reach(&download, 90, 4), (90, 99), "within the lease");
    let mut far = Download::new(
        layout,
        PieceSet::empty(layout.piece_count()),
        DownloadPolicy::default(),
        Chance::seeded(1),
    );
    far.handle(Moment(1), Event::WantAll(true));
    far.handle(Moment(1), Event::Leased(lease));
    assert_eq!(reach(&far, 3, 1), (3, 67), "64 MiB at most");
}

#[test]
fn a_piece_that_nobody_else_would_believe_is_shown_to_nobody_until_this_host_vouches_for_it() {
    let layout = layout();
    let have = PieceSet::full(layout.piece_count());
    let mut download = Download::new(layout, have, DownloadPolicy::default(), Chance::seeded(1));
    download.keep([PieceIndex(1), PieceIndex(2)].into_iter());
    download.handle(
        Moment(1),
        Event::Void {
            piece: PieceIndex(3),
        },
    );
    let (host, slots) = (PARENT, SlotHint::default());
    let have = PieceSet::empty(layout.piece_count());
    download.handle(Moment(1), Event::Joined { host, have, slots });
    download.handle(Moment(1), Event::WantAll(true));
    let (piece, from) = (PieceIndex(3), Supplier::OriginAlone);
    download.handle(Moment(2), Event::Verified { piece, from });
    let is_told = |action: &Action| matches!(action, Action::Announce { .. });
    assert!(!actions(&mut download, Moment(2)).iter().any(is_told));
    assert_eq!(download.state(), State::Complete);
    let shown = |download: &Download| {
        let shown = download.shown_to(PARENT);
        shown.iter().map(|piece| piece.0).collect::<Vec<_>>()
    };
    assert_eq!(shown(&download), [0, 4, 5, 6, 7]);
    let (host, piece) = (PARENT, PieceIndex(2));
    download.handle(Moment(3), Event::Revealed { host, piece });
    let told = actions(&mut download, Moment(3));
    assert_eq!(told, [Action::Admit { to: host, piece }]);
    download.handle(Moment(3), Event::Vouched);
    assert_eq!(shown(&download), [0, 1, 2, 3, 4, 5, 6, 7]);
}

/// A download of 64 pieces with a lease until then.
fn leased(until: Moment) -> (Download, Lease) {
    let layout = Layout::custom(ByteCount::mib(64), ByteCount::mib(1)).expect("a sound layout");
    let have = PieceSet::empty(layout.piece_count());
    let mut download = Download::new(layout, have, DownloadPolicy::default(), Chance::seeded(1));
    download.handle(Moment(1), Event::WantAll(true));
    let (epoch, run) = (Epoch(3), layout.all());
    let lease = Lease { epoch, run, until };
    download.handle(Moment(1), Event::Leased(lease));
    (download, lease)
}

fn stops(actions: &[Action]) -> bool {
    let is_stop = |action: &Action| matches!(action, Action::StopImport { .. });
    actions.iter().any(is_stop)
}

/// What was asked of the origin arrives. Returns whether more is read then.
fn reads_on(download: &mut Download, runs: &[Action], at: Moment) -> bool {
    for action in runs {
        if let Action::Import { run, .. } = action {
            for piece in run.pieces() {
                let from = Supplier::Origin;
                download.handle(at, Event::Verified { piece, from });
            }
        }
    }
    let next = actions(download, at);
    next.iter()
        .any(|action| matches!(action, Action::Import { epoch: Some(_), .. }))
}

#[test]
fn an_importer_goes_on_while_no_scheduler_is_there() {
    let (mut download, lease) = leased(Moment(1_000_000));
    let runs: Vec<Action> = actions(&mut download, Moment(1))
        .into_iter()
        .take(1)
        .collect();
    download.handle(Moment(2), Event::SchedulerAway(true));
    download.handle(Moment(2_000_000), Event::Tick);
    assert!(!stops(&actions(&mut download, Moment(2_000_000))));
    assert!(download.is_caretaker());
    assert!(reads_on(&mut download, &runs, Moment(2_000_001)));
    download.handle(Moment(2_000_002), Event::SchedulerAway(false));
    let until = Moment(9_000_000);
    download.handle(Moment(2_000_003), Event::Leased(Lease { until, ..lease }));
    assert!(!download.is_caretaker() && download.is_importer());
    download.handle(until, Event::Tick);
    assert!(
        stops(&actions(&mut download, until)),
        "a new lease ends as any"
    );
}

#[test]
fn a_caretaker_stops_when_a_scheduler_says_so() {
    let (mut download, lease) = leased(Moment(1_000_000));
    download.handle(Moment(2), Event::SchedulerAway(true));
    download.handle(Moment(2_000_000), Event::Tick);
    actions(&mut download, Moment(2_000_000));
    let epoch = lease.epoch;
    download.handle(Moment(2_000_001), Event::LeaseEnded { epoch });
    assert!(stops(&actions(&mut download, Moment(2_000_001))));
    assert!(!download.is_caretaker() && !download.is_importer());
    download.handle(Moment(2_000_002), Event::SchedulerAway(true));
    assert!(!download.is_importer(), "what was taken back stays so");
}

#[test]
fn a_scheduler_that_counts_anew_from_below_is_obeyed() {
    let (mut download, lease) = leased(Moment::NEVER);
    let (older, epoch) = (Epoch(lease.epoch.0 - 1), lease.epoch);
    download.handle(Moment(2), Event::LeaseEnded { epoch });
    let epoch = older;
    download.handle(Moment(3), Event::Leased(Lease { epoch, ..lease }));
    assert!(!download.is_importer(), "an old grant that is late");
    download.handle(Moment(4), Event::SchedulerAway(true));
    download.handle(Moment(5), Event::SchedulerAway(false));
    download.handle(Moment(6), Event::Leased(Lease { epoch, ..lease }));
    assert!(download.is_importer());
}

#[test]
fn a_lease_that_ran_out_in_silence_goes_on_once_the_scheduler_is_known_to_be_away() {
    let (mut download, _) = leased(Moment(1_000_000));
    actions(&mut download, Moment(1));
    download.handle(Moment(1_000_000), Event::Tick);
    assert!(
        stops(&actions(&mut download, Moment(1_000_000))),
        "somebody else may have it"
    );
    assert!(!download.is_importer());
    download.handle(Moment(1_000_001), Event::SchedulerAway(true));
    assert!(download.is_caretaker());
    assert!(reads_on(&mut download, &[], Moment(1_000_001)));
}

/// A download of 64 pieces with a blocked reader, whose scheduler is away, and which knows nobody.
fn alone() -> Download {
    let layout = Layout::custom(ByteCount::mib(64), ByteCount::mib(1)).expect("a sound layout");
    let have = PieceSet::empty(layout.piece_count());
    let mut download = Download::new(layout, have, DownloadPolicy::default(), Chance::seeded(1));
    download.handle(Moment(1), Event::SchedulerAway(true));
    let (reader, run) = (ReaderNo(1), layout.all());
    download.handle(Moment(1), Event::Read { reader, run });
    download
}

/// Lets every run of `begun` arrive at `at`, with the reader following. Returns what is read then.
fn arrives(download: &mut Download, begun: &[PieceRun], at: Moment) -> Vec<PieceRun> {
    for piece in begun.iter().flat_map(|run| run.pieces()) {
        let from = Supplier::Origin;
        download.handle(at, Event::Verified { piece, from });
        let (reader, next) = (ReaderNo(1), PieceIndex(piece.0 + 1));
        download.handle(at, Event::ReadAt { reader, at: next });
    }
    unleased(download, at)
}

fn unleased(download: &mut Download, at: Moment) -> Vec<PieceRun> {
    let run = |action: &Action| match action {
        Action::Import { run, epoch: None } => Some(*run),
        _ => None,
    };
    actions(download, at).iter().filter_map(run).collect()
}

/// Wakes `download` until it reads the origin on its own. Returns when, and what it reads.
fn waits_for_nobody(download: &mut Download, mut at: Moment) -> (Moment, Vec<PieceRun>) {
    loop {
        at = download
            .deadline(at)
            .expect("a blocked reader is cared for");
        download.handle(at, Event::Tick);
        let begun = unleased(download, at);
        if !begun.is_empty() {
            return (at, begun);
        }
    }
}

#[test]
fn a_host_that_hears_of_nobody_waits_once_and_reads_on() {
    let mut download = alone();
    let (at, mut begun) = waits_for_nobody(&mut download, Moment(1));
    assert!(at > Moment(1) + DownloadPolicy::default().patience_min);
    assert_eq!(begun.len(), 1, "only what the reader is blocked on");
    let mut read = 0;
    while read < 64 {
        read += begun.iter().map(|run| run.count).sum::<u32>();
        begun = arrives(&mut download, &begun, at);
        assert!(read == 64 || !begun.is_empty(), "no pause after {read}");
    }
}

#[test]
fn a_host_that_reads_on_alone_asks_for_the_next_run_before_one_ends() {
    let mut download = alone();
    let (at, begun) = waits_for_nobody(&mut download, Moment(1));
    let most = PieceRun {
        count: begun[0].count / 2,
        ..begun[0]
    };
    let next = arrives(&mut download, &[most], at);
    assert_eq!(next.len(), 1);
    let reach = download.reach(at, next[0]);
    assert!(reach.count > next[0].count, "it follows in the same stream");
}

#[test]
fn a_host_alone_waits_again_once_somebody_cares() {
    let mut download = alone();
    let (at, begun) = waits_for_nobody(&mut download, Moment(1));
    download.handle(at, Event::Acknowledged);
    assert!(arrives(&mut download, &begun, at).is_empty());
    let (later, _) = waits_for_nobody(&mut download, at);
    assert!(later > at + DownloadPolicy::default().patience_min);
}

#[test]
fn what_a_neighbour_has_is_not_read_from_the_origin_alone() {
    let mut download = alone();
    let (at, begun) = waits_for_nobody(&mut download, Moment(1));
    let have = PieceSet::full(download.layout().piece_count());
    let (host, slots) = (PARENT, SlotHint::default());
    download.handle(at, Event::Joined { host, have, slots });
    assert!(arrives(&mut download, &begun, at).is_empty());
}

#[test]
fn a_reader_goes_to_the_origin_at_once_if_nobody_else_will() {
    let mut download = alone();
    download.handle(Moment(2), Event::NobodyImports);
    assert_eq!(unleased(&mut download, Moment(2)).len(), 1);
}
