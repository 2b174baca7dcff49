//! What a proxy counts: requests by what its rules say, refusals by reason, bytes by the way they took, tunnels.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::{Answer, AnswerBody, BodyError, BoxIo};

/// What a rule said of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Content,
    Registry,
    Direct,
    Refuse,
    /// No rule matches.
    Nothing,
    /// A tunnel, which no rule refuses.
    Tunnel,
}

/// Why a request was not answered by its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Rule,
    /// The rules for addresses, ports and plain text.
    Policy,
    Malformed,
    /// The client's address is not listed.
    Stranger,
    /// The origin gave no answer.
    Unreachable,
}

/// Which way bytes took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the store or the swarm.
    Swarm,
    /// An origin's answer, passed on.
    Passed,
    /// Both ways through tunnels.
    Tunnel,
}

const SAID: [&str; 6] = ["content", "registry", "direct", "refuse", "none", "tunnel"];
const REASONS: [&str; 5] = ["rule", "policy", "malformed", "stranger", "unreachable"];
const WAYS: [&str; 3] = ["swarm", "passed", "tunnel"];

/// The counters of a proxy. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: [AtomicU64; SAID.len()],
    refusals: [AtomicU64; REASONS.len()],
    bytes: [AtomicU64; WAYS.len()],
    tunnels: AtomicU64,
}

fn told<const N: usize>(
    names: [&'static str; N],
    counts: &[AtomicU64; N],
) -> [(&'static str, u64); N] {
    std::array::from_fn(|at| (names[at], counts[at].load(Ordering::Relaxed)))
}

impl Tally {
    /// Requests, by what the rules say of them.
    pub fn requests(&self) -> impl IntoIterator<Item = (&'static str, u64)> {
        told(SAID, &self.0.requests)
    }

    /// Refusals, by reason.
    pub fn refusals(&self) -> impl IntoIterator<Item = (&'static str, u64)> {
        told(REASONS, &self.0.refusals)
    }

    /// Bytes of answers and tunnels, by the way they took.
    pub fn bytes(&self) -> impl IntoIterator<Item = (&'static str, u64)> {
        told(WAYS, &self.0.bytes)
    }

    /// Tunnels that are open.
    pub fn tunnels(&self) -> u64 {
        self.0.tunnels.load(Ordering::Relaxed)
    }

    pub(super) fn request(&self, said: Said) {
        self.0.requests[said as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refusal, if `answer` is one.
    pub(super) fn judged(&self, answer: Answer) -> Answer {
        if let Some(reason) = answer.extensions().get::<Reason>() {
            self.0.refusals[*reason as usize].fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    fn moved(&self, way: Way, bytes: usize) {
        self.0.bytes[way as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts the bytes of an answer as they go.
    pub(super) fn counting(&self, way: Way, answer: Answer) -> Answer {
        let tally = self.clone();
        answer.map(|body| Counted { body, way, tally }.boxed_unsync())
    }

    /// Counts one open tunnel until the guard is dropped.
    pub(super) fn open(&self) -> OpenTunnel {
        self.0.tunnels.fetch_add(1, Ordering::Relaxed);
        OpenTunnel(self.clone())
    }

    /// A tunnel's other end, whose bytes count both ways.
    pub(super) fn tunnel(&self, stream: BoxIo) -> BoxIo {
        Box::new(Metered {
            stream,
            open: self.open(),
        })
    }
}

/// A tunnel that is open.
pub(super) struct OpenTunnel(Tally);

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body whose bytes count.
struct Counted {
    body: AnswerBody,
    way: Way,
    tally: Tally,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.tally.moved(self.way, data.len());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose bytes count, both ways.
struct Metered {
    stream: BoxIo,
    open: OpenTunnel,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.open
            .0
            .moved(Way::Tunnel, buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.open.0.moved(Way::Tunnel, count);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
