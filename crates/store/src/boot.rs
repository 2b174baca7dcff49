//! Which boot of the machine this is: the page cache outlives a process, but not a boot.

use std::fmt;

/// Identity of one boot of this machine, as the kernel gives it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId([u8; 16]);

impl BootId {
    /// A boot that is never the current one: what was written in it is not believed.
    pub(crate) const NONE: Self = Self([0; 16]);

    /// An identity from its bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The boot we are in (`/proc/sys/kernel/random/boot_id`), or none where the kernel does not say: then nothing
    /// written before an unclean end is believed without hashing it again.
    pub fn current() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end();
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if text.len() != 36 || digits.len() != 32 || !digits.bytes().all(|c| c.is_ascii_hexdigit())
        {
            return None;
        }
        u128::from_str_radix(&digits, 16)
            .ok()
            .map(|bits| Self(bits.to_be_bytes()))
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_this_boot_the_same_each_time() {
        assert!(BootId::current().is_some());
        assert_eq!(BootId::current(), BootId::current());
    }

    #[test]
    fn only_a_uuid_is_a_boot() {
        let good = "a185fd55-b6f7-4449-a346-e6ab0bdf3544\n";
        assert_eq!(
            BootId::parse(good).map(|boot| format!("{boot:?}")),
            Some("a185fd55b6f74449a346e6ab0bdf3544".into())
        );
        for bad in ["", "\n", &good[1..], "+185fd55-b6f7-4449-a346-e6ab0bdf3544"] {
            assert_eq!(BootId::parse(bad), None, "{bad}");
        }
    }
}
