//! What a scheduler says to a host.

use std::{net::SocketAddr, time::Duration};

use types::{
    ClusterId, Digest, Epoch, HostId, Layout, Moment, PieceRun, Source, TaskId, Topology,
    Visibility,
};

use crate::host_message::{Found, OriginFailure};

/// One message of a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchedulerMessage {
    /// The stream's first message, in answer to the join.
    Welcome {
        /// The cluster.
        cluster: ClusterId,
        /// Another number after each start of the scheduler.
        instance: u64,
    },
    /// The ask has arrived and is remembered.
    Queued {
        /// For what.
        task: TaskId,
        /// The layout, if known.
        layout: Option<Layout>,
    },
    /// The ask, the holding or the join was not taken.
    Refused {
        /// For which task; none for a join.
        task: Option<TaskId>,
        /// Why.
        cause: Refusal,
    },
    /// Changes to the host's neighbours in a task.
    Introduce(Introduce),
    /// The host may import. It ignores a grant whose term is counted from before its last join, or before the ask
    /// with which it last began to wait.
    Grant {
        /// The task.
        task: TaskId,
        /// What it may read, and how long.
        lease: Lease,
    },
    /// The lease lasts longer; a host that does not hold it ignores this.
    Renew {
        /// The task.
        task: TaskId,
        /// Which lease.
        epoch: Epoch,
        /// The new term.
        term: Term,
    },
    /// The lease ends: stop reading and answer [`crate::HostMessage::LeaseReturned`].
    Revoke {
        /// The task.
        task: TaskId,
        /// Which lease.
        epoch: Epoch,
    },
    /// Nobody can get this content; the host is no longer a member of the task.
    Fail {
        /// The task.
        task: TaskId,
        /// Why.
        cause: FailCause,
    },
    /// A seed is asked to join a task it does not take part in; it decides by its own policy, and asks if it will.
    Recruit(Recruit),
    /// A host became the task's importer: its word counts for the task's pieces.
    Importer {
        /// The task.
        task: TaskId,
        /// Who.
        host: HostId,
    },
    /// In answer to [`crate::HostMessage::Look`]: nobody knows yet. The host looks itself and tells what it found.
    Look {
        /// At which source.
        source: Source,
    },
    /// In answer to [`crate::HostMessage::Look`]: what another host found.
    Looked {
        /// At which source.
        source: Source,
        /// What.
        found: Found,
    },
    /// The seeds that are here: for the host's disk, against the day no scheduler answers.
    Members {
        /// At most [`Introduce::HOSTS_MAX`].
        seeds: Vec<Neighbour>,
    },
    /// Certificates of hosts that are, or were, seeds, here or gone: who gets them holds them against the authority.
    Certificates(Vec<Vec<u8>>),
    /// The newest list of revocations, as signed.
    Revocations(Vec<u8>),
    /// The answer to a ping.
    Pong {
        /// The ping's own moment.
        sent: Moment,
    },
}

impl SchedulerMessage {
    /// The most certificates in one message.
    pub const CERTIFICATES_MAX: usize = 1024;
    /// The longest one, in bytes.
    pub const CERTIFICATE_MAX: usize = 2048;
}

/// Changes to a host's neighbours in a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduce {
    /// The task.
    pub task: TaskId,
    /// Whether to forget all neighbours of the task first.
    pub reset: bool,
    /// New neighbours.
    pub add: Vec<Neighbour>,
    /// Neighbours to forget.
    pub remove: Vec<HostId>,
}

impl Introduce {
    /// Hosts in one list.
    pub const HOSTS_MAX: usize = 1024;
}

/// A host and where it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Who.
    pub host: HostId,
    /// Where: at least one address.
    pub addresses: Vec<SocketAddr>,
    /// Where it stands.
    pub topology: Topology,
}

/// The right to import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Larger than that of every earlier lease.
    pub epoch: Epoch,
    /// The pieces; its count is `u32::MAX` while the layout is unknown.
    pub run: PieceRun,
    /// How long it lasts.
    pub term: Term,
}

/// How long a lease lasts: the holder stops when its own clock shows [`Term::ends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// A moment on the holder's clock, echoed from a message that the scheduler has received.
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

/// A seed is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recruit {
    /// The task.
    pub task: TaskId,
    /// Where it can be read.
    pub source: Source,
    /// Its layout, if known.
    pub layout: Option<Layout>,
    /// The content's digest, if known.
    pub digest: Option<Digest>,
    /// Whether the origin wants credentials for it.
    pub visibility: Visibility,
}
