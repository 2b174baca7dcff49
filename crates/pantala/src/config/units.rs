//! Durations as people write them. Sizes are `types::ByteCount`, rates are `simulator::rate::Rate`.

use std::time::Duration;

/// What a text should have been.
pub(crate) const DURATION: &str =
    "a duration is a whole number and a unit (ms, s, min, h, d): 250ms, 30s, 5min, 72h";

/// The duration that `text` says, at most a hundred years.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let count: u64 = text[..end].parse().map_err(|_| DURATION)?;
    let milliseconds = match text[end..].trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "min" | "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(DURATION),
    };
    let whole = count.checked_mul(milliseconds);
    whole
        .filter(|whole| *whole <= 3_200_000_000_000)
        .map(Duration::from_millis)
        .ok_or("a duration is at most a hundred years")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_an_end() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration(" 5 min "), Ok(Duration::from_secs(300)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for bad in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "1w",
            "99999999999999999999s",
            "99999999d",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
