//! How many bytes pass in a second, as people write it.

use std::{fmt, str::FromStr};

/// Bytes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rate(pub u64);

/// Decimal prefixes, as networks are sold.
const PREFIXES: [(&str, f64); 5] = [("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)];

impl Rate {
    /// A link of `count` Mbit/s.
    pub const fn mbit(count: u64) -> Self {
        Self(count * 125_000)
    }

    /// Bytes per second, for arithmetic.
    #[expect(
        clippy::cast_precision_loss,
        reason = "53 bits are more than enough bytes"
    )]
    pub const fn per_second(self) -> f64 {
        self.0 as f64
    }

    /// This rate times `factor`, at least one byte per second unless either is zero.
    pub fn times(self, factor: f64) -> Self {
        let product = self.per_second() * factor;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it saturates"
        )]
        Self(if product > 0.0 {
            product.max(1.0) as u64
        } else {
            0
        })
    }
}

impl fmt::Display for Rate {
    /// Bits per second, as networks are sold: `100 Mbit/s`, `2.5 Gbit/s`.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.per_second() * 8.0;
        let (prefix, unit) = PREFIXES
            .iter()
            .rev()
            .find(|(_, unit)| bits >= *unit)
            .unwrap_or(&PREFIXES[0]);
        let value = (bits / unit * 100.0).round() / 100.0;
        to.pad(&format!("{value} {prefix}bit/s"))
    }
}

/// Why a text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a rate is a number and a unit, of bits (kbit, Mbit, Gbit) or bytes (kB/s, MB/s, GB/s): 100Mbit, 2.5Gbit, 1GB/s"
)]
pub struct ParseRateError;

impl FromStr for Rate {
    type Err = ParseRateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let number: f64 = text[..end].parse().map_err(|_| ParseRateError)?;
        let unit = text[end..].trim_start();
        let (prefix, size) =
            if let Some(prefix) = unit.strip_suffix("bit/s").or(unit.strip_suffix("bit")) {
                (prefix, 1.0 / 8.0)
            } else {
                (unit.strip_suffix("B/s").ok_or(ParseRateError)?, 1.0)
            };
        let (_, factor) = PREFIXES
            .iter()
            .find(|(known, _)| *known == prefix)
            .ok_or(ParseRateError)?;
        let rate = (number * size * factor).round();
        // A petabyte per second: above it, arithmetic on times and bytes would lose nanoseconds.
        if !(rate >= 1.0 || number == 0.0) || rate > 1e15 {
            return Err(ParseRateError);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked above"
        )]
        Ok(Self(rate as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_networks_are_sold() {
        for (text, rate) in [
            ("100Mbit", Rate::mbit(100)),
            ("2.5 Gbit/s", Rate::mbit(2500)),
            ("1GB/s", Rate(1_000_000_000)),
            ("8bit", Rate(1)),
            ("0Mbit", Rate(0)),
        ] {
            assert_eq!(text.parse(), Ok(rate), "{text}");
        }
        for bad in [
            "",
            "100",
            "100Mb",
            "fast",
            "-1Mbit",
            "1e3Mbit",
            "1..5Gbit",
            "1MiB/s",
            "9999999TB/s",
            "1bit",
        ] {
            assert_eq!(bad.parse::<Rate>(), Err(ParseRateError), "{bad}");
        }
    }

    #[test]
    fn rates_are_shown_in_bits() {
        assert_eq!(Rate::mbit(100).to_string(), "100 Mbit/s");
        assert_eq!(Rate::mbit(2500).to_string(), "2.5 Gbit/s");
        assert_eq!(Rate(0).to_string(), "0 bit/s");
    }
}
