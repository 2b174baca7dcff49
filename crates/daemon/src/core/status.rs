//! What runs and what it waits for, for people.

use std::cmp::Reverse;

use swarm::download::State;
use types::{HostId, Moment};

use super::{Core, job::Job};
use crate::handle::{TaskStatus, Wait, WaitOn};

impl Core {
    pub(super) fn statuses(&self) -> Vec<TaskStatus> {
        self.jobs.values().map(|job| self.status(job)).collect()
    }

    fn status(&self, job: &Job) -> TaskStatus {
        let spec = &job.task.spec;
        let (local, peer, origin) = job.task.bytes();
        TaskStatus {
            task: spec.task,
            source: spec.source.to_string(),
            visibility: spec.visibility,
            length: spec.layout.length().0,
            local,
            peer,
            origin,
            pieces: (job.download.have().len(), spec.layout.piece_count()),
            neighbours: job.download.neighbours(),
            is_importer: job.download.is_importer(),
            waits: self.waits(job),
        }
    }

    /// The live waits of `job`, the longest first.
    pub(super) fn waits(&self, job: &Job) -> Vec<Wait> {
        let now = self.parts.clock.now();
        let download = &job.download;
        let (quiet_since, ends_at) = download.silence();
        let mut waits: Vec<Wait> = (download.waits())
            .map(|(host, run, since, until)| {
                let peer = self.peers.get(host);
                let id = peer.map_or(HostId::from_bytes([0; 32]), |peer| peer.id);
                wait(WaitOn::Parent(id, run), (now, since, until))
            })
            .collect();
        let alone_at = download.goes_alone_at().unwrap_or(ends_at);
        let scheduling = &self.scheduling;
        let is_fetching = download.state() == State::Fetching;
        if let Some(until) = scheduling.asks_again_at(&job.task.spec.task) {
            waits.push(wait(WaitOn::Scheduler, (now, quiet_since, until)));
        } else if is_fetching && !scheduling.is_alone() && !scheduling.is_connected() {
            waits.push(wait(WaitOn::Scheduler, (now, quiet_since, alone_at)));
        }
        // The origin's own time-outs come first, and each ends in another try: this is when there is none any more.
        let reads = download.origin_runs();
        waits.extend(reads.map(|run| wait(WaitOn::Origin(run), (now, quiet_since, ends_at))));
        let rests_until = download.origin_rests_until();
        if rests_until > now {
            waits.push(wait(WaitOn::OriginRest, (now, quiet_since, rests_until)));
        }
        if waits.is_empty() && is_fetching {
            waits.push(wait(WaitOn::AnyHost, (now, quiet_since, alone_at)));
        }
        waits.sort_by_key(|wait| Reverse(wait.since_ms));
        waits
    }
}

fn wait(on: WaitOn, (now, since, until): (Moment, Moment, Moment)) -> Wait {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Wait {
        on,
        since_ms: millis(now.since(since)),
        left_ms: millis(until.since(now)),
    }
}
