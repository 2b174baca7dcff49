//! Room for content that was read and not yet taken: one bound for all links of a host.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::codec::{DATA_HEADER_LENGTH, DATA_MAX};

/// A bounded number of bytes. Clones share it. A link that finds no room leaves its content in the socket.
#[derive(Clone, Debug)]
pub struct ReceiveRoom(Arc<Semaphore>);

/// The room that one frame takes, until it is dropped.
#[derive(Debug)]
pub struct Taken {
    _room: OwnedSemaphorePermit,
}

impl ReceiveRoom {
    /// Room for `bytes`, for one largest frame at least.
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.clamp(DATA_HEADER_LENGTH + DATA_MAX, Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(bytes)))
    }

    /// No bound but each link's own.
    pub fn unbounded() -> Self {
        Self::new(Semaphore::MAX_PERMITS)
    }

    pub(super) fn try_take(&self, bytes: usize) -> Option<Taken> {
        let room = Arc::clone(&self.0).try_acquire_many_owned(worth(bytes));
        room.ok().map(|room| Taken { _room: room })
    }

    /// Room for one frame, in the order of asking.
    pub(super) async fn take(&self, bytes: usize) -> Taken {
        let room = Arc::clone(&self.0).acquire_many_owned(worth(bytes)).await;
        Taken {
            _room: room.expect("the room is never closed"),
        }
    }
}

fn worth(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a frame is below 4 GiB")
}
