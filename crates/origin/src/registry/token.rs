//! Fetches a token for one repository from a registry's token server.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use types::{RepoName, Secret};
use url::{Url, form_urlencoded};

use super::{authorize::AuthError, credentials::Credential};
use crate::{
    ask::{Ask, AskError},
    base64,
    origins::Inner,
    shown::ShownUrl,
};

/// Answers of token servers are bounded: real ones have a few kilobytes.
const ANSWER_MAX: usize = 256 << 10;

/// The lifetime of a token whose server does not say (distribution spec, "Token Authentication").
const LIFETIME: u64 = 60;

/// A token and how long it lives.
pub(crate) struct Token {
    pub(crate) authorization: HeaderValue,
    pub(crate) lifetime: Duration,
}

#[derive(Deserialize)]
struct Told {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// Asks `realm` for a token that may pull `repository` and nothing else.
pub(crate) async fn fetch(
    inner: &Inner,
    (realm, service): (&Url, Option<&str>),
    repository: &RepoName,
    credential: Option<&Credential>,
) -> Result<Token, AskError> {
    let scope = format!("repository:{repository}:pull");
    let ask = match credential {
        Some(Credential::Identity(refresh)) => exchange(realm, service, (&scope, refresh)),
        other => {
            let mut url = realm.clone();
            let mut headers = HeaderMap::new();
            {
                let mut query = url.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                query.append_pair("scope", &scope);
            }
            if let Some(Credential::Password { user, password }) = other {
                headers.insert(
                    header::AUTHORIZATION,
                    base64::basic(user, password.expose()),
                );
            }
            Ask::new(Method::GET, url, headers)
        }
    };
    let redirects_max = if credential.is_some() {
        0
    } else {
        ask.redirects_max
    };
    let answer = inner
        .ask(Ask {
            redirects_max,
            ..ask
        })
        .await?;
    if answer.status != StatusCode::OK {
        return Err(answer.as_error());
    }
    let unfit = || AuthError::Token {
        realm: ShownUrl::of(realm),
    };
    let body = answer.body.collect(ANSWER_MAX).await?.ok_or_else(unfit)?;
    Ok(read(&body).ok_or_else(unfit)?)
}

/// The OAuth2 form, for a refresh token: it travels in the body.
fn exchange(realm: &Url, service: Option<&str>, (scope, refresh): (&str, &Secret<String>)) -> Ask {
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "refresh_token")
        .append_pair("client_id", "pantala")
        .append_pair("service", service.unwrap_or_default())
        .append_pair("scope", scope)
        .append_pair("refresh_token", refresh.expose())
        .finish();
    let headers = HeaderMap::from_iter([(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    )]);
    Ask {
        body: Bytes::from(body),
        ..Ask::new(Method::POST, realm.clone(), headers)
    }
}

fn read(body: &[u8]) -> Option<Token> {
    let told: Told = serde_json::from_slice(body).ok()?;
    let token = Secret::new(
        told.token
            .filter(|token| !token.is_empty())
            .or(told.access_token)
            .filter(|token| !token.is_empty())?,
    );
    let mut authorization = HeaderValue::try_from(format!("Bearer {}", token.expose())).ok()?;
    authorization.set_sensitive(true);
    let lifetime = told.expires_in.unwrap_or(LIFETIME).clamp(1, 24 * 3600);
    Some(Token {
        authorization,
        lifetime: Duration::from_secs(lifetime),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_of_a_token_are_read_and_nonsense_is_not() {
        let token = read(br#"{"token":"a","access_token":"b","expires_in":300}"#).unwrap();
        assert_eq!(token.authorization, "Bearer a");
        assert_eq!(token.lifetime, Duration::from_secs(300));
        let token = read(br#"{"token":"","access_token":"b"}"#).unwrap();
        assert_eq!(token.authorization, "Bearer b");
        assert_eq!(token.lifetime, Duration::from_secs(60));
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"token":1}"#,
            r#"{"token":"a\r\nX: y"}"#,
            r#"{"token":"a","expires_in":-1}"#,
        ] {
            assert!(read(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
