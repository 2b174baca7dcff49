//! What is known about a content beside its bytes, and that it survives.

use types::{Epoch, HostId, Seal, Segment, Source};

use super::*;
use crate::{CompleteError, CreateError};

#[test]
fn a_content_is_created_once() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    put(&content, 1, 0);
    assert_eq!(holds(&store.create(new(1)).expect("the same")), [0]);
    let other = Layout::of(layout().length()).expect("a layout");
    assert!(matches!(
        store.create(NewContent { layout: other, ..new(1) }),
        Err(CreateError::Layout { stored }) if stored == layout()
    ));
    let many = Layout::custom(ByteCount(1 << 40), ByteCount(1024)).expect("a layout");
    assert!(matches!(
        store.create(NewContent {
            layout: many,
            ..new(2)
        }),
        Err(CreateError::TooManyPieces(_))
    ));
}

#[test]
fn everything_survives_a_restart() {
    let dir = directory();
    let store = open(&dir);
    let content = store
        .create(NewContent {
            source: Some(Source::Url("https://example.com/f".into())),
            name: Some("é".repeat(2000)),
            ..new(1)
        })
        .expect("created");
    put_all(&content, 1);
    let segment = Segment {
        task: task(1),
        layout: layout(),
        epoch: Epoch(3),
        first: PieceIndex(1),
        digests: vec![digest(1, 1), digest(1, 2)],
        signer: HostId::from_bytes([9; 32]),
        signature: [8; 64],
    };
    assert!(
        content
            .put_segment(segment.clone(), |_| false)
            .expect("ours")
    );
    let seal = Seal {
        task: task(1),
        layout: layout(),
        root: content.table().expect("whole").root(),
        signer: HostId::from_bytes([9; 32]),
        signature: [7; 64],
    };
    content.put_seal(seal.clone()).expect("ours");
    content.set_complete(sha(1)).expect("complete");
    let before = store.list();
    drop((content, store));

    let store = open(&dir);
    let after = store.list();
    assert_eq!(after.len(), 1);
    assert!(before[0].in_use && !after[0].in_use);
    assert_eq!(
        crate::ContentInfo {
            in_use: true,
            ..after[0].clone()
        },
        before[0]
    );
    assert_eq!(after[0].name.as_ref().map(String::len), Some(1024));
    let content = store.content(task(1)).expect("reads").expect("held");
    content.set_visibility(Visibility::Public);
    drop(content);
    assert_eq!(store.task_of(sha(1)), Some(task(1)));
    let content = handle(&store, 1);
    assert_eq!(
        (content.segments(), content.seal()),
        (vec![segment], Some(seal))
    );
    assert_eq!(
        read(&content, 3).expect("held"),
        bytes(1, &layout(), PieceIndex(3))
    );
}

#[test]
fn who_vouches_is_told_without_opening_the_content() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    let (nobody, one) = (Some(Vec::new()), Some(vec![HostId::from_bytes([9; 32])]));
    let vouched = |store: &Store| store.info(task(1)).expect("there").vouchers;
    let vouch = |first, count| {
        let segment = Segment {
            task: task(1),
            layout: layout(),
            epoch: Epoch(1),
            first: PieceIndex(first),
            digests: vec![digest(1, first); count],
            signer: HostId::from_bytes([9; 32]),
            signature: [8; 64],
        };
        assert!(content.put_segment(segment, |_| false).expect("ours"));
        vouched(&store)
    };
    put_all(&content, 1);
    assert_eq!(vouch(3, 2), nobody);
    assert_eq!(vouch(0, 2), nobody, "nobody vouches for the third");
    assert_eq!(vouch(1, 2), one);
    drop((content, store));

    let store = open(&dir);
    assert_eq!(store.list()[0].vouchers, one);
    assert!(!store.list()[0].in_use);
    let forget = |record: &mut crate::record::TaskRecord| record.vouchers = None;
    store.shared.change_record(task(1), forget);
    drop(store);

    // As an older release leaves it.
    let store = open(&dir);
    assert_eq!(vouched(&store), None);
    drop(handle(&store, 1));
    drop(store);
    let store = open(&dir);
    assert_eq!(vouched(&store), one, "once it was looked at");
    handle(&store, 1).void_all().expect("voided");
    assert_eq!(vouched(&store), nobody);
}

#[test]
fn who_signed_is_asked_of_few_however_many_segments_there_are() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    let asked = std::cell::Cell::new(0);
    for first in 0..5 {
        let segment = Segment {
            task: task(1),
            layout: layout(),
            epoch: Epoch(1),
            first: PieceIndex(first),
            digests: vec![digest(1, first)],
            signer: HostId::from_bytes([9; 32]),
            signature: [8; 64],
        };
        let is_first = |_: &HostId| {
            asked.set(asked.get() + 1);
            true
        };
        assert!(content.put_segment(segment, is_first).expect("ours"));
    }
    assert_eq!(asked.get(), 5, "once for each");
}

#[test]
fn segments_are_kept_once_and_the_newer_epoch_wins() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    let segment = |epoch, first, count| Segment {
        task: task(1),
        layout: layout(),
        epoch: Epoch(epoch),
        first: PieceIndex(first),
        digests: vec![digest(1, first); count],
        signer: HostId::from_bytes([9; 32]),
        signature: [8; 64],
    };
    let put = |segment| content.put_segment(segment, |_| false).expect("ours");
    assert!(put(segment(2, 1, 2)));
    assert!(!put(segment(2, 1, 2)));
    assert!(!put(segment(1, 2, 1)));
    assert!(!put(segment(1, 1, 4)));
    assert!(put(segment(2, 0, 5)));
    assert_eq!(content.segments(), [segment(2, 0, 5)]);
    assert!(put(segment(3, 1, 1)));
    let seed = HostId::from_bytes([7; 32]);
    let of_seed = Segment {
        signer: seed,
        ..segment(1, 1, 1)
    };
    let put_by_rank = |segment| content.put_segment(segment, |signer| *signer == seed);
    assert!(put_by_rank(of_seed.clone()).expect("ours"));
    assert!(
        !put_by_rank(segment(9, 1, 1)).expect("ours"),
        "it is no seed"
    );
    assert_eq!(content.segments()[1], of_seed);
    for foreign in [
        Segment {
            task: task(2),
            ..segment(9, 0, 1)
        },
        Segment {
            layout: Layout::of(layout().length()).expect("a layout"),
            ..segment(9, 0, 1)
        },
        segment(9, 0, 6),
        segment(9, 0, 0),
    ] {
        assert!(content.put_segment(foreign, |_| false).is_err());
    }
    drop((content, store));
    let epochs: Vec<_> = handle(&open(&dir), 1)
        .segments()
        .iter()
        .map(|segment| segment.epoch.0)
        .collect();
    assert_eq!(epochs, [2, 1]);
}

#[test]
fn a_word_that_a_piece_matches_gives_way_to_none_that_it_does_not() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    put_all(&content, 1);
    let segment = |epoch, of: u8| Segment {
        task: task(1),
        layout: layout(),
        epoch: Epoch(epoch),
        first: PieceIndex(2),
        digests: vec![digest(of, 2)],
        signer: HostId::from_bytes([9; 32]),
        signature: [8; 64],
    };
    let put = |segment| content.put_segment(segment, |_| false).expect("ours");
    assert!(put(segment(7, 2)), "there is no other");
    assert!(put(segment(3, 1)) && !put(segment(8, 2)));
    assert_eq!(content.segments(), [segment(3, 1)]);
}

#[test]
fn what_is_private_is_not_found_by_its_digest_until_it_is_public() {
    let dir = directory();
    let store = open(&dir);
    let private = NewContent {
        digest: Some(sha(1)),
        visibility: Visibility::Private,
        ..new(1)
    };
    let content = store.create(private).expect("created");
    put_all(&content, 1);
    content.set_complete(sha(1)).expect("complete");
    assert_eq!(store.task_of(sha(1)), None);
    content.set_visibility(Visibility::Public);
    assert_eq!(store.task_of(sha(1)), Some(task(1)));
    // Whoever asks for it as private later changes nothing.
    let again = NewContent {
        visibility: Visibility::Private,
        ..new(1)
    };
    let again = store.create(again).expect("there");
    assert_eq!(store.task_of(sha(1)), Some(task(1)));
    drop((content, again));
}

#[test]
fn a_digest_is_a_second_name_and_never_changes() {
    let dir = directory();
    let store = open(&dir);
    let content = store
        .create(NewContent {
            digest: Some(sha(1)),
            visibility: Visibility::Public,
            ..new(1)
        })
        .expect("created");
    assert_eq!(store.task_of(sha(1)), Some(task(1)));
    assert!(matches!(
        content.set_digest(sha(2)),
        Err(CompleteError::Digest { .. })
    ));
    assert!(matches!(
        content.set_complete(sha(1)),
        Err(CompleteError::Missing(PieceIndex(0)))
    ));
    let second = store
        .create(NewContent {
            digest: None,
            visibility: Visibility::Public,
            ..new(2)
        })
        .expect("created");
    put_all(&second, 2);
    second.set_complete(sha(1)).expect("complete");
    assert_eq!(store.task_of(sha(1)), Some(task(2)));
    drop((content, second));
    store.remove(task(2)).expect("removed");
    assert_eq!(store.task_of(sha(1)), Some(task(1)));
    store.remove(task(1)).expect("removed");
    assert_eq!(store.task_of(sha(1)), None);
}
