use types::{ByteCount, Epoch, Layout, PieceIndex, PieceRun};

use super::*;
use crate::download::{Lease, Supplier};

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
