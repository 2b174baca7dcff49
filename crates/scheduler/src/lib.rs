//! The scheduler: a shell around the brain in `swarm::schedule`.
//!
//! [`Scheduler::start`] opens one port. Links come in (`door`), each in a task of its own; what hosts say goes through one
//! bounded queue to the task that owns the brain (`owner`), and what the brain decides goes into one bounded queue per
//! host. A host that does not empty its queue loses its stream: nobody waits for it. Certificates, tokens and
//! revocations are made from the authority's directory (`office`). Beside that, only the certificates of seeds are on disk
//! (`folder`), and may be lost; everything else about the swarm is told anew by the hosts after a restart.

mod config;
mod convert;
mod door;
mod folder;
mod looks;
mod metrics;
mod named;
mod office;
mod owner;
mod scheduler;
#[cfg(test)]
mod tests;

pub use config::{MayAdvertise, SchedulerConfig};
pub use metrics::Metrics;
pub use scheduler::{EndedEarly, Scheduler, StartError};
