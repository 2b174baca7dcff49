//! What a host says to its scheduler. The caller's certificate names the host: no message does.

use std::{net::SocketAddr, time::Duration};

use types::{
    ByteCount, Digest, Epoch, HostId, Layout, Source, TaskId, Topology, Validator, Visibility,
};

/// One message of a host. It travels with the moment it was sent at, see [`crate::Stamped`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMessage {
    /// The first message of a stream.
    Join(Join),
    /// The second: what the host has, holds and wants.
    Inventory(Inventory),
    /// A task is asked for, or there is news about it.
    Ask(Ask),
    /// How far the host is; renews its lease.
    Progress(Progress),
    /// The lease holder learnt the content's length.
    Resolved {
        /// The task.
        task: TaskId,
        /// Its layout.
        layout: Layout,
    },
    /// The lease holder gives up after a failure of the origin.
    LeaseFailed(LeaseFailed),
    /// The lease holder has stopped reading.
    LeaseReturned {
        /// The task.
        task: TaskId,
        /// Which lease.
        epoch: Epoch,
    },
    /// What the host holds completely has changed.
    Holdings {
        /// Complete now.
        added: Vec<TaskId>,
        /// Evicted or deleted.
        removed: Vec<TaskId>,
    },
    /// Whose word the host accepted for pieces of a task that a digest names, for a scheduler that was not there when they
    /// were named importers.
    Vouchers {
        /// The task.
        task: TaskId,
        /// The digest that names it.
        digest: Digest,
        /// Who vouches for pieces of it: at most [`HostMessage::VOUCHERS_MAX`].
        importers: Vec<HostId>,
    },
    /// The host takes no part in the task any more, or as a recruited seed cannot.
    Left {
        /// The task.
        task: TaskId,
    },
    /// A host misbehaved: bytes that do not match, broken promises. One host's word.
    Blame {
        /// The accused.
        of: HostId,
    },
    /// The whole that a host vouched for does not have its digest: somebody else is to import that task. An accusation
    /// follows once it is known which pieces were wrong.
    Doubt {
        /// Who vouched for it.
        of: HostId,
        /// Which task.
        task: TaskId,
    },
    /// Any host asks what the origin says of a public source. Answered by [`crate::SchedulerMessage::Look`] or, when
    /// another host knows, [`crate::SchedulerMessage::Looked`].
    Look {
        /// Which.
        source: Source,
    },
    /// What a host saw at the origin: the host that was told to look, or one that found another answer than it was told.
    Looked {
        /// Of which source.
        source: Source,
        /// None if it could not tell: then everybody looks by itself.
        found: Option<Found>,
    },
    /// A sign of life, answered by a pong that echoes its moment.
    Ping,
    /// The host leaves and has stopped importing.
    Goodbye,
}

impl HostMessage {
    /// Importers that one host tells of one task.
    pub const VOUCHERS_MAX: usize = 16;
}

/// What an origin says of public content. Nobody's word but the origin's own counts in the end: who reads the content
/// finds out whether this is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The content's length.
    pub length: ByteCount,
    /// Its version, if the origin tells one; fit to travel, see [`Found::of`].
    pub validator: Option<Validator>,
}

impl Found {
    /// Bytes of a validator's text.
    pub const VALIDATOR_MAX: usize = 1024;

    /// What was found, unless it is too odd to travel: a version that is no short line of ASCII, or content that is too
    /// long.
    pub fn of(length: ByteCount, validator: Option<Validator>) -> Option<Self> {
        let is_line = |text: &str| {
            let fits = !text.is_empty() && text.len() <= Self::VALIDATOR_MAX;
            fits && text.bytes().all(|c| c == b' ' || c.is_ascii_graphic())
        };
        let is_fit = match &validator {
            None => true,
            Some(Validator::ETag(tag)) => is_line(tag),
            Some(Validator::Modified { at, length: told }) => is_line(at) && *told == length.0,
        };
        (is_fit && Layout::of(length).is_ok()).then_some(Self { length, validator })
    }
}

/// A host that joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Where it stands.
    pub topology: Topology,
    /// Whether it wants to serve as a seed; believed only of a host whose certificate says so.
    pub is_seed: bool,
    /// Where its peers find it: at least one, at most [`Join::LISTEN_MAX`]. An unspecified IP stands for the address
    /// that the scheduler sees.
    pub listen: Vec<SocketAddr>,
    /// Neighbours per task it can bear.
    pub capacity: u16,
    /// Its program's version, for people.
    pub version: String,
}

impl Join {
    /// Addresses one host may have.
    pub const LISTEN_MAX: usize = 8;
}

/// What a host has, holds and wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Leases it holds at this moment; at most [`Inventory::RUNNING_MAX`].
    pub leases: Vec<LeaseClaim>,
    /// Tasks it waits for; at most [`Inventory::RUNNING_MAX`].
    pub running: Vec<Ask>,
    /// Tasks it holds completely; at most [`Inventory::HOLDINGS_MAX`].
    pub holdings: Vec<TaskId>,
}

impl Inventory {
    /// Tasks a host may wait for at once.
    pub const RUNNING_MAX: usize = 1024;
    /// Tasks in one list of holdings; more are announced by later [`HostMessage::Holdings`].
    pub const HOLDINGS_MAX: usize = 16_384;
}

/// A lease from before a reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseClaim {
    /// The task.
    pub task: TaskId,
    /// Its epoch.
    pub epoch: Epoch,
    /// How long it is still valid, by the holder's clock.
    pub remaining: Duration,
}

/// That a host wants a task, and what it can do for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which task.
    pub task: TaskId,
    /// Where it can be read, without secrets: what a recruited seed is told.
    pub source: Option<Source>,
    /// Its layout, if known.
    pub layout: Option<Layout>,
    /// With what rights this host could read it.
    pub can_import: CanImport,
    /// What the host has of it.
    pub have: Have,
    /// Whether the origin wants credentials for it.
    pub visibility: Visibility,
    /// The content's digest, if known.
    pub digest: Option<Digest>,
}

/// With what rights a host can read a task's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanImport {
    /// Not at all.
    No,
    /// As anybody.
    Anonymous,
    /// With credentials of its own.
    Credentialed,
}

/// What a host has of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Have {
    /// Nothing.
    None,
    /// So many verified pieces: one or more.
    Some(u32),
    /// Everything.
    All,
}

/// A report of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The task.
    pub task: TaskId,
    /// Verified pieces it has.
    pub have: u32,
    /// The lease it holds.
    pub lease: Option<Epoch>,
    /// Pieces it read from the origin under this lease.
    pub imported: u32,
    /// Pieces that neither it nor any neighbour has. With 0 the lease ends.
    pub left: u32,
}

/// A failed import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseFailed {
    /// The task.
    pub task: TaskId,
    /// Which lease.
    pub epoch: Epoch,
    /// What the origin said.
    pub cause: OriginFailure,
    /// Whether asking again with the same rights would fail the same way.
    pub permanent: bool,
}

/// Why the origin did not give the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginFailure {
    /// There is no such content.
    #[error("the origin does not have it")]
    NotFound,
    /// The origin refuses these rights.
    #[error("the origin refuses access")]
    Denied,
    /// A policy of the operator forbids this origin.
    #[error("policy forbids this origin")]
    Forbidden,
    /// Wrong digest or length.
    #[error("the origin's content does not match its name")]
    Mismatch,
    /// No answer, or one that breaks off.
    #[error("the origin cannot be reached")]
    Unreachable,
    /// The origin asks for patience.
    #[error("the origin is overloaded")]
    Overloaded,
}
