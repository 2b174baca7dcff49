//! Where content can be read: a reference without secrets, fit to travel between hosts.

use std::{borrow::Cow, fmt, str::FromStr};

use crate::Digest;

/// Where an importer reads content. Holds no credential and no query parameter that is known for one.
///
/// `Display` and `Debug` are for people: nobody can list all the names that tokens travel under, so a query is not shown.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// One URL, canonical: lower-case scheme and host, no user, no fragment, signature parameters dropped.
    Url(String),
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

impl Source {
    /// The registry that it is in, if it is in one.
    pub fn registry(&self) -> Option<&RegistryHost> {
        match self {
            Self::Blob { registry, .. } => Some(registry),
            Self::Url(_) => None,
        }
    }

    /// All of it, to tell it from others: not for people.
    pub fn canonical(&self) -> String {
        match self {
            Self::Url(url) => url.clone(),
            Self::Blob { .. } => self.to_string(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => to.write_str(&shown(url)),
            Self::Blob {
                registry,
                repository,
                digest,
            } => write!(to, "{registry}/{repository}@{digest}"),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{self}")
    }
}

/// What people may see of a canonical URL.
pub(crate) fn shown(url: &str) -> Cow<'_, str> {
    match url.split_once('?') {
        Some((bare, _)) => format!("{bare}?...").into(),
        None => url.into(),
    }
}

/// Who may have content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Visibility {
    /// The origin gave it to an anonymous request.
    Public,
    /// The origin asked for credentials: only who proves access there may have it.
    Private,
}

/// A registry's name: a host name or address with an optional port, as in an image's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryHost(String);

/// A repository's name within a registry (OCI distribution spec: `[a-z0-9]+([._-]...)*(/...)*`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoName(String);

/// A tag (OCI distribution spec: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// Why a text is no part of an image's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseNameError {
    /// Not a registry.
    #[error(
        "a registry is a host name or address with an optional port, such as registry.example.com:5000"
    )]
    Registry,
    /// Not a repository.
    #[error(
        "a repository has lower-case parts joined by '/', such as library/alpine, at most 255 characters"
    )]
    Repository,
    /// Not a tag.
    #[error(
        "a tag has 1 to 128 of a-z, A-Z, 0-9, '_', '.' and '-', and does not start with '.' or '-'"
    )]
    Tag,
}

macro_rules! text {
    ($name:ident, $error:ident, $fits:expr) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseNameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let fits: fn(&str) -> bool = $fits;
                if fits(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(ParseNameError::$error)
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str(&self.0)
            }
        }
    };
}

text!(RegistryHost, Registry, is_registry);
text!(RepoName, Repository, |text| text.len() <= 255
    && text.split('/').all(is_repository_part));
text!(Tag, Tag, |text| {
    (1..=128).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-'))
});

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                return address.parse::<std::net::Ipv6Addr>().is_ok()
                    && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
            }
            None => return false,
        },
        None => text
            .split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // What a URL would read as something else, or not at all, names no registry: a number as the last label that is no
    // address, another spelling of one, letters that are no host name.
    let is_host = || url::Host::parse(host).is_ok_and(|read| read.to_string() == host);
    host.len() <= 253 && host.split('.').all(is_label) && is_host() && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.starts_with(['0', '+']) && text.parse::<u16>().is_ok()
}

/// One path part: runs of letters and digits joined by one '.', one or two '_', or any number of '-'.
fn is_repository_part(part: &str) -> bool {
    let is_word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends_in_words =
        bytes.first().is_some_and(|c| is_word(*c)) && bytes.last().is_some_and(|c| is_word(*c));
    ends_in_words
        && bytes
            .split(|c| is_word(*c))
            .filter(|joint| !joint.is_empty())
            .all(|joint| matches!(joint, b"." | b"_" | b"__") || joint.iter().all(|c| *c == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContentKey, Validator};

    fn check<T: FromStr>(good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(text.parse::<T>().is_ok(), "{text:?} was refused");
        }
        for text in bad {
            assert!(text.parse::<T>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn no_query_is_shown() {
        let url = "https://files.test/a%20b?token=canary&v=1";
        let source = Source::Url(url.to_owned());
        assert_eq!(source.to_string(), "https://files.test/a%20b?...");
        assert_eq!(source.canonical(), url);
        let key = ContentKey::Url {
            url: url.to_owned(),
            tag: "t".to_owned(),
            validator: Validator::ETag("\"e\"".to_owned()),
        };
        for shown in [format!("{source:?}"), format!("{key:?}")] {
            assert!(shown.starts_with("https://files.test/a%20b?..."), "{shown}");
            assert!(!shown.contains("canary"), "{shown}");
        }
        let bare = Source::Url("https://files.test/a".to_owned());
        assert_eq!(bare.to_string(), bare.canonical());
    }

    #[test]
    fn registries() {
        check::<RegistryHost>(
            &[
                "docker.io",
                "localhost",
                "127.0.0.1:5000",
                "[::1]:5000",
                "[fd88::2]",
                "a-b.example.com:443",
                "123.example",
                "xn--bcher-kva.example",
            ],
            &[
                "",
                "A.io",
                "a..b",
                "-a",
                "a-",
                "a:0",
                "a:65536",
                "a:+1",
                "a:",
                "a/b",
                "u@h",
                "a b",
                "[::1",
                "[x]",
                "a\0",
                "..",
                "a:1:2",
                "[::1]5",
                // No URL can be made of these, or only one that says another name.
                "foo.123",
                "256.1.1.1",
                "1.2.3",
                "2130706433",
                "0x7f.1",
                "127.1",
                "a.0x1",
                "xn--",
                "a.xn--0",
                "xn--a.example",
                "xn--999999999.example:5000",
            ],
        );
    }

    #[test]
    fn repositories() {
        check::<RepoName>(
            &[
                "a",
                "library/alpine",
                "a/b/c",
                "a__b",
                "a_b",
                "a.b",
                "a--b",
                "a1/2b",
            ],
            &[
                "",
                "/",
                "a/",
                "/a",
                "a//b",
                "A",
                "a/../b",
                "..",
                "a..b",
                "a___b",
                "a._b",
                "-a",
                "a-",
                "a%2fb",
                "a\\b",
                "a\0",
                &"a".repeat(256),
            ],
        );
    }

    #[test]
    fn tags() {
        check::<Tag>(
            &["latest", "v1.0", "_x", "A-b.c"],
            &[
                "",
                ".",
                "-a",
                "a/b",
                "a b",
                "a:b",
                "é",
                "a\0",
                &"a".repeat(129),
            ],
        );
    }
}
