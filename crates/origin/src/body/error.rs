//! Why content could not be read.

use std::time::Duration;

use types::ByteRange;

use crate::{ask::AskError, shown::ShownUrl};

/// Why content could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// No usable answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The content is no longer the one that was resolved.
    #[error("{url} changed since it was looked at; look again")]
    Changed {
        /// What was read.
        url: ShownUrl,
    },
    /// Another range than the one asked for, or none that can be understood.
    #[error("{url} answered bytes {wanted} with another range")]
    WrongRange {
        /// What was read.
        url: ShownUrl,
        /// What was asked for.
        wanted: ByteRange,
    },
    /// The range lies outside of the content.
    #[error("{url} has no bytes {wanted}")]
    OutOfRange {
        /// What was read.
        url: ShownUrl,
        /// What was asked for.
        wanted: ByteRange,
    },
    /// The told length is not the length it must have.
    #[error("{url} announced {told} bytes where {expected} were due")]
    WrongLength {
        /// What was read.
        url: ShownUrl,
        /// What the answer says.
        told: u64,
        /// What it must be.
        expected: u64,
    },
    /// The body ended early.
    #[error("{url} ended after {received} of {expected} bytes")]
    Short {
        /// What was read.
        url: ShownUrl,
        /// What came.
        received: u64,
        /// What was due.
        expected: u64,
    },
    /// The body went on after its end.
    #[error("{url} went on after the {expected} bytes that were due")]
    Long {
        /// What was read.
        url: ShownUrl,
        /// What was due.
        expected: u64,
    },
    /// The body is compressed although that was not asked for.
    #[error("{url} answered with a compressed variant, which is not the content itself")]
    Encoded {
        /// What was read.
        url: ShownUrl,
    },
    /// A part was asked of content that has neither digest nor strong validator.
    #[error("{url} has no strong validator: it can only be read whole, in one go")]
    Unpinned {
        /// What was read.
        url: ShownUrl,
    },
}

impl ReadError {
    /// Whether the same read would fare the same later.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Ask(ask) => ask.is_permanent(),
            Self::Short { .. } => false,
            _ => true,
        }
    }

    /// How long the origin wants to be left alone, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Ask(ask) => ask.retry_after(),
            _ => None,
        }
    }
}
