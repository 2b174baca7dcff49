//! The daemon of one host: it drives the brains with real bytes.
//!
//! * `daemon`: putting it together, and taking it apart in order; `config`: what it is told.
//! * `core`: the one task that decides; everything that happens comes to it as an event.
//! * `task`, `table`, `tasks`: what a running task shares with those who write into it and read from it.
//! * `link`, `import`, `prove`: bytes coming in from hosts and origins, and the hash of the whole.
//! * `reception`, `near`: who writes a piece that was asked of a host, and when it is about to be here.
//! * `find`: hosts of the cluster while no scheduler names them; `watched`: parts that the daemon cannot be without.
//! * `accept`, `dial`, `greeting`, `scheduler`: connections to other hosts of the cluster.
//! * `join`, `keeper`: becoming one of them, and staying one.
//! * `access`: how this host reads a task's content at its origin.
//! * `handle`, `reader`: how local consumers start tasks and read them; `doors`: what consumers ask, turned into that.
//! * `scrub`: held pieces hashed again, where nobody waits; `seal`: a seed's word for a whole; `unnamed`: words whose signers
//!   nobody named yet.
//! * `metrics`: what is counted; `account`: what a task cost this host; `speeds`: what hosts and origins were seen to give; `clock`: time that counts sleep.

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, reason = "tests use small numbers")
)]

mod accept;
mod access;
mod account;
mod clock;
pub mod config;
mod core;
mod daemon;
mod dial;
mod doors;
mod find;
mod greeting;
mod handle;
mod import;
mod join;
mod keeper;
mod link;
mod metrics;
mod near;
mod prove;
mod reader;
mod reception;
mod scheduler;
mod scrub;
mod seal;
mod speeds;
mod table;
mod task;
mod tasks;
mod unnamed;
mod watched;

pub use access::{Access, AccessError, Accesses};
pub use account::{Account, Doing, Explained, Given, Giver, Reason, Standing};
pub use daemon::{Daemon, StartError};
pub use doors::{Doors, DoorsConfig, DoorsParts, Health, ProofPolicy, Severity};
pub use handle::{Fetch, Handle, TaskStatus, Wait, WaitOn};
pub use join::{JoinError, Joining};
pub use metrics::{Metrics, PieceFailure};
pub use reader::TaskReader;
pub use scheduler::SchedulerLinkError;
pub use task::{From, News, Task, TaskError, TaskSpec};
pub use watched::EndedEarly;
