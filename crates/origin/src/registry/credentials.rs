//! Registry credentials of this host, as docker's `config.json` holds them, and where they may go.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Deserialize;
use types::Secret;

use super::keychain::Helper;
use crate::base64;

/// What this host can show a registry.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    /// User and password.
    Password {
        user: String,
        password: Secret<String>,
    },
    /// A refresh token for the token server.
    Identity(Secret<String>),
}

/// Why credentials could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file is missing or unreadable.
    #[error("reading the registry credentials in {path}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What reading met.
        #[source]
        cause: io::Error,
    },
    /// The file is no docker `config.json`. The position is told, the contents are not.
    #[error(
        "the registry credentials in {path} are no docker config.json (line {line}, column {column})",
        path = path.display()
    )]
    Json {
        /// Which file.
        path: PathBuf,
        /// Where parsing stopped.
        line: usize,
        /// Where parsing stopped.
        column: usize,
    },
    /// An entry's `auth` is not base64 of `user:password`.
    #[error(
        "the entry for {registry} in {path} has an auth that is not base64 of user:password",
        path = path.display()
    )]
    Auth {
        /// Which file.
        path: PathBuf,
        /// Which entry.
        registry: String,
    },
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<Hidden>,
    username: Option<String>,
    password: Option<Hidden>,
    identitytoken: Option<Hidden>,
}

/// Text that goes into custody as it is parsed.
struct Hidden(Secret<String>);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(Secret::new(text)))
    }
}

/// Credentials by registry, as its name is written in an image's name, and who holds more of them.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    stored: BTreeMap<String, Credential>,
    helpers: BTreeMap<String, Helper>,
    /// For registries that are named nowhere.
    default: Option<Helper>,
}

/// Where the credentials for a registry are.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Stored(Credential),
    /// With a program that has to be asked.
    With(Helper),
}

impl Credentials {
    pub(crate) fn read(path: &Path) -> Result<Self, CredentialsError> {
        let text = std::fs::read(path).map_err(|cause| CredentialsError::Read {
            path: path.to_owned(),
            cause,
        })?;
        let text = Secret::new(text);
        let file: File =
            serde_json::from_slice(text.expose()).map_err(|cause| CredentialsError::Json {
                path: path.to_owned(),
                line: cause.line(),
                column: cause.column(),
            })?;
        let helper = |name: &String| {
            let helper = Helper::named(name);
            if helper.is_none() {
                tracing::warn!(path = %path.display(), "a credential helper whose name is no plain name is not asked");
            }
            helper
        };
        let helpers = file.helpers.iter();
        let helpers = helpers.filter_map(|(key, name)| Some((registry_of(key)?, helper(name)?)));
        let helpers = helpers.collect();
        let default = file.store.as_ref().and_then(helper);
        let mut stored = BTreeMap::new();
        for (key, entry) in file.auths {
            let Some(registry) = registry_of(&key) else {
                tracing::warn!(%key, "credentials for a part of a registry are not used");
                continue;
            };
            let credential = entry.credential().map_err(|()| CredentialsError::Auth {
                path: path.to_owned(),
                registry: key.clone(),
            })?;
            if let Some(credential) = credential {
                stored.insert(registry, credential);
            }
        }
        Ok(Self {
            stored,
            helpers,
            default,
        })
    }

    /// A helper of its own goes first, as with docker; the one for all others last.
    pub(crate) fn of(&self, registry: &str) -> Option<Found> {
        let registry = registry_of(registry)?;
        let own = self.helpers.get(&registry).cloned().map(Found::With);
        let stored = || self.stored.get(&registry).cloned().map(Found::Stored);
        let default = || self.default.clone().map(Found::With);
        own.or_else(stored).or_else(default)
    }
}

impl Entry {
    /// What the entry holds; nothing, if it only says that a helper knows more.
    fn credential(self) -> Result<Option<Credential>, ()> {
        let filled = |text: &Hidden| !text.0.expose().is_empty();
        if let Some(token) = self.identitytoken.filter(filled) {
            return Ok(Some(Credential::Identity(token.0)));
        }
        if let (Some(user), Some(password)) = (self.username, self.password) {
            return Ok(Some(Credential::Password {
                user,
                password: password.0,
            }));
        }
        let Some(auth) = self.auth.filter(filled) else {
            return Ok(None);
        };
        let plain = Secret::new(base64::decode(auth.0.expose()).ok_or(())?);
        let plain = std::str::from_utf8(plain.expose()).map_err(|_| ())?;
        let (user, password) = plain.split_once(':').ok_or(())?;
        Ok(Some(Credential::Password {
            user: user.to_owned(),
            password: Secret::new(password.trim_end_matches('\0').to_owned()),
        }))
    }
}

/// The registry that a key of `auths` means: docker writes Docker Hub's as a URL. None for a part of a registry.
fn registry_of(key: &str) -> Option<String> {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    if !matches!(path.trim_end_matches('/'), "" | "v1" | "v2") {
        return None;
    }
    let host = host.to_ascii_lowercase();
    Some(match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        _ => host,
    })
}

/// A token server that a registry's stored credentials may be sent to: `REGISTRY=HOST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRealm {
    registry: String,
    host: String,
}

/// Why a text is no such pair.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token realm looks like REGISTRY=HOST, such as registry.corp:5000=auth.corp")]
pub struct ParseRealmError;

impl FromStr for TokenRealm {
    type Err = ParseRealmError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (registry, host) = text.split_once('=').ok_or(ParseRealmError)?;
        let is_host = |text: &str| text.parse::<types::RegistryHost>().is_ok();
        if !is_host(registry) || !is_host(host) || host.contains(':') {
            return Err(ParseRealmError);
        }
        Ok(Self {
            registry: registry.to_owned(),
            host: host.to_owned(),
        })
    }
}

/// Token servers of public registries that live on another host than the registry.
const KNOWN_REALMS: [(&str, &str); 3] = [
    ("docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
    ("nvcr.io", "authn.nvidia.com"),
];

/// Whether `registry`'s credentials may go to `realm_host`. `registry_host` is the host it is reached at.
pub(crate) fn may_send(
    configured: &[TokenRealm],
    registry: &str,
    (registry_host, realm_host): (&str, &str),
) -> bool {
    realm_host == registry_host
        || KNOWN_REALMS.contains(&(registry, realm_host))
        || configured
            .iter()
            .any(|pair| pair.registry == registry && pair.host == realm_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Credentials, CredentialsError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Credentials::read(file.path())
    }

    #[test]
    fn every_form_of_an_entry_is_understood() {
        let found = read(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "YW5uOnM6M2NyZXQ="},
                "registry.corp:5000": {"username": "bob", "password": "p"},
                "azure.example": {"auth": "MDA6", "identitytoken": "refresh"},
                "helper.example": {},
                "part.example/team": {"auth": "YTpi"}
            }, "credsStore": "desktop", "credHelpers": {"ecr.example": "ecr-login", "b.example": "../x"}, "psFormat": "x"}"#,
        )
        .unwrap();
        for name in ["docker.io", "index.docker.io"] {
            let Some(Found::Stored(Credential::Password { user, password })) = found.of(name)
            else {
                panic!("{name}");
            };
            assert_eq!(
                (user.as_str(), password.expose().as_str()),
                ("ann", "s:3cret")
            );
        }
        assert!(matches!(
            found.of("registry.corp:5000"),
            Some(Found::Stored(Credential::Password { .. }))
        ));
        assert!(matches!(
            found.of("azure.example"),
            Some(Found::Stored(Credential::Identity(_)))
        ));
        let with = |name| Helper::named(name).unwrap();
        for (name, helper) in [
            ("helper.example", with("desktop")),
            ("part.example", with("desktop")),
            ("ecr.example", with("ecr-login")),
        ] {
            let found = found.of(name);
            assert!(
                matches!(found, Some(Found::With(one)) if one == helper),
                "{name}"
            );
        }
        let found_nowhere = read(r#"{"auths": {"helper.example": {}}}"#).unwrap();
        assert!(found_nowhere.of("helper.example").is_none());
        assert!(!format!("{found:?}").contains("3cret"));
    }

    #[test]
    fn a_broken_file_is_an_error_that_tells_no_secret() {
        for text in [
            "",
            r#"{"auths": {"a": {"auth": "canary!"}}}"#,
            r#"{"auths": {"a": {"password": ["canary"]}}}"#,
            r#"{"auths": {"a": {"auth": "Y2FuYXJ5"}}}"#,
        ] {
            let error = read(text).expect_err(text);
            assert!(
                !format!("{error} {error:?}").contains("canary"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn credentials_go_to_the_registry_and_to_listed_realms_only() {
        let pairs = ["registry.corp:5000=auth.corp".parse().unwrap()];
        let may = |registry: &str, hosts| may_send(&pairs, registry, hosts);
        assert!(may("r.example", ("r.example", "r.example")));
        assert!(may("docker.io", ("registry-1.docker.io", "auth.docker.io")));
        assert!(may("registry.corp:5000", ("registry.corp", "auth.corp")));
        assert!(!may("registry.corp:5001", ("registry.corp", "auth.corp")));
        assert!(!may("r.example", ("r.example", "evil.r.example")));
        assert!(!may("r.example", ("r.example", "auth.docker.io")));
        for bad in ["", "a", "a=", "=b", "a=b:1", "a=b/c", "a=*"] {
            assert!(bad.parse::<TokenRealm>().is_err(), "{bad}");
        }
    }
}
