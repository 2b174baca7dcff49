//! From messages to frames.

use bytes::{BufMut, Bytes, BytesMut};
use types::{Layout, PieceIndex, Seal, Segment};

use super::{
    ALTERNATIVES_MAX, DATA_HEADER_LENGTH, DeclineReason, GoodbyeReason, Hello, Inventory, Kind,
    Message, PREFIX_LENGTH, REVOCATIONS_MAX, Runs, SlotHint, TaskNo,
};

/// The frame of `message`. What a receiver would refuse is not sent: alternatives and revocations beyond their bounds
/// are left out.
pub fn encode(message: &Message) -> Bytes {
    let mut frame = BytesMut::with_capacity(64);
    frame.put_bytes(0, PREFIX_LENGTH - 1);
    let kind = kind_of(message);
    frame.put_u8(kind as u8);
    put(&mut frame, message);
    debug_assert!(frame.len() - PREFIX_LENGTH <= kind.payload_max());
    let length = u32::try_from(frame.len() - (PREFIX_LENGTH - 1)).expect("bounded by its parts");
    frame[..PREFIX_LENGTH - 1].copy_from_slice(&length.to_le_bytes());
    frame.freeze()
}

/// Everything of a data frame before its `length` bytes of content, at most [`super::DATA_MAX`].
pub fn piece_header(
    (no, piece): (TaskNo, PieceIndex),
    offset: u32,
    length: usize,
    last: bool,
) -> [u8; PREFIX_LENGTH + DATA_HEADER_LENGTH] {
    let mut header = [0; PREFIX_LENGTH + DATA_HEADER_LENGTH];
    let length = u32::try_from(1 + DATA_HEADER_LENGTH + length).expect("at most a frame");
    let mut to = &mut header[..];
    to.put_u32_le(length);
    to.put_u8(Kind::Piece as u8);
    to.put_u32_le(no.0);
    to.put_u32_le(piece.0);
    to.put_u32_le(offset);
    to.put_u8(u8::from(last));
    header
}

fn kind_of(message: &Message) -> Kind {
    match message {
        Message::Hello(_) => Kind::Hello,
        Message::Open { .. } => Kind::Open,
        Message::Decline { .. } => Kind::Decline,
        Message::Close { .. } => Kind::Close,
        Message::Have { .. } => Kind::Have,
        Message::Reveal { .. } => Kind::Reveal,
        Message::Importer { .. } => Kind::Importer,
        Message::Slots(_) => Kind::Slots,
        Message::Want { .. } => Kind::Want,
        Message::Cancel { .. } => Kind::Cancel,
        Message::Busy { .. } => Kind::Busy,
        Message::Missing { .. } => Kind::Missing,
        Message::Segment { .. } => Kind::Segment,
        Message::Seal { .. } => Kind::Seal,
        Message::Window { .. } => Kind::Window,
        Message::Wish(_) => Kind::Wish,
        Message::Certificate(_) => Kind::Certificate,
        Message::Ping(_) => Kind::Ping,
        Message::Pong(_) => Kind::Pong,
        Message::Goodbye(_) => Kind::Goodbye,
    }
}

fn put(to: &mut BytesMut, message: &Message) {
    match message {
        Message::Hello(hello) => put_hello(to, hello),
        Message::Open {
            no,
            task,
            layout,
            have,
            importer,
        } => {
            to.put_u32_le(no.0);
            to.put_slice(task.as_bytes());
            debug_assert_eq!(
                Layout::of(layout.length()).as_ref(),
                Ok(layout),
                "only the length travels"
            );
            to.put_u64_le(layout.length().0);
            to.put_u8(u8::from(*importer));
            put_inventory(to, have);
        }
        Message::Decline { task, reason } => {
            to.put_slice(task.as_bytes());
            to.put_u8(decline_code(*reason));
        }
        Message::Close { no } => to.put_u32_le(no.0),
        Message::Have { no, runs, slots } => {
            to.put_u32_le(no.0);
            put_slots(to, *slots);
            put_runs(to, runs);
        }
        Message::Slots(slots) => put_slots(to, *slots),
        Message::Importer { no, importer } => {
            to.put_u32_le(no.0);
            to.put_u8(u8::from(*importer));
        }
        Message::Want {
            no,
            runs,
            urgent,
            background,
        } => {
            to.put_u32_le(no.0);
            to.put_u8(u8::from(*urgent));
            to.put_u8(u8::from(*background));
            put_runs(to, runs);
        }
        Message::Reveal { no, runs }
        | Message::Cancel { no, runs }
        | Message::Missing { no, runs } => {
            to.put_u32_le(no.0);
            put_runs(to, runs);
        }
        Message::Busy {
            no,
            runs,
            alternatives,
        } => {
            to.put_u32_le(no.0);
            put_runs(to, runs);
            alternatives
                .iter()
                .take(ALTERNATIVES_MAX)
                .for_each(|host| to.put_slice(host.as_bytes()));
        }
        Message::Segment { no, segment } => put_segment(to, *no, segment),
        Message::Seal { no, seal } => put_seal(to, *no, seal),
        Message::Window { no, run } => {
            to.put_u32_le(no.0);
            to.put_u32_le(run.first.0);
            to.put_u32_le(run.count);
        }
        Message::Wish(wish) => wish.put(to),
        Message::Certificate(certificate) => to.put_slice(certificate),
        Message::Ping(number) | Message::Pong(number) => to.put_u64_le(*number),
        Message::Goodbye(reason) => to.put_u8(goodbye_code(*reason)),
    }
}

fn put_segment(to: &mut BytesMut, no: TaskNo, segment: &Segment) {
    to.put_u32_le(no.0);
    to.put_u64_le(segment.epoch.0);
    to.put_u32_le(segment.first.0);
    to.put_slice(segment.signer.as_bytes());
    to.put_slice(&segment.signature);
    for digest in &segment.digests {
        to.put_slice(digest.as_bytes());
    }
}

fn put_seal(to: &mut BytesMut, no: TaskNo, seal: &Seal) {
    to.put_u32_le(no.0);
    to.put_slice(seal.root.as_bytes());
    to.put_slice(seal.signer.as_bytes());
    to.put_slice(&seal.signature);
}

fn put_hello(to: &mut BytesMut, hello: &Hello) {
    to.put_u16_le(hello.version);
    to.put_u64_le(hello.features);
    to.put_u8(hello.lane);
    to.put_u16_le(hello.listen_port);
    let cluster = hello.cluster.as_str().as_bytes();
    to.put_u8(u8::try_from(cluster.len()).expect("a cluster name has at most 40 letters"));
    to.put_slice(cluster);
    let revocations = hello
        .revocations
        .as_ref()
        .filter(|list| list.len() <= REVOCATIONS_MAX);
    to.put_u8(u8::from(revocations.is_some()));
    if let Some(list) = revocations {
        to.put_u32_le(u32::try_from(list.len()).expect("at most 64 KiB"));
        to.put_slice(list);
    }
}

fn put_slots(to: &mut BytesMut, slots: SlotHint) {
    to.put_u8(slots.free);
    to.put_u8(slots.opening);
}

fn put_runs(to: &mut BytesMut, runs: &Runs) {
    to.put_u16_le(u16::try_from(runs.as_slice().len()).expect("at most 1024 runs"));
    for run in runs.as_slice() {
        to.put_u32_le(run.first.0);
        to.put_u32_le(run.count);
    }
}

fn put_inventory(to: &mut BytesMut, have: &Inventory) {
    match have {
        Inventory::Empty => to.put_u8(0),
        Inventory::Full => to.put_u8(1),
        Inventory::Bitmap(words) => {
            to.put_u8(2);
            words.iter().for_each(|word| to.put_u64_le(*word));
        }
        Inventory::Runs(runs) => {
            to.put_u8(3);
            put_runs(to, runs);
        }
    }
}

fn decline_code(reason: DeclineReason) -> u8 {
    match reason {
        DeclineReason::NotTaking => 1,
        DeclineReason::LayoutDiffers => 2,
        DeclineReason::Full => 3,
        DeclineReason::NotAllowed => 4,
        DeclineReason::Other => u8::MAX,
    }
}

fn goodbye_code(reason: GoodbyeReason) -> u8 {
    match reason {
        GoodbyeReason::Leaving => 1,
        GoodbyeReason::Idle => 2,
        GoodbyeReason::Duplicate => 3,
        GoodbyeReason::Violation => 4,
        GoodbyeReason::Revoked => 5,
        GoodbyeReason::Full => 6,
        GoodbyeReason::Other => u8::MAX,
    }
}
