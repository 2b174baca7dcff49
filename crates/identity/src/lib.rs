//! Who is who: keys, certificates, enrolment, revocation, and the links between hosts that rest on them.
//!
//! A host is its Ed25519 key ([`NodeKey`]); the public half is its `HostId`. A cluster is a certificate authority
//! ([`ClusterCa`]) that turns host ids into certificates of 72 hours. A host gets its first one with a join token
//! ([`Bootstrap`]) and later ones over a link it already has; together they are its [`Identity`]. [`Links`] makes
//! mutually authenticated TLS 1.3 links out of TCP streams, and knows who was revoked and who is a seed.
//! [`Interception`] is another authority, of one machine, in whose name the proxy speaks for listed hosts.
//!
//! What the rest of the house relies on:
//! - No rustls, rcgen or X.509 type leaves this crate. Certificates are checked by rustls' own WebPKI verifiers with the
//!   cluster's authority as the only root; what we check ourselves comes on top and only ever refuses more.
//! - There is no plaintext mode and no switch that turns a check off.
//! - Key material that is missing a half, damaged, readable by others or of another cluster is an error with a remedy
//!   ([`LoadError`]), never a reason to make new keys.
//! - The authority is asked for names by nobody: it builds each certificate from a proven key and a token's role.
//!
//! Files are read and written synchronously (a few hundred bytes, with `fsync`): call [`ClusterCa`], [`TokenStore`] and
//! the `load` and `save` functions from a blocking thread once a runtime is running.

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, reason = "tests use small numbers")
)]

mod authority;
mod bootstrap;
mod ca;
mod certificate;
mod enrolment;
mod handshakes;
mod host_identity;
mod interception;
mod link;
mod link_error;
mod links;
mod load_error;
mod names;
mod node_key;
mod pem;
mod private_dir;
mod renewals;
mod revocation;
mod role;
mod seeds;
mod signer;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tls;
mod token;
mod token_store;

pub use authority::{Authority, CaFingerprint};
pub use bootstrap::Bootstrap;
pub use ca::{ClusterCa, IssueError, RevokeError};
pub use certificate::CertificateFault;
pub use enrolment::{AnswerError, EnrolAnswer, EnrolError, EnrolRequest};
pub use host_identity::Identity;
pub use interception::{Interception, InterceptionCertificate, InterceptionError, Tended};
pub use link::{Accepted, JoinerLink, Protocol, RemoteHost, SecureLink};
pub use link_error::LinkError;
pub use links::{Callee, ExpiryGrace, GraceTooLong, LinkLimits, Links};
pub use load_error::{LoadError, LoadFault};
pub use node_key::{NodeKey, verify};
pub use renewals::Renewals;
pub use revocation::{RevocationError, RevocationList};
pub use role::{ParseRoleError, Role, Roles};
pub use seeds::{PassedOnError, SeedCertificate, Seeds};
pub use tls::install_provider;
pub use token::{JoinToken, ParseTokenError, TokenId};
pub use token_store::{MintError, MintedToken, RedeemError, TokenInfo, TokenStore};
