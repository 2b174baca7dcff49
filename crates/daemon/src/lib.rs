//! The daemon of one host: it drives the brains with real bytes.
//!
//! * `daemon`: putting it together, and taking it apart in order.
//! * `core`: the one task that decides; everything that happens comes to it as an event.
//! * `task`, `table`, `tasks`: what a running task shares with those who write into it and read from it.
//! * `link`, `import`, `prove`: bytes coming in from hosts and origins, and the hash of the whole.
//! * `accept`, `dial`, `scheduler`: connections to other hosts of the cluster.
//! * `handle`, `reader`, `doors`: how local consumers start tasks and read them.

mod accept;
mod access;
mod clock;
pub mod config;
mod core;
mod dial;
mod handle;
mod import;
mod join;
mod link;
mod metrics;
mod prove;
mod reader;
mod scheduler;
mod table;
mod task;
mod tasks;

pub use handle::{Fetch, Handle, TaskStatus, Wait};
pub use reader::TaskReader;
pub use task::{From, News, Task, TaskError, TaskSpec};
