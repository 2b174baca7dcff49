//! The remote hosts that this one knows: small numbers for the brains, addresses, and the link to each.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use bytes::Bytes;
use identity::{Links, SeedCertificate, Seeds};
use swarm::HostNo;
use types::{HostId, TaskId, Topology};
use wire::{LinkSender, Message, TaskNo, codec::GoodbyeReason};

use super::LinkNo;

/// Tasks that one link may have open on each side, as `wire` has it: one more would end the link.
const OPEN_MAX: usize = 1024;

/// A live link as the core uses it.
pub(super) struct LinkHandle {
    pub(super) number: LinkNo,
    pub(super) sender: LinkSender,
    next_no: u32,
    /// Tasks that we opened on it, by our number.
    ours: BTreeMap<TaskId, TaskNo>,
    /// Tasks whose seal the remote got from us.
    sealed: BTreeSet<TaskId>,
    /// Certificates of seeds that the remote got from us. Bounded as those are.
    shown: BTreeMap<HostId, SeedCertificate>,
}

impl LinkHandle {
    pub(super) fn new(number: LinkNo, sender: LinkSender) -> Self {
        Self {
            number,
            sender,
            next_no: 0,
            ours: BTreeMap::new(),
            sealed: BTreeSet::new(),
            shown: BTreeMap::new(),
        }
    }

    /// Our number for `task`, if we opened it.
    pub(super) fn no(&self, task: &TaskId) -> Option<TaskNo> {
        self.ours.get(task).copied()
    }

    /// A number for `task`, to open it with. None if as many are open as the remote allows.
    pub(super) fn number(&mut self, task: TaskId) -> Option<TaskNo> {
        if self.ours.len() >= OPEN_MAX {
            return None;
        }
        self.next_no += 1;
        let no = TaskNo(self.next_no);
        self.ours.insert(task, no);
        Some(no)
    }

    /// We leave `task` on this link.
    pub(super) fn close(&mut self, task: &TaskId) -> Option<TaskNo> {
        self.sealed.remove(task);
        self.ours.remove(task)
    }

    /// What vouched for `task` is void: the remote has no seal of it from us.
    pub(super) fn unsealed(&mut self, task: &TaskId) {
        self.sealed.remove(task);
    }

    /// Notes that the remote gets our seal of `task`. False if it has it.
    pub(super) fn note_sealed(&mut self, task: TaskId) -> bool {
        self.sealed.insert(task)
    }
}

/// A remote host.
pub(super) struct Peer {
    pub(super) id: HostId,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) link: Option<LinkHandle>,
    pub(super) is_dialling: bool,
    /// Whether the certificate that it showed on its link says that it is a seed.
    pub(super) is_seed: bool,
    /// Where it stands, as the scheduler said.
    pub(super) place: Topology,
    /// Tasks that it has open on its link, bounded by what a link may have open.
    pub(super) standing: BTreeSet<TaskId>,
    /// Those that we take part in too: only their brains know it.
    pub(super) joined: BTreeSet<TaskId>,
    /// Tasks for which the scheduler introduced it.
    pub(super) introduced: BTreeSet<TaskId>,
}

/// All remote hosts that matter now: those with a link, and those that were introduced for a live task.
#[derive(Default)]
pub(super) struct Peers {
    numbers: BTreeMap<HostId, HostNo>,
    peers: BTreeMap<HostNo, Peer>,
    by_link: BTreeMap<LinkNo, HostNo>,
    next_host: u32,
    next_link: u64,
}

impl Peers {
    /// The number of `id`, known or new.
    pub(super) fn number(&mut self, id: HostId) -> HostNo {
        if let Some(no) = self.numbers.get(&id) {
            return *no;
        }
        self.next_host += 1;
        let no = HostNo(self.next_host);
        self.numbers.insert(id, no);
        let peer = Peer {
            id,
            addresses: Vec::new(),
            link: None,
            is_dialling: false,
            is_seed: false,
            place: Topology::default(),
            standing: BTreeSet::new(),
            joined: BTreeSet::new(),
            introduced: BTreeSet::new(),
        };
        self.peers.insert(no, peer);
        no
    }

    pub(super) fn find(&self, id: &HostId) -> Option<HostNo> {
        self.numbers.get(id).copied()
    }

    pub(super) fn get(&self, host: HostNo) -> Option<&Peer> {
        self.peers.get(&host)
    }

    pub(super) fn get_mut(&mut self, host: HostNo) -> Option<&mut Peer> {
        self.peers.get_mut(&host)
    }

    /// The host at the other end of a live link.
    pub(super) fn of(&self, link: LinkNo) -> Option<HostNo> {
        self.by_link.get(&link).copied()
    }

    pub(super) fn link_mut(&mut self, host: HostNo) -> Option<&mut LinkHandle> {
        self.peers.get_mut(&host)?.link.as_mut()
    }

    pub(super) fn next_link(&mut self) -> LinkNo {
        self.next_link += 1;
        LinkNo(self.next_link)
    }

    /// Puts a new link in its place; the one it replaces is returned.
    pub(super) fn connect(&mut self, host: HostNo, link: LinkHandle) -> Option<LinkHandle> {
        let peer = self.peers.get_mut(&host)?;
        peer.is_dialling = false;
        self.by_link.insert(link.number, host);
        let before = peer.link.replace(link);
        if let Some(before) = &before {
            self.by_link.remove(&before.number);
        }
        before
    }

    /// Forgets a link that ended: whose it was, if it was still the one in use.
    pub(super) fn disconnect(&mut self, link: LinkNo) -> Option<HostNo> {
        let host = self.by_link.remove(&link)?;
        self.peers.get_mut(&host)?.link = None;
        Some(host)
    }

    /// Forgets a host that has no link, no dial and no task: numbers are not kept for ever.
    pub(super) fn tidy(&mut self, host: HostNo) {
        let is_idle =
            |peer: &Peer| peer.link.is_none() && !peer.is_dialling && peer.introduced.is_empty();
        if self.peers.get(&host).is_some_and(is_idle)
            && let Some(peer) = self.peers.remove(&host)
        {
            self.numbers.remove(&peer.id);
        }
    }

    /// Says something about a task that we opened on the link to `host`. A remote that does not take what we say is
    /// not worth keeping: its link is ended, and the end comes as an event.
    pub(super) fn say(
        &mut self,
        host: HostNo,
        task: &TaskId,
        message: impl FnOnce(TaskNo) -> Message,
    ) -> bool {
        let Some(link) = self.link_mut(host) else {
            return false;
        };
        let Some(no) = link.no(task) else {
            return false;
        };
        match link.sender.try_send(&message(no)) {
            Ok(()) => true,
            Err(cause) => {
                tracing::debug!(host = ?host, error = %cause, "a link does not take what is said");
                link.sender.goodbye(GoodbyeReason::Other);
                false
            }
        }
    }

    /// Shows `host` that the signer of what follows is a seed, if it is one: once on each link, and whenever that was renewed.
    pub(super) fn show_signer(&mut self, host: HostNo, signer: HostId, links: &Links) {
        let Some(certificate) = links.certificate_of(&signer) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&host).filter(|peer| peer.id != signer) else {
            return;
        };
        let Some(link) = &mut peer.link else { return };
        if link.shown.get(&signer) == Some(&certificate) {
            return;
        }
        let message = Message::Certificate(Bytes::from_owner(certificate.clone()));
        if link.sender.try_send(&message).is_ok() {
            if link.shown.len() >= Seeds::MAX {
                link.shown.clear();
            }
            link.shown.insert(signer, certificate);
        }
    }

    /// `task` is over here: nobody is introduced for it any more. Gives those who were.
    pub(super) fn forget_introductions(&mut self, task: &TaskId) -> Vec<HostNo> {
        let peers = self.peers.iter_mut();
        peers
            .filter_map(|(host, peer)| peer.introduced.remove(task).then_some(*host))
            .collect()
    }

    /// Hosts that were introduced for `task`.
    pub(super) fn introduced_for(
        &self,
        task: &TaskId,
    ) -> impl Iterator<Item = (HostNo, HostId)> + '_ {
        let task = *task;
        self.peers
            .iter()
            .filter(move |(_, peer)| peer.introduced.contains(&task))
            .map(|(host, peer)| (*host, peer.id))
    }

    /// Hosts with a link.
    pub(super) fn connected(&self) -> impl Iterator<Item = (HostNo, &Peer)> {
        self.peers
            .iter()
            .filter(|(_, peer)| peer.link.is_some())
            .map(|(host, peer)| (*host, peer))
    }

    /// Ends every link.
    pub(super) fn goodbye(&mut self) {
        for peer in self.peers.values() {
            if let Some(link) = &peer.link {
                link.sender.goodbye(GoodbyeReason::Leaving);
            }
        }
    }
}
