//! The mirror over real connections, as clients see it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ::http::{Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Backends, Mirror, Registries};
use crate::{
    HeldManifest, Limits, OpenError, OriginAnswer, Proof, StaleManifest, bind,
    testing::{Scripted, Shared, TestContent, TestRegistry},
};

struct Harness {
    address: SocketAddr,
    content: Arc<TestContent>,
    registry: Arc<TestRegistry>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Harness {
    async fn of(length: usize) -> Self {
        Self::with(TestContent::of(length), Limits::default()).await
    }

    async fn with(content: TestContent, limits: Limits) -> Self {
        let (content, registry) = (Arc::new(content), Arc::new(TestRegistry::default()));
        let backends = Backends {
            content: Arc::new(Shared(Arc::clone(&content))),
            upstream: registry.clone(),
            manifests: registry.clone(),
        };
        let registries = Registries {
            known: vec!["quay.io".parse().expect("a host")],
            default: Some("docker.io".parse().expect("a host")),
            any: true,
        };
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(Mirror::new(backends, registries).serve(listener, limits, stop.clone()));
        Self {
            address,
            content,
            registry,
            stop,
            tasks,
        }
    }

    fn blob(&self) -> String {
        format!("/v2/a/blobs/{}?ns=quay.io", self.content.digest)
    }

    /// Sends these very bytes and reads until the end of the connection.
    async fn raw(&self, request: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut bytes = Vec::new();
        // A reset is an end like any other: what counts is which bytes came.
        let _ = stream.read_to_end(&mut bytes).await;
        Reply::of(&bytes)
    }

    async fn ask(&self, method: &str, target: &str, headers: &[&str]) -> Reply {
        let mut request =
            format!("{method} {target} HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n");
        for line in headers {
            request.push_str(line);
            request.push_str("\r\n");
        }
        self.raw(&(request + "\r\n")).await
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn of(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map_or(bytes.len(), |at| at + 4);
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head
            .get(9..12)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        Self {
            status,
            head,
            body: bytes[end..].to_vec(),
        }
    }

    /// All lines of a header, joined by `|`.
    fn header(&self, name: &str) -> String {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let values: Vec<&str> = lines
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect();
        values.join("|")
    }

    /// The head without its date, sorted.
    fn lines(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = self
            .head
            .lines()
            .filter(|line| !line.starts_with("date:"))
            .collect();
        lines.sort_unstable();
        lines
    }

    fn is_complete(&self) -> bool {
        self.header("content-length") == self.body.len().to_string()
    }
}

fn sha(bytes: &[u8]) -> types::Digest {
    types::Digest::sha256(Sha256::digest(bytes).into())
}

#[tokio::test]
async fn ranges_are_answered_as_the_rfc_says() {
    let mirror = Harness::of(1000).await;
    let etag = format!("\"{}\"", mirror.content.digest);
    for (range, status, place) in [
        ("bytes=0-499", 206, Some((0, 500))),
        ("bytes=500-", 206, Some((500, 1000))),
        ("bytes=-1", 206, Some((999, 1000))),
        ("bytes=0-", 206, Some((0, 1000))),
        ("bytes=0-5000", 206, Some((0, 1000))),
        ("bytes=1000-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=5-2", 200, None),
        ("bytes=bbef02", 200, None),
        ("bytes=0-1,5-6", 200, None),
        ("lines=0-1", 200, None),
    ] {
        let reply = mirror
            .ask("GET", &mirror.blob(), &[&format!("Range: {range}")])
            .await;
        assert_eq!(reply.status, status, "{range}");
        assert!(reply.is_complete(), "{range}");
        let (want, said) = match (status, place) {
            (206, Some((start, end))) => (
                &mirror.content.bytes[start..end],
                format!("bytes {start}-{}/1000", end - 1),
            ),
            (416, _) => (&[][..], "bytes */1000".to_owned()),
            _ => (&mirror.content.bytes[..], String::new()),
        };
        assert_eq!(reply.body, want, "{range}");
        assert_eq!(reply.header("content-range"), said, "{range}");
        assert_eq!(reply.header("accept-ranges"), "bytes");
        assert_eq!(reply.header("etag"), etag);
    }
    for (condition, status) in [(etag.as_str(), 206), ("\"other\"", 200), ("W/\"x\"", 200)] {
        let condition = format!("If-Range: {condition}");
        let lines = ["Range: bytes=1-2", condition.as_str()];
        let reply = mirror.ask("GET", &mirror.blob(), &lines).await;
        assert_eq!(reply.status, status, "{condition}");
    }
}

#[tokio::test]
async fn head_says_what_get_says_and_starts_no_demand() {
    for length in [0, 1, 1000] {
        let mirror = Harness::of(length).await;
        let get = mirror.ask("GET", &mirror.blob(), &[]).await;
        let head = mirror.ask("HEAD", &mirror.blob(), &[]).await;
        assert_eq!(get.lines(), head.lines());
        assert_eq!(get.body, mirror.content.bytes);
        assert!(head.body.is_empty());
        assert_eq!(head.header("content-length"), length.to_string());
        assert_eq!(head.header("content-type"), "application/octet-stream");
        assert_eq!(
            head.header("docker-content-digest"),
            mirror.content.digest.to_string()
        );
        let ranged = mirror
            .ask("HEAD", &mirror.blob(), &["Range: bytes=0-0"])
            .await;
        assert_eq!(ranged.status, 200);
    }
}

#[tokio::test]
async fn large_blobs_arrive_whole_over_both_protocols() {
    let mirror = Harness::of(3_000_001).await;
    let reply = mirror.ask("GET", &mirror.blob(), &[]).await;
    assert!(reply.body == mirror.content.bytes);
    let (status, body) = h2_get(&mirror, &mirror.blob()).await.expect("a clean end");
    assert_eq!(status, StatusCode::OK);
    assert!(body == mirror.content.bytes);
    let proofs = mirror.content.proofs.lock().expect("a lock").clone();
    assert_eq!(proofs, [Proof::Sealed, Proof::Sealed]);
}

/// One request over HTTP/2.
async fn h2_get(mirror: &Harness, target: &str) -> Result<(StatusCode, Bytes), hyper::Error> {
    let stream = TcpStream::connect(mirror.address).await.expect("connects");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("a handshake");
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::get(format!("http://mirror{target}"))
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?;
    Ok((status, body.to_bytes()))
}

#[tokio::test]
async fn the_head_comes_before_the_first_byte_is_verified() {
    let mirror = Harness::of(1000).await;
    mirror.content.set(|script| script.verified = 0);
    let mut stream = TcpStream::connect(mirror.address).await.expect("connects");
    let request = format!("GET {} HTTP/1.1\r\nHost: m\r\n\r\n", mirror.blob());
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    mirror.content.set(|script| script.verified = 1000);
    let mut body = vec![0; 1000];
    stream.read_exact(&mut body).await.expect("a body");
    assert_eq!(body, mirror.content.bytes);
}

#[tokio::test]
async fn a_broken_transfer_never_ends_cleanly() {
    for (verified, is_short, proof) in [
        (500_000, false, Some(true)),
        (0, false, Some(true)),
        (1_000_000, true, Some(true)),
        (1_000_000, false, Some(false)),
    ] {
        let mirror = Harness::of(1_000_000).await;
        mirror.content.set(|script| {
            script.verified = verified;
            script.is_broken = true;
            script.is_short = is_short;
            script.proof = proof;
        });
        let reply = mirror.ask("GET", &mirror.blob(), &[]).await;
        // Broken at once, the reset may overtake the head.
        if !reply.head.is_empty() {
            assert_eq!(reply.status, 200);
            assert_eq!(reply.header("content-length"), "1000000");
        }
        assert!(
            reply.body.len() < 1_000_000,
            "{verified} {is_short} {proof:?}"
        );
        assert!(mirror.content.bytes.starts_with(&reply.body));
        let reply = h2_get(&mirror, &mirror.blob()).await;
        assert!(reply.is_err(), "{verified} {is_short} {proof:?}");
    }
}

#[tokio::test]
async fn an_empty_blob_waits_for_its_proof_before_the_head() {
    let mirror = Harness::of(0).await;
    mirror.content.set(|script| script.proof = Some(false));
    assert_eq!(mirror.ask("GET", &mirror.blob(), &[]).await.status, 503);
}

#[tokio::test]
async fn a_range_does_not_wait_for_the_proof_of_the_whole() {
    let mirror = Harness::of(1000).await;
    mirror.content.set(|script| script.proof = None);
    let part = mirror
        .ask("GET", &mirror.blob(), &["Range: bytes=900-"])
        .await;
    assert_eq!((part.status, part.body.len()), (206, 100));
}

#[tokio::test]
async fn a_client_that_leaves_withdraws_its_demand() {
    let mirror = Harness::of(1000).await;
    mirror.content.set(|script| script.verified = 10);
    let mut stream = TcpStream::connect(mirror.address).await.expect("connects");
    let request = format!("GET {} HTTP/1.1\r\nHost: m\r\n\r\n", mirror.blob());
    stream.write_all(request.as_bytes()).await.expect("writes");
    mirror.content.until_readers(1).await;
    drop(stream);
    mirror.content.until_readers(0).await;
}

#[tokio::test]
async fn a_slow_client_holds_its_reader_back() {
    let mirror = Harness::of(64 << 20).await;
    let mut stream = TcpStream::connect(mirror.address).await.expect("connects");
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n",
        mirror.blob()
    );
    stream.write_all(request.as_bytes()).await.expect("writes");
    stream.read_u8().await.expect("a byte");
    assert!(mirror.content.proofs.lock().expect("a lock").is_empty());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("the rest");
    assert!(rest.ends_with(&mirror.content.bytes));
}

#[tokio::test]
async fn refusals_say_why_in_the_words_of_the_spec() {
    let mirror = Harness::of(10).await;
    let refuse = |error| *mirror.content.refusal.lock().expect("a lock") = Some(error);
    let cases: Vec<(OpenError, u16, &str)> = vec![
        (OpenError::NotFound, 404, "BLOB_UNKNOWN"),
        (
            OpenError::OriginBusy {
                retry_after: Some(Duration::from_millis(1500)),
            },
            429,
            "TOOMANYREQUESTS",
        ),
        (
            OpenError::Unavailable("/var/lib/secret".into()),
            503,
            "UNAVAILABLE",
        ),
        (OpenError::Policy("not on the list".into()), 403, "DENIED"),
    ];
    for (error, status, code) in cases {
        refuse(error);
        let reply = mirror.ask("GET", &mirror.blob(), &[]).await;
        assert_eq!(reply.status, status);
        let body: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
        assert_eq!(body["errors"][0]["code"], code);
        assert!(!body.to_string().contains("secret"));
        if status == 429 {
            assert_eq!(reply.header("retry-after"), "2");
        }
    }
}

#[tokio::test]
async fn a_challenge_for_a_blob_is_relayed_as_it_came() {
    let mirror = Harness::of(10).await;
    let mut headers = ::http::HeaderMap::new();
    let challenge = "Bearer realm=\"https://auth.quay.io/token\",service=\"quay.io\"";
    headers.append("www-authenticate", challenge.parse().expect("a value"));
    headers.append(
        "www-authenticate",
        "Basic realm=\"x\"".parse().expect("a value"),
    );
    *mirror.content.refusal.lock().expect("a lock") =
        Some(OpenError::Denied(Box::new(OriginAnswer {
            status: StatusCode::UNAUTHORIZED,
            headers,
            body: Bytes::from_static(b"{\"errors\":[]}"),
        })));
    let reply = mirror
        .ask("GET", &mirror.blob(), &["Authorization: Bearer old"])
        .await;
    assert_eq!(reply.status, 401);
    assert_eq!(
        reply.header("www-authenticate"),
        format!("{challenge}|Basic realm=\"x\"")
    );
    assert_eq!(reply.body, b"{\"errors\":[]}");
    let asks = mirror.content.asks.lock().expect("a lock");
    assert_eq!(asks[0].headers.to_map()["authorization"], "Bearer old");
}

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
    mirror.registry.script(
        tag,
        Scripted {
            status: 404,
            ..Scripted::default()
        },
    );
    assert_eq!(mirror.ask("GET", tag, &[]).await.status, 404);
}

#[tokio::test]
async fn everything_else_passes_unchanged_and_breaks_visibly() {
    let mirror = Harness::of(10).await;
    let sha512 = format!("/v2/a/blobs/sha512:{}", "ab".repeat(64));
    let challenge = ("www-authenticate", "Bearer realm=\"r\"".to_owned());
    let broken = vec![Some(Bytes::from_static(b"half")), None];
    for (path, status, headers, body) in [
        ("/v2/", 401, vec![challenge], vec![]),
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
            path,
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
    assert!(h2_get(&mirror, &sha512).await.is_err());
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
}

#[tokio::test]
async fn pushes_are_told_to_go_direct() {
    let mirror = Harness::of(10).await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let reply = mirror.ask(method, "/v2/a/blobs/uploads/", &[]).await;
        assert_eq!(
            (reply.status, reply.header("allow").as_str()),
            (405, "GET, HEAD")
        );
        assert!(String::from_utf8_lossy(&reply.body).contains("push to the registry itself"));
    }
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_their_connection_ends() {
    let mirror = Harness::of(10).await;
    let blob = mirror.blob();
    let line = format!("GET {blob} HTTP/1.1\r\n");
    let smuggled = "GET /v2/smuggled/tags/list HTTP/1.1\r\nHost: m\r\n\r\n";
    for request in [
        format!(
            "{line}Host: m\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!(
            "{line}Host: m\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!("{line}Host: m\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde{smuggled}"),
        format!("{line}Host: m\r\nContent-Length: 4, 5\r\n\r\nabcde{smuggled}"),
        format!("{line}Host: m\r\nContent-Length: +4\r\n\r\nabcd{smuggled}"),
        format!("{line}Host: m\r\nContent-Length: 4\r\n\r\nabcd{smuggled}"),
        format!("{line}Host: m\r\nTransfer-Encoding: xchunked\r\n\r\n{smuggled}"),
        format!("{line}Host: m\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{line}Host: m\r\nX: a\r\n folded\r\n\r\n{smuggled}"),
        format!("{line}Host: m\r\nHost: n\r\n\r\n{smuggled}"),
        format!("{line}\r\n{smuggled}"),
        format!("{line}Host: m\r\nX\0: a\r\n\r\n{smuggled}"),
        format!("{line}Host: m\r\nX: a\rb\r\n\r\n{smuggled}"),
        format!("GET http://evil.example{blob} HTTP/1.1\r\nHost: m\r\n\r\n{smuggled}"),
        format!("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n{smuggled}"),
        format!("GET {blob} HTTP/3.0\r\nHost: m\r\n\r\n{smuggled}"),
        format!("GET\t{blob}\tHTTP/1.1\r\nHost: m\r\n\r\n{smuggled}"),
        format!("{line}Host: m\r\n{}\r\n{smuggled}", "X: y\r\n".repeat(200)),
        format!(
            "{line}Host: m\r\nX: {}\r\n\r\n{smuggled}",
            "y".repeat(100_000)
        ),
    ] {
        let reply = mirror.raw(&request).await;
        let shown = &request[..request.len().min(160)];
        assert!(
            (400..500).contains(&reply.status) || reply.head.is_empty(),
            "{shown:?} gave {}",
            reply.head
        );
        assert!(
            mirror.registry.seen.lock().expect("a lock").is_empty(),
            "{shown:?} smuggled"
        );
        assert!(
            mirror.content.asks.lock().expect("a lock").is_empty(),
            "{shown:?} passed"
        );
    }
}

#[tokio::test]
async fn a_silent_client_does_not_hold_a_place() {
    let limits = Limits {
        connections_max: 1,
        head_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let mirror = Harness::with(TestContent::of(10), limits).await;
    let _silent = TcpStream::connect(mirror.address).await.expect("connects");
    let mut half = TcpStream::connect(mirror.address).await.expect("connects");
    half.write_all(b"PRI * HTTP").await.expect("writes");
    let mut slow = TcpStream::connect(mirror.address).await.expect("connects");
    slow.write_all(b"GET /v2/ HT").await.expect("writes");
    assert_eq!(mirror.ask("GET", &mirror.blob(), &[]).await.status, 200);
}

#[tokio::test]
async fn stopping_lets_a_running_transfer_end() {
    let mut mirror = Harness::of(1000).await;
    mirror.content.set(|script| script.verified = 10);
    let mut stream = TcpStream::connect(mirror.address).await.expect("connects");
    let request = format!("GET {} HTTP/1.1\r\nHost: m\r\n\r\n", mirror.blob());
    stream.write_all(request.as_bytes()).await.expect("writes");
    mirror.content.until_readers(1).await;
    mirror.stop.cancel();
    mirror.content.set(|script| script.verified = 1000);
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.expect("the end");
    assert!(reply.ends_with(&mirror.content.bytes));
    mirror
        .tasks
        .join_next()
        .await
        .expect("served")
        .expect("no panic");
    assert!(TcpStream::connect(mirror.address).await.is_err());
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let limits = Limits {
        grace: Duration::from_millis(20),
        ..Limits::default()
    };
    let mut mirror = Harness::with(TestContent::of(1000), limits).await;
    mirror.content.set(|script| script.verified = 10);
    let mut stream = TcpStream::connect(mirror.address).await.expect("connects");
    let request = format!("GET {} HTTP/1.1\r\nHost: m\r\n\r\n", mirror.blob());
    stream.write_all(request.as_bytes()).await.expect("writes");
    mirror.content.until_readers(1).await;
    mirror.stop.cancel();
    mirror
        .tasks
        .join_next()
        .await
        .expect("served")
        .expect("no panic");
    mirror.content.until_readers(0).await;
}
