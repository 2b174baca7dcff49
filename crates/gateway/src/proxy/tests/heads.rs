//! Origins that answer no `HEAD`.

use super::*;

const URL: &str = "http://c.test/f";

async fn headless(to_head: ToHead) -> Harness {
    let proxy = Harness::of(1000, &["*.test content"]).await;
    *proxy.origin.to_head.lock().expect("a lock") = to_head;
    proxy
}

fn methods(proxy: &Harness) -> String {
    let sent = proxy.sent();
    let methods: Vec<_> = sent.iter().map(|sent| &*sent.method).collect();
    methods.join(" ")
}

fn is_whole(proxy: &Harness, reply: &str) -> bool {
    let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    reply.starts_with("HTTP/1.1 200") && body == String::from_utf8_lossy(&proxy.content.bytes)
}

#[tokio::test]
async fn who_refuses_a_head_is_asked_for_the_first_byte_and_later_at_once() {
    for status in [405, 501] {
        let proxy = headless(ToHead::Status(status)).await;
        let reply = proxy.ask("GET", URL, &[]).await;
        assert!(is_whole(&proxy, &reply), "{reply}");
        assert!(reply.contains("content-length: 1000") && !reply.contains("content-range"));
        assert_eq!(methods(&proxy), "HEAD GET");
        let reply = proxy.ask("GET", URL, &["Range: bytes=1-2"]).await;
        assert!(reply.starts_with("HTTP/1.1 206"), "{reply}");
        assert!(reply.contains("content-range: bytes 1-2/1000"), "{reply}");
        assert_eq!(methods(&proxy), "HEAD GET GET");
        assert_eq!(proxy.asks(), 2, "through the swarm");
        let other = proxy.ask("GET", "http://d.test/f", &[]).await;
        assert!(is_whole(&proxy, &other));
        assert_eq!(methods(&proxy), "HEAD GET GET HEAD GET");
    }
}

#[tokio::test]
async fn who_says_nothing_to_a_head_is_waited_for_once() {
    let proxy = headless(ToHead::Silence).await;
    for _ in 0..4 {
        assert!(is_whole(&proxy, &proxy.ask("GET", URL, &[]).await));
    }
    assert_eq!(methods(&proxy), "HEAD GET GET GET GET");
    assert_eq!(proxy.asks(), 4, "through the swarm");
}

#[tokio::test]
async fn what_only_its_asker_may_have_is_passed_on_from_the_same_answer() {
    let proxy = headless(ToHead::Status(405)).await;
    proxy.say(&[("etag", "\"v1\""), ("cache-control", "private")]);
    *proxy.origin.status.lock().expect("a lock") = 404;
    let reply = proxy.ask("GET", URL, &[]).await;
    assert!(reply.starts_with("HTTP/1.1 404"), "{reply}");
    assert_eq!(methods(&proxy), "HEAD GET");
    *proxy.origin.status.lock().expect("a lock") = 200;
    assert!(is_whole(&proxy, &proxy.ask("GET", URL, &[]).await));
    assert_eq!(methods(&proxy), "HEAD GET GET GET");
    assert_eq!(proxy.asks(), 0);
}
