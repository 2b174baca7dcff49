//! Send buffers for all links of a host: one data frame each, never more than the pool allows.

use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::codec::{DATA_HEADER_LENGTH, DATA_MAX, PREFIX_LENGTH};

/// A bounded pool of buffers of one data frame each (256 KiB and a header). A buffer is held from the read of the
/// file until the socket has taken the frame, so the pool should have one per upload slot of the host.
#[derive(Clone, Debug)]
pub struct BufferPool {
    room: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<BytesMut>>>,
}

pub(super) struct Buffer {
    pub(super) bytes: BytesMut,
    idle: Arc<Mutex<Vec<BytesMut>>>,
    _room: OwnedSemaphorePermit,
}

impl BufferPool {
    /// A pool of at most `count` buffers (at least one), each allocated when first needed.
    pub fn new(count: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(count.max(1))),
            idle: Arc::default(),
        }
    }

    /// An empty buffer, as soon as there is one.
    pub(super) async fn take(&self) -> Buffer {
        let room = Arc::clone(&self.room)
            .acquire_owned()
            .await
            .expect("the pool is never closed");
        let bytes = self.idle.lock().pop();
        let bytes = bytes.unwrap_or_else(|| {
            BytesMut::with_capacity(PREFIX_LENGTH + DATA_HEADER_LENGTH + DATA_MAX)
        });
        Buffer {
            bytes,
            idle: Arc::clone(&self.idle),
            _room: room,
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        if bytes.capacity() >= DATA_MAX {
            self.idle.lock().push(bytes);
        }
    }
}
