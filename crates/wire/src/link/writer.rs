//! Writes what the outbox says, one frame at a time; content is read only when its frame is next.

use std::{io, pin::pin, sync::Arc};

use bytes::BytesMut;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    BufferPool, Config, LinkEnd,
    outbox::Job,
    pace::Pace,
    pool::Buffer,
    receiver::Shared,
    upload::{Transfer, UploadEnd},
};
use crate::codec::{DATA_HEADER_LENGTH, Message, PREFIX_LENGTH, encode, piece_header};

const HEADER: usize = PREFIX_LENGTH + DATA_HEADER_LENGTH;

pub(super) struct Writer<W> {
    to: W,
    config: Config,
    shared: Arc<Shared>,
    ping_at: Instant,
    ping_number: u64,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) fn new(to: W, config: Config, shared: Arc<Shared>) -> Self {
        Self {
            to,
            config,
            shared,
            ping_at: Instant::now(),
            ping_number: 0,
        }
    }

    /// Writes until the link ends.
    pub(super) async fn run(mut self) -> LinkEnd {
        loop {
            match self.step().await {
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    async fn step(&mut self) -> Result<(), LinkEnd> {
        if self.ping_at <= Instant::now() {
            return self.ping().await;
        }
        match self.shared.outbox.next() {
            Some(Job::Control(bytes)) => self.write(&bytes, None).await,
            Some(Job::Data(transfer)) => self.data(transfer).await,
            Some(Job::Farewell(bytes, reason)) => {
                self.write(&bytes, None).await?;
                self.to.shutdown().await?;
                Err(LinkEnd::Left(reason))
            }
            None => {
                tokio::select! {
                    () = self.shared.outbox.wake.notified() => {}
                    () = sleep_until(self.ping_at) => {}
                }
                Ok(())
            }
        }
    }

    async fn ping(&mut self) -> Result<(), LinkEnd> {
        self.ping_at = Instant::now() + self.config.ping_interval;
        self.ping_number += 1;
        self.shared.counters.pinged(self.ping_number);
        self.write(&encode(&Message::Ping(self.ping_number)), None)
            .await
    }

    /// One frame of `transfer`. While its content is read, control goes on.
    async fn data(&mut self, mut transfer: Transfer) -> Result<(), LinkEnd> {
        let pool = self.config.buffers.clone();
        let frame = {
            let mut frame = pin!(read(&pool, &transfer));
            loop {
                tokio::select! {
                    frame = &mut frame => break frame,
                    () = self.shared.outbox.wake.notified() => self.control().await?,
                    () = sleep_until(self.ping_at) => self.ping().await?,
                }
            }
        };
        let shared = Arc::clone(&self.shared);
        let end = match frame {
            Err(cause) => Some(UploadEnd::Failed(cause)),
            Ok(_) if shared.outbox.is_running_cancelled() => Some(UploadEnd::Cancelled),
            Ok((frame, is_last)) => {
                self.write(&frame.bytes, Some(HEADER)).await?;
                transfer.sent += (frame.bytes.len() - HEADER) as u64;
                is_last.then_some(UploadEnd::Sent)
            }
        };
        shared.outbox.put_back(transfer, end);
        Ok(())
    }

    async fn control(&mut self) -> Result<(), LinkEnd> {
        while let Some(bytes) = self.shared.outbox.next_control() {
            self.write(&bytes, None).await?;
        }
        Ok(())
    }

    /// Writes whole frames and sees them leave our buffers. Content begins at `body_from`, if there is any.
    async fn write(&mut self, frames: &[u8], body_from: Option<usize>) -> Result<(), LinkEnd> {
        let late = |_| LinkEnd::Stalled("sending");
        let mut pace = Pace::new(self.config.progress_timeout);
        let body_from = body_from.unwrap_or(frames.len());
        let mut at = 0;
        while at < frames.len() {
            let written = timeout_at(pace.deadline(), self.to.write(&frames[at..])).await;
            let written = written.map_err(late)??;
            if written == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            let body = (at + written).saturating_sub(body_from.max(at));
            self.shared.counters.sent(written, body);
            pace.advance(written);
            at += written;
        }
        Ok(timeout_at(pace.deadline(), self.to.flush())
            .await
            .map_err(late)??)
    }

    pub(super) async fn hello(&mut self, frame: &[u8]) -> Result<(), LinkEnd> {
        self.ping_at = Instant::now() + self.config.ping_interval;
        self.write(frame, None).await
    }
}

/// The next frame of `transfer`, read into a buffer of the pool, and whether it is the last.
async fn read(pool: &BufferPool, transfer: &Transfer) -> io::Result<(Buffer, bool)> {
    let (range, last) = transfer.next_range();
    let mut frame = pool.take().await;
    frame.bytes.extend_from_slice(&[0; HEADER]);
    transfer.upload.source.read(range, &mut frame.bytes).await?;
    if (frame.bytes.len() as u64).checked_sub(HEADER as u64) != Some(range.length().0) {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the source gave another number of bytes than asked for",
        ));
    }
    write_header(&mut frame.bytes, transfer, last);
    Ok((frame, last))
}

fn write_header(frame: &mut BytesMut, transfer: &Transfer, last: bool) {
    let length = frame.len() - HEADER;
    let place = (transfer.upload.no, transfer.upload.piece);
    let offset = u32::try_from(transfer.sent).expect("a piece is below 4 GiB");
    frame[..HEADER].copy_from_slice(&piece_header(place, offset, length, last));
}
