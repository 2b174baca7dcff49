//! Hosts that were thrown out of the cluster: no link to them lives on.

use swarm::HostNo;
use wire::codec::GoodbyeReason;

use super::Core;

impl Core {
    /// Ends the links to all hosts that are known to be revoked, whose word counts no more.
    pub(super) fn cut_off_revoked(&mut self) {
        self.tasks.forget_revoked();
        let links = &self.parts.links;
        let connected = self.peers.connected();
        let revoked: Vec<HostNo> = connected
            .filter(|(_, peer)| links.is_revoked(peer.id))
            .map(|(host, _)| host)
            .collect();
        for host in revoked {
            self.cut_off(host);
        }
        self.judge_all();
    }

    fn cut_off(&mut self, host: HostNo) {
        let Some(peer) = self.peers.get(host) else {
            return;
        };
        let id = peer.id;
        let Some(link) = &peer.link else {
            return;
        };
        tracing::warn!(host = %id, "a connected host was revoked: its link ends");
        let number = link.number;
        link.sender.goodbye(GoodbyeReason::Revoked);
        self.places.remove((id, 0), |there| *there == number);
        self.peers.disconnect(number);
        self.forget_host(host);
        self.parts
            .metrics
            .connections(self.peers.connected().count());
        self.peers.tidy(host);
    }
}
