//! The daemon of one host: it drives the brains with real bytes.
//!
//! * `task`: what a running task shares with those who write into it and read from it.
//! * `table`: the digests its pieces are checked by.
//! * `handle`, `reader`: how the doors start tasks and read them.

mod handle;
mod reader;
mod table;
mod task;

pub use handle::{Fetch, Handle, TaskStatus, Wait};
pub use reader::TaskReader;
pub use task::{From, News, Task, TaskError, TaskSpec};
