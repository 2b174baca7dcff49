//! Thousands of hosts around the very brains that the daemon runs, in virtual time.
mod message;

use std::{collections::BTreeMap, time::Duration};

use swarm::{
    Class, HostNo, SlotHint,
    download::{Action, Download, DownloadPolicy, Event, Lease, ReaderNo, State, Supplier},
    upload::{RateLimit, Standing, Transfer, UploadPolicy, Uploads},
};
use types::{ByteCount, Chance, Epoch, Layout, Moment, PieceIndex, PieceRun, PieceSet, TaskId};

use self::message::{Happening, Message};
use crate::{
    net::{FlowNo, LinkNo, Net},
    queue::Queue,
    rate::Rate,
};

pub struct Setup {
    pub hosts: u32,
    pub pieces: u32,
    pub piece_length: u64,
    pub rate: f64,
    pub origin_rate: f64,
    pub delay: Duration,
    pub degree: usize,
    pub offer: usize,
    pub pick: u8,
    pub tell: f64,
    pub quiet: bool,
    pub seed: u64,
    pub upload: UploadPolicy,
    pub download: DownloadPolicy,
    pub in_order: bool,
}

struct Host {
    download: Download,
    uploads: Uploads,
    up: LinkNo,
    down: LinkNo,
    tick_at: Moment,
    told: u8,
    told_at: Moment,
    width: usize,
    head: u32,
    finished: Option<Moment>,
    incoming: Vec<FlowNo>,
}

#[derive(Clone, Copy)]
enum Load {
    Piece { transfer: Transfer, from: HostNo, piece: PieceIndex },
    Import { host: HostNo, run: PieceRun, piece: PieceIndex },
}

pub struct World {
    pub setup: Setup,
    layout: Layout,
    now: Moment,
    queue: Queue<Happening>,
    net: Net,
    hosts: Vec<Host>,
    loads: BTreeMap<FlowNo, Load>,
    origin: LinkNo,
    chance: Chance,
    task: TaskId,
    pub messages: [u64; 8],
    pub imported: u64,
    pub requests: u64,
    pub sent: u64,
    pub wasted: u64,
    done: u32,
    pub story: Vec<[f64; 4]>,
    copies: Vec<u32>,
}

impl World {
    pub fn new(setup: Setup) -> Self {
        let mut net = Net::new();
        let layout = Layout::custom(ByteCount(u64::from(setup.pieces) * setup.piece_length), ByteCount(setup.piece_length)).expect("layout");
        let mut chance = Chance::seeded(setup.seed);
        let origin = net.add_link(Rate(setup.origin_rate as u64));
        let hosts = (0..=setup.hosts)
            .map(|_| Host {
                download: Download::new(layout, PieceSet::empty(setup.pieces), setup.download, chance.fork()),
                uploads: Uploads::new(setup.upload, RateLimit::new(None, Moment::ZERO)),
                up: net.add_link(Rate(setup.rate as u64)),
                down: net.add_link(Rate(setup.rate as u64)),
                tick_at: Moment::NEVER,
                told: 0, told_at: Moment::ZERO, width: 1,
                head: 0,
                finished: None,
                incoming: Vec::new(),
            })
            .collect();
        Self {
            setup, layout, now: Moment::ZERO, queue: Queue::new(), net, hosts, loads: BTreeMap::new(), origin, chance,
            task: TaskId::from_bytes([0; 32]), messages: [0; 8], imported: 0, requests: 0, sent: 0, wasted: 0, done: 0, story: vec![[0.0; 4]; 4096], copies: vec![0; 4096],
        }
    }

    fn graph(&mut self) -> Vec<(u32, u32)> {
        // random regular-ish: permutation matchings
        let n = self.hosts.len();
        let mut edges = std::collections::BTreeSet::new();
        for _ in 0..self.setup.degree / 2 {
            let mut order: Vec<u32> = (0..n as u32).collect();
            self.chance.shuffle(&mut order);
            for at in 0..n {
                let (a, b) = (order[at], order[(at + 1) % n]);
                if a != b { edges.insert((a.min(b), a.max(b))); }
            }
        }
        edges.into_iter().collect()
    }

    pub fn run(&mut self) -> Vec<Option<f64>> {
        for (a, b) in self.graph() {
            for (from, to) in [(a, b), (b, a)] {
                self.send(HostNo(from), HostNo(to), Message::Open(Box::new(PieceSet::empty(self.setup.pieces))));
            }
        }
        for host in 0..self.hosts.len() as u32 {
            if self.setup.in_order {
                self.drive(HostNo(host), Event::Read { reader: ReaderNo(0), run: self.layout.all() });
            } else {
                self.drive(HostNo(host), Event::WantAll(true));
            }
        }
        let lease = Lease { epoch: Epoch(1), run: self.layout.all(), until: Moment::NEVER };
        self.drive(HostNo(0), Event::Leased(lease));
        let mut sample = Moment::ZERO;
        while self.done < self.hosts.len() as u32 {
            let next = self.queue.next_at();
            let flow = self.net.next_completion();
            if std::env::var_os("SAMPLE").is_some() && self.now > sample { sample = self.now + Duration::from_secs_f64(1.0); self.sample(); }
            let limit = Moment::ZERO + Duration::from_secs(100_000);
            match (next, flow) {
                (_, Some((at, _))) if next.is_none_or(|next| at <= next) && at < limit => {
                    self.now = at;
                    if let Some(flow) = self.net.finish(at) { self.flow_ended(flow); }
                }
                (Some(at), _) if at < limit => {
                    self.now = at;
                    let (_, happening) = self.queue.pop().expect("one waits");
                    self.happen(happening);
                }
                _ => break,
            }
        }
        self.hosts.iter().map(|host| host.finished.map(|at| at.since(Moment::ZERO).as_secs_f64())).collect()
    }

    fn sample(&mut self) {
        let n = self.hosts.len() as f64;
        let mut ups = [0u32; 4]; let mut downs = [0u32; 5]; let mut load = 0.0; let mut have = 0u64; let mut reqs = 0; let mut idle_with_interest = 0; let mut waiting = 0;
        for at in 0..self.hosts.len() {
            let running = self.hosts[at].uploads.running().count();
            ups[running.min(3)] += 1;
            downs[self.hosts[at].incoming.len().min(4)] += 1;
            let up = self.hosts[at].up;
            load += self.net.load(up) / self.setup.rate;
            have += u64::from(self.hosts[at].download.have().len());
            let w = self.hosts[at].download.waits().count(); reqs += w; waiting += w.saturating_sub(self.hosts[at].incoming.len());
            if running < 2 && self.hosts[at].download.interested().count() > 0 { idle_with_interest += 1; }
        }
        eprintln!("{:.1} load {:.3} have {:.1} ups {ups:?} downs {downs:?} reqs {:.2} waiting {:.2} idle up with interest {idle_with_interest} done {}", self.now.0 as f64 / 1e9, load / n, have as f64 / n, reqs as f64 / n, waiting as f64/n, self.done);
    }

    fn send(&mut self, from: HostNo, to: HostNo, message: Message) {
        let kind = match message { Message::Have{..} => 0, Message::Slots(_) => 1, Message::Want{..} => 2, Message::Busy(_) => 3, Message::Cancel(_) => 4, Message::Lacks(_) => 5, _ => 6 };
        self.messages[kind] += 1;
        if std::env::var_os("MSG").is_some() && self.now.0 > 36_100_000_000 { eprintln!("{} {from:?} {to:?} {message:?}", self.now); }
        self.queue.push(self.now + self.setup.delay, Happening::Deliver { from, to, message });
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver { from, to, message } => self.deliver(from, to, message),
            Happening::Tick(host) => {
                self.hosts[host.0 as usize].tick_at = Moment::NEVER;
                let incoming = self.hosts[host.0 as usize].incoming.clone();
                for flow in incoming {
                    if let Some(Load::Piece { from, piece, .. }) = self.loads.get(&flow).copied() {
                        self.hosts[host.0 as usize].download.handle(self.now, Event::Progress { host: from, piece });
                    }
                }
                self.drive(host, Event::Tick);
            }
            Happening::Near(flow) => self.near(flow),
            Happening::Imported { host, piece } => {
                self.story[piece.0 as usize][0] = self.now.0 as f64 / 1e9;
                self.drive(host, Event::Verified { piece, from: Supplier::Origin });
                self.advance_reader(host);
            }
            Happening::Tell(host) => self.tell(host),
            Happening::Acknowledge(host) => self.drive(host, Event::Acknowledged),
            _ => {}
        }
    }

    fn deliver(&mut self, from: HostNo, to: HostNo, message: Message) {
        let event = match message {
            Message::Open(have) => Event::Joined { host: from, have: *have, slots: SlotHint { free: 2, opening: 0 } },
            Message::Have { run, slots } => Event::Has { host: from, run, slots },
            Message::HaveAll(have) => {
                for run in have.runs() { self.hosts[to.0 as usize].download.handle(self.now, Event::Has { host: from, run, slots: SlotHint { free: 2, opening: 0 } }); }
                Event::Tick
            }
            Message::Reveal(piece) => Event::Revealed { host: from, piece },
            Message::Slots(slots) => Event::Slots { host: from, slots },
            Message::Busy(run) => Event::Busy { host: from, run },
            Message::Lacks(run) => Event::Lacks { host: from, run },
            Message::Ending(piece) => Event::Ending { host: from, piece },
            Message::Begun(piece) => Event::Progress { host: from, piece },
            Message::Piece { piece, .. } => {
                if self.hosts[to.0 as usize].download.have().contains(piece) { self.wasted += 1; } else {
                    let c = &mut self.copies[piece.0 as usize]; *c += 1; let t = self.now.0 as f64 / 1e9;
                    if *c == 1 { self.story[piece.0 as usize][1] = t; }
                    if *c == self.setup.hosts / 2 { self.story[piece.0 as usize][2] = t; }
                    if *c == self.setup.hosts { self.story[piece.0 as usize][3] = t; }
                }
                self.drive(to, Event::Verified { piece, from: Supplier::Host(from) });
                self.advance_reader(to);
                return;
            }
            Message::Want { run, urgent } => return self.want(from, to, run, urgent),
            Message::Cancel(run) => return self.cancel(from, to, run),
            Message::Gone => Event::Left { host: from },
        };
        self.drive(to, event);
    }

    fn want(&mut self, child: HostNo, parent: HostNo, run: PieceRun, urgent: bool) {
        let host = &mut self.hosts[parent.0 as usize];
        if !host.download.have().contains_run(run) {
            return self.send(parent, child, Message::Lacks(run));
        }
        let standing = if urgent { Standing::Urgent } else if host.download.is_invited(child, run) { Standing::Invited } else { Standing::Usual };
        match host.uploads.request(Transfer { to: child, task: self.task, run }, Class::Foreground, standing) {
            Ok(displaced) => {
                if let Some(displaced) = displaced { self.send(parent, displaced.to, Message::Busy(displaced.run)); }
                self.pump(parent);
            }
            Err(_) => self.send(parent, child, Message::Busy(run)),
        }
    }

    fn cancel(&mut self, child: HostNo, parent: HostNo, run: PieceRun) {
        let stop = self.hosts[parent.0 as usize].uploads.cancel(child, self.task, run);
        for transfer in stop {
            let flow = self.loads.iter().find(|(_, load)| matches!(load, Load::Piece { transfer: t, from, .. } if *t == transfer && *from == parent)).map(|(flow, _)| *flow);
            if let Some(flow) = flow {
                self.net.cancel(self.now, flow);
                self.loads.remove(&flow);
                self.hosts[child.0 as usize].incoming.retain(|f| *f != flow);
            }
            self.hosts[parent.0 as usize].uploads.ended(&transfer);
        }
        self.pump(parent);
    }

    fn pump(&mut self, parent: HostNo) {
        loop {
            let layout = self.layout;
            let host = &mut self.hosts[parent.0 as usize];
            let Some(transfer) = host.uploads.next(self.now, |transfer| layout.range_of_run(transfer.run).length()) else { break };
            self.start(parent, transfer, transfer.run.first);
        }
        self.tell(parent);
    }

    fn tell(&mut self, parent: HostNo) {
        let interval = Duration::from_secs_f64(self.setup.tell);
        let host = &mut self.hosts[parent.0 as usize];
        let hint = host.uploads.hint();
        let room = hint.room();
        if room == 0 { host.told = 0; return; }
        if room <= host.told && self.now < host.told_at + interval { return; }
        if room > host.told { host.width = self.setup.offer; } else { host.width = (host.width * 2).min(64); }
        host.told = room;
        host.told_at = self.now;
        let interested: Vec<HostNo> = host.download.interested().collect();
        let away: Vec<HostNo> = Vec::new(); let mut rest = interested;
        self.chance.shuffle(&mut rest);
        match self.setup.pick {
            1 => { let mut all: Vec<HostNo> = away.iter().copied().chain(rest).collect(); let hosts = &self.hosts; all.sort_by_key(|h| hosts[h.0 as usize].download.have().len()); rest = all; }
            2 => { let all: Vec<HostNo> = away.iter().copied().chain(rest).collect(); let hosts = &self.hosts; let (hungry, full): (Vec<HostNo>, Vec<HostNo>) = all.into_iter().partition(|h| hosts[h.0 as usize].download.waits().count() < 2); rest = hungry; rest.extend(full); }
            3 => { let mut all = away; all.extend(rest); rest = all; }
            _ => { rest.extend(away); }
        }
        rest.truncate(self.hosts[parent.0 as usize].width * usize::from(room));
        for to in rest { self.send(parent, to, Message::Slots(hint)); }
        self.queue.push(self.now + interval, Happening::Tell(parent));
    }

    fn start(&mut self, parent: HostNo, transfer: Transfer, piece: PieceIndex) {
        let path = [self.hosts[parent.0 as usize].up, self.hosts[transfer.to.0 as usize].down];
        let flow = self.net.start(self.now, &path, self.layout.length_of(piece));
        self.loads.insert(flow, Load::Piece { transfer, from: parent, piece });
        self.hosts[transfer.to.0 as usize].incoming.push(flow);
        self.queue.push(self.now, Happening::Near(flow));
    }

    fn near(&mut self, flow: FlowNo) {
        let Some(Load::Piece { transfer, from, piece }) = self.loads.get(&flow).copied() else { return };
        let (Some(rate), Some(left)) = (self.net.rate(flow), self.net.remaining(self.now, flow)) else { return };
        let wait = Duration::from_secs_f64((left.0 as f64 / rate.max(1.0)).min(1e6));
        let lead = self.setup.delay * 2 + self.setup.delay / 10;
        if wait > lead + lead / 20 {
            let at = self.now + (wait - lead);
            self.queue.push(at, Happening::Near(flow));
            return;
        }
        if u64::from(piece.0) + 1 == transfer.run.end() {
            let keep = self.hosts[from.0 as usize].download.is_interesting_to(transfer.to);
            self.hosts[from.0 as usize].uploads.ending(&transfer);
            if !keep { self.hosts[from.0 as usize].uploads.release(&transfer); }
            if !keep { self.tell(from); }
        }
        self.queue.push(self.now + self.setup.delay, Happening::Deliver { from, to: transfer.to, message: Message::Ending(piece) });
    }

    fn flow_ended(&mut self, flow: FlowNo) {
        match self.loads.remove(&flow) {
            Some(Load::Piece { transfer, from, piece }) => {
                self.sent += 1;
                self.hosts[transfer.to.0 as usize].incoming.retain(|f| *f != flow);
                self.queue.push(self.now + self.setup.delay, Happening::Deliver { from, to: transfer.to, message: Message::Piece { piece, good: true } });
                if u64::from(piece.0) + 1 < transfer.run.end() {
                    self.start(from, transfer, PieceIndex(piece.0 + 1));
                } else {
                    self.hosts[from.0 as usize].uploads.ended(&transfer);
                    self.pump(from);
                }
            }
            Some(Load::Import { host, run, piece }) => {
                self.imported += self.layout.length_of(piece).0;
                self.queue.push(self.now + self.setup.delay, Happening::Imported { host, piece });
                if u64::from(piece.0) + 1 < run.end() {
                    self.import(host, run, PieceIndex(piece.0 + 1));
                }
            }
            None => {}
        }
    }

    fn import(&mut self, host: HostNo, run: PieceRun, piece: PieceIndex) {
        let path = [self.origin, self.hosts[host.0 as usize].down];
        let flow = self.net.start(self.now, &path, self.layout.length_of(piece));
        self.loads.insert(flow, Load::Import { host, run, piece });
    }

    fn advance_reader(&mut self, host: HostNo) {
        if !self.setup.in_order { return; }
        let h = &mut self.hosts[host.0 as usize];
        let head = h.download.have().first_missing(PieceIndex(h.head)).map_or(self.setup.pieces, |p| p.0);
        if head != h.head {
            h.head = head;
            self.drive(host, Event::ReadAt { reader: ReaderNo(0), at: PieceIndex(head) });
        }
    }

    fn drive(&mut self, host: HostNo, event: Event) {
        self.hosts[host.0 as usize].download.handle(self.now, event);
        while let Some(action) = self.hosts[host.0 as usize].download.next_action(self.now) {
            self.act(host, action);
        }
        let h = &mut self.hosts[host.0 as usize];
        let at = h.download.deadline(self.now).unwrap_or(Moment::NEVER);
        if at < h.tick_at {
            h.tick_at = at;
            self.queue.push(at, Happening::Tick(host));
        }
    }

    fn act(&mut self, host: HostNo, action: Action) {
        let at = host.0 as usize;
        match action {
            Action::Request { from, run, urgent } => self.send(host, from, Message::Want { run, urgent }),
            Action::Cancel { from, run } => self.send(host, from, Message::Cancel(run)),
            Action::Announce { piece } => {
                let mut slots = self.hosts[at].uploads.hint();
                if self.setup.quiet { slots = SlotHint::default(); }
                let audience: Vec<HostNo> = self.hosts[at].download.audience(piece).collect();
                for to in audience {
                    self.send(host, to, Message::Have { run: PieceRun::one(piece), slots });
                }
            }
            Action::Reveal { to, piece } => {
                self.send(host, to, Message::Reveal(piece));
            }
            Action::RevealAll { to } => {
                let have = self.hosts[at].download.have().clone();
                self.send(host, to, Message::HaveAll(Box::new(have)));
            }
            Action::Import { run, .. } => {
                self.requests += 1;
                self.import(host, run, run.first);
            }
            Action::Ask => self.queue.push(self.now + self.setup.delay * 2, Happening::Acknowledge(host)),
            Action::Complete => {
                if self.hosts[at].finished.is_none() {
                    self.hosts[at].finished = Some(self.now);
                    self.done += 1;
                }
            }
            _ => {}
        }
        let _ = State::Complete;
    }
}
