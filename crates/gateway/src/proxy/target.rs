//! What a request is for: a URL, in one spelling. Pure.

use std::net::IpAddr;

use ::http::Uri;
use url::{Host, Url};

use super::spelling::Spellings;

/// A URL that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As it is sent on: dot segments are resolved, nothing else is changed.
    pub(super) url: Url,
    host: String,
    pub(super) port: u16,
    pub(super) path: Spellings,
}

/// Why a text is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a proxy is asked for http://HOST/PATH or https://HOST/PATH, without user and fragment")]
pub struct ParseTargetError;

impl Target {
    /// What `text` names.
    pub fn of_url(text: &str) -> Result<Self, ParseTargetError> {
        let url = Url::parse(text).map_err(|_| ParseTargetError)?;
        let is_ours = matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none();
        if !is_ours {
            return Err(ParseTargetError);
        }
        let host = match url.host().ok_or(ParseTargetError)? {
            Host::Domain(name) => name.trim_end_matches('.').to_owned(),
            Host::Ipv4(address) => address.to_string(),
            // An IPv4 address in the clothes of an IPv6 one is that address.
            Host::Ipv6(address) => IpAddr::V6(address).to_canonical().to_string(),
        };
        if host.is_empty() {
            return Err(ParseTargetError);
        }
        let port = url.port_or_known_default().ok_or(ParseTargetError)?;
        Ok(Self {
            host,
            port,
            path: Spellings::of(url.path()),
            url,
        })
    }

    pub(super) fn of_uri(uri: &Uri) -> Result<Self, ParseTargetError> {
        Self::of_url(&uri.to_string())
    }

    /// Its host: a name in lower case, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port, the scheme's own included.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is asked for over TLS.
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Who is asked.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}:{}", self.url.scheme(), self.host, self.port)
    }

    /// `HOST[:PORT]` as registries are named.
    pub(super) fn registry(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }

    /// Its path, in one spelling.
    pub fn path(&self) -> &str {
        self.path.plain()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_one_spelling() {
        for (text, host, port, path) in [
            ("http://A.b./c", "a.b", 80, "/c"),
            ("https://a:8443/%41%2F%7e", "a", 8443, "/A%2F~"),
            ("http://0x7f.1/", "127.0.0.1", 80, "/"),
            ("http://0177.0.0.1/", "127.0.0.1", 80, "/"),
            ("http://2130706433/", "127.0.0.1", 80, "/"),
            ("http://127.0.0.1./", "127.0.0.1", 80, "/"),
            ("http://[::ffff:127.0.0.1]/", "127.0.0.1", 80, "/"),
            ("http://a/%c3%A9/\u{e9}/%2f", "a", 80, "/%C3%A9/%C3%A9/%2F"),
            ("http://[::1]:81/a/./b/../c?x#y", "", 0, ""),
            ("http://[::1]:81/a/./b/../c?x", "::1", 81, "/a/c"),
            ("http://u@a/", "", 0, ""),
            ("ftp://a/", "", 0, ""),
            ("a:443", "", 0, ""),
        ] {
            match Target::of_url(text) {
                Ok(target) => assert_eq!(
                    (target.host(), target.port(), target.path()),
                    (host, port, path),
                    "{text}"
                ),
                Err(_) => assert_eq!(port, 0, "{text}"),
            }
        }
    }
}
