//! Two links over loopback TCP, and over a pipe with a tiny buffer.
#![allow(clippy::cast_possible_truncation, reason = "tests use small numbers")]

mod support;

use std::sync::Arc;

use bytes::BytesMut;
use support::*;
use tokio::{sync::Semaphore, time::timeout};
use types::{ByteCount, ByteRange, HostId, PieceIndex, PieceRun};
use wire::{
    Assembly, Config, Event, Link, LinkEnd, Message, SlotHint,
    codec::{DeclineReason, GoodbyeReason, Progress, VERSION},
    link::{
        Intake, PieceSource, ReadFuture, ReceiveRoom, SendError, Upload, UploadEnd, UploadError,
    },
};

#[tokio::test]
async fn all_that_one_side_says_the_other_hears_in_order() {
    let (a, mut b) = links().await;
    assert_eq!((b.version, &b.hello), (VERSION, &hello("prod")));
    let slots = SlotHint {
        free: 1,
        opening: 2,
    };
    let said = [
        open(layout(1)),
        Message::Have {
            no: NO,
            runs: runs(0, 8),
            slots,
        },
        Message::Slots(slots),
        Message::Want {
            no: NO,
            runs: runs(1, 2),
            urgent: true,
            background: false,
        },
        Message::Importer {
            no: NO,
            importer: true,
        },
        Message::Cancel {
            no: NO,
            runs: runs(1, 1),
        },
        Message::Busy {
            no: NO,
            runs: runs(3, 1),
            alternatives: vec![HostId::from_bytes([2; 32])],
        },
        Message::Missing {
            no: NO,
            runs: runs(4, 1),
        },
        Message::Window {
            no: NO,
            run: PieceRun {
                first: PieceIndex(2),
                count: 3,
            },
        },
        Message::Decline {
            task: TASK,
            reason: DeclineReason::LayoutDiffers,
        },
        Message::Close { no: NO },
    ];
    for message in &said {
        a.sender.send(message.clone()).await.expect("queued");
    }
    for expected in &said {
        assert_eq!(&message(&mut b.receiver).await, expected);
    }
    assert_eq!(
        a.sender.try_send(&Message::Ping(1)),
        Err(SendError::Reserved)
    );
    a.sender.goodbye(GoodbyeReason::Leaving);
    assert_eq!(
        a.sender.send(Message::Slots(slots)).await,
        Err(SendError::Closed)
    );
    let (_, end) = drain(&mut b.receiver).await;
    assert!(
        matches!(end, LinkEnd::Goodbye(GoodbyeReason::Leaving)),
        "{end}"
    );
    let Link { mut receiver, .. } = a;
    let (_, end) = drain(&mut receiver).await;
    assert!(
        matches!(end, LinkEnd::Left(GoodbyeReason::Leaving)),
        "{end}"
    );
}

/// Receives `pieces` whole pieces, checking every byte, and says which control came in between.
async fn receive(link: &mut Link, layout: types::Layout, pieces: u32) -> Vec<(Message, u64)> {
    let mut assemblies: Vec<_> = (0..pieces)
        .map(|piece| Assembly::new(&layout, PieceIndex(piece)))
        .collect();
    let (mut complete, mut control) = (0, Vec::new());
    while complete < pieces {
        match link.receiver.next().await.expect("a running link") {
            Event::Data { data, task, .. } => {
                assert_eq!(task, TASK);
                let start = layout.range_of(data.piece).start() + u64::from(data.offset);
                assert!(
                    data.bytes
                        .iter()
                        .zip(start..)
                        .all(|(byte, at)| *byte == byte_at(at))
                );
                let done = assemblies[data.piece.0 as usize]
                    .take(&data)
                    .expect("in order");
                complete += u32::from(done == Progress::Complete);
            }
            Event::Message { message, .. } => {
                let received = assemblies
                    .iter()
                    .map(|assembly| assembly.received().0)
                    .sum();
                control.push((message, received));
            }
            Event::Upload { .. } => {}
        }
    }
    control
}

#[tokio::test]
async fn control_goes_between_the_frames_of_large_pieces() {
    let layout = layout(1024);
    assert_eq!(layout.piece_length(), ByteCount::mib(4));
    let (mut a, mut b) = links().await;
    a.sender.send(open(layout)).await.expect("queued");
    for piece in 0..2 {
        a.sender.send_piece(upload(layout, piece)).expect("begun");
    }
    assert_eq!(
        a.sender.send_piece(upload(layout, 0)),
        Err(UploadError::Running(PieceIndex(0)))
    );
    assert!(matches!(b.receiver.next().await, Ok(Event::Message { .. })));
    let Ok(Event::Data { data, .. }) = b.receiver.next().await else {
        panic!("no data")
    };
    assert_eq!((data.piece, data.offset), (PieceIndex(0), 0));
    let Ok(Event::Data { data, .. }) = b.receiver.next().await else {
        panic!("no data")
    };
    assert_eq!(
        (data.piece, data.offset),
        (PieceIndex(1), 0),
        "pieces take turns"
    );
    a.sender
        .send(Message::Slots(SlotHint::default()))
        .await
        .expect("queued");
    let (mut at, mut frames) = (None, 2);
    while frames < 128 {
        match b.receiver.next().await.expect("a running link") {
            Event::Data { .. } => frames += 1,
            _ => at = Some(frames),
        }
    }
    assert!(at.is_some(), "control came before the end of the data");
    for piece in [0, 1] {
        let Ok(Event::Upload {
            piece: of,
            end: UploadEnd::Sent,
            ..
        }) = a.receiver.next().await
        else {
            panic!("not sent")
        };
        assert_eq!(of, PieceIndex(piece));
    }
    let (sent, received) = (a.sender.counted(), b.sender.counted());
    assert_eq!(
        (sent.sent_body, received.received_body),
        (ByteCount::mib(8), ByteCount::mib(8))
    );
    assert!(received.received <= sent.sent && received.received > ByteCount::mib(8));
}

#[tokio::test]
async fn a_pipe_of_few_bytes_carries_everything_both_ways() {
    let (a, b) = tokio::io::duplex(7);
    let (a, b) = tokio::join!(
        Link::start(a, config(), hello("prod")),
        Link::start(b, config(), hello("prod"))
    );
    let (mut a, mut b) = (a.expect("a link"), b.expect("a link"));
    let layout = layout(1);
    for link in [&a, &b] {
        link.sender.send(open(layout)).await.expect("queued");
        (0..3).for_each(|piece| {
            link.sender
                .send_piece(upload(layout, piece))
                .expect("begun")
        });
    }
    let (in_a, in_b) = tokio::join!(receive(&mut a, layout, 3), receive(&mut b, layout, 3));
    assert_eq!((in_a.len(), in_b.len()), (1, 1));
}

/// Content whose reads wait for a permit each.
struct Gated(Semaphore);

impl PieceSource for Gated {
    fn read<'a>(&'a self, range: ByteRange, into: &'a mut BytesMut) -> ReadFuture<'a> {
        Box::pin(async move {
            self.0.acquire().await.expect("open").forget();
            Computed { limit: u64::MAX }.read(range, into).await
        })
    }
}

#[tokio::test]
async fn a_cancelled_piece_stops_at_the_next_frame_and_a_slow_disk_holds_no_control() {
    let layout = layout(1024);
    let (mut a, mut b) = links().await;
    a.sender.send(open(layout)).await.expect("queued");
    let source = Arc::new(Gated(Semaphore::new(3)));
    let gated = |piece| Upload {
        source: source.clone(),
        ..upload(layout, piece)
    };
    a.sender.send_piece(gated(0)).expect("begun");
    for _ in 0..4 {
        b.receiver.next().await.expect("the open and three frames");
    }
    // The fourth read hangs; control passes it by.
    a.sender.send_piece(gated(1)).expect("begun");
    a.sender
        .send(Message::Slots(SlotHint::default()))
        .await
        .expect("queued");
    assert_eq!(
        message(&mut b.receiver).await,
        Message::Slots(SlotHint::default())
    );
    a.sender.cancel(NO, layout.all());
    source.0.add_permits(1);
    for _ in 0..2 {
        let event = a.receiver.next().await;
        assert!(
            matches!(
                event,
                Ok(Event::Upload {
                    end: UploadEnd::Cancelled,
                    ..
                })
            ),
            "{event:?}"
        );
    }
    a.sender.goodbye(GoodbyeReason::Leaving);
    let (events, _) = drain(&mut b.receiver).await;
    assert!(events.is_empty(), "no frame after the cancel: {events:?}");
}

#[tokio::test]
async fn an_unreadable_piece_fails_alone() {
    let layout = layout(1024);
    let (mut a, mut b) = links().await;
    assert_eq!(
        a.sender.send_piece(upload(layout, 0)),
        Err(UploadError::NotOpen(NO))
    );
    a.sender.send(open(layout)).await.expect("queued");
    let source = Arc::new(Computed { limit: 1 << 20 });
    a.sender
        .send_piece(Upload {
            source,
            ..upload(layout, 0)
        })
        .expect("begun");
    let event = a.receiver.next().await;
    assert!(
        matches!(
            event,
            Ok(Event::Upload {
                end: UploadEnd::Failed(_),
                ..
            })
        ),
        "{event:?}"
    );
    a.sender
        .send(Message::Close { no: NO })
        .await
        .expect("queued");
    let mut events = Vec::new();
    while !matches!(
        events.last(),
        Some(Event::Message {
            message: Message::Close { .. },
            ..
        })
    ) {
        events.push(b.receiver.next().await.expect("a running link"));
    }
    assert_eq!(events.len(), 18, "open, sixteen frames, close");
}

#[tokio::test]
async fn a_remote_that_does_not_take_events_stops_the_sender() {
    let layout = layout(1024);
    let (a, mut b) = links().await;
    a.sender.send(open(layout)).await.expect("queued");
    let mut queued = 0u32;
    let have = Message::Have {
        no: NO,
        runs: runs(0, 1),
        slots: SlotHint::default(),
    };
    while a.sender.try_send(&have).is_ok() {
        queued += 1;
        if queued.is_multiple_of(1000) {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(a.sender.try_send(&have), Err(SendError::Full));
    assert_eq!(message(&mut b.receiver).await, open(layout));
    for _ in 0..queued {
        assert_eq!(message(&mut b.receiver).await, have, "nothing is dropped");
    }
    a.sender.send(have).await.expect("there is room again");
}

#[tokio::test]
async fn uploads_are_bounded_until_their_ends_are_seen() {
    let layout = layout(16);
    let (ours, theirs) = sockets().await;
    let small = wire::Config {
        upload_limit: 2,
        ..config()
    };
    let (a, b) = tokio::join!(
        Link::start(ours, small, hello("prod")),
        Link::start(theirs, config(), hello("prod"))
    );
    let (mut a, mut b) = (a.expect("a link"), b.expect("a link"));
    a.sender.send(open(layout)).await.expect("queued");
    (0..2).for_each(|piece| a.sender.send_piece(upload(layout, piece)).expect("begun"));
    receive(&mut b, layout, 2).await;
    assert_eq!(
        a.sender.send_piece(upload(layout, 2)),
        Err(UploadError::Full)
    );
    assert!(matches!(
        a.receiver.next().await,
        Ok(Event::Upload {
            end: UploadEnd::Sent,
            ..
        })
    ));
    assert_eq!(a.sender.send_piece(upload(layout, 2)), Ok(()));
}

#[tokio::test]
async fn pings_measure_the_way_and_keep_an_idle_link() {
    let (ours, theirs) = sockets().await;
    let lively = wire::Config {
        ping_interval: SOON / 5,
        dead_after: SOON * 20,
        ..config()
    };
    let (a, b) = tokio::join!(
        Link::start(ours, lively.clone(), hello("prod")),
        Link::start(theirs, lively, hello("prod"))
    );
    let (a, mut b) = (a.expect("a link"), b.expect("a link"));
    let waiting = async {
        while a.sender.counted().rtt.is_none() {
            tokio::time::sleep(SOON / 10).await;
        }
    };
    tokio::select! {
        () = waiting => {}
        event = b.receiver.next() => panic!("nothing was said: {event:?}"),
    }
    drop(a.receiver);
    let (_, end) = drain(&mut b.receiver).await;
    assert!(matches!(end, LinkEnd::Closed | LinkEnd::Io(_)), "{end}");
}

#[tokio::test]
async fn a_limited_link_reads_everything_and_says_that_it_is_held_back() {
    let (a, b) = sockets().await;
    let limited = Config {
        intake: Intake::new(Some(ByteCount::mib(4))),
        ..config()
    };
    let (a, b) = tokio::join!(
        Link::start(a, config(), hello("prod")),
        Link::start(b, limited, hello("prod"))
    );
    let (a, mut b) = (a.expect("a link"), b.expect("a link"));
    assert!(!b.sender.is_held(), "nothing came yet");
    let layout = layout(2);
    a.sender.try_send(&open(layout)).expect("room");
    for piece in 0..layout.piece_count() {
        a.sender.send_piece(upload(layout, piece)).expect("a place");
    }
    let (mut bytes, mut was_held) = (0, false);
    while bytes < layout.length().0 {
        if let Event::Data { data, .. } = b.receiver.next().await.expect("a frame") {
            bytes += data.bytes.len() as u64;
            was_held |= b.sender.is_held();
        }
    }
    assert!(was_held, "two MiB are more than the burst of one");
    a.sender.goodbye(GoodbyeReason::Leaving);
    let end = drain(&mut b.receiver).await.1;
    assert!(
        matches!(end, LinkEnd::Goodbye(GoodbyeReason::Leaving)),
        "{end}"
    );
}

#[tokio::test]
async fn frames_that_are_not_taken_hold_the_room_of_all_links() {
    let narrow = Config {
        room: ReceiveRoom::new(0),
        ..config()
    };
    let layout = layout(1024);
    let mut links = Vec::new();
    for _ in 0..2 {
        let (a, b) = sockets().await;
        let (a, b) = tokio::join!(
            Link::start(a, config(), hello("prod")),
            Link::start(b, narrow.clone(), hello("prod"))
        );
        links.push((a.expect("a link"), b.expect("a link")));
    }
    let [(a, mut b), (c, mut d)] = <[_; 2]>::try_from(links).ok().expect("two");
    a.sender.try_send(&open(layout)).expect("room");
    a.sender.send_piece(upload(layout, 0)).expect("a place");
    let held = loop {
        if let Event::Data { room, .. } = b.receiver.next().await.expect("a frame") {
            break room;
        }
    };
    c.sender.try_send(&open(layout)).expect("room");
    c.sender.send_piece(upload(layout, 0)).expect("a place");
    message(&mut d.receiver).await;
    assert!(
        timeout(SOON, d.receiver.next()).await.is_err(),
        "there is room for one frame"
    );
    assert!(d.sender.is_held());
    // The other link goes too: the frames that it waits for would be the next ones.
    drop((held, b));
    let next = d.receiver.next().await.expect("its turn");
    assert!(matches!(next, Event::Data { .. }));
}
