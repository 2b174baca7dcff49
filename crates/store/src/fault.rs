//! What a disk can do to us, and why there is no room.

use std::io;

use rustix::io::Errno;
use types::ByteCount;

use crate::record::RecordError;

/// Which limit a reservation met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The quota of the store: evicting helps.
    Quota,
    /// The space that is to stay free on the file system: evicting helps, as far as the store is what fills it.
    Floor,
    /// The number of contents that one store holds: evicting helps.
    Contents,
    /// The file system itself said it is full.
    Disk,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(match self {
            Self::Quota => "the store's quota",
            Self::Floor => "the space to be left free",
            Self::Contents => "the number of contents in one store",
            Self::Disk => "the file system",
        })
    }
}

/// Why the disk did not do as told. The content can still be streamed past the store.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// No room, found out before or while writing.
    #[error(
        "no room for {wanted}: {limit} does not allow it; evict, raise the limit or free the disk"
    )]
    NoSpace {
        /// How much was asked for.
        wanted: ByteCount,
        /// What stands in the way.
        limit: Limit,
    },
    /// The file system is read-only, or became so after an error.
    #[error("{doing}: the file system is read-only; see the kernel's log for why")]
    ReadOnly {
        /// What was being done.
        doing: &'static str,
    },
    /// The device or the kernel failed.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The store was closed; a change now would not be remembered.
    #[error("the store is closed")]
    Closed,
    /// A newer release wrote what the index says of a content; it is left as it is.
    #[error("reading the index")]
    Newer(#[source] RecordError),
    /// The index failed for another reason than the disk.
    #[error("{doing}")]
    Index {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        #[source]
        cause: Box<redb::Error>,
    },
}

impl DiskError {
    pub(crate) fn io(doing: &'static str, cause: impl Into<io::Error>) -> Self {
        let cause = cause.into();
        match cause.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::NoSpace {
                wanted: ByteCount::ZERO,
                limit: Limit::Disk,
            },
            Some(Errno::ROFS) => Self::ReadOnly { doing },
            _ => Self::Io { doing, cause },
        }
    }

    pub(crate) fn index(doing: &'static str, cause: impl Into<redb::Error>) -> Self {
        match cause.into() {
            redb::Error::Io(cause) => Self::io(doing, cause),
            cause => Self::Index {
                doing,
                cause: Box::new(cause),
            },
        }
    }

    /// The same, saying how much was wanted where that is what failed.
    pub(crate) fn wanting(self, wanted: ByteCount) -> Self {
        match self {
            Self::NoSpace { limit, .. } => Self::NoSpace { wanted, limit },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_and_read_only_disks_are_told_from_broken_ones() {
        let of = |errno: Errno| DiskError::io("writing", errno);
        assert!(matches!(
            of(Errno::NOSPC),
            DiskError::NoSpace {
                limit: Limit::Disk,
                ..
            }
        ));
        assert!(matches!(of(Errno::DQUOT), DiskError::NoSpace { .. }));
        assert!(matches!(of(Errno::ROFS), DiskError::ReadOnly { .. }));
        assert!(matches!(of(Errno::IO), DiskError::Io { .. }));
    }
}
