//! Where a host stands, and how near two hosts are.

use std::{fmt, str::FromStr};

/// Region, zone and rack of a host. An unknown part is empty, and two unknown parts count as the same place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topology {
    /// The widest part, such as a country or a cloud's region.
    pub region: String,
    /// A part of a region whose border costs money or time.
    pub zone: String,
    /// A part of a zone behind one switch.
    pub rack: String,
}

/// How near two hosts are. Ordered: nearer is smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Nearness {
    /// The same rack.
    Rack,
    /// The same zone, another rack.
    Zone,
    /// The same region, another zone.
    Region,
    /// Another region.
    Far,
}

/// Why a text is no topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a place is REGION/ZONE/RACK, each of at most 63 of a-z, A-Z, 0-9, '-', '_' and '.', later parts optional"
)]
pub struct ParseTopologyError;

impl FromStr for Topology {
    type Err = ParseTopologyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        let mut next = || {
            let part = parts.next().unwrap_or_default();
            let fits = part.len() <= 63
                && part
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'));
            if fits {
                Ok(part.to_owned())
            } else {
                Err(ParseTopologyError)
            }
        };
        let topology = Self {
            region: next()?,
            zone: next()?,
            rack: next()?,
        };
        if parts.next().is_some() {
            Err(ParseTopologyError)
        } else {
            Ok(topology)
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}/{}", self.region, self.zone, self.rack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_places_are_refused() {
        for bad in ["a/b/c/d", "a b", "a/\0", &"x".repeat(64)] {
            assert!(bad.parse::<Topology>().is_err(), "{bad}");
        }
    }
}
