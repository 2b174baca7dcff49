//! The brains of the swarm: every decision about who sends what to whom, and none of the sending.
//!
//! * [`download`]: one peer in one task: which piece from which parent next, when to hedge, give up, or import.
//! * [`upload`]: one host's uploads: who is served next, who is told to wait, what a super-seed reveals to whom.
//! * [`schedule`]: the scheduler's view: neighbours, importers, leases.
//! * [`retain`]: which content leaves a full store first.
//!
//! All of it is plain data driven by events. Time is an argument, chance is seeded, ties are sorted: the daemon and
//! the simulator run the very same code, and a run repeats from its seed. See ARCHITECTURE.md, "The house".

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, reason = "tests use small numbers")
)]

pub mod download;
mod estimate;
pub mod retain;
pub mod schedule;
pub mod upload;

/// A remote host, as this host numbers it. The shell gives each remote host a small number for as long as it knows it,
/// so that the brains' tables stay small and quick; numbers mean nothing to anybody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostNo(pub u32);

/// What a parent tells about its upload slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SlotHint {
    /// Requests that would be served at once (`ready`).
    pub free: u8,
    /// Requests that would be served within about one round trip (`opening`).
    pub opening: u8,
}

impl SlotHint {
    /// Requests that are worth sending.
    pub const fn room(self) -> u8 {
        self.free.saturating_add(self.opening)
    }
}

/// How urgent a task, and every request for it, is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Somebody waits for it.
    #[default]
    Foreground,
    /// Nobody waits: it gives way to the foreground at once.
    Background,
}
