//! What good requests get.

use super::*;
use crate::{Class, Wanted};

const URL: &str = "http://c.test/f?once=1";

fn body(reply: &str) -> &str {
    reply.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn content_of_a_rule_comes_with_the_origins_head() {
    let rule = "c.test content ignore=once application=a priority=3";
    let proxy = Harness::of(1000, &[rule]).await;
    let reply = proxy
        .ask("GET", URL, &["Accept: x", "X-Dragonfly-Tag: t"])
        .await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    assert_eq!(body(&reply), lossy(&proxy.content.bytes));
    for line in [
        "etag: \"v1\"",
        "x-own: 1",
        "x-dragonfly-task-id: 0707",
        "content-length: 1000",
    ] {
        assert!(reply.contains(line), "{line} is not in {reply}");
    }
    let sent = proxy.sent();
    assert_eq!(
        (sent.len(), &*sent[0].method, &*sent[0].url),
        (1, "HEAD", URL)
    );
    assert!(sent[0].headers.contains_key("accept"));
    assert!(!sent[0].headers.contains_key("x-dragonfly-tag"));
    let asks = proxy.content.asks.lock().expect("a lock");
    let Wanted::Url {
        tag, ignored, seen, ..
    } = &asks[0].wanted
    else {
        panic!("{asks:?}")
    };
    assert_eq!((&**tag, &**ignored), ("a\u{1f}t", &["once".to_owned()][..]));
    assert_eq!(seen.as_ref().map(|seen| seen.length), Some(ByteCount(1000)));
    assert_eq!(asks[0].class, Class::Ahead);
}

#[tokio::test]
async fn ranges_are_exact() {
    let proxy = Harness::of(1000, &["c.test content"]).await;
    for (lines, status, place, wanted) in [
        (&["Range: bytes=1-2"][..], 206, "bytes 1-2/1000", Some(1..3)),
        (
            &["Range: bytes=-2"],
            206,
            "bytes 998-999/1000",
            Some(998..1000),
        ),
        (
            &["Range: bytes=1-2", "If-Range: \"v1\""],
            206,
            "bytes 1-2/1000",
            Some(1..3),
        ),
        (
            &["Range: bytes=1-2", "If-Range: \"v0\""],
            200,
            "",
            Some(0..1000),
        ),
        (&["Range: bytes=1000-"], 416, "bytes */1000", None),
    ] {
        let reply = proxy.ask("GET", URL, lines).await;
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {status}")),
            "{lines:?}: {reply}"
        );
        assert!(
            reply.contains(&format!("content-range: {place}")) || place.is_empty(),
            "{reply}"
        );
        let wanted = wanted.map_or(String::new(), |range| lossy(&proxy.content.bytes[range]));
        assert_eq!(body(&reply), wanted, "{lines:?}");
    }
    assert!(
        proxy
            .sent()
            .iter()
            .all(|sent| !sent.headers.contains_key("range"))
    );
}

#[tokio::test]
async fn what_is_somebodys_own_goes_on_as_it_is() {
    let proxy = Harness::of(10, &["c.test content"]).await;
    for (method, line) in [
        ("GET", "Authorization: Bearer t"),
        ("GET", "Cookie: a=b"),
        ("GET", "Cache-Control: no-store"),
        ("HEAD", "X: y"),
        ("POST", "Content-Length: 0"),
        ("DELETE", "X: y"),
    ] {
        let before = proxy.sent().len();
        let reply = proxy.ask(method, URL, &[line]).await;
        assert!(
            reply.starts_with("HTTP/1.1 200"),
            "{method} {line}: {reply}"
        );
        let sent = proxy.sent();
        assert_eq!((sent.len(), &*sent[before].method), (before + 1, method));
        assert_eq!(body(&reply).is_empty(), method == "HEAD", "{reply}");
        let name = line.split(':').next().expect("a name");
        assert!(sent[before].headers.contains_key(name), "{line}");
    }
    assert_eq!(proxy.asks(), 0);
}

#[tokio::test]
async fn what_an_origin_wants_kept_nowhere_is_asked_of_it() {
    let proxy = Harness::of(10, &["c.test content"]).await;
    for line in [
        ("cache-control", "private"),
        ("set-cookie", "a=b"),
        ("vary", "*"),
        // No version at all.
        ("x-other", "1"),
    ] {
        let etag = if line.0 == "x-other" {
            ("x-none", "1")
        } else {
            ("etag", "\"v1\"")
        };
        proxy.say(&[etag, line]);
        let reply = proxy.ask("GET", URL, &[]).await;
        assert_eq!(body(&reply), lossy(&proxy.content.bytes), "{line:?}");
        let methods: Vec<_> = proxy.sent().into_iter().map(|sent| sent.method).collect();
        assert!(
            methods.ends_with(&["HEAD".into(), "GET".into()]),
            "{methods:?}"
        );
    }
    assert_eq!(proxy.asks(), 0);
}

#[tokio::test]
async fn statuses_are_the_origins() {
    let proxy = Harness::of(10, &["c.test content"]).await;
    for (status, sent) in [(304, 1), (302, 2), (401, 2), (404, 2), (500, 2)] {
        *proxy.origin.status.lock().expect("a lock") = status;
        let before = proxy.sent().len();
        let reply = proxy.ask("GET", URL, &["If-None-Match: \"v1\""]).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status}")), "{reply}");
        assert_eq!(
            reply.contains("x-dragonfly-error-type: backend"),
            status >= 400,
            "{reply}"
        );
        assert_eq!(proxy.sent().len() - before, sent, "{status}");
    }
    assert_eq!(proxy.asks(), 0);
}

#[tokio::test]
async fn whatever_stands_in_the_way_the_request_goes_on() {
    let proxy = Harness::with(10, &["c.test content"], Places::new(1)).await;
    let refusal = crate::OpenError::Policy("no".into());
    *proxy.content.refusal.lock().expect("a lock") = Some(refusal);
    let reply = proxy.ask("GET", URL, &[]).await;
    assert_eq!(body(&reply), lossy(&proxy.content.bytes));
    assert_eq!(
        proxy.sent().last().map(|sent| sent.method.clone()),
        Some("GET".into())
    );
    // The only place is taken by a client that does not read on.
    proxy.content.set(|script| script.verified = 1);
    let mut slow = TcpStream::connect(proxy.address).await.expect("connects");
    let request = format!("GET {URL} HTTP/1.1\r\nHost: c.test\r\n\r\n");
    slow.write_all(request.as_bytes()).await.expect("writes");
    proxy.content.until_readers(1).await;
    let before = proxy.asks();
    let reply = proxy.ask("GET", URL, &[]).await;
    assert_eq!(body(&reply), lossy(&proxy.content.bytes));
    assert_eq!(proxy.asks(), before);
}

#[tokio::test]
async fn what_is_held_is_served_while_its_origin_is_away() {
    let proxy = Harness::of(10, &["c.test content"]).await;
    *proxy.origin.is_away.lock().expect("a lock") = true;
    let reply = proxy.ask("GET", URL, &[]).await;
    assert_eq!(body(&reply), lossy(&proxy.content.bytes));
    *proxy.content.refusal.lock().expect("a lock") =
        Some(crate::OpenError::Unavailable("scripted".into()));
    let reply = proxy.ask("GET", URL, &[]).await;
    assert!(reply.starts_with("HTTP/1.1 502"), "{reply}");
    assert!(
        reply.contains("x-dragonfly-error-type: dfdaemon"),
        "{reply}"
    );
}

#[tokio::test]
async fn a_registrys_blob_goes_by_its_digest() {
    let proxy = Harness::of(1000, &["c.test content"]).await;
    let digest = proxy.content.digest;
    let url = format!("http://c.test/v2/a/b/blobs/{digest}");
    let reply = proxy
        .ask(
            "GET",
            &url,
            &["Authorization: Bearer t", "Range: bytes=1-2"],
        )
        .await;
    assert!(reply.starts_with("HTTP/1.1 206"), "{reply}");
    assert_eq!(body(&reply), lossy(&proxy.content.bytes[1..3]));
    let reply = proxy.ask("HEAD", &url, &[]).await;
    assert!(
        reply.contains(&format!("docker-content-digest: {digest}")),
        "{reply}"
    );
    assert!(proxy.sent().is_empty());
    // Dragonfly's clients name the registry in a header.
    let path = format!("/v2/a/b/blobs/{digest}");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nX-Dragonfly-Registry: https://r.test:5000\r\n\r\n"
    );
    let reply = proxy.raw(request.as_bytes()).await;
    assert_eq!(body(&reply), lossy(&proxy.content.bytes));
    let asks = proxy.content.asks.lock().expect("a lock");
    let named = asks.iter().map(|ask| match &ask.wanted {
        Wanted::Blob { registry, .. } => registry.to_string(),
        Wanted::Url { .. } => String::new(),
    });
    assert_eq!(
        named.collect::<Vec<_>>(),
        ["c.test", "c.test", "r.test:5000"]
    );
}

#[tokio::test]
async fn a_client_of_dragonfly_may_ask_for_the_swarm_where_no_rule_decides() {
    let proxy = Harness::of(10, &["d.test direct"]).await;
    let wish = [
        "X-Dragonfly-Use-P2P: true",
        "X-Dragonfly-Prefetch: true",
        "Range: bytes=0-1",
    ];
    proxy.ask("GET", "http://e.test/", &wish).await;
    assert_eq!(proxy.asks(), 1);
    assert!(proxy.content.asks.lock().expect("a lock")[0].prefetch);
    proxy.ask("GET", "http://d.test/", &wish).await;
    proxy.ask("GET", "http://e.test/", &[]).await;
    assert_eq!(proxy.asks(), 1);
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_and_ends_with_the_door() {
    let mut proxy = Harness::of(10, &[]).await;
    let mut stream = TcpStream::connect(proxy.address).await.expect("connects");
    let request = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n\u{1}early";
    stream.write_all(request.as_bytes()).await.expect("writes");
    let head = b"HTTP/1.1 200 OK\r\n";
    let mut seen = vec![0; head.len()];
    stream.read_exact(&mut seen).await.expect("an answer");
    assert_eq!(lossy(&seen), lossy(head));
    let mut rest = Vec::new();
    while !rest.ends_with(b"\r\n\r\n\x01early") {
        rest.push(stream.read_u8().await.expect("bytes"));
    }
    stream.write_all(b"\n\nmore").await.expect("writes");
    let mut more = [0; 6];
    stream.read_exact(&mut more).await.expect("bytes");
    assert_eq!(&more, b"\n\nmore");
    assert_eq!(
        proxy.origin.tunnels.lock().expect("a lock")[0],
        ("a.test".to_owned(), 443)
    );
    proxy.stop.cancel();
    stream.read_to_end(&mut rest).await.expect("the end");
    let ended = proxy.tasks.join_next().await.expect("served");
    ended.expect("no panic");
}

#[tokio::test]
async fn requests_within_an_opened_tunnel_are_for_its_host_alone() {
    let proxy = Harness::of(10, &["https://open.test/f content"]).await;
    let within = |requests: &str| {
        format!("CONNECT open.test:443 HTTP/1.1\r\nHost: open.test:443\r\n\r\n{requests}")
    };
    let request = "GET /f HTTP/1.1\r\nHost: open.test\r\nConnection: close\r\n\r\n";
    let reply = proxy.raw(within(request).as_bytes()).await;
    assert!(reply.ends_with(&lossy(&proxy.content.bytes)), "{reply}");
    assert_eq!(proxy.asks(), 1);
    assert_eq!(proxy.sent()[0].url, "https://open.test/f");
    let sent = proxy.sent().len();
    for request in [
        "GET /f HTTP/1.1\r\nHost: other.test\r\n\r\n",
        "GET https://other.test/f HTTP/1.1\r\nHost: open.test\r\n\r\n",
        "GET http://open.test/f HTTP/1.1\r\nHost: open.test\r\n\r\n",
        "CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n",
        "GET /f HTTP/1.1\nHost: open.test\n\n",
    ] {
        let reply = proxy.raw(within(request).as_bytes()).await;
        assert!(reply.contains("HTTP/1.1 400"), "{request:?}: {reply}");
        assert_eq!(proxy.sent().len(), sent, "{request:?}");
    }
    assert!(proxy.origin.tunnels.lock().expect("a lock").is_empty());
}
