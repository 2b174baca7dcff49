//! What is queued goes out together: one gRPC message carries as many of ours as are waiting, up to a bound.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::sync::mpsc::Receiver;
use tokio_stream::Stream;

/// Messages in one batch: beyond some hundred there is nothing to gain.
const MESSAGES_MAX: usize = 256;
/// Bytes after which a batch is closed. One message, an inventory, may be larger by itself.
const BYTES_MAX: usize = 1 << 20;
/// The largest gRPC message that is read: a full inventory, or a full batch and one more.
pub(crate) const ENCODED_MAX: usize = 16 << 20;

/// A queue as a stream of batches.
pub(crate) struct Batches<T, P, B> {
    queue: Receiver<T>,
    encode: fn(T) -> P,
    wrap: fn(Vec<P>) -> B,
}

impl<T, P, B> Batches<T, P, B> {
    pub(crate) fn new(queue: Receiver<T>, encode: fn(T) -> P, wrap: fn(Vec<P>) -> B) -> Self {
        Self {
            queue,
            encode,
            wrap,
        }
    }
}

impl<T, P: prost::Message, B> Stream for Batches<T, P, B> {
    type Item = B;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<B>> {
        let this = self.get_mut();
        let Some(first) = ready!(this.queue.poll_recv(context)) else {
            return Poll::Ready(None);
        };
        let mut batch = vec![(this.encode)(first)];
        let mut bytes = batch[0].encoded_len();
        while batch.len() < MESSAGES_MAX && bytes < BYTES_MAX {
            let Ok(next) = this.queue.try_recv() else {
                break;
            };
            let next = (this.encode)(next);
            bytes += next.encoded_len();
            batch.push(next);
        }
        Poll::Ready(Some((this.wrap)(batch)))
    }
}
