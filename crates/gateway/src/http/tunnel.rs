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
    time::sleep,
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

/// A tunnel in which nothing moves for so long is nobody's: long polls and idle sessions are shorter.
const IDLE: Duration = Duration::from_secs(3600);

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

    /// Carries bytes between both until one of them ends, or nothing moves.
    pub(crate) async fn join(&self, client: BoxIo, origin: BoxIo) {
        let moved = Arc::new(AtomicU64::new(0));
        let count = |stream| Counted {
            stream,
            moved: Arc::clone(&moved),
        };
        let (mut client, mut origin) = (count(client), count(origin));
        let copied = copy_bidirectional_with_sizes(&mut client, &mut origin, BUFFER, BUFFER);
        tokio::select! {
            copied = copied => {
                if let Err(error) = copied {
                    debug!(%error, "tunnel broke");
                }
            }
            () = until_idle(&moved, &self.stop) => debug!("tunnel ended, nothing moved"),
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

async fn until_idle(moved: &AtomicU64, stop: &CancellationToken) {
    loop {
        let before = moved.load(Ordering::Relaxed);
        let is_leaving = stop.is_cancelled();
        tokio::select! {
            () = sleep(if is_leaving { IDLE_LEAVING } else { IDLE }) => {}
            () = stop.cancelled(), if !is_leaving => continue,
        }
        if moved.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// A stream that counts what is read from it.
struct Counted {
    stream: BoxIo,
    moved: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let count = buffer.filled().len() - before;
        self.moved.fetch_add(count as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Counted {
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
