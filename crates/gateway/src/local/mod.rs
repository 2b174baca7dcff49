//! The unix-socket API of this host: what `pantala get` and its sisters speak with the daemon.
//!
//! One request per connection, framed JSON (`frame`), the vocabulary in `message`. A `get` is answered with the length,
//! a read-only descriptor of the content file, and then with how far its bytes are verified: the client copies them
//! itself, as itself, so that no request ever holds a path, a user or a permission to overwrite. The open connection is
//! what keeps the bytes from being evicted.
//!
//! - `socket`: creating the socket so that nobody else's is touched;
//! - `server`, `get`, `manifest`: the daemon's end, which knows callers by what the kernel says (`SO_PEERCRED`);
//! - [`client`]: the commands' end.

pub mod client;
mod descriptor;
mod frame;
mod get;
mod manifest;
mod message;
mod server;
mod socket;
#[cfg(test)]
mod tests;

pub use frame::FrameError;
pub use message::{
    BypassChange, BypassState, ExplainReport, Failure, FailureCode, Freed, GetRequest, HeaderLine,
    ManifestRequest, SecretText, SettingReport, SourceKind, SourceReport, StatusReport, StoreEntry,
    TaskReport, WaitReport, WaitedReport,
};
pub use server::{Access, Allowed, Listed, LocalDoor, LocalService};
pub use socket::{LocalSocket, SocketError};
