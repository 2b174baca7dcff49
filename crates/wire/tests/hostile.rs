//! Remotes that break the protocol, as raw bytes over loopback TCP. Every link ends by name, and nothing panics.
#![allow(clippy::cast_possible_truncation, reason = "tests use small numbers")]

mod support;

use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use types::TaskId;
use wire::{
    Config, Event, HandshakeError, Link, LinkEnd, Message, TaskNo, Violation,
    codec::{GoodbyeReason, encode},
};

fn raw(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32 + 1;
    [&length.to_le_bytes()[..], &[kind], payload].concat()
}

/// What ends a link whose remote says hello, opens a task of 8 pieces and then sends `bytes` and an end of stream.
async fn end_of(bytes: &[u8]) -> LinkEnd {
    let (mut link, mut remote) = link_and_raw(config()).await;
    let all = [&encode(&open(layout(1)))[..], bytes].concat();
    let sending = async {
        // A link that has ended may refuse the rest.
        let _ = remote.write_all(&all).await;
        let _ = remote.shutdown().await;
        let mut rest = Vec::new();
        let _ = remote.read_to_end(&mut rest).await;
        rest
    };
    let ((_, end), _) = tokio::join!(drain(&mut link.receiver), sending);
    end
}

async fn violation_of(bytes: &[u8]) -> Violation {
    match end_of(bytes).await {
        LinkEnd::Violation(violation) => violation,
        other => panic!("{other:?} after {bytes:?}"),
    }
}

#[tokio::test]
async fn every_broken_frame_ends_the_link_by_name() {
    let no = 1u32.to_le_bytes();
    let numbers = |numbers: &[u32]| -> Vec<u8> {
        numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    };
    let data = |no: u32, piece: u32, offset: u32, length: usize| {
        raw(
            11,
            &[&numbers(&[no, piece, offset])[..], &[0], &vec![0; length]].concat(),
        )
    };
    let run = |first: u32, count: u32| {
        raw(
            8,
            &[&no[..], &1u16.to_le_bytes(), &numbers(&[first, count])].concat(),
        )
    };
    let cases = [
        (vec![0; 4 + 1], "a frame of length zero"),
        (
            u32::MAX.to_le_bytes().into_iter().chain([11]).collect(),
            "the limit is 262157",
        ),
        (raw(0x44, b"new"), "an unknown mandatory frame of kind 0x44"),
        (raw(4, &[9; 4]), "was never opened"),
        (data(2, 0, 0, 10), "task number 2 was never opened"),
        (data(1, 8, 0, 10), "pieces up to 9, but has 8"),
        (
            data(1, 0, 131_070, 10),
            "data of piece 0 at 131070 with 10 bytes",
        ),
        (run(7, 2), "pieces up to 9, but has 8"),
        (run(u32::MAX, u32::MAX), "impossible run"),
        (run(3, 0), "a run of no pieces"),
        (
            encode(&Message::Hello(hello("prod"))).to_vec(),
            "a second hello",
        ),
        (
            encode(&open(layout(1))).to_vec(),
            "task number 1 is opened twice",
        ),
        (
            data(1, 0, 0, 1000)[..500].to_vec(),
            "in the middle of a frame",
        ),
        (vec![3, 0], "in the middle of a frame"),
        (raw(14, &[0; 9]), "with bytes after its end"),
        (raw(14, &[0; 7]), "too short"),
    ];
    for (bytes, words) in cases {
        let said = violation_of(&bytes).await.to_string();
        assert!(said.contains(words), "{said:?} does not say {words:?}");
    }
}

#[tokio::test]
async fn a_bitmap_with_bits_beyond_the_end_is_refused() {
    let mut bytes = raw(
        2,
        &[&[2; 4][..], &[2; 32], &(1u64 << 20).to_le_bytes(), &[0, 2]].concat(),
    );
    bytes.extend((1u64 << 8).to_le_bytes());
    bytes[0] += 8;
    assert_eq!(
        violation_of(&bytes).await,
        Violation::Inventory { piece_count: 8 }
    );
}

#[tokio::test]
async fn ten_thousand_opens_are_too_many() {
    let opens = (2u32..10_000).map(|no| {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&no.to_le_bytes());
        let Message::Open {
            layout,
            have,
            importer,
            ..
        } = open(layout(1))
        else {
            unreachable!()
        };
        let task = TaskId::from_bytes(id);
        encode(&Message::Open {
            no: TaskNo(no),
            task,
            layout,
            have,
            importer,
        })
    });
    let bytes: Vec<u8> = opens.flatten().collect();
    assert_eq!(violation_of(&bytes).await, Violation::TooManyTasks(1024));
}

#[tokio::test]
async fn frames_that_may_be_ignored_are_skipped_and_the_culprit_is_told_why() {
    let (mut link, mut remote) = link_and_raw(config()).await;
    remote
        .write_all(&raw(0xee, &vec![1; 200_000]))
        .await
        .expect("sent");
    remote
        .write_all(&encode(&open(layout(1))))
        .await
        .expect("sent");
    assert!(matches!(
        link.receiver.next().await,
        Ok(Event::Message { .. })
    ));
    remote.write_all(&raw(0x44, b"")).await.expect("sent");
    let (_, end) = drain(&mut link.receiver).await;
    assert!(
        matches!(end, LinkEnd::Violation(Violation::UnknownKind(0x44))),
        "{end}"
    );
    let mut heard = Vec::new();
    remote
        .read_to_end(&mut heard)
        .await
        .expect("a goodbye and the end");
    assert!(heard.ends_with(&encode(&Message::Goodbye(GoodbyeReason::Violation))));
}

#[tokio::test]
async fn garbage_never_does_more_than_end_the_link() {
    let mut chance = types::Chance::seeded(7);
    for _ in 0..64 {
        let length = chance.below(2000);
        let bytes: Vec<u8> = (0..length).map(|_| chance.bits() as u8).collect();
        end_of(&bytes).await;
    }
}

async fn refused(config: Config, first: &[u8], ends: bool) -> HandshakeError {
    let (ours, mut remote) = sockets().await;
    remote.write_all(first).await.expect("sent");
    if ends {
        remote.shutdown().await.expect("ended");
    }
    Link::start(ours, config, hello("prod"))
        .await
        .err()
        .expect("a refusal")
}

#[tokio::test]
async fn a_hello_that_is_slow_foreign_old_or_none_is_refused() {
    let hasty = Config {
        hello_timeout: SOON,
        ..config()
    };
    let whole = encode(&Message::Hello(hello("prod")));
    for part in [0, 1, 5, whole.len() - 1] {
        let refusal = refused(hasty.clone(), &whole[..part], false).await;
        assert!(matches!(refusal, HandshakeError::TimedOut), "{refusal}");
    }
    let refusal = refused(config(), &whole[..20], true).await;
    assert!(
        matches!(refusal, HandshakeError::Violation(Violation::Truncated)),
        "{refusal}"
    );
    let refusal = refused(config(), &[], true).await;
    assert!(
        matches!(refusal, HandshakeError::Connection(_)),
        "{refusal}"
    );
    let refusal = refused(config(), &encode(&Message::Hello(hello("test"))), false).await;
    assert!(
        refusal
            .to_string()
            .contains("of cluster test, we are of prod"),
        "{refusal}"
    );
    let old = wire::Hello {
        version: 0,
        ..hello("prod")
    };
    let refusal = refused(config(), &encode(&Message::Hello(old)), false).await;
    assert!(
        matches!(refusal, HandshakeError::Version { theirs: 0 }),
        "{refusal}"
    );
    let refusal = refused(config(), &encode(&Message::Ping(1)), false).await;
    assert!(
        matches!(
            refusal,
            HandshakeError::Violation(Violation::HelloExpected(14))
        ),
        "{refusal}"
    );
    let refusal = refused(config(), b"GET / HTTP/1.1\r\n\r\n", false).await;
    assert!(matches!(refusal, HandshakeError::Violation(_)), "{refusal}");
}

#[tokio::test]
async fn silence_and_dripped_frames_are_ended() {
    let strict = Config {
        dead_after: SOON * 4,
        progress_timeout: SOON,
        ..config()
    };
    let (mut link, _remote) = link_and_raw(strict.clone()).await;
    let (_, end) = drain(&mut link.receiver).await;
    assert!(matches!(end, LinkEnd::Silent), "{end}");

    let (mut link, mut remote) = link_and_raw(strict).await;
    let drip = async {
        // A byte now and then is no progress.
        for byte in raw(14, &[0; 8])
            .into_iter()
            .chain(raw(12, &vec![0; 10_000]))
        {
            if remote.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(SOON / 25).await;
        }
    };
    let drained = tokio::select! { drained = drain(&mut link.receiver) => drained, () = drip => panic!("it lasted") };
    assert!(
        matches!(drained.1, LinkEnd::Stalled("receiving")),
        "{}",
        drained.1
    );
}
