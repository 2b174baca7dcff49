//! The digest of the whole, hashed as the prefix grows, so that it is known soon after the last byte.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use store::ReadError;
use types::{ByteRange, Digest, DigestAlgorithm, PieceIndex};

use crate::task::Task;

/// Bytes hashed at a time.
const STEP: usize = 256 << 10;

/// Hashes all of `task` in order, waiting for what is missing, and gives the digest by the function it was asked by;
/// BLAKE3, which the piece table folds to, if it was asked by none. `None` if the task ends first.
pub(crate) async fn prove(task: Arc<Task>) -> Option<Result<Digest, ReadError>> {
    let layout = task.spec.layout;
    let hashes = task
        .spec
        .digest
        .is_some_and(|digest| digest.algorithm() == DigestAlgorithm::Sha256);
    let mut news = task.news();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; STEP];
    let mut next = PieceIndex(0);
    loop {
        if news.borrow_and_update().failed.is_some() {
            return None;
        }
        let have = task.content.have();
        let until = have
            .first_missing(next)
            .unwrap_or(PieceIndex(layout.piece_count()));
        for piece in (next.0..until.0).map(PieceIndex).filter(|_| hashes) {
            let range = layout.range_of(piece);
            if let Err(cause) =
                tokio::task::block_in_place(|| hash(&task, range, (&mut hasher, &mut buffer)))
            {
                return Some(Err(cause));
            }
            tokio::task::yield_now().await;
        }
        next = until;
        if next.0 == layout.piece_count() {
            break;
        }
        news.changed().await.ok()?;
    }
    if hashes {
        return Some(Ok(Digest::sha256(hasher.finalize().into())));
    }
    task.content.table().map(|table| Ok(table.root()))
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
