//! Who may be dialled: a value, decided without IO. Pure.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    address::{Kind, kind},
    network::Network,
};
use crate::allowed::{AllowedOrigin, Scheme};

/// What may be dialled.
///
/// - Public addresses over https: always, unless `listed_only`.
/// - Plain http: only where an entry says `http://`.
/// - Private addresses: only for an origin that is listed.
/// - Local ones (loopback, link-local, metadata services, multicast, their IPv6 disguises) and those in a service range
///   of the cluster: only when the address with its port is itself an entry, such as `127.0.0.1:5000`. A name is not enough, because whoever runs its zone chooses
///   where it points; the one exception is an entry for `localhost`, which opens loopback, its own meaning.
#[derive(Clone, Debug, Default)]
pub struct DialPolicy {
    listed: BTreeSet<AllowedOrigin>,
    is_listed_only: bool,
    is_plain_allowed: bool,
    service_ranges: Vec<Network>,
}

/// Why a policy forbids an origin. Each message ends with the line that would allow it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Only listed origins are allowed, and this is none of them.
    #[error("{origin} is not a listed origin; if it is meant, add it: --origin {origin}")]
    Unlisted {
        /// Who was asked for.
        origin: AllowedOrigin,
    },
    /// Plain http to an origin that is not listed so.
    #[error(
        "{origin} would be spoken to in plain text; if that is meant, add it: --origin {origin}"
    )]
    PlainText {
        /// Who was asked for.
        origin: AllowedOrigin,
    },
    /// A client's own request to a port that is nobody's web server.
    #[error(
        "{origin} is at a port to which clients are not led; if that is meant, add it: --origin {origin}; for tunnels, list the port in proxy.ports"
    )]
    Port {
        /// Who was asked for.
        origin: AllowedOrigin,
    },
    /// Only listed origins are asked for through a proxy, and this is none of them.
    #[error(
        "{origin} is reached through origin.proxy, behind which nobody here sees its address; if it is meant, add it: \
         --origin {origin}; if it is near, list it in origin.proxy_bypass"
    )]
    Behind {
        /// Who was asked for.
        origin: AllowedOrigin,
    },
    /// An origin at a private address that is not listed.
    #[error("{origin} is at a private address; if that is meant, add it: --origin {origin}")]
    Private {
        /// Who was asked for.
        origin: AllowedOrigin,
    },
    /// A local address that is not listed literally.
    #[error(
        "{origin} is at {address}, which belongs to this host, its link, a metadata service or a service range; \
         if that is meant, add both: --origin {origin} --origin {literal}"
    )]
    Local {
        /// Who was asked for.
        origin: AllowedOrigin,
        /// Where it is.
        address: IpAddr,
        /// The entry that is missing.
        literal: AllowedOrigin,
    },
}

impl DialPolicy {
    /// Allows public addresses over https, and `listed`; with `is_listed_only` nothing but `listed`.
    pub fn new(listed: impl IntoIterator<Item = AllowedOrigin>, is_listed_only: bool) -> Self {
        Self {
            listed: listed.into_iter().collect(),
            is_listed_only,
            is_plain_allowed: false,
            service_ranges: Vec::new(),
        }
    }

    /// The same for what local clients send themselves: whether they speak plain text is theirs to decide.
    pub(crate) fn for_clients(&self) -> Self {
        Self {
            is_plain_allowed: true,
            ..self.clone()
        }
    }

    /// The same, with ranges whose addresses are as good as local: where a cluster has its inner services.
    pub fn with_service_ranges(self, service_ranges: Vec<Network>) -> Self {
        Self {
            service_ranges,
            ..self
        }
    }

    /// Whether `origin` may be asked for at all. Comes before any name is looked up.
    pub fn check_origin(&self, origin: &AllowedOrigin) -> Result<(), Refused> {
        if self.lists(origin) {
            return Ok(());
        }
        let origin = origin.clone();
        if self.is_listed_only {
            Err(Refused::Unlisted { origin })
        } else if origin.scheme() == Scheme::Http && !self.is_plain_allowed {
            Err(Refused::PlainText { origin })
        } else {
            Ok(())
        }
    }

    /// Whether `origin` may be asked for through somebody else's proxy, which looks names up itself.
    pub(crate) fn check_behind(&self, origin: &AllowedOrigin) -> Result<(), Refused> {
        if self.lists(origin) {
            return Ok(());
        }
        let origin = origin.clone();
        Err(Refused::Behind { origin })
    }

    /// Whether `origin` may be dialled at `address`: the very address of the connection that comes next.
    pub fn check_address(&self, origin: &AllowedOrigin, address: IpAddr) -> Result<(), Refused> {
        self.check_origin(origin)?;
        if (self.service_ranges.iter()).any(|range| range.contains(address)) {
            return self.check_local(origin, address);
        }
        match kind(address) {
            Kind::Public => Ok(()),
            Kind::Private if self.lists(origin) => Ok(()),
            Kind::Private => Err(Refused::Private {
                origin: origin.clone(),
            }),
            Kind::Local => self.check_local(origin, address),
        }
    }

    /// Whether plain http is how `host:port` is listed, and https is not.
    pub(crate) fn prefers_plain(&self, origin: &AllowedOrigin) -> bool {
        self.lists(&origin.clone().with_scheme(Scheme::Http))
            && !self.lists(&origin.clone().with_scheme(Scheme::Https))
    }

    pub(crate) fn lists(&self, origin: &AllowedOrigin) -> bool {
        self.listed.contains(origin)
    }

    fn check_local(&self, origin: &AllowedOrigin, address: IpAddr) -> Result<(), Refused> {
        let is_listed = self.lists(origin);
        let is_literal = self
            .listed
            .iter()
            .any(|entry| entry.address() == Some(address) && entry.port() == origin.port());
        let is_localhost = origin.host() == "localhost" && address.is_loopback();
        if is_listed && (is_literal || is_localhost) {
            return Ok(());
        }
        let literal = AllowedOrigin::literal(origin, address);
        Err(Refused::Local {
            origin: origin.clone(),
            address,
            literal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(listed: &[&str]) -> DialPolicy {
        DialPolicy::new(listed.iter().map(|text| text.parse().expect(text)), false)
    }

    fn check(listed: &[&str], url: &str, address: &str) -> Result<(), String> {
        let url = url.parse().expect(url);
        policy(listed)
            .check_address(&AllowedOrigin::of(&url).unwrap(), address.parse().unwrap())
            .map_err(|refused| refused.to_string())
    }

    #[test]
    fn public_addresses_over_https_need_no_list() {
        assert_eq!(check(&[], "https://example.com", "1.1.1.1"), Ok(()));
        assert_eq!(check(&[], "https://1.1.1.1", "1.1.1.1"), Ok(()));
        assert!(check(&[], "http://example.com", "1.1.1.1").is_err());
        assert_eq!(
            check(&["http://example.com"], "http://example.com", "1.1.1.1"),
            Ok(())
        );
    }

    #[test]
    fn clients_may_speak_plain_text_to_public_addresses_alone() {
        let policy = policy(&[]).for_clients();
        let ask = |url: &str, address: &str| {
            let origin = AllowedOrigin::of(&url.parse().expect(url)).expect(url);
            policy.check_address(&origin, address.parse().expect(address))
        };
        assert_eq!(ask("http://example.com", "1.1.1.1"), Ok(()));
        for address in [
            "10.0.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "fd12::1",
            "::ffff:a00:1",
        ] {
            assert!(ask("http://example.com", address).is_err(), "{address}");
        }
    }

    #[test]
    fn a_private_address_is_refused_with_the_line_that_allows_it() {
        let message = check(&[], "https://registry.corp:5000/v2/", "10.0.0.7").unwrap_err();
        assert!(
            message.ends_with("add it: --origin registry.corp:5000"),
            "{message}"
        );
        assert_eq!(
            check(
                &["registry.corp:5000"],
                "https://registry.corp:5000",
                "10.0.0.7"
            ),
            Ok(())
        );
        assert!(check(&["registry.corp"], "https://registry.corp:5000", "10.0.0.7").is_err());
        assert!(check(&["a.corp:5000"], "http://a.corp:5000", "10.0.0.7").is_err());
    }

    #[test]
    fn a_local_address_needs_its_own_entry() {
        let name = "https://evil.example:5000";
        for address in [
            "127.0.0.1",
            "::1",
            "169.254.169.254",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
        ] {
            assert!(check(&[], name, address).is_err());
            assert!(check(&["evil.example:5000"], name, address).is_err());
        }
        let both = ["evil.example:5000", "127.0.0.1:5000"];
        assert_eq!(check(&both, name, "127.0.0.1"), Ok(()));
        assert!(check(&both, name, "127.0.0.2").is_err());
        assert!(check(&both, name, "::ffff:127.0.0.1").is_err());
        assert!(check(&["127.0.0.1:5000"], "https://x:5000", "127.0.0.1").is_err());
        assert!(check(&["127.0.0.1:5000"], "https://127.0.0.1:5001", "127.0.0.1").is_err());
    }

    #[test]
    fn an_address_in_a_service_range_needs_its_own_entry() {
        let ask = |listed: &[&str], address: &str| {
            let ranges = ["10.96.0.0/12", "8.8.8.0/24"].map(|text| text.parse().expect(text));
            let policy = policy(listed).with_service_ranges(ranges.to_vec());
            let origin = "registry.corp".parse().expect("an origin");
            policy.check_address(&origin, address.parse().expect(address))
        };
        let listed = ["registry.corp"];
        assert_eq!(ask(&listed, "10.1.0.1"), Ok(()));
        for address in ["10.96.0.1", "::ffff:10.96.0.1", "8.8.8.8"] {
            let refused = ask(&listed, address);
            assert!(matches!(refused, Err(Refused::Local { .. })), "{address}");
        }
        assert_eq!(ask(&["registry.corp", "10.96.0.1"], "10.96.0.1"), Ok(()));
    }

    #[test]
    fn localhost_means_loopback_and_nothing_else() {
        let listed = ["localhost:5000"];
        assert_eq!(check(&listed, "https://localhost:5000", "::1"), Ok(()));
        assert!(check(&listed, "https://localhost:5000", "169.254.169.254").is_err());
        assert!(check(&[], "https://localhost:5000", "127.0.0.1").is_err());
    }

    #[test]
    fn numeric_spellings_of_an_address_are_that_address() {
        for spelling in [
            "2130706433",
            "0x7f000001",
            "017700000001",
            "127.1",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "[::ffff:7f00:1]",
            "①②⑦.0.0.1",
        ] {
            let url: url::Url = format!("https://{spelling}/").parse().expect(spelling);
            let origin = AllowedOrigin::of(&url).unwrap();
            let address = origin.address().expect("an address");
            assert!(
                policy(&[]).check_address(&origin, address).is_err(),
                "{spelling}"
            );
        }
    }

    #[test]
    fn listed_only_refuses_before_any_lookup() {
        let strict = DialPolicy::new(["good.example".parse().unwrap()], true);
        let ask =
            |url: &str| strict.check_origin(&AllowedOrigin::of(&url.parse().unwrap()).unwrap());
        assert_eq!(ask("https://good.example/a"), Ok(()));
        assert!(matches!(
            ask("https://bad.example"),
            Err(Refused::Unlisted { .. })
        ));
        assert!(ask("https://good.example:444").is_err());
    }
}
