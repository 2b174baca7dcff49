//! Requests that are refused, on a real socket: nothing of them goes on, and nothing behind them is served.

use super::*;

/// Sends each with a request smuggled behind it: it is answered so, the connection ends, and nothing of it goes on.
async fn refused(corpus: Vec<(String, u16)>) -> Harness {
    let proxy = Harness::of(10, &["c.test content", "evil.test refuse"]).await;
    let smuggled = "GET http://smuggled.test/ HTTP/1.1\r\nHost: smuggled.test\r\n\r\n";
    for (request, status) in corpus {
        let reply = proxy.raw(format!("{request}{smuggled}").as_bytes()).await;
        let shown = &request[..request.len().min(120)];
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {status}")),
            "{shown:?} gave {reply:?}"
        );
        let answers = reply.matches("\r\ndate: ").count();
        assert_eq!(answers, 1, "{shown:?} gave {reply:?}");
        let sent = proxy.sent();
        assert!(sent.is_empty(), "{shown:?} went on as {sent:?}");
        assert_eq!(proxy.asks(), 0, "{shown:?}");
    }
    proxy
}

#[tokio::test]
async fn a_body_has_one_length() {
    refused(lengths()).await;
}

#[tokio::test]
async fn a_line_ends_in_one_way() {
    refused(lines()).await;
}

#[tokio::test]
async fn a_request_names_one_host() {
    refused(hosts()).await;
}

#[tokio::test]
async fn a_proxy_is_asked_for_urls_of_web_servers() {
    refused(targets()).await;
}

#[tokio::test]
async fn a_tunnel_leads_to_a_host_and_a_port_that_are_allowed() {
    let proxy = refused(tunnels()).await;
    let dialled = proxy.origin.tunnels.lock().expect("a lock").clone();
    assert_eq!(dialled, [("a.test".to_owned(), 25)]);
}

fn lengths() -> Vec<(String, u16)> {
    let post = "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\n";
    vec![
        (
            format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            format!("{post}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"),
            400,
        ),
        (
            format!("{post}Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
            400,
        ),
        (format!("{post}Content-Length: 4, 4\r\n\r\nabcd"), 400),
        (format!("{post}Content-Length: +4\r\n\r\nabcd"), 400),
        (format!("{post}Content-Length: 0x4\r\n\r\nabcd"), 400),
        (format!("{post}Content-Length: -1\r\n\r\nabcd"), 400),
        (format!("{post}Transfer-Encoding: xchunked\r\n\r\n"), 400),
        (
            format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n"),
            400,
        ),
        (
            format!("{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            format!("{post}Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
            400,
        ),
        (
            "POST http://a.test/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
        ),
    ]
}

fn lines() -> Vec<(String, u16)> {
    let line = "GET http://a.test/ HTTP/1.1\r\n";
    vec![
        (
            format!("{line}Host: a.test\r\nX: a\r\n folded\r\n\r\n"),
            400,
        ),
        (format!("{line}Host: a.test\r\n\tX: folded\r\n\r\n"), 400),
        (format!("{line}Host: a.test\nX: a\r\n\r\n"), 400),
        ("GET http://a.test/ HTTP/1.1\nHost: a.test\n\n".into(), 400),
        (format!("{line}Host: a.test\rX: a\r\n\r\n"), 400),
        (format!("{line}Host: a.test\r\nX: a\0b\r\n\r\n"), 400),
        (format!("{line}Host: a.test\r\nX\0: a\r\n\r\n"), 400),
        (format!("{line}Host: a.test\r\nNothing\r\n\r\n"), 400),
    ]
}

fn hosts() -> Vec<(String, u16)> {
    let line = "GET http://a.test/ HTTP/1.1\r\n";
    vec![
        (format!("{line}\r\n"), 400),
        (format!("{line}Host: a.test\r\nHost: a.test\r\n\r\n"), 400),
        (format!("{line}Host: b.test\r\n\r\n"), 400),
        (format!("{line}Host: a.test:81\r\n\r\n"), 400),
        (format!("{line}Host: a.test, b.test\r\n\r\n"), 400),
        (format!("{line}Host:\r\n\r\n"), 400),
        (
            "GET http://u:p@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            400,
        ),
        (
            "GET http://a.test@b.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n".into(),
            400,
        ),
        (
            "GET http:///a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            400,
        ),
        (
            "GET http://a.test:0x50/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            400,
        ),
    ]
}

fn targets() -> Vec<(String, u16)> {
    let line = "GET http://a.test/ HTTP/1.1\r\n";
    let many = "X: y\r\n".repeat(200);
    let long = "y".repeat(40_000);
    vec![
        ("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".into(), 400),
        ("GET a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n".into(), 400),
        ("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n".into(), 400),
        (
            "GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            400,
        ),
        (
            "GET file:///etc/passwd HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            400,
        ),
        (
            "GET http://a.test/#x HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            400,
        ),
        (
            "GET http://a.test/a b HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            400,
        ),
        (
            "GET  http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            400,
        ),
        (
            "GET\thttp://a.test/\tHTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            400,
        ),
        (
            "GET http://a.test/\u{e9} HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            400,
        ),
        (
            "GET http://a.test/ HTTP/3.0\r\nHost: a.test\r\n\r\n".into(),
            400,
        ),
        (
            "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n".into(),
            403,
        ),
        (format!("{line}Host: a.test\r\n{many}\r\n"), 431),
        (format!("{line}Host: a.test\r\nX: {long}\r\n\r\n"), 431),
    ]
}

fn tunnels() -> Vec<(String, u16)> {
    vec![
        (
            "CONNECT a.test HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            400,
        ),
        (
            "CONNECT http://a.test:443/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            400,
        ),
        (
            "CONNECT a.test:443/x HTTP/1.1\r\nHost: a.test:443\r\n\r\n".into(),
            400,
        ),
        (
            "CONNECT u@a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n".into(),
            400,
        ),
        (
            "CONNECT a.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n".into(),
            400,
        ),
        (
            "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nContent-Length: 4\r\n\r\nabcd"
                .into(),
            400,
        ),
        (
            "CONNECT a.test:99999 HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            400,
        ),
        (
            "CONNECT a.test:25 HTTP/1.1\r\nHost: a.test:25\r\n\r\n".into(),
            403,
        ),
        (
            "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n".into(),
            403,
        ),
    ]
}

#[tokio::test]
async fn nothing_is_served_behind_a_chunked_body() {
    let proxy = Harness::of(10, &[]).await;
    let request = "PUT http://a.test/ HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n0\r\n\r\nGET http://b.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n";
    let reply = proxy.raw(request.as_bytes()).await;
    assert_eq!(reply.matches("HTTP/1.1 200").count(), 1, "{reply}");
    let sent = proxy.sent();
    assert_eq!((sent.len(), &*sent[0].body), (1, &b"abc"[..]));
}

#[tokio::test]
async fn http_2_is_no_way_around() {
    let proxy = Harness::of(10, &[]).await;
    let stream = TcpStream::connect(proxy.address).await.expect("connects");
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .expect("a handshake");
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = ::http::Request::get("http://a.test/")
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    assert_eq!(response.status(), 400);
    assert!(proxy.sent().is_empty());
}
