//! A scenario as people write it: a TOML file, or flags of a command.

use std::{fmt, str::FromStr};

use serde::Deserialize;

use super::Scenario;

/// A scenario's keys, all optional, as in a TOML file. Flags of a command use [`RawScenario::set`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawScenario {
    /// Receiving hosts, 1 to 100000. Default 1000.
    pub hosts: Option<u32>,
    /// Hosts beside them that only import and upload, at most 1000. Default 1.
    pub seeds: Option<u32>,
    /// Every host's way up and down: `100Mbit`, `1GB/s`. Default `1Gbit`.
    pub rate: Option<String>,
    /// The way up, if it is not `rate`.
    pub up: Option<String>,
    /// The way down, if it is not `rate`.
    pub down: Option<String>,
    /// The content's size: `10GiB`. Default `1GiB`, or what `pieces` and `piece_length` give.
    pub content: Option<String>,
    /// How many pieces. Default: as the product cuts content of that size.
    pub pieces: Option<u32>,
    /// How long a piece is, instead of `pieces`: a power of two, `4MiB`.
    pub piece_length: Option<String>,
    /// What the origin sends at most. Default `10Gbit`.
    pub origin_rate: Option<String>,
    /// The zone in which the origin stands. Default: beside all zones, so that no pipe parts it from any.
    pub origin_zone: Option<String>,
    /// How long a message is under way: `2ms`, or in piece times `0.1p`. Default `1ms`.
    pub delay: Option<String>,
    /// `at once`, or spread: `over 30s`. Default `at once`.
    pub arrivals: Option<String>,
    /// `none` or `in order`. Default `none`.
    pub readers: Option<String>,
    /// Hosts with other rates: `5% at 0.1x`, `50 at up 10Mbit down 100Mbit`.
    pub groups: Vec<String>,
    /// Zones and who stands in them: `a 30%`, `b 200`; those without a part share the rest: `c`.
    pub zones: Vec<String>,
    /// Limited ways between zones: `a to b at 10Gbit`, or `a and b at 10Gbit` for one in each direction.
    pub pipes: Vec<String>,
    /// What goes wrong: `kill host 3 at 10s`, `slow 5% to 0.1x at 50% for 10s`; see [`Fault`](super::Fault).
    pub faults: Vec<String>,
    /// The seed of all chance. Default 1.
    pub seed: Option<u64>,
    /// Virtual time after which the run ends. Default `1h`.
    pub time_limit: Option<String>,
}

/// One thing that is wrong with a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFault {
    /// The key, with the place in its list where it has one: `faults[2]`.
    pub key: String,
    /// What was written.
    pub value: String,
    /// What is allowed, or what it contradicts.
    pub told: String,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} = {:?}: {}", self.key, self.value, self.told)
    }
}

/// All that is wrong with a scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ScenarioError {
    /// At least one, in the order of the keys.
    pub faults: Vec<KeyFault>,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "the scenario cannot be run:")?;
        self.faults
            .iter()
            .try_for_each(|fault| write!(to, "\n  {fault}"))
    }
}

/// Why a text is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ReadScenarioError {
    /// No TOML, an unknown key, or a value of another kind.
    #[error("reading the scenario")]
    Toml(#[from] toml::de::Error),
    /// Readable, but not to be run.
    #[error(transparent)]
    Check(#[from] ScenarioError),
}

/// A key that no scenario has, or a whole number that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownKey {
    /// No such key.
    #[error("a scenario has no {0:?}: its keys are {keys}", keys = RawScenario::KEYS.join(", "))]
    Key(String),
    /// That key takes a whole number.
    #[error("{key} takes a whole number, not {value:?}")]
    Number {
        /// The key.
        key: String,
        /// What was written.
        value: String,
    },
}

impl FromStr for Scenario {
    type Err = ReadScenarioError;

    /// Reads and checks a TOML file's text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(toml::from_str::<RawScenario>(text)?.check()?)
    }
}

impl RawScenario {
    /// Every key, as in a file.
    pub const KEYS: [&str; 19] = [
        "hosts",
        "seeds",
        "rate",
        "up",
        "down",
        "content",
        "pieces",
        "piece_length",
        "origin_rate",
        "origin_zone",
        "delay",
        "arrivals",
        "readers",
        "groups",
        "zones",
        "pipes",
        "faults",
        "seed",
        "time_limit",
    ];

    /// Sets `key` to `value`, or adds `value` to a key that is a list. A dash counts as an underscore.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), UnknownKey> {
        let key = key.replace('-', "_");
        let text = Some(value.to_owned());
        match key.as_str() {
            "hosts" => self.hosts = Some(whole(key, value)?),
            "seeds" => self.seeds = Some(whole(key, value)?),
            "pieces" => self.pieces = Some(whole(key, value)?),
            "seed" => self.seed = Some(whole(key, value)?),
            "rate" => self.rate = text,
            "up" => self.up = text,
            "down" => self.down = text,
            "content" => self.content = text,
            "piece_length" => self.piece_length = text,
            "origin_rate" => self.origin_rate = text,
            "origin_zone" => self.origin_zone = text,
            "delay" => self.delay = text,
            "arrivals" => self.arrivals = text,
            "readers" => self.readers = text,
            "time_limit" => self.time_limit = text,
            "groups" => self.groups.extend(text),
            "zones" => self.zones.extend(text),
            "pipes" => self.pipes.extend(text),
            "faults" => self.faults.extend(text),
            _ => return Err(UnknownKey::Key(key)),
        }
        Ok(())
    }
}

fn whole<T: FromStr>(key: String, value: &str) -> Result<T, UnknownKey> {
    value.trim().parse().map_err(|_| UnknownKey::Number {
        key,
        value: value.to_owned(),
    })
}
