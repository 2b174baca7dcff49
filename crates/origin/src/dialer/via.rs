//! The way through somebody else's proxy, where an operator names one: `CONNECT` for TLS and tunnels, whole URLs for plain
//! text.
//!
//! The proxy looks names up, so nobody here sees where a connection ends: through it only listed origins are asked for.

use std::{fs, io, net::IpAddr, path::PathBuf, str::FromStr};

use http::HeaderValue;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use types::{HostPattern, Secret};

use super::{DialPolicy, Network};
use crate::{
    allowed::{AllowedOrigin, Scheme},
    base64,
};

/// Longest head of a proxy's answer.
const HEAD_MAX: usize = 8 << 10;

/// A proxy as an operator configures it.
#[derive(Clone, Debug)]
pub struct UpstreamProxy {
    /// Where it is: `http://HOST:PORT`.
    pub at: AllowedOrigin,
    /// Origins that are reached without it.
    pub bypass: Vec<Bypass>,
    /// A file with `USER:PASSWORD` for it.
    pub credentials_file: Option<PathBuf>,
}

/// Why a text names no proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a proxy is http://HOST:PORT, spoken to in plain text; user and password are in a file")]
pub struct ParseProxyError;

impl UpstreamProxy {
    /// Where a proxy is.
    pub fn parse_place(text: &str) -> Result<AllowedOrigin, ParseProxyError> {
        let place: AllowedOrigin = text
            .trim_end_matches('/')
            .parse()
            .map_err(|_| ParseProxyError)?;
        match place.scheme() {
            Scheme::Http => Ok(place),
            Scheme::Https => Err(ParseProxyError),
        }
    }
}

/// Origins that are reached without the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// By name or address.
    Hosts(HostPattern),
    /// By address, where an origin is named by one.
    Range(Network),
}

impl FromStr for Bypass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            text.parse()
                .map(Self::Range)
                .map_err(|error: super::ParseNetworkError| error.to_string())
        } else {
            text.parse()
                .map(Self::Hosts)
                .map_err(|error: types::ParseHostPatternError| error.to_string())
        }
    }
}

impl Bypass {
    fn has(&self, origin: &AllowedOrigin) -> bool {
        match self {
            Self::Hosts(hosts) => hosts.matches(origin.host(), origin.port()),
            Self::Range(range) => origin
                .address()
                .is_some_and(|address| range.contains(address)),
        }
    }
}

/// Why the credentials for a proxy are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ProxyCredentialsError {
    /// The file.
    #[error("reading the proxy's credentials in {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What reading met.
        #[source]
        cause: io::Error,
    },
    /// What is in it.
    #[error("{path} holds no USER:PASSWORD", path = path.display())]
    Shape {
        /// Which.
        path: PathBuf,
    },
}

/// A proxy, ready to be used.
pub(crate) struct Via {
    pub(super) proxy: AllowedOrigin,
    /// The proxy itself is as good as listed, and goes by the same rules for addresses.
    pub(super) policy: DialPolicy,
    bypass: Vec<Bypass>,
    authorization: Option<HeaderValue>,
}

impl Via {
    pub(crate) fn open(config: UpstreamProxy) -> Result<Self, ProxyCredentialsError> {
        let authorization = config.credentials_file.map(authorization).transpose()?;
        Ok(Self {
            policy: DialPolicy::new([config.at.clone()], true),
            proxy: config.at,
            bypass: config.bypass,
            authorization,
        })
    }

    /// Whether `origin` is reached through it. This host itself never is: the proxy would take its own for it.
    pub(crate) fn leads_to(&self, origin: &AllowedOrigin) -> bool {
        let is_here = origin.host() == "localhost" || origin.address().is_some_and(is_loopback);
        !is_here && !self.bypass.iter().any(|bypass| bypass.has(origin))
    }

    /// What it is shown by who asks it for something.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Has `stream`, a connection to it, lead to `origin`.
    pub(super) async fn tunnel(
        &self,
        stream: &mut TcpStream,
        origin: &AllowedOrigin,
    ) -> Result<(), ProxyProblem> {
        let target = origin.authority();
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend(b"Proxy-Authorization: ");
            request.extend(authorization.as_bytes());
            request.extend(b"\r\n");
        }
        request.extend(b"\r\n");
        stream.write_all(&request).await?;
        match status(&read_head(stream).await?) {
            Some(200..=299) => Ok(()),
            Some(status) => Err(ProxyProblem::Status { status }),
            None => Err(ProxyProblem::NoHttp),
        }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn authorization(path: PathBuf) -> Result<HeaderValue, ProxyCredentialsError> {
    let text = match fs::read_to_string(&path) {
        Ok(text) => Secret::new(text),
        Err(cause) => return Err(ProxyCredentialsError::Read { path, cause }),
    };
    let pair = text.expose().trim_end_matches(['\r', '\n']);
    match pair.split_once(':') {
        Some((user, password)) if !user.is_empty() && !pair.contains(['\r', '\n']) => {
            Ok(base64::basic(user, password))
        }
        _ => Err(ProxyCredentialsError::Shape { path }),
    }
}

/// What a proxy did in place of leading somewhere.
#[derive(Debug, thiserror::Error)]
pub enum ProxyProblem {
    /// The connection to it broke.
    #[error("the connection to it broke")]
    Broken(#[from] io::Error),
    /// It speaks something else.
    #[error("what it answers is no HTTP")]
    NoHttp,
    /// It said no.
    #[error("it answered {status}{}", step(*.status))]
    Status {
        /// What it answered.
        status: u16,
    },
    /// It said nothing.
    #[error("it did not answer in time")]
    Silent,
}

fn step(status: u16) -> &'static str {
    match status {
        // Some proxies say the first where they mean the second.
        401 | 407 => ": it wants user and password, which origin.proxy_credentials_file is to hold",
        403 | 405 => {
            ": it is for whoever runs it to allow this; what is reached without it belongs in origin.proxy_bypass"
        }
        _ => "",
    }
}

impl ProxyProblem {
    /// Whether it would say the same later.
    pub(crate) fn is_permanent(&self) -> bool {
        matches!(self, Self::NoHttp | Self::Status { status: 400..=499 })
    }
}

/// The head of its answer, and no byte of what comes behind it: that is the origin's.
async fn read_head(stream: &mut TcpStream) -> Result<Vec<u8>, ProxyProblem> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_MAX {
            return Err(ProxyProblem::NoHttp);
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(head).ok()?;
    let line = text.lines().next()?;
    let mut words = line.split(' ');
    let is_http = matches!(words.next(), Some("HTTP/1.1" | "HTTP/1.0"));
    let status = words.next().filter(|digits| digits.len() == 3)?;
    status.parse().ok().filter(|_| is_http)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_plain_place_and_what_is_bypassed_is_not_asked_of_it() {
        for text in [
            "https://proxy.corp:3128",
            "proxy.corp:3128",
            "http://u:p@proxy:1",
            "http://a/b",
            "",
        ] {
            assert!(UpstreamProxy::parse_place(text).is_err(), "{text}");
        }
        let via = Via::open(UpstreamProxy {
            at: UpstreamProxy::parse_place("http://proxy.corp:3128/").unwrap(),
            bypass: ["*.corp", "near:8443", "10.0.0.0/8"]
                .map(|text| text.parse().unwrap())
                .into(),
            credentials_file: None,
        });
        let via = via.unwrap();
        for (origin, leads) in [
            ("example.com", true),
            ("corp", true),
            ("near", true),
            ("11.0.0.1", true),
            ("near:8443", false),
            ("a.corp", false),
            ("10.1.2.3:5000", false),
            ("localhost:5000", false),
            ("127.0.0.2:5000", false),
            ("[::1]:5000", false),
            ("[::ffff:127.0.0.1]:5000", false),
        ] {
            assert_eq!(via.leads_to(&origin.parse().unwrap()), leads, "{origin}");
        }
    }

    #[test]
    fn only_a_status_line_of_http_1_counts() {
        assert_eq!(
            status(b"HTTP/1.1 200 Connection established\r\n\r\n"),
            Some(200)
        );
        assert_eq!(status(b"HTTP/1.0 407 x\r\n\r\n"), Some(407));
        for head in [
            "HTTP/2 200\r\n\r\n",
            "200 OK\r\n\r\n",
            "HTTP/1.1 2000 \r\n\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(status(head.as_bytes()), None, "{head:?}");
        }
    }

    #[test]
    fn credentials_are_one_pair_and_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy");
        for (text, fits) in [
            ("u:p:q\n", true),
            ("u", false),
            (":p", false),
            ("u:p\nv:q", false),
        ] {
            std::fs::write(&path, text).unwrap();
            let read = authorization(path.clone());
            assert_eq!(read.is_ok(), fits, "{text:?}");
            assert!(!format!("{read:?}").contains("Basic"), "{read:?}");
        }
        assert!(authorization(folder.path().join("none")).is_err());
    }
}
