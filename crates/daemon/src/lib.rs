//! The daemon of one host: it drives the brains with real bytes.
//!
//! * `task`: what a running task shares with those who write into it and read from it.
//! * `table`: the digests its pieces are checked by.
//! * `handle`, `reader`: how the doors start tasks and read them.
//! * `access`: how this host reads a task's content at its origin.
//! * `doors`: what consumers ask, turned into tasks or passed by.
//! * `metrics`: what is counted.

mod access;
mod doors;
mod handle;
mod metrics;
mod reader;
mod table;
mod task;

pub use access::{Access, AccessError, Accesses};
pub use doors::{Doors, DoorsConfig, DoorsParts, Health, Severity};
pub use handle::{Fetch, Handle, TaskStatus, Wait};
pub use metrics::{Metrics, PieceFailure};
pub use reader::TaskReader;
pub use task::{From, News, Task, TaskError, TaskSpec};
