//! On whose behalf a registry is asked.

use types::CallerKey;

use super::*;

#[tokio::test]
async fn stored_credentials_are_used_only_for_what_they_are_listed_for() {
    let registry = Server::start(|_| reply(200, &[], b"{}")).await;
    let name = host("reg.test", &registry);
    let file = docker_config(&name);
    for (lent, imports) in [(false, false), (true, false), (false, true)] {
        let listed = |is_listed: bool| is_listed.then(|| name.clone()).into_iter().collect();
        let door = door_by_name(&[("reg.test", &registry)], |config| {
            config.docker_config = Some(file.path().to_owned());
            (config.lent, config.imports) = (listed(lent), listed(imports));
        });
        let client = door.registry(&name);
        assert_eq!(client.is_for_somebody(), lent);
        assert_eq!(client.importing().is_for_somebody(), imports);
        assert!(!client.anonymous().is_for_somebody());
        let other = door.registry(&host("other.test", &registry));
        assert!(!other.is_for_somebody() && !other.importing().is_for_somebody());
    }
}

#[tokio::test]
async fn a_callers_own_token_is_shown_as_it_is_and_no_challenge_is_answered() {
    let tokens = token_server(None, 300).await;
    let registry = registry_server(realm("auth.test", &tokens), Arc::default()).await;
    let door = door_by_name(&[("reg.test", &registry), ("auth.test", &tokens)], |_| {});
    let client = door.registry(&host("reg.test", &registry));
    let with = |token| as_caller(&client, token);
    let found = manifest(&with("Bearer canary-token-x")).await.unwrap();
    assert_eq!(found.visibility, Visibility::Private);
    assert!(manifest(&with("Bearer wrong")).await.is_err());
    assert!(tokens.seen().is_empty());
}

fn as_caller(client: &RegistryClient, authorization: &'static str) -> RegistryClient {
    let line = ("authorization", authorization.as_bytes());
    let caller = CallerKey::new([1; 32]).caller([line]);
    let shown = SecretHeaders::authorization(HeaderValue::from_static(authorization));
    client.with_headers(shown, caller)
}

#[tokio::test]
async fn a_registry_is_shown_a_callers_credentials_and_none_of_his_other_lines() {
    let registry = registry_server("http://auth.test/token".into(), Arc::default()).await;
    let name = host("reg.test", &registry);
    let door = door_by_name(&[("reg.test", &registry)], |_| {});
    let lines = [
        ("authorization", "Bearer canary-token-x"),
        ("cookie", "session=1"),
        ("host", "evil.test"),
        ("content-length", "100"),
        ("range", "bytes=0-1"),
        ("x-original-url", "/v2/evil/app/blobs/x"),
    ]
    .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
    let lines: HeaderMap = lines.into_iter().collect();
    let caller = CallerKey::new([1; 32]).caller([("authorization", b"x".as_slice())]);
    let client = door
        .registry(&name)
        .with_headers(SecretHeaders::new(lines), caller);
    manifest(&client).await.unwrap();
    let seen = registry.seen();
    let asked = seen.last().unwrap();
    let line = |name| asked.line(name);
    assert_eq!(line("authorization"), Some("Bearer canary-token-x"));
    assert_eq!(line("cookie"), Some("session=1"));
    assert_eq!(line("host"), Some(name.as_str()));
    for gone in ["content-length", "range", "x-original-url"] {
        assert_eq!(line(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn a_callers_password_is_shown_anew_after_a_minute_however_long_its_token_is_good() {
    let tokens = token_server(Some(ANN), 12 * 3600).await;
    let registry = registry_server(realm("auth.test", &tokens), Arc::default()).await;
    let name = host("reg.test", &registry);
    let servers = [("reg.test", &registry), ("auth.test", &tokens)];
    let door = door_by_name(&servers, |config| {
        config.realms = vec![format!("{name}=auth.test").parse().unwrap()];
    });
    let ann = as_caller(&door.registry(&name), ANN);
    manifest(&ann).await.unwrap();
    let minute = std::time::Duration::from_secs(60);
    let grants = ann.inner.vault.ends();
    let latest = std::time::Instant::now() + minute;
    assert!(grants.len() == 1 && grants.iter().all(|end| *end <= latest));
}

#[tokio::test]
async fn a_callers_password_gets_tokens_for_that_caller_alone_in_one_flight() {
    let tokens = token_server(Some(ANN), 300).await;
    let registry = registry_server(realm("auth.test", &tokens), Arc::default()).await;
    let name = host("reg.test", &registry);
    let servers = [("reg.test", &registry), ("auth.test", &tokens)];
    let door = door_by_name(&servers, |config| {
        config.realms = vec![format!("{name}=auth.test").parse().unwrap()];
    });
    let client = door.registry(&name);
    let ann = as_caller(&client, ANN);
    let (one, other) = tokio::join!(manifest(&ann), manifest(&ann));
    assert_eq!(one.unwrap().visibility, Visibility::Private);
    other.unwrap();
    manifest(&ann).await.unwrap();
    assert_eq!(tokens.seen().len(), 1, "one token for all of them");
    for stranger in ["Basic Ym9iOnBhc3M=", "Basic YW5uOnBhc3M="] {
        let refused = manifest(&as_caller(&client, stranger)).await;
        assert!(refused.is_err(), "{stranger}");
        assert_eq!(
            tokens.seen().last().unwrap().line("authorization"),
            Some(stranger)
        );
    }
    assert!(manifest(&client).await.is_err(), "nor is it nobody's");
}

#[tokio::test]
async fn a_callers_password_goes_to_no_realm_but_the_registrys_own() {
    let tokens = token_server(Some(ANN), 300).await;
    let registry = registry_server(realm("auth.test", &tokens), Arc::default()).await;
    let servers = [("reg.test", &registry), ("auth.test", &tokens)];
    let door = door_by_name(&servers, |_| {});
    let ann = as_caller(&door.registry(&host("reg.test", &registry)), ANN);
    let error = manifest(&ann).await.unwrap_err();
    let foreign = matches!(
        error,
        ManifestError::Ask(AskError::Auth(AuthError::ForeignRealm { .. }))
    );
    assert!(foreign && tokens.seen().is_empty(), "{error:?}");
}
