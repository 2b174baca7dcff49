//! Lower-case hexadecimal, the only spelling of binary identities, token ids and fingerprints that we accept or print.

use std::fmt::{Formatter, Result, Write};

/// Exactly `2 * N` lower-case digits, or nothing.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Writes `bytes` as lower-case hexadecimal digits.
pub fn write(to: &mut Formatter<'_>, bytes: &[u8]) -> Result {
    bytes.iter().try_for_each(|byte| write!(to, "{byte:02x}"))
}

/// Two digits per byte.
pub fn encode(bytes: &[u8]) -> String {
    // The capacity is exact, so that a secret is never left behind by a growing buffer.
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes every write");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(bytes: [u8; 8]) {
            prop_assert_eq!(decode::<8>(&encode(&bytes)), Some(bytes));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for bad in ["", "0", "0G", "AA", "0é", "000"] {
            assert_eq!(decode::<1>(bad), None, "{bad}");
        }
    }
}
