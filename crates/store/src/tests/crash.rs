//! Killed processes, lost machines, rotten disks, and what is believed afterwards.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
};

use super::*;
use crate::{OpenError, ReadError, RecordError, index::Index};

/// Large enough that a kill often hits the middle of a piece.
fn large() -> Layout {
    Layout::custom(ByteCount(200 * (64 << 10) + 17), ByteCount(64 << 10)).expect("a layout")
}

const CHILD: &str = "STORE_CRASH_DIRECTORY";

/// Not a test by itself: the process that [`a_killed_process_loses_marks_and_invents_none`] kills.
#[test]
fn a_child_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let (store, _) = reopen(StoreConfig {
        free_floor: ByteCount::ZERO,
        commit_every: Some(std::time::Duration::from_millis(3)),
        boot: boot(1),
        ..StoreConfig::new(dir)
    });
    // Nothing is taken back that the parent has not yet read of, since it may kill us on its word. It answers all lines but
    // the last.
    let mut said = 0;
    let heard = |said: usize| {
        let mut answers = vec![0; said];
        std::io::stdin().read_exact(&mut answers).expect("answered");
    };
    for round in 0.. {
        for number in [1, 2] {
            let content = store
                .create(NewContent {
                    layout: large(),
                    ..new(number)
                })
                .expect("created");
            for piece in large().all().pieces() {
                if content.writer(piece).is_err() {
                    continue;
                }
                put(&content, number, piece.0);
                if piece.0 % 16 == 15 {
                    store.commit().expect("committed");
                    println!("\ncommitted {number} {}", piece.0);
                    said += 1;
                }
                if piece.0 % 7 == 3 {
                    content.forget(PieceIndex(piece.0 - 1)).expect("committed");
                }
            }
            if round % 2 == 1 {
                heard(std::mem::take(&mut said));
                content.void_all().expect("committed");
                println!("\nvoided {number}");
                said += 1;
            }
            drop(content);
            if round % 3 == 2 {
                heard(std::mem::take(&mut said));
                println!("\nremoving {number}");
                said += 1;
                store.remove(task(number)).expect("removed");
            }
        }
    }
}

/// Starts the child, waits for `lines` lines of its progress, kills it, and gives the last of them.
fn run_and_kill(dir: &tempfile::TempDir, lines: usize) -> Option<String> {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args([
            "--exact",
            "tests::crash::a_child_writes_until_it_is_killed",
            "--nocapture",
        ])
        .env(CHILD, dir.path().join("data"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let progress = BufReader::new(child.stdout.take().expect("piped"));
    let mut answers = child.stdin.take().expect("piped");
    let progress = progress
        .lines()
        .map_while(Result::ok)
        .filter(|line| {
            ["committed", "voided", "removing"]
                .iter()
                .any(|word| line.starts_with(word))
        })
        .take(lines);
    let mut last = None;
    for (at, line) in progress.enumerate() {
        if at + 1 < lines {
            answers.write_all(&[0]).expect("it lives");
        }
        last = Some(line);
    }
    child.kill().expect("killed");
    child.wait().expect("gone");
    last
}

#[test]
fn a_killed_process_loses_marks_and_invents_none() {
    let dir = directory();
    for lines in [1, 2, 5, 9, 13, 14, 26, 30, 41, 60] {
        let last = run_and_kill(&dir, lines).expect("progress");
        let (store, recovery) = reopen(config(&dir));
        assert!(recovery.unclean && !recovery.recheck, "{recovery:?}");
        let mut held = 0;
        for info in store.list() {
            let content = store.content(info.task).expect("readable").expect("there");
            let number = info.task.as_bytes()[0];
            for piece in content.have().iter() {
                assert_eq!(
                    read(&content, piece.0).expect("held"),
                    bytes(number, &large(), piece),
                    "{piece} after {last}"
                );
                held += 1;
            }
            assert_eq!(content.have().len(), info.pieces);
        }
        if last.starts_with("committed") {
            assert!(held > 0, "after {last}");
        }
        assert_eq!(store.counters().rehashed, ByteCount::ZERO);
        let sum: u64 = store.list().iter().map(|info| info.held.0).sum();
        assert_eq!(store.usage().expect("known").used, ByteCount(sum));
    }
}

#[test]
fn uncommitted_marks_are_lost_and_their_blocks_given_back() {
    use std::os::unix::fs::MetadataExt;
    let dir = directory();
    let store = open(&dir);
    let layout = Layout::of(ByteCount::mib(4)).expect("a layout");
    let content = store
        .create(NewContent { layout, ..new(1) })
        .expect("created");
    put(&content, 1, 0);
    store.commit().expect("committed");
    (1..20).for_each(|piece| put(&content, 1, piece));
    content.live.file.sync_all().expect("synced");
    let before = content.live.file.metadata().expect("there").blocks();
    crash(store, content);
    let store = open(&dir);
    let content = handle(&store, 1);
    assert_eq!(holds(&content), [0]);
    assert_eq!(
        read(&content, 0).expect("held"),
        bytes(1, &layout, PieceIndex(0))
    );
    assert!(content.live.file.metadata().expect("there").blocks() < before);
}

/// Ends a store as a kill does: nothing more is committed, and only the kernel closes the descriptors.
fn crash(store: Store, content: Content) {
    // A closed flag without a close keeps the last commit from happening.
    store
        .shared
        .closed
        .store(true, std::sync::atomic::Ordering::Release);
    drop((store, content));
}

/// A store with one content that is all there.
fn holding_all(dir: &tempfile::TempDir) -> (Store, Content) {
    let store = open(dir);
    let content = store.create(new(1)).expect("created");
    put_all(&content, 1);
    (store, content)
}

fn after_reboot(dir: &tempfile::TempDir) -> (Store, Recovery) {
    reopen(StoreConfig {
        boot: boot(2),
        ..config(dir)
    })
}

#[test]
fn after_an_unclean_boot_each_piece_is_hashed_before_its_first_use() {
    let dir = directory();
    let (store, content) = holding_all(&dir);
    content.sync().expect("synced");
    crash(store, content);
    flip(&dir, 1, 2);

    let (store, recovery) = after_reboot(&dir);
    assert!(recovery.unclean && recovery.recheck);
    let content = handle(&store, 1);
    assert_eq!(store.counters().rehashed, ByteCount::ZERO);
    assert_eq!(
        read(&content, 1).expect("sound"),
        bytes(1, &layout(), PieceIndex(1))
    );
    assert_eq!(store.counters().rehashed, ByteCount(PIECE));
    read(&content, 1).expect("believed by now");
    assert_eq!(store.counters().rehashed, ByteCount(PIECE));
    assert!(matches!(
        read(&content, 2),
        Err(ReadError::Missing(PieceIndex(2)))
    ));
    assert!(matches!(
        content.verify_run(layout().all()),
        Err(ReadError::Missing(PieceIndex(2)))
    ));
    assert_eq!(holds(&content), [0, 1, 3, 4]);
    assert_eq!(store.counters().corrupt, 1);
    put(&content, 1, 2);
    content.verify_run(layout().all()).expect("whole again");
    assert_eq!(store.counters().rehashed, layout().length());
}

#[test]
fn doubt_outlives_a_clean_restart_until_each_piece_was_hashed() {
    let dir = directory();
    let (store, content) = holding_all(&dir);
    store.commit().expect("committed");
    crash(store, content);
    let (store, _) = after_reboot(&dir);
    read(&handle(&store, 1), 0).expect("sound");
    store.close().expect("closed");
    drop(store);
    flip(&dir, 1, 3);
    let (store, recovery) = after_reboot(&dir);
    assert!(!recovery.unclean && !recovery.recheck);
    read(&handle(&store, 1), 0).expect("believed");
    assert_eq!(store.counters().rehashed, ByteCount::ZERO);
    assert!(matches!(
        read(&handle(&store, 1), 3),
        Err(ReadError::Missing(_))
    ));
}

#[test]
fn after_a_clean_end_another_boot_believes_everything() {
    let dir = directory();
    let store = open(&dir);
    put_all(&store.create(new(1)).expect("created"), 1);
    store.close().expect("closed");
    drop(store);
    let (store, recovery) = after_reboot(&dir);
    assert!(!recovery.unclean && !recovery.recheck);
    handle(&store, 1).verify_run(layout().all()).expect("held");
    assert_eq!(store.counters().rehashed, ByteCount::ZERO);
}

#[test]
fn without_a_known_boot_an_unclean_end_is_a_lost_machine() {
    let dir = directory();
    let unknown = || StoreConfig {
        boot: None,
        ..config(&dir)
    };
    drop(reopen(unknown()));
    assert!(reopen(unknown()).1.recheck);
}

#[test]
fn a_writer_may_have_a_piece_that_rotted_and_only_that() {
    let dir = directory();
    let (store, content) = holding_all(&dir);
    store.commit().expect("committed");
    crash(store, content);
    flip(&dir, 1, 0);
    let (store, _) = after_reboot(&dir);
    let content = handle(&store, 1);
    put(&content, 1, 0);
    assert!(matches!(
        content.writer(PieceIndex(1)),
        Err(crate::WriteError::Held(_))
    ));
    content.verify_run(layout().all()).expect("whole");
}

#[test]
fn the_scrub_finds_rot_and_goes_round() {
    let dir = directory();
    let store = open(&dir);
    for number in 1..=3 {
        let content = store.create(new(number)).expect("created");
        put_all(&content, number);
        content.sync().expect("synced");
    }
    flip(&dir, 2, 1);
    flip(&dir, 3, 3);
    let mut corrupt = Vec::new();
    let mut pieces = 0;
    loop {
        let step = store.scrub_step(ByteCount(2 * PIECE)).expect("readable");
        assert!(step.bytes <= ByteCount(3 * PIECE) && (step.pieces > 0 || step.finished));
        pieces += step.pieces;
        corrupt.extend(step.corrupt);
        if step.finished {
            break;
        }
    }
    assert_eq!(pieces, 15);
    assert_eq!(
        corrupt,
        [(task(2), PieceIndex(1)), (task(3), PieceIndex(3))]
    );
    let again = store.scrub_step(ByteCount(u64::MAX)).expect("readable");
    assert!(again.finished && again.corrupt.is_empty() && again.pieces == 13);
    assert_eq!(holds(&handle(&store, 2)), [0, 2, 3, 4]);
}

#[test]
fn a_file_cut_short_under_us_is_damage_and_not_an_error() {
    let dir = directory();
    let (store, content) = holding_all(&dir);
    content.live.file.set_len(3 * PIECE).expect("cut");
    let step = store.scrub_step(ByteCount(u64::MAX)).expect("readable");
    assert_eq!(step.corrupt.len(), 2);
    assert_eq!(holds(&content), [0, 1, 2]);
}

#[test]
fn a_reader_of_lost_bytes_is_told_that_they_are_missing() {
    let dir = directory();
    let (_store, content) = holding_all(&dir);
    content.live.file.set_len(3 * PIECE + 1).expect("cut");
    read(&content, 2).expect("still there");
    assert!(matches!(
        read(&content, 3),
        Err(ReadError::Missing(PieceIndex(3)))
    ));
    put(&content, 1, 3);
    read(&content, 3).expect("there again");
}

#[test]
fn after_a_failed_sync_nothing_is_believed() {
    let dir = directory();
    let (store, content) = holding_all(&dir);
    put_all(&store.create(new(2)).expect("created"), 2);
    store.commit().expect("committed");
    store.shared.doubt(&content.live);
    flip(&dir, 1, 1);
    flip(&dir, 2, 2);
    assert!(matches!(read(&content, 1), Err(ReadError::Missing(_))));
    store.close().expect("closed");
    drop((content, store));
    let (store, recovery) = reopen(config(&dir));
    assert!(recovery.unclean && recovery.recheck);
    assert!(matches!(
        read(&handle(&store, 2), 2),
        Err(ReadError::Missing(_))
    ));
}

#[test]
fn orphans_and_records_without_their_file_are_cleaned_up() {
    let dir = directory();
    let store = open(&dir);
    for number in 1..=5 {
        put_all(&store.create(new(number)).expect("created"), number);
    }
    drop(store);
    std::fs::remove_file(file_of(&dir, 1)).expect("removed");
    std::fs::File::options()
        .write(true)
        .open(file_of(&dir, 2))
        .and_then(|file| file.set_len(5))
        .expect("cut");
    std::fs::remove_file(file_of(&dir, 3)).expect("removed");
    std::os::unix::fs::symlink("/etc/passwd", file_of(&dir, 3)).expect("linked");
    std::fs::write(file_of(&dir, 9), "orphan").expect("written");
    std::fs::write(dir.path().join("data/content/README"), "not ours").expect("written");
    let (store, recovery) = reopen(config(&dir));
    assert_eq!(
        (
            recovery.lost_files,
            recovery.orphan_files,
            recovery.contents
        ),
        (3, 1, 2)
    );
    for number in [1, 2, 3, 9] {
        assert!(
            file_of(&dir, number).symlink_metadata().is_err(),
            "{number}"
        );
        assert!(store.content(task(number)).expect("readable").is_none());
    }
    read(&handle(&store, 4), 0).expect("untouched");
    drop(store);
    assert_eq!(reopen(config(&dir)).1.lost_files, 0);
}

/// Changes the index of a closed store behind its back.
fn tamper(dir: &tempfile::TempDir, change: crate::index::Change) {
    let directory = crate::directory::Directory::open(&dir.path().join("data")).expect("opened");
    let index = Index::open(std::sync::Arc::new(directory)).expect("opened");
    index
        .write(&crate::index::Batch {
            changes: vec![change],
            ..Default::default()
        })
        .expect("written");
}

/// Another record for content `number`.
fn change(number: u8, record: Vec<u8>) -> crate::index::Change {
    crate::index::Change {
        task: task(number),
        record,
        groups: Vec::new(),
        segments: Vec::new(),
        seal: None,
    }
}

#[test]
fn a_newer_record_stops_the_start_and_a_damaged_one_goes() {
    let dir = directory();
    let store = open(&dir);
    for number in [1, 2] {
        put_all(&store.create(new(number)).expect("created"), number);
    }
    drop(store);
    tamper(&dir, change(1, vec![3, 0, 0]));
    assert!(matches!(
        Store::open(config(&dir)),
        Err(OpenError::Record(RecordError::Newer { found: 3, known: 2 }))
    ));
    tamper(&dir, change(1, vec![1, 0, 0]));
    let (store, recovery) = reopen(config(&dir));
    assert_eq!((recovery.damaged_records, recovery.contents), (1, 1));
    assert!(!file_of(&dir, 1).exists());
    read(&handle(&store, 2), 0).expect("untouched");
}

#[test]
fn a_content_with_damaged_marks_goes_when_it_is_asked_for() {
    let dir = directory();
    for (group, bytes) in [
        (0, vec![1, 2, 3]),
        (0, vec![0]),
        (7, vec![1; 25]),
        (u32::MAX, vec![1; 57]),
    ] {
        let store = open(&dir);
        put_all(&store.create(new(1)).expect("created"), 1);
        store.commit().expect("committed");
        let entries = store.shared.entries();
        let record = entries.get(task(1)).expect("there").record.encode();
        drop(entries);
        drop(store);
        let groups = vec![(group, Some(bytes))];
        tamper(
            &dir,
            crate::index::Change {
                groups,
                ..change(1, record)
            },
        );
        let store = open(&dir);
        assert_eq!(store.list().len(), 1);
        assert!(store.content(task(1)).expect("no error").is_none());
        assert!(!file_of(&dir, 1).exists());
        let usage = store.usage().expect("known");
        assert_eq!((usage.used, store.list().len()), (ByteCount::ZERO, 0));
    }
}

#[test]
fn marks_of_a_newer_release_are_left_alone() {
    let dir = directory();
    let store = open(&dir);
    put_all(&store.create(new(1)).expect("created"), 1);
    store.commit().expect("committed");
    let record = store
        .shared
        .entries()
        .get(task(1))
        .expect("there")
        .record
        .encode();
    drop(store);
    let groups = vec![(0, Some(vec![9]))];
    tamper(
        &dir,
        crate::index::Change {
            groups,
            ..change(1, record)
        },
    );
    let store = open(&dir);
    assert!(matches!(
        store.content(task(1)),
        Err(crate::DiskError::Newer(_))
    ));
    assert!(file_of(&dir, 1).exists());
}

#[test]
fn a_piece_whose_voiding_is_not_on_disk_cannot_be_written() {
    let dir = directory();
    let (store, content) = holding_all(&dir);
    store.commit().expect("committed");
    let closed = &store.shared.closed;
    closed.store(true, std::sync::atomic::Ordering::Release);
    content
        .forget(PieceIndex(2))
        .expect_err("the index takes nothing");
    closed.store(false, std::sync::atomic::Ordering::Release);
    assert!(content.live.state.lock().unsettled.contains(&PieceIndex(2)));
    assert!(matches!(read(&content, 2), Err(ReadError::Missing(_))));
    let commits = store.counters().commits;
    put(&content, 1, 2);
    assert_eq!(store.counters().commits, commits + 1);
    read(&content, 2).expect("there again");
}
