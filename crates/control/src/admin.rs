//! Calls beside the stream: certificates, and what administrators ask for.

use std::{net::SocketAddr, time::Duration};

use types::{Epoch, HostId, Layout, Secret, TaskId, Topology};

/// What somebody without a certificate sends to get one. The fields are `identity`'s; here they are only carried.
#[derive(Clone, Debug)]
pub struct EnrolRequest {
    /// The public key.
    pub host: Vec<u8>,
    /// The text of the join token.
    pub token: Secret<Vec<u8>>,
    /// Random bytes.
    pub nonce: Vec<u8>,
    /// The proof that the key is held.
    pub proof: Vec<u8>,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolAnswer {
    /// The host's certificate.
    pub certificate: Vec<u8>,
    /// The authority's certificate.
    pub authority: Vec<u8>,
    /// The newest list of revocations; empty if there is none.
    pub revocations: Vec<u8>,
}

/// A join token to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MintToken {
    /// The role it grants.
    pub role: String,
    /// How many hosts it admits.
    pub uses: u32,
    /// How long it lives.
    pub ttl: Duration,
}

/// A join token that was made.
#[derive(Debug)]
pub struct MintedToken {
    /// To list or revoke it by.
    pub id: String,
    /// The token, shown once.
    pub text: Secret<String>,
}

/// What may be known of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Which one.
    pub id: String,
    /// What it makes of a host.
    pub role: String,
    /// How many hosts it may still admit.
    pub uses_left: u32,
    /// When it ends, since 1970.
    pub expires_at: Duration,
}

/// A task in one cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskView {
    /// The task.
    pub task: TaskId,
    /// Its layout, if known.
    pub layout: Option<Layout>,
    /// Who takes part.
    pub members: Vec<TaskMember>,
    /// Who imports, under which lease.
    pub importer: Option<(HostId, Epoch)>,
}

/// A member of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskMember {
    /// Who.
    pub host: HostId,
    /// Verified pieces, as last told; not kept for complete members.
    pub have: u32,
    /// Whether it holds everything.
    pub is_complete: bool,
    /// How many neighbours it has.
    pub neighbours: u32,
}

/// A host that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostView {
    /// Who.
    pub host: HostId,
    /// Where it stands.
    pub topology: Topology,
    /// Whether it is a seed.
    pub is_seed: bool,
    /// Tasks it waits for.
    pub running: u32,
    /// Tasks it holds.
    pub holdings: u32,
    /// Where others find it; none if it has not joined yet.
    pub addresses: Vec<SocketAddr>,
    /// Whether it is lowered by blame.
    pub is_low: bool,
}
