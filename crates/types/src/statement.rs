//! What hosts sign about content: segments of a piece table, and seals of a whole one.
//!
//! A segment is an importer's word for the digests of a run of pieces; a seal is a seed's word for the root that the
//! whole table folds to. Both travel with the data, so that a parent cannot lie and no scheduler is asked.
//! This file holds the exact bytes that are signed; keys and signatures themselves are `identity`'s.

use crate::{
    ClusterId, Digest, Epoch, HostId, KEY_SCHEME, Layout, PieceDigest, PieceIndex, PieceRun, TaskId,
};

/// An Ed25519 signature.
pub type Signature = [u8; 64];

/// An importer's signed word for the digests of adjacent pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The task they belong to.
    pub task: TaskId,
    /// The layout they were cut by.
    pub layout: Layout,
    /// The lease under which they were imported.
    pub epoch: Epoch,
    /// The piece that the first digest describes.
    pub first: PieceIndex,
    /// At least one, at most [`Segment::DIGESTS_MAX`] digests.
    pub digests: Vec<PieceDigest>,
    /// The importer.
    pub signer: HostId,
    /// Over [`Segment::statement`].
    pub signature: Signature,
}

impl Segment {
    /// The longest segment: 32 KiB of digests, well below one frame of the peer protocol.
    pub const DIGESTS_MAX: usize = 1024;

    /// The pieces it speaks of.
    pub fn run(&self) -> PieceRun {
        PieceRun {
            first: self.first,
            count: u32::try_from(self.digests.len()).unwrap_or(u32::MAX),
        }
    }

    /// Whether it speaks of at least one piece, of none outside its layout, is not too long, and of an epoch that can be.
    pub fn is_well_formed(&self) -> bool {
        self.epoch <= Epoch::CLAIM_MAX
            && (1..=Self::DIGESTS_MAX).contains(&self.digests.len())
            && self.run().end() <= u64::from(self.layout.piece_count())
    }

    /// The bytes that `signer` signs.
    pub fn statement(&self, cluster: &ClusterId) -> Vec<u8> {
        let mut bytes = opening(
            b"pantala piece table segment",
            cluster,
            self.task,
            self.layout,
        );
        bytes.extend(self.epoch.0.to_le_bytes());
        bytes.extend(self.first.0.to_le_bytes());
        self.digests
            .iter()
            .for_each(|digest| bytes.extend(digest.as_bytes()));
        bytes
    }
}

/// A seed's signed word for the root of a piece table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The task.
    pub task: TaskId,
    /// Its layout.
    pub layout: Layout,
    /// The BLAKE3 hash of the whole content.
    pub root: Digest,
    /// Who verified the whole digest.
    pub signer: HostId,
    /// Over [`Seal::statement`].
    pub signature: Signature,
}

impl Seal {
    /// The bytes that `signer` signs.
    pub fn statement(&self, cluster: &ClusterId) -> Vec<u8> {
        let mut bytes = opening(b"pantala seal", cluster, self.task, self.layout);
        bytes.extend(self.root.as_bytes());
        bytes
    }
}

/// Domain, cluster and content, each of fixed or stated length, so that no two statements share one encoding.
fn opening(domain: &[u8], cluster: &ClusterId, task: TaskId, layout: Layout) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    for part in [domain, cluster.as_str().as_bytes()] {
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend(part);
    }
    bytes.extend(KEY_SCHEME.to_le_bytes());
    bytes.extend(task.as_bytes());
    bytes.extend(layout.length().0.to_le_bytes());
    bytes.extend(layout.piece_length().0.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ByteCount;

    fn segment() -> Segment {
        Segment {
            task: TaskId::from_bytes([1; 32]),
            layout: Layout::of(ByteCount::mib(1)).expect("a layout"),
            epoch: Epoch(3),
            first: PieceIndex(2),
            digests: vec![PieceDigest::from_bytes([4; 32]); 2],
            signer: HostId::from_bytes([5; 32]),
            signature: [0; 64],
        }
    }

    #[test]
    fn every_part_of_a_segment_is_signed() {
        let cluster: ClusterId = "a".parse().expect("a name");
        let base = segment().statement(&cluster);
        let variants = [
            Segment {
                task: TaskId::from_bytes([2; 32]),
                ..segment()
            },
            Segment {
                layout: Layout::of(ByteCount::mib(2)).expect("a layout"),
                ..segment()
            },
            Segment {
                epoch: Epoch(4),
                ..segment()
            },
            Segment {
                first: PieceIndex(3),
                ..segment()
            },
            Segment {
                digests: vec![PieceDigest::from_bytes([4; 32]); 3],
                ..segment()
            },
        ];
        for variant in variants {
            assert_ne!(variant.statement(&cluster), base);
        }
        assert_ne!(segment().statement(&"b".parse().expect("a name")), base);
    }

    #[test]
    fn a_segment_outside_its_layout_or_of_an_impossible_epoch_is_not_well_formed() {
        assert!(segment().is_well_formed());
        assert!(
            !Segment {
                first: PieceIndex(7),
                ..segment()
            }
            .is_well_formed()
        );
        assert!(
            !Segment {
                digests: vec![],
                ..segment()
            }
            .is_well_formed()
        );
        assert!(
            !Segment {
                first: PieceIndex(u32::MAX),
                ..segment()
            }
            .is_well_formed()
        );
        for (epoch, is_fit) in [(1 << 62, true), ((1 << 62) + 1, false), (u64::MAX, false)] {
            let epoch = Epoch(epoch);
            let claimed = Segment { epoch, ..segment() };
            assert_eq!(claimed.is_well_formed(), is_fit);
        }
    }
}
