//! Origins as an operator lists them: `[http://|https://]HOST[:PORT]`. Pure.

use std::{fmt, net::IpAddr, str::FromStr};

use url::{Host, Url};

/// How an origin is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain text: only where listed so.
    Http,
    /// TLS with a checked certificate.
    Https,
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Scheme, host and port: what a policy speaks of, a connection goes to and a budget is kept for.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AllowedOrigin {
    scheme: Scheme,
    host: String,
    port: u16,
}

/// Why a text names no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseOriginError {
    /// Another scheme.
    #[error("an origin is reached over http or https: write HOST[:PORT] or http://HOST[:PORT]")]
    Scheme,
    /// Something that is no host, or too much beside it.
    #[error(
        "an origin has a host and an optional port, such as registry.corp:5000: no user, path, query or wildcard"
    )]
    Shape,
}

impl AllowedOrigin {
    /// The origin of a URL. Errors: a scheme other than http and https, or no host.
    pub fn of(url: &Url) -> Result<Self, ParseOriginError> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(ParseOriginError::Scheme),
        };
        let host = match url.host().ok_or(ParseOriginError::Shape)? {
            // A trailing dot names the same host and must not slip past a list or a certificate check.
            Host::Domain(name) => name.trim_end_matches('.').to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        if host.is_empty() {
            return Err(ParseOriginError::Shape);
        }
        Ok(Self {
            scheme,
            host,
            port: url.port().unwrap_or(scheme.default_port()),
        })
    }

    /// The https origin at `host`, a name or an address without brackets.
    pub(crate) fn https(host: &str, port: u16) -> Result<Self, ParseOriginError> {
        let (open, close) = if host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        format!("https://{open}{host}{close}:{port}").parse()
    }

    /// How it is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Its name or address, lower case, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port, the scheme's default included.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, if it is listed by one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    pub(crate) fn with_scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = scheme;
        self
    }

    /// The entry that lists `address` literally, with the scheme and port of `origin`.
    pub(crate) fn literal(origin: &Self, address: IpAddr) -> Self {
        Self {
            host: address.to_string(),
            ..origin.clone()
        }
    }

    /// The start of every URL at this origin.
    pub(crate) fn base_url(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        format!("{scheme}://{}", self.authority())
    }

    /// `HOST:PORT`, whatever the port.
    pub(crate) fn authority(&self) -> String {
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        format!("{open}{}{close}:{}", self.host, self.port)
    }
}

impl FromStr for AllowedOrigin {
    type Err = ParseOriginError;

    /// Without a scheme, https; without a port, the scheme's own.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = match text.split_once("://") {
            Some(("http" | "https", rest)) => rest,
            Some(_) => return Err(ParseOriginError::Scheme),
            None => text,
        };
        let is_plain =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        if rest.is_empty() || !rest.chars().all(is_plain) || rest.ends_with(':') {
            return Err(ParseOriginError::Shape);
        }
        let url = if rest.len() == text.len() {
            format!("https://{rest}/")
        } else {
            format!("{text}/")
        };
        Self::of(&Url::parse(&url).map_err(|_| ParseOriginError::Shape)?)
    }
}

impl fmt::Display for AllowedOrigin {
    /// As it would be listed: https unsaid, default ports unsaid.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scheme == Scheme::Http {
            to.write_str("http://")?;
        }
        if self.host.contains(':') {
            write!(to, "[{}]", self.host)?;
        } else {
            to.write_str(&self.host)?;
        }
        if self.port == self.scheme.default_port() {
            Ok(())
        } else {
            write!(to, ":{}", self.port)
        }
    }
}

impl fmt::Debug for AllowedOrigin {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_prints_as_it_would_be_listed() {
        for (text, shown) in [
            ("registry.corp:5000", "registry.corp:5000"),
            ("https://Registry.Corp:443", "registry.corp"),
            ("http://a.b", "http://a.b"),
            ("http://a.b:80", "http://a.b"),
            ("http://[::1]:5000", "http://[::1]:5000"),
            ("[FD00::1]", "[fd00::1]"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            // The same tricks that a URL may play: one address, one spelling.
            ("0x7f.1:5000", "127.0.0.1:5000"),
            ("host.:5000", "host:5000"),
        ] {
            let origin: AllowedOrigin = text.parse().expect(text);
            assert_eq!(origin.to_string(), shown);
            assert_eq!(origin.to_string().parse(), Ok(origin));
        }
    }

    #[test]
    fn what_names_no_origin_is_refused() {
        for text in [
            "", "ftp://a", "a/b", "u@a", "a?b", "a#b", "*.corp", "a b", "a:", "a:0x1", "a:65536",
            "http://", "[::1", "é", "a:1:2", "://a", ".",
        ] {
            assert!(text.parse::<AllowedOrigin>().is_err(), "{text:?} was taken");
        }
    }
}
