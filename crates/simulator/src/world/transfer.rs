//! Bytes from host to host.

use std::time::Duration;

use swarm::{HostNo, download::Event, upload::Transfer};
use types::{ByteCount, PieceIndex};

use super::{
    World,
    host::Host,
    message::{Happening, Message},
};
use crate::{net::FlowNo, scenario::End};

/// What a flow carries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// A piece of a transfer of `from`.
    Piece {
        transfer: Transfer,
        from: HostNo,
        piece: PieceIndex,
    },
    /// A piece that `host` reads from the origin, by which of its requests.
    Import {
        host: HostNo,
        lane: u32,
        piece: PieceIndex,
    },
}

impl World<'_> {
    /// Starts the transfers that a host's slots allow, and tells a few of a free slot.
    pub(super) fn serve(&mut self, host: HostNo) {
        let (now, layout) = (self.time_of(host), self.scenario.layout);
        let length = |transfer: &Transfer| layout.range_of_run(transfer.run).length();
        while let Some(transfer) = self.host(host).uploads.next(now, length) {
            self.start(host, transfer, transfer.run.first);
        }
        let Host {
            download, uploads, ..
        } = self.host(host);
        let told = uploads.whom_to_tell(now, || download.hungriest());
        let slots = uploads.hint();
        for to in told {
            self.send(host, to, Message::Slots(slots));
        }
        self.wake(host);
    }

    fn start(&mut self, from: HostNo, transfer: Transfer, piece: PieceIndex) {
        let to = transfer.to;
        let path = self.wiring.path(End::Host(from.0 as usize), to.0 as usize);
        let length = self.scenario.layout.length_of(piece);
        let flow = self.net.start(self.now, &path, length);
        let load = Load::Piece {
            transfer,
            from,
            piece,
        };
        self.loads.insert(flow, load);
        self.host(from).outgoing.push((transfer, flow));
        self.host(to).incoming.push(flow);
        self.queue.push(self.now, Happening::Near(flow));
    }

    /// Looks whether a transfer has about one round trip left, and again later if not.
    pub(super) fn near(&mut self, flow: FlowNo) {
        let Some(Load::Piece {
            transfer,
            from,
            piece,
        }) = self.loads.get(&flow).copied()
        else {
            return;
        };
        let (Some(rate), Some(left)) = (self.net.rate(flow), self.net.remaining(self.now, flow))
        else {
            return;
        };
        #[expect(clippy::cast_precision_loss, reason = "15 digits are more than enough")]
        let wait = |rate: f64| Duration::from_secs_f64((left.0 as f64 / rate.max(1.0)).min(10.0));
        let (up, down) = (
            self.plans[from.0 as usize].up,
            self.plans[transfer.to.0 as usize].down,
        );
        let soonest = wait(up.per_second().min(down.per_second()));
        // A little more than a round trip: rates are estimates.
        let lead = self.scenario.delay * 2 + self.scenario.delay / 10;
        if let Some(pause) = look_again_in(wait(rate), soonest, lead) {
            self.queue.push(self.now + pause, Happening::Near(flow));
            return;
        }
        if u64::from(piece.0) + 1 == transfer.run.end() {
            let one = self.host(from);
            let keep = one.download.is_interesting_to(transfer.to);
            if !one.uploads.ending(&transfer, keep) {
                self.serve(from);
            }
        }
        self.arrive_later(from, transfer.to, Message::Ending(piece));
    }

    /// What the receiver sees of the bytes themselves: no message is counted.
    pub(super) fn arrive_later(&mut self, from: HostNo, to: HostNo, message: Message) {
        let at = self.now + self.scenario.delay;
        self.queue
            .push(at, Happening::Deliver { from, to, message });
    }

    /// Lets a host's brain know which transfers moved: bytes that come in are seen without any message.
    pub(super) fn feel_bytes(&mut self, host: HostNo) {
        let now = self.time_of(host);
        for flow in self.host(host).incoming.clone() {
            let moves = self.net.rate(flow).is_some_and(|rate| rate > 1.0);
            if let Some(Load::Piece { from, piece, .. }) = self.loads.get(&flow).copied()
                && moves
            {
                let event = Event::Progress { host: from, piece };
                self.host(host).download.handle(now, event);
            }
        }
    }

    pub(super) fn flow_ended(&mut self, flow: FlowNo) {
        match self.loads.remove(&flow) {
            Some(Load::Piece {
                transfer,
                from,
                piece,
            }) => {
                self.forget_flow(from, transfer.to, flow);
                let length = self.scenario.layout.length_of(piece).0;
                self.count_zones(End::Host(from.0 as usize), transfer.to, length);
                let good = !self.host(from).lies;
                self.arrive_later(from, transfer.to, Message::Piece { piece, good });
                if u64::from(piece.0) + 1 < transfer.run.end() {
                    self.start(from, transfer, PieceIndex(piece.0 + 1));
                } else {
                    self.host(from).uploads.ended(&transfer);
                    self.serve(from);
                }
            }
            Some(Load::Import { host, lane, piece }) => self.import_ended(host, lane, piece),
            None => {}
        }
    }

    fn forget_flow(&mut self, from: HostNo, to: HostNo, flow: FlowNo) {
        self.host(from).outgoing.retain(|(_, held)| *held != flow);
        self.host(to).incoming.retain(|held| *held != flow);
    }

    pub(super) fn count_origin(&mut self, to: HostNo, bytes: u64) {
        self.counts.origin_bytes += bytes;
        self.count_zones(End::Origin, to, bytes);
    }

    /// What crosses a border, from an origin that stands in a zone too.
    fn count_zones(&mut self, from: End, to: HostNo, bytes: u64) {
        let into = self.plans[to.0 as usize].zone;
        if let Some(zone) = self.wiring.zone(from).filter(|zone| *zone != into) {
            *self.counts.zone_bytes.entry((zone, into)).or_default() += bytes;
        }
    }

    /// Bytes of `piece` that have left, with `left` of it still to come.
    pub(super) fn sent_of(&self, piece: PieceIndex, left: Option<ByteCount>) -> u64 {
        let length = self.scenario.layout.length_of(piece).0;
        length.saturating_sub(left.unwrap_or_default().0)
    }

    /// Ends a host's running transfers that `is_meant` names, where they are.
    pub(super) fn stop_sending(&mut self, from: HostNo, is_meant: impl Fn(&Transfer) -> bool) {
        let outgoing = self.host(from).outgoing.clone();
        for (transfer, flow) in outgoing.into_iter().filter(|(held, _)| is_meant(held)) {
            let left = self.net.cancel(self.now, flow);
            if let Some(Load::Piece { piece, .. }) = self.loads.remove(&flow) {
                let sent = self.sent_of(piece, left);
                self.count_zones(End::Host(from.0 as usize), transfer.to, sent);
            }
            self.forget_flow(from, transfer.to, flow);
            self.host(from).uploads.ended(&transfer);
        }
    }
}

/// How long a transfer need not be looked at, if it has more than `lead` left: it ends in `wait` at its present rate, and
/// in `soonest` if others make room for it right now. A daemon counts the bytes and misses nothing; here a transfer that
/// became quicker was seen to end too late, and its slots stood empty (for 1,000 hosts: 0.006 of the content's time).
fn look_again_in(wait: Duration, soonest: Duration, lead: Duration) -> Option<Duration> {
    // A quarter of what is left bounds the looks at a transfer that crawls.
    let pause = soonest
        .saturating_sub(lead)
        .max(wait.saturating_sub(lead) / 4);
    (wait > lead + lead / 20).then_some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_that_becomes_quicker_is_not_seen_too_late() {
        let lead = Duration::from_millis(21);
        // A piece of 200 ms at half its rate, which doubles after `change`.
        for change in (0..180).map(Duration::from_millis) {
            let mut now = Duration::ZERO;
            let end = (Duration::from_millis(200) + change) / 2;
            let looks = std::iter::from_fn(|| {
                let soonest = match now < change {
                    true => Duration::from_millis(100) - now / 2,
                    false => end - now,
                };
                let wait = if now < change { soonest * 2 } else { soonest };
                let pause = look_again_in(wait, soonest, lead)?;
                now += pause;
                Some(pause)
            });
            assert!(looks.count() < 40, "it is looked at too often");
            assert!(
                now + lead + lead / 20 >= end && now + lead / 2 <= end,
                "{change:?}: seen at {now:?} of {end:?}"
            );
        }
    }
}
