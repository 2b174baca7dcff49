//! What a consumer wants, who it is, and what it may show the origin: the same words for every door.

use std::{fmt, net::SocketAddr, str::FromStr};

use ::http::{HeaderMap, HeaderName, HeaderValue};
use types::{ByteCount, Digest, RegistryHost, RepoName, Secret, Validator};
use url::Url;

use crate::{range::AskedRange, reader::Proof};

/// One consumer's request for content.
#[derive(Clone, Debug)]
pub struct ContentAsk {
    /// The content.
    pub wanted: Wanted,
    /// The part of it that is read first; the whole when absent.
    pub range: Option<AskedRange>,
    /// Who asks.
    pub caller: Caller,
    /// What the caller shows the origin. It proves the right to private content, and stays on this host.
    pub headers: OriginHeaders,
    /// How urgent it is.
    pub class: Class,
    /// Whether a request for a part brings the whole.
    pub prefetch: bool,
    /// What the reader of the whole will ask for at its end: the daemon prepares it meanwhile.
    pub proof: Proof,
}

/// The content of a [`ContentAsk`].
#[derive(Clone, Debug)]
pub enum Wanted {
    /// What a URL gives.
    Url {
        /// As the caller wrote it: it may hold a signature, so it is a secret until it is made canonical.
        url: Secret<String>,
        /// What the bytes must hash to, if the caller knows.
        digest: Option<Digest>,
        /// A name the caller chose to keep contents apart; usually empty.
        tag: String,
        /// Query parameters, in lower case, that tell no contents apart.
        ignored: Vec<String>,
        /// The version that the origin just gave for it, to a door that asked.
        seen: Option<Seen>,
    },
    /// A blob in a registry's repository.
    Blob {
        /// The registry, as in an image's name.
        registry: RegistryHost,
        /// The repository within it.
        repository: RepoName,
        /// The blob.
        digest: Digest,
    },
}

/// A version of content at a URL, as its origin just told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its length.
    pub length: ByteCount,
    /// What tells it from others.
    pub validator: Validator,
}

/// Why a text names no content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseWantedError {
    /// Neither form.
    #[error("content is named by a URL or as REGISTRY/REPOSITORY@sha256:DIGEST")]
    Shape,
    /// A URL that is none.
    #[error("the URL is malformed: write it as https://HOST/PATH")]
    Url,
    /// A URL without a host.
    #[error("the URL names no host: write it as https://HOST/PATH")]
    Host,
    /// A URL of another scheme.
    #[error("URLs begin with http:// or https://, not with {0}:")]
    Scheme(String),
    /// A file of this machine.
    #[error("this is a path on this machine; content comes from a web server or a registry")]
    Path,
    /// A password in a URL ends up in logs and process lists.
    #[error("the URL holds a user name or password: pass them in a header instead")]
    Credentials,
}

impl FromStr for Wanted {
    type Err = ParseWantedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if ["/", "./", "../", "~", "file:"]
            .iter()
            .any(|start| text.starts_with(start))
        {
            return Err(ParseWantedError::Path);
        }
        if let Some((scheme, rest)) = scheme_of(text) {
            if !["http", "https"].contains(&&*scheme.to_ascii_lowercase()) {
                return Err(ParseWantedError::Scheme(scheme.to_owned()));
            }
            let named = rest.strip_prefix("//").ok_or(ParseWantedError::Url)?;
            // Browsers skip further slashes and take the first folder for the host; nobody means that.
            if named.is_empty() || named.starts_with(['/', '?', '#', ':']) {
                return Err(ParseWantedError::Host);
            }
            let url = Url::parse(text).map_err(|_| ParseWantedError::Url)?;
            if !url.username().is_empty() || url.password().is_some() {
                return Err(ParseWantedError::Credentials);
            }
            return Ok(Self::Url {
                url: Secret::new(text.to_owned()),
                digest: None,
                tag: String::new(),
                ignored: Vec::new(),
                seen: None,
            });
        }
        let (name, digest) = text.split_once('@').ok_or(ParseWantedError::Shape)?;
        let (registry, repository) = name.split_once('/').ok_or(ParseWantedError::Shape)?;
        Ok(Self::Blob {
            registry: registry.parse().map_err(|_| ParseWantedError::Shape)?,
            repository: repository.parse().map_err(|_| ParseWantedError::Shape)?,
            digest: digest.parse().map_err(|_| ParseWantedError::Shape)?,
        })
    }
}

/// The scheme of what is meant to be a URL, and what follows its colon. A registry's port has a colon before it, too.
fn scheme_of(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_url = rest.starts_with("//") || ["http", "https"].contains(&scheme);
    let is_scheme = scheme
        .bytes()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'));
    (is_url && is_scheme && !scheme.is_empty()).then_some((scheme, rest))
}

/// Who asks. For logs, quotas and the policy of a door; the right to private content is proved by [`OriginHeaders`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A client of an HTTP door.
    Tcp(SocketAddr),
    /// A process on this host, as the kernel names it.
    Unix {
        /// Effective user when it connected.
        uid: u32,
        /// Effective group when it connected.
        gid: u32,
        /// Its process, if the kernel told.
        pid: Option<i32>,
    },
}

/// How urgent an ask is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// Somebody waits for these bytes.
    #[default]
    Waiting,
    /// Fetched ahead of need: everything else goes first.
    Ahead,
}

/// Header lines meant for the origin. Their values are secrets.
#[derive(Clone, Default)]
pub struct OriginHeaders(Vec<(HeaderName, Secret<Vec<u8>>)>);

impl OriginHeaders {
    /// The most lines one ask may carry.
    pub const LINES_MAX: usize = 64;

    /// Adds a line. Several lines of one name are kept apart and in order. `false` if there is no room left.
    #[must_use]
    pub fn push(&mut self, name: HeaderName, value: &HeaderValue) -> bool {
        let fits = self.0.len() < Self::LINES_MAX;
        if fits {
            self.0.push((name, Secret::new(value.as_bytes().to_vec())));
        }
        fits
    }

    /// The lines of `name` in `headers`.
    pub(crate) fn only(name: HeaderName, headers: &HeaderMap) -> Self {
        let lines = headers.get_all(&name).iter().take(Self::LINES_MAX);
        Self(
            lines
                .map(|value| (name.clone(), Secret::new(value.as_bytes().to_vec())))
                .collect(),
        )
    }

    /// The names, in order; `authorization` among them means that the caller has credentials of its own.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|(name, _)| name)
    }

    /// The lines as a map for one request to the origin, marked sensitive.
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            let mut value =
                HeaderValue::from_bytes(value.expose()).expect("it was a header value before");
            value.set_sensitive(true);
            map.append(name.clone(), value);
        }
        map
    }
}

impl fmt::Debug for OriginHeaders {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_named_by_url_or_by_blob() {
        let hex = "ab".repeat(32);
        let blob = format!("localhost:5000/library/alpine@sha256:{hex}");
        assert!(matches!(blob.parse(), Ok(Wanted::Blob { .. })));
        assert!(matches!("https://h/f?X=1".parse(), Ok(Wanted::Url { .. })));
        for (bad, why) in [
            ("alpine", ParseWantedError::Shape),
            ("alpine@sha256:00", ParseWantedError::Shape),
            ("/etc/passwd", ParseWantedError::Path),
            ("./model.bin", ParseWantedError::Path),
            ("file:///etc/passwd", ParseWantedError::Path),
            ("https://", ParseWantedError::Host),
            ("https:///f", ParseWantedError::Host),
            ("http://:8080/f", ParseWantedError::Host),
            ("http:/h/f", ParseWantedError::Url),
            ("https:h/f", ParseWantedError::Url),
            ("https://h:port/f", ParseWantedError::Url),
            ("htp://h/f", ParseWantedError::Scheme("htp".into())),
            ("s3://bucket/f", ParseWantedError::Scheme("s3".into())),
            ("://h/f", ParseWantedError::Shape),
            ("https://u:p@h/f", ParseWantedError::Credentials),
            ("https://u@h/f", ParseWantedError::Credentials),
        ] {
            assert_eq!(bad.parse::<Wanted>().err(), Some(why), "{bad}");
        }
    }

    #[test]
    fn secrets_of_an_ask_do_not_print() {
        let mut headers = OriginHeaders::default();
        assert!(headers.push(
            ::http::header::AUTHORIZATION,
            &HeaderValue::from_static("Bearer hunter2")
        ));
        let ask = ContentAsk {
            wanted: "https://h/f?sig=hunter2".parse().expect("a URL"),
            range: None,
            caller: Caller::Tcp("127.0.0.1:1".parse().expect("an address")),
            headers,
            class: Class::Waiting,
            prefetch: false,
            proof: Proof::Sealed,
        };
        let shown = format!("{ask:?}");
        assert!(
            shown.contains("authorization") && !shown.contains("hunter2"),
            "{shown}"
        );
        assert!(!format!("{:?}", ask.headers.to_map()).contains("hunter2"));
    }
}
