//! The scheduler's brain: who exchanges pieces with whom, and who reads the origin.
//!
//! [`Schedule`] is a plain struct: the shell passes events and the time, takes actions, and wakes it at its deadline.
//! The gRPC scheduler and the simulator run this same code. It decides four things.
//!
//! * **The mesh** (`graph`, `mesh`). Per task a random near-regular graph of its members. A newcomer is put in the
//!   middle of edges that exist, so that the graph stays random however the swarm grew; chance prefers near hosts and
//!   hosts that already have a connection. Both ends of every edge are told. Peers choose the pieces themselves.
//!   Complete holders cost a few bytes until somebody waits for their content; only then some are seated in the mesh.
//! * **The lease** (`lease`, `grant`). One importer per task while content is missing. Its lease fences itself: it is
//!   counted by the holder's clock from a moment *before* the scheduler counts it, so no delay of messages makes two.
//! * **Trust** (`blame`, `doubt`). Three unrelated reporters, or one proof, lower a host for a while. One who hashed a
//!   whole and found it wrong moves the import of that task to somebody else.
//! * **Bounds** (`hosts`, `policy`). Every number that a host can drive up has a limit.
//!
//! After a restart the brain is empty (`rebuild`): hosts tell what they have and hold, and unknown tasks wait a moment
//! before a new importer is named. Where a hard scope limit is set, each zone (or region) is a swarm of its own with
//! an importer of its own: a *cell*. Nothing is ever introduced across cells.
//!
//! Hosts and tasks have small numbers inside; maps by identity are only touched at the door. No step walks over all
//! hosts or all tasks; a task's end walks once over its members.

mod blame;
mod brain;
mod doubt;
mod event;
mod grant;
mod graph;
mod hosts;
mod lease;
mod member;
mod mesh;
#[cfg(test)]
mod model_tests;
mod outbox;
mod policy;
mod rebuild;
mod recruit;
mod task;
#[cfg(test)]
mod tests;
mod timers;
mod view;

pub use brain::{Restart, Schedule};
pub use event::{
    Action, Ask, Blame, CanImport, Doubt, Event, FailCause, Have, Holdings, Inventory, Join, Lease,
    LeaseClaim, LeaseFailed, LeaseReturned, OriginFailure, Progress, Refusal, Term,
};
pub use member::preferred_seed;
pub use policy::Policy;
pub use view::{Counts, HostView, LeaseView, MemberView, TaskView};
