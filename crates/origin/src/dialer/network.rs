//! A range of addresses as an operator writes it: `10.96.0.0/12`. Pure.

use std::{fmt, net::IpAddr, str::FromStr};

use super::address::translated;

/// Addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

/// Why a text is no range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a range is ADDRESS/BITS with the address of its start, such as 10.96.0.0/12 or fd00:1::/112"
)]
pub struct ParseNetworkError;

impl Network {
    /// Whether `address` lies within. An IPv6 form of an IPv4 address lies where that one does.
    pub fn contains(&self, address: IpAddr) -> bool {
        let is_within = |address: IpAddr| match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits())
                    .checked_shr(32 - u32::from(self.bits))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits())
                    .checked_shr(128 - u32::from(self.bits))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        };
        is_within(address)
            || match address {
                IpAddr::V6(v6) => translated(v6).is_some_and(|v4| is_within(IpAddr::V4(v4))),
                IpAddr::V4(_) => false,
            }
    }
}

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, bits) = text.split_once('/').ok_or(ParseNetworkError)?;
        let first: IpAddr = first.parse().map_err(|_| ParseNetworkError)?;
        let is_number = bits.bytes().all(|c| c.is_ascii_digit());
        let bits: u8 = bits.parse().map_err(|_| ParseNetworkError)?;
        // Bits after the prefix would be ignored: one of the two is not what was meant.
        let fits = is_number
            && match first {
                IpAddr::V4(first) => {
                    bits <= 32 && first.to_bits().checked_shl(bits.into()).unwrap_or(0) == 0
                }
                IpAddr::V6(first) => {
                    bits <= 128 && first.to_bits().checked_shl(bits.into()).unwrap_or(0) == 0
                }
            };
        fits.then_some(Self { first, bits })
            .ok_or(ParseNetworkError)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(network: &str, inside: &[&str], outside: &[&str]) {
        let network: Network = network.parse().expect(network);
        for (addresses, is_inside) in [(inside, true), (outside, false)] {
            for text in addresses {
                let address = text.parse().expect(text);
                assert_eq!(network.contains(address), is_inside, "{text} in {network}");
            }
        }
    }

    #[test]
    fn a_range_holds_what_shares_its_first_bits() {
        check(
            "10.96.0.0/12",
            &["10.96.0.1", "10.111.255.255", "::ffff:10.96.0.1"],
            &["10.95.255.255", "10.112.0.0", "fd00::1"],
        );
        check("10.0.0.1/32", &["10.0.0.1"], &["10.0.0.2"]);
        check("0.0.0.0/0", &["1.2.3.4"], &["2a00::1"]);
        check("::/0", &["2a00::1"], &["1.2.3.4"]);
        check("fd00:1::/112", &["fd00:1::ffff"], &["fd00:1::1:0"]);
        check("fd00::1/128", &["fd00::1"], &["fd00::2"]);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.1/8",
            "10.0/8",
            "fd00::/129",
            "fd00::1/64",
            "a/8",
            "10.0.0.0/8/8",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text:?} was taken");
        }
    }
}
