//! The two identities that travel: which content ([`TaskId`]) and which host ([`HostId`]).

use std::{fmt, str::FromStr};

use crate::hex;

/// Identity of a task (ARCHITECTURE.md, "What always holds"). `Display` gives all 64 hexadecimal digits, `Debug` the first 10.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId([u8; 32]);

impl TaskId {
    /// An identity from its bytes. Every value names some content.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Why a text is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Not a task id.
    #[error("a task id has exactly 64 lower-case hexadecimal digits")]
    Task,
    /// Not a host id.
    #[error("a host id has exactly 52 of a-z and 2-7")]
    Host,
}

impl FromStr for TaskId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::decode(text).map(Self).ok_or(ParseIdError::Task)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(to, &self.0)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(to, &self.0[..5])
    }
}

/// Identity of a host: its Ed25519 public key. `Display` gives 52 base32 letters (RFC 4648, lower case, no padding),
/// which fit one DNS label; `Debug` gives the first 8.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId([u8; 32]);

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

impl HostId {
    /// An identity from the bytes of a public key. Whether somebody holds the private half, a handshake tells.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn letters(&self) -> [u8; 52] {
        let mut letters = [0; 52];
        for (at, letter) in letters.iter_mut().enumerate() {
            let bit = at * 5;
            let high = u16::from(self.0[bit / 8]) << 8;
            let low = self.0.get(bit / 8 + 1).map_or(0, |byte| u16::from(*byte));
            *letter = BASE32[usize::from((high | low) >> (11 - bit % 8) & 31)];
        }
        letters
    }
}

impl FromStr for HostId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 52 {
            return Err(ParseIdError::Host);
        }
        let mut bytes = [0; 32];
        let (mut held, mut bits, mut at) = (0u32, 0, 0);
        for letter in text.bytes() {
            let value = match letter {
                b'a'..=b'z' => letter - b'a',
                b'2'..=b'7' => letter - b'2' + 26,
                _ => return Err(ParseIdError::Host),
            };
            held = held << 5 | u32::from(value);
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                bytes[at] = (held >> bits & 0xff) as u8;
                at += 1;
            }
        }
        // 260 bits carry 256: the last four must be zero, or two texts would name one host.
        if held & 0xf == 0 {
            Ok(Self(bytes))
        } else {
            Err(ParseIdError::Host)
        }
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(std::str::from_utf8(&self.letters()).expect("base32 is ASCII"))
    }
}

impl fmt::Debug for HostId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(std::str::from_utf8(&self.letters()[..8]).expect("base32 is ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_host_id_prints_as_it_was_read(bytes: [u8; 32]) {
            let host = HostId::from_bytes(bytes);
            prop_assert_eq!(host.to_string().parse(), Ok(host));
        }

        #[test]
        fn what_parses_has_one_spelling(text in "[a-z2-7]{52}") {
            if let Ok(host) = text.parse::<HostId>() {
                prop_assert_eq!(host.to_string(), text);
            }
        }
    }

    #[test]
    fn hostile_ids_are_refused() {
        let good = HostId::from_bytes([7; 32]).to_string();
        for bad in [
            "",
            &good[1..],
            &good.to_uppercase(),
            &format!("{}1", &good[1..]),
            &format!("{}../", &good[3..]),
            &"7".repeat(52),
        ] {
            assert_eq!(bad.parse::<HostId>(), Err(ParseIdError::Host), "{bad}");
        }
        for bad in [
            "",
            "00",
            &"0".repeat(65),
            &"G".repeat(64),
            &"A".repeat(64),
            &format!("{}\0", "0".repeat(63)),
        ] {
            assert_eq!(bad.parse::<TaskId>(), Err(ParseIdError::Task), "{bad}");
        }
    }
}
