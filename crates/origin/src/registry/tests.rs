//! A registry, its token server and a store behind it, over real sockets.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use types::{ByteRange, Digest, RegistryHost, RepoName, Visibility};

use crate::{
    AskError, AuthError, Body, ManifestError, Names, OriginConfig, Origins, PassMethod,
    PassRequest, Reference, RegistryClient, SecretHeaders,
    testing::{Seen, Server, Step, config, content, drain, quick_retries, reply, serve, table},
};

mod callers;

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::sha256(Sha256::digest(bytes).into())
}

fn repository() -> RepoName {
    "team/app".parse().unwrap()
}

/// A token server: one token per request, `expires_in` seconds long. `basic` must be shown, if there is one.
async fn token_server(basic: Option<&'static str>, expires_in: u32) -> Server {
    let count = Mutex::new(0);
    Server::start(move |seen| {
        if basic.is_some() && seen.line("authorization") != basic {
            return reply(401, &[], b"");
        }
        let mut count = count.lock();
        *count += 1;
        let body = format!(r#"{{"token":"canary-token-{count}","expires_in":{expires_in}}}"#);
        reply(200, &[], body.as_bytes())
    })
    .await
}

/// A registry that honours every token but those in `ended`, and wants one from `realm`.
async fn registry_server(realm: String, ended: Arc<Mutex<Vec<String>>>) -> Server {
    Server::start(move |seen| {
        let token = seen.line("authorization").unwrap_or_default();
        if !token.starts_with("Bearer canary-token") || ended.lock().iter().any(|one| one == token)
        {
            let wants = format!(
                r#"Bearer realm="{realm}",service="reg",scope="repository:evil/other:pull,push""#
            );
            return reply(401, &[("www-authenticate", &wants)], b"denied");
        }
        registry_content(seen)
    })
    .await
}

fn registry_content(seen: &Seen) -> Vec<Step> {
    let blob = content(50_000);
    if seen.target.contains("/manifests/") {
        let digest = digest_of(MANIFEST).to_string();
        let lines = [
            ("docker-content-digest", digest.as_str()),
            ("content-type", "application/vnd.oci.image.manifest.v1+json"),
        ];
        return reply(200, &lines, MANIFEST);
    }
    if seen.target.ends_with(&digest_of(&blob).to_string()) {
        return serve(seen, &blob, "\"b\"");
    }
    reply(404, &[], b"")
}

/// A door to servers by name: each pair is listed, and leads to loopback.
fn door_by_name(servers: &[(&str, &Server)], shape: impl FnOnce(&mut OriginConfig)) -> Origins {
    let mut listed = Vec::new();
    for (name, server) in servers {
        listed.push(format!("http://{name}:{}", server.address.port()));
        listed.push(format!("http://{}", server.address));
    }
    let mut config = config(&listed);
    let names: Vec<(&str, &str)> = servers
        .iter()
        .map(|(name, _)| (*name, "127.0.0.1"))
        .collect();
    config.names = Some(table(&names));
    shape(&mut config);
    Origins::new(config).unwrap()
}

fn host(name: &str, server: &Server) -> RegistryHost {
    format!("{name}:{}", server.address.port()).parse().unwrap()
}

fn docker_config(registry: &RegistryHost) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    // ann:s3cret
    let text = format!(r#"{{"auths":{{"{registry}":{{"auth":"YW5uOnMzY3JldA=="}}}}}}"#);
    std::fs::write(file.path(), text).unwrap();
    file
}

const ANN: &str = "Basic YW5uOnMzY3JldA==";

fn realm(name: &str, server: &Server) -> String {
    server.url_at(&format!("http://{name}"), "/token?x=1")
}

async fn manifest(client: &RegistryClient) -> Result<crate::Manifest, ManifestError> {
    let latest = Reference::Tag("latest".parse().unwrap());
    let accept = [
        HeaderValue::from_static("a/b"),
        HeaderValue::from_static("c/d"),
    ];
    client.manifest(&repository(), &latest, &accept).await
}

#[tokio::test]
async fn a_public_repository_is_read_with_one_anonymous_token() {
    let tokens = token_server(None, 300).await;
    let registry = registry_server(realm("auth.test", &tokens), Arc::default()).await;
    let door = door_by_name(&[("reg.test", &registry), ("auth.test", &tokens)], |_| {});
    let client = door.registry(&host("reg.test", &registry));
    let read = join_all((0..5).map(|_| manifest(&client))).await;
    for manifest in read {
        let manifest = manifest.unwrap();
        assert_eq!(manifest.bytes, MANIFEST);
        assert_eq!(manifest.digest, digest_of(MANIFEST));
        assert_eq!(manifest.visibility, Visibility::Public);
    }
    let asked = tokens.seen();
    assert_eq!(asked.len(), 1, "equal fetches are one");
    assert_eq!(
        asked[0].target,
        "/token?x=1&service=reg&scope=repository%3Ateam%2Fapp%3Apull"
    );
    assert_eq!(asked[0].line("authorization"), None);
    let blob = content(50_000);
    let head = client
        .blob_head(&repository(), &digest_of(&blob))
        .await
        .unwrap();
    assert_eq!(head.length.map(|length| length.0), Some(50_000));
    let part = ByteRange::new(10, 20_000);
    let Ok(Body::Range(stream)) = client
        .blob(&repository(), &digest_of(&blob), (part, None))
        .await
    else {
        panic!("no body");
    };
    assert_eq!(drain(stream).await.unwrap(), blob[10..20_000]);
    assert_eq!(tokens.seen().len(), 1, "the token is kept");
    let accepts: Vec<String> = registry.seen()[0]
        .all("accept")
        .map(str::to_owned)
        .collect();
    assert_eq!(accepts, ["a/b", "c/d"]);
}

#[tokio::test]
async fn stored_credentials_go_to_the_listed_realm_and_nowhere_else() {
    let tokens = token_server(Some(ANN), 300).await;
    let registry = registry_server(realm("auth.test", &tokens), Arc::default()).await;
    let name = host("reg.test", &registry);
    let file = docker_config(&name);
    let servers = [("reg.test", &registry), ("auth.test", &tokens)];
    let door = door_by_name(&servers, |config| {
        config.docker_config = Some(file.path().to_owned());
        config.lent = vec![name.clone()];
        config.realms = vec![format!("{name}=auth.test").parse().unwrap()];
    });
    let found = manifest(&door.registry(&name)).await.unwrap();
    assert_eq!(found.visibility, Visibility::Private);
    assert!(
        registry
            .seen()
            .iter()
            .all(|seen| seen.line("authorization") != Some(ANN))
    );

    let door = door_by_name(&servers, |config| {
        config.docker_config = Some(file.path().to_owned());
        config.lent = vec![name.clone()];
    });
    let before = tokens.seen().len();
    let error = manifest(&door.registry(&name)).await.unwrap_err();
    assert!(
        matches!(
            error,
            ManifestError::Ask(AskError::Auth(AuthError::ForeignRealm { .. }))
        ),
        "{error:?}"
    );
    assert!(
        error.to_string().ends_with(&format!(
            "origin.realms in the daemon's configuration: {name}=auth.test"
        )),
        "{error}"
    );
    assert!(!format!("{error:?}").contains("s3cret"));
    assert_eq!(tokens.seen().len(), before, "nothing was sent");
    // Nobody's token is nobody's loss: public content is still to be had.
    let error = manifest(&door.registry(&name).anonymous())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ManifestError::Ask(AskError::Status {
                status: StatusCode::UNAUTHORIZED,
                ..
            })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_realm_in_plain_text_or_inside_is_refused() {
    for realm in [
        "http://evil.example/token",
        "http://169.254.169.254/token",
        "http://127.0.0.1:1/",
    ] {
        let registry = registry_server(realm.to_owned(), Arc::default()).await;
        let door = door_by_name(&[("reg.test", &registry)], |_| {});
        let error = manifest(&door.registry(&host("reg.test", &registry)))
            .await
            .unwrap_err();
        assert!(
            matches!(error, ManifestError::Ask(AskError::Refused(_))),
            "{realm}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_token_that_ends_is_replaced_even_in_the_middle_of_a_blob() {
    let tokens = token_server(None, 300).await;
    let ended: Arc<Mutex<Vec<String>>> = Arc::default();
    let store = Server::start(move |seen| {
        let mut steps = serve(seen, &content(50_000), "\"b\"");
        if let Some(Step::Send(body)) = steps.last_mut() {
            body.truncate(20_000);
        }
        steps
    })
    .await;
    let target = store.url_at("http://cdn.test", "/blob?sig=canary");
    let (realm, ending) = (realm("auth.test", &tokens), Arc::clone(&ended));
    let registry = Server::start(move |seen| {
        let token = seen.line("authorization").unwrap_or_default().to_owned();
        let mut ended = ending.lock();
        if token.is_empty() || ended.contains(&token) {
            let wants = format!(r#"Bearer realm="{realm}""#);
            return reply(401, &[("www-authenticate", &wants)], b"");
        }
        // Every token is good once.
        ended.push(token);
        reply(307, &[("location", &target)], b"")
    })
    .await;
    let servers = [
        ("reg.test", &registry),
        ("auth.test", &tokens),
        ("cdn.test", &store),
    ];
    let door = door_by_name(&servers, |config| config.retry = quick_retries(4));
    let client = door.registry(&host("reg.test", &registry));
    let part = ByteRange::new(0, 50_000);
    let digest = digest_of(&content(50_000));
    let Ok(Body::Range(stream)) = client.blob(&repository(), &digest, (part, None)).await else {
        panic!("no body");
    };
    assert_eq!(drain(stream).await.unwrap(), content(50_000));
    assert_eq!(tokens.seen().len(), 3);
    assert_eq!(store.seen().len(), 3);
    for seen in store.seen() {
        assert_eq!(
            seen.line("authorization"),
            None,
            "the token stays at the registry"
        );
    }
}

#[tokio::test]
async fn a_token_is_renewed_ahead_of_its_end() {
    let tokens = token_server(None, 1).await;
    let registry = registry_server(realm("auth.test", &tokens), Arc::default()).await;
    let door = door_by_name(&[("reg.test", &registry), ("auth.test", &tokens)], |_| {});
    let client = door.registry(&host("reg.test", &registry));
    manifest(&client).await.unwrap();
    // Past two thirds of its second, or past its end: renewed either way, and the registry never says no again.
    tokio::time::sleep(Duration::from_millis(700)).await;
    manifest(&client).await.unwrap();
    assert_eq!(tokens.seen().len(), 2);
}

#[tokio::test]
async fn basic_credentials_are_shown_to_the_registry_that_asks() {
    let registry = Server::start(|seen| match seen.line("authorization") {
        Some(ANN) => registry_content(seen),
        _ => reply(401, &[("www-authenticate", "Basic realm=\"r\"")], b""),
    })
    .await;
    let name = host("reg.test", &registry);
    let file = docker_config(&name);
    let door = door_by_name(&[("reg.test", &registry)], |config| {
        config.docker_config = Some(file.path().to_owned());
        config.lent = vec![name.clone()];
    });
    let client = door.registry(&name);
    manifest(&client).await.unwrap();
    manifest(&client).await.unwrap();
    assert_eq!(registry.seen().len(), 3, "asked once, then known");
    let error = manifest(&client.anonymous()).await.unwrap_err();
    assert!(
        matches!(error, ManifestError::Ask(AskError::Status { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_in_a_body() {
    let tokens = Server::start(|seen| {
        assert_eq!(seen.method, "POST");
        reply(200, &[], br#"{"access_token":"canary-token-9"}"#)
    })
    .await;
    let registry = registry_server(realm("auth.test", &tokens), Arc::default()).await;
    let name = host("reg.test", &registry);
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(r#"{{"auths":{{"{name}":{{"identitytoken":"re&fresh"}}}}}}"#);
    std::fs::write(file.path(), text).unwrap();
    let door = door_by_name(
        &[("reg.test", &registry), ("auth.test", &tokens)],
        |config| {
            config.docker_config = Some(file.path().to_owned());
            config.lent = vec![name.clone()];
            config.realms = vec![format!("{name}=auth.test").parse().unwrap()];
        },
    );
    manifest(&door.registry(&name)).await.unwrap();
    let asked = &tokens.seen()[0];
    assert!(
        asked.body.contains("refresh_token=re%26fresh"),
        "{}",
        asked.body
    );
    assert!(
        asked.body.contains("scope=repository%3Ateam%2Fapp%3Apull"),
        "{}",
        asked.body
    );
}

#[tokio::test]
async fn a_manifest_that_is_not_its_digest_is_refused() {
    let registry = Server::start(|_| reply(200, &[], b"{}")).await;
    let door = door_by_name(&[("reg.test", &registry)], |_| {});
    let client = door.registry(&host("reg.test", &registry));
    let asked = Reference::Digest(digest_of(MANIFEST));
    let error = client
        .manifest(&repository(), &asked, &[])
        .await
        .unwrap_err();
    assert!(matches!(error, ManifestError::Corrupt { .. }), "{error:?}");
    let registry = Server::start(|_| reply(200, &[], &vec![b' '; (4 << 20) + 1])).await;
    let door = door_by_name(&[("reg.test", &registry)], |_| {});
    let error = manifest(&door.registry(&host("reg.test", &registry)))
        .await
        .unwrap_err();
    assert!(matches!(error, ManifestError::TooLong { .. }), "{error:?}");
}

fn pass_request(path: &str, lines: &[(&'static str, &'static str)]) -> PassRequest {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_static(value));
    }
    PassRequest::new(PassMethod::Get, path, headers).unwrap()
}

/// A registry that wants a token and then answers with lines that matter to a client.
async fn talkative_registry() -> Server {
    Server::start(|seen| match seen.line("authorization") {
        None => {
            let wants = r#"Bearer realm="https://auth.example/token",service="s""#;
            reply(401, &[("www-authenticate", wants)], b"{\"errors\":[]}")
        }
        Some(_) => {
            let lines = [
                ("x-two", "1"),
                ("x-two", "2"),
                ("etag", "W/\"e\""),
                ("content-encoding", "gzip"),
                ("keep-alive", "5"),
            ];
            reply(206, &lines, b"bytes as they are")
        }
    })
    .await
}

#[tokio::test]
async fn a_challenge_is_the_clients_to_answer() {
    let registry = talkative_registry().await;
    let door = door_by_name(&[("reg.test", &registry)], |_| {});
    let client = door.registry(&host("reg.test", &registry));
    let request = pass_request("/v2/team/app/manifests/latest", &[]);
    let denied = client.pass(&request).await.unwrap();
    assert_eq!(denied.status, 401);
    let wants = denied.headers[header::WWW_AUTHENTICATE].to_str().unwrap();
    assert!(wants.contains("auth.example"));
    assert_eq!(registry.seen().len(), 1);
}

#[tokio::test]
async fn a_relayed_request_and_its_answer_are_as_they_were() {
    let registry = talkative_registry().await;
    let door = door_by_name(&[("reg.test", &registry)], |_| {});
    let client = door.registry(&host("reg.test", &registry));
    let path = "/v2/team/app/manifests/latest?ns=x&t=canary";
    let lines = [
        ("authorization", "Bearer canary"),
        ("accept", "a/b"),
        ("accept", "c/d"),
        ("range", "bytes=0-5"),
        ("host", "mirror"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("user-agent", "containerd/2"),
    ];
    let request = pass_request(path, &lines);
    let mut answer = client.pass(&request).await.unwrap();
    assert!(!format!("{request:?}").contains("canary"));
    assert_eq!(
        (answer.status.as_u16(), answer.visibility),
        (206, Visibility::Private)
    );
    assert_eq!(answer.headers.get_all("x-two").iter().count(), 2);
    assert_eq!(answer.headers["etag"], "W/\"e\"");
    assert_eq!(answer.headers["content-encoding"], "gzip");
    assert!(
        !answer.headers.contains_key("keep-alive") && !answer.headers.contains_key("connection")
    );
    let mut body = Vec::new();
    while let Some(chunk) = answer.body.next().await {
        body.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(body, b"bytes as they are");

    let seen = registry.seen().pop().unwrap();
    assert_eq!(seen.target, path);
    assert_eq!(seen.all("accept").collect::<Vec<_>>(), ["a/b", "c/d"]);
    assert_eq!(
        seen.all("authorization").collect::<Vec<_>>(),
        ["Bearer canary"]
    );
    assert_eq!(seen.line("user-agent"), Some("containerd/2"));
    assert!(
        seen.line("host")
            .is_some_and(|host| host.starts_with("reg.test:"))
    );
    assert!(seen.line("x-hop").is_none() && seen.line("te").is_none());
}

#[tokio::test]
async fn a_relayed_blob_is_followed_to_its_store_without_the_clients_token() {
    let store = Server::start(|seen| serve(seen, &content(100), "\"s\"")).await;
    let target = store.url_at("http://cdn.test", "/blob");
    let registry = Server::start(move |_| reply(307, &[("location", &target)], b"")).await;
    let door = door_by_name(&[("reg.test", &registry), ("cdn.test", &store)], |_| {});
    let client = door.registry(&host("reg.test", &registry));
    let lines = [("authorization", "Bearer canary"), ("range", "bytes=10-19")];
    let path = format!("/v2/team/app/blobs/{}", digest_of(&content(100)));
    let answer = client.pass(&pass_request(&path, &lines)).await.unwrap();
    assert_eq!(answer.status, 206);
    assert_eq!(answer.headers["content-range"], "bytes 10-19/100");
    assert!(!format!("{:?}", store.seen()).contains("canary"));
}

#[tokio::test]
async fn a_client_without_credentials_is_helped_where_this_host_has_some() {
    let tokens = token_server(Some(ANN), 300).await;
    let registry = registry_server(realm("auth.test", &tokens), Arc::default()).await;
    let name = host("reg.test", &registry);
    let file = docker_config(&name);
    let door = door_by_name(
        &[("reg.test", &registry), ("auth.test", &tokens)],
        |config| {
            config.docker_config = Some(file.path().to_owned());
            config.lent = vec![name.clone()];
            config.realms = vec![format!("{name}=auth.test").parse().unwrap()];
        },
    );
    let client = door.registry(&name);
    let path = "/v2/team/app/manifests/latest";
    let answer = client.pass(&pass_request(path, &[])).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.visibility),
        (200, Visibility::Private)
    );
    let own = client
        .pass(&pass_request(path, &[("authorization", "Bearer mine")]))
        .await
        .unwrap();
    assert_eq!(
        own.status, 401,
        "the client's own credentials are not replaced"
    );
    let ping = client.pass(&pass_request("/v2/", &[])).await.unwrap();
    assert_eq!(ping.status, 401);
    assert_eq!(tokens.seen().len(), 1);
}

#[tokio::test]
async fn docker_hub_is_reached_under_its_own_name() {
    let mut config = config(&[]);
    config.names = Some(Names::Table(Arc::default()));
    let door = Origins::new(config).unwrap();
    for name in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
        let client = door.registry(&name.parse().unwrap());
        assert_eq!(client.origin().to_string(), "registry-1.docker.io");
    }
}
