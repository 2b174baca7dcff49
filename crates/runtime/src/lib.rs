//! Points the container engines of a host at the registry mirror, and takes it back.
//!
//! - `plan` (pure): from the files of the engines to a [`Plan`]: what is written, and what is left to the operator;
//! - `containerd`, `podman`, `docker` (pure): what each engine reads;
//! - `shell`: reads the files below a root, writes what is planned, records it, and undoes it.
//!
//! Only whole files of our own are written. No file of somebody else is changed, and no engine is restarted.

mod containerd;
mod docker;
mod plan;
mod podman;
mod shell;

pub use plan::{Engine, File, Found, Owned, Plan, Report, Wanted, plan};
pub use shell::{ApplyError, Host};
