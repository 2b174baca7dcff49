//! One registry, asked on somebody's behalf.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header as name};
use types::{ByteCount, ByteRange, CallerId, Digest, RegistryHost, RepoName, Secret, Visibility};
use url::Url;

use super::{authorize::GrantKey, challenge::challenge, credentials::Credential};
use crate::{
    allowed::{AllowedOrigin, Scheme},
    ask::{Answer, Ask, AskError},
    base64,
    body::{self, Body, Expected, ReadError, Source},
    header,
    origins::Inner,
    shown::{SecretHeaders, ShownUrl},
    web::range_value,
};

/// Asks one registry. Cheap to clone.
#[derive(Clone)]
pub struct RegistryClient {
    pub(crate) inner: Arc<Inner>,
    /// As in an image's name: credentials are kept under it.
    pub(crate) registry: String,
    /// Where it is reached.
    pub(crate) origin: AllowedOrigin,
    pub(crate) identity: Identity,
}

/// On whose behalf.
#[derive(Clone)]
pub(crate) enum Identity {
    Anonymous,
    /// With what this host has stored.
    Host,
    /// With a caller's own header lines, unchanged; the id tells callers apart.
    Caller(SecretHeaders, CallerId),
}

/// What a registry says of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobHead {
    /// Its length, if the registry tells.
    pub length: Option<ByteCount>,
    /// Public, if nobody in particular may have it.
    pub visibility: Visibility,
}

impl RegistryClient {
    pub(crate) fn new(inner: Arc<Inner>, host: &RegistryHost) -> Self {
        let registry = short_name(host.as_str());
        let reached_at = match registry {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        let plain = at(reached_at, Scheme::Http);
        let origin = if inner.reach.policy.prefers_plain(&plain) {
            plain
        } else {
            at(reached_at, Scheme::Https)
        };
        let identity = if inner.vault.lends(registry) {
            Identity::Host
        } else {
            Identity::Anonymous
        };
        Self {
            registry: registry.to_owned(),
            inner,
            origin,
            identity,
        }
    }

    /// The same registry, asked for nobody in particular: what it gives is public.
    pub fn anonymous(&self) -> Self {
        Self {
            identity: Identity::Anonymous,
            ..self.clone()
        }
    }

    /// The same registry, asked for other hosts: with this host's credentials, if it imports with them, else for nobody in
    /// particular.
    pub fn importing(&self) -> Self {
        let identity = match self.inner.vault.imports(&self.registry) {
            true => Identity::Host,
            false => Identity::Anonymous,
        };
        Self {
            identity,
            ..self.clone()
        }
    }

    /// Whether it is asked for somebody: what it gives to him is not everybody's.
    pub fn is_for_somebody(&self) -> bool {
        self.visibility() == Visibility::Private
    }

    /// The same registry, asked with a caller's own `Authorization` and cookies; his other lines stay here. Who shows a password has the challenge
    /// for a token answered with it, as stored credentials have, and its tokens are kept under `caller`.
    pub fn with_headers(&self, headers: SecretHeaders, caller: CallerId) -> Self {
        Self {
            identity: Identity::Caller(headers.for_registry(), caller),
            ..self.clone()
        }
    }

    /// Whose lines it shows, and which; none where they are nobody's or this host's own.
    pub fn caller(&self) -> Option<(&SecretHeaders, CallerId)> {
        match &self.identity {
            Identity::Caller(headers, caller) => Some((headers, *caller)),
            Identity::Anonymous | Identity::Host => None,
        }
    }

    /// Where it is reached.
    pub fn origin(&self) -> &AllowedOrigin {
        &self.origin
    }

    /// Whether the last request to it got no answer, or an error of its own (5xx). What was never asked is not away.
    pub fn is_away(&self) -> bool {
        self.inner.budgets.gate(&self.origin).counters.is_away()
    }

    /// Looks at a blob. Errors are [`AskError::Status`] with 404 for a blob that is not there.
    pub async fn blob_head(
        &self,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<BlobHead, AskError> {
        let mut tries = self.inner.tries();
        loop {
            let url = self.url(repository, &format!("blobs/{digest}"))?;
            let ask = Ask::new(Method::HEAD, url, plain_headers());
            let failed = match self.ask(repository, ask).await {
                Ok(answer) if answer.status == StatusCode::OK => {
                    return Ok(BlobHead {
                        length: header::content_length(&answer.headers).map(ByteCount),
                        visibility: self.visibility(),
                    });
                }
                Ok(answer) => answer.as_error(),
                Err(failed) => failed,
            };
            tries.pause_or(failed).await?;
        }
    }

    /// Reads a blob of that length, if it is known: `range` of it, or all. A registry that tells another length is an
    /// error. What comes is not yet checked against the digest: the caller does, piece by
    /// piece. A body that breaks off is resumed at the exact offset, with a new token if the old one ended.
    pub async fn blob(
        &self,
        repository: &RepoName,
        digest: &Digest,
        (range, length): (Option<ByteRange>, Option<ByteCount>),
    ) -> Result<Body, ReadError> {
        let source = Blob {
            client: self.clone(),
            repository: repository.clone(),
            url: self.url(repository, &format!("blobs/{digest}"))?,
        };
        let expected = Expected {
            length: length.map(|length| length.0),
            validator: None,
            has_digest: true,
        };
        body::open(Arc::new(source), range, expected, self.inner.tries()).await
    }

    /// Who may have what this client gets.
    pub(crate) fn visibility(&self) -> Visibility {
        match &self.identity {
            Identity::Anonymous => Visibility::Public,
            Identity::Caller(headers, _) if !headers.identifies_somebody() => Visibility::Public,
            Identity::Caller(..) | Identity::Host => Visibility::Private,
        }
    }

    /// The URL of `tail` within a repository.
    pub(crate) fn url(&self, repository: &RepoName, tail: &str) -> Result<Url, AskError> {
        self.url_of(&format!("/v2/{repository}/{tail}"))
    }

    /// The URL of an absolute path and query.
    pub(crate) fn url_of(&self, path: &str) -> Result<Url, AskError> {
        let base = Url::parse(&self.origin.base_url()).expect("an origin makes a URL");
        Url::parse(&format!("{}{path}", self.origin.base_url())).map_err(|_| AskError::Unsendable {
            url: ShownUrl::of(&base),
        })
    }

    /// Asks, and answers one challenge if this client's identity allows.
    pub(crate) async fn ask(
        &self,
        repository: &RepoName,
        mut ask: Ask,
    ) -> Result<Answer, AskError> {
        let (holder, credential) = match &self.identity {
            Identity::Anonymous => (CallerId::Anonymous, None),
            Identity::Host => {
                let credential = self.inner.vault.credential(&self.registry).await?;
                (CallerId::Host, credential)
            }
            Identity::Caller(headers, caller) => {
                ask.headers
                    .extend(headers.expose().iter().map(|(k, v)| (k.clone(), v.clone())));
                let Some(password) = password_of(headers) else {
                    return self.inner.ask(ask).await;
                };
                (*caller, Some(password))
            }
        };
        let credential = credential.as_ref();
        let key = GrantKey {
            registry: self.registry.clone(),
            repository: repository.clone(),
            holder,
        };
        let granted = (self.inner.granted(&key, &self.origin, credential)).await;
        let answer = self.inner.ask(with(&ask, granted.as_ref())).await?;
        // A challenge counts only from the registry itself, not from where it redirected to.
        let is_challenge = answer.status == StatusCode::UNAUTHORIZED
            && AllowedOrigin::of(&answer.url).as_ref() == Ok(&self.origin);
        let Some(asked) = challenge(&answer.headers).filter(|_| is_challenge) else {
            return Ok(answer);
        };
        if let Some(stale) = &granted {
            self.inner.revoke(&key, stale);
        }
        let grant = self.inner.grant(&key, &self.origin, (asked, credential));
        match grant.await? {
            // The same again would be answered the same.
            Some(fresh) if granted.as_ref() != Some(&fresh) => {
                drop(answer);
                self.inner.ask(with(&ask, Some(&fresh))).await
            }
            _ => Ok(answer),
        }
    }
}

/// Docker's registry has several names.
pub(crate) fn short_name(registry: &str) -> &str {
    match registry {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

/// The password that a caller shows, if he shows one.
fn password_of(headers: &SecretHeaders) -> Option<Credential> {
    let shown = header::single(headers.expose(), &name::AUTHORIZATION)?;
    let (scheme, text) = shown.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = Secret::new(base64::decode(text.trim())?);
    let (user, password) = std::str::from_utf8(plain.expose()).ok()?.split_once(':')?;
    Some(Credential::Password {
        user: user.to_owned(),
        password: Secret::new(password.to_owned()),
    })
}

/// Where a registry's name leads.
fn at(registry: &str, scheme: Scheme) -> AllowedOrigin {
    let prefix = match scheme {
        Scheme::Http => "http://",
        Scheme::Https => "https://",
    };
    format!("{prefix}{registry}")
        .parse()
        .expect("what parsed as a registry's name is a host that a URL can have")
}

pub(crate) fn with(ask: &Ask, authorization: Option<&HeaderValue>) -> Ask {
    let mut headers = ask.headers.clone();
    if let Some(value) = authorization {
        headers.insert(name::AUTHORIZATION, value.clone());
    }
    Ask {
        body: ask.body.clone(),
        redirects_max: ask.redirects_max,
        ..Ask::new(ask.method.clone(), ask.url.clone(), headers)
    }
}

/// The bytes themselves, no compressed variant of them.
pub(crate) fn plain_headers() -> HeaderMap {
    HeaderMap::from_iter([(name::ACCEPT_ENCODING, HeaderValue::from_static("identity"))])
}

/// A blob as a source. It is asked at the registry each time: the store it points at is signed for minutes.
struct Blob {
    client: RegistryClient,
    repository: RepoName,
    url: Url,
}

impl Source for Blob {
    fn open(&self, range: Option<ByteRange>) -> BoxFuture<'_, Result<Answer, AskError>> {
        let mut ask = Ask::new(Method::GET, self.url.clone(), plain_headers());
        if let Some(range) = range {
            ask.headers.insert(name::RANGE, range_value(range));
        }
        self.client.ask(&self.repository, ask).boxed()
    }

    fn shown(&self) -> ShownUrl {
        ShownUrl::of(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Names of every shape that means something else in a URL: numbers, hexadecimal, punycode, brackets.
        #[test]
        fn whatever_parses_as_a_registry_leads_somewhere(
            labels in prop::collection::vec("(xn--|0x|)[a-z0-9-]{0,6}|[0-9]{1,4}|\\[[0-9a-f:.]{2,8}\\]", 1..5),
            port in prop::option::of(0u32..70_000),
        ) {
            let port = port.map_or(String::new(), |port| format!(":{port}"));
            let name = labels.join(".") + &port;
            if let Ok(registry) = name.parse::<RegistryHost>() {
                for scheme in [Scheme::Http, Scheme::Https] {
                    let origin = at(registry.as_str(), scheme);
                    prop_assert!(Url::parse(&origin.base_url()).is_ok(), "{registry}");
                }
            }
        }
    }
}
