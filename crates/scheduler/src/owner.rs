//! The one task that owns the brain: messages in, decisions out.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use control::{
    Ask, Caller, Found, HostMessage, HostView, Introduce, Join, Neighbour, Recruit,
    SchedulerMessage, Stamped,
};
use identity::{Links, Seeds};
use swarm::schedule::{self as brain, Action, Event, Schedule};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use types::{ClusterId, ContentKey, Digest, HostId, Moment, Source, TaskId, Topology, Visibility};

use crate::{
    config::MayAdvertise,
    convert,
    looks::{Answer, Looks},
    metrics::Metrics,
    named::Named,
};

mod tell;

/// Asks whose source is remembered, for seeds that are recruited later.
const ASKS_MAX: usize = 16_384;

/// What reaches the owner.
pub(crate) enum Input {
    Opened {
        caller: Caller,
        link: u64,
        outbox: mpsc::Sender<SchedulerMessage>,
        cut: CancellationToken,
    },
    Said {
        host: HostId,
        link: u64,
        stamped: Stamped,
    },
    ViewHosts {
        reply: oneshot::Sender<Vec<HostView>>,
    },
}

/// A stream that is over.
#[derive(Clone, Copy)]
pub(crate) struct Closing {
    pub(crate) host: HostId,
    pub(crate) link: u64,
}

/// A number for a new stream, which no other has.
pub(crate) fn next_link() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A host's stream.
struct Seat {
    caller: Caller,
    link: u64,
    outbox: mpsc::Sender<SchedulerMessage>,
    cut: CancellationToken,
    /// Where others find it; none before its join.
    place: Option<(Vec<SocketAddr>, Topology, bool)>,
}

/// What the owner begins with.
pub(crate) struct Owner {
    pub(crate) brain: Schedule,
    pub(crate) began: Instant,
    pub(crate) cluster: ClusterId,
    pub(crate) instance: u64,
    pub(crate) links: Links,
    pub(crate) may_advertise: MayAdvertise,
    pub(crate) metrics: Metrics,
}

impl Owner {
    /// Runs until `stop`. All streams end with it.
    pub(crate) async fn run(
        self,
        mut inputs: mpsc::Receiver<Input>,
        mut closings: mpsc::Receiver<Closing>,
        stop: CancellationToken,
    ) {
        let mut revocations = self.links.revocations();
        let mut seeds = self.links.seeds();
        let known = seeds.borrow_and_update().clone();
        let mut desk = Desk {
            owner: self,
            seats: BTreeMap::new(),
            asks: BTreeMap::new(),
            ask_order: VecDeque::new(),
            named: Named::default(),
            looks: Looks::default(),
            known,
        };
        loop {
            desk.act();
            let deadline = desk.owner.brain.deadline();
            let until = deadline.map(|at| desk.owner.began + std::time::Duration::from_nanos(at.0));
            tokio::select! {
                () = stop.cancelled() => return,
                Some(closing) = closings.recv() => desk.close(closing),
                Some(input) = inputs.recv() => desk.take(input),
                Ok(()) = revocations.changed() => {
                    let list = revocations.borrow_and_update().clone();
                    desk.throw_out(&list);
                }
                Ok(()) = seeds.changed() => {
                    let known = seeds.borrow_and_update().clone();
                    desk.tell_certificates(known);
                }
                () = sleep_until(until) => desk.tell(Event::Tick),
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// The brain and everybody's streams.
struct Desk {
    owner: Owner,
    seats: BTreeMap<HostId, Seat>,
    asks: BTreeMap<TaskId, Arc<Ask>>,
    ask_order: VecDeque<TaskId>,
    named: Named,
    looks: Looks,
    /// Who is a seed, as everybody was told last.
    known: Arc<Seeds>,
}

impl Desk {
    fn now(&self) -> Moment {
        Moment::ZERO + self.owner.began.elapsed()
    }

    fn tell(&mut self, event: Event) {
        let began = Instant::now();
        let now = self.now();
        self.owner.brain.handle(now, event);
        let took = began.elapsed().as_secs_f64();
        self.owner.metrics.decisions.observe(took);
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Opened {
                caller,
                link,
                outbox,
                cut,
            } => {
                // A second stream of a host replaces its first one: the first link may be dead without our knowing.
                self.lose(caller.host);
                let seat = Seat {
                    caller,
                    link,
                    outbox,
                    cut,
                    place: None,
                };
                self.seats.insert(caller.host, seat);
                self.count();
                for (task, by) in self.named.met(caller.host) {
                    self.told_of(by, task, &[caller.host]);
                }
            }
            Input::Said {
                host,
                link,
                stamped,
            } => {
                if self.seats.get(&host).is_some_and(|seat| seat.link == link) {
                    self.hear(host, stamped);
                }
            }
            // Nobody may wait for the answer any more.
            Input::ViewHosts { reply } => drop(reply.send(self.view_hosts())),
        }
    }

    fn close(&mut self, closing: Closing) {
        let seat = self.seats.get(&closing.host);
        if seat.is_some_and(|seat| seat.link == closing.link) {
            self.lose(closing.host);
        }
    }

    fn hear(&mut self, host: HostId, stamped: Stamped) {
        self.owner.metrics.messages.inc();
        let Stamped { sent, message } = stamped;
        if let HostMessage::Join(join) = message {
            return self.join(host, sent, join);
        }
        self.tell(Event::Heard { host, sent });
        match &message {
            HostMessage::Ping => self.send(host, SchedulerMessage::Pong { sent }),
            HostMessage::Ask(ask) => {
                self.owner.metrics.asks.inc();
                self.remember(ask);
            }
            HostMessage::Inventory(told) => {
                for ask in &told.running {
                    self.remember(ask);
                }
            }
            HostMessage::Blame { .. } | HostMessage::Doubt { .. } => {
                self.owner.metrics.blames.inc();
            }
            HostMessage::Vouchers {
                task,
                digest,
                importers,
            } if self.is_name(digest, task) => self.told_of(host, *task, importers),
            HostMessage::Look { source } => self.look(host, source),
            HostMessage::Looked { source, found } => self.looked(host, source, found.clone()),
            _ => {}
        }
        if let Some(event) = convert::event(host, &message) {
            self.tell(event);
        }
    }

    /// Whether `digest` names the content of `task`, as far as it is known where that is read.
    fn is_name(&self, digest: &Digest, task: &TaskId) -> bool {
        let ask = self.asks.get(task);
        digest.names(task, ask.and_then(|ask| ask.source.as_ref()))
    }

    fn join(&mut self, host: HostId, sent: Moment, join: Join) {
        let may_advertise = &self.owner.may_advertise;
        let Some(seat) = self.seats.get_mut(&host) else {
            return;
        };
        let is_seed = seat.caller.is_seed && join.is_seed;
        let observed = seat.caller.observed;
        let mut addresses: Vec<SocketAddr> = (join.listen.iter())
            .map(|listen| {
                let told = listen.ip().to_canonical();
                let is_taken = told != observed && !told.is_unspecified();
                let ip = match is_taken {
                    true if may_advertise(told) => told,
                    true => {
                        tracing::info!(%host, %told, %observed, "a host advertises an address that is not allowed: others are told where it calls from");
                        observed
                    }
                    false => observed,
                };
                SocketAddr::new(ip, listen.port())
            })
            .collect();
        addresses.dedup();
        seat.place = Some((addresses, join.topology.clone(), is_seed));
        self.tell(Event::Join(brain::Join {
            host,
            topology: join.topology,
            is_seed,
            capacity: join.capacity,
            sent,
        }));
        let welcome = SchedulerMessage::Welcome {
            cluster: self.owner.cluster.clone(),
            instance: self.owner.instance,
        };
        self.send(host, welcome);
        let list = self.owner.links.revocations().borrow().clone();
        if list.number() > 0 {
            self.send(
                host,
                SchedulerMessage::Revocations(list.as_bytes().to_vec()),
            );
        }
        self.tell_seeds(host, is_seed);
        self.tell_all_certificates(host);
    }

    /// Keeps what a recruited seed will need. The oldest is forgotten first.
    fn remember(&mut self, ask: &Ask) {
        if ask.source.is_none() {
            return;
        }
        if let Some(kept) = self.asks.get_mut(&ask.task) {
            if kept.layout.is_none() && ask.layout.is_some() {
                Arc::make_mut(kept).layout = ask.layout;
            }
            return;
        }
        if self.asks.len() >= ASKS_MAX
            && let Some(oldest) = self.ask_order.pop_front()
        {
            self.asks.remove(&oldest);
        }
        self.asks.insert(ask.task, Arc::new(ask.clone()));
        self.ask_order.push_back(ask.task);
    }

    /// A host wants to know what an origin says of a source.
    fn look(&mut self, host: HostId, source: &Source) {
        let known = self.known(source).map(Answer::Found);
        let now = self.now();
        if let Some(answer) = known.or_else(|| self.looks.ask(now, host, source)) {
            self.answer(host, source, answer);
        }
    }

    /// The length of a public blob that some host asked for as a task at the same registry: it is told although its origin be
    /// away. What another registry says of a digest is no word on this one.
    fn known(&self, source: &Source) -> Option<Found> {
        let Source::Blob { digest, .. } = source else {
            return None;
        };
        let ask = self.asks.get(&ContentKey::Digest(*digest).task_id())?;
        let is_same = ask.source.as_ref().and_then(Source::registry) == source.registry();
        let layout = ask
            .layout
            .filter(|_| is_same && ask.visibility == Visibility::Public)?;
        Found::of(layout.length(), None)
    }

    fn looked(&mut self, host: HostId, source: &Source, found: Option<Found>) {
        if let (Some(known), Some(found), Source::Blob { digest, .. }) =
            (self.known(source), &found, source)
            && known.length != found.length
            && let Some(ask) = self.asks.get_mut(&ContentKey::Digest(*digest).task_id())
        {
            // One of two hosts is wrong: the next one looks itself.
            Arc::make_mut(ask).layout = None;
        }
        let now = self.now();
        if let Some((waiting, answer)) = self.looks.told(now, (host, source), found) {
            for host in waiting {
                self.answer(host, source, answer.clone());
            }
        }
    }

    fn answer(&mut self, host: HostId, source: &Source, answer: Answer) {
        let source = source.clone();
        let message = match answer {
            Answer::LookYourself => SchedulerMessage::Look { source },
            Answer::Found(found) => SchedulerMessage::Looked { source, found },
        };
        self.send(host, message);
    }

    /// Ends a host's stream and link, and tells the brain.
    fn lose(&mut self, host: HostId) {
        if let Some(seat) = self.seats.remove(&host) {
            seat.cut.cancel();
            self.tell(Event::Lost { host });
            self.count();
            let now = self.now();
            for (heir, source) in self.looks.lost(now, host) {
                self.answer(heir, &source, Answer::LookYourself);
            }
        }
    }

    fn count(&self) {
        let hosts = i64::try_from(self.seats.len()).unwrap_or(i64::MAX);
        self.owner.metrics.hosts.set(hosts);
    }

    /// Never waits: a host that does not read is dropped.
    fn send(&mut self, host: HostId, message: SchedulerMessage) {
        let Some(seat) = self.seats.get(&host) else {
            return;
        };
        if let Err(error) = seat.outbox.try_send(message) {
            if matches!(error, mpsc::error::TrySendError::Full(_)) {
                tracing::warn!(%host, "a host does not read its messages");
                self.owner.metrics.dropped.inc();
            }
            self.lose(host);
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.owner.brain.next_action() {
            let host = action.host();
            // Named before introduced: what a neighbour sends must be vouched for by a name that is known.
            for (to, message) in self.importers(&action) {
                self.send(to, message);
            }
            if let Some(message) = self.message(action) {
                self.send(host, message);
            }
        }
    }

    /// Whom to tell which hosts vouch for a task's pieces: all its members when another host becomes its importer, and
    /// a newcomer all who ever were.
    fn importers(&mut self, action: &Action) -> Vec<(HostId, SchedulerMessage)> {
        match *action {
            Action::Grant { host, task, .. } => {
                self.named.name(task, host);
                self.to_members(task, host)
            }
            // A lease from before a restart was kept.
            Action::Renew { host, task, .. } if self.named.name(task, host) => {
                self.to_members(task, host)
            }
            Action::Introduce { host: to, task, .. } => {
                let named = self.named.of(&task);
                named
                    .filter(|host| self.owner.brain.may_have_imported(&to, &task, host))
                    .map(|host| (to, SchedulerMessage::Importer { task, host }))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// That `host` vouches for pieces of `task`, to all who take part.
    fn to_members(&self, task: TaskId, host: HostId) -> Vec<(HostId, SchedulerMessage)> {
        let views = self.owner.brain.task_view(&task);
        let members = views.iter().flat_map(|view| &view.members);
        members
            .map(|member| (member.host, SchedulerMessage::Importer { task, host }))
            .collect()
    }

    /// A host that takes part in `task` accepted the word of these, whom an earlier scheduler had named.
    fn told_of(&mut self, by: HostId, task: TaskId, importers: &[HostId]) {
        for host in importers {
            let may_be = self.owner.brain.may_have_imported(&by, &task, host);
            let is_revoked = self.owner.links.is_revoked(*host);
            if may_be && !is_revoked && self.named.told((task, *host), by) {
                for (to, message) in self.to_members(task, *host) {
                    self.send(to, message);
                }
            }
        }
    }

    fn message(&self, action: Action) -> Option<SchedulerMessage> {
        Some(match action {
            Action::Queued { task, layout, .. } => SchedulerMessage::Queued { task, layout },
            Action::Refused { task, cause, .. } => convert::refusal(task, cause),
            Action::Introduce {
                host,
                task,
                reset,
                add,
                remove,
            } => SchedulerMessage::Introduce(Introduce {
                task,
                reset,
                add: self.neighbours(host, &add),
                remove,
            }),
            Action::Grant { task, lease, .. } => SchedulerMessage::Grant {
                task,
                lease: convert::lease(lease),
            },
            Action::Renew {
                task, epoch, term, ..
            } => SchedulerMessage::Renew {
                task,
                epoch,
                term: convert::term(term),
            },
            Action::Revoke { task, epoch, .. } => SchedulerMessage::Revoke { task, epoch },
            Action::Fail { task, cause, .. } => SchedulerMessage::Fail {
                task,
                cause: convert::fail(cause),
            },
            Action::Recruit { task, .. } => {
                let ask = self.asks.get(&task)?;
                SchedulerMessage::Recruit(Recruit {
                    task,
                    source: ask.source.clone()?,
                    layout: ask.layout,
                    digest: ask.digest,
                    visibility: ask.visibility,
                })
            }
        })
    }

    /// Where `to` finds `hosts`. Who calls from this machine itself stands where this machine is reached.
    fn neighbours(&self, to: HostId, hosts: &[HostId]) -> Vec<Neighbour> {
        let reached = self.seats.get(&to).map(|seat| seat.caller.reached);
        let may_advertise = &self.owner.may_advertise;
        let found = hosts.iter().filter_map(|host| {
            let (mut addresses, topology, _) = self.seats.get(host)?.place.clone()?;
            for address in &mut addresses {
                if let Some(reached) = reached
                    && address.ip().is_loopback()
                    && !may_advertise(address.ip())
                {
                    address.set_ip(reached);
                }
            }
            Some(Neighbour {
                host: *host,
                addresses,
                topology,
            })
        });
        found.collect()
    }

    fn view_hosts(&self) -> Vec<HostView> {
        let counted = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let views = self.seats.iter().filter_map(|(host, seat)| {
            let place = seat.place.as_ref();
            let view = self.owner.brain.host_view(host)?;
            Some(HostView {
                host: view.host,
                topology: view.topology,
                is_seed: view.is_seed,
                running: counted(view.running),
                holdings: counted(view.holdings),
                is_low: view.low_until.is_some(),
                addresses: place.map_or_else(Vec::new, |(addresses, ..)| addresses.clone()),
            })
        });
        views.collect()
    }
}
