//! What is known of whole contents: this host's own proof, and seals as it makes, checks and passes them on.

use std::sync::Arc;

use types::{Digest, Seal, TaskId};
use wire::Message;

use super::{Core, LinkNo};
use crate::{prove::note_whole, task::TaskError};

impl Core {
    /// The whole was hashed: it is what was asked for, or nothing of it may be believed.
    pub(super) fn proven(&mut self, task: TaskId, result: Result<Digest, store::ReadError>) {
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        job.is_proving = false;
        let digest = match result {
            Ok(digest) => digest,
            Err(cause) => return self.fail(task, TaskError::Store(Arc::new(cause))),
        };
        if let Some(expected) = job.task.spec.digest.filter(|expected| *expected != digest) {
            return self.whole_is_wrong(task, (expected, digest));
        }
        job.is_proven = true;
        self.account_for(task);
        self.settle_seal(task);
        self.whole_is_right(task);
        if let Some(job) = self.jobs.get(&task) {
            job.task.tell(|news| news.proven = Some(digest));
            self.io
                .spawn(note_whole(task, job.task.content.noting(), digest));
        }
        self.tell_whole(task);
    }

    /// The link took a seal of a seed: the table may be whole already, and neighbours of the task are told.
    pub(super) fn sealed(&mut self, task: TaskId) {
        self.try_seal(task);
        self.tell_seal(task);
    }

    /// What `link` gave for a seal is none.
    pub(super) fn false_seal(&mut self, link: LinkNo, task: TaskId) {
        if let Some(peer) = self.peers.of(link).and_then(|host| self.peers.get(host)) {
            tracing::warn!(host = %peer.id, task = ?task, "a host passed on a forged seal");
            self.scheduling.blame(peer.id);
        }
    }

    /// Once every piece is here, their table must fold to the root that a seed sealed: readers that verify by
    /// themselves need no more.
    pub(super) fn try_seal(&mut self, task: TaskId) {
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        if job.is_proven || job.is_sealed {
            return;
        }
        let content = &job.task.content;
        let (Some(table), Some(seal)) = (content.table(), content.seal()) else {
            return;
        };
        if table.root() != seal.root {
            // Either the seal is wrong or the table is: this host's own hash, which has begun, will tell.
            return tracing::warn!(task = ?task, signer = %seal.signer, "the pieces do not make what a seal says");
        }
        tracing::debug!(task = ?task, signer = %seal.signer, "every piece is here, and a seed vouches for the whole");
        job.is_sealed = true;
        job.task.tell(|news| news.sealed = true);
        self.account_for(task);
        self.tell_whole(task);
    }

    /// The whole was hashed here and is right: a seed says so, and a seal that says otherwise was a lie.
    pub(super) fn settle_seal(&mut self, task: TaskId) {
        let Some(job) = self.jobs.get(&task) else {
            return;
        };
        let content = &job.task.content;
        let Some(root) = content.table().map(|table| table.root()) else {
            return;
        };
        let held = content.seal();
        if let Some(Seal { signer, .. }) = held.as_ref().filter(|seal| seal.root != root) {
            tracing::warn!(task = ?task, host = %signer, "a seal is wrong: the whole was hashed here");
            content.forget_seal();
            self.scheduling.blame(*signer);
        } else if held.is_some() {
            return;
        }
        if self.parts.is_seed {
            let seal = self.parts.signer.seal(&job.task.spec, root);
            if job.task.keep_seal(seal) {
                self.tell_seal(task);
            }
        }
    }

    /// Gives the seal of `task` to everybody who takes part in it and did not get it yet.
    fn tell_seal(&mut self, task: TaskId) {
        let takes_part = self.peers.connected();
        let takes_part = takes_part.filter(|(_, peer)| peer.joined.contains(&task));
        let hosts: Vec<_> = takes_part.map(|(host, _)| host).collect();
        for host in hosts {
            self.tell_seal_to(task, host);
        }
    }

    /// Gives the seal of `task`, if there is one, to `host`, who takes part in it: once on each link.
    pub(super) fn tell_seal_to(&mut self, task: TaskId, host: swarm::HostNo) {
        let seal = self.jobs.get(&task).and_then(|job| job.task.content.seal());
        let Some(seal) = seal else { return };
        self.peers.show_signer(host, seal.signer, &self.parts.links);
        let Some(peer) = self.peers.get_mut(host) else {
            return;
        };
        let is_signer = peer.id == seal.signer;
        if let Some(link) = &mut peer.link
            && link.no(&task).is_some()
            && !is_signer
            && link.note_sealed(task)
        {
            self.peers.say(host, &task, |no| Message::Seal { no, seal });
        }
    }
}
