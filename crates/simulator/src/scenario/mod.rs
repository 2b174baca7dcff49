//! What is to be simulated: how many hosts, how they are linked, what goes wrong and when.
//!
//! `raw` is a scenario as people write it, in a TOML file or as flags of a command; `check` gives the [`Scenario`]
//! here or says everything that is wrong with it, by key. `plan` turns a scenario into single hosts, their links and
//! their physical bound: the same seed always gives the same hosts.

mod check;
mod fault;
mod forms;
mod plan;
mod raw;
mod words;

#[cfg(test)]
mod tests;

use std::time::Duration;

use types::Layout;

pub use fault::{Fault, ParseFaultError, Trouble, When, Who};
pub use plan::{End, HostPlan, Path, Wiring};
pub use raw::{KeyFault, RawScenario, ReadScenarioError, ScenarioError, UnknownKey};
pub use words::{NewRate, Portion};

use crate::rate::Rate;

/// A scenario without contradictions.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Receiving hosts.
    pub hosts: u32,
    /// Hosts that only import and upload, beside `hosts`. Without any, receiving hosts import.
    pub seeds: u32,
    /// A host's way up, seeds included, unless its group says otherwise.
    pub up: Rate,
    /// A host's way down, likewise.
    pub down: Rate,
    /// The content and its pieces.
    pub layout: Layout,
    /// What the origin sends at most.
    pub origin_rate: Rate,
    /// The zone in which the origin stands; without one, it reaches every zone without a pipe.
    pub origin_zone: Option<usize>,
    /// How long a message is under way.
    pub delay: Duration,
    /// Hosts ask at random within this time; zero is at once.
    pub arrivals: Duration,
    /// Hosts with other rates.
    pub groups: Vec<Group>,
    /// The zones; none means no borders.
    pub zones: Vec<Zone>,
    /// Limited ways from zone to zone; the others are not limited.
    pub pipes: Vec<Pipe>,
    /// What local consumers do.
    pub readers: Readers,
    /// What goes wrong, in the order it was written.
    pub faults: Vec<Fault>,
    /// All chance comes from this.
    pub seed: u64,
    /// Virtual time after which the run ends, finished or not.
    pub time_limit: Duration,
}

/// Some receiving hosts with other rates. Groups do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub hosts: u32,
    /// Their way up.
    pub up: Rate,
    /// Their way down.
    pub down: Rate,
}

/// A zone and how many of the receiving hosts stand in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name, for people.
    pub name: String,
    /// How many.
    pub hosts: u32,
}

/// The way from one zone to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pipe {
    /// Index of the zone it leaves.
    pub from: usize,
    /// Index of the zone it enters.
    pub to: usize,
    /// What all flows over it share.
    pub rate: Rate,
}

/// What local consumers do with the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Nobody reads before all is there.
    None,
    /// Each host has one that reads from the start to the end.
    InOrder,
}
