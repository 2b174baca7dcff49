//! Blobs: ranges, heads, ends, refusals.

use super::*;

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
    let (status, body) = h2(&mirror, "GET", &mirror.blob())
        .await
        .expect("a clean end");
    assert_eq!(status, StatusCode::OK);
    assert!(body == mirror.content.bytes);
    let proofs = mirror.content.proofs.lock().expect("a lock").clone();
    assert_eq!(proofs, [Proof::Sealed, Proof::Sealed]);
}

#[tokio::test]
async fn the_head_comes_before_the_first_byte_is_verified() {
    let mirror = Harness::of(1000).await;
    mirror.content.set(|script| script.verified = 0);
    let mut stream = TcpStream::connect(mirror.address).await.expect("connects");
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", mirror.blob());
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
        let reply = h2(&mirror, "GET", &mirror.blob()).await;
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
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", mirror.blob());
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
        "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
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
        (OpenError::NotFound("404".into()), 404, "BLOB_UNKNOWN"),
        (
            OpenError::OriginBusy {
                retry_after: Some(Duration::from_millis(1500)),
                cause: "429".into(),
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
async fn an_answer_to_head_has_no_body_even_when_it_is_a_refusal() {
    let mirror = Harness::of(1000).await;
    let other = format!("/v2/a/blobs/sha256:{}", "ab".repeat(32));
    let (get, head) = (
        mirror.ask("GET", &other, &[]).await,
        mirror.ask("HEAD", &other, &[]).await,
    );
    assert_eq!((head.status, head.body.len()), (404, 0));
    assert_eq!(get.lines(), head.lines());
    for (target, status) in [(mirror.blob(), 200), (other, 404)] {
        let (got, body) = h2(&mirror, "HEAD", &target).await.expect("a clean end");
        assert_eq!((got.as_u16(), body.len()), (status, 0));
    }
}
