//! What is counted.

use super::*;

fn told(counts: impl IntoIterator<Item = (&'static str, u64)>) -> String {
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    let texts: Vec<_> = counts
        .map(|(name, count)| format!("{name}={count}"))
        .collect();
    texts.join(" ")
}

#[tokio::test]
async fn requests_count_by_rule_refusals_by_reason_and_bytes_by_way() {
    let proxy = Harness::of(1000, &["c.test content", "d.test direct", "r.test refuse"]).await;
    proxy.ask("GET", "http://c.test/a", &[]).await;
    proxy.ask("GET", "http://d.test/a", &[]).await;
    proxy.ask("GET", "http://n.test/a", &[]).await;
    proxy.ask("GET", "http://r.test/a", &[]).await;
    proxy.ask("GET", "http://c.test/a", &["Host: other"]).await;
    *proxy.origin.is_away.lock().expect("a lock") = true;
    proxy.ask("GET", "http://d.test/a", &[]).await;
    for target in ["a.test:25", "r.test:443"] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        proxy.raw(request.as_bytes()).await;
    }
    let tally = &proxy.tally;
    let requests = "content=1 direct=2 refuse=2 none=1 tunnel=1";
    assert_eq!(told(tally.requests()), requests);
    assert_eq!(
        told(tally.refusals()),
        "rule=2 policy=1 malformed=1 unreachable=1"
    );
    assert_eq!(told(tally.bytes()), "swarm=1000 passed=2000");
}

#[tokio::test]
async fn tunnels_count_while_they_are_open() {
    let proxy = Harness::of(10, &[]).await;
    let mut stream = TcpStream::connect(proxy.address).await.expect("connects");
    let request = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\nearly";
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut seen = Vec::new();
    while !seen.ends_with(b"early") {
        seen.push(stream.read_u8().await.expect("bytes"));
    }
    assert_eq!(proxy.tally.tunnels(), 1);
    stream.shutdown().await.expect("closed");
    stream.read_to_end(&mut seen).await.expect("the end");
    while proxy.tally.tunnels() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(told(proxy.tally.bytes()), "tunnel=10");
}
