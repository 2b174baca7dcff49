//! A local reader's place in a task: it waits for verified bytes and tells the core where it stands.

use std::sync::Arc;

use swarm::download::ReaderNo;
use tokio::sync::{oneshot, watch};
use types::{ByteRange, Digest, PieceIndex};

use crate::{
    handle::{Command, Handle},
    task::{News, Task, TaskError},
};

/// One reader of one task. Dropping it withdraws its demand and its hold on the content.
pub struct TaskReader {
    task: Arc<Task>,
    handle: Handle,
    number: ReaderNo,
    news: watch::Receiver<News>,
    at: Option<PieceIndex>,
    /// Dropped with the reader: the core sees it and forgets the demand.
    _open: oneshot::Sender<()>,
}

impl TaskReader {
    pub(crate) fn new(
        task: Arc<Task>,
        handle: Handle,
        number: ReaderNo,
        open: oneshot::Sender<()>,
    ) -> Self {
        let news = task.news();
        Self {
            task,
            handle,
            number,
            news,
            at: None,
            _open: open,
        }
    }

    /// What it reads.
    pub fn task(&self) -> &Arc<Task> {
        &self.task
    }

    /// Waits until the byte `at` is verified, and says how far verified bytes go on from there.
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
            let failed = self.news.borrow_and_update().failed.clone();
            let have = self.task.content.have();
            if have.contains(first) {
                let missing = have
                    .first_missing(first)
                    .unwrap_or(PieceIndex(layout.piece_count()));
                let until = layout.range_of(PieceIndex(missing.0 - 1)).end();
                return Ok(ByteRange::new(at, until).expect("the piece of `at` is held"));
            }
            if let Some(failed) = failed {
                return Err(failed);
            }
            if self.news.changed().await.is_err() {
                return Err(Arc::new(TaskError::Stopping));
            }
        }
    }

    /// Waits until the whole is here and was hashed on this host, and gives that digest.
    pub async fn proven(&mut self) -> Result<Digest, Arc<TaskError>> {
        loop {
            let news = self.news.borrow_and_update().clone();
            if let Some(digest) = news.proven {
                return Ok(digest);
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
