//! What is wrong with a configuration: all of it at once, by key and place.

use std::{fmt, path::PathBuf};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nobody set it.
    Default,
    /// A line of a file, counted from 1.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// A flag of the command.
    Flag(String),
    /// Where a running daemon says.
    Told(String),
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => to.write_str("the default"),
            Self::File(path, line) => write!(to, "{}:{line}", path.display()),
            Self::Variable(name) => write!(to, "environment variable {name}"),
            Self::Flag(name) => write!(to, "flag {name}"),
            Self::Told(place) => to.write_str(place),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where it was written.
    pub(crate) place: Place,
    /// The key, or what stands in its place; empty when no key is concerned.
    pub(crate) key: String,
    /// What is wrong and what is allowed.
    pub(crate) told: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(to, "{}: ", self.key)?;
        }
        to.write_str(&self.told)
    }
}

/// All that is wrong; at least one.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = if self.0.len() == 1 { "fault" } else { "faults" };
        write!(to, "the configuration has {} {faults}", self.0.len())?;
        self.0
            .iter()
            .try_for_each(|fault| write!(to, "\n  {fault}"))
    }
}
