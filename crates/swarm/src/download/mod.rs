//! One peer in one task: which piece from which parent next, when to hedge, give up, or import.
//!
//! [`Download`] is driven by [`Event`]s and answers with [`Action`]s; the shell moves bytes and decides nothing. Its
//! rooms:
//!
//! * `event`: the words between brain and shell.
//! * `neighbours`: who has what, and how rare each piece is.
//! * `health`: how long each parent takes, and whom to avoid for a while.
//! * `demand`: which pieces anybody here wants, and where local readers stand.
//! * `requests`: what is on its way from parents.
//! * `pick`: the choice itself: rarest first, readers' windows, runs.
//! * `import`: reading the origin under a lease, or as a last resort for a blocked reader.
//! * `engine`: the loop that ties them together.

mod demand;
mod engine;
mod event;
mod health;
mod import;
#[cfg(test)]
mod model_tests;
mod neighbours;
mod pick;
mod policy;
mod requests;

pub use demand::ReaderNo;
pub use engine::{Download, State};
pub use event::{Action, Event, Failure, Supplier};
pub use import::Lease;
pub use policy::DownloadPolicy;
