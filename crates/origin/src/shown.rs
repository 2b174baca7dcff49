//! URLs and headers as people may see them: without user, query and fragment, where credentials live. Pure.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use url::Url;

use crate::base64;

/// A URL fit for logs and errors: scheme, host, port and path. The query is replaced by `?...`, since it is where
/// signatures and tokens travel.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ShownUrl(String);

impl ShownUrl {
    /// What may be shown of `url`.
    pub fn of(url: &Url) -> Self {
        let mut bare = url.clone();
        // Both fail only for URLs that cannot have a user, and then there is none to remove.
        let _no_user = bare.set_username("");
        let _no_password = bare.set_password(None);
        bare.set_fragment(None);
        bare.set_query(None);
        let mut text = bare.to_string();
        if url.query().is_some() {
            text.push_str("?...");
        }
        Self(text)
    }
}

impl fmt::Display for ShownUrl {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl fmt::Debug for ShownUrl {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

/// A URL that may carry a signature: `Debug` gives its [`ShownUrl`].
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// Takes a URL into custody.
    pub fn new(url: Url) -> Self {
        Self(url)
    }

    /// The URL, for the one call that needs it.
    pub fn expose(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}", ShownUrl::of(&self.0))
    }
}

/// Header lines of a caller, any of which may be a credential: `Debug` gives their names only.
#[derive(Clone, Default)]
pub struct SecretHeaders(HeaderMap);

impl SecretHeaders {
    /// Takes header lines into custody. Repeated lines stay repeated, in their order.
    pub fn new(mut headers: HeaderMap) -> Self {
        for value in headers.values_mut() {
            value.set_sensitive(true);
        }
        Self(headers)
    }

    /// One `Authorization` line.
    pub fn authorization(mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        Self(HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
    }

    /// The lines, for the one call that needs them.
    pub fn expose(&self) -> &HeaderMap {
        &self.0
    }

    /// Whether any line may identify somebody: everything but the few that only shape an answer.
    pub fn identifies_somebody(&self) -> bool {
        self.identifying().next().is_some()
    }

    /// When the bearer token among the lines ends, as it says itself (RFC 7519, 4.1.4). That is nobody's word until whom it is
    /// shown to has accepted the token.
    pub fn token_end(&self) -> Option<SystemTime> {
        #[derive(serde::Deserialize)]
        struct Claims {
            exp: u64,
        }
        let shown = self.0.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = shown.split_once(' ')?;
        let claims = token.trim().split('.').nth(1)?;
        let claims = base64::decode(&claims.replace('-', "+").replace('_', "/"))?;
        let Claims { exp } = serde_json::from_slice(&claims).ok()?;
        let is_bearer = scheme.eq_ignore_ascii_case("bearer");
        (SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(exp))).filter(|_| is_bearer)
    }

    /// What a registry is shown of a caller: the lines that registries look at. Any other could turn a question into another
    /// one, whose answer would prove nothing: `Host`, a length without a body, a path for the proxy in front.
    pub(crate) fn for_registry(&self) -> Self {
        let credentials = [header::AUTHORIZATION, header::COOKIE];
        let lines = self.0.iter().filter(|(name, _)| credentials.contains(name));
        let mut kept = HeaderMap::new();
        for (name, value) in lines {
            kept.append(name.clone(), value.clone());
        }
        Self(kept)
    }

    /// The lines that may identify somebody.
    pub fn identifying(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().filter(|(name, _)| !is_harmless(name))
    }
}

impl fmt::Debug for SecretHeaders {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_list().entries(self.0.keys()).finish()
    }
}

/// Whether a header only shapes the answer and may follow a redirect to a stranger. Everything else is taken for a
/// credential: nobody can list all the names that tokens travel under.
pub(crate) fn is_harmless(name: &HeaderName) -> bool {
    [
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::ACCEPT_LANGUAGE,
        header::CACHE_CONTROL,
        header::IF_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_NONE_MATCH,
        header::IF_RANGE,
        header::IF_UNMODIFIED_SINCE,
        header::RANGE,
        header::USER_AGENT,
    ]
    .contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_holds_no_secret() {
        let url: Url = "https://ann:canary@Example.com/a%20b?X-Amz-Signature=canary#canary"
            .parse()
            .unwrap();
        assert_eq!(
            ShownUrl::of(&url).to_string(),
            "https://example.com/a%20b?..."
        );
        assert!(!format!("{:?}", SecretUrl::new(url)).contains("canary"));
        let headers = SecretHeaders::authorization(HeaderValue::from_static("Bearer canary"));
        assert_eq!(format!("{headers:?}"), "[\"authorization\"]");
        assert!(headers.identifies_somebody());
    }

    #[test]
    fn the_end_of_a_token_is_read_and_nothing_else_is_taken_for_one() {
        let end = |line: &str| {
            let value = HeaderValue::from_str(line).unwrap();
            SecretHeaders::authorization(value).token_end()
        };
        let token = |claims: &str| {
            let claims = base64::encode(claims.as_bytes());
            let claims = claims.replace('+', "-").replace('/', "_");
            format!("x.{}.y", claims.trim_end_matches('='))
        };
        let good = token(r#"{"sub":"~~~???","exp":1500}"#);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1500);
        assert_eq!(end(&format!("Bearer {good}")), Some(at));
        for bad in [
            format!("Basic {good}"),
            format!("Bearer {}", token(r#"{"exp":-1}"#)),
            format!("Bearer {}", token("{}")),
            "Bearer opaque".into(),
            "Bearer a.b.c".into(),
            "Bearer".into(),
        ] {
            assert_eq!(end(&bad), None, "{bad}");
        }
    }
}
