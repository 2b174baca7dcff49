//! A running link: the hello exchange, then one reader and one writer that live as long as [`LinkReceiver`] does.
//!
//! The two halves never wait for each other: a ping is answered from a slot of one, and the end of an upload has its
//! place reserved when the upload begins. What can wait is only the caller: a reader stops reading while its events
//! are not taken, and `LinkSender::send` waits while the remote does not read. So one task must not both take
//! events and wait in `send`; it uses `try_send`, or leaves sending to another task.

mod counters;
mod end;
mod handshake;
mod intake;
mod outbox;
mod pace;
mod pool;
mod reader;
mod receiver;
mod room;
mod sender;
mod tune;
mod upload;
mod writer;

use std::time::Duration;

pub use counters::Counted;
pub use end::LinkEnd;
pub use handshake::{HandshakeError, Link};
pub use intake::Intake;
pub use pool::BufferPool;
pub use receiver::{Event, LinkReceiver};
pub use room::{ReceiveRoom, Taken};
pub use sender::{LinkSender, SendError};
pub use tune::tune;
pub use upload::{PieceSource, ReadFuture, Upload, UploadEnd, UploadError};

/// Bounds of one link. Every wait and every queue has one.
#[derive(Clone, Debug)]
pub struct Config {
    /// The whole hello exchange.
    pub hello_timeout: Duration,
    /// A ping is sent this often, also when idle: the remote hears something at least as often.
    pub ping_interval: Duration,
    /// A link on which nothing arrives for so long is dead; several ping intervals.
    pub dead_after: Duration,
    /// A frame that has started moves 16 KiB (or what is left of it) in this time, in either direction.
    pub progress_timeout: Duration,
    /// How long the last frames may take once the link ends.
    pub farewell_timeout: Duration,
    /// Encoded control messages that may wait, in bytes; at least one largest frame.
    pub control_bytes: usize,
    /// Events that may wait for the caller; each holds at most one data frame.
    pub event_limit: usize,
    /// Uploads that may run or have ended unseen; the caller's slots are fewer.
    pub upload_limit: usize,
    /// Tasks that the remote may have open.
    pub open_limit: usize,
    /// Send buffers, shared by all links of a host.
    pub buffers: BufferPool,
    /// How fast content is read, over all links of a host.
    pub intake: Intake,
    /// Content that was read and not yet taken, over all links of a host.
    pub room: ReceiveRoom,
}

impl Config {
    /// The defaults, with send buffers from `buffers` and no limits on what is read.
    pub fn new(buffers: BufferPool) -> Self {
        Self {
            hello_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(5),
            dead_after: Duration::from_secs(20),
            progress_timeout: Duration::from_secs(15),
            farewell_timeout: Duration::from_secs(1),
            control_bytes: 1 << 20,
            event_limit: 16,
            upload_limit: 64,
            open_limit: 1024,
            buffers,
            intake: Intake::new(None),
            room: ReceiveRoom::unbounded(),
        }
    }
}
