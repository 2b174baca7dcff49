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
use types::{CallerId, RegistryHost, RepoName};
use url::Url;

use super::{
    challenge::Challenge,
    client::short_name,
    credentials::{Credential, Credentials, CredentialsError, Found, TokenRealm, may_send},
    keychain::{Helped, HelperError},
    token,
};
use crate::{
    allowed::AllowedOrigin, ask::AskError, base64, flight::Flights, origins::Inner, shown::ShownUrl,
};

/// Grants that are kept; beyond it those that ended are swept, then all.
const GRANTS_MAX: usize = 4096;

/// How long a caller's password counts after it was shown to the token server, whatever its tokens say: it may have been
/// changed since, and what the registry is asked with the token proves the caller's right.
const CALLERS_TOKEN_MAX: Duration = Duration::from_secs(60);

/// Why a registry's challenge was not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuthError {
    /// The registry wants credentials for it sent to somebody else.
    #[error(
        "{registry} asks to send credentials for it to {host}; \
         if that is meant, add it to origin.realms in the daemon's configuration: {registry}={host}"
    )]
    ForeignRealm {
        /// The registry.
        registry: String,
        /// Whom it names.
        host: String,
    },
    /// The program that holds the credentials gave none.
    #[error("getting this host's credentials for {registry}")]
    Helper {
        /// The registry.
        registry: String,
        /// What went wrong.
        #[source]
        cause: HelperError,
    },
    /// The token server's answer holds no token.
    #[error("{realm} answered without a token")]
    Token {
        /// The token server.
        realm: ShownUrl,
    },
}

/// What a grant is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GrantKey {
    /// As in an image's name.
    pub(crate) registry: String,
    pub(crate) repository: RepoName,
    pub(crate) holder: CallerId,
}

/// What a registry granted.
#[derive(Clone)]
pub(crate) struct Grant {
    authorization: HeaderValue,
    challenge: Challenge,
    renew_at: Instant,
    ends_at: Instant,
}

/// For whom stored credentials are used, by registry. Those that are listed nowhere are not used.
#[derive(Default)]
pub(crate) struct Uses {
    /// For callers that show none.
    pub(crate) lent: Vec<RegistryHost>,
    /// To read private content for other hosts.
    pub(crate) imports: Vec<RegistryHost>,
}

/// Stored credentials and what they were granted.
pub(crate) struct Vault {
    credentials: Credentials,
    helped: Helped,
    uses: Uses,
    realms: Vec<TokenRealm>,
    grants: Mutex<BTreeMap<GrantKey, Grant>>,
    fetches: Flights<GrantKey, Result<Grant, AskError>>,
}

impl Vault {
    pub(crate) fn new(
        docker_config: Option<&Path>,
        realms: Vec<TokenRealm>,
        uses: Uses,
    ) -> Result<Self, CredentialsError> {
        let credentials = match docker_config {
            Some(path) => Credentials::read(path)?,
            None => Credentials::default(),
        };
        Ok(Self {
            credentials,
            helped: Helped::new(),
            uses,
            realms,
            grants: Mutex::new(BTreeMap::new()),
            fetches: Flights::new(),
        })
    }

    /// What this host can show `registry`.
    pub(crate) async fn credential(&self, registry: &str) -> Result<Option<Credential>, AuthError> {
        match self.credentials.of(registry) {
            None => Ok(None),
            Some(Found::Stored(credential)) => Ok(Some(credential)),
            Some(Found::With(helper)) => {
                let held = self.helped.of(registry, &helper).await;
                held.map_err(|cause| AuthError::Helper {
                    registry: registry.to_owned(),
                    cause,
                })
            }
        }
    }

    /// Whether callers act with this host's credentials for `registry`.
    pub(crate) fn lends(&self, registry: &str) -> bool {
        self.has_for(&self.uses.lent, registry)
    }

    /// Whether this host reads what `registry` keeps private for others.
    pub(crate) fn imports(&self, registry: &str) -> bool {
        self.has_for(&self.uses.imports, registry)
    }

    fn has_for(&self, listed: &[RegistryHost], registry: &str) -> bool {
        let is_listed = (listed.iter()).any(|one| short_name(one.as_str()) == registry);
        is_listed && self.credentials.of(registry).is_some()
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

    #[cfg(test)]
    pub(crate) fn ends(&self) -> Vec<Instant> {
        let grants = self.grants.lock();
        grants.values().map(|grant| grant.ends_at).collect()
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
    /// The authorization that is good for `key` now, renewed with `credential` if its end is near. None: nothing was
    /// granted yet.
    pub(crate) async fn granted(
        self: &Arc<Self>,
        key: &GrantKey,
        origin: &AllowedOrigin,
        credential: Option<&Credential>,
    ) -> Option<HeaderValue> {
        let grant = self.vault.kept(key)?;
        let is_due = Instant::now() >= grant.renew_at;
        if is_due && !self.vault.fetches.is_under_way(key) {
            let challenge = grant.challenge.clone();
            let renewed = self.grant(key, origin, (challenge, credential)).await;
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
        (challenge, credential): (Challenge, Option<&Credential>),
    ) -> Result<Option<HeaderValue>, AskError> {
        match challenge {
            Challenge::Basic => {
                // A caller's own password was shown already.
                let Some(Credential::Password { user, password }) =
                    credential.filter(|_| key.holder == CallerId::Host)
                else {
                    return Ok(None);
                };
                let grant = Grant {
                    authorization: base64::basic(user, password.expose()),
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
                let credential = credential.cloned();
                let fetch = move || {
                    let server = (realm, service);
                    async move { fetch(&inner, for_key, server, credential).await }.boxed()
                };
                let grant = self.vault.fetches.join(key.clone(), fetch).await?;
                Ok(Some(grant.authorization))
            }
        }
    }

    /// Credentials, stored or a caller's, go to the registry's own host or to a realm that is known to be its token server.
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
        if key.holder != CallerId::Anonymous
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
    let lifetime = match key.holder {
        CallerId::Shown(_) => token.lifetime.min(CALLERS_TOKEN_MAX),
        CallerId::Anonymous | CallerId::Host => token.lifetime,
    };
    // Counted from before the fetch: the token server's clock started somewhere in between.
    let grant = Grant {
        authorization: token.authorization,
        renew_at: begun + lifetime * 2 / 3,
        ends_at: begun + lifetime,
        challenge: Challenge::Bearer { realm, service },
    };
    inner.vault.keep(key, grant.clone());
    Ok(grant)
}
