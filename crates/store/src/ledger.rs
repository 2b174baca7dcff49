//! The ledger of own bytes: what contents hold, what they may still write, and what there is room for.
//!
//! Pure. Bytes are *reserved* before they are written, and *used* once their piece is marked; what is given back was
//! one or the other. The free space of the file system is passed in: it already lacks what is used, but not what is
//! reserved.

use types::ByteCount;

use crate::fault::Limit;

/// Invariant: `used + reserved` never exceeds the quota by a reservation, only by a quota that was lowered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ledger {
    quota: Option<ByteCount>,
    floor: ByteCount,
    used: ByteCount,
    reserved: ByteCount,
}

impl Ledger {
    pub(crate) fn new(quota: Option<ByteCount>, floor: ByteCount) -> Self {
        Self {
            quota,
            floor,
            used: ByteCount::ZERO,
            reserved: ByteCount::ZERO,
        }
    }

    /// Sets `bytes` aside, given `free` bytes on the file system.
    pub(crate) fn reserve(&mut self, bytes: ByteCount, free: ByteCount) -> Result<(), Limit> {
        if bytes == ByteCount::ZERO {
            return Ok(());
        }
        let own = self.used.saturating_add(self.reserved);
        if self
            .quota
            .is_some_and(|quota| own.saturating_add(bytes) > quota)
        {
            return Err(Limit::Quota);
        }
        let promised = self.reserved.saturating_add(bytes);
        if promised.saturating_add(self.floor) > free {
            return Err(Limit::Floor);
        }
        self.reserved = promised;
        Ok(())
    }

    /// `bytes` that were reserved are now held.
    pub(crate) fn fill(&mut self, bytes: ByteCount) {
        debug_assert!(bytes <= self.reserved);
        self.reserved = self.reserved.saturating_sub(bytes);
        self.used = self.used.saturating_add(bytes);
    }

    /// `bytes` that were reserved will not be written.
    pub(crate) fn release(&mut self, bytes: ByteCount) {
        debug_assert!(bytes <= self.reserved);
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    /// `bytes` are held already, found at the start.
    pub(crate) fn found(&mut self, bytes: ByteCount) {
        self.used = self.used.saturating_add(bytes);
    }

    /// `bytes` that were held are gone.
    pub(crate) fn freed(&mut self, bytes: ByteCount) {
        debug_assert!(bytes <= self.used);
        self.used = self.used.saturating_sub(bytes);
    }

    /// How much would have to go for a reservation of `bytes` to fit, given `free` bytes on the file system.
    pub(crate) fn shortfall(&self, bytes: ByteCount, free: ByteCount) -> ByteCount {
        let own = self.used.saturating_add(self.reserved);
        let over_quota = self.quota.map_or(ByteCount::ZERO, |quota| {
            own.saturating_add(bytes).saturating_sub(quota)
        });
        let under_floor = self
            .reserved
            .saturating_add(bytes)
            .saturating_add(self.floor)
            .saturating_sub(free);
        over_quota.max(under_floor)
    }

    pub(crate) fn quota(&self) -> Option<ByteCount> {
        self.quota
    }

    pub(crate) fn floor(&self) -> ByteCount {
        self.floor
    }

    pub(crate) fn used(&self) -> ByteCount {
        self.used
    }

    pub(crate) fn reserved(&self) -> ByteCount {
        self.reserved
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_floor_counts_what_is_promised_but_not_written() {
        let mut ledger = Ledger::new(None, ByteCount(100));
        assert_eq!(ledger.reserve(ByteCount(50), ByteCount(200)), Ok(()));
        assert_eq!(
            ledger.reserve(ByteCount(51), ByteCount(200)),
            Err(Limit::Floor)
        );
        assert_eq!(
            ledger.shortfall(ByteCount(51), ByteCount(200)),
            ByteCount(1)
        );
        ledger.fill(ByteCount(50));
        assert_eq!(ledger.reserve(ByteCount(50), ByteCount(150)), Ok(()));
    }

    proptest! {
        #[test]
        fn the_quota_is_never_passed(quota in 0u64..1000, asks in prop::collection::vec((0u64..400, 0u8..4), 0..60)) {
            let free = ByteCount(u64::MAX);
            let mut ledger = Ledger::new(Some(ByteCount(quota)), ByteCount::ZERO);
            for (bytes, step) in asks {
                let bytes = ByteCount(bytes);
                match step {
                    0 => {
                        let short = ledger.shortfall(bytes, free);
                        let reserved = ledger.reserve(bytes, free).is_ok();
                        prop_assert!(reserved == (short == ByteCount::ZERO) || bytes == ByteCount::ZERO);
                    }
                    1 => ledger.fill(bytes.min(ledger.reserved())),
                    2 => ledger.release(bytes.min(ledger.reserved())),
                    _ => ledger.freed(bytes.min(ledger.used())),
                }
                prop_assert!(ledger.used().saturating_add(ledger.reserved()) <= ByteCount(quota));
            }
        }
    }
}
