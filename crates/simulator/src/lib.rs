//! Thousands of hosts in virtual time, around the same brains that run in the daemon.
//!
//! Nothing here reads a clock, opens a socket or draws a number that its seed does not give: a run of 10,000 hosts is
//! one thread's loop that takes the next event, and the same scenario always tells the same story.
//!
//! - `queue`: what happens when. Events in the order of virtual time.
//! - `net`: how fast bytes move. Links that flows share fairly, as a fluid.
//! - `rate`: bytes per second, as people write them.
//! - `bound`: the time that physics asks for. Also what a daemon measures its efficiency by.
//! - `report`: what a run came to, for machines and for people.
//! - `plot`: the same as a picture.
//! - `scenario`: what to simulate: hosts, links, faults; read from a file or from flags, and checked.
//! - `world`: hosts and a scheduler around the brains, and the messages between them. [`simulate`] is its door.

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "tests use small numbers"
    )
)]

pub mod bound;
pub mod net;
pub mod plot;
pub mod queue;
pub mod rate;
pub mod report;
pub mod scenario;
mod world;

pub use world::{Watch, simulate, simulate_watched};
