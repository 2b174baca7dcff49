//! What the shell tells the brain, and what the brain asks of the shell.

use std::time::Duration;

use types::{Epoch, HostId, Layout, Moment, PieceRun, TaskId, Topology, Visibility};

/// What happened. Events of hosts that never joined, or about tasks they do not take part in, change nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing but time passed.
    Tick,
    /// A host opened its stream. A host that was known is first taken as lost. Its [`Event::Inventory`] follows at
    /// once, empty or not: a lease it does not claim there is taken as given up. It has forgotten the neighbours of
    /// tasks that it holds completely, and keeps those of tasks it waits for until it is told.
    Join(Join),
    /// Any message of a host arrived; the shell passes this before the message's own event.
    Heard {
        /// Who sent it.
        host: HostId,
        /// The host's own clock when it sent the message, made strictly larger from message to message. Only ever
        /// echoed to that host, in a [`Term`].
        sent: Moment,
    },
    /// What a host has, holds and wants, once after it joined.
    Inventory(Inventory),
    /// A host says it leaves: it has stopped importing.
    Goodbye {
        /// Who leaves.
        host: HostId,
    },
    /// A host's stream ended without a goodbye, and the shell no longer expects it back.
    Lost {
        /// Who is gone.
        host: HostId,
    },
    /// A host wants a task, or has it. Asking again is harmless and is answered in full.
    Ask {
        /// Who asks.
        host: HostId,
        /// For what.
        ask: Ask,
    },
    /// How far a host is; renews its lease, if it has one, also when nothing changed.
    Progress(Progress),
    /// The lease holder learnt the content's length.
    Resolved {
        /// The lease holder; others are not believed.
        host: HostId,
        /// The task.
        task: TaskId,
        /// Its layout.
        layout: Layout,
    },
    /// The lease holder gives up after a failure of the origin.
    LeaseFailed(LeaseFailed),
    /// A lease's holder has stopped reading: it was revoked, or has nothing left to import.
    LeaseReturned(LeaseReturned),
    /// What a host holds completely has changed.
    Holdings(Holdings),
    /// A host takes no part in a task any more: it gave up, or finished and keeps nothing, or it is a seed that was
    /// recruited and cannot read the origin.
    Left {
        /// The host.
        host: HostId,
        /// The task.
        task: TaskId,
    },
    /// A host accuses another.
    Blame(Blame),
    /// A host hashed the whole and found it wrong.
    Doubt(Doubt),
}

/// A host that joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Who.
    pub host: HostId,
    /// Where it stands.
    pub topology: Topology,
    /// Whether it has the seed role: preferred for reading origins.
    pub is_seed: bool,
    /// Neighbours per task it can bear; the policy's degree if that is less.
    pub capacity: u16,
    /// The host's own clock when it sent this.
    pub sent: Moment,
}

/// A host's wish for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which task.
    pub task: TaskId,
    /// Whether the task is named by the digest of its content, so that every host can check the whole. Of other content
    /// only a seed's word counts, and nobody else imports it.
    pub by_digest: bool,
    /// Whether this host could read the origin.
    pub can_import: CanImport,
    /// What it already has.
    pub have: Have,
    /// Whether the origin wants credentials for it. An anonymous importer is no importer of private content.
    pub visibility: Visibility,
    /// The layout, if the host knows it; believed until an importer resolves it.
    pub layout: Option<Layout>,
}

/// With what rights a host can read a task's origin. Credentials themselves never travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// So many verified pieces.
    Some(u32),
    /// Everything: the host holds it and waits for nothing.
    All,
}

/// What a host tells after joining.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// The host.
    pub host: HostId,
    /// Leases it holds at this moment.
    pub leases: Vec<LeaseClaim>,
    /// Tasks it waits for.
    pub running: Vec<Ask>,
    /// Tasks it holds completely.
    pub holdings: Vec<TaskId>,
}

/// A lease that a host holds from before a reconnect or a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseClaim {
    /// The task.
    pub task: TaskId,
    /// The lease's epoch.
    pub epoch: Epoch,
    /// How long it is still valid, by the holder's clock when it sent this. At most the policy's length is believed.
    pub remaining: Duration,
}

/// A report of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The host.
    pub host: HostId,
    /// The task.
    pub task: TaskId,
    /// Verified pieces it has.
    pub have: u32,
    /// The lease it holds. With the right one this report renews it; the two numbers below count only then.
    pub lease: Option<Epoch>,
    /// Pieces it read from the origin under this lease.
    pub imported: u32,
    /// Pieces that neither it nor any neighbour has. With 0 the lease ends: there is nothing left to import.
    pub left: u32,
}

/// A failed import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseFailed {
    /// The lease holder; others are not believed.
    pub host: HostId,
    /// The task.
    pub task: TaskId,
    /// Which lease.
    pub epoch: Epoch,
    /// What the origin said.
    pub cause: OriginFailure,
    /// Whether this host would fail the same way again. It counts as a voice on the origin if the cause is the origin's own
    /// answer.
    pub permanent: bool,
}

/// A lease that is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseReturned {
    /// Who held it.
    pub host: HostId,
    /// The task.
    pub task: TaskId,
    /// Which lease.
    pub epoch: Epoch,
}

/// A change of a host's complete holdings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// The host.
    pub host: HostId,
    /// Complete now, whether it waited for them or not. It has stopped importing them.
    pub added: Vec<TaskId>,
    /// Evicted or deleted.
    pub removed: Vec<TaskId>,
}

/// An accusation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blame {
    /// The reporter.
    pub by: HostId,
    /// The accused.
    pub of: HostId,
}

/// A word on who imported something wrong. It moves the import of one task elsewhere and lowers nobody: the origin may
/// be what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The reporter; one who takes no part in the task is not believed.
    pub by: HostId,
    /// Who vouched for what was wrong.
    pub of: HostId,
    /// The task.
    pub task: TaskId,
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
    /// What came is not what was named: wrong digest or length.
    #[error("the origin's content does not match its name")]
    Mismatch,
    /// No answer, or an answer that breaks off.
    #[error("the origin cannot be reached")]
    Unreachable,
    /// The origin asks for patience.
    #[error("the origin is overloaded")]
    Overloaded,
}

impl OriginFailure {
    /// Whether the origin itself has answered so, to anybody with the same rights. The rest is one host's view: its policy,
    /// its network, its disk.
    pub const fn is_of_origin(self) -> bool {
        matches!(self, Self::NotFound | Self::Denied | Self::Mismatch)
    }
}

/// What the shell is to send. Everything is addressed to one host; a shell that cannot reach it drops the action and
/// reports the host as lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The ask has arrived and is remembered.
    Queued {
        /// Who asked.
        host: HostId,
        /// For what.
        task: TaskId,
        /// The layout, if known.
        layout: Option<Layout>,
    },
    /// The ask, the holding or the join was not taken.
    Refused {
        /// Who is refused.
        host: HostId,
        /// For which task; none for a join.
        task: Option<TaskId>,
        /// Why.
        cause: Refusal,
    },
    /// Changes to a host's neighbours in a task. Both ends of an edge are told, not at the same moment.
    Introduce {
        /// Who is told.
        host: HostId,
        /// For which task.
        task: TaskId,
        /// Whether to forget all neighbours of the task first.
        reset: bool,
        /// New neighbours, sorted.
        add: Vec<HostId>,
        /// Neighbours to forget, sorted.
        remove: Vec<HostId>,
    },
    /// The host may import. It ignores a grant whose term is counted from before its last [`Event::Join`], or before
    /// the [`Event::Ask`] with which it last began to wait: that one was on its way while the host had left, and
    /// another may have the lease by now.
    Grant {
        /// The new importer.
        host: HostId,
        /// The task.
        task: TaskId,
        /// What it may read, and how long.
        lease: Lease,
    },
    /// The lease lasts longer.
    Renew {
        /// The importer.
        host: HostId,
        /// The task.
        task: TaskId,
        /// Which lease; a host that does not hold it ignores this.
        epoch: Epoch,
        /// The new term.
        term: Term,
    },
    /// The lease ends: stop reading and answer [`Event::LeaseReturned`]. Without an answer it ends by time.
    Revoke {
        /// The importer.
        host: HostId,
        /// The task.
        task: TaskId,
        /// Which lease.
        epoch: Epoch,
    },
    /// A seed that takes no part in the task is asked to: it decides by itself, and asks if it will.
    Recruit {
        /// The seed.
        host: HostId,
        /// The task.
        task: TaskId,
    },
    /// Nobody can get this content; the host is no longer a member of the task.
    Fail {
        /// Who waited.
        host: HostId,
        /// For what.
        task: TaskId,
        /// Why.
        cause: FailCause,
    },
}

impl Action {
    /// Whom the action is for.
    pub const fn host(&self) -> HostId {
        match self {
            Self::Queued { host, .. }
            | Self::Refused { host, .. }
            | Self::Introduce { host, .. }
            | Self::Grant { host, .. }
            | Self::Renew { host, .. }
            | Self::Revoke { host, .. }
            | Self::Recruit { host, .. }
            | Self::Fail { host, .. } => *host,
        }
    }
}

/// The right to import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Unique to this grant, and larger than that of every earlier lease.
    pub epoch: Epoch,
    /// The pieces to import, less those the holder's neighbours have: the whole task. Its count is `u32::MAX` while
    /// the layout is unknown.
    pub run: PieceRun,
    /// How long it lasts.
    pub term: Term,
}

/// How long a lease lasts: the holder stops when its own clock shows `counted_from + valid_for - margin`.
///
/// The start is an echo of the holder's own clock, from a message that the scheduler has already received. However
/// long this term travels, the holder therefore stops before the scheduler believes it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// A moment on the holder's clock.
    pub counted_from: Moment,
    /// The lease's length from then.
    pub valid_for: Duration,
    /// To be taken off, against clocks that run at different speeds.
    pub margin: Duration,
}

impl Term {
    /// When the holder must have stopped, on its own clock.
    pub fn ends(&self) -> Moment {
        self.counted_from + self.valid_for.saturating_sub(self.margin)
    }
}

/// Why nobody gets the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailCause {
    /// No live member has it or may read its origin.
    #[error("no live host has the content or may read its origin")]
    NobodyCanImport,
    /// All who may read the origin got a lasting refusal.
    #[error("every host that may read the origin failed: {0}")]
    Origin(OriginFailure),
}

/// Why an ask or a join is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The host waits for as many tasks as it may.
    #[error("the host waits for too many tasks at once")]
    TooManyRunning,
    /// The host holds as many tasks as are remembered.
    #[error("the host holds more tasks than are remembered")]
    TooManyHoldings,
    /// The host asks too often.
    #[error("the host asks too often; another ask is possible after {retry_after:?}")]
    TooFast {
        /// When the next ask has a chance.
        retry_after: Duration,
    },
    /// The scheduler has as many hosts as it carries.
    #[error("the scheduler carries no more hosts")]
    TooManyHosts,
}
