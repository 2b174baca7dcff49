//! What goes wrong.
//!
//! No brain ever sees a wall clock, so the clock that jumps or drifts here is the one they do see: the host's monotonic
//! one. It leaps ahead as after a suspension that it counts, or, as it never goes back, stands still as in a virtual
//! machine that is paused.

use std::time::Duration;

use swarm::{HostNo, schedule};
use types::Moment;

use super::{
    World,
    host::{Host, id_of},
    message::{Happening, Message},
};
use crate::{
    rate::Rate,
    scenario::{End, NewRate, Trouble, Who},
};

impl World<'_> {
    /// A fault of the scenario begins. Whom it befalls is counted: a run that nothing befell has withstood nothing.
    pub(super) fn befall(&mut self, number: usize) {
        let trouble = self.trouble(number);
        let befallen = match trouble {
            Trouble::Slow(Who::Origin, rate, span) => self.slow_origin(rate, span),
            Trouble::Stall(Who::Origin, span) => self.slow_origin(NewRate::To(Rate(0)), span),
            Trouble::SchedulerRestart(away) => {
                self.scheduler_gone();
                self.queue.push(self.now + away, Happening::SchedulerBack);
                1
            }
            _ => {
                let whom = trouble.who().map(|who| self.whom(who));
                let mut whom = whom.unwrap_or_default();
                whom.retain(|host| self.host(*host).is_up);
                whom.iter().for_each(|host| self.befalls(trouble, *host));
                whom.len()
            }
        };
        self.counts.befallen[number] += befallen;
    }

    fn befalls(&mut self, trouble: Trouble, host: HostNo) {
        match trouble {
            Trouble::Kill(_, span) => {
                self.kill(host, span.is_none());
                self.restore_after(span, host);
            }
            Trouble::Slow(_, rate, span) => {
                let plan = self.plans[host.0 as usize];
                self.set_rates(host, rate.from(plan.up), rate.from(plan.down));
                self.restore_after(span, host);
            }
            Trouble::Stall(_, span) => self.stall(host, span),
            Trouble::Lie(_) => self.host(host).lies = true,
            Trouble::ClockJump { by, back: true, .. } => self.pause(host, by),
            Trouble::ClockJump { by, .. } => {
                let now = self.now;
                self.host(host).clock.jump(now, by);
                self.alarm(host, now);
            }
            Trouble::ClockDrift(_, speed, span) => {
                let now = self.now;
                self.host(host).clock.run_at(now, speed);
                self.alarm(host, now);
                self.restore_after(span, host);
            }
            Trouble::SchedulerRestart(_) => {}
        }
    }

    fn stall(&mut self, host: HostNo, span: Option<Duration>) {
        let until = span.map_or(Moment::NEVER, |span| self.now + span);
        self.host(host).stalled_until = until;
        self.set_rates(host, Rate(0), Rate(0));
        self.restore_after(span, host);
    }

    /// Nothing happens at a host for that long, and its clock does not count it.
    fn pause(&mut self, host: HostNo, span: Duration) {
        let (now, until) = (self.now, self.now + span);
        self.stall(host, Some(span));
        self.host(host).clock.stand_still(now, until);
        self.alarm(host, until);
    }

    /// Wakes a host at `at` and not before: what it waited for was counted by another clock.
    fn alarm(&mut self, host: HostNo, at: Moment) {
        self.host(host).tick_at = at;
        self.queue.push(at, Happening::Tick(host));
    }

    fn whom(&mut self, who: Who) -> Vec<HostNo> {
        let hosts = self.scenario.hosts;
        match who {
            Who::Host(number) => vec![HostNo(number)],
            Who::Seed(number) => vec![HostNo(hosts + number)],
            Who::Importer => {
                let holds = |host: &Host| host.is_up && host.download.is_importer();
                let at = self.hosts.iter().position(holds);
                let number = at.and_then(|at| u32::try_from(at).ok());
                number.map(HostNo).into_iter().collect()
            }
            Who::Some(portion) => {
                let mut all: Vec<HostNo> = (0..hosts).map(HostNo).collect();
                self.chance.shuffle(&mut all);
                all.truncate(portion.of(hosts) as usize);
                all.sort_unstable();
                all
            }
            Who::Origin => Vec::new(),
        }
    }

    fn restore_after(&mut self, span: Option<Duration>, host: HostNo) {
        if let Some(span) = span {
            self.queue.push(self.now + span, Happening::Restore(host));
        }
    }

    fn slow_origin(&mut self, rate: NewRate, span: Option<Duration>) -> usize {
        let origin = self.wiring.up(End::Origin);
        let rate = rate.from(self.scenario.up);
        self.net.set_rate(self.now, origin, rate);
        if let Some(span) = span {
            self.queue.push(self.now + span, Happening::RestoreOrigin);
        }
        1
    }

    fn set_rates(&mut self, host: HostNo, up: Rate, down: Rate) {
        let at = host.0 as usize;
        let links = (self.wiring.up(End::Host(at)), self.wiring.down(at));
        self.net.set_rate(self.now, links.0, up);
        self.net.set_rate(self.now, links.1, down);
    }

    /// The process is gone: its connections are reset, and what it had in flight is lost.
    fn kill(&mut self, host: HostNo, for_good: bool) {
        if !self.host(host).is_up {
            return;
        }
        self.stop_sending(host, |_| true);
        self.stop_imports(host);
        for link in std::mem::take(&mut self.host(host).links).into_keys() {
            self.stop_sending(link, |transfer| transfer.to == host);
            self.send(host, link, Message::Gone);
        }
        let lost = schedule::Event::Lost { host: id_of(host) };
        self.tell(host, lost);
        let is_receiver = self.is_receiver(host);
        let one = self.host(host);
        (one.is_up, one.is_joined) = (false, false);
        (one.tick_at, one.is_killed) = (Moment::NEVER, for_good);
        let was_waiting = one.finished.is_none();
        if for_good && is_receiver && was_waiting {
            self.waiting -= 1;
        }
    }

    /// A host is as it was: its links, and if it was killed a new process with the pieces on its disk.
    pub(super) fn restore(&mut self, host: HostNo) {
        let plan = self.plans[host.0 as usize];
        self.set_rates(host, plan.up, plan.down);
        let (now, layout, chance) = (self.now, self.scenario.layout, self.chance.fork());
        let one = self.host(host);
        one.stalled_until = Moment::ZERO;
        one.clock.run_at(now, 1.0);
        if one.is_up || one.is_killed {
            return;
        }
        let (finished, lies, clock) = (one.finished, one.lies, one.clock);
        *one = Host {
            finished,
            lies,
            clock,
            ..Host::new(layout, one.download.have().clone(), chance)
        };
        self.arrive(host);
        self.read_on(host);
    }
}
