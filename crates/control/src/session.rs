//! The host's stream, kept up: connects, reconnects, and takes the first live scheduler of a list.

use std::{future::Future, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use types::Chance;

use crate::{
    client::{CallError, ControlClient, ControlReceiver, ControlSender},
    scheduler_message::SchedulerMessage,
};

/// Events that wait to be taken; beyond, the scheduler is made to wait.
const EVENTS: usize = 256;

/// Makes links to schedulers.
pub trait Connector: Send + Sync + 'static {
    /// A proven link.
    type Link: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// Why there is none.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Makes a link to the scheduler at `address`, as it is written in the configuration.
    fn connect(
        &self,
        address: &str,
    ) -> impl Future<Output = Result<Self::Link, Self::Error>> + Send;
}

/// How to keep a stream up.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Schedulers, the preferred one first.
    pub schedulers: Vec<String>,
    /// How long making a link and opening the stream may take, per scheduler.
    pub connect_timeout: Duration,
    /// The first wait after all schedulers failed; each further one is twice as long, and up to half is cut by chance.
    pub backoff_min: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// For the chance in the waits: different on every host.
    pub seed: u64,
}

impl SessionConfig {
    /// The usual waits: 5 s to connect, 0.2 s to 10 s between rounds.
    pub fn new(schedulers: Vec<String>, seed: u64) -> Self {
        Self {
            schedulers,
            connect_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(10),
            seed,
        }
    }
}

/// What happens to a stream.
#[derive(Debug)]
pub enum Event {
    /// A new stream: send a join and an inventory on it, first thing.
    Connected {
        /// To which scheduler.
        address: String,
        /// To send on the stream.
        sender: ControlSender,
        /// For other calls over the same link.
        client: ControlClient,
    },
    /// The scheduler says something.
    Message(SchedulerMessage),
    /// The stream has ended, or could not be opened. It is tried again by itself.
    Disconnected {
        /// Why.
        cause: Disconnected,
    },
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum Disconnected {
    /// No link to this scheduler.
    #[error("making a link to the scheduler {address} failed")]
    Link {
        /// Which one.
        address: String,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("the scheduler {address} did not answer in time")]
    TimedOut {
        /// Which one.
        address: String,
    },
    /// The stream broke or was refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The scheduler closed the stream in order.
    #[error("the scheduler closed the stream")]
    Closed,
}

/// A stream that is kept up until this is dropped.
#[derive(Debug)]
pub struct Session {
    events: mpsc::Receiver<Event>,
    _driver: JoinSet<()>,
}

impl Session {
    /// Begins to connect. Needs a runtime. With no scheduler in the list there will be no event.
    pub fn start<C: Connector>(connector: C, config: SessionConfig) -> Self {
        let (sender, events) = mpsc::channel(EVENTS);
        let chance = Chance::seeded(config.seed);
        let keeper = Keeper {
            connector,
            config,
            chance,
            events: sender,
        };
        let mut driver = JoinSet::new();
        driver.spawn(keeper.run());
        Self {
            events,
            _driver: driver,
        }
    }

    /// The next event; none only if there is no scheduler to connect to. Cancel-safe.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

struct Keeper<C> {
    connector: C,
    config: SessionConfig,
    chance: Chance,
    events: mpsc::Sender<Event>,
}

/// Nobody listens any more.
struct Unheard;

impl<C: Connector> Keeper<C> {
    async fn run(mut self) {
        let mut wait = self.config.backoff_min;
        while !self.config.schedulers.is_empty() {
            match self.round().await {
                Err(Unheard) => return,
                Ok(true) => wait = self.config.backoff_min,
                Ok(false) => {}
            }
            sleep(wait.mul_f64(1.0 - self.chance.fraction() / 2.0)).await;
            wait = (wait * 2).min(self.config.backoff_max);
        }
    }

    /// Tries each scheduler once, until one gives a stream; then follows it to its end. Whether there was one.
    async fn round(&mut self) -> Result<bool, Unheard> {
        for address in self.config.schedulers.clone() {
            let opened = timeout(self.config.connect_timeout, self.open(&address)).await;
            let opened = match opened {
                Ok(opened) => opened,
                Err(_) => Err(Disconnected::TimedOut {
                    address: address.clone(),
                }),
            };
            match opened {
                Ok((client, sender, receiver)) => {
                    let connected = Event::Connected {
                        address,
                        sender,
                        client,
                    };
                    self.tell(connected).await?;
                    let cause = self.follow(receiver).await?;
                    self.tell(Event::Disconnected { cause }).await?;
                    return Ok(true);
                }
                Err(cause) => self.tell(Event::Disconnected { cause }).await?,
            }
        }
        Ok(false)
    }

    async fn open(
        &self,
        address: &str,
    ) -> Result<(ControlClient, ControlSender, ControlReceiver), Disconnected> {
        let link = self.connector.connect(address).await;
        let link = link.map_err(|cause| Disconnected::Link {
            address: address.to_owned(),
            cause: Box::new(cause),
        })?;
        let client = ControlClient::connect(link).await?;
        let (sender, receiver) = client.open().await?;
        Ok((client, sender, receiver))
    }

    async fn follow(&self, mut receiver: ControlReceiver) -> Result<Disconnected, Unheard> {
        loop {
            match receiver.next().await {
                Ok(Some(message)) => self.tell(Event::Message(message)).await?,
                Ok(None) => return Ok(Disconnected::Closed),
                Err(cause) => return Ok(cause.into()),
            }
        }
    }

    async fn tell(&self, event: Event) -> Result<(), Unheard> {
        self.events.send(event).await.map_err(|_| Unheard)
    }
}
