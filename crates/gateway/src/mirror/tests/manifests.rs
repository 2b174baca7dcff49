//! Manifests, and what passes through.

use super::*;

#[tokio::test]
async fn manifests_pass_with_every_line_both_ways() {
    let mirror = Harness::of(10).await;
    let bytes = b"{ \"schemaVersion\": 2 }\n";
    mirror.registry.script(
        "/v2/a/manifests/latest",
        Scripted {
            status: 200,
            headers: vec![
                (
                    "content-type",
                    "application/vnd.oci.image.index.v1+json".into(),
                ),
                ("docker-content-digest", sha(bytes).to_string()),
                ("content-length", bytes.len().to_string()),
                ("x-twice", "1".into()),
                ("x-twice", "2".into()),
            ],
            body: vec![Some(Bytes::from_static(bytes))],
        },
    );
    let accepts = [
        "Accept: a/1",
        "Accept: b/2, c/3",
        "Accept: d/4",
        "Range: bytes=1-2",
    ];
    let reply = mirror
        .ask("GET", "/v2/a/manifests/latest?ns=quay.io", &accepts)
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body, bytes);
    assert_eq!(reply.header("x-twice"), "1|2");
    assert_eq!(
        reply.header("content-type"),
        "application/vnd.oci.image.index.v1+json"
    );
    {
        let seen = mirror.registry.seen.lock().expect("a lock");
        assert_eq!(seen[0].registry.as_str(), "quay.io");
        let sent: Vec<_> = seen[0].headers.get_all("accept").iter().collect();
        assert_eq!(sent, ["a/1", "b/2, c/3", "d/4"]);
        assert!(!seen[0].headers.contains_key("range") && !seen[0].headers.contains_key("host"));
    }
    // Now it is held by digest: the registry is not asked again.
    let by_digest = format!("/v2/a/manifests/{}?ns=quay.io", sha(bytes));
    let get = mirror.ask("GET", &by_digest, &[]).await;
    let head = mirror.ask("HEAD", &by_digest, &[]).await;
    assert_eq!((get.status, get.body.as_slice()), (200, &bytes[..]));
    assert_eq!(get.lines(), head.lines());
    assert_eq!(mirror.registry.seen.lock().expect("a lock").len(), 1);
}

#[tokio::test]
async fn a_manifest_with_another_digest_is_never_sent() {
    let mirror = Harness::of(10).await;
    let digest = sha(b"the right one");
    let path = format!("/v2/a/manifests/{digest}");
    let typed = ("content-type", "application/x".to_owned());
    let broken = [
        vec![Some(Bytes::from_static(b"another one"))],
        vec![Some(Bytes::from_static(b"the right")), None],
        vec![],
        vec![
            Some(Bytes::from(vec![0; 9 << 20])),
            Some(Bytes::from(vec![0; 9 << 20])),
        ],
    ];
    for body in broken {
        let answer = Scripted {
            status: 200,
            headers: vec![typed.clone()],
            body,
        };
        mirror.registry.script(&path, answer);
        let reply = mirror.ask("GET", &path, &[]).await;
        assert_eq!(reply.status, 502);
        assert!(reply.is_complete());
    }
    let tag = "/v2/a/manifests/latest";
    let mut answer = Scripted {
        status: 200,
        headers: vec![typed.clone(), ("docker-content-digest", digest.to_string())],
        body: vec![Some(Bytes::from_static(b"another one"))],
    };
    mirror.registry.script(tag, answer.clone());
    assert_eq!(mirror.ask("GET", tag, &[]).await.status, 502);
    assert!(mirror.registry.held.lock().expect("a lock").is_empty());
    answer.body = vec![Some(Bytes::from_static(b"the right one"))];
    mirror.registry.script(tag, answer);
    assert_eq!(mirror.ask("GET", tag, &[]).await.status, 200);
    // What rots in the store is not served either, but asked for again.
    mirror.registry.held.lock().expect("a lock")[0].bytes = Bytes::from_static(b"rot");
    assert_eq!(mirror.ask("GET", &path, &[]).await.status, 502);
}

#[tokio::test]
async fn a_tag_is_stale_only_while_the_registry_is_away_and_says_its_age() {
    let mirror = Harness::of(10).await;
    let tag = "/v2/a/manifests/latest";
    assert_eq!(mirror.ask("GET", tag, &[]).await.status, 503);
    *mirror.registry.stale.lock().expect("a lock") = Some(StaleManifest {
        manifest: HeldManifest {
            digest: sha(b"m"),
            media_type: "application/x".into(),
            bytes: Bytes::from_static(b"m"),
        },
        age: Duration::from_secs(90),
    });
    let reply = mirror.ask("GET", tag, &[]).await;
    assert_eq!((reply.status, reply.header("age").as_str()), (200, "90"));
    assert!(reply.header("warning").starts_with("111 "));
    for (status, is_stale) in [
        (500, true),
        (503, true),
        (504, true),
        (401, false),
        (403, false),
        (404, false),
        (429, false),
    ] {
        let answer = Scripted {
            status,
            ..Scripted::default()
        };
        mirror.registry.script(tag, answer);
        for method in ["GET", "HEAD"] {
            let reply = mirror.ask(method, tag, &[]).await;
            assert_eq!(reply.status == 200, is_stale, "{method} {status}");
            assert_eq!(reply.header("age").is_empty(), !is_stale);
        }
        let picky = mirror.ask("GET", tag, &["Accept: application/y"]).await;
        assert_eq!(picky.status, status);
        let easy = ["Accept: application/y, application/x;q=0.5"];
        let easy = mirror.ask("GET", tag, &easy).await;
        assert_eq!(easy.status == 200, is_stale);
    }
}

#[tokio::test]
async fn what_a_tag_means_is_noted_from_every_answer_that_tells() {
    let mirror = Harness::of(10).await;
    let tag = "/v2/a/manifests/latest";
    let told = vec![("docker-content-digest", sha(b"m").to_string())];
    for (status, headers) in [(200, told), (401, vec![]), (404, vec![])] {
        let answer = Scripted {
            status,
            headers,
            ..Scripted::default()
        };
        mirror.registry.script(tag, answer);
        assert_eq!(mirror.ask("HEAD", tag, &[]).await.status, status);
    }
    let said = mirror.registry.said.lock().expect("a lock");
    let latest = |meaning| ("latest".to_owned(), meaning);
    assert_eq!(*said, [latest(Some(sha(b"m"))), latest(None)]);
}

#[tokio::test]
async fn everything_else_passes_unchanged_and_breaks_visibly() {
    let mirror = Harness::of(10).await;
    let sha512 = format!("/v2/a/blobs/sha512:{}", "ab".repeat(64));
    let challenge = ("www-authenticate", "Bearer realm=\"r\"".to_owned());
    let broken = vec![Some(Bytes::from_static(b"half")), None];
    for (path, status, headers, body) in [
        ("/v2/?ns=quay.io", 401, vec![challenge], vec![]),
        (
            "/v2/a/tags/list?n=1&last=b",
            200,
            vec![("link", "<x>; rel=\"next\"".to_owned())],
            vec![Some(Bytes::from_static(b"{}"))],
        ),
        (
            sha512.as_str(),
            200,
            vec![],
            vec![Some(Bytes::from_static(b"blob"))],
        ),
    ] {
        mirror.registry.script(
            path.split("?ns").next().expect("a path"),
            Scripted {
                status,
                headers: headers.clone(),
                body,
            },
        );
        let reply = mirror.ask("GET", path, &[]).await;
        assert_eq!(reply.status, status, "{path}");
        for (name, value) in headers {
            assert_eq!(reply.header(name), value);
        }
    }
    mirror.registry.script(
        &sha512,
        Scripted {
            status: 200,
            body: broken,
            ..Scripted::default()
        },
    );
    let reply = mirror.ask("GET", &sha512, &[]).await;
    assert!(!reply.body.ends_with(b"0\r\n\r\n"), "a clean end of chunks");
    assert!(h2(&mirror, "GET", &sha512).await.is_err());
}

#[tokio::test]
async fn a_lonely_mirror_still_says_that_it_is_one() {
    let mirror = Harness::of(10).await;
    let reply = mirror.ask("GET", "/v2/", &[]).await;
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"{}"[..]));
    assert_eq!(
        reply.header("docker-distribution-api-version"),
        "registry/2.0"
    );
    assert_eq!(reply.header(crate::mirror::SIGN), env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn only_docker_is_shown_the_challenge_of_the_default_registry() {
    let mirror = Harness::of(10).await;
    let challenge = "Bearer realm=\"https://auth.docker.io/token\"".to_owned();
    let answer = Scripted {
        status: 401,
        headers: vec![("www-authenticate", challenge.clone())],
        body: vec![],
    };
    mirror.registry.script("/v2/", answer);
    let docker = ["User-Agent: docker/20.10.24 go/go1.19 os/linux"];
    let reply = mirror.ask("GET", "/v2/", &docker).await;
    assert_eq!(
        (reply.status, reply.header("www-authenticate")),
        (401, challenge)
    );
    assert_eq!(
        mirror.registry.seen.lock().expect("a lock")[0]
            .registry
            .as_str(),
        "docker.io"
    );
    let skopeo = ["User-Agent: skopeo/1.18"];
    assert_eq!(mirror.ask("GET", "/v2/", &skopeo).await.status, 200);
    assert_eq!(mirror.registry.seen.lock().expect("a lock").len(), 1);
}
