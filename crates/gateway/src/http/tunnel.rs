//! What a connection becomes after `CONNECT`: bytes both ways, or requests within.
//!
//! Tunnels belong to the connection they came in by: they hold its place, and end with the door.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::{
    Handler,
    serve::{Bounds, serve_one},
};

/// A stream of bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// Any such stream.
pub type BoxIo = Box<dyn Io>;

/// Bytes that wait in each direction of a tunnel: a thousand tunnels take 32 MiB.
const BUFFER: usize = 16 << 10;

/// When the door closes, a tunnel in which nothing moves for so long ends.
const IDLE_LEAVING: Duration = Duration::from_millis(500);

/// Where the tunnels of one connection run.
#[derive(Clone)]
pub(crate) struct Tunnels {
    pub(super) tasks: TaskTracker,
    /// The connection is dropped.
    pub(super) gone: CancellationToken,
    /// The door closes.
    pub(super) stop: CancellationToken,
    pub(super) bounds: Arc<Bounds>,
}

impl Tunnels {
    /// Runs `work` on the stream that the client's connection becomes once it has its answer.
    pub(crate) fn begin<F>(
        &self,
        upgrade: OnUpgrade,
        work: impl FnOnce(BoxIo) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let gone = self.gone.clone();
        let tunnel = async move {
            match upgrade.await {
                Ok(upgraded) => work(Box::new(TokioIo::new(upgraded))).await,
                Err(error) => debug!(error = &error as &dyn std::error::Error, "no tunnel"),
            }
        };
        self.tasks
            .spawn(async move { gone.run_until_cancelled_owned(tunnel).await });
    }

    /// Carries bytes between both until both have ended, or nothing moves. Who ends its side alone hears the other out.
    pub(crate) async fn join(&self, client: BoxIo, origin: BoxIo) {
        let moves = Arc::new(Moves::begin());
        let watch = |stream| Watched {
            stream,
            moves: Arc::clone(&moves),
        };
        let (mut client, mut origin) = (watch(client), watch(origin));
        let copied = copy_bidirectional_with_sizes(&mut client, &mut origin, BUFFER, BUFFER);
        tokio::select! {
            copied = copied => {
                if let Err(error) = copied {
                    debug!(%error, "tunnel broke");
                }
            }
            () = self.until_idle(&moves) => debug!("tunnel ended, nothing moved"),
        }
    }

    async fn until_idle(&self, moves: &Moves) {
        loop {
            let is_leaving = self.stop.is_cancelled();
            let patience = if is_leaving {
                IDLE_LEAVING
            } else {
                self.bounds.limits.tunnel_idle
            };
            let until = moves.last() + patience;
            if until <= Instant::now() {
                return;
            }
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.stop.cancelled(), if !is_leaving => {}
            }
        }
    }

    /// Answers requests within `stream`, bounded as those of the door are.
    pub(crate) async fn serve<H: Handler>(
        &self,
        stream: BoxIo,
        peer: std::net::SocketAddr,
        handler: Arc<H>,
    ) {
        serve_one(
            (stream, peer),
            handler,
            Arc::clone(&self.bounds),
            self.stop.clone(),
        )
        .await;
    }

    /// How long a client may take to say something.
    pub(crate) fn patience(&self) -> Duration {
        self.bounds.limits.head_timeout
    }
}

/// When bytes last came, in either direction.
struct Moves {
    began: Instant,
    /// Milliseconds since then.
    last: AtomicU64,
}

impl Moves {
    fn begin() -> Self {
        Self {
            began: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn note(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis());
        self.last
            .fetch_max(since.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

/// A stream that notes when bytes were read from it.
struct Watched {
    stream: BoxIo,
    moves: Arc<Moves>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.moves.note();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
