//! Starting and joining tasks, for local readers and for remotes that ask for what the store holds.

use std::{sync::Arc, time::Duration};

use store::{CreateError, DiskError, Reserve};
use swarm::{
    Class,
    download::{Event as Swarm, ReaderNo},
};
use tokio::sync::oneshot;
use types::{PieceIndex, PieceRun, PieceSet, TaskId};

use super::{Core, Event, job::Job};
use crate::{
    handle::{Command, OpenAnswer},
    prove::Proof,
    reader::Begun,
    task::{Task, TaskError, TaskSpec},
};

/// What a local reader asks for.
pub(super) struct Demand {
    pub(super) run: PieceRun,
    pub(super) whole: bool,
    pub(super) class: Class,
    pub(super) closed: oneshot::Receiver<()>,
    /// How long it took to find out what it is.
    pub(super) looked: Duration,
}

impl Core {
    pub(super) fn asked(&mut self, command: Command) {
        match command {
            Command::Open {
                spec,
                run,
                whole,
                class,
                closed,
                looked,
                reply,
            } => {
                let opened = self.open(
                    spec,
                    Demand {
                        run,
                        whole,
                        class,
                        closed,
                        looked,
                    },
                );
                // A reader that is gone by now has dropped its end, which `closed` tells.
                drop(reply.send(opened));
            }
            Command::ReadAt { task, reader, at } => self.drive(task, Swarm::ReadAt { reader, at }),
            Command::Lost { task, piece } => self.decayed(task, piece),
            Command::Look { source, reply } => self.look(source, reply),
            Command::Looked { source, found } => self.looked(source, found),
            Command::Tasks { reply } => drop(reply.send(self.statuses())),
            Command::Explain { reply } => drop(reply.send(self.explained())),
            Command::Release { task, reply } => {
                self.release(task);
                reply.send(()).ok();
            }
            Command::Removed { tasks } => self.removed(tasks),
        }
    }

    fn open(&mut self, spec: TaskSpec, demand: Demand) -> OpenAnswer {
        let id = spec.task;
        let reserve = if demand.whole {
            Reserve::Whole
        } else {
            Reserve::Run(demand.run)
        };
        let task = self.begin(spec, reserve)?;
        task.content.touch();
        self.readers = self.readers.wrapping_add(1);
        let reader = ReaderNo(self.readers);
        let mut have = PieceSet::empty(task.spec.layout.piece_count());
        if let Some(job) = self.jobs.get_mut(&id) {
            job.account.read(demand.looked);
            job.readers.insert(reader, demand.class);
            have = job.download.have().clone();
        }
        let begun = Begun::now(&task, demand.run, &have);
        // Before it is told what is wanted, so that the background does not even begin.
        self.give_way();
        let events = self.events.clone();
        self.io.spawn(async move {
            // Ends when the reader drops its end.
            drop(demand.closed.await);
            events.tell(Event::ReaderGone { task: id, reader }).await;
        });
        self.drive(
            id,
            Swarm::Read {
                reader,
                run: demand.run,
            },
        );
        if demand.whole {
            self.whole_wanted(id);
            self.drive(id, Swarm::WantAll(true));
        }
        self.ask_scheduler(id);
        self.give_way();
        Ok((task, reader, begun))
    }

    /// Whatever is in the background gives way while anything in the foreground is not complete, and goes on after it.
    pub(super) fn give_way(&mut self) {
        let must = self.jobs.values().any(Job::has_priority);
        self.tasks.set_busy(must);
        let changed: Vec<(TaskId, bool)> = (self.jobs.iter())
            .map(|(task, job)| (*task, must && job.class() == Class::Background, job))
            .filter(|(_, gives_way, job)| *gives_way != job.gives_way)
            .map(|(task, gives_way, _)| (task, gives_way))
            .collect();
        for (task, gives_way) in changed {
            if let Some(job) = self.jobs.get_mut(&task) {
                job.gives_way = gives_way;
            }
            let slots = if gives_way {
                0
            } else {
                self.parts.limits.download.slots
            };
            self.drive(task, Swarm::SetSlots(slots));
        }
    }

    /// The live task of `spec`, begun if it was not, with room for what it is to fetch.
    pub(super) fn begin(
        &mut self,
        spec: TaskSpec,
        reserve: Reserve,
    ) -> Result<Arc<Task>, Arc<TaskError>> {
        if let Some(job) = self.jobs.get(&spec.task) {
            let stored = job.task.spec.layout;
            if stored != spec.layout {
                // One of two words on its length is wrong, and this is not the place to find out which.
                let cause = CreateError::Layout { stored };
                return Err(Arc::new(TaskError::Store(Arc::new(cause))));
            }
        }
        let content = self
            .create(&spec, reserve)
            .map_err(|cause| Arc::new(TaskError::Store(Arc::new(cause))))?;
        if let Some(job) = self.jobs.get(&spec.task) {
            return Ok(Arc::clone(&job.task));
        }
        let task = self.task_of(spec, content);
        self.adopt(Arc::clone(&task));
        Ok(task)
    }

    /// A task over what the store has, without the word of those who lied about it, and without what nobody who counts
    /// vouches for any more where no digest names it.
    fn task_of(&mut self, spec: TaskSpec, content: store::Content) -> Arc<Task> {
        let id = content.task();
        let liars = self.doubts.liars(self.parts.clock.now(), &id);
        let new = || {
            let of = (self.parts.links.clone(), liars.clone());
            Task::new(spec.clone(), content.clone(), of)
        };
        let task = new();
        if !task.was_stale() {
            return Arc::new(task);
        }
        tracing::warn!(task = ?id, "who vouched for stored content that no digest names does not count any more: it is void");
        if let Err(cause) = tokio::task::block_in_place(|| content.void_all()) {
            tracing::error!(task = ?id, error = &cause as &dyn std::error::Error, "voiding failed");
        }
        Arc::new(new())
    }

    /// Makes `task` live: its brain, its proof, its place among the tasks that links write into.
    fn adopt(&mut self, task: Arc<Task>) {
        let id = task.spec.task;
        let now = self.parts.clock.now();
        let mut job = Job::new(
            Arc::clone(&task),
            self.parts.limits.download,
            (now, self.chance.fork()),
        );
        self.resume_account(&mut job);
        self.tasks.insert(Arc::clone(&task));
        job.is_held = task.content.is_complete() && task.is_for_others();
        job.keep_unvouched();
        if job.is_held && task.content.is_sound() {
            job.is_proven = true;
            task.tell(|news| news.proven = task.spec.digest.or_else(|| task.content.digest()));
        }
        if !self.scheduling.is_connected() {
            job.download.handle(now, Swarm::SchedulerAway(true));
        }
        self.jobs.insert(id, job);
        self.prove(id);
        self.try_seal(id);
        self.settle(id);
    }

    /// Hashes the whole of `task` beside everything else, unless that is done or under way.
    pub(super) fn prove(&mut self, id: TaskId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        if job.is_proven || std::mem::replace(&mut job.is_proving, true) {
            return;
        }
        let proof = Proof {
            task: Arc::clone(&job.task),
            tasks: Arc::clone(&self.tasks),
            events: self.events.clone(),
            is_seed: self.parts.is_seed,
        };
        let events = self.events.clone();
        self.io.spawn_with(Event::Broke { task: id }, async move {
            if let Some(result) = proof.run().await {
                events.tell(Event::Proven { task: id, result }).await;
            }
        });
    }

    /// A stored piece decayed. While somebody reads it is fetched again; else the task leaves memory and what it lacks
    /// comes when somebody asks.
    pub(super) fn decayed(&mut self, task: TaskId, piece: PieceIndex) {
        let was_held = match self.jobs.get_mut(&task) {
            None => true,
            Some(job) => {
                (job.is_proven, job.is_sealed) = (false, false);
                std::mem::take(&mut job.is_held)
            }
        };
        if was_held {
            self.scheduling.holds_no_more(task);
        }
        let Some(job) = self.jobs.get_mut(&task) else {
            return;
        };
        if was_held && job.readers.is_empty() {
            return self.drop_job(task, None);
        }
        job.is_asked &= !was_held;
        job.task
            .tell(|news| (news.proven, news.sealed) = (None, false));
        self.prove(task);
        self.drive(task, Swarm::Void { piece });
        self.ask_scheduler(task);
    }

    fn create(&mut self, spec: &TaskSpec, reserve: Reserve) -> Result<store::Content, CreateError> {
        let wanted = match reserve {
            Reserve::Run(run) => spec.layout.range_of_run(run).length(),
            Reserve::Whole | Reserve::EachPiece => spec.layout.length(),
        };
        let store = self.parts.store.clone();
        tokio::task::block_in_place(|| match store.create(spec.new_content(reserve)) {
            Err(CreateError::Disk(DiskError::NoSpace { .. })) => {
                self.make_room(spec, wanted);
                store.create(spec.new_content(reserve))
            }
            Err(CreateError::Layout { stored }) if self.is_empty(spec.task) => {
                tracing::info!(task = ?spec.task, ?stored, "content of another length never came");
                match store.remove(spec.task) {
                    Ok(_) => store.create(spec.new_content(reserve)),
                    Err(_) => Err(CreateError::Layout { stored }),
                }
            }
            other => other,
        })
    }

    /// Whether the store has nothing but the name of `task`.
    fn is_empty(&self, task: TaskId) -> bool {
        let content = self.parts.store.content(task);
        content.is_ok_and(|content| content.is_some_and(|content| content.have().is_empty()))
    }

    /// Takes up content that the store holds, because a remote asks for it. False if there is nothing to give.
    pub(super) fn take_up(&mut self, task: TaskId) -> bool {
        if self.jobs.contains_key(&task) {
            return true;
        }
        let Ok(Some(content)) = tokio::task::block_in_place(|| self.parts.store.content(task))
        else {
            return false;
        };
        let held = self.parts.store.info(task);
        let Some((info, source)) =
            held.and_then(|info| info.source.clone().map(|source| (info, source)))
        else {
            return false;
        };
        let spec = TaskSpec {
            task,
            layout: info.layout,
            digest: info.digest,
            source,
            visibility: info.visibility,
        };
        let live = self.task_of(spec, content);
        self.adopt(Arc::clone(&live));
        if info.complete && !live.is_for_others() {
            // Whose word it was made of does not count any more: others read it anew.
            self.scheduling.holds_no_more(task);
        }
        self.tell_vouchers(task);
        true
    }

    pub(super) fn reader_gone(&mut self, task: TaskId, reader: ReaderNo) {
        if let Some(job) = self.jobs.get_mut(&task) {
            job.readers.remove(&reader);
        }
        self.used_job(task);
        self.drive(task, Swarm::ReadEnded { reader });
        let is_abandoned = self
            .jobs
            .get(&task)
            .is_some_and(|job| job.readers.is_empty() && !job.task.content.have().is_full());
        if is_abandoned {
            self.drive(task, Swarm::WantAll(false));
        }
        self.give_way();
    }

    /// Ends a task for good: its readers hear why.
    pub(super) fn fail(&mut self, task: TaskId, cause: TaskError) {
        tracing::warn!(task = ?task, error = &cause as &dyn std::error::Error, "a task failed");
        self.drop_job(task, Some(Arc::new(cause)));
    }

    pub(super) fn drop_job(&mut self, task: TaskId, failed: Option<Arc<TaskError>>) {
        let Some(job) = self.take_down(task) else {
            return;
        };
        self.scheduling.left(task);
        if let Some(cause) = &failed {
            self.account_failed(task, cause);
        }
        job.task
            .tell(|news| news.failed = failed.or(Some(Arc::new(TaskError::Stopping))));
    }
}
