//! The port: accepts links, proves who calls, and serves each link in a task of its own.

use std::{sync::Arc, time::SystemTime};

use control::{Answer, Caller, Denied, EnrolAnswer, Handler, HostView, Incoming, SchedulerMessage};
use identity::{Accepted, Protocol, RemoteHost, Renewals, Role};
use listen::Listening;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;
use types::{Chance, HostId};

use crate::{
    metrics::Metrics,
    office::Office,
    owner::{Closing, Input},
};

/// What every link gets.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) office: Office,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) closings: mpsc::Sender<Closing>,
    pub(crate) outbox: usize,
    pub(crate) links_max: usize,
    pub(crate) metrics: Metrics,
    /// Links end at once.
    pub(crate) cut: CancellationToken,
}

/// Accepts until `stop`, then waits for the links to end.
pub(crate) async fn accept(door: Door, listener: TcpListener, stop: CancellationToken) {
    let listening = Listening::new("scheduler's port", listener, &door.metrics.untaken);
    let serve = |tcp, _| {
        let door = door.clone();
        async move {
            let cut = door.cut.child_token();
            tokio::select! {
                () = door.cut.cancelled() => {}
                () = serve(&door, tcp, cut) => {}
            }
        }
    };
    let mut links = listening.each(door.links_max, &stop, serve).await;
    while links.join_next().await.is_some() {}
}

async fn serve(door: &Door, tcp: TcpStream, cut: CancellationToken) {
    let (Ok(observed), Ok(reached)) = (tcp.peer_addr(), tcp.local_addr()) else {
        return;
    };
    let (observed, reached) = (observed.ip().to_canonical(), reached.ip().to_canonical());
    match door.office.links.accept(tcp).await {
        Ok(Accepted::Host(link)) if link.protocol() == Protocol::Control => {
            let remote = link.remote();
            let caller = Caller {
                host: remote.host,
                is_seed: remote.roles.contains(Role::Seed),
                is_administrator: remote.roles.contains(Role::Scheduler),
                observed,
                reached,
            };
            let (opened, streams) = mpsc::channel(1);
            let handler = Arc::new(LinkCalls {
                door: door.clone(),
                remote,
                opened,
                cut: cut.clone(),
            });
            tokio::select! {
                () = cut.cancelled() => {}
                () = control::serve_host(link, caller, handler) => {}
                () = listen(door, remote.host, streams) => {}
            }
        }
        Ok(Accepted::Joiner(link)) => {
            let office = Arc::new(door.office.clone());
            let limit = std::time::Duration::from_secs(30);
            let served = tokio::time::timeout(limit, control::serve_joiner(link, office));
            if served.await.is_err() {
                tracing::debug!("a joiner held its link too long");
            }
        }
        Ok(Accepted::Host(_)) => tracing::debug!("a host called for something else than control"),
        Err(error) => tracing::debug!(%error, %observed, "a link was refused"),
    }
}

/// A stream that a host has opened.
struct Opened {
    link: u64,
    incoming: Incoming,
}

/// Tells `owner` that a stream is over, however it ends.
struct Ending {
    closings: mpsc::Sender<Closing>,
    closing: Closing,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // There is room for every link. If a storm of reconnects fills it all the same, the owner finds out when it
        // next sends to this host.
        let _ = self.closings.try_send(self.closing);
    }
}

/// Passes on what the host says, until it has nothing more to say. Without a stream, waits for one.
async fn listen(door: &Door, host: HostId, mut streams: mpsc::Receiver<Opened>) {
    let Some(Opened { link, mut incoming }) = streams.recv().await else {
        return;
    };
    let _ending = Ending {
        closings: door.closings.clone(),
        closing: Closing { host, link },
    };
    loop {
        match incoming.next().await {
            Ok(Some(stamped)) => {
                let said = Input::Said {
                    host,
                    link,
                    stamped,
                };
                if door.inputs.send(said).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%host, %error, "a host breaks the protocol");
                return;
            }
        }
    }
}

/// The calls of one host.
struct LinkCalls {
    door: Door,
    remote: RemoteHost,
    opened: mpsc::Sender<Opened>,
    cut: CancellationToken,
}

impl LinkCalls {
    fn ask<T: Send + 'static>(&self, input: impl FnOnce(oneshot::Sender<T>) -> Input) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let (input, inputs) = (input(reply), self.door.inputs.clone());
        Box::pin(async move {
            inputs.send(input).await.map_err(|_| Denied::Busy)?;
            answer.await.map_err(|_| Denied::Busy)
        })
    }
}

impl Handler for LinkCalls {
    fn open(&self, caller: Caller, incoming: Incoming) -> Answer<mpsc::Receiver<SchedulerMessage>> {
        let (sender, receiver) = mpsc::channel(self.door.outbox);
        let link = crate::owner::next_link();
        let input = Input::Opened {
            caller,
            link,
            outbox: sender,
            cut: self.cut.clone(),
        };
        let (inputs, opened) = (self.door.inputs.clone(), self.opened.clone());
        Box::pin(async move {
            let place = opened
                .try_reserve_owned()
                .map_err(|_| Denied::Refused("one link carries one stream".to_owned()))?;
            inputs.send(input).await.map_err(|_| Denied::Busy)?;
            place.send(Opened { link, incoming });
            Ok(receiver)
        })
    }

    fn renew(&self, _: Caller) -> Answer<EnrolAnswer> {
        self.door.office.renew(self.remote)
    }

    fn view_hosts(&self) -> Answer<Vec<HostView>> {
        self.ask(|reply| Input::ViewHosts { reply })
    }
}

/// Gives the scheduler's links its next certificate whenever it is time, until `stop`.
pub(crate) async fn keep_identity(office: Office, metrics: Metrics, stop: CancellationToken) {
    let mut renewals = Renewals::new(Chance::seeded(crate::owner::next_link()));
    loop {
        let identity = office.links.identity();
        metrics.certificate(identity.expires_at());
        let wait = renewals.wait(identity.renew_at(), SystemTime::now());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        if !wait.is_zero() {
            continue;
        }
        let ca = office.ca.clone();
        let renewed = tokio::task::spawn_blocking(move || {
            ca.identity_for(identity.key(), identity.roles(), SystemTime::now())
        });
        let now = SystemTime::now();
        match renewed.await {
            Ok(Ok(identity)) => {
                renewals.succeeded(identity.renew_at(), now);
                let is_same = office.links.adopt(identity);
                tracing::info!(is_same, "the scheduler's certificate was renewed");
            }
            Ok(Err(error)) => {
                renewals.failed(now);
                tracing::error!(%error, "renewing the own certificate failed");
            }
            Err(error) => {
                renewals.failed(now);
                tracing::error!(%error, "renewing the own certificate broke off");
            }
        }
    }
}
