//! How segments and seals rest in the index. Pure; signatures are checked by whoever hands them in.

use types::{Epoch, HostId, PieceDigest, PieceIndex, Seal, Segment, TaskId};

use crate::record::{Reader, RecordError, Writer};

const VERSION: u8 = 1;

pub(crate) fn encode_segment(segment: &Segment) -> Vec<u8> {
    let mut to = Writer::new(VERSION);
    to.bytes(segment.task.as_bytes());
    to.layout(segment.layout);
    to.u64(segment.epoch.0);
    to.u32(segment.first.0);
    to.bytes(segment.signer.as_bytes());
    to.bytes(&segment.signature);
    to.u32(u32::try_from(segment.digests.len()).expect("well-formed segments are short"));
    for digest in &segment.digests {
        to.bytes(digest.as_bytes());
    }
    to.0
}

pub(crate) fn decode_segment(bytes: &[u8]) -> Result<Segment, RecordError> {
    let mut from = Reader::new(bytes, VERSION)?;
    let mut segment = Segment {
        task: TaskId::from_bytes(from.array()?),
        layout: from.layout()?,
        epoch: Epoch(from.u64()?),
        first: PieceIndex(from.u32()?),
        signer: HostId::from_bytes(from.array()?),
        signature: from.array()?,
        digests: Vec::new(),
    };
    let count = from.u32()? as usize;
    let digests = from.bytes(count.saturating_mul(32))?;
    from.end()?;
    segment.digests = digests
        .as_chunks()
        .0
        .iter()
        .map(|bytes| PieceDigest::from_bytes(*bytes))
        .collect();
    if segment.is_well_formed() {
        Ok(segment)
    } else {
        Err(RecordError::Damaged("a segment is not well-formed"))
    }
}

pub(crate) fn encode_seal(seal: &Seal) -> Vec<u8> {
    let mut to = Writer::new(VERSION);
    to.bytes(seal.task.as_bytes());
    to.layout(seal.layout);
    to.digest(&seal.root);
    to.bytes(seal.signer.as_bytes());
    to.bytes(&seal.signature);
    to.0
}

pub(crate) fn decode_seal(bytes: &[u8]) -> Result<Seal, RecordError> {
    let mut from = Reader::new(bytes, VERSION)?;
    let seal = Seal {
        task: TaskId::from_bytes(from.array()?),
        layout: from.layout()?,
        root: from.digest()?,
        signer: HostId::from_bytes(from.array()?),
        signature: from.array()?,
    };
    from.end()?;
    Ok(seal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::{ByteCount, Digest, Layout};

    use super::*;

    proptest! {
        #[test]
        fn a_segment_reads_as_it_was_written(first in 0u32..100, count in 1usize..50, fill: u8, epoch: u64, at: prop::sample::Index) {
            let segment = Segment {
                task: TaskId::from_bytes([fill; 32]),
                layout: Layout::of(ByteCount::mib(32)).expect("a layout"),
                epoch: Epoch(epoch.min(Epoch::CLAIM_MAX.0)),
                first: PieceIndex(first),
                digests: vec![PieceDigest::from_bytes([fill; 32]); count],
                signer: HostId::from_bytes([fill; 32]),
                signature: [fill; 64],
            };
            let bytes = encode_segment(&segment);
            prop_assert!(decode_segment(&bytes[..at.index(bytes.len())]).is_err());
            prop_assert_eq!(decode_segment(&bytes), Ok(segment));
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [&[1], &bytes[..]].concat();
            let _ = (decode_segment(&bytes), decode_seal(&bytes));
        }
    }

    #[test]
    fn a_seal_reads_as_it_was_written() {
        let seal = Seal {
            task: TaskId::from_bytes([1; 32]),
            layout: Layout::of(ByteCount(5)).expect("a layout"),
            root: Digest::blake3([2; 32]),
            signer: HostId::from_bytes([3; 32]),
            signature: [4; 64],
        };
        let bytes = encode_seal(&seal);
        for cut in 0..bytes.len() {
            assert!(decode_seal(&bytes[..cut]).is_err());
        }
        assert_eq!(decode_seal(&bytes), Ok(seal));
    }
}
