//! What a path and query of the distribution spec name. Pure.
//!
//! A path becomes checked types here, once, and the path sent upstream is built from them again: nothing a client
//! escapes, doubles or dots away survives. The only escape taken is `%3A`, which some clients write in digests.

use std::fmt;

use types::{Digest, ParseDigestError, RegistryHost, RepoName, Tag};
use url::form_urlencoded;

use super::Registries;

/// What a request names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `/v2/` of no registry in particular; the default one, if there is one.
    Unnamed(Option<RegistryHost>),
    /// Something at a registry.
    At {
        /// The registry.
        registry: RegistryHost,
        /// The query without `ns`, as it came.
        query: Option<String>,
        /// What is asked of it.
        route: Route,
    },
}

/// What is asked of a registry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/v2/`: is this a registry, and does it want credentials?
    Base,
    /// A blob whose digest we can check.
    Blob {
        /// Where.
        repository: RepoName,
        /// Which.
        digest: Digest,
    },
    /// A manifest that we can check, or a tag.
    Manifest {
        /// Where.
        repository: RepoName,
        /// Which.
        name: Name,
    },
    /// Tags, referrers, the catalog, and digests of functions we do not know: the upstream path.
    Other(String),
}

/// How a manifest is named.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// By tag.
    Tag(Tag),
    /// By digest.
    Digest(Digest),
}

/// Why a request names nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    /// Characters or escapes that no name has, or too long.
    #[error("the path or query is malformed")]
    Malformed,
    /// Not a path of the distribution spec.
    #[error("there is nothing at this path")]
    Unknown,
    /// Not a repository's name.
    #[error("the repository name is invalid")]
    Repository,
    /// Neither a tag nor a digest.
    #[error("the tag is invalid")]
    Tag,
    /// Almost a digest.
    #[error("the digest is invalid")]
    Digest,
    /// No registry, or one that this mirror does not serve.
    #[error(
        "the request names no registry that this mirror serves (?ns=HOST, or /v2/HOST/NAME/...)"
    )]
    Registry,
}

/// Longest path: 255 of a name, a registry before it, a sha512 digest behind it, and some room.
const PATH_MAX: usize = 1024;
const QUERY_MAX: usize = 4096;

impl Target {
    /// Reads a request's target.
    pub(crate) fn parse(
        path: &str,
        query: Option<&str>,
        registries: &Registries,
    ) -> Result<Self, RouteError> {
        if path.len() > PATH_MAX || query.is_some_and(|query| query.len() > QUERY_MAX) {
            return Err(RouteError::Malformed);
        }
        let (ns, query) = split_ns(query.unwrap_or_default())?;
        let named = ns
            .map(|ns| {
                ns.parse()
                    .ok()
                    .filter(|host| registries.any || registries.serve(host))
                    .ok_or(RouteError::Registry)
            })
            .transpose()?;
        let rest = match path {
            "/v2" | "/v2/" => {
                return Ok(match named {
                    None => Self::Unnamed(registries.default.clone()),
                    Some(registry) => Self::At {
                        registry,
                        query,
                        route: Route::Base,
                    },
                });
            }
            _ => path.strip_prefix("/v2/").ok_or(RouteError::Unknown)?,
        };
        let rest = plain(rest)?;
        let (registry, rest) = match named {
            Some(registry) => (registry, rest.as_str()),
            None => registries.split(&rest).ok_or(RouteError::Registry)?,
        };
        Ok(Self::At {
            registry,
            query,
            route: Route::parse(rest)?,
        })
    }

    /// The registry, for logs.
    pub(crate) fn registry_shown(&self) -> impl fmt::Display {
        match self {
            Self::Unnamed(_) => String::from("-"),
            Self::At { registry, .. } => registry.to_string(),
        }
    }
}

impl Registries {
    fn serve(&self, host: &RegistryHost) -> bool {
        self.known.contains(host) || self.default.as_ref() == Some(host)
    }

    /// The registry that a path without `ns` begins with, or the default one.
    fn split<'a>(&self, rest: &'a str) -> Option<(RegistryHost, &'a str)> {
        rest.split_once('/')
            .and_then(|(first, name)| {
                let host = self.known.iter().find(|known| known.as_str() == first)?;
                Some((host.clone(), name))
            })
            .or_else(|| Some((self.default.clone()?, rest)))
    }
}

impl Route {
    /// Reads what follows `/v2/` and the registry. Names are read from the end: a repository may be called `blobs`.
    fn parse(rest: &str) -> Result<Self, RouteError> {
        if rest == "_catalog" {
            return Ok(Self::Other("/v2/_catalog".into()));
        }
        let (front, last) = rest.rsplit_once('/').ok_or(RouteError::Unknown)?;
        let (repository, kind) = front.rsplit_once('/').ok_or(RouteError::Unknown)?;
        if !matches!(
            (kind, last),
            ("blobs" | "manifests" | "referrers", _) | ("tags", "list")
        ) {
            return Err(RouteError::Unknown);
        }
        let repository: RepoName = repository.parse().map_err(|_| RouteError::Repository)?;
        let other = |last: &str| Self::Other(format!("/v2/{repository}/{kind}/{last}"));
        match kind {
            "tags" => Ok(other(last)),
            "manifests" if !last.contains(':') => Ok(Self::Manifest {
                repository,
                name: Name::Tag(last.parse().map_err(|_| RouteError::Tag)?),
            }),
            _ => match last.parse::<Digest>() {
                Ok(_) if kind == "referrers" => Ok(other(last)),
                Ok(digest) if kind == "blobs" => Ok(Self::Blob { repository, digest }),
                Ok(digest) => Ok(Self::Manifest {
                    repository,
                    name: Name::Digest(digest),
                }),
                Err(ParseDigestError::Algorithm) if is_foreign_digest(last) => Ok(other(last)),
                Err(_) => Err(RouteError::Digest),
            },
        }
    }
}

/// What a path of a registry names.
pub(crate) fn route_at(path: &str) -> Option<Route> {
    let rest = path
        .strip_prefix("/v2/")
        .filter(|_| path.len() <= PATH_MAX)?;
    Route::parse(&plain(rest).ok()?).ok()
}

/// The blob that a path of a registry names.
pub(crate) fn blob_at(path: &str) -> Option<(RepoName, Digest)> {
    match route_at(path)? {
        Route::Blob { repository, digest } => Some((repository, digest)),
        _ => None,
    }
}

/// `path` with the query that came with it.
pub(crate) fn with_query(mut path: String, query: Option<&str>) -> String {
    if let Some(query) = query {
        path.push('?');
        path.push_str(query);
    }
    path
}

/// The path with `%3A` as a colon, if it has only characters that names have.
fn plain(rest: &str) -> Result<String, RouteError> {
    let rest = rest.replace("%3A", ":").replace("%3a", ":");
    let fits = rest
        .bytes()
        .all(|c| c.is_ascii_alphanumeric() || b"/._-:+=[]".contains(&c));
    if fits {
        Ok(rest)
    } else {
        Err(RouteError::Malformed)
    }
}

/// The value of `ns`, and the other parameters as they came.
fn split_ns(query: &str) -> Result<(Option<String>, Option<String>), RouteError> {
    let is_text = query.bytes().all(|c| c.is_ascii_graphic());
    if !is_text {
        return Err(RouteError::Malformed);
    }
    let is_ns = |part: &&str| *part == "ns" || part.starts_with("ns=");
    let mut names = query.split('&').filter(is_ns);
    let ns = names.next().map(|part| {
        form_urlencoded::parse(part.as_bytes())
            .next()
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    });
    if names.next().is_some() {
        // Two readers could each take another one.
        return Err(RouteError::Malformed);
    }
    let others: Vec<&str> = query
        .split('&')
        .filter(|part| !part.is_empty() && !is_ns(part))
        .collect();
    Ok((ns, (!others.is_empty()).then(|| others.join("&"))))
}

/// The grammar of the image spec for digests of any function.
fn is_foreign_digest(text: &str) -> bool {
    let Some((function, value)) = text.split_once(':') else {
        return false;
    };
    let is_function = !function.is_empty()
        && function.split(['+', '.', '_', '-']).all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        });
    is_function
        && (32..=256).contains(&value.len())
        && value
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'=' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn registries() -> Registries {
        Registries {
            known: ["quay.io", "localhost:5000"]
                .map(|host| host.parse().expect("a host"))
                .into(),
            default: Some("docker.io".parse().expect("a host")),
            any: true,
        }
    }

    /// `HOST KIND UPSTREAM-PATH`, or the error.
    fn check(target: &str) -> Result<String, RouteError> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Ok(match Target::parse(path, query, &registries())? {
            Target::Unnamed(default) => format!("unnamed {}", default.expect("a default")),
            Target::At {
                registry,
                query,
                route,
            } => {
                let route = match route {
                    Route::Base => "base /v2/".into(),
                    Route::Blob { repository, .. } => format!("blob {repository}"),
                    Route::Manifest {
                        repository,
                        name: Name::Tag(tag),
                    } => format!("tag {repository}:{tag}"),
                    Route::Manifest { repository, .. } => format!("manifest {repository}"),
                    Route::Other(path) => format!("other {path}"),
                };
                with_query(format!("{registry} {route}"), query.as_deref())
            }
        })
    }

    #[test]
    fn clients_name_registries_in_three_ways() {
        let sha = format!("sha256:{}", "ab".repeat(32));
        for (target, meaning) in [
            ("/v2/".into(), "unnamed docker.io".into()),
            ("/v2".into(), "unnamed docker.io".into()),
            ("/v2/?ns=quay.io".into(), "quay.io base /v2/".into()),
            (
                "/v2/a/manifests/b?ns=ghcr.io".into(),
                "ghcr.io tag a:b".into(),
            ),
            (
                "/v2/a/manifests/b?ns=localhost%3A5000".into(),
                "localhost:5000 tag a:b".into(),
            ),
            ("/v2/quay.io/a/manifests/b".into(), "quay.io tag a:b".into()),
            (
                "/v2/localhost:5000/a/manifests/b".into(),
                "localhost:5000 tag a:b".into(),
            ),
            (
                "/v2/quay.io/a/manifests/b?ns=ghcr.io".into(),
                "ghcr.io tag quay.io/a:b".into(),
            ),
            (
                "/v2/library/a/manifests/b".into(),
                "docker.io tag library/a:b".into(),
            ),
            (
                format!("/v2/a/b/manifests/{sha}"),
                "docker.io manifest a/b".into(),
            ),
            (format!("/v2/a/blobs/{sha}"), "docker.io blob a".into()),
            (
                format!("/v2/a/blobs/{}", sha.replace(':', "%3A")),
                "docker.io blob a".into(),
            ),
            (
                format!("/v2/blobs/manifests/blobs/{sha}"),
                "docker.io blob blobs/manifests".into(),
            ),
            (
                "/v2/a/tags/list?n=2&ns=quay.io&last=x%2fy".into(),
                "quay.io other /v2/a/tags/list?n=2&last=x%2fy".into(),
            ),
            (
                format!("/v2/a/referrers/{sha}?artifactType=b"),
                format!("docker.io other /v2/a/referrers/{sha}?artifactType=b"),
            ),
            (
                "/v2/_catalog?n=5".into(),
                "docker.io other /v2/_catalog?n=5".into(),
            ),
            (
                format!("/v2/a/blobs/sha512:{}", "ab".repeat(64)),
                format!("docker.io other /v2/a/blobs/sha512:{}", "ab".repeat(64)),
            ),
        ] as [(String, String); 17]
        {
            assert_eq!(check(&target), Ok(meaning), "{target}");
        }
    }

    #[test]
    fn a_hostile_corpus_names_nothing() {
        let hex = "ab".repeat(32);
        for target in [
            "/".to_owned(),
            "/etc/passwd".into(),
            "/v1/a/manifests/b".into(),
            "/v2/../etc/passwd".into(),
            "/v2/a/../b/manifests/c".into(),
            "/v2/../../manifests/c".into(),
            "/v2/a/manifests/..".into(),
            "/v2/a/manifests/../../x".into(),
            "/v2/%2e%2e%2fetc/manifests/b".into(),
            "/v2/a%2fb/manifests/c".into(),
            "/v2/a/manifests/%2e%2e".into(),
            "/v2/a/manifests/..%252f..%252fetc".into(),
            "/v2/a/manifests/b%00".into(),
            "/v2/a\\..\\b/manifests/c".into(),
            "/v2/a/manifests/b\0".into(),
            "/v2//a/manifests/b".into(),
            "/v2/a//manifests/b".into(),
            "/v2/a/manifests//b".into(),
            "/v2/a/manifests/".into(),
            "/v2/a/manifests".into(),
            "/v2/A/manifests/b".into(),
            "/v2/a/tags/lists".into(),
            "/v2/a/blobs/uploads/".into(),
            format!("/v2/a/blobs/{hex}"),
            format!("/v2/a/blobs/sha256:{}", &hex[1..]),
            format!("/v2/a/blobs/sha256:{}", hex.to_uppercase()),
            format!("/v2/a/blobs/SHA256:{hex}"),
            format!("/v2/a/blobs/sha256:{hex}/../x"),
            format!("/v2/a/blobs/x:{}", "a".repeat(300)),
            "/v2/a/blobs/sha512:..".into(),
            format!("/v2/{}/manifests/b", "a".repeat(256)),
            format!("/v2/{}/manifests/b", "a/".repeat(4000)),
            format!("/v2/a/manifests/{}", "b".repeat(129)),
            "/v2/a/manifests/b?ns=".into(),
            "/v2/a/manifests/b?ns".into(),
            "/v2/a/manifests/b?ns=a/b".into(),
            "/v2/a/manifests/b?ns=http://evil".into(),
            "/v2/a/manifests/b?ns=u@evil".into(),
            "/v2/a/manifests/b?ns=%2e%2e".into(),
            "/v2/a/manifests/b?ns=a%00".into(),
            "/v2/a/manifests/b?ns=a&ns=b".into(),
            format!("/v2/a/manifests/b?x={}", "a".repeat(5000)),
            "/v2/a/manifests/b?x=\r\nHost: y".into(),
        ] {
            assert!(
                check(&target).is_err(),
                "{target} gave {:?}",
                check(&target)
            );
        }
    }

    #[test]
    fn only_served_registries_are_asked() {
        let closed = Registries {
            any: false,
            default: None,
            ..registries()
        };
        let parse = |path, query| Target::parse(path, query, &closed);
        assert_eq!(
            parse("/v2/a/manifests/b", Some("ns=evil.io")),
            Err(RouteError::Registry)
        );
        assert_eq!(parse("/v2/a/manifests/b", None), Err(RouteError::Registry));
        assert_eq!(parse("/v2/", None), Ok(Target::Unnamed(None)));
        assert!(parse("/v2/a/manifests/b", Some("ns=quay.io")).is_ok());
    }

    proptest! {
        #[test]
        fn no_target_reaches_outside_its_repository(path in "/v2/[a-z./%25\\\\:]{0,60}(manifests|blobs|tags)/[a-z./%25:]{0,40}") {
            if let Ok(Target::At { route: Route::Other(path), .. }) = Target::parse(&path, None, &registries()) {
                prop_assert!(!path.contains("..") && !path.contains('%') && !path.contains('\\'));
            }
        }
    }
}
