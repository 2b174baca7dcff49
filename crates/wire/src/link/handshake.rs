//! The start of a link: both sides say hello, and each decides for itself.

use std::sync::Arc;

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf},
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::Instrument;
use types::ClusterId;

use super::{
    Config, LinkEnd, LinkReceiver, LinkSender, reader::Reader, receiver::Shared, writer::Writer,
};
use crate::codec::{Hello, Message, PAYLOAD_MAX, PREFIX_LENGTH, VERSION_MIN, Violation, encode};

/// A link that both sides agreed to.
pub struct Link {
    /// Sends; clone it at will.
    pub sender: LinkSender,
    /// Receives, and owns the link: it ends when this is dropped.
    pub receiver: LinkReceiver,
    /// What the remote said of itself.
    pub hello: Hello,
    /// The version both speak.
    pub version: u16,
}

/// Why a connection became no link.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The remote took longer than [`Config::hello_timeout`].
    #[error("the remote did not finish its hello in time")]
    TimedOut,
    /// The remote belongs elsewhere.
    #[error(
        "the remote is of cluster {theirs}, we are of {ours}; check which certificate authority it was enrolled with"
    )]
    Foreign {
        /// The remote's cluster.
        theirs: ClusterId,
        /// Ours.
        ours: ClusterId,
    },
    /// The remote is too old.
    #[error(
        "the remote speaks version {theirs} of the peer protocol, the oldest we speak is {VERSION_MIN}; update it"
    )]
    Version {
        /// The newest version that the remote speaks.
        theirs: u16,
    },
    /// The remote's first frame was broken, or no hello.
    #[error("the remote broke the protocol before its hello was complete")]
    Violation(#[source] Violation),
    /// The connection ended or failed.
    #[error("the connection failed during the hello")]
    Connection(#[source] Box<LinkEnd>),
}

impl From<LinkEnd> for HandshakeError {
    fn from(end: LinkEnd) -> Self {
        match end {
            LinkEnd::Violation(violation) => Self::Violation(violation),
            LinkEnd::Silent | LinkEnd::Stalled(_) => Self::TimedOut,
            other => Self::Connection(Box::new(other)),
        }
    }
}

impl Link {
    /// Exchanges hellos on `io`, whose remote the caller has authenticated, and starts the link. Dropped early, or on
    /// an error, the connection is closed.
    pub async fn start<IO>(io: IO, config: Config, hello: Hello) -> Result<Self, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shared = Arc::new(Shared::new(
            config.control_bytes.max(PREFIX_LENGTH + PAYLOAD_MAX),
        ));
        let (from, to) = tokio::io::split(io);
        let mut reader = Reader::new(from, config.clone(), Arc::clone(&shared));
        let mut writer = Writer::new(to, config.clone(), Arc::clone(&shared));
        let ours = encode(&Message::Hello(hello.clone()));
        let theirs = {
            // Together, since neither side may count on the other reading first.
            let exchange = async { tokio::try_join!(writer.hello(&ours), reader.hello()) };
            let exchanged = timeout(config.hello_timeout, exchange).await;
            exchanged.map_err(|_| HandshakeError::TimedOut)??.1
        };
        let version = agree(&hello, &theirs)?;
        let (sender, receiver) = spawn(reader, writer, &config, shared);
        Ok(Self {
            sender,
            receiver,
            hello: theirs,
            version,
        })
    }
}

fn agree(ours: &Hello, theirs: &Hello) -> Result<u16, HandshakeError> {
    if ours.cluster != theirs.cluster {
        let (theirs, ours) = (theirs.cluster.clone(), ours.cluster.clone());
        return Err(HandshakeError::Foreign { theirs, ours });
    }
    if theirs.version < VERSION_MIN {
        return Err(HandshakeError::Version {
            theirs: theirs.version,
        });
    }
    Ok(ours.version.min(theirs.version))
}

fn spawn<IO>(
    reader: Reader<ReadHalf<IO>>,
    writer: Writer<WriteHalf<IO>>,
    config: &Config,
    shared: Arc<Shared>,
) -> (LinkSender, LinkReceiver)
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (events_in, events) = mpsc::channel(config.event_limit.max(1));
    let (outcomes_in, outcomes) = mpsc::channel(config.upload_limit.max(1));
    let mut tasks = JoinSet::new();
    let (link, stop) = (Arc::clone(&shared), shared.stop.clone());
    let reading = async move {
        let end = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            end = reader.run(events_in) => end,
        };
        link.end(end);
    };
    tasks.spawn(reading.in_current_span());
    let (link, farewell_timeout) = (Arc::clone(&shared), config.farewell_timeout);
    let writing = async move {
        let too_long = async {
            link.leaving.cancelled().await;
            sleep(farewell_timeout).await;
        };
        let end = tokio::select! {
            biased;
            () = link.stop.cancelled() => return,
            end = writer.run() => end,
            () = too_long => LinkEnd::Stalled("saying goodbye"),
        };
        link.end(end);
    };
    tasks.spawn(writing.in_current_span());
    let sender = LinkSender::new(Arc::clone(&shared), outcomes_in);
    (sender, LinkReceiver::new(shared, events, outcomes, tasks))
}
