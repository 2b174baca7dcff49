//! Hosts as an operator lists them: `files.corp`, `*.files.corp`, `*`, each with or without a port.

use std::{fmt, net::IpAddr, str::FromStr};

/// Hosts by name, and perhaps by port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPattern {
    hosts: Hosts,
    port: Option<u16>,
}

/// Which hosts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Hosts {
    /// Every one.
    All,
    /// The names below this one; not itself.
    Below(String),
    /// This name or address.
    One(String),
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hosts are HOST, *.DOMAIN or *, each with :PORT or without, such as *.files.corp:8443")]
pub struct ParseHostPatternError;

impl HostPattern {
    /// Whether it means `host` (lower case, without brackets and final dot) at `port`.
    pub fn matches(&self, host: &str, port: u16) -> bool {
        let is_port = self.port.is_none_or(|own| own == port);
        is_port
            && match &self.hosts {
                Hosts::All => true,
                Hosts::One(name) => name == host,
                Hosts::Below(domain) => {
                    let label = host.strip_suffix(domain.as_str());
                    let label = label.and_then(|label| label.strip_suffix('.'));
                    label.is_some_and(|label| !label.is_empty()) && !is_address(host)
                }
            }
    }

    /// The name, or the domain that it is below of; none if it means every host.
    pub fn domain(&self) -> Option<&str> {
        match &self.hosts {
            Hosts::All => None,
            Hosts::Below(name) | Hosts::One(name) => Some(name),
        }
    }

    /// The address, if it means one.
    pub fn address(&self) -> Option<IpAddr> {
        match &self.hosts {
            Hosts::One(name) => name.parse().ok(),
            Hosts::All | Hosts::Below(_) => None,
        }
    }

    /// The port, if it means one alone.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_hex = |digits: &str| digits.bytes().all(|c| c.is_ascii_hexdigit());
    last.bytes().all(|c| c.is_ascii_digit()) || last.strip_prefix("0x").is_some_and(is_hex)
}

/// Labels of letters, digits, `-` and `_`: what a name in a URL comes down to.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

impl FromStr for HostPattern {
    type Err = ParseHostPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.to_ascii_lowercase();
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or(ParseHostPatternError)?;
                let address: std::net::Ipv6Addr =
                    host.parse().map_err(|_| ParseHostPatternError)?;
                (
                    // An IPv4 address in the clothes of an IPv6 one is that address.
                    IpAddr::V6(address).to_canonical().to_string(),
                    rest.strip_prefix(':').or(rest.is_empty().then_some("")),
                )
            }
            None => match text.split_once(':') {
                Some((host, port)) if !port.is_empty() => (host.to_owned(), Some(port)),
                Some(_) => return Err(ParseHostPatternError),
                None => (text.clone(), Some("")),
            },
        };
        let port = match port.ok_or(ParseHostPatternError)? {
            "" => None,
            digits if digits.bytes().all(|c| c.is_ascii_digit()) => {
                let port = digits.parse().ok().filter(|port| *port != 0);
                Some(port.ok_or(ParseHostPatternError)?)
            }
            _ => return Err(ParseHostPatternError),
        };
        let hosts = match host.strip_prefix("*.") {
            // A domain that is an address has nothing below it.
            Some(domain) if is_name(domain) && !is_address(domain) => Hosts::Below(domain.into()),
            None if host == "*" => Hosts::All,
            None if is_address(&host) => Hosts::One(host),
            // What ends in a number is an address to whoever reads URLs: no host is ever called so.
            None if is_name(&host) && !ends_in_number(&host) => Hosts::One(host),
            _ => return Err(ParseHostPatternError),
        };
        Ok(Self { hosts, port })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            Hosts::All => to.write_str("*")?,
            Hosts::Below(domain) => write!(to, "*.{domain}")?,
            Hosts::One(name) if name.contains(':') => write!(to, "[{name}]")?,
            Hosts::One(name) => to.write_str(name)?,
        }
        self.port.map_or(Ok(()), |port| write!(to, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, host: &str, port: u16) -> bool {
        let pattern: HostPattern = pattern.parse().expect(pattern);
        assert_eq!(pattern.to_string().parse(), Ok(pattern.clone()));
        pattern.matches(host, port)
    }

    #[test]
    fn a_pattern_means_whole_labels() {
        for (pattern, host, port) in [
            ("files.corp", "files.corp", 80),
            ("Files.Corp:8443", "files.corp", 8443),
            ("*.corp", "files.corp", 1),
            ("*.corp", "a.b.corp", 1),
            ("*", "anything", 1),
            ("*:443", "anything", 443),
            ("[::1]:80", "::1", 80),
            ("10.0.0.1", "10.0.0.1", 80),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1", 80),
        ] {
            assert!(matches(pattern, host, port), "{pattern} {host}:{port}");
        }
        for (pattern, host, port) in [
            ("files.corp", "files.corp.evil", 80),
            ("files.corp", "a.files.corp", 80),
            ("files.corp:80", "files.corp", 81),
            ("*.corp", "corp", 1),
            ("*.corp", ".corp", 1),
            ("*.corp", "evilcorp", 1),
            ("*.corp", "corp.evil", 1),
            ("*.0.0.1", "10.0.0.1", 80),
            ("*:443", "anything", 80),
        ] {
            let refused = pattern.parse::<HostPattern>().is_err();
            assert!(
                refused || !matches(pattern, host, port),
                "{pattern} {host}:{port}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "*.",
            "*a.corp",
            "a.*.corp",
            "a/b",
            "http://a",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "u@a",
            "a b",
            "[::1",
            "::1",
            "[a]",
            "[::1]x",
            "a.",
            "é",
            "*.1.2.3.4",
            "127.1",
            "0x7f.1",
            "2130706433",
            "0177.0.0.1",
            "a.0xff",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text:?} was taken");
        }
    }
}
