//! What kind of place an address is. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Kinds of addresses, as far as a dial policy cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// On the public internet.
    Public,
    /// On somebody's own network: reached by origins that are listed by name.
    Private,
    /// This host or its link, a metadata service, or no unicast address at all: only when itself listed literally.
    Local,
}

/// Metadata services that hide in ranges which are otherwise private or public: Alibaba, Oracle, Azure.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// The kind of `address`. An IPv6 form of an IPv4 address is at least private, and as local as what it stands for.
pub(crate) fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => match translated(v6) {
            Some(v4) if kind_v4(v4) == Kind::Local => Kind::Local,
            Some(_) => Kind::Private,
            None => kind_v6(v6),
        },
    }
}

fn kind_v4(v4: Ipv4Addr) -> Kind {
    let [a, b, c, _] = v4.octets();
    if METADATA_V4.contains(&v4) {
        return Kind::Local;
    }
    match (a, b, c) {
        // "This network", loopback, link-local (with 169.254.169.254), multicast, reserved and broadcast.
        (0 | 127 | 224..=255, _, _) | (169, 254, _) => Kind::Local,
        // Protocol assignments and the three documentation nets: nothing of ours lives there.
        (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) => Kind::Local,
        // RFC 1918, carrier-grade NAT, and the benchmarking net, which some proxies hand out.
        (10, _, _) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) | (198, 18..=19, _) => {
            Kind::Private
        }
        _ => Kind::Public,
    }
}

fn kind_v6(v6: Ipv6Addr) -> Kind {
    match v6.segments() {
        // Amazon's link services (fd00:ec2::254 tells credentials of the machine, fd00:ec2::23 those of a pod) and
        // Google's metadata server, all within unique local addresses.
        [0xfd00, 0x0ec2, ..] | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254] => Kind::Local,
        // Unique local addresses.
        [0xfc00..=0xfdff, ..] => Kind::Private,
        // Documentation, and the protocol assignments with Teredo and ORCHID among them.
        [0x2001, 0x0db8 | 0..=0x01ff, ..] | [0x3fff, 0..=0x0fff, ..] => Kind::Local,
        // Global unicast is 2000::/3. All else is loopback, link-local, site-local, multicast, discard or unassigned.
        [0x2000..=0x3fff, ..] => Kind::Public,
        _ => Kind::Local,
    }
}

/// The IPv4 address inside: v4-mapped, v4-compatible, NAT64 (well-known and local prefix), 6to4.
pub(super) fn translated(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match v6.segments() {
        // The unspecified address and loopback look v4-compatible and are not.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x0064, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x0064, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, _, _, _, _, _] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(expected: Kind, addresses: &[&str]) {
        for text in addresses {
            assert_eq!(kind(text.parse().expect(text)), expected, "{text}");
        }
    }

    #[test]
    fn public_addresses_are_public() {
        check(
            Kind::Public,
            &[
                "1.1.1.1",
                "172.32.0.1",
                "100.128.0.1",
                "2606:4700::1",
                "2a00::1",
            ],
        );
    }

    #[test]
    fn networks_of_ones_own_are_private() {
        check(
            Kind::Private,
            &[
                "10.0.0.1",
                "172.16.0.1",
                "172.31.255.255",
                "192.168.1.1",
                "100.64.0.1",
                "fd12::1",
                "fc00::1",
                "::ffff:10.0.0.1",
                "64:ff9b::101:101",
                "2002:101:101::1",
                "::ffff:1.1.1.1",
                "198.18.0.1",
            ],
        );
    }

    #[test]
    fn this_host_its_link_and_metadata_services_are_local() {
        check(
            Kind::Local,
            &[
                "127.0.0.1",
                "127.9.9.9",
                "0.0.0.0",
                "0.1.2.3",
                "169.254.169.254",
                "169.254.0.1",
                "224.0.0.1",
                "255.255.255.255",
                "240.0.0.1",
                "192.0.2.1",
                "100.100.100.200",
                "168.63.129.16",
                "192.0.0.192",
                "::",
                "::1",
                "fe80::1",
                "fec0::1",
                "ff02::1",
                "fd00:ec2::254",
                "fd00:ec2::23",
                "fd00:ec2:0:1::7",
                "fd20:ce::254",
                "::ffff:127.0.0.1",
                "::127.0.0.1",
                "64:ff9b::a9fe:a9fe",
                "64:ff9b:1::7f00:1",
                "2002:7f00:1::",
                "2001::1",
                "2001:db8::1",
                "100::1",
                "::ffff:0:127.0.0.1",
                "::ffff:168.63.129.16",
            ],
        );
    }

    proptest! {
        #[test]
        fn an_ipv6_spelling_never_makes_an_ipv4_address_more_public(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            for v6 in [v4.to_ipv6_mapped(), v4.to_ipv6_compatible()] {
                if v6 == Ipv6Addr::LOCALHOST || v6 == Ipv6Addr::UNSPECIFIED { continue }
                prop_assert_ne!(kind(IpAddr::V6(v6)), Kind::Public);
                if kind(IpAddr::V4(v4)) == Kind::Local {
                    prop_assert_eq!(kind(IpAddr::V6(v6)), Kind::Local);
                }
            }
        }
    }
}
