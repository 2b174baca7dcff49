//! Accepting connections, at most so many at once, until told to stop.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use ::http::{HeaderValue, Method, Request, header};
use hyper::{body::Incoming, rt::Executor, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use listen::{Listening, Untaken};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::{
    Answer, Client, Handler, Names, head_only,
    patience::Patient,
    place::{self, Places},
    strict::Strict,
    tunnel::Tunnels,
};

/// The bounds of an HTTP door.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What clients may call this host, beside its addresses and `localhost`.
    pub names: Names,
    /// Counts the connections that could not be taken.
    pub untaken: Untaken,
    /// Connections at once; more wait in the kernel's queue.
    pub connections_max: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams_max: u32,
    /// Answers at once on all connections: each holds one frame of content. More are told 503 at once.
    pub answers: Places,
    /// Bytes of one request's head.
    pub head_max: usize,
    /// Time for a request's head to arrive, idle connections included.
    pub head_timeout: Duration,
    /// Time for a client to take some bytes of an answer.
    pub stall_timeout: Duration,
    /// Time without any byte in either direction after which a tunnel ends.
    pub tunnel_idle: Duration,
    /// Time for running answers to end when the door closes.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            names: Names::default(),
            untaken: Untaken::default(),
            connections_max: 1024,
            streams_max: 100,
            // With frames of 256 KiB: 256 MiB at the very most.
            answers: Places::new(1024),
            // Tokens of some clouds' registries have 4 to 12 KiB.
            head_max: 64 << 10,
            head_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(600),
            tunnel_idle: Duration::from_secs(300),
            grace: Duration::from_secs(30),
        }
    }
}

/// Why a door cannot be opened or kept open.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("listening on {address}")]
    Bind {
        /// What was to be listened on.
        address: SocketAddr,
        /// The kernel's answer.
        #[source]
        cause: io::Error,
    },
}

/// Listens on `address`. Doors have no authentication of their own: anything but loopback is an operator's choice.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|cause| ServeError::Bind { address, cause })
}

/// Runs the tasks of one connection's HTTP/2 streams: somebody waits for them, and they end with the connection.
#[derive(Clone)]
struct Streams {
    tasks: TaskTracker,
    gone: CancellationToken,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let gone = self.gone.clone();
        self.tasks
            .spawn(async move { gone.run_until_cancelled_owned(future).await });
    }
}

/// Answers requests until `stop`, then lets running answers end for [`Limits::grace`] and drops the rest.
///
/// Dropped early, every connection is reset.
pub(crate) async fn serve<H: Handler>(
    (name, listener): (&'static str, TcpListener),
    handler: Arc<H>,
    limits: Limits,
    stop: CancellationToken,
) {
    let most = limits.connections_max;
    let listening = Listening::new(name, listener, &limits.untaken);
    let bounds = Arc::new(Bounds { limits });
    let serve = |stream: TcpStream, peer| {
        // Answers are written in large frames and flushed: waiting for more would only delay heads.
        let _ = stream.set_nodelay(true);
        // Or a client whose machine is gone would hold its place in a tunnel until that is idle.
        let _ = listen::keep_alive(&stream);
        let (handler, bounds) = (Arc::clone(&handler), Arc::clone(&bounds));
        serve_one((stream, peer), handler, bounds, stop.clone())
    };
    let mut connections = listening.each(most, &stop, serve).await;
    let _ = timeout(bounds.limits.grace, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    connections.shutdown().await;
}

/// What all connections of one door share.
pub(super) struct Bounds {
    pub(super) limits: Limits,
}

impl Bounds {
    async fn answer<H: Handler>(
        &self,
        handler: &H,
        request: Request<Incoming>,
        client: Client,
    ) -> Answer {
        let is_head = request.method() == Method::HEAD;
        // Where a chunked body ends, others may see otherwise: nothing comes after it (RFC 9112, 6.1).
        let is_last = request.headers().contains_key(header::TRANSFER_ENCODING);
        let close = |mut answer: Answer| {
            if is_last {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, close);
            }
            answer
        };
        let Some(place) = self.limits.answers.take() else {
            return close(place::full_house());
        };
        let answer = close(handler.answer(request, client).await);
        place::hold(if is_head { head_only(answer) } else { answer }, place)
    }
}

/// Answers the requests of one connection, and waits for the tunnels that came in by it.
pub(super) async fn serve_one<H: Handler, S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    (stream, peer): (S, SocketAddr),
    handler: Arc<H>,
    bounds: Arc<Bounds>,
    stop: CancellationToken,
) {
    let limits = &bounds.limits;
    let io = Strict::new(Patient::new(
        stream,
        limits.head_timeout,
        limits.stall_timeout,
    ));
    let streams = Streams {
        tasks: TaskTracker::new(),
        gone: CancellationToken::new(),
    };
    let gone = streams.gone.clone().drop_guard();
    let tunnels = Tunnels {
        tasks: TaskTracker::new(),
        gone: CancellationToken::new(),
        stop: stop.clone(),
        bounds: Arc::clone(&bounds),
    };
    let _tunnels_gone = tunnels.gone.clone().drop_guard();
    let mut server = auto::Builder::new(streams.clone());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_max.max(8 << 10));
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(limits.head_max).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.head_timeout);
    let service = service_fn(|request: Request<Incoming>| {
        let (bounds, handler) = (Arc::clone(&bounds), Arc::clone(&handler));
        let tunnels = tunnels.clone();
        async move {
            let names = bounds.limits.names.clone();
            let client = Client {
                peer,
                names,
                tunnels,
            };
            Ok::<_, Infallible>(bounds.answer(&*handler, request, client).await)
        }
    });
    let ended = {
        let mut connection = pin!(server.serve_connection_with_upgrades(TokioIo::new(io), service));
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = ended {
        debug!(%peer, error = &*error, "connection broke");
    }
    drop(gone);
    streams.tasks.close();
    streams.tasks.wait().await;
    tunnels.tasks.close();
    tunnels.tasks.wait().await;
}
