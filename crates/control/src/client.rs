//! The host's side of one link: opens the stream, and makes the other calls.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    task::JoinSet,
};
use tokio_stream::StreamExt;
use tonic::{Status, Streaming, body::Body};
use types::Moment;

use crate::{
    Malformed, Stamped,
    admin::{EnrolAnswer, EnrolRequest, HostView},
    batch::{Batches, ENCODED_MAX},
    encode_admin,
    host_message::HostMessage,
    proto::{self, control_client, enrolment_client},
    scheduler_message::SchedulerMessage,
};

/// Messages that wait to be sent; the next one makes its sender wait.
const QUEUE: usize = 1024;
/// As the scheduler's: a silent link is asked, and given up.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The link broke.
    #[error("the link to the scheduler broke")]
    Link(#[source] hyper::Error),
    /// The scheduler said no.
    #[error("the scheduler refused: {}", .0.message())]
    Refused(#[source] Status),
    /// What it said is not the protocol.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl CallError {
    /// Whether the same call may succeed later, or with another scheduler.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Link(_) => true,
            Self::Refused(status) => !matches!(
                status.code(),
                tonic::Code::PermissionDenied | tonic::Code::InvalidArgument
            ),
            Self::Malformed(_) => false,
        }
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

/// The stream is gone: the message was not sent, and nothing will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream to the scheduler has ended")]
pub struct SendError;

/// Calls over one link. Clones share it; it is closed when the last one and all its streams are gone.
#[derive(Clone)]
pub struct ControlClient {
    channel: Channel,
}

/// Puts messages on the stream.
#[derive(Clone, Debug)]
pub struct ControlSender(mpsc::Sender<Stamped>);

/// What the scheduler says, in order.
pub struct ControlReceiver {
    stream: Streaming<proto::SchedulerBatch>,
    ready: VecDeque<proto::SchedulerMessage>,
    /// Keeps the link.
    _client: ControlClient,
}

impl ControlClient {
    /// Speaks over a link that the caller has made and proven.
    pub async fn connect<Io>(io: Io) -> Result<Self, CallError>
    where
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .handshake(TokioIo::new(io))
            .await
            .map_err(CallError::Link)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "control link ended");
            }
        });
        let driver = Arc::new(driver);
        let channel = Channel { sender, driver };
        Ok(Self { channel })
    }

    fn control(&self) -> control_client::ControlClient<Channel> {
        control_client::ControlClient::with_origin(self.channel.clone(), origin())
            .max_decoding_message_size(ENCODED_MAX)
            .max_encoding_message_size(ENCODED_MAX)
    }

    /// Opens the host's stream. One per link.
    pub async fn open(&self) -> Result<(ControlSender, ControlReceiver), CallError> {
        let (sender, queue) = ControlSender::pair(QUEUE);
        let encode: fn(Stamped) -> proto::HostMessage = Into::into;
        let batches = Batches::new(queue, encode, |messages| proto::HostBatch { messages });
        let response = self.control().open(batches).await?;
        let receiver = ControlReceiver {
            stream: response.into_inner(),
            ready: VecDeque::new(),
            _client: self.clone(),
        };
        Ok((sender, receiver))
    }

    /// Asks for this host's next certificate.
    pub async fn renew(&self) -> Result<EnrolAnswer, CallError> {
        let answer = self.control().renew(proto::RenewRequest {}).await?;
        Ok(answer.into_inner().into())
    }

    /// Asks for a first certificate, over a link made for enrolment.
    pub async fn enrol(&self, request: EnrolRequest) -> Result<EnrolAnswer, CallError> {
        let mut enrolment =
            enrolment_client::EnrolmentClient::with_origin(self.channel.clone(), origin());
        let answer = enrolment.enrol(proto::EnrolRequest {
            host: request.host,
            token: request.token.expose().clone(),
            nonce: request.nonce,
            proof: request.proof,
        });
        Ok(answer.await?.into_inner().into())
    }

    /// Every host that is here. Needs a scheduler's certificate.
    pub async fn view_hosts(&self) -> Result<Vec<HostView>, CallError> {
        let views = self.control().view_hosts(proto::Nothing {}).await?;
        let views = views.into_inner().views;
        let views: Result<_, _> = views.iter().map(encode_admin::host_view_of).collect();
        Ok(views?)
    }
}

impl ControlSender {
    /// A sender whose messages come out at the other end, without a connection: for an owner that carries them itself.
    pub fn pair(capacity: usize) -> (Self, mpsc::Receiver<Stamped>) {
        let (sender, queue) = mpsc::channel(capacity);
        (Self(sender), queue)
    }

    /// Queues a message that counts as sent at `sent`; waits while the queue is full. Dropped early, the message is
    /// not queued.
    pub async fn send(&self, sent: Moment, message: HostMessage) -> Result<(), SendError> {
        let stamped = Stamped { sent, message };
        self.0.send(stamped).await.map_err(|_| SendError)
    }

    /// Queues a message if there is room for it now; gives it back if there is not, or if the stream has ended.
    pub fn try_send(&self, sent: Moment, message: HostMessage) -> Option<HostMessage> {
        let queued = self.0.try_send(Stamped { sent, message });
        queued.err().map(|unsent| unsent.into_inner().message)
    }
}

impl ControlReceiver {
    /// The next message; none when the scheduler has closed the stream. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<SchedulerMessage>, CallError> {
        loop {
            while let Some(message) = self.ready.pop_front() {
                if message.kind.is_some() {
                    return Ok(Some(message.try_into()?));
                }
            }
            match self.stream.next().await {
                Some(batch) => self.ready = batch?.messages.into(),
                None => return Ok(None),
            }
        }
    }
}

impl std::fmt::Debug for ControlClient {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("ControlClient")
    }
}

impl std::fmt::Debug for ControlReceiver {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("ControlReceiver")
    }
}

/// HTTP/2 wants a name; who is there was proven below it.
fn origin() -> http::Uri {
    http::Uri::from_static("https://scheduler.pantala")
}

/// One HTTP/2 connection as tonic wants to call it.
#[derive(Clone)]
struct Channel {
    sender: SendRequest<Body>,
    driver: Arc<JoinSet<()>>,
}

impl tower::Service<http::Request<Body>> for Channel {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let driver = self.driver.clone();
        let response = self.sender.send_request(request);
        Box::pin(async move {
            let _kept = driver;
            response.await
        })
    }
}
