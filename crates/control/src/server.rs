//! The scheduler's side: answers the calls that come over one link.
//!
//! Who may call what follows from how the link was made: [`serve_host`] for a link whose host is proven,
//! [`serve_joiner`] for one whose other end has no name. The rest is the handler's.

use std::{
    collections::VecDeque, future::Future, net::IpAddr, pin::Pin, sync::Arc, time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use types::{HostId, Secret};

use crate::{
    Malformed, Stamped,
    admin::{EnrolAnswer, EnrolRequest, HostView},
    batch::{Batches, ENCODED_MAX},
    encode_admin,
    proto::{
        self,
        control_server::{Control, ControlServer},
        enrolment_server::{Enrolment, EnrolmentServer},
    },
    scheduler_message::SchedulerMessage,
};

/// Calls at once on one link: the stream, a renewal, and some of an administrator's.
const CALLS_MAX: u32 = 16;
/// How long a link may be silent before it is asked for a sign of life, and how long it may take to give one.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Who calls, as its link has proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The host.
    pub host: HostId,
    /// Whether its certificate lets it be a seed.
    pub is_seed: bool,
    /// Whether it may call what is for administrators: its certificate says scheduler.
    pub is_administrator: bool,
    /// Where it calls from.
    pub observed: IpAddr,
    /// The address of ours that it called.
    pub reached: IpAddr,
}

/// Why a call is not answered. Told to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not with this certificate.
    #[error("this host may not do that")]
    Forbidden,
    /// The arguments do not fit, or a token is not good any more.
    #[error("{0}")]
    Refused(String),
    /// Not now; the caller may come again.
    #[error("the scheduler is busy or leaving")]
    Busy,
    /// Something is wrong with the scheduler itself.
    #[error("the scheduler failed: {0}")]
    Failed(String),
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        let text = denied.to_string();
        match denied {
            Denied::Forbidden => Self::permission_denied(text),
            Denied::Refused(_) => Self::invalid_argument(text),
            Denied::Busy => Self::unavailable(text),
            Denied::Failed(_) => Self::internal(text),
        }
    }
}

impl From<Malformed> for Denied {
    fn from(fault: Malformed) -> Self {
        Self::Refused(fault.to_string())
    }
}

/// What a scheduler does with the calls of proven hosts.
pub trait Handler: Send + Sync + 'static {
    /// A host opens its stream. Reads `incoming` elsewhere; what is put into the returned queue is sent. The stream
    /// ends when the queue's other end is dropped, or the link is.
    fn open(&self, caller: Caller, incoming: Incoming) -> Answer<mpsc::Receiver<SchedulerMessage>>;
    /// The caller's next certificate.
    fn renew(&self, caller: Caller) -> Answer<EnrolAnswer>;
    /// Every host that is here. Only called for administrators.
    fn view_hosts(&self) -> Answer<Vec<HostView>>;
}

/// What a scheduler does with those who want to join.
pub trait Joiners: Send + Sync + 'static {
    /// Admits one, or not.
    fn enrol(&self, request: EnrolRequest) -> Answer<EnrolAnswer>;
}

/// An answer on its way.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Denied>> + Send>>;

/// What a host says, in order. Not read, it makes the host wait.
pub struct Incoming {
    stream: Streaming<proto::HostBatch>,
    ready: VecDeque<proto::HostMessage>,
}

impl Incoming {
    /// The next message; none when the host has closed the stream or the link is gone. Cancel-safe.
    ///
    /// Errors: [`Malformed`]: the host is not to be listened to any more. Kinds of messages that are not known are skipped.
    pub async fn next(&mut self) -> Result<Option<Stamped>, Malformed> {
        loop {
            while let Some(message) = self.ready.pop_front() {
                if message.kind.is_some() {
                    return message.try_into().map(Some);
                }
            }
            match self.stream.message().await {
                Ok(Some(batch)) => self.ready = batch.messages.into(),
                Ok(None) | Err(_) => return Ok(None),
            }
        }
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Incoming")
    }
}

/// Answers the calls of a proven host until it hangs up. Dropped early, its calls end.
pub async fn serve_host<Io, H>(io: Io, caller: Caller, handler: Arc<H>)
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Handler,
{
    let service = ControlServer::new(HostCalls { caller, handler })
        .max_decoding_message_size(ENCODED_MAX)
        .max_encoding_message_size(ENCODED_MAX);
    serve(io, service).await;
}

/// Answers the enrolment call of somebody without a name, and nothing else.
pub async fn serve_joiner<Io, J>(io: Io, joiners: Arc<J>)
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    J: Joiners,
{
    let service = EnrolmentServer::new(JoinCalls { joiners }).max_decoding_message_size(64 << 10);
    serve(io, service).await;
}

async fn serve<Io, S>(io: Io, service: S)
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: tower::Service<
            http::Request<hyper::body::Incoming>,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(CALLS_MAX)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    if let Err(error) = connection.await {
        tracing::debug!(%error, "control link ended");
    }
}

struct HostCalls<H> {
    caller: Caller,
    handler: Arc<H>,
}

impl<H: Handler> HostCalls<H> {
    fn as_administrator(&self) -> Result<&H, Status> {
        if self.caller.is_administrator {
            Ok(&self.handler)
        } else {
            Err(Denied::Forbidden.into())
        }
    }
}

#[tonic::async_trait]
impl<H: Handler> Control for HostCalls<H> {
    type OpenStream = Pin<Box<dyn Stream<Item = Result<proto::SchedulerBatch, Status>> + Send>>;

    async fn open(
        &self,
        request: Request<Streaming<proto::HostBatch>>,
    ) -> Result<Response<Self::OpenStream>, Status> {
        let incoming = Incoming {
            stream: request.into_inner(),
            ready: VecDeque::new(),
        };
        let outgoing = self.handler.open(self.caller, incoming).await?;
        let encode: fn(SchedulerMessage) -> proto::SchedulerMessage = Into::into;
        let batches = Batches::new(outgoing, encode, |messages| proto::SchedulerBatch {
            messages,
        });
        Ok(Response::new(Box::pin(batches.map(Ok))))
    }

    async fn renew(
        &self,
        _: Request<proto::RenewRequest>,
    ) -> Result<Response<proto::EnrolAnswer>, Status> {
        let answer = self.handler.renew(self.caller).await?;
        Ok(Response::new(answer.into()))
    }

    async fn view_hosts(
        &self,
        _: Request<proto::Nothing>,
    ) -> Result<Response<proto::HostViews>, Status> {
        let views = self.as_administrator()?.view_hosts().await?;
        let views = views.into_iter().map(encode_admin::host_view).collect();
        Ok(Response::new(proto::HostViews { views }))
    }
}

struct JoinCalls<J> {
    joiners: Arc<J>,
}

#[tonic::async_trait]
impl<J: Joiners> Enrolment for JoinCalls<J> {
    async fn enrol(
        &self,
        request: Request<proto::EnrolRequest>,
    ) -> Result<Response<proto::EnrolAnswer>, Status> {
        let asked = request.into_inner();
        let answer = self.joiners.enrol(EnrolRequest {
            host: asked.host,
            token: Secret::new(asked.token),
            nonce: asked.nonce,
            proof: asked.proof,
        });
        Ok(Response::new(answer.await?.into()))
    }
}
