//! The words every other crate speaks: checked, cheap to copy, and free of IO.
//!
//! Text from outside becomes one of these types once, at the edge, and is never parsed again. Nothing here reads a
//! clock, opens a file or draws a random number: time is a [`Moment`] that the caller passes in, chance is a
//! [`Chance`] that the caller seeds. See ARCHITECTURE.md, "Glossary".

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, reason = "tests use small numbers")
)]

mod bytes;
mod caller;
mod chance;
mod cluster;
mod digest;
pub mod hex;
mod hops;
mod host_pattern;
mod key;
mod layout;
mod moment;
mod name;
mod piece;
mod piece_set;
mod piece_table;
mod secret;
mod source;
mod statement;
mod topology;

pub use bytes::{ByteCount, ByteRange, ParseByteCountError};
pub use caller::{CallerId, CallerKey, ShownId};
pub use chance::Chance;
pub use cluster::{ClusterId, ParseClusterIdError};
pub use digest::{Digest, DigestAlgorithm, ParseDigestError};
pub use hops::end_to_end;
pub use host_pattern::{HostPattern, ParseHostPatternError};
pub use key::{ContentKey, KEY_SCHEME, Validator};
pub use layout::{Layout, LayoutError};
pub use moment::Moment;
pub use name::{HostId, ParseIdError, TaskId};
pub use piece::{Epoch, PieceIndex, PieceRun};
pub use piece_set::PieceSet;
pub use piece_table::{PieceDigest, PieceHasher, PieceTable, PieceTableError};
pub use secret::Secret;
pub use source::{ParseNameError, RegistryHost, RepoName, Source, Tag, Visibility};
pub use statement::{Seal, Segment, Signature};
pub use topology::{Nearness, ParseTopologyError, Topology};
