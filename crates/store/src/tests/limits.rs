//! Quota, floor, eviction, and a disk that is really full.

use super::*;
use crate::{CreateError, DiskError, Limit, WriteError};

fn limited(dir: &tempfile::TempDir, quota: u64) -> Store {
    reopen(StoreConfig {
        quota: Some(ByteCount(quota)),
        ..config(dir)
    })
    .0
}

fn room(result: Result<Content, CreateError>) -> Limit {
    match result {
        Err(CreateError::Disk(DiskError::NoSpace { limit, .. })) => limit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_quota_is_asked_before_the_first_byte() {
    let dir = directory();
    let length = layout().length().0;
    let store = limited(&dir, 2 * length - 1);
    let first = store.create(new(1)).expect("fits");
    assert_eq!(room(store.create(new(2))), Limit::Quota);
    assert!(!file_of(&dir, 2).exists());
    put(&first, 1, 0);
    let usage = store.usage().expect("known");
    assert_eq!(
        (usage.used, usage.reserved),
        (ByteCount(PIECE), ByteCount(length - PIECE))
    );
    drop(first);
    assert_eq!(store.usage().expect("known").reserved, ByteCount::ZERO);
    let second = store
        .create(new(2))
        .expect("the first one's promise went with its handle");
    drop(second);
    put_all(&store.create(new(1)).expect("still fits"), 1);
    assert_eq!(room(store.create(new(2))), Limit::Quota);
}

#[test]
fn sparse_content_is_reserved_piece_by_piece() {
    let dir = directory();
    let store = limited(&dir, 2 * PIECE);
    assert_eq!(room(store.create(new(1))), Limit::Quota);
    let sparse = NewContent {
        reserve: Reserve::EachPiece,
        ..new(1)
    };
    let content = store.create(sparse).expect("nothing yet");
    put(&content, 1, 1);
    let writer = content.writer(PieceIndex(2)).expect("fits");
    assert!(matches!(
        content.writer(PieceIndex(3)),
        Err(WriteError::Disk(DiskError::NoSpace {
            limit: Limit::Quota,
            ..
        }))
    ));
    drop(writer);
    put(&content, 1, 3);
    drop(content);
    let usage = store.usage().expect("known");
    assert_eq!(
        (usage.used, usage.reserved),
        (ByteCount(2 * PIECE), ByteCount::ZERO)
    );
}

#[test]
fn the_floor_stays_free() {
    let dir = directory();
    let (store, _) = reopen(StoreConfig {
        free_floor: ByteCount(u64::MAX),
        ..config(&dir)
    });
    assert_eq!(room(store.create(new(1))), Limit::Floor);
}

#[test]
fn the_ledger_is_rebuilt_at_the_start() {
    let dir = directory();
    let store = open(&dir);
    put_all(&store.create(new(1)).expect("created"), 1);
    let partly = store.create(new(2)).expect("created");
    put(&partly, 2, 4);
    drop((partly, store));
    let (store, recovery) = reopen(config(&dir));
    let used = ByteCount(layout().length().0 + 100);
    assert_eq!(
        (
            store.usage().expect("known").used,
            recovery.held,
            recovery.contents
        ),
        (used, used, 2)
    );
}

#[test]
fn eviction_takes_what_was_chosen_but_never_what_is_in_use() {
    let dir = directory();
    let length = layout().length().0;
    let store = limited(&dir, 3 * length);
    for number in 1..=3 {
        put_all(&store.create(new(number)).expect("fits"), number);
    }
    let used = handle(&store, 2);
    let mut seen = Vec::new();
    let freed = store
        .make_room(ByteCount(10), |candidates, short| {
            assert_eq!(short, ByteCount(10));
            seen = candidates.iter().map(|info| info.task).collect();
            // Somebody takes the third one while we think.
            std::mem::forget(handle(&store, 3));
            vec![task(1), task(2), task(3), task(77)]
        })
        .expect("committed");
    assert_eq!(seen, [task(1), task(3)]);
    assert_eq!(freed, ByteCount(length));
    assert_eq!(store.list().len(), 2);
    read(&used, 0).expect("untouched");
    let unasked = |_: &[crate::ContentInfo], _| panic!("there is room");
    assert_eq!(
        store
            .make_room(ByteCount(10), unasked)
            .expect("nothing to do"),
        ByteCount::ZERO
    );
}

#[test]
fn a_given_up_piece_gives_its_blocks_back() {
    use std::os::unix::fs::MetadataExt;
    let dir = directory();
    let store = open(&dir);
    let layout = Layout::of(ByteCount::mib(2)).expect("a layout");
    let content = store
        .create(NewContent { layout, ..new(1) })
        .expect("created");
    let mut writer = content.writer(PieceIndex(3)).expect("free");
    writer.write(&vec![1; 100 << 10]).expect("written");
    content.live.file.sync_all().expect("synced");
    let blocks = || content.live.file.metadata().expect("there").blocks();
    let before = blocks();
    drop(writer);
    if blocks() >= before {
        eprintln!("SKIPPED: this file system punches no holes");
    }
    assert_eq!(store.usage().expect("known").reserved, layout.length());
}

/// A file system of 4 MiB that goes with this.
struct Tiny(tempfile::TempDir);

impl Tiny {
    fn mount() -> Option<Self> {
        let dir = directory();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|done| done.status.success());
        mounted.then_some(Self(dir))
    }

    fn remount(&self, how: &str) -> bool {
        std::process::Command::new("mount")
            .args(["-o", &format!("remount,{how}")])
            .arg(self.0.path())
            .output()
            .is_ok_and(|done| done.status.success())
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .output();
    }
}

/// A segment as long as they get: the index must grow for it.
fn segment(content: &Content, first: u32) -> types::Segment {
    types::Segment {
        task: content.task(),
        layout: content.layout(),
        epoch: types::Epoch(1),
        first: PieceIndex(first),
        digests: vec![digest(1, 0); 1024],
        signer: types::HostId::from_bytes([9; 32]),
        signature: [8; 64],
    }
}

#[test]
fn a_full_disk_is_a_clear_error_and_heals() {
    let Some(tiny) = Tiny::mount() else {
        eprintln!("SKIPPED: no tmpfs can be mounted here");
        return;
    };
    let store = open(&tiny.0);
    let layout = Layout::custom(ByteCount::mib(3), ByteCount(1024)).expect("a layout");
    let content = store
        .create(NewContent {
            layout,
            reserve: Reserve::EachPiece,
            ..new(1)
        })
        .expect("created");
    put(&content, 1, 0);
    store.commit().expect("committed");
    // Pieces of other pages; somebody else fills the disk after we had our room.
    let mut writer = content.writer(PieceIndex(4)).expect("room");
    let ballast = tiny.0.path().join("ballast");
    let mut fill = std::fs::File::create(&ballast).expect("created");
    while std::io::Write::write_all(&mut fill, &[1; 4096]).is_ok() {}
    let piece = bytes(1, &layout, PieceIndex(4));
    assert!(matches!(
        writer.write(&piece),
        Err(WriteError::Disk(DiskError::NoSpace {
            limit: Limit::Disk,
            ..
        }))
    ));
    assert!(matches!(
        content.writer(PieceIndex(8)),
        Err(WriteError::Disk(DiskError::NoSpace {
            limit: Limit::Floor,
            ..
        }))
    ));
    read(&content, 0).expect("what is there stays readable");
    for first in 0..3 {
        let segment = segment(&content, first * 1024);
        content.put_segment(segment, |_| false).expect("ours");
    }
    assert!(matches!(
        store.commit(),
        Err(DiskError::NoSpace {
            limit: Limit::Disk,
            ..
        })
    ));
    assert!(store.commit().is_err());
    drop(fill);
    std::fs::remove_file(ballast).expect("removed");
    writer.write(&piece).expect("the same bytes again");
    writer.finish(None).expect("marked");
    store.commit().expect("the index works again");
    drop((content, store));
    let store = open(&tiny.0);
    assert_eq!(holds(&handle(&store, 1)), [0, 4]);
    assert_eq!(handle(&store, 1).segments().len(), 3);
}

#[test]
fn a_read_only_disk_is_a_clear_error() {
    let Some(tiny) = Tiny::mount() else {
        eprintln!("SKIPPED: no tmpfs can be mounted here");
        return;
    };
    drop(open(&tiny.0));
    if !tiny.remount("ro") {
        eprintln!("SKIPPED: the tmpfs cannot be made read-only");
        return;
    }
    assert!(matches!(
        Store::open(config(&tiny.0)),
        Err(crate::OpenError::Disk(DiskError::ReadOnly { .. }))
    ));
    assert!(tiny.remount("rw"));
    open(&tiny.0);
}
