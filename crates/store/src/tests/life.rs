//! Writing, reading, voiding and removing.

use std::{io::Read, os::unix::fs::PermissionsExt, sync::Arc};

use types::{ByteRange, PieceRun, PieceTable};

use super::*;
use crate::{CreateError, DiskError, OpenError, ReadError, RemoveError, WriteError};

#[test]
fn what_was_written_is_read() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    put(&content, 1, 2);
    put(&content, 1, 4);
    assert_eq!(holds(&content), [2, 4]);
    assert_eq!(
        read(&content, 4).expect("held"),
        bytes(1, &layout(), PieceIndex(4))
    );
    assert_eq!(content.digest_of(PieceIndex(2)), Some(digest(1, 2)));
    assert!(matches!(
        read(&content, 1),
        Err(ReadError::Missing(PieceIndex(1)))
    ));
    let mut over = [0; 4096];
    assert!(matches!(
        content.read_at(2 * PIECE + 1, &mut over),
        Err(ReadError::Missing(PieceIndex(3)))
    ));
    assert!(matches!(
        content.read_at(4 * PIECE, &mut over),
        Err(ReadError::OutOfRange { .. })
    ));
    assert!(matches!(
        content.read_at(u64::MAX, &mut over),
        Err(ReadError::OutOfRange { .. })
    ));
    content
        .read_at(layout().length().0, &mut [])
        .expect("nothing is always there");
    let run = PieceRun {
        first: PieceIndex(4),
        count: 9,
    };
    assert!(matches!(
        content.verify_run(run),
        Err(ReadError::Missing(PieceIndex(5)))
    ));
}

#[test]
fn a_wrong_piece_is_never_marked() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    let piece = PieceIndex(0);
    let whole = bytes(1, &layout(), piece);
    let start = || content.writer(piece).expect("free again");

    let mut writer = start();
    writer.write(&bytes(2, &layout(), piece)).expect("written");
    assert!(matches!(
        writer.finish(Some(digest(1, 0))),
        Err(WriteError::Digest {
            piece: PieceIndex(0),
            ..
        })
    ));
    let mut writer = start();
    writer.write(&whole[1..]).expect("written");
    assert!(matches!(
        writer.finish(None),
        Err(WriteError::Length { .. })
    ));
    let mut writer = start();
    writer.write(&whole).expect("written");
    assert!(matches!(writer.write(&[0]), Err(WriteError::Length { .. })));
    drop(writer);
    assert!(content.have().is_empty());
    assert!(matches!(
        content.writer(PieceIndex(5)),
        Err(WriteError::NoSuchPiece(_))
    ));

    let mut writer = start();
    writer.write(&whole).expect("written");
    assert_eq!(
        writer.finish(Some(digest(1, 0))).expect("marked"),
        digest(1, 0)
    );
}

#[test]
fn a_piece_has_one_writer_and_is_never_written_twice() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    let piece = PieceIndex(1);
    let writer = content.writer(piece).expect("free");
    assert!(matches!(content.writer(piece), Err(WriteError::Busy(_))));
    drop(writer);
    put(&content, 1, 1);
    assert!(matches!(
        content.clone().writer(piece),
        Err(WriteError::Held(_))
    ));
    assert_eq!(read(&content, 1).expect("held"), bytes(1, &layout(), piece));
}

#[test]
fn many_writers_at_once_mark_each_piece_once() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    let marked: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4u32)
            .map(|thread| {
                let content = content.clone();
                scope.spawn(move || {
                    let mut marked = 0;
                    for round in 0..50 {
                        let piece = PieceIndex((round + thread) % 5);
                        if let Ok(mut writer) = content.writer(piece) {
                            // Some give up half way.
                            let bytes = bytes(1, &content.layout(), piece);
                            writer.write(&bytes[..50]).expect("written");
                            if round % 3 != 0 {
                                writer.write(&bytes[50..]).expect("written");
                                writer.finish(None).expect("marked");
                                marked += 1;
                            }
                        }
                    }
                    marked
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .sum()
    });
    assert_eq!(marked, 5);
    for piece in 0..5 {
        assert_eq!(
            read(&content, piece).expect("held"),
            bytes(1, &layout(), PieceIndex(piece))
        );
    }
    assert_eq!(store.usage().expect("known").used, layout().length());
}

#[test]
fn comings_and_goings_at_once_never_mix_contents() {
    let dir = directory();
    let store = limited_pace(&dir);
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let store = store.clone();
            scope.spawn(move || {
                for round in 0..60u8 {
                    let number = 1 + (round + thread) % 3;
                    let content = store.create(new(number)).expect("created");
                    let piece = PieceIndex(u32::from(round % 5));
                    match content.writer(piece) {
                        Ok(mut writer) => {
                            let bytes = bytes(number, &layout(), piece);
                            writer.write(&bytes).expect("written");
                            writer
                                .finish(Some(digest(number, piece.0)))
                                .expect("marked");
                        }
                        Err(WriteError::Held(_) | WriteError::Busy(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                    for piece in content.have().iter() {
                        match read(&content, piece.0) {
                            Ok(found) => assert_eq!(found, bytes(number, &layout(), piece)),
                            Err(ReadError::Missing(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                    if round % 5 == thread {
                        content.forget(piece).expect("committed");
                    }
                    drop(content);
                    if round % 4 == thread {
                        let _ = store.remove(task(number));
                    }
                    if round % 7 == 0 {
                        store.scrub_step(ByteCount(PIECE)).expect("readable");
                    }
                }
            });
        }
    });
    let held: u64 = store.list().iter().map(|info| info.held.0).sum();
    let usage = store.usage().expect("known");
    assert_eq!(
        (usage.used, usage.reserved),
        (ByteCount(held), ByteCount::ZERO)
    );
}

fn limited_pace(dir: &tempfile::TempDir) -> Store {
    reopen(StoreConfig {
        commit_every: Some(std::time::Duration::from_millis(2)),
        ..config(dir)
    })
    .0
}

#[test]
fn each_byte_is_hashed_once() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    put_all(&content, 1);
    content.sync().expect("synced");
    for piece in 0..5 {
        read(&content, piece).expect("held");
    }
    let counters = store.counters();
    assert_eq!(
        (counters.written, counters.rehashed),
        (layout().length(), ByteCount::ZERO)
    );
}

#[test]
fn the_table_folds_to_the_hash_of_the_content() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    put(&content, 1, 0);
    assert_eq!(content.table(), None);
    (1..5).for_each(|piece| put(&content, 1, piece));
    let digests = (0..5).map(|piece| digest(1, piece)).collect();
    assert_eq!(content.table(), PieceTable::new(&layout(), digests).ok());
}

#[test]
fn empty_content_is_one_empty_piece() {
    let dir = directory();
    let store = open(&dir);
    let layout = Layout::of(ByteCount::ZERO).expect("a layout");
    let content = store
        .create(NewContent { layout, ..new(1) })
        .expect("created");
    content
        .writer(PieceIndex(0))
        .expect("free")
        .finish(None)
        .expect("marked");
    content.set_complete(sha(1)).expect("complete");
    content.verify_run(layout.all()).expect("held");
    content.read_at(0, &mut []).expect("nothing");
    store.close().expect("closed");
    drop((content, store));
    assert!(handle(&open(&dir), 1).is_complete());
}

#[test]
fn a_forgotten_piece_is_missing_and_can_be_written_again() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    put_all(&content, 1);
    content.set_complete(sha(1)).expect("complete");
    assert!(content.forget(PieceIndex(2)).expect("committed"));
    assert!(!content.forget(PieceIndex(2)).expect("nothing to do"));
    assert!(!content.is_complete());
    assert_eq!(holds(&content), [0, 1, 3, 4]);
    put(&content, 1, 2);
    assert_eq!(store.usage().expect("known").used, layout().length());
    assert_eq!(
        read(&content, 2).expect("held"),
        bytes(1, &layout(), PieceIndex(2))
    );
}

#[test]
fn a_voided_content_takes_its_writers_with_it() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    put(&content, 1, 0);
    let mut writer = content.writer(PieceIndex(1)).expect("free");
    writer
        .write(&bytes(1, &layout(), PieceIndex(1)))
        .expect("written");
    content.void_all().expect("committed");
    assert!(matches!(writer.finish(None), Err(WriteError::Voided(_))));
    assert!(content.have().is_empty());
    assert_eq!(store.usage().expect("known").used, ByteCount::ZERO);
    put_all(&content, 2);
    drop((content, store));
    let store = open(&dir);
    assert_eq!(
        read(&handle(&store, 1), 0).expect("held"),
        bytes(2, &layout(), PieceIndex(0))
    );
}

#[test]
fn a_removed_content_comes_back_empty() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    put_all(&content, 1);
    assert!(matches!(store.remove(task(1)), Err(RemoveError::Busy)));
    drop(content);
    assert_eq!(store.remove(task(1)).expect("removed"), layout().length());
    assert!(matches!(store.remove(task(1)), Err(RemoveError::Unknown)));
    assert!(!file_of(&dir, 1).exists());
    assert!(store.content(task(1)).expect("readable").is_none());
    let content = store.create(new(1)).expect("created");
    assert!(content.have().is_empty());
    drop((content, store));
    assert!(handle(&open(&dir), 1).have().is_empty());
}

#[test]
fn a_descriptor_to_pass_on_can_only_read() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    put_all(&content, 1);
    content.verify_run(layout().all()).expect("held");
    let shared = content.file().expect("opened");
    assert!(Arc::ptr_eq(&shared, &content.file().expect("opened")));
    assert!(std::io::Write::write(&mut &*shared, b"x").is_err());
    let mut file = std::fs::File::from(content.open_read_only().expect("opened"));
    let mut first = [0; PIECE as usize];
    file.read_exact(&mut first).expect("read");
    assert_eq!(first[..], bytes(1, &layout(), PieceIndex(0)));
    assert!(std::io::Write::write(&mut file, b"x").is_err());
}

#[test]
fn after_closing_nothing_changes() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    put(&content, 1, 0);
    let mut late = content.writer(PieceIndex(1)).expect("free");
    late.write(&bytes(1, &layout(), PieceIndex(1)))
        .expect("written");
    store.close().expect("closed");
    store.close().expect("closed twice");
    assert!(matches!(
        late.finish(None),
        Err(WriteError::Disk(DiskError::Closed))
    ));
    assert!(matches!(
        content.writer(PieceIndex(1)),
        Err(WriteError::Disk(DiskError::Closed))
    ));
    assert!(matches!(
        store.create(new(2)),
        Err(CreateError::Disk(DiskError::Closed))
    ));
    assert!(matches!(store.commit(), Err(DiskError::Closed)));
    read(&content, 0).expect("still readable");
}

#[test]
fn a_store_has_one_owner() {
    let dir = directory();
    let store = open(&dir);
    assert!(matches!(
        Store::open(config(&dir)),
        Err(OpenError::Locked { dir: named }) if named == dir.path().join("data")
    ));
    drop(store);
    open(&dir);
}

#[test]
fn every_path_is_ours_alone_and_named_by_its_task() {
    let dir = directory();
    let store = open(&dir);
    let name = Some("../../etc/passwd\0".to_owned());
    put_all(
        &store
            .create(NewContent { name, ..new(1) })
            .expect("created"),
        1,
    );
    store.commit().expect("committed");
    let mut seen = Vec::new();
    let mut left = vec![dir.path().join("data")];
    while let Some(path) = left.pop() {
        let meta = path.symlink_metadata().expect("there");
        let mode = if meta.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(
            meta.permissions().mode() & 0o7777,
            mode,
            "{}",
            path.display()
        );
        if meta.is_dir() {
            left.extend(
                std::fs::read_dir(&path)
                    .expect("listed")
                    .map(|entry| entry.expect("listed").path()),
            );
        } else {
            seen.push(
                path.strip_prefix(dir.path())
                    .expect("inside")
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    }
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            format!("data/content/{}", task(1)),
            "data/index.redb".into(),
            "data/lock".into()
        ]
    );
}

#[test]
fn the_stores_own_thread_commits() {
    let dir = directory();
    let (store, _) = reopen(StoreConfig {
        commit_every: Some(std::time::Duration::from_millis(1)),
        ..config(&dir)
    });
    let content = store.create(new(1)).expect("created");
    put(&content, 1, 0);
    while content.live.state.lock().is_dirty() || store.counters().commits == 0 {
        std::thread::yield_now();
    }
    assert_eq!(holds(&content), [0]);
}

#[test]
fn handles_hand_out_what_a_range_needs() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    put_all(&content, 1);
    let range = ByteRange::new(PIECE - 3, PIECE + 3).expect("a range");
    let mut across = [0; 6];
    content.read_at(range.start(), &mut across).expect("held");
    let whole: Vec<u8> = (0..2)
        .flat_map(|piece| bytes(1, &layout(), PieceIndex(piece)))
        .collect();
    assert_eq!(across, whole[PIECE as usize - 3..PIECE as usize + 3]);
}

#[test]
fn what_was_asked_for_and_never_came_is_forgotten() {
    let dir = directory();
    let store = open(&dir);
    let content = store.create(new(1)).expect("created");
    let other = store.create(new(2)).expect("created");
    drop(store.create(new(3)).expect("created"));
    put(&other, 2, 0);
    drop(other);
    let listed = || {
        store
            .list()
            .iter()
            .map(|info| info.task)
            .collect::<Vec<_>>()
    };
    store.commit().expect("committed");
    assert_eq!(listed(), [task(1), task(2)], "somebody holds the first");
    drop(content);
    store.commit().expect("committed");
    assert_eq!(listed(), [task(2)]);
    let again = store.create(new(1)).expect("created anew");
    put(&again, 1, 0);
    assert_eq!(holds(&again), [0]);
}
