//! Calls beside the stream: certificates, and what administrators ask for.

use std::net::SocketAddr;

use types::{HostId, Secret, Topology};

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
