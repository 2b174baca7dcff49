//! What hosts do with each other while no scheduler is there.
//!
//! Every linked host is told of what runs here, and one seed imports it: of the seeds that a host has links to, the one
//! that the task prefers. Whoever waits wishes it of that seed; a seed whose own view prefers another passes the wish on.
//! Without a seed each host reads what its readers need by itself.

use control::{Neighbour, Recruit};
use swarm::{HostNo, download::Event as Swarm, schedule::preferred_seed};
use types::{HostId, TaskId, Visibility};
use wire::{Message, codec::Wish};

use super::Core;

impl Core {
    /// Whether nobody coordinates, although others may be there.
    fn is_uncoordinated(&self) -> bool {
        !self.scheduling.is_connected() && !self.scheduling.is_alone()
    }

    /// Tells whoever looks for hosts who is linked, and whether a scheduler is there.
    pub(super) fn publish(&self) {
        let linked = self.peers.connected().map(|(_, peer)| peer.id).collect();
        let is_scheduled = self.scheduling.is_connected();
        self.parts.outlook.send_modify(|outlook| {
            (outlook.linked, outlook.is_scheduled) = (linked, is_scheduled);
        });
    }

    /// The scheduler told of these hosts: they are looked for when it is away.
    pub(super) fn remember(&self, hosts: &[Neighbour]) {
        self.parts.outlook.send_if_modified(|outlook| {
            let learn =
                |news, host: &Neighbour| outlook.told.learn(host.host, &host.addresses) || news;
            hosts.iter().fold(false, learn)
        });
    }

    /// A link to `id` came into use.
    pub(super) fn met(&mut self, id: HostId, is_seed: bool) {
        let host = self.peers.number(id);
        if let Some(peer) = self.peers.get_mut(host) {
            peer.is_seed = is_seed;
        }
        if !self.is_uncoordinated() {
            return;
        }
        for task in self.running() {
            self.open_with(task, host);
            if is_seed {
                self.choose_importer(task);
            }
        }
    }

    /// Tells every linked host of a task that runs here.
    pub(super) fn share(&mut self, task: TaskId) {
        if self.is_uncoordinated() {
            let hosts: Vec<HostNo> = self.peers.connected().map(|(host, _)| host).collect();
            hosts
                .into_iter()
                .for_each(|host| self.open_with(task, host));
        }
    }

    /// The same for all that is not complete here.
    pub(super) fn share_all(&mut self) {
        self.running().into_iter().for_each(|task| self.share(task));
    }

    fn running(&self) -> Vec<TaskId> {
        let running = self.jobs.iter().filter(|(_, job)| job.is_waiting());
        running.map(|(task, _)| *task).collect()
    }

    /// Sees to it that one of the seeds imports `task`: this host, if it is the one.
    pub(super) fn choose_importer(&mut self, task: TaskId) {
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        let is_settled = job.download.have().is_full() || job.download.is_importer();
        let is_uncoordinated = !self.scheduling.is_connected() && !self.scheduling.is_alone();
        if is_settled || !is_uncoordinated || job.task.spec.visibility != Visibility::Public {
            return;
        }
        let me = self.parts.signer.key.host_id();
        let linked = self.peers.connected().filter(|(_, peer)| peer.is_seed);
        let seeds = linked.map(|(_, peer)| peer.id);
        let seeds = seeds.chain(self.parts.is_seed.then_some(me));
        let Some(seed) = preferred_seed(&task, seeds) else {
            if !job.task.is_by_digest() {
                // Nobody's word for it would count: there is nothing to wait for.
                self.drive(task, Swarm::NobodyImports);
            }
            return;
        };
        if seed == me {
            job.is_chosen = true;
            return self.import_alone(task);
        }
        let spec = &job.task.spec;
        let wish = Wish::of(task, spec.layout, (spec.digest, spec.source.clone()));
        let link = self.peers.find(&seed);
        let link = link.and_then(|host| self.peers.link_mut(host));
        if let (Some(wish), Some(link)) = (wish, link) {
            tracing::debug!(?task, %seed, "no scheduler: a seed is asked to import");
            // A link that does not take it ends by itself, and another seed is chosen.
            drop(link.sender.try_send(&Message::Wish(Box::new(wish))));
        }
    }

    /// A host without a scheduler wants something imported.
    pub(super) fn wished(&mut self, wish: Wish) {
        /// Sources that are looked up at once for others.
        const WISHES_MAX: usize = 64;
        if !self.parts.is_seed || !self.is_uncoordinated() {
            return;
        }
        if self.jobs.contains_key(&wish.task) {
            return self.choose_importer(wish.task);
        }
        if self.recruited.len() < WISHES_MAX {
            self.recruit(Recruit {
                task: wish.task,
                source: wish.source,
                layout: Some(wish.layout),
                digest: wish.digest,
                visibility: Visibility::Public,
            });
        }
    }

    /// A scheduler is there: it names importers, and whoever imported on its own word stops.
    pub(super) fn end_own_word(&mut self) {
        let chosen = self.jobs.iter_mut();
        let chosen: Vec<TaskId> = chosen
            .filter_map(|(task, job)| std::mem::take(&mut job.is_chosen).then_some(*task))
            .collect();
        for task in chosen {
            if let Some(job) = self.jobs.get(&task) {
                let epoch = job.epoch;
                self.drive(task, Swarm::LeaseEnded { epoch });
            }
        }
    }
}
