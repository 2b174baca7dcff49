//! Requests that are refused, clients that dawdle, and leaving.

use super::*;

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
    let smuggled = "GET /v2/smuggled/tags/list HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for request in [
        format!(
            "{line}Host: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!(
            "{line}Host: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!(
            "{line}Host: localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde{smuggled}"
        ),
        format!("{line}Host: localhost\r\nContent-Length: 4, 5\r\n\r\nabcde{smuggled}"),
        format!("{line}Host: localhost\r\nContent-Length: +4\r\n\r\nabcd{smuggled}"),
        format!("{line}Host: localhost\r\nContent-Length: 4\r\n\r\nabcd{smuggled}"),
        format!("{line}Host: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n{smuggled}"),
        format!("{line}Host: localhost\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{line}Host: localhost\r\nX: a\r\n folded\r\n\r\n{smuggled}"),
        format!("{line}Host: localhost\r\nHost: n\r\n\r\n{smuggled}"),
        format!("{line}\r\n{smuggled}"),
        format!("{line}Host: localhost\r\nX\0: a\r\n\r\n{smuggled}"),
        format!("{line}Host: localhost\r\nX: a\rb\r\n\r\n{smuggled}"),
        format!("GET {blob} HTTP/1.1\nHost: m\n\n{smuggled}"),
        format!("{line}Host: m\nX: a\r\n\r\n{smuggled}"),
        format!("GET http://evil.example{blob} HTTP/1.1\r\nHost: localhost\r\n\r\n{smuggled}"),
        format!("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n{smuggled}"),
        format!("GET {blob} HTTP/3.0\r\nHost: localhost\r\n\r\n{smuggled}"),
        format!("GET\t{blob}\tHTTP/1.1\r\nHost: localhost\r\n\r\n{smuggled}"),
        format!(
            "{line}Host: localhost\r\n{}\r\n{smuggled}",
            "X: y\r\n".repeat(200)
        ),
        format!(
            "{line}Host: localhost\r\nX: {}\r\n\r\n{smuggled}",
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
async fn a_page_whose_name_leads_here_gets_nothing() {
    let limits = Limits {
        names: ["node7.corp".parse().expect("a name")]
            .into_iter()
            .collect(),
        ..Limits::default()
    };
    let mirror = Harness::with(TestContent::of(10), limits).await;
    let blob = mirror.blob();
    for (host, lines, status) in [
        ("evil.example:7472", "", 421),
        ("localhost", "Origin: http://evil.example\r\n", 403),
        ("127.0.0.1:7472", "Sec-Fetch-Site: cross-site\r\n", 403),
        ("127.0.0.1:7472", "", 200),
        ("node7.corp:7472", "", 200),
    ] {
        for path in [&blob[..], "/v2/"] {
            let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
            let reply = mirror.raw(&format!("{head}{lines}\r\n")).await;
            assert_eq!(reply.status, status, "{host} {lines}");
            assert!(reply.is_complete(), "{}", reply.head);
        }
        let over_h2 = h2_at(&mirror, "GET", (host, &blob)).await;
        if lines.is_empty() {
            assert_eq!(over_h2.expect("an answer").0, status, "{host}");
        }
    }
    assert!(mirror.registry.seen.lock().expect("a lock").is_empty());
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
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", mirror.blob());
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
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", mirror.blob());
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

#[tokio::test]
async fn a_full_house_says_so_at_once_and_empties_again() {
    let limits = Limits {
        answers: Places::new(1),
        ..Limits::default()
    };
    let mirror = Harness::with(TestContent::of(1000), limits).await;
    mirror.content.set(|script| script.verified = 10);
    let mut stream = TcpStream::connect(mirror.address).await.expect("connects");
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", mirror.blob());
    stream.write_all(request.as_bytes()).await.expect("writes");
    mirror.content.until_readers(1).await;
    let refused = mirror.ask("GET", &mirror.blob(), &[]).await;
    assert_eq!(
        (refused.status, refused.header("retry-after").as_str()),
        (503, "1")
    );
    drop(stream);
    mirror.content.until_readers(0).await;
    mirror.content.set(|script| script.verified = 1000);
    // The place is given back with the reader, a moment later.
    while mirror.ask("GET", &mirror.blob(), &[]).await.status == 503 {}
}
