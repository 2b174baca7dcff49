//! Why a link ended.

use std::{io, sync::Arc};

use crate::codec::{GoodbyeReason, Violation};

/// Why a link ended. The first cause stays.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkEnd {
    /// The remote said goodbye.
    #[error("the remote said goodbye: {0:?}")]
    Goodbye(GoodbyeReason),
    /// We said goodbye.
    #[error("we said goodbye: {0:?}")]
    Left(GoodbyeReason),
    /// The remote closed the connection between two frames, without a goodbye.
    #[error("the remote closed the connection")]
    Closed,
    /// The remote broke the protocol.
    #[error("the remote broke the protocol")]
    Violation(#[from] Violation),
    /// Nothing arrived for [`super::Config::dead_after`].
    #[error("the remote has been silent for too long")]
    Silent,
    /// A frame that had started did not move on within [`super::Config::progress_timeout`].
    #[error("a frame came to a standstill while {0}")]
    Stalled(&'static str),
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[source] Arc<io::Error>),
    /// The receiver of the link was dropped.
    #[error("the link was dropped")]
    Dropped,
}

impl From<io::Error> for LinkEnd {
    fn from(cause: io::Error) -> Self {
        Self::Io(Arc::new(cause))
    }
}
