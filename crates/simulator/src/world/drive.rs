//! Carrying out what a download's brain decides, and waking it.

use swarm::{
    HostNo,
    download::{Action, Event, ReaderNo},
    schedule,
};
use types::{Moment, PieceIndex, PieceRun};

use super::{
    World,
    host::id_of,
    message::{Happening, Message},
};
use crate::scenario::Readers;

impl World<'_> {
    /// A host appears: it wants everything, and asks the scheduler.
    pub(super) fn arrive(&mut self, host: HostNo) {
        self.host(host).is_up = true;
        self.join(host);
        let wish = match self.scenario.readers {
            Readers::InOrder if self.is_receiver(host) => Event::Read {
                reader: ReaderNo(0),
                run: self.scenario.layout.all(),
            },
            Readers::InOrder | Readers::None => Event::WantAll(true),
        };
        self.drive(host, wish);
    }

    /// Passes an event to a host's download and does what it says.
    pub(super) fn drive(&mut self, host: HostNo, event: Event) {
        let now = self.time_of(host);
        self.host(host).download.handle(now, event);
        while let Some(action) = self.host(host).download.next_action(now) {
            self.act(host, action);
        }
        self.wake(host);
    }

    /// Sets the alarm for a host's next deadline.
    pub(super) fn wake(&mut self, host: HostNo) {
        let now = self.time_of(host);
        let one = self.host(host);
        let deadlines = [one.download.deadline(now), one.uploads.deadline(now)];
        let at = deadlines.into_iter().flatten().min();
        let at = at.map(|at| one.clock.when(at));
        if let Some(at) = at.filter(|at| *at < one.tick_at) {
            one.tick_at = at;
            self.queue.push(at, Happening::Tick(host));
        }
    }

    pub(super) fn tick(&mut self, host: HostNo) {
        let now = self.now;
        let one = self.host(host);
        if one.tick_at != now || !one.is_up {
            return;
        }
        one.tick_at = Moment::NEVER;
        self.feel_bytes(host);
        self.drive(host, Event::Tick);
        self.serve(host);
    }

    fn act(&mut self, host: HostNo, action: Action) {
        match action {
            Action::Request { from, run, urgent } => {
                self.send(host, from, Message::Want { run, urgent });
            }
            Action::Cancel { from, run } => self.send(host, from, Message::Cancel(run)),
            Action::Announce { piece } => {
                let slots = self.host(host).uploads.hint();
                let run = PieceRun::one(piece);
                let audience: Vec<HostNo> = self.host(host).download.audience(piece).collect();
                for to in audience {
                    self.send(host, to, Message::Have { run, slots });
                }
            }
            Action::Reveal { to, piece } => self.send(host, to, Message::Reveal(piece)),
            Action::Admit { to, piece } => {
                let slots = self.host(host).uploads.hint();
                let run = PieceRun::one(piece);
                self.send(host, to, Message::Have { run, slots });
            }
            Action::RevealAll { to } => {
                let one = self.host(host);
                let (have, slots) = (one.download.have().clone(), one.uploads.hint());
                self.send(host, to, Message::HaveAll(Box::new(have), slots));
            }
            Action::TellImporter(is_importer) => {
                let links: Vec<HostNo> = self.host(host).links.keys().copied().collect();
                for to in links {
                    self.send(host, to, Message::Importer(is_importer));
                }
            }
            Action::Ask => self.ask(host),
            Action::Import { run, .. } => self.import(host, run),
            Action::StopImport { epoch } => {
                self.stop_imports(host);
                self.return_lease(host, epoch);
            }
            Action::Report {
                epoch,
                imported,
                left,
            } => {
                self.host(host).report = Some((epoch, imported, left));
                self.progress(host);
            }
            Action::GiveUpLease { epoch } => self.return_lease(host, epoch),
            Action::Blame { host: of } => {
                let blame = schedule::Blame {
                    by: id_of(host),
                    of: id_of(of),
                };
                self.tell(host, schedule::Event::Blame(blame));
            }
            Action::Complete => self.complete(host),
            Action::Fail(_) => {}
        }
    }

    fn complete(&mut self, host: HostNo) {
        let now = self.now;
        if self.host(host).finished.is_none() {
            self.host(host).finished = Some(now);
            if self.is_receiver(host) {
                self.waiting -= 1;
            }
        }
        let (task, id) = (self.task, id_of(host));
        let holdings = schedule::Holdings {
            host: id,
            added: vec![task],
            removed: Vec::new(),
        };
        self.tell(host, schedule::Event::Holdings(holdings));
    }

    /// Moves a host's reader on, as far as there is something to read.
    pub(super) fn read_on(&mut self, host: HostNo) {
        if self.scenario.readers == Readers::None || !self.is_receiver(host) {
            return;
        }
        let count = self.scenario.layout.piece_count();
        let one = self.host(host);
        let missing = one.download.have().first_missing(PieceIndex(one.head));
        let head = missing.map_or(count, |piece| piece.0);
        if head != one.head {
            one.head = head;
            let reader = ReaderNo(0);
            let at = PieceIndex(head);
            self.drive(host, Event::ReadAt { reader, at });
        }
    }
}
