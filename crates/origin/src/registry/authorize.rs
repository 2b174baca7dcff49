//! Keeps what registries granted us, and gets more.
//!
//! A grant belongs to one registry, one repository and one identity. It is renewed ahead of its end by whoever comes
//! first after two thirds of its life; the others go on with the old one meanwhile.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use http::HeaderValue;
use parking_lot::Mutex;
use types::RepoName;
use url::Url;

use super::{
    challenge::Challenge,
    credentials::{Credential, Credentials, CredentialsError, TokenRealm, may_send},
    token,
};
use crate::{
    allowed::AllowedOrigin, ask::AskError, base64, flight::Flights, origins::Inner, shown::ShownUrl,
};

/// Grants that are kept; beyond it those that ended are swept, then all.
const GRANTS_MAX: usize = 4096;

/// Why a registry's challenge was not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuthError {
    /// The registry wants its stored credentials sent to somebody else.
    #[error(
        "{registry} asks to send its stored credentials to {host}; \
         if that is meant, add it to origin.realms in the daemon's configuration: {registry}={host}"
    )]
    ForeignRealm {
        /// The registry.
        registry: String,
        /// Whom it names.
        host: String,
    },
    /// The token server's answer holds no token.
    #[error("{realm} answered without a token")]
    Token {
        /// The token server.
        realm: ShownUrl,
    },
}

/// Whose grant it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    /// Nobody in particular: public content.
    Anonymous,
    /// This host, with its stored credentials.
    Host,
}

/// What a grant is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GrantKey {
    /// As in an image's name.
    pub(crate) registry: String,
    pub(crate) repository: RepoName,
    pub(crate) holder: Holder,
}

/// What a registry granted.
#[derive(Clone)]
pub(crate) struct Grant {
    authorization: HeaderValue,
    challenge: Challenge,
    renew_at: Instant,
    ends_at: Instant,
}

/// Stored credentials and what they were granted.
pub(crate) struct Vault {
    credentials: Credentials,
    realms: Vec<TokenRealm>,
    grants: Mutex<BTreeMap<GrantKey, Grant>>,
    fetches: Flights<GrantKey, Result<Grant, AskError>>,
}

impl Vault {
    pub(crate) fn new(
        docker_config: Option<&Path>,
        realms: Vec<TokenRealm>,
    ) -> Result<Self, CredentialsError> {
        let credentials = match docker_config {
            Some(path) => Credentials::read(path)?,
            None => Credentials::default(),
        };
        Ok(Self {
            credentials,
            realms,
            grants: Mutex::new(BTreeMap::new()),
            fetches: Flights::new(),
        })
    }

    pub(crate) fn has_credentials(&self, registry: &str) -> bool {
        self.credentials.of(registry).is_some()
    }

    fn keep(&self, key: GrantKey, grant: Grant) {
        let now = Instant::now();
        let mut grants = self.grants.lock();
        if grants.len() >= GRANTS_MAX {
            grants.retain(|_, grant| grant.ends_at > now);
        }
        if grants.len() >= GRANTS_MAX {
            grants.clear();
        }
        grants.insert(key, grant);
    }

    fn kept(&self, key: &GrantKey) -> Option<Grant> {
        let mut grants = self.grants.lock();
        let grant = grants.get(key)?.clone();
        if grant.ends_at <= Instant::now() {
            grants.remove(key);
            return None;
        }
        Some(grant)
    }
}

impl Inner {
    /// The authorization that is good for `key` now, renewed if its end is near. None: nothing was granted yet.
    pub(crate) async fn granted(
        self: &Arc<Self>,
        key: &GrantKey,
        origin: &AllowedOrigin,
    ) -> Option<HeaderValue> {
        let grant = self.vault.kept(key)?;
        let is_due = Instant::now() >= grant.renew_at;
        if is_due && !self.vault.fetches.is_under_way(key) {
            let renewed = self.grant(key, origin, grant.challenge.clone()).await;
            match renewed {
                Ok(Some(authorization)) => return Some(authorization),
                Ok(None) => {}
                // The old one is still good; the next one who comes tries again.
                Err(error) => tracing::debug!(
                    registry = key.registry,
                    error = &error as &dyn std::error::Error,
                    "a registry token was not renewed"
                ),
            }
        }
        Some(grant.authorization)
    }

    /// Forgets a grant that the registry no longer honours.
    pub(crate) fn revoke(&self, key: &GrantKey, authorization: &HeaderValue) {
        let mut grants = self.vault.grants.lock();
        if grants
            .get(key)
            .is_some_and(|grant| grant.authorization == *authorization)
        {
            grants.remove(key);
        }
    }

    /// Answers a challenge. None: there is nothing to answer it with. Equal ones share one fetch.
    pub(crate) async fn grant(
        self: &Arc<Self>,
        key: &GrantKey,
        origin: &AllowedOrigin,
        challenge: Challenge,
    ) -> Result<Option<HeaderValue>, AskError> {
        let credential = match key.holder {
            Holder::Anonymous => None,
            Holder::Host => self.vault.credentials.of(&key.registry).cloned(),
        };
        match challenge {
            Challenge::Basic => {
                let Some(Credential::Password { user, password }) = credential else {
                    return Ok(None);
                };
                let grant = Grant {
                    authorization: base64::basic(&user, password.expose()),
                    challenge: Challenge::Basic,
                    renew_at: Instant::now() + Duration::from_secs(3600),
                    ends_at: Instant::now() + Duration::from_secs(3600),
                };
                let authorization = grant.authorization.clone();
                self.vault.keep(key.clone(), grant);
                Ok(Some(authorization))
            }
            Challenge::Bearer { realm, service } => {
                self.check_realm(key, origin, &realm)?;
                let (inner, for_key) = (Arc::clone(self), key.clone());
                let fetch = move || {
                    let server = (realm, service);
                    async move { fetch(&inner, for_key, server, credential).await }.boxed()
                };
                let grant = self.vault.fetches.join(key.clone(), fetch).await?;
                Ok(Some(grant.authorization))
            }
        }
    }

    /// Stored credentials go to the registry's own host or to a realm that is known to be its token server.
    fn check_realm(
        &self,
        key: &GrantKey,
        origin: &AllowedOrigin,
        realm: &Url,
    ) -> Result<(), AskError> {
        let realm_origin = AllowedOrigin::of(realm).map_err(|cause| AskError::Url {
            url: ShownUrl::of(realm),
            cause,
        })?;
        self.reach.policy.check_origin(&realm_origin)?;
        let hosts = (origin.host(), realm_origin.host());
        // A server that was reached over TLS may not have its credentials sent in plain text.
        let is_downgrade = realm_origin.scheme() < origin.scheme();
        if key.holder == Holder::Host
            && (is_downgrade || !may_send(&self.vault.realms, &key.registry, hosts))
        {
            return Err(AuthError::ForeignRealm {
                registry: key.registry.clone(),
                host: realm_origin.host().to_owned(),
            }
            .into());
        }
        Ok(())
    }
}

async fn fetch(
    inner: &Inner,
    key: GrantKey,
    (realm, service): (Url, Option<String>),
    credential: Option<Credential>,
) -> Result<Grant, AskError> {
    let begun = Instant::now();
    let server = (&realm, service.as_deref());
    let token = token::fetch(inner, server, &key.repository, credential.as_ref()).await?;
    // Counted from before the fetch: the token server's clock started somewhere in between.
    let grant = Grant {
        authorization: token.authorization,
        renew_at: begun + token.lifetime * 2 / 3,
        ends_at: begun + token.lifetime,
        challenge: Challenge::Bearer { realm, service },
    };
    inner.vault.keep(key, grant.clone());
    Ok(grant)
}
