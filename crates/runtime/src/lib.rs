//! Points the container engines of a host at the registry mirror, and takes it back.
//!
//! - `plan` (pure): from the files of the engines to a [`Plan`]: what is written, and what is left to the operator;
//! - `containerd`, `hosts`, `managed`, `podman`, `docker` (pure): what each engine reads;
//! - `shell`: arms the engines below a root as planned, and undoes it; `record`: what was written; `lock`: one at a time;
//! - `files`: single files, read, written and removed.
//!
//! Only whole files of our own are written, each with a mark in its first line. No file of somebody else is changed, and
//! no engine is restarted.

mod containerd;
mod docker;
mod files;
mod hosts;
mod lock;
mod managed;
mod plan;
mod podman;
mod record;
mod shell;

pub use plan::{Engine, File, Found, Owned, Plan, Report, Wanted, looks, plan};
pub use record::RecordError;
pub use shell::{Applied, ApplyError, Host, Standing, Undo, Undone};
