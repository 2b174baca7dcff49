//! A local reader's place in a task: it waits for verified bytes and tells the core where it stands.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use store::ReadError;
use swarm::download::ReaderNo;
use tokio::sync::{oneshot, watch};
use types::{ByteRange, Digest, PieceIndex, PieceRun, PieceSet};

use crate::{
    handle::{Command, Handle},
    task::{News, Task, TaskError},
};

/// What was there when a reader began, in bytes. The core takes it: a piece that comes is in the file before it is
/// counted, and must be either here already or fetched.
#[derive(Default)]
pub(crate) struct Begun {
    /// Of its run.
    local: u64,
    /// What had come of the task from peers.
    peer: u64,
    /// What had come of it from the origin.
    origin: u64,
}

impl Begun {
    /// For a reader of `run` that begins while `have` is here.
    pub(crate) fn now(task: &Task, run: PieceRun, have: &PieceSet) -> Self {
        let held = run.pieces().filter(|piece| have.contains(*piece));
        let local = held.map(|piece| task.spec.layout.length_of(piece).0).sum();
        let (_, peer, origin) = task.bytes();
        Self {
            local,
            peer,
            origin,
        }
    }
}

/// One reader of one task. Dropping it withdraws its demand and its hold on the content.
pub struct TaskReader {
    task: Arc<Task>,
    handle: Handle,
    number: ReaderNo,
    news: watch::Receiver<News>,
    at: Option<PieceIndex>,
    begun: Begun,
    /// The news' count of voids that this reader knows of.
    voids: u32,
    /// Whether it was told of verified bytes since.
    was_given: bool,
    /// Dropped with the reader: the core sees it and forgets the demand.
    _open: oneshot::Sender<()>,
}

impl TaskReader {
    pub(crate) fn new(
        task: Arc<Task>,
        handle: Handle,
        (number, begun): (ReaderNo, Begun),
        open: oneshot::Sender<()>,
    ) -> Self {
        let news = task.news();
        let voids = news.borrow().voids;
        Self {
            task,
            handle,
            number,
            news,
            at: None,
            begun,
            voids,
            was_given: false,
            _open: open,
        }
    }

    /// What it reads.
    pub fn task(&self) -> &Arc<Task> {
        &self.task
    }

    /// Waits until the byte `at` is verified, and says how far verified bytes go on from there.
    ///
    /// Errors: [`TaskError::Voided`], once, if what it said before turned out wrong: read it all again.
    pub async fn ready(&mut self, at: u64) -> Result<ByteRange, Arc<TaskError>> {
        let layout = self.task.spec.layout;
        let end = layout.length().0;
        let wanted = ByteRange::new(at, end).and_then(|range| layout.pieces_of(range));
        let Some(first) = wanted.map(|run| run.first) else {
            return Ok(ByteRange::new(end, end).expect("an empty range"));
        };
        if self.at != Some(first) {
            self.at = Some(first);
            self.handle
                .tell(Command::ReadAt {
                    task: self.task.spec.task,
                    reader: self.number,
                    at: first,
                })
                .await;
        }
        loop {
            let news = self.news.borrow_and_update().clone();
            self.notice(&news)?;
            let until = self.verified(first).await?;
            if until > first {
                let until = layout.range_of(PieceIndex(until.0 - 1)).end();
                self.was_given = true;
                return Ok(ByteRange::new(at, until).expect("the piece of `at` is held"));
            }
            if let Some(failed) = news.failed {
                return Err(failed);
            }
            if self.news.changed().await.is_err() {
                return Err(Arc::new(TaskError::Stopping));
            }
        }
    }

    /// How far pieces go on from `first` that may be read: none, if it is not here. What an unclean boot put in doubt is
    /// hashed first, beside the runtime; if it is lost, the core hears of it.
    async fn verified(&self, first: PieceIndex) -> Result<PieceIndex, Arc<TaskError>> {
        let content = &self.task.content;
        let until = content.sound_until(first);
        if until > first || !content.have().contains(first) {
            return Ok(until);
        }
        let doubtful = content.clone();
        let verify = move || doubtful.verify_run(PieceRun::one(first));
        match self.blocking(verify).await? {
            Ok(()) => Ok(PieceIndex(first.0 + 1).max(content.sound_until(first))),
            Err(cause) => self.lost(cause).await.map(|()| first),
        }
    }

    /// The bytes of `range`, which [`TaskReader::ready`] gave. A piece that was lost since comes again first.
    pub async fn read(&mut self, range: ByteRange) -> Result<Bytes, Arc<TaskError>> {
        loop {
            let content = self.task.content.clone();
            let length = usize::try_from(range.length().0).unwrap_or(usize::MAX);
            let read = move || {
                let mut bytes = BytesMut::zeroed(length);
                content.read_at(range.start(), &mut bytes)?;
                Ok(bytes.freeze())
            };
            match self.blocking(read).await? {
                Ok(bytes) => return Ok(bytes),
                Err(cause) => self.lost(cause).await?,
            }
            let mut at = range.start();
            while at < range.end() {
                at = self.ready(at).await?.end();
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Arc<TaskError>> {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|cause| Arc::new(TaskError::Store(Arc::new(cause))))
    }

    /// A stored piece could not be read. One that is lost comes again once the core knows.
    async fn lost(&self, cause: ReadError) -> Result<(), Arc<TaskError>> {
        let ReadError::Missing(piece) = cause else {
            return Err(Arc::new(TaskError::Store(Arc::new(cause))));
        };
        let task = self.task.spec.task;
        self.handle.tell(Command::Lost { task, piece }).await;
        Ok(())
    }

    /// Verified bytes by where they came from: those of its run that were here when this reader began, and what came of
    /// the task since from peers and from the origin.
    pub fn bytes(&self) -> (u64, u64, u64) {
        let (_, peer, origin) = self.task.bytes();
        let begun = &self.begun;
        (begun.local, peer - begun.peer, origin - begun.origin)
    }

    /// Whether what this reader was told is void. Said once.
    fn notice(&mut self, news: &News) -> Result<(), Arc<TaskError>> {
        let is_void = self.voids != news.voids && self.was_given;
        self.voids = news.voids;
        self.was_given &= !is_void;
        if is_void {
            Err(Arc::new(TaskError::Voided))
        } else {
            Ok(())
        }
    }

    /// Waits until the whole is here and was hashed on this host, and gives that digest.
    pub async fn proven(&mut self) -> Result<Digest, Arc<TaskError>> {
        self.task.want_digest();
        self.told(|news| news.proven).await
    }

    /// Waits until the whole is here and was hashed on this host, or folds to what a seed sealed; gives the digest that
    /// it was asked by. For consumers that verify by themselves.
    pub async fn vouched(&mut self) -> Result<Option<Digest>, Arc<TaskError>> {
        let asked = self.task.spec.digest;
        self.told(|news| (news.sealed || news.proven.is_some()).then_some(asked))
            .await
    }

    /// Waits for news that say it all.
    async fn told<T>(&mut self, all: impl Fn(&News) -> Option<T>) -> Result<T, Arc<TaskError>> {
        loop {
            let news = self.news.borrow_and_update().clone();
            self.notice(&news)?;
            if let Some(told) = all(&news) {
                return Ok(told);
            }
            if let Some(failed) = news.failed {
                return Err(failed);
            }
            if self.news.changed().await.is_err() {
                return Err(Arc::new(TaskError::Stopping));
            }
        }
    }
}
