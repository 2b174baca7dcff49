//! What a door needs to read content: the daemon implements these traits, every door uses them.

use std::{error::Error, io, os::fd::OwnedFd, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use types::{ByteCount, ByteRange, Digest, TaskId};

use crate::{ask::ContentAsk, upstream::OriginAnswer};

/// Turns an ask into content: from the store, the swarm or the origin.
pub trait ContentReader: Send + Sync {
    /// Finds or starts the task and answers as soon as its length and a live source are known.
    ///
    /// Dropping the future, or the reader it gave, withdraws the demand.
    fn open<'a>(&'a self, ask: &'a ContentAsk) -> BoxFuture<'a, Result<Opened, OpenError>>;

    /// Says what [`ContentReader::open`] would give, without a demand for its bytes.
    fn describe<'a>(&'a self, ask: &'a ContentAsk)
    -> BoxFuture<'a, Result<Description, OpenError>>;
}

/// What is known of content once it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The task that distributes it.
    pub task: TaskId,
    /// The length of the whole.
    pub length: ByteCount,
    /// The media type the origin gave, if it did.
    pub content_type: Option<String>,
}

/// Content that can be read.
pub struct Opened {
    /// What it is.
    pub description: Description,
    /// The way to its bytes.
    pub reader: Box<dyn VerifiedReader>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_tuple("Opened").field(&self.description).finish()
    }
}

/// One consumer's demand for one content. It keeps the bytes it spoke of from being evicted until it is dropped, and
/// dropping it withdraws the demand.
pub trait VerifiedReader: Send {
    /// Waits until the byte `at` is verified and says how far verified bytes go on: a range that starts at `at` and is
    /// not empty. `at` is below the length. Tells the daemon what is wanted next.
    ///
    /// Errors come only when no source is left. Dropped early, nothing is lost.
    fn ready(&mut self, at: u64) -> BoxFuture<'_, Result<ByteRange, ReadError>>;

    /// The bytes of `range`, which lies within what [`VerifiedReader::ready`] said.
    fn read(&mut self, range: ByteRange) -> BoxFuture<'_, Result<Bytes, ReadError>>;

    /// Waits until the whole content has the proof that its consumer needs, and gives the digest if there is one.
    ///
    /// A consumer of the whole holds its last bytes back until this says yes.
    fn finish(&mut self, proof: Proof) -> BoxFuture<'_, Result<Option<Digest>, ReadError>>;

    /// A new descriptor of the content file, opened for reading only. Offsets are those of the content; only ranges
    /// that [`VerifiedReader::ready`] gave hold its bytes.
    fn descriptor(&self) -> io::Result<OwnedFd>;

    /// Where the bytes that this reader waited for came from, so far.
    fn sources(&self) -> SourceBytes;

    /// Whether some of what came from the origin is of use to this host alone: no digest names it, and no seed vouches for
    /// it.
    fn is_unshared(&self) -> bool {
        false
    }

    /// Once it is whole: how near it came to the least possible time, if that is known.
    fn efficiency(&self) -> Option<Efficiency> {
        None
    }
}

/// How near a finished task came to the least time that this host knows of.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Efficiency {
    /// The least time by the time it took, 1 at most.
    pub share: f64,
    /// What sets that least time.
    pub bound: Bound,
}

/// What bounds the speed of a task on one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The best that this host ever received at.
    Link,
    /// What an operator allows from other hosts.
    Limit,
    /// The best that origins ever gave to this host.
    Origin,
}

/// What a consumer of the whole content needs before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A seal of a host that is trusted with it, or the own digest: for consumers that verify themselves.
    Sealed,
    /// The digest computed on this host: for what gets a file name.
    OwnDigest,
}

/// Bytes by where they came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SourceBytes {
    /// Already in this host's store.
    pub local: u64,
    /// From other hosts.
    pub peer: u64,
    /// From the origin.
    pub origin: u64,
}

/// Why content could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The origin says that it does not exist, and nobody holds it.
    #[error("the origin does not have it")]
    NotFound(#[source] Box<dyn Error + Send + Sync>),
    /// The origin wants credentials, or refuses those it was shown. Its answer is relayed as it came.
    #[error("the origin answered {}", .0.status)]
    Denied(Box<OriginAnswer>),
    /// The origin asks for patience and nobody else has the content.
    #[error("the origin is busy")]
    OriginBusy {
        /// How long it asked for.
        retry_after: Option<Duration>,
        /// In its own words.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
    /// No source could be reached.
    #[error("no source can be reached")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// This host's disk cannot take it, and its consumer needs a file.
    #[error("this host's disk cannot take it")]
    NoRoom(#[source] Box<dyn Error + Send + Sync>),
    /// A rule that an operator set forbids it.
    #[error("refused by policy: {0}")]
    Policy(String),
}

/// Why reading broke off. The bytes before it were good, unless the whole is not: `Corrupt` and `Voided`.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Every source is gone, and the origin too.
    #[error("no source is left")]
    NoSource(#[source] Box<dyn Error + Send + Sync>),
    /// The whole does not have the digest it was asked by.
    #[error(
        "what {} gives does not match {expected}{}",
        origin.as_deref().unwrap_or("the origin"), found_instead(found)
    )]
    Corrupt {
        /// What was asked for.
        expected: Digest,
        /// What the whole is, if this host had all of it.
        found: Option<Digest>,
        /// Where it was read, without secrets.
        origin: Option<String>,
    },
    /// What was said to be verified was not, and is fetched again: a consumer that can take it back begins anew.
    #[error("what was read so far is void: the whole did not match its digest")]
    Voided,
    /// The store could not read or write.
    #[error("the store failed")]
    Store(#[source] io::Error),
    /// The daemon is going away.
    #[error("the daemon is stopping")]
    Stopping,
}

fn found_instead(found: &Option<Digest>) -> String {
    found.map_or_else(String::new, |found| format!(": found {found}"))
}
