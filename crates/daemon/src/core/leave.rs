//! Leaving in order: nothing new, what others are being sent is ended, goodbye to everybody.

use std::{sync::Arc, time::Duration};

use swarm::download::Event as Swarm;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use types::TaskId;
use wire::codec::GoodbyeReason;

use super::{Core, Event, lanes::Lanes};
use crate::task::TaskError;

/// How long goodbyes may take to leave: far more than a link needs that somebody reads.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

impl Core {
    /// Leaves. Uploads that run are ended first, unless `hurry` says that there is no time left for them.
    pub(super) async fn leave(
        mut self,
        mut events: mpsc::Receiver<Event>,
        hurry: CancellationToken,
    ) {
        self.stop_jobs();
        self.scheduling.leave(self.parts.clock.now());
        for transfer in self.uploads.drain() {
            self.refuse(&transfer);
        }
        while !self.uploads.is_idle() {
            tokio::select! {
                () = hurry.cancelled() => break,
                Some(event) = events.recv() => self.happened_late(event),
                Some(ended) = self.io.next_end() => drop(self.io_ended(ended)),
            }
        }
        self.peers.goodbye();
        // Links end when their goodbye has left; nobody listens to what they tell any more.
        drop(events);
        let gone = async { while self.io.next_end().await.is_some() {} };
        if timeout(GOODBYE_WITHIN, gone).await.is_err() {
            tracing::debug!("some links did not take a goodbye");
        }
        self.io.shutdown().await;
    }

    /// Nothing is wanted any more: readers hear why, imports end, leases go back.
    fn stop_jobs(&mut self) {
        for job in self.jobs.values() {
            job.task
                .tell(|news| news.failed = Some(Arc::new(TaskError::Stopping)));
        }
        let tasks: Vec<TaskId> = self.jobs.keys().copied().collect();
        for task in tasks {
            self.drive(task, Swarm::Cancel);
            if let Some(job) = self.jobs.get(&task) {
                job.imports.values().for_each(Lanes::cancel);
            }
        }
    }

    /// Something happened while this host leaves: nobody new is met.
    fn happened_late(&mut self, event: Event) {
        match event {
            Event::LinkUp { link, .. } => self.turn_away(*link, GoodbyeReason::Leaving),
            Event::Scheduler(_) | Event::Recruited { .. } => {}
            other => self.happened(other),
        }
    }
}
