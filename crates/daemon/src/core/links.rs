//! Links come and go.

use std::{collections::BTreeSet, sync::Arc};

use swarm::{HostNo, download::Event as Swarm};
use types::{HostId, TaskId};
use wire::{
    LinkEnd,
    codec::GoodbyeReason,
    registry::{Admission, Candidate},
    settle::Direction,
};

use super::{Core, Event, LinkNo, peers::LinkHandle};
use crate::{link::Incoming, metrics::PieceFailure};

impl Core {
    /// The link to `host` is of use.
    pub(super) fn used(&mut self, host: HostNo) {
        if let Some(peer) = self.peers.get(host) {
            self.places.touch(self.parts.clock.now(), (peer.id, 0));
        }
    }

    /// Takes a new link into use, if there is a place for it.
    pub(super) fn link_up(
        &mut self,
        (id, is_seed): (HostId, bool),
        direction: Direction,
        link: wire::Link,
    ) {
        let host = self.peers.number(id);
        let number = self.peers.next_link();
        if let Err(reason) = self.place(id, direction, number) {
            if let Some(peer) = self.peers.get_mut(host) {
                peer.is_dialling = false;
            }
            self.peers.tidy(host);
            return self.turn_away(link, reason);
        }
        let incoming = Incoming {
            link: number,
            host: id,
            cluster: self.parts.signer.cluster.clone(),
            tasks: Arc::clone(&self.tasks),
            events: self.events.clone(),
            sender: link.sender.clone(),
            receiving: std::collections::BTreeMap::new(),
            unnamed: std::collections::BTreeMap::new(),
            certificates_refused: 0,
        };
        let broken = Event::LinkDown {
            link: number,
            end: LinkEnd::Dropped,
        };
        self.io.spawn_with(broken, incoming.run(link.receiver));
        if let Some(old) = self
            .peers
            .connect(host, LinkHandle::new(number, link.sender))
        {
            old.sender.goodbye(GoodbyeReason::Duplicate);
            self.forget_host(host);
        }
        self.parts
            .metrics
            .connections(self.peers.connected().count());
        let tasks: Vec<TaskId> = self
            .peers
            .get(host)
            .map(|peer| peer.introduced.iter().copied().collect())
            .unwrap_or_default();
        tasks
            .into_iter()
            .for_each(|task| self.open_with(task, host));
        self.met(id, is_seed);
    }

    /// A place for a new link of `id`, or why there is none. The idle link that was used longest ago makes room.
    fn place(
        &mut self,
        id: HostId,
        direction: Direction,
        link: LinkNo,
    ) -> Result<(), GoodbyeReason> {
        if self.parts.links.is_revoked(id) {
            // It may have been news in this very link's hello.
            return Err(GoodbyeReason::Revoked);
        }
        if self.places.is_full() {
            let waits = self.jobs.values().flat_map(|job| job.download.waits());
            let mut busy: BTreeSet<HostNo> = waits.map(|(host, ..)| host).collect();
            busy.extend(self.serving.hosts());
            let peers = &self.peers;
            self.places
                .note_busy(|link| peers.of(*link).is_some_and(|host| busy.contains(&host)));
        }
        let now = self.parts.clock.now();
        let place = (id, 0);
        match self.places.admit(
            now,
            Candidate {
                place,
                direction,
                link,
            },
        ) {
            Admission::Stays => Ok(()),
            // Its successor takes its place among the peers too.
            Admission::Displaces(of, _) if of == place => Ok(()),
            Admission::Displaces(_, idle) => {
                self.close_idle(idle);
                Ok(())
            }
            Admission::Duplicate(_) => Err(GoodbyeReason::Duplicate),
            Admission::Full(_) => Err(GoodbyeReason::Full),
        }
    }

    fn close_idle(&mut self, link: LinkNo) {
        let Some(host) = self.peers.of(link) else {
            return;
        };
        tracing::debug!(host = ?host, "an idle link makes room for a new one");
        if let Some(link) = self.peers.link_mut(host) {
            link.sender.goodbye(GoodbyeReason::Idle);
        }
        self.peers.disconnect(link);
        self.forget_host(host);
        self.peers.tidy(host);
    }

    /// Says why there is no place for `link`; the link's own time limit bounds how long that takes.
    pub(super) fn turn_away(&mut self, link: wire::Link, reason: GoodbyeReason) {
        let wire::Link {
            sender,
            mut receiver,
            ..
        } = link;
        sender.goodbye(reason);
        self.io
            .spawn(async move { while receiver.next().await.is_ok() {} });
    }

    pub(super) fn dial_failed(&mut self, id: HostId) {
        let Some(host) = self.peers.find(&id) else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(host) {
            peer.is_dialling = false;
        }
        self.peers.tidy(host);
    }

    pub(super) fn link_down(&mut self, link: LinkNo, end: &LinkEnd) {
        let Some(host) = self.peers.disconnect(link) else {
            return;
        };
        if let Some(peer) = self.peers.get(host) {
            self.places.remove((peer.id, 0), |there| *there == link);
        }
        tracing::debug!(host = ?host, end = end as &dyn std::error::Error, "a link ended");
        self.forget_host(host);
        self.parts
            .metrics
            .connections(self.peers.connected().count());
        self.peers.tidy(host);
    }

    /// The link to `host` is gone: nothing of it is left in any brain.
    pub(super) fn forget_host(&mut self, host: HostNo) {
        self.uploads.forget(host);
        self.serving.forget(host);
        let joined = self.peers.get_mut(host).map(|peer| {
            peer.standing.clear();
            std::mem::take(&mut peer.joined)
        });
        let waits = self.jobs.values().flat_map(|job| job.download.waits());
        let broken = waits.filter(|(of, ..)| *of == host).count();
        (self.parts.metrics).pieces_failed(PieceFailure::Broken, broken as u64);
        for task in joined.into_iter().flatten() {
            self.expect_nothing(task, host);
            self.drive(task, Swarm::Left { host });
        }
        self.serve();
    }
}
