//! Round trips of every message, the hostile corpus, and garbage.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::codec::{PREFIX_LENGTH, Prefix, Runs, encode, piece_header};

const TASK: TaskId = TaskId::from_bytes([7; 32]);

fn layout() -> Layout {
    Layout::of(ByteCount((128 << 10) * 100 + 5)).expect("a layout")
}

fn greeting() -> Hello {
    Hello {
        version: 1,
        cluster: "prod".parse().expect("a name"),
        features: 9,
        lane: 2,
        listen_port: 4001,
        revocations: Some(Bytes::from_static(b"nobody")),
    }
}

fn frame(decoder: &mut Decoder, frame: &Bytes) -> Result<Received, Violation> {
    let prefix = Prefix::parse(frame[..PREFIX_LENGTH].try_into().expect("five bytes"))?;
    assert_eq!(prefix.payload_length, frame.len() - PREFIX_LENGTH);
    decoder.decode(
        prefix.kind.expect("a known kind"),
        frame.slice(PREFIX_LENGTH..),
    )
}

fn greeted() -> Decoder {
    let mut decoder = Decoder::new(4);
    frame(&mut decoder, &encode(&Message::Hello(greeting()))).expect("a hello");
    decoder
}

fn open(no: u32, task: TaskId, have: Inventory) -> Message {
    Message::Open {
        no: TaskNo(no),
        task,
        layout: layout(),
        have,
        importer: true,
    }
}

fn opened() -> Decoder {
    let mut decoder = greeted();
    frame(&mut decoder, &encode(&open(1, TASK, Inventory::Empty))).expect("an open");
    decoder
}

fn run(first: u32, count: u32) -> PieceRun {
    PieceRun {
        first: PieceIndex(first),
        count,
    }
}

/// A payload of `kind` with these parts one after another.
fn refuse(kind: Kind, parts: &[&[u8]]) -> Violation {
    opened()
        .decode(kind, Bytes::from(parts.concat()))
        .expect_err("a violation")
}

fn want((runs, (urgent, background)): (Runs, (bool, bool))) -> Message {
    Message::Want {
        no: TaskNo(1),
        runs,
        urgent,
        background,
    }
}

fn messages() -> impl Strategy<Value = Message> {
    let runs = || {
        vec((0u32..100, 1u32..2), 1..50).prop_map(|runs| {
            Runs::new(
                runs.into_iter()
                    .map(|(first, count)| run(first, count))
                    .collect(),
            )
            .expect("runs")
        })
    };
    let no = TaskNo(1);
    let segment = (
        any::<u64>(),
        0u32..90,
        vec(any::<[u8; 32]>(), 1..10),
        any::<[u8; 32]>(),
    );
    prop_oneof![
        Just(Message::Close { no }),
        (runs(), any::<(u8, u8)>()).prop_map(move |(runs, (free, opening))| Message::Have {
            no,
            runs,
            slots: SlotHint { free, opening }
        }),
        any::<(u8, u8)>().prop_map(|(free, opening)| Message::Slots(SlotHint { free, opening })),
        (runs(), any::<(bool, bool)>()).prop_map(want),
        any::<bool>().prop_map(move |importer| Message::Importer { no, importer }),
        runs().prop_map(move |runs| Message::Cancel { no, runs }),
        runs().prop_map(move |runs| Message::Missing { no, runs }),
        runs().prop_map(move |runs| Message::Reveal { no, runs }),
        (runs(), vec(any::<[u8; 32]>(), 0..9)).prop_map(move |(runs, hosts)| Message::Busy {
            no,
            runs,
            alternatives: hosts.into_iter().map(HostId::from_bytes).collect()
        }),
        segment.prop_map(move |(epoch, first, digests, signer)| Message::Segment {
            no,
            segment: Segment {
                task: TASK,
                layout: layout(),
                epoch: Epoch(epoch.min(Epoch::CLAIM_MAX.0)),
                first: PieceIndex(first),
                digests: digests.into_iter().map(PieceDigest::from_bytes).collect(),
                signer: HostId::from_bytes(signer),
                signature: [3; 64],
            }
        }),
        any::<[u8; 32]>().prop_map(move |root| Message::Seal {
            no,
            seal: Seal {
                task: TASK,
                layout: layout(),
                root: Digest::blake3(root),
                signer: HostId::from_bytes([1; 32]),
                signature: [4; 64],
            }
        }),
        (0u32..50, 0u32..50).prop_map(move |(first, count)| Message::Window {
            no,
            run: run(first, count)
        }),
        any::<u64>().prop_map(Message::Ping),
        any::<u64>().prop_map(Message::Pong),
        any::<u8>().prop_map(|code| Message::Goodbye(goodbye(code))),
        any::<u8>().prop_map(|code| Message::Decline {
            task: TASK,
            reason: decline(code)
        }),
        runs().prop_map(|runs| open(2, TaskId::from_bytes([8; 32]), Inventory::Runs(runs))),
        Just(open(
            2,
            TaskId::from_bytes([8; 32]),
            Inventory::Bitmap([5, 6].into())
        )),
        Just(open(2, TaskId::from_bytes([8; 32]), Inventory::Full)),
    ]
}

proptest! {
    #[test]
    fn every_message_survives_the_wire(message in messages()) {
        let received = frame(&mut opened(), &encode(&message));
        let Ok(Received::Message { message: found, .. }) = received else { panic!("{received:?}") };
        prop_assert_eq!(found, message);
    }

    #[test]
    fn a_cut_or_stretched_message_is_refused(message in messages(), cut: prop::sample::Index) {
        let frame = encode(&message);
        let kind = Kind::of(frame[4]).expect("a kind");
        let payload = frame.slice(PREFIX_LENGTH..);
        // A shorter list of whole ids is another valid message.
        if !matches!(kind, Kind::Busy | Kind::Segment) {
            prop_assert!(opened().decode(kind, payload.slice(..cut.index(payload.len()))).is_err());
        }
        let longer = Bytes::from([&payload[..], &[0]].concat());
        prop_assert!(opened().decode(kind, longer).is_err());
    }

    #[test]
    fn garbage_never_panics(kind: u8, payload in vec(any::<u8>(), 0..300)) {
        if let Some(kind) = Kind::of(kind) {
            let _ = opened().decode(kind, Bytes::from(payload.clone()));
            let _ = Decoder::new(1).decode(kind, Bytes::from(payload));
        }
    }

    #[test]
    fn garbage_for_a_known_task_never_panics(kind in 2u8..14, payload in vec(any::<u8>(), 0..300)) {
        let payload = [&1u32.to_le_bytes()[..], &payload].concat();
        let _ = opened().decode(Kind::of(kind).expect("a kind"), Bytes::from(payload));
    }
}

#[test]
fn data_shares_its_bytes_with_the_frame() {
    let bytes = Bytes::from(vec![1; 128 << 10]);
    let data = Data {
        no: TaskNo(1),
        piece: PieceIndex(3),
        offset: 0,
        last: true,
        bytes: bytes.clone(),
    };
    let whole = Bytes::from(
        [
            &piece_header((TaskNo(1), PieceIndex(3)), 0, bytes.len(), true)[..],
            &bytes,
        ]
        .concat(),
    );
    let Ok(Received::Data { task, data: found }) = frame(&mut opened(), &whole) else {
        panic!("no data")
    };
    assert_eq!((task, &found), (TASK, &data));
    assert!(whole.as_ptr_range().contains(&found.bytes.as_ptr()));
}

#[test]
fn the_first_frame_is_a_hello_and_no_other_is() {
    assert_eq!(
        Decoder::new(1).expect(Some(Kind::Ping)),
        Err(Violation::HelloExpected(14))
    );
    assert_eq!(
        greeted().expect(Some(Kind::Hello)),
        Err(Violation::HelloAgain)
    );
    let later = [
        &encode(&Message::Hello(greeting()))[PREFIX_LENGTH..],
        b"new fields",
    ]
    .concat();
    let received = Decoder::new(1)
        .decode(Kind::Hello, Bytes::from(later))
        .expect("a hello");
    assert_eq!(
        received,
        Received::Message {
            task: None,
            message: Message::Hello(greeting())
        }
    );
}

#[test]
fn numbers_are_bound_once_and_bounded() {
    let task = |byte| TaskId::from_bytes([byte; 32]);
    let mut decoder = opened();
    let mut say = |message: &Message| frame(&mut decoder, &encode(message)).map(|_| ());
    let close = |no| Message::Close { no: TaskNo(no) };
    assert_eq!(
        say(&open(1, task(8), Inventory::Full)),
        Err(Violation::NumberTaken(TaskNo(1)))
    );
    assert_eq!(
        say(&open(2, TASK, Inventory::Full)),
        Err(Violation::TaskTaken(TASK))
    );
    assert_eq!(say(&close(2)), Err(Violation::NotOpen(TaskNo(2))));
    for no in 2..5 {
        assert_eq!(say(&open(no, task(no as u8), Inventory::Full)), Ok(()));
    }
    assert_eq!(
        say(&open(9, task(9), Inventory::Full)),
        Err(Violation::TooManyTasks(4))
    );
    assert_eq!(
        (say(&close(1)), say(&close(1))),
        (Ok(()), Err(Violation::NotOpen(TaskNo(1))))
    );
    assert_eq!(say(&open(1, TASK, Inventory::Full)), Ok(()));
}

#[test]
fn whatever_lies_beyond_the_layout_is_named() {
    let no = &1u32.to_le_bytes()[..];
    let pair = |first: u32, count: u32| [first.to_le_bytes(), count.to_le_bytes()].concat();
    let runs = |count: u16, runs: &[u8]| [&count.to_le_bytes(), runs].concat();
    let cancel = |list: &[u8]| refuse(Kind::Cancel, &[no, list]);
    assert!(matches!(
        cancel(&runs(1, &pair(100, 2))),
        Violation::BeyondLayout { end: 102, .. }
    ));
    assert_eq!(
        cancel(&runs(1, &pair(u32::MAX, u32::MAX))),
        Violation::Field("run")
    );
    assert_eq!(cancel(&runs(1, &pair(0, 0))), Violation::EmptyRun);
    assert_eq!(cancel(&runs(0, &[])), Violation::RunCount(0));
    assert_eq!(cancel(&runs(u16::MAX, &[])), Violation::RunCount(65535));
    let twice = [pair(0, 101), pair(0, 1)].concat();
    assert!(matches!(
        cancel(&runs(2, &twice)),
        Violation::PiecesNamedTwice { named: 102, .. }
    ));
    assert!(matches!(
        refuse(Kind::Window, &[no, &pair(u32::MAX, u32::MAX)]),
        Violation::BeyondLayout { .. }
    ));
    assert_eq!(
        refuse(Kind::Window, &[&[9; 4], &pair(0, 1)]),
        Violation::NotOpen(TaskNo(0x0909_0909))
    );
    let segment = [&[0; 8][..], &100u32.to_le_bytes(), &[0; 96], &[0; 64]].concat();
    assert_eq!(
        refuse(Kind::Segment, &[no, &segment]),
        Violation::Segment { no: TaskNo(1) }
    );
}

#[test]
fn data_outside_its_piece_is_named() {
    let no = &1u32.to_le_bytes()[..];
    let data = |piece: u32, offset: u32, last: u8, length: usize| {
        let place = [piece.to_le_bytes(), offset.to_le_bytes()].concat();
        refuse(Kind::Piece, &[no, &place, &[last], &vec![0; length]])
    };
    assert!(matches!(data(101, 0, 0, 1), Violation::BeyondLayout { .. }));
    for (offset, last, length) in [
        (0, 1, 6),
        (0, 0, 5),
        (0, 1, 4),
        (u32::MAX, 1, 5),
        (0, 0, 0),
        (5, 1, 0),
    ] {
        assert!(matches!(
            data(100, offset, last, length),
            Violation::DataBounds { .. }
        ));
    }
    assert_eq!(data(0, 0, 2, 1), Violation::Field("last flag"));
    assert_eq!(
        refuse(Kind::Piece, &[&[0; 13]]),
        Violation::NotOpen(TaskNo(0))
    );
}

#[test]
fn inventories_that_do_not_fit_are_refused_before_they_are_built() {
    let length = layout().length().0;
    let open = |length: u64, form: u8, rest: &[u8]| {
        refuse(
            Kind::Open,
            &[&[2; 4], &[2; 32], &length.to_le_bytes(), &[0, form], rest],
        )
    };
    let beyond = [0u64.to_le_bytes(), (1u64 << 37).to_le_bytes()].concat();
    for bits in [&beyond[..], &[0; 8], &[0; 24], &[]] {
        assert_eq!(
            open(length, 2, bits),
            Violation::Inventory { piece_count: 101 }
        );
    }
    assert!(matches!(
        open(1 << 55, 2, &[0; 64]),
        Violation::Inventory { .. }
    ));
    assert_eq!(open(u64::MAX, 0, &[]), Violation::Field("content length"));
    assert_eq!(open(length, 4, &[]), Violation::Field("inventory form"));
    let run = [
        &1u16.to_le_bytes()[..],
        &101u32.to_le_bytes(),
        &1u32.to_le_bytes(),
    ]
    .concat();
    assert_eq!(
        open(length, 3, &run),
        Violation::Inventory { piece_count: 101 }
    );
}
