//! A connection that does not wait forever for its client.
//!
//! hyper bounds the time for a request's head, but not the moment before it knows whether the client speaks HTTP/2, nor
//! a client that stops reading. Both would hold one of a bounded number of places.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// What an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream with two deadlines: one until its first bytes tell the protocol, one for every write that gets stuck.
pub(crate) struct Patient<S> {
    stream: S,
    opening: Option<Pin<Box<Sleep>>>,
    /// How much of [`PREFACE`] the first bytes matched.
    matched: usize,
    stall: Pin<Box<Sleep>>,
    stall_limit: Duration,
    stalled: bool,
}

impl<S> Patient<S> {
    /// Waits at most `opening` for the protocol to be told and at most `stall` for each stuck write.
    pub(crate) fn new(stream: S, opening: Duration, stall: Duration) -> Self {
        Self {
            stream,
            opening: Some(Box::pin(sleep(opening))),
            matched: 0,
            stall: Box::pin(sleep(stall)),
            stall_limit: stall,
            stalled: false,
        }
    }

    /// Looks at bytes of the opening; forgets its deadline once they tell the protocol.
    fn see(&mut self, bytes: &[u8]) {
        if self.opening.is_none() {
            return;
        }
        let rest = &PREFACE[self.matched..];
        let told = bytes.len() >= rest.len() || !rest.starts_with(bytes);
        if told {
            self.opening = None;
        } else {
            self.matched += bytes.len();
        }
    }

    /// Passes the outcome of a write on, unless it has been stuck for too long.
    fn judge<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = false;
            return written;
        }
        if !self.stalled {
            self.stalled = true;
            let deadline = Instant::now() + self.stall_limit;
            self.stall.as_mut().reset(deadline);
        }
        match self.stall.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(late("the client stopped reading"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn late(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if read.is_ready() {
            this.see(&buffer.filled()[before..]);
            return read;
        }
        match this
            .opening
            .as_mut()
            .map(|opening| opening.as_mut().poll(context))
        {
            Some(Poll::Ready(())) => Poll::Ready(Err(late("the client said nothing"))),
            _ => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.judge(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.judge(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.judge(flushed, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(context);
        this.judge(shut, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const SHORT: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn a_client_that_pauses_within_the_preface_is_given_up() {
        let (mut client, server) = duplex(64);
        let mut server = Patient::new(server, SHORT, LONG);
        client.write_all(b"PRI * ").await.expect("room");
        let error = server
            .read_to_end(&mut Vec::new())
            .await
            .expect_err("a deadline");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn the_deadline_ends_once_the_protocol_is_told() {
        for opening in [&b"G"[..], PREFACE, b"PRI * HTTP/1"] {
            let (mut client, server) = duplex(64);
            let mut server = Patient::new(server, LONG, LONG);
            client.write_all(opening).await.expect("room");
            let mut seen = vec![0; opening.len()];
            server.read_exact(&mut seen).await.expect("bytes");
            assert!(server.opening.is_none(), "{opening:?}");
        }
    }

    #[tokio::test]
    async fn a_client_that_stops_reading_is_given_up() {
        let (_client, server) = duplex(4);
        let mut server = Patient::new(server, LONG, SHORT);
        let error = server
            .write_all(b"more than fits")
            .await
            .expect_err("a deadline");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
