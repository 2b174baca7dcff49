//! When a piece on its way in is worth a word to the core: that bytes come, and that it will end soon.

use std::time::Duration;

use tokio::time::Instant;
use types::ByteCount;

/// Pieces up to this end soon from their first frame on: a loaded link answers a request in about the time that they
/// take (256 KiB at 100 Mbit/s, two at a time: 40 ms), and a later word cost speed.
const SHORT: ByteCount = ByteCount::kib(256);
/// What is left is looked at with each frame, of 64 KiB from senders like us: one frame later may be too late.
const FRAME: u64 = 64 << 10;
/// Bytes are told of this often at most. Well below the shortest patience of a download with a parent (250 ms).
const TELL_EVERY: Duration = Duration::from_millis(100);

/// How quickly one piece comes.
#[derive(Debug)]
pub(crate) struct Pace {
    length: u64,
    /// When the first frame came, and what it brought: the rate is that of what came after it.
    first: (Instant, u64),
    told_at: Instant,
    told_ending: bool,
}

impl Pace {
    /// The first frame of a piece of `length` bytes came `now`, with `bytes` of them.
    pub(crate) fn new(now: Instant, length: ByteCount, bytes: usize) -> Self {
        Self {
            length: length.0,
            first: (now, bytes as u64),
            told_at: now,
            told_ending: false,
        }
    }

    /// Whether to say that bytes come, when nothing was said of it for a while. The core may have no place for it: only
    /// [`Pace::told`] counts.
    pub(crate) fn is_worth_telling(&self, now: Instant) -> bool {
        now.duration_since(self.told_at) >= TELL_EVERY
    }

    /// The core was told.
    pub(crate) fn told(&mut self, now: Instant) {
        self.told_at = now;
    }

    /// Whether to say now, and only now, that the piece will end soon: at the first frame of a short one; of a long one
    /// when about what comes within a round trip is left. `got` bytes of it are here. While no round trip was measured
    /// the first frame counts as near, since too early costs less than too late.
    pub(crate) fn is_ending(
        &mut self,
        now: Instant,
        got: ByteCount,
        rtt: Option<Duration>,
    ) -> bool {
        if self.told_ending {
            return false;
        }
        self.told_ending = self.length <= SHORT.0
            || rtt.is_none_or(|rtt| self.length - got.0 <= self.within(now, got, rtt));
        self.told_ending
    }

    /// Bytes that come within `rtt` at the rate so far, and one frame.
    fn within(&self, now: Instant, got: ByteCount, rtt: Duration) -> u64 {
        let (began, first) = self.first;
        let (took, more) = (now.duration_since(began), got.0.saturating_sub(first));
        let bytes = u128::from(more) * rtt.as_nanos() / took.as_nanos().max(1);
        // Before the second frame there is no rate.
        u64::try_from(bytes)
            .unwrap_or(u64::MAX)
            .saturating_add(FRAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(10);

    /// After how many frames of 64 KiB, one each 10 ms, a piece is said to end.
    fn told_after(kib: u64, rtt: Option<u64>) -> u64 {
        let (start, length) = (Instant::now(), ByteCount::kib(kib));
        let rtt = rtt.map(Duration::from_millis);
        let mut pace = Pace::new(start, length, FRAME as usize);
        let frames = 1..=length.0 / FRAME;
        let mut told = frames.filter(|frame| {
            let now = start + STEP * (*frame as u32 - 1);
            pace.is_ending(now, ByteCount(frame * FRAME), rtt)
        });
        let first = told.next().expect("it ends");
        assert_eq!(told.next(), None, "it is told once");
        first
    }

    #[test]
    fn a_long_piece_is_near_its_end_when_one_round_trip_is_left() {
        assert_eq!(told_after(16 << 10, Some(50)), 256 - 5 - 1);
        assert_eq!(told_after(16 << 10, Some(1)), 256 - 1);
        assert_eq!(told_after(1 << 10, Some(1000)), 2);
        assert_eq!(told_after(16 << 10, None), 1);
        assert_eq!(told_after(256, Some(1)), 1);
    }

    #[test]
    fn bytes_are_told_of_again_when_a_while_has_passed() {
        let start = Instant::now();
        let mut pace = Pace::new(start, ByteCount::mib(16), FRAME as usize);
        let later = start + TELL_EVERY;
        assert!(!pace.is_worth_telling(later - STEP) && pace.is_worth_telling(later));
        pace.told(later);
        assert!(!pace.is_worth_telling(later + STEP));
    }
}
