//! A tiny network of downloads and uploads in which everything goes wrong that may: links break and come back, messages
//! are late and doubled, parents lie or drip, importers die, imports fail, downloads pause. Whatever the story: it ends, with all bytes or a
//! clear failure, and nothing is left over.

mod stories;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use types::{ByteCount, Chance, Epoch, Layout, Moment, PieceIndex, PieceRun, PieceSet, TaskId};

use super::{Action, Download, DownloadPolicy, Event, Lease, ReaderNo, State, Supplier};
use crate::{
    Class, HostNo, SlotHint,
    upload::{RateLimit, Refusal, Standing, Transfer, UploadPolicy, Uploads},
};

const PEERS: u32 = 6;
const PIECES: u32 = 24;
/// Messages and wake-ups of a whole story: a loop that keeps a host busy takes many more.
const STEPS_MAX: u64 = 60_000;

/// A message on a link, or something that happens at one host.
#[derive(Clone, Debug)]
enum Thing {
    /// What a message of `from` is to the receiver's download. Lost if the link broke since.
    Said(HostNo, u32, Event),
    Want(HostNo, u32, PieceRun, bool),
    Cancel(HostNo, u32, PieceRun),
    /// A transfer of this host is about to end a piece, or ends it.
    Ending(Transfer, PieceIndex),
    Sent(Transfer, PieceIndex),
    /// A piece came from the origin, under a lease if it has a generation.
    Imported(Option<u32>, PieceRun, PieceIndex),
    /// A byte of a transfer that never ends.
    Drip(Transfer, PieceIndex),
    Tick,
    Link(HostNo),
    Break(HostNo),
    Die,
    Lease(u64),
    Slots(u8),
    Cancelled,
}

struct Peer {
    download: Download,
    uploads: Uploads,
    lies: bool,
    /// It sends its pieces byte by byte, for ever.
    drips: bool,
    is_dead: bool,
    class: Class,
    /// What its reader reads, if it has one.
    reads: Option<PieceRun>,
    lease: Option<Lease>,
    /// Imports of older generations are stopped.
    imports: u32,
    tick_at: Moment,
}

struct Net {
    now: Moment,
    chance: Chance,
    peers: Vec<Peer>,
    queue: BTreeMap<(Moment, u64), (HostNo, Thing)>,
    number: u64,
    /// Live links, with their generation.
    links: BTreeMap<(HostNo, HostNo), u32>,
    generation: u32,
    /// The last arrival on each link: messages of one link stay in order.
    last: BTreeMap<(HostNo, HostNo), Moment>,
    requests: u64,
    origin_pieces: u32,
    /// Imports that fail in a hundred.
    failing: usize,
    /// No message takes long.
    is_calm: bool,
    steps: u64,
}

fn task() -> TaskId {
    TaskId::from_bytes([9; 32])
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Net {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::seeded(seed);
        let layout = Layout::custom(ByteCount::kib(u64::from(PIECES) * 64), ByteCount::kib(64));
        let layout = layout.expect("a sound layout");
        let peers = (0..PEERS)
            .map(|_| Peer {
                download: Download::new(
                    layout,
                    PieceSet::empty(PIECES),
                    DownloadPolicy::default(),
                    chance.fork(),
                ),
                uploads: Uploads::new(UploadPolicy::default(), RateLimit::new(None, Moment::ZERO)),
                lies: false,
                drips: false,
                is_dead: false,
                class: Class::Foreground,
                reads: None,
                lease: None,
                imports: 0,
                tick_at: Moment::NEVER,
            })
            .collect();
        Self {
            now: Moment::ZERO,
            chance,
            peers,
            queue: BTreeMap::new(),
            number: 0,
            links: BTreeMap::new(),
            generation: 0,
            last: BTreeMap::new(),
            requests: 0,
            origin_pieces: 0,
            failing: 0,
            is_calm: false,
            steps: 0,
        }
    }

    fn peer(&mut self, host: HostNo) -> &mut Peer {
        &mut self.peers[host.0 as usize]
    }

    fn at(&mut self, at: Moment, host: HostNo, thing: Thing) {
        self.number += 1;
        self.queue.insert((at, self.number), (host, thing));
    }

    fn within(&mut self, most: u64) -> Moment {
        self.now + ms(self.chance.below(usize::try_from(most).expect("small")) as u64)
    }

    /// Sends on a link, late and in order, and now and then twice.
    fn send(&mut self, from: HostNo, to: HostNo, thing: impl Fn(u32) -> Thing) {
        let Some(generation) = self.links.get(&(from, to)).copied() else {
            return;
        };
        let is_slow = !self.is_calm && self.chance.below(50) == 0;
        let slow = if is_slow { 800 } else { 20 };
        for _ in 0..=usize::from(self.chance.below(30) == 0) {
            let last = self.last.get(&(from, to)).copied().unwrap_or(self.now);
            let at = self.within(slow).max(last);
            self.last.insert((from, to), at);
            self.at(at, to, thing(generation));
        }
    }

    fn say(&mut self, from: HostNo, to: HostNo, event: &Event) {
        self.send(from, to, |generation| {
            Thing::Said(from, generation, event.clone())
        });
    }

    fn drive(&mut self, host: HostNo, event: Event) {
        let now = self.now;
        if self.peer(host).is_dead {
            return;
        }
        self.peer(host).download.handle(now, event);
        while let Some(action) = self.peer(host).download.next_action(now) {
            self.act(host, action);
        }
        let peer = self.peer(host);
        let deadlines = [peer.download.deadline(now), peer.uploads.deadline(now)];
        let at = deadlines.into_iter().flatten().min();
        if let Some(at) = at.filter(|at| *at < peer.tick_at) {
            peer.tick_at = at;
            self.at(at, host, Thing::Tick);
        }
    }

    fn act(&mut self, host: HostNo, action: Action) {
        let slots = self.peer(host).uploads.hint();
        match action {
            Action::Request { from, run, urgent } => {
                self.requests += 1;
                self.send(host, from, |generation| {
                    Thing::Want(host, generation, run, urgent)
                });
            }
            Action::Cancel { from, run } => {
                self.send(host, from, |generation| {
                    Thing::Cancel(host, generation, run)
                });
            }
            Action::Announce { piece } => {
                let run = PieceRun::one(piece);
                let audience: Vec<HostNo> = self.peer(host).download.audience(piece).collect();
                for to in audience {
                    self.say(host, to, &Event::Has { host, run, slots });
                }
            }
            Action::Reveal { to, piece } => self.say(host, to, &Event::Revealed { host, piece }),
            Action::Admit { to, piece } => {
                let run = PieceRun::one(piece);
                self.say(host, to, &Event::Has { host, run, slots });
            }
            Action::RevealAll { to } => {
                let have = self.peer(host).download.have().clone();
                for run in have.runs() {
                    self.say(host, to, &Event::Has { host, run, slots });
                }
            }
            Action::Import { run, epoch } => self.import(host, run, epoch),
            Action::StopImport { .. } => {
                self.peer(host).imports += 1;
                self.peer(host).lease = None;
            }
            Action::TellImporter(is_importer) => {
                let others: Vec<HostNo> = (0..PEERS).map(HostNo).collect();
                for to in others {
                    self.say(host, to, &Event::Importer { host, is_importer });
                }
            }
            Action::Report { .. }
            | Action::GiveUpLease { .. }
            | Action::Blame { .. }
            | Action::Ask
            | Action::Complete
            | Action::Fail(_) => {}
        }
    }

    fn import(&mut self, host: HostNo, run: PieceRun, epoch: Option<Epoch>) {
        let now = self.now;
        let peer = self.peer(host);
        match epoch {
            Some(epoch) => {
                let lease = peer.lease.expect("a lease is held");
                assert!(
                    lease.epoch == epoch && now < lease.until,
                    "a lease is not used after its end"
                );
            }
            None => {
                let reads = peer.reads.expect("without a lease only for a reader");
                let head = peer.download.have().first_missing(reads.first);
                let window = DownloadPolicy::default().window;
                let ahead = head.map(|head| run.end() - u64::from(head.0));
                assert!(
                    ahead.is_some_and(|ahead| ahead <= u64::from(2 * window)),
                    "without a lease only what the reader will need next"
                );
                assert!(run.count <= window);
            }
        }
        self.origin_pieces += run.count;
        let generation = epoch.map(|_| self.peer(host).imports);
        let at = self.now + ms(10);
        self.at(at, host, Thing::Imported(generation, run, run.first));
    }

    fn serve(&mut self, host: HostNo) {
        let now = self.now;
        while let Some(transfer) = self.peer(host).uploads.next(now, |_| ByteCount::kib(64)) {
            self.start(host, transfer, transfer.run.first);
        }
        let peer = &mut self.peers[host.0 as usize];
        let download = &mut peer.download;
        let told = peer.uploads.whom_to_tell(now, || download.hungriest());
        let slots = peer.uploads.hint();
        for to in told {
            self.say(host, to, &Event::Slots { host, slots });
        }
        self.drive(host, Event::Tick);
    }

    fn start(&mut self, host: HostNo, transfer: Transfer, piece: PieceIndex) {
        if self.peer(host).drips {
            return self.at(self.now + ms(50), host, Thing::Drip(transfer, piece));
        }
        let ends = self.now + ms(5 + self.chance.below(40) as u64);
        self.at(ends - ms(5), host, Thing::Ending(transfer, piece));
        self.at(ends, host, Thing::Sent(transfer, piece));
    }

    fn happen(&mut self, host: HostNo, thing: Thing) {
        if self.peer(host).is_dead {
            return;
        }
        match thing {
            Thing::Said(from, generation, event) => {
                if self.links.get(&(from, host)) == Some(&generation) {
                    self.drive(host, event);
                    self.read_on(host);
                }
            }
            Thing::Want(from, generation, run, urgent) => {
                if self.links.get(&(from, host)) == Some(&generation) {
                    self.wanted(host, from, (run, urgent));
                }
            }
            Thing::Cancel(from, generation, run) => {
                if self.links.get(&(from, host)) == Some(&generation) {
                    for transfer in self.peer(host).uploads.cancel(from, task(), run) {
                        self.peer(host).uploads.ended(&transfer);
                    }
                    self.serve(host);
                }
            }
            Thing::Ending(transfer, piece) => self.ending(host, &transfer, piece),
            Thing::Sent(transfer, piece) => self.sent(host, transfer, piece),
            Thing::Imported(generation, run, piece) => {
                self.imported(host, generation, (run, piece));
            }
            Thing::Drip(transfer, piece) => {
                if self.is_running(host, &transfer) {
                    self.say(host, transfer.to, &Event::Progress { host, piece });
                    self.at(self.now + ms(50), host, Thing::Drip(transfer, piece));
                }
            }
            Thing::Tick => {
                let now = self.now;
                if self.peer(host).tick_at == now {
                    self.peer(host).tick_at = Moment::NEVER;
                    self.serve(host);
                }
            }
            Thing::Link(with) => self.link(host, with),
            Thing::Break(with) => self.unlink(host, with),
            Thing::Die => self.die(host),
            Thing::Lease(epoch) => self.lease(host, epoch),
            Thing::Slots(slots) => {
                self.drive(host, Event::SetSlots(slots));
                let waits = self.peer(host).download.waits().count();
                assert!(slots > 0 || waits == 0, "zero slots yield at once");
            }
            Thing::Cancelled => {
                self.drive(host, Event::Cancel);
                assert_eq!(self.peer(host).download.waits().count(), 0);
            }
        }
    }

    fn imported(
        &mut self,
        host: HostNo,
        generation: Option<u32>,
        (run, piece): (PieceRun, PieceIndex),
    ) {
        // A piece of a stopped import that is on its way arrives all the same.
        let from = Supplier::Origin;
        self.drive(host, Event::Verified { piece, from });
        self.read_on(host);
        let imports = self.peer(host).imports;
        let next = PieceIndex(piece.0 + 1);
        if !run.contains(next) || generation.is_some_and(|generation| generation != imports) {
            return;
        }
        if self.chance.below(100) < self.failing {
            let retry_at = Some(self.now + ms(100));
            return self.drive(host, Event::ImportFailed { run, retry_at });
        }
        let at = self.now + ms(10);
        self.at(at, host, Thing::Imported(generation, run, next));
    }

    fn wanted(&mut self, host: HostNo, child: HostNo, (run, urgent): (PieceRun, bool)) {
        let peer = self.peer(host);
        if !peer.download.have().contains_run(run) {
            self.say(host, child, &Event::Lacks { host, run });
            return self.drive(host, Event::Demanded { run, by: child });
        }
        let standing = match (urgent, peer.download.is_invited(child, run)) {
            (true, _) => Standing::Urgent,
            (_, true) => Standing::Invited,
            _ => Standing::Usual,
        };
        let transfer = Transfer {
            to: child,
            task: task(),
            run,
        };
        let class = self.peer(child).class;
        match self.peer(host).uploads.request(transfer, class, standing) {
            Ok(displaced) => {
                if let Some(Transfer { to, run, .. }) = displaced {
                    self.say(host, to, &Event::Busy { host, run });
                }
                self.serve(host);
            }
            // A doubled message: the child knows nothing of it.
            Err(Refusal::Duplicate) => {}
            Err(_) => self.say(host, child, &Event::Busy { host, run }),
        }
    }

    fn is_running(&mut self, host: HostNo, transfer: &Transfer) -> bool {
        let mut running = self.peer(host).uploads.running();
        running.any(|held| held == transfer)
    }

    fn ending(&mut self, host: HostNo, transfer: &Transfer, piece: PieceIndex) {
        if self.is_running(host, transfer) && self.chance.below(4) > 0 {
            if !transfer.run.contains(PieceIndex(piece.0 + 1)) {
                self.peer(host).uploads.ending(transfer, true);
            }
            self.say(host, transfer.to, &Event::Ending { host, piece });
        }
    }

    fn sent(&mut self, host: HostNo, transfer: Transfer, piece: PieceIndex) {
        if !self.is_running(host, &transfer) {
            return;
        }
        let from = Supplier::Host(host);
        let event = if self.peer(host).lies {
            Event::Corrupt { piece, host }
        } else {
            Event::Verified { piece, from }
        };
        self.say(host, transfer.to, &event);
        let next = PieceIndex(piece.0 + 1);
        if transfer.run.contains(next) {
            self.start(host, transfer, next);
        } else {
            self.peer(host).uploads.ended(&transfer);
            self.serve(host);
        }
    }

    fn read_on(&mut self, host: HostNo) {
        let peer = self.peer(host);
        if let Some(reads) = peer.reads {
            let at = peer.download.have().first_missing(reads.first);
            let (reader, at) = (ReaderNo(1), at.unwrap_or(PieceIndex(PIECES)));
            self.drive(host, Event::ReadAt { reader, at });
        }
    }

    fn link(&mut self, a: HostNo, b: HostNo) {
        let is_dead = self.peer(a).is_dead || self.peer(b).is_dead;
        if is_dead || self.links.contains_key(&(a, b)) {
            return;
        }
        self.generation += 1;
        for (host, other) in [(a, b), (b, a)] {
            self.links.insert((host, other), self.generation);
        }
        for (host, other) in [(a, b), (b, a)] {
            let have = self.peer(other).download.shown_to(host);
            let slots = SlotHint::default();
            let host_joins = Event::Joined {
                host: other,
                have,
                slots,
            };
            self.drive(host, host_joins);
            let is_importer = self.peer(other).download.is_importer();
            let host_role = Event::Importer {
                host: other,
                is_importer,
            };
            self.drive(host, host_role);
        }
    }

    fn unlink(&mut self, a: HostNo, b: HostNo) {
        for (host, other) in [(a, b), (b, a)] {
            if self.links.remove(&(host, other)).is_some() && !self.peer(host).is_dead {
                self.peer(host).uploads.forget(other);
                self.drive(host, Event::Left { host: other });
                self.serve(host);
            }
        }
    }

    fn die(&mut self, host: HostNo) {
        self.peer(host).is_dead = true;
        for other in (0..PEERS).map(HostNo) {
            self.unlink(other, host);
        }
        self.links
            .retain(|(from, to), _| *from != host && *to != host);
    }

    fn lease(&mut self, host: HostNo, epoch: u64) {
        let run = PieceRun {
            first: PieceIndex(0),
            count: PIECES,
        };
        let (epoch, until) = (Epoch(epoch), self.now + ms(2000));
        let lease = Lease { epoch, run, until };
        self.peer(host).lease = Some(lease);
        self.drive(host, Event::Leased(lease));
    }

    /// A reader of `run` comes.
    fn read(&mut self, host: HostNo, run: PieceRun) {
        self.peer(host).reads = Some(run);
        let reader = ReaderNo(1);
        self.drive(host, Event::Read { reader, run });
    }

    /// Runs until nothing happens any more, or `until`.
    fn run(&mut self, until: Moment) {
        while let Some(((at, number), _)) = self.queue.first_key_value()
            && *at <= until
        {
            let key = (*at, *number);
            let (host, thing) = self.queue.remove(&key).expect("the first one");
            self.now = key.0;
            self.steps += 1;
            assert!(
                self.steps < STEPS_MAX,
                "a storm at {}: {host:?} {thing:?}",
                self.now
            );
            self.happen(host, thing);
        }
        self.now = until;
    }
}
