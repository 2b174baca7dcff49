//! The digest of the whole, hashed as the prefix grows, so that it is known soon after the last byte.
//!
//! Every piece is read here before the whole is called right: what an unclean boot put in doubt is hashed again. A piece
//! that turns out lost is told of, so that it comes again, and waited for.
//!
//! Where a seed vouches for the whole before this host could, and no reader here needs this host's own word, hashing
//! waits: first for the bytes, then until nobody waits for anything else.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use store::{DiskError, NoteError, Noting, ReadError};
use types::{ByteRange, Digest, DigestAlgorithm, PieceIndex, PieceRun, TaskId};

use crate::{
    core::{Event, Events},
    task::{News, Task},
    tasks::Tasks,
};

/// Bytes hashed at a time.
const STEP: usize = 256 << 10;

/// The hashing of one task.
pub(crate) struct Proof {
    pub(crate) task: Arc<Task>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) events: Events,
    /// A seed is whom the others' seals come from: it never waits.
    pub(crate) is_seed: bool,
}

impl Proof {
    /// Hashes all of the task in order, waiting for what is missing, and gives the digest by the function it was asked
    /// by; BLAKE3, which the piece table folds to, if it was asked by none. Of a content whose digest was computed by an
    /// earlier process only the pieces are checked. `None` if the task ends first: while it waits it does not keep the
    /// task.
    pub(crate) async fn run(self) -> Option<Result<Digest, ReadError>> {
        let Self {
            mut task,
            tasks,
            events,
            is_seed,
        } = self;
        let (mut news, mut busy) = (task.news(), tasks.busy());
        let weak = Arc::downgrade(&task);
        let mut whole = Whole::new(&task);
        loop {
            let is_busy = *busy.borrow_and_update();
            let seen = news.borrow_and_update().clone();
            if seen.failed.is_some() {
                return None;
            }
            if whole.next.0 == task.spec.layout.piece_count() {
                return whole.digest(&task).map(Ok);
            }
            let have = task.content.have();
            let may_wait = !is_seed && whole.hasher.is_some() && tasks.expects_seal(&task);
            if have.contains(whole.next) && (!may_wait || is_due(&seen, (have.is_full(), is_busy)))
            {
                match tokio::task::block_in_place(|| whole.take(&task)) {
                    Ok(()) => {}
                    Err(ReadError::Missing(piece)) => {
                        let id = task.spec.task;
                        events.tell(Event::Decayed { task: id, piece }).await;
                        // A part of it may have been hashed by then, and the digest that was known is that of other
                        // bytes.
                        whole = Whole::new(&task);
                    }
                    Err(cause) => return Some(Err(cause)),
                }
                tokio::task::yield_now().await;
                continue;
            }
            drop(task);
            tokio::select! {
                changed = news.changed() => changed.ok()?,
                changed = busy.changed() => changed.ok()?,
            }
            task = weak.upgrade()?;
        }
    }
}

/// Whether hashing is worth its time although a seal is here or will come.
fn is_due(news: &News, (is_full, is_busy): (bool, bool)) -> bool {
    // Whole and not sealed, its readers' last bytes wait for this.
    news.digest_wanted || (is_full && (!news.sealed || !is_busy))
}

/// The prefix that was looked at so far.
struct Whole {
    next: PieceIndex,
    /// None where the pieces alone tell the digest.
    hasher: Option<Sha256>,
    known: Option<Digest>,
    buffer: Vec<u8>,
}

impl Whole {
    fn new(task: &Task) -> Self {
        let known = task.content.is_complete();
        let known = known.then(|| task.spec.digest.or_else(|| task.content.digest()));
        let known = known.flatten();
        let is_sha256 = |digest: Digest| digest.algorithm() == DigestAlgorithm::Sha256;
        let hashes = known.is_none() && task.spec.digest.is_some_and(is_sha256);
        Self {
            next: PieceIndex(0),
            hasher: hashes.then(Sha256::new),
            known,
            buffer: vec![0; if hashes { STEP } else { 0 }],
        }
    }

    /// Looks at the next piece.
    fn take(&mut self, task: &Task) -> Result<(), ReadError> {
        let piece = self.next;
        task.content.verify_run(PieceRun::one(piece))?;
        if let Some(hasher) = &mut self.hasher {
            hash(
                task,
                task.spec.layout.range_of(piece),
                (hasher, &mut self.buffer),
            )?;
        }
        self.next = PieceIndex(piece.0 + 1);
        Ok(())
    }

    fn digest(self, task: &Task) -> Option<Digest> {
        match (self.known, self.hasher) {
            (Some(known), _) => Some(known),
            (None, Some(hasher)) => Some(Digest::sha256(hasher.finalize().into())),
            (None, None) => Some(task.content.table()?.root()),
        }
    }
}

fn hash(
    task: &Task,
    range: ByteRange,
    (hasher, buffer): (&mut Sha256, &mut [u8]),
) -> Result<(), ReadError> {
    let mut at = range.start();
    while at < range.end() {
        let count = usize::try_from(range.end() - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        task.content.read_at(at, &mut buffer[..count])?;
        hasher.update(&buffer[..count]);
        at += count as u64;
    }
    Ok(())
}

/// Notes that a content is whole, once its bytes are on the disk. It may be evicted meanwhile.
pub(crate) async fn note_whole(task: TaskId, content: Noting, digest: Digest) {
    match tokio::task::spawn_blocking(move || content.complete(digest)).await {
        Ok(Err(NoteError::Disk(DiskError::Closed))) | Ok(Ok(_)) | Err(_) => {}
        Ok(Err(cause)) => {
            tracing::warn!(task = ?task, error = &cause as &dyn std::error::Error, "completion was not noted");
        }
    }
}
