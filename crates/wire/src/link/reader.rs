//! Reads frames and hands them on in order. It stops reading while the caller does not take them.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{Config, Event, LinkEnd, intake::PORTION, pace::Pace, receiver::Shared, room::Taken};
use crate::codec::{
    DATA_HEADER_LENGTH, Decoder, Hello, Kind, Message, PREFIX_LENGTH, Prefix, Received, Violation,
};

/// Read at once between frames, so that small frames share a system call and an idle link holds little.
const CHUNK: usize = 4 << 10;

pub(super) struct Reader<R> {
    from: R,
    config: Config,
    shared: Arc<Shared>,
    decoder: Decoder,
    buffer: BytesMut,
    /// The room of the data frame that was read last.
    taken: Option<Taken>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(from: R, config: Config, shared: Arc<Shared>) -> Self {
        let decoder = Decoder::new(config.open_limit);
        Self {
            from,
            config,
            shared,
            decoder,
            buffer: BytesMut::new(),
            taken: None,
        }
    }

    pub(super) async fn hello(&mut self) -> Result<Hello, LinkEnd> {
        match self.frame().await? {
            Received::Message {
                message: Message::Hello(hello),
                ..
            } => Ok(hello),
            _ => unreachable!("the decoder lets nothing but a hello come first"),
        }
    }

    /// Reads until the link ends.
    pub(super) async fn run(mut self, events: mpsc::Sender<Event>) -> LinkEnd {
        loop {
            let event = match self.frame().await {
                Err(end) => return end,
                Ok(Received::Message { message, task }) => match message {
                    Message::Ping(number) => {
                        self.shared.outbox.pong(number);
                        continue;
                    }
                    Message::Pong(number) => {
                        self.shared.counters.ponged(number);
                        continue;
                    }
                    Message::Goodbye(reason) => return LinkEnd::Goodbye(reason),
                    message => Event::Message { task, message },
                },
                Ok(Received::Data { task, data }) => {
                    let room = match self.taken.take() {
                        Some(room) => room,
                        None => unreachable!("a data frame is read into room that was taken"),
                    };
                    Event::Data { task, data, room }
                }
            };
            if events.send(event).await.is_err() {
                return LinkEnd::Dropped;
            }
        }
    }

    /// The next frame of a kind that we know.
    async fn frame(&mut self) -> Result<Received, LinkEnd> {
        loop {
            let prefix = self.prefix().await?;
            self.decoder.expect(prefix.kind)?;
            match prefix.kind {
                Some(kind) => {
                    let payload = self.payload(kind, prefix.payload_length).await?;
                    return Ok(self.decoder.decode(kind, payload)?);
                }
                None => self.skip(prefix.payload_length).await?,
            }
        }
    }

    async fn prefix(&mut self) -> Result<Prefix, LinkEnd> {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::with_capacity(CHUNK);
            let deadline = Instant::now() + self.config.dead_after;
            if self.read(deadline, LinkEnd::Silent).await? == 0 {
                return Err(LinkEnd::Closed);
            }
        }
        self.fill(PREFIX_LENGTH).await?;
        let mut prefix = [0; PREFIX_LENGTH];
        self.buffer.copy_to_slice(&mut prefix);
        Ok(Prefix::parse(prefix)?)
    }

    async fn payload(&mut self, kind: Kind, length: usize) -> Result<Bytes, LinkEnd> {
        if kind == Kind::Piece {
            self.taken = Some(match self.config.room.try_take(length) {
                Some(taken) => taken,
                None => {
                    let room = self.config.room.take(length);
                    self.shared.hold.during(room).await
                }
            });
        }
        let filled = if kind == Kind::Piece && self.config.intake.is_limited() {
            self.fill_slowly(length).await
        } else {
            self.fill(length).await
        };
        if kind == Kind::Piece {
            let body = self
                .buffer
                .len()
                .min(length)
                .saturating_sub(DATA_HEADER_LENGTH);
            self.shared.counters.received_body(body);
        }
        filled?;
        Ok(self.buffer.split_to(length).freeze())
    }

    /// Reads a data frame no faster than this host may. What came with the frame before it is paid for as well.
    async fn fill_slowly(&mut self, length: usize) -> Result<(), LinkEnd> {
        let mut paid = 0;
        while paid < length {
            let portion = PORTION.min(length - paid);
            if let Some(at) = self.config.intake.pay(portion) {
                self.shared.hold.until(at).await;
            }
            paid += portion;
            self.fill(paid).await?;
        }
        Ok(())
    }

    async fn skip(&mut self, mut length: usize) -> Result<(), LinkEnd> {
        while length > 0 {
            let part = length.min(CHUNK);
            self.fill(part).await?;
            self.buffer.advance(part);
            length -= part;
        }
        Ok(())
    }

    /// Reads within a frame until `length` bytes are in the buffer.
    async fn fill(&mut self, length: usize) -> Result<(), LinkEnd> {
        let mut pace = Pace::new(self.config.progress_timeout);
        while self.buffer.len() < length {
            self.buffer.reserve(length - self.buffer.len());
            let read = self
                .read(pace.deadline(), LinkEnd::Stalled("receiving"))
                .await?;
            if read == 0 {
                return Err(Violation::Truncated.into());
            }
            pace.advance(read);
        }
        Ok(())
    }

    async fn read(&mut self, deadline: Instant, late: LinkEnd) -> Result<usize, LinkEnd> {
        let read = timeout_at(deadline, self.from.read_buf(&mut self.buffer)).await;
        let read = read.map_err(|_| late)??;
        self.shared.counters.received(read);
        Ok(read)
    }
}
