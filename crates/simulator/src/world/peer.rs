//! Links between hosts, and the messages on them.

use swarm::{
    Class, HostNo,
    download::{Event, Supplier},
    upload::{Standing, Transfer},
};
use types::{Moment, PieceRun};

use super::{
    World,
    message::{Happening, Message},
};

impl World<'_> {
    /// Sends a message; one to a host without a link is lost, as its link is gone.
    pub(super) fn send(&mut self, from: HostNo, to: HostNo, message: Message) {
        self.counts.messages += 1;
        let at = self.now + self.scenario.delay;
        self.queue
            .push(at, Happening::Deliver { from, to, message });
    }

    /// Opens the task to a neighbour, unless that was done.
    pub(super) fn open(&mut self, host: HostNo, to: HostNo) {
        let one = self.host(host);
        let count = one.download.have().len();
        if host != to && one.links.insert(to, count).is_none() {
            let (shown, slots) = (one.download.shown_to(to), one.uploads.hint());
            let is_importer = one.download.is_importer();
            self.send(host, to, Message::Open(Box::new(shown), slots));
            // One message in a real cluster, where an opening says it too.
            if is_importer {
                self.arrive_later(host, to, Message::Importer(true));
            }
        }
    }

    /// Forgets a neighbour, and tells it if `tell`.
    pub(super) fn close(&mut self, host: HostNo, to: HostNo, tell: bool) {
        if self.host(host).links.remove(&to).is_none() {
            return;
        }
        if tell {
            self.send(host, to, Message::Gone);
        }
        self.stop_sending(host, |transfer| transfer.to == to);
        self.host(host).uploads.forget(to);
        self.drive(host, Event::Left { host: to });
        self.serve(host);
    }

    pub(super) fn deliver(&mut self, from: HostNo, to: HostNo, message: Message) {
        let held = [from, to].map(|host| self.host(host).stalled_until);
        let until = held[0].max(held[1]);
        if until > self.now {
            if until < Moment::NEVER {
                self.queue
                    .push(until, Happening::Deliver { from, to, message });
            }
            return;
        }
        if !self.host(to).is_up {
            // The connection is refused or reset: the sender learns of it.
            if !matches!(message, Message::Gone) && self.host(from).is_up {
                self.send(to, from, Message::Gone);
            }
            return;
        }
        let is_linked = self.host(to).links.contains_key(&from);
        let host = from;
        let event = match message {
            Message::Open(have, slots) => return self.opened(to, from, (have, slots)),
            _ if !is_linked => return,
            Message::Gone => return self.close(to, from, false),
            Message::HaveAll(have, slots) => {
                let now = self.time_of(to);
                for run in have.runs() {
                    let event = Event::Has { host, run, slots };
                    self.host(to).download.handle(now, event);
                }
                Event::Slots { host, slots }
            }
            Message::Importer(is_importer) => Event::Importer { host, is_importer },
            Message::Have { run, slots } => Event::Has { host, run, slots },
            Message::Reveal(piece) => Event::Revealed { host, piece },
            Message::Slots(slots) => Event::Slots { host, slots },
            Message::Busy(run) => Event::Busy { host, run },
            Message::Lacks(run) => Event::Lacks { host, run },
            Message::Ending(piece) => Event::Ending { host, piece },
            Message::Piece { piece, good: false } => {
                self.counts.corrupt_pieces += 1;
                self.counts.liars.insert(host);
                Event::Corrupt { piece, host }
            }
            Message::Piece { piece, good: true } => {
                let from = Supplier::Host(host);
                self.drive(to, Event::Verified { piece, from });
                return self.read_on(to);
            }
            Message::Want { run, urgent } => return self.wanted(from, to, (run, urgent)),
            Message::Cancel(run) => return self.cancelled(from, to, run),
        };
        self.drive(to, event);
    }

    /// A neighbour opened the task. What was announced since we opened it ourselves did not reach it, as it was no
    /// neighbour of ours yet: it is told now.
    fn opened(
        &mut self,
        host: HostNo,
        by: HostNo,
        (have, slots): (Box<types::PieceSet>, swarm::SlotHint),
    ) {
        let is_known = self.host(host).links.contains_key(&by);
        self.open(host, by);
        let have = *have;
        let event = Event::Joined {
            host: by,
            have,
            slots,
        };
        self.drive(host, event);
        let one = self.host(host);
        let count = one.links.get(&by).copied().unwrap_or(0);
        if is_known && one.download.have().len() > count {
            let (shown, slots) = (one.download.shown_to(by), one.uploads.hint());
            self.send(host, by, Message::HaveAll(Box::new(shown), slots));
        }
    }

    fn wanted(&mut self, child: HostNo, host: HostNo, (run, urgent): (PieceRun, bool)) {
        let task = self.task;
        let one = self.host(host);
        if !one.download.have().contains_run(run) {
            self.send(host, child, Message::Lacks(run));
            return self.drive(host, Event::Demanded { run, by: child });
        }
        let standing = match (urgent, one.download.is_invited(child, run)) {
            (true, _) => Standing::Urgent,
            (_, true) => Standing::Invited,
            _ => Standing::Usual,
        };
        let transfer = Transfer {
            to: child,
            task,
            run,
        };
        match one.uploads.request(transfer, Class::Foreground, standing) {
            Ok(displaced) => {
                if let Some(displaced) = displaced {
                    self.send(host, displaced.to, Message::Busy(displaced.run));
                }
                self.serve(host);
            }
            Err(_) => self.send(host, child, Message::Busy(run)),
        }
    }

    fn cancelled(&mut self, child: HostNo, host: HostNo, run: PieceRun) {
        let task = self.task;
        let stopped = self.host(host).uploads.cancel(child, task, run);
        self.stop_sending(host, |transfer| stopped.contains(transfer));
        self.serve(host);
    }
}
