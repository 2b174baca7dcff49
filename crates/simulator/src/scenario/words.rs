//! The small words of a scenario: spans of time, parts of the hosts, rates against a base.
//!
//! Each parser says what would have been right; who called it adds the key and the text that was wrong.

use std::time::Duration;

use crate::rate::Rate;

/// What a text should have been.
pub(super) type Allowed = &'static str;

/// Some of the hosts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Portion {
    /// That many.
    Count(u32),
    /// A part from 0 to 1, of all hosts.
    Part(f64),
}

impl Portion {
    /// How many of `hosts`: a part is rounded to the nearest, to one at least unless it is zero.
    pub fn of(self, hosts: u32) -> u32 {
        match self {
            Self::Count(count) => count.min(hosts),
            Self::Part(part) => {
                let exact = f64::from(hosts) * part;
                let least = if exact > 0.0 { 1.0 } else { 0.0 };
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "0 to hosts"
                )]
                {
                    exact.round().clamp(least, f64::from(hosts)) as u32
                }
            }
        }
    }
}

/// A rate, or a factor of the rate that all hosts have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NewRate {
    /// Bytes per second.
    To(Rate),
    /// That many times the base.
    Times(f64),
}

impl NewRate {
    /// The rate, where the base is `base`.
    pub fn from(self, base: Rate) -> Rate {
        match self {
            Self::To(rate) => rate,
            Self::Times(factor) => base.times(factor),
        }
    }
}

const DURATION: Allowed = "a duration is a number and a unit (us, ms, s, min, h): 250ms, 10s, 2min";
const DELAY: Allowed = "a delay is a duration (2ms) or a number of piece times (0.1p)";
const PORTION: Allowed = "a part of the hosts is a percentage (5%) or a count (3)";
const NEW_RATE: Allowed =
    "a rate is a number of bits or bytes (10Mbit, 1GB/s), or a factor of the hosts' rate (0.1x)";

/// Splits `10s` into a number that is not negative and the unit after it.
fn number(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

/// At most a hundred years, so that moments never saturate.
pub(super) fn duration(text: &str) -> Result<Duration, Allowed> {
    let (count, unit) = number(text).ok_or(DURATION)?;
    let unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(DURATION),
    };
    let seconds = count * unit;
    if seconds > 3.2e9 {
        return Err("a duration is at most a hundred years");
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| DURATION)
}

/// A duration, or a number of `piece` times.
pub(super) fn delay(text: &str, piece: Duration) -> Result<Duration, Allowed> {
    match number(text) {
        Some((count, "p")) if count <= 1e6 => {
            Duration::try_from_secs_f64(piece.as_secs_f64() * count).map_err(|_| DELAY)
        }
        _ => duration(text).map_err(|_| DELAY),
    }
}

pub(super) fn portion(text: &str) -> Result<Portion, Allowed> {
    match number(text) {
        Some((percent, "%")) if percent <= 100.0 => Ok(Portion::Part(percent / 100.0)),
        Some((_, "")) => text.trim().parse().map(Portion::Count).map_err(|_| PORTION),
        _ => Err(PORTION),
    }
}

pub(super) fn new_rate(text: &str) -> Result<NewRate, Allowed> {
    match number(text) {
        Some((factor, "x")) if factor <= 1000.0 => Ok(NewRate::Times(factor)),
        _ => text.parse().map(NewRate::To).map_err(|_| NEW_RATE),
    }
}

pub(super) const CLOCK_SPEED: Allowed =
    "a clock's speed is a factor from 0.5x to 2x: 0.999x loses a millisecond each second";

pub(super) fn clock_speed(text: &str) -> Result<f64, Allowed> {
    match number(text) {
        Some((speed, "x")) if (0.5..=2.0).contains(&speed) => Ok(speed),
        _ => Err(CLOCK_SPEED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_an_end() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5 min"), Ok(Duration::from_secs(90)));
        for bad in ["", "10", "-1s", "1d", "s", "1..2s", "99999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_delay_may_count_piece_times() {
        let piece = Duration::from_millis(32);
        assert_eq!(delay("0.25p", piece), Ok(Duration::from_millis(8)));
        assert_eq!(delay("2ms", piece), Ok(Duration::from_millis(2)));
        assert_eq!(delay("0.1q", piece), Err(DELAY));
    }

    #[test]
    fn a_part_is_a_count_or_a_percentage() {
        assert_eq!(portion("5%").map(|part| part.of(1000)), Ok(50));
        assert_eq!(portion("0.01%").map(|part| part.of(1000)), Ok(1));
        assert_eq!(portion("0%").map(|part| part.of(1000)), Ok(0));
        assert_eq!(portion("7"), Ok(Portion::Count(7)));
        for bad in ["101%", "-3", "half", "1.5", "5 %s"] {
            assert!(portion(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_new_rate_is_absolute_or_a_factor() {
        let base = Rate::mbit(1000);
        assert_eq!(
            new_rate("0.1x").map(|rate| rate.from(base)),
            Ok(Rate::mbit(100))
        );
        assert_eq!(
            new_rate("10Mbit").map(|rate| rate.from(base)),
            Ok(Rate::mbit(10))
        );
        assert!(new_rate("a tenth").is_err());
    }
}
