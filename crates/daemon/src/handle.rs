//! The way to the core from everywhere else in the daemon: bounded commands, answered in order.

use std::{sync::Arc, time::Duration};

use control::Found;
use swarm::{Class, download::ReaderNo};
use tokio::sync::{mpsc, oneshot};
use types::{HostId, Moment, PieceIndex, PieceRun, Source, TaskId, Visibility};

use crate::{
    account::Explained,
    reader::{Begun, TaskReader},
    task::{Task, TaskError, TaskSpec},
};

/// The task that was opened, the reader's number in it and what was there then, or why there is none.
pub(crate) type OpenAnswer = Result<(Arc<Task>, ReaderNo, Begun), Arc<TaskError>>;

/// What the cluster knows of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing: this host looks itself.
    Yourself,
    /// What another host saw, and how long ago.
    Told(Found),
}

/// What anybody may ask of the core.
pub(crate) enum Command {
    /// Start or join a task and read `run` of it (all of it, if whole).
    Open {
        spec: TaskSpec,
        run: PieceRun,
        whole: bool,
        class: Class,
        closed: oneshot::Receiver<()>,
        looked: Duration,
        reply: oneshot::Sender<OpenAnswer>,
    },
    /// A reader moved.
    ReadAt {
        task: TaskId,
        reader: ReaderNo,
        at: PieceIndex,
    },
    /// A reader found that a stored piece is lost.
    Lost { task: TaskId, piece: PieceIndex },
    /// What does the cluster know of a public source?
    Look {
        source: Source,
        reply: oneshot::Sender<Look>,
    },
    /// What this host saw of a source at its origin, for the cluster; none if it could not tell.
    Looked {
        source: Source,
        found: Option<Found>,
    },
    /// What nobody uses leaves memory, so that the store may remove it: one task, or every one.
    Release {
        task: Option<TaskId>,
        reply: oneshot::Sender<()>,
    },
    /// The store does not hold these any more.
    Removed { tasks: Vec<TaskId> },
    /// What runs, for people.
    Tasks {
        reply: oneshot::Sender<Vec<TaskStatus>>,
    },
    /// What tasks cost this host, those that left memory lately too.
    Explain {
        reply: oneshot::Sender<(Moment, Vec<Explained>)>,
    },
}

/// A live task, for people.
#[derive(Clone, Debug)]
pub struct TaskStatus {
    /// Which.
    pub task: TaskId,
    /// Where it comes from, without secrets.
    pub source: String,
    /// Who may know of it.
    pub visibility: Visibility,
    /// Bytes of the content.
    pub length: u64,
    /// Verified bytes by where they came from.
    pub local: u64,
    /// See `local`.
    pub peer: u64,
    /// See `local`.
    pub origin: u64,
    /// Pieces held and pieces in all.
    pub pieces: (u32, u32),
    /// Connected hosts that take part.
    pub neighbours: usize,
    /// Whether this host is the importer.
    pub is_importer: bool,
    /// What it waits for now, the longest wait first.
    pub waits: Vec<Wait>,
}

/// On whom or what a task waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOn {
    /// Pieces that were asked of a parent.
    Parent(HostId, PieceRun),
    /// A scheduler that is away or refused an ask for now; without it this host goes on alone.
    Scheduler,
    /// Pieces that are read from the origin.
    Origin(PieceRun),
    /// The origin failed, or asked to be left alone; then it is asked again.
    OriginRest,
    /// Nothing was asked of anybody: some host, or a lease, must come; else this host reads the origin without one.
    AnyHost,
}

/// One live wait of a task.
#[derive(Clone, Debug)]
pub struct Wait {
    /// On whom.
    pub on: WaitOn,
    /// For how many milliseconds it lasts.
    pub since_ms: u64,
    /// How many milliseconds more it may last before something else is done.
    pub left_ms: u64,
}

/// A cheap way to the core.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
}

impl Handle {
    pub(crate) fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands }
    }

    /// Starts or joins the task of `spec` and reads `run` of it; `whole` fetches the rest too. A background task gives
    /// way to others.
    pub async fn open(
        &self,
        spec: TaskSpec,
        run: PieceRun,
        fetch: Fetch,
    ) -> Result<TaskReader, Arc<TaskError>> {
        let (open, closed) = oneshot::channel();
        let (reply, answer) = oneshot::channel();
        let Fetch {
            whole,
            class,
            own_digest,
            looked,
        } = fetch;
        self.tell(Command::Open {
            spec,
            run,
            whole,
            class,
            closed,
            looked,
            reply,
        })
        .await;
        let (task, number, begun) = answer
            .await
            .unwrap_or_else(|_| Err(Arc::new(TaskError::Stopping)))?;
        if own_digest {
            task.want_digest();
        }
        Ok(TaskReader::new(task, self.clone(), (number, begun), open))
    }

    /// What the cluster knows of `source`. Waits as long as another host looks, which may be for ever.
    pub(crate) async fn look(&self, source: Source) -> Look {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Look { source, reply }).await;
        answer.await.unwrap_or(Look::Yourself)
    }

    /// Lets go of what nobody uses: of `task`, or of everything. What is in use stays.
    pub(crate) async fn release(&self, task: Option<TaskId>) {
        let (reply, done) = oneshot::channel();
        self.tell(Command::Release { task, reply }).await;
        // Dropped with a core that stops, which lets go of everything.
        drop(done.await);
    }

    /// All live tasks.
    pub async fn tasks(&self) -> Vec<TaskStatus> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Tasks { reply }).await;
        answer.await.unwrap_or_default()
    }

    /// What tasks cost this host as of now, live ones and some that left memory, the latest last.
    pub async fn explained(&self) -> (Moment, Vec<Explained>) {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Explain { reply }).await;
        answer.await.unwrap_or((Moment::ZERO, Vec::new()))
    }

    /// Waits until the core takes a question and answers it; false if it has stopped.
    pub async fn answers(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Tasks { reply }).await;
        answer.await.is_ok()
    }

    /// Queues a command; one for a core that has stopped is dropped, its reply too.
    pub(crate) async fn tell(&self, command: Command) {
        drop(self.commands.send(command).await);
    }
}

/// How much to fetch, and how urgently.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fetch {
    /// Everything, not just what is read.
    pub whole: bool,
    /// Whether it gives way to tasks that somebody waits for.
    pub class: Class,
    /// Whether the reader ends with the digest computed on this host, not with a seed's word.
    pub own_digest: bool,
    /// How long it took to find out what it is.
    pub looked: Duration,
}
