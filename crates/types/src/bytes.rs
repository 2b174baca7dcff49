//! Sizes and positions in bytes, with arithmetic that cannot wrap.

use std::{fmt, ops::Range, str::FromStr};

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteCount(pub u64);

impl ByteCount {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// `count` KiB (1024 bytes each).
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// `count` MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// `count` GiB.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// The sum, at most `u64::MAX`: a size that saturates is refused wherever it is compared to a limit.
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, at least zero.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for ByteCount {
    /// Three significant digits and a binary unit: `0 B`, `999 B`, `1.00 KiB`, `12.3 MiB`.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return to.pad(&format!("{} B", self.0));
        }
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 999.5 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let digits = if value < 9.995 {
            2
        } else {
            usize::from(value < 99.95)
        };
        to.pad(&format!("{value:.digits$} {}", UNITS[unit]))
    }
}

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a size is a whole number with an optional unit: 4096, 512KiB, 64MiB, 10GB")]
pub struct ParseByteCountError;

impl FromStr for ByteCount {
    type Err = ParseByteCountError;

    /// Binary units (`KiB`, `MiB`, ..., or the letter alone) and decimal ones (`kB`, `MB`, ...).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let number: u64 = text[..end].parse().map_err(|_| ParseByteCountError)?;
        let unit: u64 = match text[end..].trim_start() {
            "" | "B" => 1,
            "K" | "KiB" => 1 << 10,
            "M" | "MiB" => 1 << 20,
            "G" | "GiB" => 1 << 30,
            "T" | "TiB" => 1 << 40,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return Err(ParseByteCountError),
        };
        number
            .checked_mul(unit)
            .map(Self)
            .ok_or(ParseByteCountError)
    }
}

/// A half-open range of bytes, `start <= end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRange {
    start: u64,
    end: u64,
}

impl ByteRange {
    /// `start..end`, if that is a range.
    pub const fn new(start: u64, end: u64) -> Option<Self> {
        if start <= end {
            Some(Self { start, end })
        } else {
            None
        }
    }

    /// All of a content of `length`.
    pub const fn whole(length: ByteCount) -> Self {
        Self {
            start: 0,
            end: length.0,
        }
    }

    /// The first byte's offset.
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The offset after the last byte.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// How many bytes it covers.
    pub const fn length(&self) -> ByteCount {
        ByteCount(self.end - self.start)
    }

    /// Whether it covers nothing.
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes both cover, if there are any.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        (start < end).then_some(Self { start, end })
    }
}

impl From<ByteRange> for Range<u64> {
    fn from(range: ByteRange) -> Self {
        range.start..range.end
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}..{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_with_three_digits() {
        let shown: Vec<String> = [0, 999, 1024, 10_234, 1 << 20, (1 << 30) - 1, u64::MAX]
            .map(|n| ByteCount(n).to_string())
            .into();
        assert_eq!(
            shown,
            [
                "0 B", "999 B", "1.00 KiB", "9.99 KiB", "1.00 MiB", "1.00 GiB", "16.0 EiB"
            ]
        );
    }

    #[test]
    fn sizes_are_read_with_units_and_never_wrap() {
        assert_eq!("64MiB".parse(), Ok(ByteCount::mib(64)));
        assert_eq!("10 GB".parse(), Ok(ByteCount(10_000_000_000)));
        assert_eq!("9007199254740993".parse(), Ok(ByteCount((1 << 53) + 1)));
        for bad in [
            "",
            "MiB",
            "-1",
            "1.5G",
            "18446744073709551616",
            "99999999TiB",
            "1 parsec",
            "0x10",
        ] {
            assert_eq!(bad.parse::<ByteCount>(), Err(ParseByteCountError), "{bad}");
        }
    }

    #[test]
    fn a_range_never_ends_before_it_starts() {
        assert_eq!(ByteRange::new(2, 1), None);
        let (a, b) = (
            ByteRange::new(0, 5).expect("a range"),
            ByteRange::new(5, 9).expect("a range"),
        );
        assert_eq!(a.intersection(&b), None);
        assert_eq!(
            a.intersection(&ByteRange::whole(ByteCount(3)))
                .map(|r| r.length()),
            Some(ByteCount(3))
        );
    }
}
